"""Some of everything, made through the API, and callers of every kind who ask for it in this process.

Three clients: one has devices and images in every state, one has a few of its own under the same keys, and one
was closed. Nothing of it changes any more once `World.opened` has given it.
"""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from domain.events.models import EventRow
from domain.events.queries import events_onward
from domain.kit.errors import Unauthenticated
from domain.kit.scope import SYSTEM, Scope
from domain.users.principals import ANONYMOUS, Principal, PrincipalKind
from resolvers.context import Context, Platform, Services
from server.services import api_services
from server.settings import load_settings
from tests.configs.operations import DELETE as DELETE_CONFIG
from tests.configs.operations import SCHEMA, save, save_template
from tests.contract.documents import graphql_schema
from tests.contract.values import Samples
from tests.device_commands.operations import CANCEL, send, wake
from tests.devices.operations import DEREGISTER, UPDATE
from tests.firmware.operations import PAUSE, begun, uploaded
from tests.generation.operations import IMPORT, SCENE, ended, generate, scene
from tests.retention.operations import cleaned
from tests.storage.operations import swept
from tests.support.api import Api, Organisation, TestDevice
from tests.support.log import eventually
from tests.support.people import DELETE_USER, Person
from tests.support.photos import photo
from tests.support.stack import Stack

_TOKEN = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
_CLOSE = "mutation ($id: ID!) { deleteClient(id: $id) { id } }"
_PAGE = "{ __typename pageInfo { endCursor } }"
_PAGES = f"""{{ devices(first: 2) {{ __typename pageInfo {{ endCursor }} nodes {{ images(first: 1) {_PAGE}
    commands(first: 1) {{ __typename pageInfo {{ endCursor }} nodes {{ id }} }} }} }}
  byName: devices(first: 1, order: NAME_DESC) {_PAGE} bySeen: devices(first: 3, order: LAST_SEEN_AT_DESC) {_PAGE}
  images(first: 2) {_PAGE} byCapture: images(first: 1, order: CAPTURED_AT_ASC) {_PAGE}
  imageGenerations(first: 1) {_PAGE}
  firmwares(first: 1) {_PAGE} rollouts(first: 1) {{ __typename pageInfo {{ endCursor }}
    nodes {{ devices(first: 1) {_PAGE} }} }}
  configs(first: 1) {{ __typename pageInfo {{ endCursor }} nodes {{ versions(first: 1) {_PAGE} }} }}
  byDeviceName: configs(first: 1, order: DEVICE_NAME_DESC) {_PAGE} configTemplates(first: 1) {_PAGE}
  events(first: 3) {_PAGE} auditLog(first: 2) {_PAGE} clients(first: 1) {_PAGE} users(first: 1) {_PAGE} }}"""
_ENDED_PAGES = f"{{ cleanupRuns(first: 1) {_PAGE} storageSweeps(first: 1) {_PAGE} }}"
_OF_THESE = "client_id IN (SELECT client_id FROM devices WHERE id = ANY($1))"
_UNSETTLED = {
    "an event that is not in the log": "outbox WHERE $1::uuid[] IS NOT NULL",
    "an image that is worked on": f"images WHERE status NOT IN ('READY', 'REJECTED') AND {_OF_THESE}",
    "a picture that is made": f"image_generations WHERE status IN ('QUEUED', 'RUNNING') AND {_OF_THESE}",
}
_MACS = ("00-00-00-00-00-01", "00-00-00-00-00-02", "00-00-00-00-00-03")
_REJECTED = b"\xff\xd8\xff\xd9"  # a JPEG to whoever takes it, and no picture to whoever decodes it
_HEADERS = {"X-Battery-V": "3.92", "X-Battery-Pct": "81.5", "X-RSSI": "-61", "X-Firmware": "1.4.2"}


