"""Desired and reported: what a device that wakes is told, and what is remembered of what it says."""

import asyncio
import json
from typing import Any

import pytest

from domain.configs.wakes import mark_overdue
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from tests.configs.operations import (
    DELETE,
    RESTORE,
    configured,
    fetched,
    new_mac,
    save,
    save_template,
    state,
)
from tests.devices.operations import UPDATE
from tests.support.api import Organisation, TestDevice
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.sql import execute

STATE = "SELECT *, xmin FROM device_config_states WHERE device_id = $1::text::uuid"


async def wake(device: TestDevice, version: int | None = None, error: str | None = None) -> dict[str, Any]:
    """What a device is answered that reports this version of its config."""
    said = {} if version is None else {"config": {"version": version, **({"error": error} if error else {})}}
    response = await device.heartbeat(json=said)
    assert response.status_code == 200, response.text
    following: dict[str, Any] = response.json()["next"]
    return following


def offered(following: dict[str, Any]) -> tuple[int | None, Any]:
    return following["configVersion"], following["config"]


async def test_a_device_is_told_until_it_confirms_and_not_again(org: Organisation) -> None:
    content = {"zeta": 1, "alpha": {"b": 1, "a": 2}}
    device, config = await configured(org, content)
    revision = config["revision"]
    for said in (None, None, 0):
        version, given = offered(await wake(device, said))
        assert (version, json.dumps(given)) == (revision, json.dumps(content))  # in its order
    assert offered(await wake(device, revision)) == (None, None)
    assert offered(await wake(device, revision)) == (None, None)
    events = await logged(org.viewer, 1, subjectIds=[device.id], types=["device.config_applied"])
    assert [event["data"] for event in events] == [{"version": revision}]
    assert (events[0]["actorKind"], events[0]["actorId"]) == ("DEVICE", device.id)


async def test_what_is_known_of_a_device_says_whether_it_is_in_sync_and_since_when(org: Organisation) -> None:
    device, config = await configured(org, {"n": 1})
    mac, revision = config["mac"], config["revision"]
    before = await state(org, device)
    assert (before["desired"], before["reported"], before["inSync"]) == (revision, None, False)
    assert (before["offeredAt"], before["config"]["id"]) == (None, config["id"])
    await wake(device)
    offer = await state(org, device)
    assert (offer["reported"], offer["inSync"]) == (None, False)
    assert offer["since"] < offer["offeredAt"]
    await wake(device, revision)
    synced = await state(org, device)
    assert (synced["reported"], synced["inSync"], synced["since"]) == (revision, True, synced["reportedAt"])
    after = await save(org.operator, mac, {"n": 2})
    behind = await state(org, device)
    assert (behind["desired"], behind["reported"], behind["inSync"]) == (after["revision"], revision, False)
    assert behind["since"] > synced["since"]
    assert offered(await wake(device, revision)) == (after["revision"], {"n": 2})
    assert offered(await wake(device, after["revision"])) == (None, None)
    assert (await state(org, device))["inSync"] is True
    applied = await logged(org.viewer, 2, subjectIds=[device.id], types=["device.config_applied"])
    assert [event["data"]["version"] for event in applied] == [revision, after["revision"]]


async def test_a_wake_that_says_nothing_new_writes_nothing(org: Organisation, database_url: str) -> None:
    device, config = await configured(org, {"n": 1})

    async def written() -> list[Any]:
        return [dict(row) for row in await fetched(database_url, STATE, device.id)]

    assert await written() == []
    for version in (None, 3, config["revision"]):
        await wake(device, version)
        once = await written()
        await wake(device, version)
        assert await written() == once != []
    lonely = await org.device()
    await wake(lonely)
    assert await fetched(database_url, STATE, lonely.id) == []
    assert await state(org, lonely) is None


async def test_a_photo_is_answered_with_the_config_too(org: Organisation) -> None:
    device, config = await configured(org, {"n": 1})
    answer = await device.upload(photo())
    assert offered(answer.json()["next"]) == (config["revision"], {"n": 1})
    answer = await device.upload(photo(2), headers={"X-Config-Version": str(config["revision"])})
    assert offered(answer.json()["next"]) == (None, None)
    assert (await state(org, device))["inSync"] is True


