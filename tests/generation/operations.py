"""The operations on generations, scenes and dumps as these tests send them."""

from typing import Any

from tests.support.api import Api
from tests.support.log import eventually

FIELDS = """id kind status prompt shape tags provider model requesterKind requesterId requestedAt startedAt
finishedAt   generationMs costUsd attempts retryAt failure { code message retryAfterSeconds }
  image { id status source contentType width height url original: url(variant: ORIGINAL) }"""
GENERATE = f"""mutation ($prompt: String!, $shape: ImageShape! = SQUARE, $tags: [String!], $client: ID) {{
  generateImage(prompt: $prompt, shape: $shape, tags: $tags, clientId: $client) {{ {FIELDS} }}
}}"""
GENERATION = f"query ($id: ID!) {{ imageGeneration(id: $id) {{ {FIELDS} }} }}"
SCENE_FIELDS = f"""id prompt shape hits misses createdAt lastHitAt expiresAt generation {{ {FIELDS} }}
  image {{ id status source url }}"""
GENERATE_SCENE = f"""mutation ($prompt: String!, $shape: ImageShape! = SQUARE, $client: ID) {{
  generateScene(prompt: $prompt, shape: $shape, clientId: $client) {{ cache scene {{ {SCENE_FIELDS} }} }}
}}"""
SCENE = f"query ($id: ID!) {{ scene(id: $id) {{ {SCENE_FIELDS} }} }}"
STATS = """query ($client: ID) { sceneCacheStats(clientId: $client) {
  scenes ready pending expired hits misses hitRate imageBytes oldestAt nextExpiryAt } }"""
CLEAR = "mutation ($client: ID) { clearSceneCache(clientId: $client) { scenes } }"
CLEANUP = """mutation ($dry: Boolean! = false, $client: ID) {
  cleanupSceneCache(dryRun: $dry, clientId: $client) { dryRun expired removed } }"""
IMPORT = """mutation ($dump: JSON!, $client: ID, $dry: Boolean! = false) {
  importLocalStorage(dump: $dump, clientId: $client, dryRun: $dry) {
    dryRun keys imported duplicates skipped failed
    results { key path kind outcome code message prompt image { id status source } scene { id prompt } }
  } }"""


async def generate(api: Api, prompt: str, **given: Any) -> dict[str, Any]:
    """A generation that must be taken."""
    made: dict[str, Any] = (await api.run(GENERATE, prompt=prompt, **given))["generateImage"]
    return made


async def now(api: Api, generation_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.run(GENERATION, id=generation_id))["imageGeneration"]
    return found


async def until(api: Api, generation_id: str, *statuses: str, within: float = 30) -> dict[str, Any]:
    """The generation once it is in one of these states."""
    last: dict[str, Any] = {}

    async def reached() -> bool:
        last.update(await now(api, generation_id))
        return last["status"] in statuses

    await eventually(reached, within=within, what=f"a generation that is {statuses}")
    return last


async def ended(api: Api, generation_id: str, *, within: float = 30) -> dict[str, Any]:
    return await until(api, generation_id, "READY", "FAILED", within=within)


async def scene(api: Api, prompt: str, **given: Any) -> tuple[str, dict[str, Any]]:
    """HIT or MISS, and the scene."""
    made = (await api.run(GENERATE_SCENE, prompt=prompt, **given))["generateScene"]
    return made["cache"], made["scene"]