class _AskedOnce:
    """The platform as it was when it was first asked: two executors are compared by what does not change."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._told: dict[str, Any] = {}

    async def _once(self, name: str, *arguments: Any) -> Any:
        if name not in self._told:
            self._told[name] = await getattr(self._platform, name)(*arguments)
        return self._told[name]

    async def diagnostics(self, scope: Scope) -> Any:
        return await self._once("diagnostics", scope)

    async def database_stats(self, scope: Scope) -> Any:
        return await self._once("database_stats", scope)

    async def workers(self) -> Any:
        return await self._once("workers")

    async def cache_stats(self) -> Any:
        return await self._once("cache_stats")


@dataclass(frozen=True)
class World:
    """`callers` by what they are; `samples` for arguments; `events` of every type that there is, oldest first."""

    services: Services
    callers: dict[str, Principal]
    samples: Samples
    events: Sequence[EventRow]

    def context(self, caller: str) -> Context:
        """As a request of this caller gets it: with nothing loaded yet."""
        return Context(services=self.services, principal=self.callers[caller], address="127.0.0.1")

    @classmethod
    @asynccontextmanager
    async def opened(cls, stack: Stack, folder: Path) -> AsyncIterator["World"]:
        async with httpx.AsyncClient(base_url=stack.url, timeout=20) as http:
            admin = await stack.admin(Api(http))
            org, other = await asyncio.gather(Organisation.made(admin), Organisation.made(admin))
            devices = [*await _fleet(org), *await _few(other), *await _closed(admin)]
            client_token = (await org.operator.run(_TOKEN, id=org.id))["regenerateClientToken"]["token"]
            gone = await Person.made(admin, "VIEWER", org.id)
            await admin.run(DELETE_USER, id=gone.id)
            await _settled(stack.environment["QM_DATABASE_URL"], devices)
            pages = [await api.run(_PAGES) for api in (org.operator, other.operator)]
            for _ in range(2):
                await cleaned(org.operator, dry=True)
                await swept(admin, dryRun=True)
            pages.append(await admin.run(_ENDED_PAGES))
        async with api_services(_settings(stack, folder)) as opened:
            services = replace(opened, platform=_AskedOnce(opened.platform))
            tokens = {
                "admin": admin.token,
                "operator": org.operator.token,
                "viewer": org.viewer.token,
                "viewer of another client": other.viewer.token,
                "client": client_token,
                "device": devices[0].token,
            }
            find = services.authenticator.principal
            callers = {name: await find(f"Bearer {token}") for name, token in tokens.items()}
            refusal = Unauthenticated("The access token is over: refresh the session.", code="TOKEN_EXPIRED")
            callers["nobody"] = ANONYMOUS
            callers["nobody any more"] = Principal(PrincipalKind.ANONYMOUS, refusal=refusal)
            events = await _events(services, [org.id, other.id])
            yield cls(services, callers, _samples(devices, events, pages), events)


async def _fleet(org: Organisation) -> list[TestDevice]:
    """Devices in every state, and images in both that last."""
    names = ("busy", "never-seen", "disabled", "failing", "unseen", "gone")
    devices = [await org.device(f"cam-{name}", name=f"Shelf {name}") for name in names]
    busy, _, disabled, failing, unseen, gone = devices
    now = datetime.now(UTC)
    for number, device in enumerate([busy, busy, busy, failing, unseen, gone, gone]):
        captured = now - timedelta(days=20 * number, microseconds=now.microsecond * (number % 2))
        headers = {**_HEADERS, "X-Captured-At": captured.isoformat()}  # some are too old to be believed
        assert (await device.upload(photo(number), headers=headers)).status_code == 201
    assert (await busy.upload(_REJECTED)).status_code == 201
    for _ in range(3):
        assert (await failing.upload(photo()[:-100])).status_code == 422
    for device in (busy, disabled):
        assert (await device.heartbeat(headers={"X-RSSI": "-70"})).status_code == 200
    for kind in ("RESTART", "CAPTURE_NOW", "RESTART"):
        sent = await send(org.operator, busy, type=kind)
    await org.operator.run(CANCEL, id=sent["id"])
    (told, _) = (await wake(busy))["commands"]
    await wake(busy, commands=[{"id": told["id"], "status": "FAILED", "message": "no room"}])
    await send(org.operator, failing, type="CUSTOM", name="blink", arguments={"ü": [1.5, None, {}]})
    await _firmware(org, busy)
    await org.operator.run(UPDATE, id=disabled.id, changes={"enabled": False, "wakeIntervalSeconds": 60})
    await org.operator.run(DEREGISTER, id=gone.id)
    await _configs(org, busy)
    await _pictures(org)
    return devices


async def _pictures(org: Organisation) -> None:
    """Generations and scenes: some found again, some imported, one whose image was deleted."""
    for prompt in ("a hill", "a ü \u2028 lake"):
        await generate(org.operator, prompt, shape="PORTRAIT", tags=["hill"])
    for prompt in ("a mill", "A  MILL", "a barn"):
        _, made = await scene(org.operator, prompt)
    await ended(org.operator, made["generation"]["id"])
    found = (await org.operator.run(SCENE, id=made["id"]))["scene"]
    await org.operator.run("mutation ($id: ID!) { deleteImage(id: $id) { id } }", id=found["image"]["id"])
    encoded = base64.b64encode(photo()).decode()
    await org.operator.run(IMPORT, dump={"scene_a_well": f"data:image/jpeg;base64,{encoded}"})


async def _firmware(org: Organisation, busy: TestDevice) -> None:
    """Artifacts for boards, and rollouts that nothing moves on any more."""
    boards: list[tuple[str, dict[str, Any]]] = [("1.9", {}), ("2.0.0", {"board": "esp32-cam"}), ("2.0.0", {})]
    for version, board in boards:
        firmware = await uploaded(org.operator, version=version, **board)
        rollout = await begun(org.operator, firmware, stages=[{"percent": 40, "minutes": 9_000}])
        await wake(busy)
    await org.operator.run(PAUSE, id=rollout["id"])


async def _configs(org: Organisation, device: TestDevice) -> None:
    """Configs in every state: run, refused, waiting, deleted; with templates, versions and a schema."""
    await org.operator.run(SCHEMA, schema={"type": "object"})
    await save_template(org.operator, "base", {"enableOTA": True})
    await save_template(org.operator, "below", {"deviceName": "Shelf"}, extends="base")
    for number, mac in enumerate(_MACS):
        await save(org.operator, mac, {"deviceName": f"ü {number}"}, extends="below" if number else None)
        saved = await save(org.operator, mac, {"n": number}, note="second")
        said = {"version": saved["revision"], **({"error": "no"} if number == 1 else {})}
        await org.operator.run(UPDATE, id=device.id, changes={"mac": mac})
        assert (await device.heartbeat(json={"config": said})).status_code == 200
    await org.operator.run(DELETE_CONFIG, mac=_MACS[2])


async def _few(org: Organisation) -> list[TestDevice]:
    devices = [await org.device(key, name='ü "🛒" \u2028') for key in ("cam-busy", "cam-gone", "other:1.a_b")]
    for device in devices[:2]:
        assert (await device.upload(photo())).status_code == 201
    for version in ("1.0", "2.0.0"):
        await begun(org.operator, await uploaded(org.operator, version=version))
    return devices


async def _closed(admin: Api) -> list[TestDevice]:
    org = await Organisation.made(admin)
    device = await org.device()
    assert (await device.upload(photo())).status_code == 201
    await admin.run(_CLOSE, id=org.id)
    return [device]


async def _settled(url: str, devices: list[TestDevice]) -> None:
    """Wait until all that happened is in the log, and nothing of these devices' clients is being worked on."""
    connection, ids = await asyncpg.connect(url), [device.id for device in devices]
    for what, rows in _UNSETTLED.items():

        async def none(rows: str = rows) -> bool:
            return not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {rows})", ids)

        await eventually(none, what=f"the end of {what}")
    await connection.execute(  # nobody waits for a week
        "UPDATE devices SET last_seen_at = now() - interval '8 days 0.25 seconds' WHERE key = 'cam-unseen'"
    )
    await connection.close()


