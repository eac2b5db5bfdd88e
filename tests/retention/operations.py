"""The operations of retention, and what tests do to make things old."""

from typing import Any

import asyncpg

from tests.support.api import Api
from tests.support.log import eventually
from tests.support.sql import execute

POLICY = """query ($client: ID) { retentionPolicy(clientId: $client) {
  client { id } rules { kind enabled keepDays isDefault updatedAt }
} }"""
UPDATE = """mutation ($changes: [RetentionRuleChange!]!, $client: ID) {
  updateRetentionPolicy(changes: $changes, clientId: $client) { rules { kind enabled keepDays isDefault } }
}"""
_RUN = """id kind state dryRun maxShare found due dueBytes cited removed removedBytes removedBlobs more stopCode
  stopMessage actorKind actorId createdAt startedAt endedAt client { id }"""
CLEANUP = f"""mutation ($dry: Boolean! = false, $share: Float, $client: ID) {{
  cleanupImages(dryRun: $dry, maxShare: $share, clientId: $client) {{ {_RUN} }} }}"""
CLEANUP_LOGS = f"""mutation ($kind: CleanupKind!, $dry: Boolean! = false, $share: Float) {{
  cleanupLogs(kind: $kind, dryRun: $dry, maxShare: $share) {{ {_RUN} }} }}"""
RUN = f"query ($id: ID!) {{ cleanupRun(id: $id) {{ {_RUN} }} }}"
RUNS = f"query ($kind: CleanupKind) {{ cleanupRuns(kind: $kind) {{ nodes {{ {_RUN} }} totalCount }} }}"
JOBS = """{ scheduledJobs {
  name cron timeZone running startedAt endedAt failure requestedAt nextRunAt
} }"""
RUN_JOB = "mutation ($name: JobName!) { runScheduledJob(name: $name) { name running requestedAt } }"


async def rules(api: Api, **variables: Any) -> dict[str, dict[str, Any]]:
    """The rules of a policy, by kind."""
    policy = (await api.run(POLICY, **variables))["retentionPolicy"]
    return {rule["kind"]: rule for rule in policy["rules"]}


async def change(api: Api, kind: str, client: str | None = None, **change: Any) -> None:
    await api.run(UPDATE, changes=[{"kind": kind, **change}], client=client)


async def ended(api: Api, run_id: str, *, within: float = 30) -> dict[str, Any]:
    """A run, once it has ended."""

    async def over() -> dict[str, Any] | None:
        run: dict[str, Any] = (await api.run(RUN, id=run_id))["cleanupRun"]
        return run if run["endedAt"] else None

    found: dict[str, Any] = await eventually(over, within=within, what="the end of the cleanup")
    return found


async def cleaned(api: Api, **variables: Any) -> dict[str, Any]:
    """A cleanup of images from its beginning to its end."""
    begun = (await api.run(CLEANUP, **variables))["cleanupImages"]
    return await ended(api, begun["id"])


async def age_images(url: str, client_id: str, days: float, *image_ids: str) -> None:
    """These images, or all of a client, arrived so many days ago."""
    which = f"AND id = ANY('{{{','.join(image_ids)}}}')" if image_ids else ""
    age = f"received_at = now() - interval '{days} days'"
    await execute(url, f"UPDATE images SET {age} WHERE client_id = '{client_id}' {which}")


async def value(url: str, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


async def job(api: Api, name: str) -> dict[str, Any]:
    """A scheduled job by its name."""
    found: dict[str, Any] = next(one for one in (await api.run(JOBS))["scheduledJobs"] if one["name"] == name)
    return found