async def test_what_a_device_refused_is_offered_again_a_day_later_or_when_it_is_another(
    org: Organisation, database_url: str
) -> None:
    device, config = await configured(org, {"n": 1})
    revision = config["revision"]
    assert offered(await wake(device, 1)) == (revision, {"n": 1})
    assert offered(await wake(device, revision, "no \x00 such\nkey " + "x" * 900)) == (None, None)
    refused = (await state(org, device))["refused"]
    assert refused["version"] == revision
    assert refused["error"].startswith("no such key xxx")
    assert 490 < len(refused["error"]) <= 500
    assert (await state(org, device))["inSync"] is False
    assert offered(await wake(device, 1)) == (None, None)
    assert offered(await wake(device, revision, "another reason")) == (None, None)
    await execute(
        database_url,
        f"UPDATE device_config_states SET refused_at = now() - interval '25 hours' WHERE device_id = '{device.id}'",
    )
    assert offered(await wake(device, 1)) == (revision, {"n": 1})
    assert offered(await wake(device, revision, "another reason")) == (None, None)
    assert offered(await wake(device, 1)) == (None, None)  # it has said so again
    changed = await save(org.operator, config["mac"], {"n": 2})
    assert offered(await wake(device, 1)) == (changed["revision"], {"n": 2})
    assert offered(await wake(device, changed["revision"])) == (None, None)
    assert (await state(org, device))["refused"] is None
    events = await logged(org.viewer, 2, subjectIds=[device.id], types=["device.config_refused"])
    assert [event["data"]["error"] for event in events][1:] == ["another reason"]
    assert events[1]["data"]["version"] == revision


async def test_a_change_of_a_template_reaches_the_devices_under_it(org: Organisation) -> None:
    await save_template(org.operator, "base", {"interval": 60})
    device, config = await configured(org, {"name": "x"}, extends="base")
    other, same = await configured(org, {"interval": 5}, extends="base")
    await wake(device, config["revision"])
    await wake(other, same["revision"])
    await save_template(org.operator, "base", {"interval": 30})
    version, content = offered(await wake(device, config["revision"]))
    assert content == {"interval": 30, "name": "x"}
    assert version is not None
    assert version > config["revision"]
    assert offered(await wake(other, same["revision"])) == (None, None)


async def test_a_device_that_gets_another_mac_gets_its_config_whatever_the_numbers(org: Organisation) -> None:
    device, first = await configured(org, {"n": 1})
    second = await save(org.operator, new_mac(), {"n": 2})
    assert second["version"] == first["version"]
    assert second["revision"] != first["revision"]
    await wake(device, first["revision"])
    await org.operator.run(UPDATE, id=device.id, changes={"mac": second["mac"]})
    assert offered(await wake(device, first["revision"])) == (second["revision"], {"n": 2})


async def test_a_deleted_config_is_not_offered_and_a_restored_one_is(org: Organisation) -> None:
    device, config = await configured(org, {"n": 1})
    await wake(device, config["revision"])
    await org.operator.run(DELETE, mac=config["mac"])
    assert offered(await wake(device, config["revision"])) == (None, None)
    gone = await state(org, device)
    assert (gone["desired"], gone["reported"], gone["inSync"]) == (None, config["revision"], False)
    assert (gone["since"], gone["config"]) == (None, None)
    await org.operator.run(RESTORE, mac=config["mac"])
    assert offered(await wake(device, config["revision"])) == (None, None)
    assert (await state(org, device))["inSync"] is True


async def test_another_clients_config_of_the_same_mac_is_not_given(
    org: Organisation, other_org: Organisation
) -> None:
    mac = new_mac()
    device = await org.device(mac=mac)
    await save(other_org.operator, mac, {"secret": 1})
    assert offered(await wake(device)) == (None, None)
    assert await state(org, device) is None


