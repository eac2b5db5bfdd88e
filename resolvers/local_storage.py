"""Taking over what an old front end kept in the browser: one way for the mutation and for the REST route."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.clients.queries import owning_client
from domain.images.queries import images_by_ids
from domain.kit.blobs import BlobStore
from domain.kit.transactions import Transaction
from domain.local_storage import commands
from domain.local_storage.commands import Arrival, Imported, ImportOutcome
from domain.local_storage.dump import Limits, Picture, Unread, read_dump
from domain.retention.queries import scene_lifetime
from domain.scenes.queries import scenes_by_ids
from domain.users.principals import Permission, Principal
from resolvers.context import Info, Services
from resolvers.operation import operation
from schema.local_storage import LocalStorageImport, LocalStorageResult

_STORED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a dump of so many keys."""

    keys: int
    results: list[Imported]

    def count(self, outcome: ImportOutcome) -> int:
        return sum(one.outcome is outcome for one in self.results)


async def take_over(
    services: Services,
    principal: Principal,
    transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
    dump: Any,
    *,
    client_id: str | None,
    dry_run: bool,
) -> Taken:
    """Import a dump: read in a thread, bytes first, then one transaction for everything.

    Raises Invalid for what is no dump; what is wrong with a key is in its result.
    """
    scope = principal.scope
    owner = await owning_client(services.database, scope, client_id)
    limits = Limits(services.upload_max_bytes, services.generation.longest_prompt)
    found, arriving = await asyncio.to_thread(_read, dump, limits)
    keys = len({one.key for one in found})
    known = await commands.known_pictures(services.database, scope, owner, [one.sha256 for one in arriving])
    if dry_run:
        return Taken(keys, commands.foreseen(found, known, arriving=arriving))
    new = [one for one in arriving if one.sha256 not in known]
    await _store(services.blobs, new)
    async with transaction() as tx:
        lifetime = await scene_lifetime(tx, scope, owner, services.retention)
        results = await commands.import_pictures(
            tx,
            scope,
            replace(services.generation, scene_lifetime=lifetime),
            found,
            new,
            uploaded_by=f"{principal.kind.value}:{principal.id}",
            client_id=client_id,
        )
    taken = {one.image_id for one in results}
    await services.blobs.delete_many([one.blob_key for one in new if one.image_id not in taken])
    return Taken(keys, results)


def _read(dump: Any, limits: Limits) -> tuple[list[Picture | Unread], list[Arrival]]:
    found = read_dump(dump, limits)
    return found, commands.arrivals(found)


async def _store(blobs: BlobStore, new: Sequence[Arrival]) -> None:
    for begin in range(0, len(new), _STORED_AT_ONCE):
        together = new[begin : begin + _STORED_AT_ONCE]
        await asyncio.gather(*(blobs.put(one.blob_key, one.picture.data) for one in together))


@strawberry.type
class LocalStorageMutation:
    @operation(Permission.IMAGES_WRITE, LocalStorageImport)
    async def import_local_storage(
        self, info: Info, dump: JSON, client_id: strawberry.ID | None = None, dry_run: bool = False
    ) -> LocalStorageImport:
        """Take over the pictures of an old front end: `dump` is its `localStorage` as a JSON object, or as the
        text of one. The same dump again imports nothing twice.

        A request has at most 256 KB: send larger dumps to `POST /v1/import/local-storage`.
        """
        ctx = info.context
        taken = await take_over(
            ctx.services, ctx.principal, ctx.transaction, dump, client_id=client_id, dry_run=dry_run
        )
        return LocalStorageImport(
            dry_run=dry_run,
            keys=taken.keys,
            imported=taken.count(ImportOutcome.IMPORTED),
            duplicates=taken.count(ImportOutcome.DUPLICATE),
            skipped=taken.count(ImportOutcome.SKIPPED),
            failed=taken.count(ImportOutcome.FAILED),
            results=await _results(info, taken.results),
        )


async def _results(info: Info, results: Sequence[Imported]) -> list[LocalStorageResult]:
    ctx = info.context
    images = await _found(partial(images_by_ids, ctx.db, ctx.scope), [one.image_id for one in results])
    scenes = await _found(partial(scenes_by_ids, ctx.db, ctx.scope), [one.scene_id for one in results])
    return [
        LocalStorageResult(
            key=one.key,
            path=one.path,
            kind=one.kind,
            outcome=one.outcome,
            code=one.code,
            message=one.message,
            prompt=one.prompt,
            image=images.get(one.image_id),
            scene=scenes.get(one.scene_id),
        )
        for one in results
    ]


async def _found(by_ids: Callable[[Sequence[str]], Any], ids: Sequence[str | None]) -> dict[str | None, Any]:
    wanted = list(dict.fromkeys(one for one in ids if one is not None))
    return dict(zip(wanted, await by_ids(wanted), strict=True)) if wanted else {}
