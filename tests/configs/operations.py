"""What tests of configs ask, and what they make."""

import uuid
from typing import Any

import asyncpg

from tests.support.api import Api, Organisation, TestDevice

_FIELDS = """{ id mac version revision deviceName deviceEntityId enableOTA content effective deletedAt
  extends { name } } }"""
SAVE = (
    """mutation ($mac: MacAddress!, $content: JSON!, $expected: Int, $note: String, $extends: String, $client: ID)
  { saveConfig(mac: $mac, content: $content, expectedVersion: $expected, note: $note, extends: $extends,
    clientId: $client) """
    + _FIELDS
)
ROLLBACK = (
    """mutation ($mac: MacAddress!, $to: Int!, $expected: Int, $note: String) {
  rollbackConfig(mac: $mac, toVersion: $to, expectedVersion: $expected, note: $note) """
    + _FIELDS
)
DELETE = """mutation ($mac: MacAddress!, $expected: Int) {
  deleteConfig(mac: $mac, expectedVersion: $expected) { id } }"""
RESTORE = "mutation ($mac: MacAddress!) { restoreConfig(mac: $mac) " + _FIELDS
CONFIG = "query ($mac: MacAddress!, $client: ID) { config(mac: $mac, clientId: $client) " + _FIELDS
VERSIONS = """query ($mac: MacAddress!, $first: Int! = 20, $after: String) { config(mac: $mac) {
  versions(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
    nodes { id number note restores authorKind authorId createdAt content extends { name } } } } }"""
TEMPLATE = """mutation ($name: String!, $content: JSON!, $extends: String, $expected: Int, $note: String) {
  saveConfigTemplate(name: $name, content: $content, extends: $extends, expectedVersion: $expected, note: $note) {
    id name version content effective extends { name } versions { totalCount } } }"""
SCHEMA = """mutation ($schema: JSON!, $dryRun: Boolean! = false) {
  setConfigSchema(schema: $schema, dryRun: $dryRun) {
  applied checked failed failures { id mac violations { path message schemaPath } } } }"""
DEVICE = """query ($id: ID!) { device(id: $id) { config {
  desired reported inSync since reportedAt offeredAt overdueAt
  refused { version error at } config { id } } } }"""


def new_mac() -> str:
    digits = uuid.uuid4().hex[:12]
    return "-".join(digits[start : start + 2] for start in range(0, 12, 2))


async def save(api: Api, mac: str, content: Any, **arguments: Any) -> dict[str, Any]:
    saved: dict[str, Any] = (await api.run(SAVE, mac=mac, content=content, **arguments))["saveConfig"]
    return saved


async def config(api: Api, mac: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.run(CONFIG, mac=mac))["config"]
    return found


async def save_template(api: Api, name: str, content: Any, **arguments: Any) -> dict[str, Any]:
    saved: dict[str, Any] = (await api.run(TEMPLATE, name=name, content=content, **arguments))["saveConfigTemplate"]
    return saved


async def configured(org: Organisation, content: Any, **arguments: Any) -> tuple[TestDevice, dict[str, Any]]:
    """A device and its config."""
    mac = new_mac()
    return await org.device(mac=mac), await save(org.operator, mac, content, **arguments)


async def state(org: Organisation, device: TestDevice) -> dict[str, Any]:
    """What is known of the device's config."""
    found: dict[str, Any] = (await org.operator.run(DEVICE, id=device.id))["device"]["config"]
    return found


async def fetched(database_url: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
        return rows
    finally:
        await connection.close()
