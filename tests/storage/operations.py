"""What the tests of the blob store ask of the API, and do behind its back."""

import os
import time
import uuid
from typing import Any

import asyncpg

from tests.support.api import Api
from tests.support.log import eventually
from tests.support.stack import Stack
from tests.support.stores import folder_of, store_of

SWEEP = """id status dryRun maxShare graceSeconds actorKind actorId named missing removed removedBytes unfinished
  code message found { kind known blobs bytes orphans orphanBytes young }"""
CLEANUP = f"""mutation ($dryRun: Boolean! = true, $maxShare: Float) {{
  cleanupOrphanedBlobs(dryRun: $dryRun, maxShare: $maxShare) {{ {SWEEP} }} }}"""
ENDED = ("DONE", "REFUSED", "FAILED")


async def sweep_of(admin: Api, sweep_id: str) -> dict[str, Any]:
    data = await admin.run(f"query ($id: ID!) {{ storageSweep(id: $id) {{ {SWEEP} }} }}", id=sweep_id)
    found: dict[str, Any] = data["storageSweep"]
    return found


async def ended(admin: Api, sweep_id: str, *, within: float = 40) -> dict[str, Any]:
    """The sweep once it has come to its end."""

    async def over() -> dict[str, Any] | None:
        found = await sweep_of(admin, sweep_id)
        return found if found["status"] in ENDED else None

    found: dict[str, Any] = await eventually(over, within=within, what="the end of a sweep")
    return found


async def swept(admin: Api, **arguments: Any) -> dict[str, Any]:
    """A sweep, from the wish to the end."""
    begun = (await admin.run(CLEANUP, **arguments))["cleanupOrphanedBlobs"]
    return await ended(admin, begun["id"])


def kinds(sweep: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {kind["kind"]: kind for kind in sweep["found"]}


async def put(stack: Stack, *keys: str, age: float = 0, data: bytes = b"nobody's") -> None:
    """Blobs that no row names; in a folder they may be `age` seconds old."""
    async with store_of(stack) as store:
        for key in keys:
            await store.put(key, data)
    for key in keys if age else ():
        then = time.time() - age
        os.utime(folder_of(stack) / "blobs" / key, (then, then))


async def sweep_without_grace(stack: Stack, *, max_share: float = 1) -> str:
    """A sweep as only SQL can wish it: blobs count whatever their age. Its id; the relay finds it within 10 s."""
    sweep_id = str(uuid.uuid4())
    connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
    try:
        await connection.execute(
            "INSERT INTO storage_sweeps (id, dry_run, max_share, grace_seconds, actor_kind, lease_until) "
            "VALUES ($1, false, $2, -60, 'SYSTEM', now() - interval '1 second')",
            uuid.UUID(sweep_id),
            max_share,
        )
    finally:
        await connection.close()
    return sweep_id
