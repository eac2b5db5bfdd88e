"""Which images of a list: conditions, each with an index behind it or cheap beside one, and what they are given.

Words and tags are looked up in one index, together with the client: see the column `search`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Integer, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, TSQUERY

from domain.images.models import ImageSource, images
from domain.images.scenes import bits_apart
from domain.images.tags import checked_tags
from domain.kit.errors import Invalid
from domain.kit.paging import given_filters
from domain.kit.scope import Scope, visible
from domain.kit.tables import Id, Moment

MOST_SIMILAR = 1_000
FARTHEST = 16
LONGEST_SEARCH = 500

_lexemes = cast(cast(bindparam("lexemes", type_=TEXT), TEXT), TSQUERY)
_words = func.websearch_to_tsquery(literal_column("'simple'::regconfig"), cast(bindparam("search"), TEXT))
_one, _near = images.alias("one"), images.alias("near")
_distance = bits_apart(_near.c.phash, _one.c.phash)
# The closest only: of a camera that looks at a wall, half a million photos are alike.
_similar = (
    select(_near.c.id)
    .select_from(_one)
    .join(_near, _near.c.client_id == _one.c.client_id)
    .where(
        _one.c.id == bindparam("similar_to", type_=Id),
        visible(_one.c.client_id),
        _near.c.phash.is_not(None),
        _near.c.id != _one.c.id,
        _distance <= bindparam("distance", type_=Integer),
    )
    .order_by(_distance, _near.c.id.desc())
    .limit(bindparam("most_similar", type_=BigInteger))
)

_CONDITIONS: dict[str, ColumnElement[bool]] = {
    "scope": images.c.client_id == bindparam("scope", type_=Id),
    "client_id": images.c.client_id == bindparam("client_id", type_=Id),
    "device_id": images.c.device_id == bindparam("device_id", type_=Id),
    "statuses": images.c.status == func.any(bindparam("statuses", type_=ARRAY(TEXT))),
    "captured_since": images.c.captured_at >= bindparam("captured_since", type_=Moment),
    "captured_until": images.c.captured_at < bindparam("captured_until", type_=Moment),
    "search": images.c.search.bool_op("@@")(_words.bool_op("&&")(_lexemes)),
    "words": images.c.search.bool_op("@@")(_words),
    "tags": images.c.search.bool_op("@@")(_lexemes),
    "featured": images.c.featured,
    "not featured": ~images.c.featured,
    "unchanged": images.c.unchanged_since.is_not(None),
    "changed": images.c.unchanged_since.is_(None),
    "there": images.c.deleted_at.is_(None),
    "deleted": images.c.deleted_at.is_not(None),
    "similar_to": images.c.id == func.any(func.array(_similar.scalar_subquery())),
    "none": literal_column("false", Boolean),
}

FILTERS = frozenset(
    {
        *("client_id", "device_id", "statuses", "sources", "captured_since", "captured_until"),
        *("search", "tags", "featured", "unchanged", "similar_to", "deleted"),
    }
)
"""What `given` takes."""

REPLANNED = frozenset({"search", "words", "tags", "similar_to"})
"""Conditions whose share of the images depends on their values: a rare word, a common one."""


def condition(name: str) -> ColumnElement[bool]:
    """The condition of a name that `given` gave."""
    if name.startswith("sources "):
        # As constants: so the planner sees that photos of devices, the many, are not among them.
        sources = [ImageSource(source) for source in name.removeprefix("sources ").split()]
        return images.c.source.in_([literal_column(f"'{source.value}'") for source in sources])
    return _CONDITIONS[name]


def given(scope: Scope, filters: Mapping[str, Any]) -> tuple[frozenset[str], dict[str, Any]]:
    """The names of the conditions that filters ask for, and their parameters; None asks for nothing.

    Beside those of the conditions' names: `sources`, `featured` and `unchanged` (true or false), `deleted`
    (EXCLUDED where absent, INCLUDED, ONLY), `search` as people write it, `tags` of which an image has all, and
    `similar_to` with its `distance` in bits. Raises Invalid.
    """
    left = given_filters(scope, filters)
    names: set[str] = set()
    for flag, no in (("featured", "not featured"), ("unchanged", "changed")):
        if flag in left:
            names.add(flag if left.pop(flag) else no)
    match left.pop("deleted", "EXCLUDED"):
        case "EXCLUDED":
            names.add("there")
        case "ONLY":
            names.add("deleted")
    if (sources := left.pop("sources", None)) is not None:
        names.add(" ".join(("sources", *sorted(set(sources)))) if sources else "none")
    search, tags, distance = left.pop("search", None), left.pop("tags", ()), left.pop("distance", None)
    names |= left.keys()
    if "similar_to" in left:
        left |= {"distance": _checked_distance(distance), "most_similar": MOST_SIMILAR, "scope": scope.client_id}
    if search is not None or tags:
        lexemes = _lexemes_of(scope.client_id or left.get("client_id"), tags)
        left |= {"lexemes": lexemes} if lexemes else {}
        left |= {"search": _checked_search(search)} if search is not None else {}
        names.add("tags" if search is None else "search" if lexemes else "words")
    return frozenset(names), left


def _checked_distance(distance: int | None) -> int:
    if distance is None or not 0 <= distance <= FARTHEST:
        raise Invalid(f"A distance is between 0 and {FARTHEST}.", argument="filter.similarTo.distance")
    return distance


def _lexemes_of(client_id: str | None, tags: Sequence[str]) -> str:
    lexemes = [f"tag:{tag}" for tag in checked_tags(tags, argument="filter.tags")]
    lexemes += [f"client:{client_id}"] if client_id else []
    return " & ".join("'" + one.replace("\\", "\\\\").replace("'", "''") + "'" for one in lexemes)


# As the text that is searched has lost it; but for a hyphen that says "without", and quotes.
_HYPHEN = re.compile(r"(?<!\S)-(?=[\w\"])")
_PUNCTUATION = re.compile(r"[^\w\s\"-]|_")


def _checked_search(words: str) -> str:
    """The words as `websearch_to_tsquery` is to have them. Raises Invalid where there is none, or far too many."""
    if len(words) > LONGEST_SEARCH:
        raise Invalid(f"A search has at most {LONGEST_SEARCH} characters.", argument="filter.search")
    plain = _PUNCTUATION.sub(" ", words)
    kept = {match.start() for match in _HYPHEN.finditer(plain)}
    plain = "".join(" " if one == "-" and at not in kept else one for at, one in enumerate(plain))
    if not re.search(r"\w", plain):
        raise Invalid("Search for at least one letter or digit.", argument="filter.search")
    return plain
