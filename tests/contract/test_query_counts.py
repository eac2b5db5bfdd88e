"""A list costs as many SQL statements for one row as for many: every root list and every relation.

The schema is executed in this process, against the same database, through a `Database` that counts what
it sends. It counts and does nothing else, so the numbers are those of the server.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from graphql import GraphQLObjectType, get_named_type, parse

from domain.events.queries import list_events
from domain.kit.sql import Database, Row, Statement
from domain.retention.models import RetentionKind
from domain.scenes.queries import scenes_by_ids
from domain.users.sessions import SessionTokens
from resolvers.context import Context, Services
from schema import relation
from schema.execution import execute
from schema.retention import RetentionPolicy, RetentionRule
from server.services import api_services
from server.settings import load_settings
from tests.contract.documents import graphql_schema
from tests.contract.filled import MANY, filled_organisation
from tests.support.api import Api, Organisation
from tests.support.stack import Stack

R = TypeVar("R", bound=Row)

# Each takes $n, the number of rows at the first level, and gives the statements that the list takes.
_LISTS = {
    "storageSweeps": (1, "query ($n: Int!) { storageSweeps(first: $n) { nodes { id found { kind } } } }"),
    "users": (1, "query ($n: Int!) { users(first: $n) { nodes { id email } } }"),
    "clients": (1, "query ($n: Int!) { clients(first: $n) { nodes { id name token { prefix } } } }"),
    "devices": (1, "query ($n: Int!) { devices(first: $n) { edges { cursor } nodes { id status } } }"),
    "configs": (1, "query ($n: Int!) { configs(first: $n) { edges { cursor } nodes { id deviceName } } }"),
    "configTemplates": (1, "query ($n: Int!) { configTemplates(first: $n) { nodes { id name } } }"),
    "imageGenerations": (1, "query ($n: Int!) { imageGenerations(first: $n) { nodes { id status } } }"),
    "images": (1, "query ($n: Int!) { images(first: $n) { nodes { id perceptualHash } } }"),
    "cleanupRuns": (1, "query ($n: Int!) { cleanupRuns(first: $n) { nodes { id state found more } } }"),
    "firmwares": (1, "query ($n: Int!) { firmwares(first: $n) { nodes { id warning } } }"),
    "rollouts": (1, "query ($n: Int!) { rollouts(first: $n) { nodes { id status } } }"),
    "auditLog": (1, "query ($n: Int!) { auditLog(first: $n) { nodes { id action before after } } }"),
    "events": (1, "query ($n: Int!) { events(first: $n) { nodes { id cursor data } } }"),
}
_RELATIONS = {
    ("Connection", "total_count"): (
        3,
        "query ($n: Int!) { devices(first: $n) { nodes { images(first: 1) { totalCount } } } }",
    ),
    ("Device", "client"): (2, "query ($n: Int!) { devices(first: $n) { nodes { client { id } } } }"),
    ("Device", "status"): (1, "query ($n: Int!) { devices(first: $n) { nodes { status } } }"),
    ("Device", "presence"): (1, "query ($n: Int!) { devices(first: $n) { nodes { presence { state } } } }"),
    ("Device", "health"): (2, "query ($n: Int!) { devices(first: $n) { nodes { health { uploads } } } }"),
    ("Device", "telemetry"): (
        2,
        "query ($n: Int!) { devices(first: $n) { nodes { telemetry(points: 5) { stepSeconds } } } }",
    ),
    ("Device", "images"): (2, "query ($n: Int!) { devices(first: $n) { nodes { images { nodes { id } } } } }"),
    ("Device", "commands"): (2, "query ($n: Int!) { devices(first: $n) { nodes { commands { nodes { id } } } } }"),
    ("Device", "firmware_update"): (
        4,
        "query ($n: Int!) { devices(first: $n) { nodes { firmwareUpdate { state version rollout { id } } } } }",
    ),
    ("Rollout", "firmware"): (2, "query ($n: Int!) { rollouts(first: $n) { nodes { firmware { id } } } }"),
    ("Rollout", "stages"): (1, "query ($n: Int!) { rollouts(first: $n) { nodes { stages { percent } } } }"),
    ("Rollout", "progress"): (2, "query ($n: Int!) { rollouts(first: $n) { nodes { progress { offered } } } }"),
    ("Rollout", "devices"): (
        2,
        "query ($n: Int!) { rollouts(first: $n) { nodes { devices { nodes { state } } } } }",
    ),
    ("RolloutDevice", "device"): (
        3,
        "query ($n: Int!) { rollouts(first: $n) { nodes { devices { nodes { device { id } } } } } }",
    ),
    ("DeviceCommand", "device"): (
        3,
        "query ($n: Int!) { devices(first: $n) { nodes { commands { nodes { device { id } } } } } }",
    ),
    ("Device", "config"): (2, "query ($n: Int!) { devices(first: $n) { nodes { config { desired inSync } } } }"),
    ("DeviceConfig", "config"): (
        3,
        "query ($n: Int!) { devices(first: $n) { nodes { config { config { id } } } } }",
    ),
    **{
        (type_, re.findall(r"\w+", field)[0].replace("versionAt", "version_at")): (
            statements,
            f"query ($n: Int!) {{ {name}(first: $n) {{ nodes {{ {field} }} }} }}",
        )
        for type_, name, field, statements in (
            ("Config", "configs", "content", 1),
            ("Config", "configs", "effective", 1),
            ("Config", "configs", "client { id }", 2),
            ("Config", "configs", "device { id }", 2),
            ("Config", "configs", "extends { id }", 2),
            ("Config", "configs", "versions(first: 2) { nodes { id } }", 2),
            ("Config", "configs", "versionAt(number: 1) { id }", 2),
            ("ConfigTemplate", "configTemplates", "content", 1),
            ("ConfigTemplate", "configTemplates", "effective", 1),
            ("ConfigTemplate", "configTemplates", "client { id }", 2),
            ("ConfigTemplate", "configTemplates", "extends { id }", 2),
            ("ConfigTemplate", "configTemplates", "versions(first: 2) { nodes { id } }", 2),
        )
    },
    ("ConfigVersion", "content"): (
        2,
        "query ($n: Int!) { configs(first: $n) { nodes { versions { nodes { content } } } } }",
    ),
    ("ConfigVersion", "extends"): (
        3,
        "query ($n: Int!) { configs(first: $n) { nodes { versions { nodes { extends { id } } } } } }",
    ),
    ("Image", "url"): (1, "query ($n: Int!) { images(first: $n) { nodes { url(variant: ORIGINAL) } } }"),
    ("ImageGeneration", "image"): (
        2,
        "query ($n: Int!) { imageGenerations(first: $n) { nodes { image { id } } } }",
    ),
    ("Image", "device"): (
        2,
        "query ($n: Int!) { images(first: $n, filter: {sources: [DEVICE]}) { nodes { device { id } } } }",
    ),
    ("CleanupRun", "client"): (2, "query ($n: Int!) { cleanupRuns(first: $n) { nodes { client { id } } } }"),
    ("User", "client"): (2, "query ($n: Int!) { users(first: $n) { nodes { client { id } } } }"),
    ("AuditEntry", "actor"): (2, "query ($n: Int!) { auditLog(first: $n) { nodes { actor { name } } } }"),
    ("Event", "subject"): (
        2,
        'query ($n: Int!) { events(first: $n, filter: {types: ["device.registered"]}) '
        "{ nodes { subject { id } } } }",
    ),
}
# Lists that are no pages, because they have an end that everybody knows.
_BOUNDED = {
    *("StorageStats.kinds", "StorageStats.clients", "ClientUse.kinds", "StorageSweep.found"),
    "ConfigSchemaReport.failures",
    "ConfigFailure.violations",
    "DeviceTelemetry.points",
    "DeviceSummary.presence",
    "DeviceSummary.status",
    "DeviceSummary.firmware",
    "DeviceSummary.labels",
    "Rollout.stages",
    "SentDeviceCommands.results",
    "BulkDeviceResults.results",
    "BulkImageResults.results",
    "LocalStorageImport.results",
    "RetentionPolicy.rules",
    "Query.scheduledJobs",
    "DatabaseStats.tables",
    "Diagnostics.checks",
    "Diagnostics.disks",
    "Diagnostics.settings",
    "Diagnostics.warnings",
    "Query.cacheStats",
    "TableStats.partitions",
    "Workers.processes",
    "Workers.queues",
}
_RULE: dict[str, Any] = {"enabled": True, "keep_days": 1, "is_default": True, "updated_at": None}
# Those of things that come one at a time, asked directly for one parent and for many.
_SINGLE = {
    ("ClientUse", "client"): 1,
    ("DeviceUpdate", "event"): 0,
    ("ImageUpdate", "event"): 0,
    ("ConfigUpdate", "event"): 0,
    ("ImageGenerationUpdate", "event"): 0,
    ("ImageGenerationUpdate", "generation"): 1,
    ("Scene", "generation"): 1,
    ("Scene", "image"): 1,
    ("DeviceUpdate", "device"): 1,
    ("ConfigUpdate", "config"): 1,
    ("ImageUpdate", "image"): 1,
    ("Session", "user"): 1,
    ("RetentionPolicy", "client"): 1,
    ("Viewer", "user"): 1,
    ("Viewer", "client"): 1,
    ("Viewer", "device"): 1,
}


class _Counting(Database):
    """A database that knows how many statements were sent."""

    sent = 0

    async def _fetch(self, statement: Statement[R], arguments: list[Any]) -> list[R]:
        self.sent += 1
        return await super()._fetch(statement, arguments)


@dataclass
class _InProcess:
    """The parts of an API process, with a counting database."""

    services: Services
    database: _Counting

    async def context(self, token: str | None) -> Context:
        principal = await self.services.authenticator.principal(f"Bearer {token}")
        return Context(services=self.services, principal=principal, address="127.0.0.1")

    async def statements(self, token: str | None, document: str, n: int) -> tuple[int, Any]:
        """How many statements an operation takes, and its data."""
        context = await self.context(token)
        before = self.database.sent
        result: Any = execute(graphql_schema(), parse(document), None, context, {"n": n}, fallback=None)
        result = await result
        assert not result.errors, result.errors
        return self.database.sent - before, result.data


@pytest.fixture
async def inside(stack: Stack, tmp_path: Path) -> AsyncIterator[_InProcess]:
    settings = load_settings(
        data_dir=tmp_path,
        database_url=stack.environment["QM_DATABASE_URL"],
        redis_url=stack.environment["QM_REDIS_URL"],
        redis_namespace=stack.environment["QM_REDIS_NAMESPACE"],
        secret_key=stack.environment["QM_SECRET_KEY"],
    )
    database = await _Counting.connect(stack.environment["QM_DATABASE_URL"], pool_size=4)
    async with api_services(settings) as services:
        yield _InProcess(replace(services, database=database), database)
    await database.close()


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Organisation:
    """Made once: the tests only read it."""
    return asyncio.run(filled_organisation(stack))


@pytest.fixture
def full(filled: Organisation, api: Api) -> Organisation:
    """It, through the HTTP client of this test."""
    return filled.through(api.http)


def _rows(data: dict[str, Any]) -> int:
    (connection,) = data.values()
    return len(connection["nodes"])


async def _compare(inside: _InProcess, token: str | None, expected: int, document: str) -> None:
    one, data = await inside.statements(token, document, 1)
    assert _rows(data) == 1
    many, data = await inside.statements(token, document, MANY)
    assert _rows(data) == MANY
    assert (one, many) == (expected, expected)


def test_every_root_list_has_a_case() -> None:
    query = graphql_schema().query_type
    assert query is not None
    lists = {name for name, field in query.fields.items() if get_named_type(field.type).name.endswith("Connection")}
    assert lists == _LISTS.keys()


def test_every_relation_has_a_case() -> None:
    assert relation._declared == _RELATIONS.keys() | _SINGLE.keys()


def test_lists_are_connections() -> None:
    bare = [
        f"{name}.{field_name}"
        for name, type_ in graphql_schema().type_map.items()
        if isinstance(type_, GraphQLObjectType) and not name.startswith("__") and not name.endswith("Connection")
        for field_name, field in type_.fields.items()
        if "[" in str(field.type) and isinstance(get_named_type(field.type), GraphQLObjectType)
    ]
    assert set(bare) == _BOUNDED


@pytest.mark.parametrize("name", _LISTS)
async def test_a_root_list_takes_the_same_statements_for_one_row_and_for_many(
    inside: _InProcess, full: Organisation, name: str
) -> None:
    token = full.admin.token if name in ("clients", "storageSweeps") else full.operator.token
    await _compare(inside, token, *_LISTS[name])


@pytest.mark.parametrize("key", _RELATIONS, ids=".".join)
async def test_a_relation_takes_the_same_statements_under_one_parent_and_under_many(
    inside: _InProcess, full: Organisation, key: tuple[str, str]
) -> None:
    await _compare(inside, full.operator.token, *_RELATIONS[key])


@pytest.mark.parametrize("key", _SINGLE, ids=".".join)
async def test_a_batch_resolver_takes_the_same_statements_for_one_parent_and_for_many(
    inside: _InProcess, full: Organisation, key: tuple[str, str]
) -> None:
    context = await inside.context(full.admin.token)
    parents = await _parents(inside, full, key)
    assert len(set(map(str, parents))) > 1
    taken = []
    for given in (parents[:1], parents):
        before = inside.database.sent
        values = await relation.batch_resolver(*key)(context, given)
        assert len(values) == len(given)
        assert all(value is not None for value in values)
        taken.append(inside.database.sent - before)
    assert taken == [_SINGLE[key]] * 2


async def _parents(inside: _InProcess, org: Organisation, key: tuple[str, str]) -> Sequence[Any]:
    context = await inside.context(org.operator.token)
    if key[0] == "Scene":
        page = await list_events(inside.database, context.scope, first=50, after=None, subject_kind="Scene")
        return await scenes_by_ids(inside.database, context.scope, [event.subject_id for event in page.nodes])
    if key[0] in ("DeviceUpdate", "ImageUpdate", "ImageGenerationUpdate", "ConfigUpdate"):
        kind = key[0].removesuffix("Update")
        page = await list_events(inside.database, context.scope, first=50, after=None, subject_kind=kind)
        return page.nodes
    if key == ("Viewer", "device"):
        other = await Organisation.made(org.admin)
        devices = [await other.device() for _ in range(2)]
        return [(await inside.context(device.token)).principal for device in devices]
    if key[0] == "RetentionPolicy":
        rules = [RetentionRule(kind=kind, **_RULE) for kind in RetentionKind]
        return [RetentionPolicy(client_id=org.id, rules=[rule]) for rule in rules]
    principals = [(await inside.context(api.token)).principal for api in (org.operator, org.viewer)]
    if key[0] == "Session":
        return [SessionTokens("", "", datetime.now(UTC), str(principal.id)) for principal in principals]
    return principals


async def test_deep_lists_take_one_statement_for_each_level(inside: _InProcess, full: Organisation) -> None:
    document = (
        "query ($n: Int!) { devices(first: $n) { nodes { id images(first: 2) { totalCount nodes { id "
        "device { id client { id } } } } client { id } } } }"
    )
    one, _ = await inside.statements(full.operator.token, document, 1)
    many, data = await inside.statements(full.operator.token, document, MANY)
    assert sum(len(device["images"]["nodes"]) for device in data["devices"]["nodes"]) == 2 * MANY
    assert (one, many) == (6, 6)


async def test_the_subjects_of_mixed_events_take_one_statement_for_each_kind(
    inside: _InProcess, full: Organisation
) -> None:
    document = "query ($n: Int!) { events(first: $n) { nodes { subjectKind subject { id } } } }"
    taken, data = await inside.statements(full.operator.token, document, 100)
    kinds = {event["subjectKind"] for event in data["events"]["nodes"]}
    assert kinds == {
        *("CLIENT", "USER", "DEVICE", "IMAGE", "IMAGE_GENERATION", "SCENE", "FIRMWARE", "ROLLOUT"),
        *("CONFIG", "CONFIG_TEMPLATE"),
    }
    assert taken == 1 + len(kinds)


async def test_rows_by_id_that_are_asked_for_at_once_share_a_statement_in_each_scope(
    inside: _InProcess, full: Organisation
) -> None:
    other = await Organisation.made(full.admin)
    theirs = [(await other.device()).id for _ in range(3)]
    listed = await full.viewer.run("{ devices(first: 10) { nodes { id } } }")
    ids = [*(node["id"] for node in listed["devices"]["nodes"]), *theirs, theirs[0]]
    contexts = [await inside.context(caller.token) for caller in (full.viewer, other.viewer, full.admin)]
    document = parse("query ($id: ID!) { device(id: $id) { id } }")

    async def seen(context: Context, id: str) -> str | None:
        result: Any = await execute(graphql_schema(), document, None, context, {"id": id}, fallback=None)  # type: ignore[misc]
        assert not result.errors, result.errors
        device: dict[str, str] | None = result.data["device"]
        return device["id"] if device else None

    before = inside.database.sent
    found = await asyncio.gather(*(seen(context, id) for context in contexts for id in ids))
    mine = len(ids) - 4
    assert found == [*ids[:mine], *[None] * 4, *[None] * mine, *ids[mine:], *ids]
    assert inside.database.sent - before == len(contexts)