@pytest.mark.parametrize("version", [2**31 - 1, 2**31])
async def test_versions_that_nobody_gave_are_remembered_or_passed_over(org: Organisation, version: int) -> None:
    device, config = await configured(org, {"n": 1})
    assert offered(await wake(device, version)) == (config["revision"], {"n": 1})
    assert (await state(org, device))["reported"] == (version if version < 2**31 else None)


async def test_what_was_offered_and_is_not_confirmed_is_overdue(org: Organisation, database_url: str) -> None:
    late, config = await configured(org, {"n": 1})
    asleep, _ = await configured(org, {"n": 1})
    refusing, refused = await configured(org, {"n": 1})
    done, confirmed = await configured(org, {"n": 1})
    for device in (late, asleep, refusing, done):
        await wake(device)
    await wake(refusing, refused["revision"], "never")
    await wake(done, confirmed["revision"])
    ids = ", ".join(f"'{device.id}'" for device in (late, asleep, refusing, done))
    await execute(
        database_url,
        f"UPDATE device_config_states SET offered_at = now() - interval '4 hours' WHERE device_id IN ({ids})",
    )
    await execute(
        database_url, f"UPDATE devices SET last_seen_at = now() - interval '3 hours' WHERE id = '{asleep.id}'"
    )
    database = await Database.connect(database_url, pool_size=1)
    try:
        for _ in range(2):  # once is enough
            async with transaction(database) as tx:
                await mark_overdue(tx, SYSTEM)
    finally:
        await database.close()
    events = await logged(org.viewer, 1, types=["device.config_overdue"])
    assert [(event["subjectId"], event["data"]["version"]) for event in events] == [(late.id, config["revision"])]
    found = await state(org, late)
    assert found["overdueAt"]
    assert found["inSync"] is False
    assert [(await state(org, device))["overdueAt"] for device in (asleep, refusing, done)] == [None] * 3
    await wake(late, config["revision"])
    assert (await state(org, late))["overdueAt"] is None


async def test_configs_are_found_by_whether_their_device_runs_them(org: Organisation) -> None:
    device, config = await configured(org, {"n": 1})
    _, waiting = await configured(org, {"n": 1})
    alone = await save(org.operator, new_mac(), {})
    await wake(device, config["revision"])
    document = "query ($inSync: Boolean) { configs(filter: {inSync: $inSync}) { nodes { id device { id } } } }"
    synced = (await org.viewer.run(document, inSync=True))["configs"]["nodes"]
    assert synced == [{"id": config["id"], "device": {"id": device.id}}]
    others = (await org.viewer.run(document, inSync=False))["configs"]["nodes"]
    assert {node["id"] for node in others} == {waiting["id"], alone["id"]}
    assert {node["id"]: node["device"] for node in others}[alone["id"]] is None


async def test_a_device_may_see_how_it_stands_and_not_the_config_by_this_way(org: Organisation) -> None:
    device, config = await configured(org, {"wifi": "s3cret"})
    api = org.operator.with_token(device.token)
    document = "{ viewer { device { config { desired %s } } } }"
    assert (await api.run(document % ""))["viewer"]["device"]["config"] == {"desired": config["revision"]}
    answer = (await api.post(document % "config { content }")).json()
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert "s3cret" not in json.dumps(answer)


async def test_many_that_wake_while_their_template_changes_all_come_to_run_it(org: Organisation) -> None:
    await save_template(org.operator, "base", {"n": 0})
    fleet = [await configured(org, {"own": number}, extends="base") for number in range(8)]

    async def live(device: TestDevice) -> dict[str, Any]:
        """Wake after wake, until nothing is offered any more; what it runs then."""
        version: int | None = None
        content: dict[str, Any] = {}
        for _ in range(50):
            following = offered(await wake(device, version))
            if following[0] is None and following[1] is None and content.get("n") == 3:
                break
            version, content = following if following[0] is not None else (version, content)
        return content

    async def change() -> None:
        for number in (1, 2, 3):
            await save_template(org.operator, "base", {"n": number})

    *running, _ = await asyncio.gather(*(live(device) for device, _ in fleet), change())
    assert running == [{"n": 3, "own": number} for number in range(8)]
    assert {(await state(org, device))["inSync"] for device, _ in fleet} == {True}
