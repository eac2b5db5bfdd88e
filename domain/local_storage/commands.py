"""Taking the pictures of a dump over: rows for those that are new, the first one's id for those that are not."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, distinct_on

from domain.clients.queries import owning_client
from domain.generation.prompts import GenerationPolicy
from domain.images.arrivals import record_image
from domain.images.models import ImageSource, ImageStatus, images
from domain.images.tags import cut_tag
from domain.images.uploads import blob_key, told_again
from domain.kit.errors import Invalid, Unavailable
from domain.kit.ids import new_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction
from domain.local_storage.dump import Picture, PictureKind, Unread
from domain.scenes.commands import put_scene


class ImportOutcome(StrEnum):
    """IMPORTED: it is an image here now. DUPLICATE: it was one already, from an earlier import or from this one.
    SKIPPED: there was no picture to take. FAILED: there was one, and it cannot be used.
    """

    IMPORTED = "IMPORTED"
    DUPLICATE = "DUPLICATE"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a key of the dump, or of one of the pictures in it. In a dry run no id is that of a new
    thing.
    """

    key: str
    path: str
    kind: PictureKind
    outcome: ImportOutcome
    code: str | None = None
    message: str | None = None
    prompt: str | None = None
    image_id: str | None = None
    scene_id: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A picture under the id and the blob key that it will have when it is new. `sha256` is hex."""

    picture: Picture
    sha256: str
    image_id: str
    blob_key: str


class KnownPicture(Row):
    """An image that was imported before; deleted since, perhaps."""

    id: str
    sha256: str
    deleted_at: datetime | None


_KNOWN = Statement(
    select(images.c.id, images.c.sha256, images.c.deleted_at)
    .where(
        images.c.client_id == bindparam("owner", type_=Id),
        visible(images.c.client_id),
        images.c.device_id.is_(None),  # as in the index
        images.c.source == ImageSource.IMPORTED.value,
        images.c.status != ImageStatus.REJECTED.value,
        images.c.sha256 == func.any(bindparam("digests", type_=ARRAY(TEXT))),
    )
    .ext(distinct_on(images.c.sha256))
    .order_by(images.c.sha256, images.c.deleted_at.is_not(None), images.c.id),
    KnownPicture,
)
# One import of a client at a time: of the same dump sent twice at once, the second finds what the first wrote.
_LOCK = Statement(
    select(
        func.pg_advisory_xact_lock(func.hashtext("local storage"), func.hashtext(bindparam("owner", type_=TEXT)))
    )
)


def arrivals(found: Sequence[Picture | Unread]) -> list[Arrival]:
    """The pictures among what a dump holds, each content once."""
    now, made = datetime.now(UTC), dict[str, Arrival]()
    for picture in found:
        if isinstance(picture, Picture):
            digest, image_id = hashlib.sha256(picture.data).hexdigest(), new_id()
            key = blob_key(image_id, picture.content_type, digest, now)
            made.setdefault(digest, Arrival(picture, digest, image_id, key))
    return list(made.values())


async def known_pictures(db: Runner, scope: Scope, owner: str, digests: Sequence[str]) -> dict[str, KnownPicture]:
    """What was imported before, by the SHA-256 of what came."""
    rows = await db.all(_KNOWN, owner=owner, digests=list(digests), scope=scope.client_id)
    return {row.sha256: row for row in rows}


async def import_pictures(
    tx: Transaction,
    scope: Scope,
    policy: GenerationPolicy,
    found: Sequence[Picture | Unread],
    stored: Sequence[Arrival],
    *,
    uploaded_by: str,
    client_id: str | None = None,
) -> list[Imported]:
    """Write what is new of a dump; what became of everything in it, in its order.

    The bytes of `stored` are in the blob store: of all that `known_pictures` did not know. The same dump
    again changes nothing, but that images which were deleted meanwhile are restored, and scenes which have expired
    answer again.
    """
    owner = await owning_client(tx, scope, client_id)
    await tx.all(_LOCK, owner=owner)
    digests = {hashlib.sha256(one.data).hexdigest() for one in found if isinstance(one, Picture)}
    ids = await _taken_before(tx, scope, owner, sorted(digests))
    by_digest = {one.sha256: one for one in stored}
    results: list[Imported] = []
    for one in found:
        if isinstance(one, Unread):
            results.append(_unread(one))
            continue
        digest = hashlib.sha256(one.data).hexdigest()
        outcome = ImportOutcome.DUPLICATE
        if digest not in ids:
            if digest not in by_digest:  # taken away for good since it was looked for
                raise Unavailable("An image of this dump was just removed: send it again.", retry_after=1)
            ids[digest] = await _record(tx, scope, by_digest[digest], owner, uploaded_by)
            outcome = ImportOutcome.IMPORTED
        scene_id = await _as_scene(tx, scope, policy, one, ids[digest], owner)
        results.append(_taken(one, outcome, ids[digest], scene_id))
    counts = {outcome.value.lower(): sum(one.outcome is outcome for one in results) for outcome in ImportOutcome}
    tx.emit(scope, "local_storage.imported", client_id=owner, subject=("Client", owner), **counts)
    return results


def foreseen(
    found: Sequence[Picture | Unread], known: Mapping[str, KnownPicture], *, arriving: Sequence[Arrival]
) -> list[Imported]:
    """What `import_pictures` would say, as far as nothing needs to be written for that."""
    first = {id(one.picture) for one in arriving}
    results = []
    for one in found:
        if isinstance(one, Unread):
            results.append(_unread(one))
            continue
        before = known.get(hashlib.sha256(one.data).hexdigest())
        is_new = before is None and id(one) in first
        outcome = ImportOutcome.IMPORTED if is_new else ImportOutcome.DUPLICATE
        results.append(_taken(one, outcome, before.id if before else None, None))
    return results


async def _taken_before(tx: Transaction, scope: Scope, owner: str, digests: Sequence[str]) -> dict[str, str]:
    """The ids of what was imported before, by its digest; what was deleted of it is there again."""
    known = await known_pictures(tx, scope, owner, digests)
    for picture in known.values():
        if picture.deleted_at is not None:
            await told_again(tx, scope, picture.id, picture.deleted_at)
    return {digest: picture.id for digest, picture in known.items()}


async def _record(tx: Transaction, scope: Scope, arrival: Arrival, owner: str, uploaded_by: str) -> str:
    picture = arrival.picture
    tags = [] if picture.kind is PictureKind.OTHER else [picture.kind.value.lower()]
    image = await record_image(
        tx,
        scope,
        source=ImageSource.IMPORTED,
        content_type=picture.content_type,
        size_bytes=len(picture.data),
        sha256=arrival.sha256,
        original_key=arrival.blob_key,
        prompt=picture.prompt,
        tags=[*tags, name] if (name := cut_tag(picture.name)) else tags,
        uploaded_by=uploaded_by,
        client_id=owner,
        image_id=arrival.image_id,
    )
    return image.id


async def _as_scene(
    tx: Transaction, scope: Scope, policy: GenerationPolicy, picture: Picture, image_id: str, owner: str
) -> str | None:
    if picture.kind is not PictureKind.SCENE or picture.prompt is None:
        return None
    try:
        prompt = policy.checked_prompt(picture.prompt)
    except Invalid:  # nobody could ask for it: it is an image like others
        return None
    return await put_scene(tx, scope, policy, prompt=prompt, image_id=image_id, client_id=owner)


def _unread(one: Unread) -> Imported:
    outcome = ImportOutcome.FAILED if one.wrong else ImportOutcome.SKIPPED
    return Imported(one.key, one.path, one.kind, outcome, one.code, one.message)


def _taken(picture: Picture, outcome: ImportOutcome, image_id: str | None, scene_id: str | None) -> Imported:
    return Imported(
        picture.key,
        picture.path,
        picture.kind,
        outcome,
        prompt=picture.prompt,
        image_id=image_id,
        scene_id=scene_id,
    )
