"""The blob store and the database compared both ways, in one look, and the brakes that follow from it.

The store is listed first (`listing.py`) and the database read after that, so a blob whose row was written meanwhile
counts as named. Blobs that came meanwhile are not in the list: whoever acts on one that is missing looks again.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import column, select, table, text
from sqlalchemy.dialects.postgresql import distinct_on

from domain.kit.errors import Denied
from domain.kit.scope import Scope
from domain.kit.sql import Row, Statement
from domain.kit.transactions import Transaction
from domain.storage.references import KINDS, named

AT_ONCE = 100_000
"""So many findings of a sort are told, or taken away, at once; the next comparison finds the others."""


class KindRow(Row):
    """Blobs of one kind. `orphans` are those that no row names, `young` ones not counted: their row may come yet.
    Kinds that no row could name are not `known`, and left alone.
    """

    kind: str
    known: bool
    blobs: int
    bytes: int
    orphans: int
    orphan_bytes: int
    young: int


class TotalRow(Row):
    """`named` are different keys that rows name, `missing` those of them that are not in the list."""

    named: int
    missing: int
    wrong_size: int


class Finding(Row):
    """`size` is that of the blob, `expected` what its row says; null where nobody knows."""

    key: str
    kind: str
    size: int | None
    expected: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`orphans`, `missing` and `wrong_size` are the first AT_ONCE of each; the counts are of all."""

    kinds: list[KindRow]
    totals: TotalRow
    orphans: list[Finding]
    missing: list[Finding]
    wrong_size: list[Finding]

    @property
    def blobs(self) -> int:
        return sum(kind.blobs for kind in self.kinds if kind.known)

    @property
    def orphan_count(self) -> int:
        return sum(kind.orphans for kind in self.kinds)


_PREPARE = [
    Statement(text(words))
    for words in (
        "SET LOCAL statement_timeout = '600s'",
        "SET LOCAL idle_in_transaction_session_timeout = '600s'",
        "CREATE TEMPORARY TABLE stored (key text, size bigint, modified double precision) ON COMMIT DROP",
        "CREATE TEMPORARY TABLE named (key text, kind text, size bigint, sha256 text) ON COMMIT DROP",
        "CREATE TEMPORARY TABLE matched (key text, kind text, size bigint, expected bigint, sha256 text, "
        "is_known boolean, is_named boolean, is_old boolean) ON COMMIT DROP",
    )
]
_FILLED = ("key", "kind", "size", "sha256")
_NAMED = Statement(
    table("named", *map(column, _FILLED))
    .insert()
    .from_select(
        _FILLED, select(*(named.c[name] for name in _FILLED)).ext(distinct_on(named.c.key)).order_by(named.c.key)
    )
)
_ANALYZE = [Statement(text("ANALYZE stored")), Statement(text("ANALYZE named"))]
_MATCH = Statement(
    text(
        """
INSERT INTO matched
SELECT stored.key, split_part(stored.key, '/', 1), stored.size, named.size, named.sha256,
  split_part(stored.key, '/', 1) = ANY (CAST(:known AS text[])), named.key IS NOT NULL,
  stored.modified < CAST(:before AS double precision)
FROM stored LEFT JOIN named ON named.key = stored.key
"""
    )
)
_KINDS = Statement(
    text(
        """
SELECT kind, is_known AS known, count(*) AS blobs, coalesce(sum(size), 0)::bigint AS bytes,
  count(*) FILTER (WHERE is_known AND is_old AND NOT is_named) AS orphans,
  coalesce(sum(size) FILTER (WHERE is_known AND is_old AND NOT is_named), 0)::bigint AS orphan_bytes,
  count(*) FILTER (WHERE is_known AND NOT is_old AND NOT is_named) AS young
FROM matched GROUP BY kind, is_known ORDER BY kind
"""
    ),
    KindRow,
)
_TOTALS = Statement(
    text(
        """
SELECT (SELECT count(*) FROM named) AS named,
  (SELECT count(*) FROM named WHERE NOT EXISTS (SELECT FROM stored WHERE stored.key = named.key)) AS missing,
  (SELECT count(*) FROM matched WHERE expected <> size) AS wrong_size
"""
    ),
    TotalRow,
)
_ORPHANS = Statement(
    text(
        "SELECT key, kind, size, expected, sha256 FROM matched WHERE is_known AND is_old AND NOT is_named "
        "ORDER BY key LIMIT CAST(:at_once AS bigint)"
    ),
    Finding,
)
_MISSING = Statement(
    text(
        """
SELECT key, kind, NULL::bigint AS size, size AS expected, sha256 FROM named
WHERE NOT EXISTS (SELECT FROM stored WHERE stored.key = named.key) ORDER BY key LIMIT CAST(:at_once AS bigint)
"""
    ),
    Finding,
)
_WRONG_SIZE = Statement(
    text(
        "SELECT key, kind, size, expected, sha256 FROM matched WHERE expected <> size "
        "ORDER BY key LIMIT CAST(:at_once AS bigint)"
    ),
    Finding,
)


