"""What these tests send: uploads, operations on rollouts, and devices that report what they run."""

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.api import Api, Organisation, TestDevice
from tests.support.log import eventually
from tests.support.sql import execute

IMAGE = b"\xe9" + bytes(range(256)) * 40
ROLLOUT_FIELDS = """id status reason stage stageLimit deviceCount failureShare timeoutMinutes retries finishedAt
  stages { percent minutes } firmware { id version }
  progress { pending offered downloading installed failed timedOut skipped cancelled }"""
CREATE = f"mutation ($rollout: NewRollout!) {{ createRollout(rollout: $rollout) {{ {ROLLOUT_FIELDS} }} }}"
PAUSE = f"mutation ($id: ID!) {{ pauseRollout(id: $id) {{ {ROLLOUT_FIELDS} }} }}"
RESUME = f"mutation ($id: ID!) {{ resumeRollout(id: $id) {{ {ROLLOUT_FIELDS} }} }}"
CANCEL = f"mutation ($id: ID!) {{ cancelRollout(id: $id) {{ {ROLLOUT_FIELDS} }} }}"
ROLLOUT = f"query ($id: ID!) {{ rollout(id: $id) {{ {ROLLOUT_FIELDS} }} }}"
DEVICES = """query ($id: ID!, $state: FirmwareUpdateState, $first: Int! = 100, $after: String) {
  rollout(id: $id) { devices(state: $state, first: $first, after: $after) {
    nodes { position state attempts error endedAt device { id } } totalCount pageInfo { hasNextPage endCursor }
  } }
}"""
UPDATE_OF = """query ($id: ID!) { device(id: $id) { firmwareUpdate {
  state since attempts error version rollout { id status }
} } }"""
FIRMWARE = """query ($id: ID!) { firmware(id: $id) {
  id version board note sha256 sizeBytes warning createdAt deletedAt uploaderKind uploaderId
} }"""
FIRMWARES = """query ($filter: FirmwareFilter, $first: Int! = 20, $after: String) {
  firmwares(filter: $filter, first: $first, after: $after) {
    nodes { id version } totalCount pageInfo { hasNextPage endCursor }
  }
}"""
UPDATE = "mutation ($id: ID!, $note: String) { updateFirmware(id: $id, note: $note) { id note } }"
DELETE = "mutation ($id: ID!) { deleteFirmware(id: $id) { id } }"


async def upload(
    api: Api, content: Any = IMAGE, *, headers: Mapping[str, str] | None = None, **said: Any
) -> httpx.Response:
    """Post an artifact of version 2.0.0 unless said otherwise."""
    given = {**api.headers, "Content-Type": "application/octet-stream", **(headers or {})}
    return await api.http.post("/v1/firmware", params={"version": "2.0.0", **said}, content=content, headers=given)


async def uploaded(api: Api, content: bytes = IMAGE, **said: Any) -> str:
    """The id of an artifact that must be taken."""
    answer = await upload(api, content, **said)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["firmwareId"])


async def begun(api: Api, firmware_id: str, **plan: Any) -> dict[str, Any]:
    """A rollout that must be taken; for all devices unless said otherwise."""
    for_whom = {} if plan.keys() & {"deviceIds", "labels", "all"} else {"all": True}
    made: dict[str, Any] = (await api.run(CREATE, rollout={"firmwareId": firmware_id, **for_whom, **plan}))[
        "createRollout"
    ]
    return made


async def rollout_now(api: Api, rollout_id: str) -> dict[str, Any]:
    rollout: dict[str, Any] = (await api.run(ROLLOUT, id=rollout_id))["rollout"]
    return rollout


async def devices_of(api: Api, rollout_id: str, **variables: Any) -> dict[str, Any]:
    """A page of the rollout's devices."""
    page: dict[str, Any] = (await api.run(DEVICES, id=rollout_id, **variables))["rollout"]["devices"]
    return page


async def update_of(api: Api, device: TestDevice) -> dict[str, Any]:
    """How far the device is."""
    update: dict[str, Any] = (await api.run(UPDATE_OF, id=device.id))["device"]["firmwareUpdate"]
    return update


async def wake(device: TestDevice, runs: str | None = "1.0.0", **said: Any) -> dict[str, Any] | None:
    """The firmware that the device is offered."""
    vitals = {} if runs is None else {"firmware": runs}
    answer = await device.heartbeat(json={**vitals, **said})
    assert answer.status_code == 200, answer.text
    offered: dict[str, Any] | None = answer.json()["next"]["firmware"]
    return offered


async def reaches(org: Organisation, rollout_id: str, **expected: Any) -> dict[str, Any]:
    """The rollout, once it is so."""

    async def is_so() -> Any:
        now = await rollout_now(org.viewer, rollout_id)
        return now if expected.items() <= now.items() else None

    rollout: dict[str, Any] = await eventually(is_so, within=30, what=f"a rollout with {expected}")
    return rollout


def progress(**counts: int) -> dict[str, int]:
    none = dict.fromkeys(
        ("pending", "offered", "downloading", "installed", "failed", "timedOut", "skipped", "cancelled"), 0
    )
    return {**none, **counts}


async def let_offers_be_over(database_url: str, rollout_id: str) -> None:
    await execute(
        database_url,
        f"UPDATE rollout_devices SET due_at = now() - interval '1 second' "
        f"WHERE rollout_id = '{rollout_id}' AND due_at IS NOT NULL",
    )


async def by_position(org: Organisation, rollout_id: str, devices: list[TestDevice]) -> list[TestDevice]:
    """The devices in the order in which stages take them."""
    found = {device.id: device for device in devices}
    page = await devices_of(org.viewer, rollout_id)
    return [found[node["device"]["id"]] for node in page["nodes"]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