def _cursors(data: Any, type_name: str) -> list[str]:
    """The cursors at which pages of this type end, at any depth."""
    parts = data if isinstance(data, list) else data.values() if isinstance(data, dict) else ()
    found = [cursor for part in parts for cursor in _cursors(part, type_name)]
    if isinstance(data, dict) and data.get("__typename") == type_name:
        found.append(data["pageInfo"]["endCursor"])
    return [cursor for cursor in dict.fromkeys(found) if cursor is not None]


async def _events(services: Services, client_ids: list[str]) -> list[EventRow]:
    rows = await events_onward(services.database, SYSTEM, 0, 100_000)
    return [row for row in rows if row.client_id in client_ids]


def _settings(stack: Stack, folder: Path) -> Any:
    return load_settings(
        data_dir=folder,
        database_url=stack.environment["QM_DATABASE_URL"],
        redis_url=stack.environment["QM_REDIS_URL"],
        redis_namespace=stack.environment["QM_REDIS_NAMESPACE"],
        secret_key=stack.environment["QM_SECRET_KEY"],
    )


def _samples(devices: list[TestDevice], events: Sequence[EventRow], pages: Any) -> Samples:
    """What there is, of the caller or of others, and what there is not."""
    subjects = list(dict.fromkeys(event.subject_id for event in events))
    keys = list(dict.fromkeys(device.key for device in devices))
    moments = [event.recorded_at.isoformat() for event in events[:: max(1, len(events) // 3)]]
    connections = [name for name in graphql_schema().type_map if name.endswith("Connection")]
    cursors = {f"{name}.after": _cursors(pages, name) for name in connections}
    good: dict[str, list[Any]] = {
        **cursors,
        "first": [1, 2, 3, 5, 20, 100],
        "keys": keys,
        "types": list(dict.fromkeys(event.type for event in events)),
        "versions": ["1.9", "2.0.0"],
        "boards": ["esp32-cam", "none"],
        "search": ["cam", "shelf bus", "Shelf-gone cam"],
        "ids": [device.id for device in devices],
        "deviceId": [device.id for device in devices],
        "DeviceCommand.id": [event.data["commandId"] for event in events if event.type == "device_command.queued"],
        "clientId": list(dict.fromkeys(event.client_id for event in events)),
        "ID": subjects,
        "String": keys,
        "DateTime": ["2026-01-03T12:00:00", "2026-01-03T13:00:00.5+01:00", *moments],
        "MacAddress": [*_MACS, "00-00-00-00-00-99"],
        "name": ["base", "BELOW", *keys],
        "deviceName": ["ü 0", "shelf"],
        **{name: [1, 2] for name in ("number", "from", "to")},
        **{f"DeviceTelemetry.{name}": moments for name in ("from", "to")},
    }
    odd: dict[str, list[Any]] = {
        "first": [0, 101, -1, 2**31 - 1],
        "after": [cursor for found in cursors.values() for cursor in found],
        "ID": [str(uuid.UUID(int=7)), "x", "", 5, subjects[0].upper(), "\u0000"],
        "String": ["", "x", "\u0000", "ü🛒\u2028", '"quoted"\n', "?!"],
        "MacAddress": [_MACS[0].upper(), "0000.0000.0001"],
        "DateTime": ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"],
    }
    plain: dict[str, list[Any]] = {"Int": [0, 1, -(2**31)], "Float": [0, 1.5], "Boolean": [True, False]}
    return Samples({**plain, **good}, {**plain, **odd})