_WITH_HASHES = "SELECT key, sha256 FROM matched WHERE sha256 IS NOT NULL ORDER BY key"


async def compare(
    tx: Transaction, scope: Scope, listing: Path, *, grace: float, hashes: Path | None = None
) -> Comparison:
    """Compare a list of the store with what all rows name. Blobs younger than `grace` seconds are no orphans.

    Into the file `hashes`, where one is given, go lines of key and SHA-256 of all that is there and has one.
    """
    if scope.client_id is not None:
        raise Denied("This is of the whole platform.")
    for statement in _PREPARE:
        await tx.all(statement)
    await tx.load("stored", listing)
    for statement in (_NAMED, *_ANALYZE):
        await tx.all(statement)
    await tx.all(_MATCH, known=list(KINDS), before=time.time() - grace)
    if hashes is not None:
        await tx.unload(_WITH_HASHES, hashes)
    totals = await tx.one(_TOTALS)
    assert totals is not None  # there is no FROM that could be empty
    return Comparison(
        kinds=await tx.all(_KINDS),
        totals=totals,
        orphans=await tx.all(_ORPHANS, at_once=AT_ONCE),
        missing=await tx.all(_MISSING, at_once=AT_ONCE),
        wrong_size=await tx.all(_WRONG_SIZE, at_once=AT_ONCE),
    )


def brake(found: Comparison, max_share: float) -> tuple[str, str] | None:
    """The code and the sentence of why nothing may be taken away; None when the orphans may go."""
    if not found.orphan_count:
        return None
    if not found.totals.named:
        return "DATABASE_LOOKS_EMPTY", (
            f"The database names no blob at all, and the store has {found.blobs}: see that they belong together."
        )
    if foreign := _looks_foreign(found):
        return "STORE_LOOKS_FOREIGN", foreign
    if found.orphan_count > found.blobs * max_share:
        return "SHARE_EXCEEDED", (
            f"{found.orphan_count} of {found.blobs} blobs are named by nobody, which is more than a share of "
            f"{max_share:g}. If that is right, run it with a larger `maxShare`; if not, see that store and "
            "database belong together."
        )
    return None


def why_not_mend(found: Comparison) -> str | None:
    """The sentence of why rows may not be changed for what is missing; None when they may."""
    if found.totals.missing > len(found.missing):
        return (
            f"{found.totals.missing} blobs are missing, more than the {len(found.missing)} that are looked at at "
            "once: see that the whole store is there."
        )
    return _looks_foreign(found)


def _looks_foreign(found: Comparison) -> str | None:
    if not found.totals.named or found.totals.missing < found.totals.named:
        return None
    return (
        f"The store has none of the {found.totals.named} blobs that the database names: see that they belong "
        "together."
    )
