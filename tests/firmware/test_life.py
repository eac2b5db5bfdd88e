"""The life of a rollout through HTTP: devices report by heartbeat, and nothing but their own word counts."""

from tests.configs.operations import DELETE as DELETE_CONFIG
from tests.configs.operations import new_mac, save, save_template
from tests.devices.operations import DEREGISTER
from tests.firmware.operations import (
    IMAGE,
    RESUME,
    begun,
    by_position,
    devices_of,
    let_offers_be_over,
    progress,
    reaches,
    rollout_now,
    sha256,
    update_of,
    uploaded,
    wake,
)
from tests.support.api import Organisation
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.sql import execute

_SET_BOARD = "mutation ($id: ID!, $board: String) { updateDevice(id: $id, changes: {board: $board}) { board } }"


async def test_a_rollout_from_its_begin_to_its_end(org: Organisation) -> None:
    devices = [await org.device() for _ in range(3)]
    rollout = await begun(org.operator, await uploaded(org.operator), failureShare=0.5)
    assert (rollout["status"], rollout["deviceCount"], rollout["stageLimit"]) == ("RUNNING", 3, 3)
    assert rollout["stages"] == [{"percent": 100.0, "minutes": None}]
    assert rollout["progress"] == progress(pending=3)

    good, bad, slow = devices
    offered = await wake(good)
    assert offered is not None
    assert {name: offered[name] for name in ("version", "sha256", "sizeBytes")} == {
        "version": "2.0.0",
        "sha256": sha256(IMAGE),
        "sizeBytes": len(IMAGE),
    }
    assert (await org.operator.http.get(offered["url"])).content == IMAGE
    assert (await update_of(org.viewer, good))["state"] == "OFFERED"
    again = await wake(good, update={"version": "2.0.0", "status": "DOWNLOADING"})
    assert again is not None  # until it is installed: the link may have ended
    now = await update_of(org.viewer, good)
    assert (now["state"], now["attempts"], now["version"]) == ("DOWNLOADING", 1, "2.0.0")
    assert now["rollout"] == {"id": rollout["id"], "status": "RUNNING"}
    assert await wake(good, runs="2.0.0") is None
    assert (await update_of(org.viewer, good))["state"] == "INSTALLED"

    assert await wake(bad) is not None
    assert await wake(bad, update={"version": "2.0.0", "status": "FAILED", "error": "bad signature"}) is None
    now = await update_of(org.viewer, bad)
    assert (now["state"], now["error"]) == ("FAILED", "bad signature")
    assert await wake(bad) is None  # and is not offered it again

    answer = await slow.upload(photo(), headers={"X-Firmware": "1.0.0"})
    assert answer.json()["next"]["firmware"]["url"]
    assert (await rollout_now(org.viewer, rollout["id"]))["progress"] == progress(installed=1, failed=1, offered=1)
    assert await wake(slow, runs="2.0.0") is None
    done = await reaches(org, rollout["id"], status="COMPLETED")
    assert done["finishedAt"]
    assert done["progress"] == progress(installed=2, failed=1)

    page = await devices_of(org.viewer, rollout["id"], state="FAILED")
    assert [(node["device"]["id"], node["error"]) for node in page["nodes"]] == [(bad.id, "bad signature")]
    assert page["totalCount"] == 1
    types = ["firmware_update.offered", "firmware_update.downloading", "firmware_update.installed"]
    events = await logged(org.viewer, 3, types=types, subjectIds=[good.id])
    assert [event["type"] for event in events] == types
    assert {(event["actorKind"], event["actorId"]) for event in events} == {("DEVICE", good.id)}
    assert {event["data"]["rolloutId"] for event in events} == {rollout["id"]}
    (failed,) = await logged(org.viewer, types=["firmware_update.failed"], subjectIds=[bad.id])
    assert failed["data"]["error"] == "bad signature"
    events = await logged(org.viewer, 2, subjectIds=[rollout["id"]])
    assert [event["type"] for event in events] == ["rollout.created", "rollout.completed"]


async def test_what_a_device_claims_is_not_what_it_runs(org: Organisation) -> None:
    device = await org.device()
    await begun(org.operator, await uploaded(org.operator))
    early = {"version": "2.0.0", "status": "FAILED"}
    assert await wake(device, update=early) is not None  # of something that it was never offered
    assert (await update_of(org.viewer, device))["state"] == "OFFERED"
    for update in ({"version": "9.9", "status": "FAILED"}, {"version": "9.9", "status": "DOWNLOADING"}):
        assert await wake(device, update=update) is not None
        assert (await update_of(org.viewer, device))["state"] == "OFFERED"
    await wake(device, runs="2.0.0-rc1")
    assert (await update_of(org.viewer, device))["state"] == "OFFERED"
    await wake(device, runs="2.0.0", update={"version": "2.0.0", "status": "FAILED"})
    assert (await update_of(org.viewer, device))["state"] == "INSTALLED"


async def test_who_runs_it_already_or_has_another_board_is_skipped(org: Organisation) -> None:
    right, wrong, unknown, runs_it = (
        await org.device(board="esp32-cam"),
        await org.device(board="esp32-s3"),
        await org.device(),
        await org.device(board="esp32-cam"),
    )
    await wake(runs_it, runs="2.0.0")
    rollout = await begun(org.operator, await uploaded(org.operator, board="esp32-cam"))
    assert rollout["progress"] == progress(pending=1, skipped=3)
    assert (rollout["deviceCount"], rollout["stageLimit"]) == (1, 1)
    for device, reason in ((wrong, "board"), (unknown, "board"), (runs_it, "runs this version")):
        assert await wake(device) is None
        assert reason in (await update_of(org.viewer, device))["error"]
    await org.operator.run(_SET_BOARD, id=right.id, board="esp32-s3")
    assert await wake(right) is None  # its board was corrected meanwhile
    await org.operator.run(_SET_BOARD, id=right.id, board="esp32-cam")
    assert await wake(right) is not None


async def test_firmware_without_a_board_is_for_any(org: Organisation) -> None:
    devices = [await org.device(board="esp32-cam"), await org.device()]
    await begun(org.operator, await uploaded(org.operator))
    assert [await wake(device) is not None for device in devices] == [True, True]


async def test_a_config_may_forbid_updates_and_allow_them_again(org: Organisation) -> None:
    """`enableOTA`, also as a template says it."""
    mac = new_mac()
    device = await org.device(mac=mac)
    await save_template(org.operator, "careful", {"enableOTA": False})
    await save(org.operator, mac, {}, extends="careful")
    rollout = await begun(org.operator, await uploaded(org.operator))
    assert await wake(device) is None
    assert (await update_of(org.viewer, device))["state"] == "PENDING"
    assert (await device.upload(photo())).json()["next"]["firmware"] is None
    await save(org.operator, mac, {"enableOTA": True})
    assert await wake(device) is not None
    await save(org.operator, mac, {"enableOTA": False})
    assert await wake(device) is None  # whatever was offered before
    await org.operator.run(DELETE_CONFIG, mac=mac)
    assert await wake(device) is not None
    assert (await rollout_now(org.viewer, rollout["id"]))["progress"] == progress(offered=1)


async def test_labels_and_ids_say_for_whom(org: Organisation) -> None:
    cold, both, gone = (
        await org.device(labels=["cold"]),
        await org.device(labels=["cold", "door"]),
        await org.device(labels=["cold", "door"]),
    )
    await org.operator.run(DEREGISTER, id=gone.id)
    firmware = await uploaded(org.operator)
    labelled = await begun(org.operator, firmware, labels=["door", "cold"])
    page = await devices_of(org.viewer, labelled["id"])
    assert [node["device"]["id"] for node in page["nodes"]] == [both.id]
    named = await begun(org.operator, await uploaded(org.operator, version="2.1"), deviceIds=[cold.id, cold.id])
    page = await devices_of(org.viewer, named["id"])
    assert [node["device"]["id"] for node in page["nodes"]] == [cold.id]


async def test_stages_take_a_part_after_the_other(org: Organisation, database_url: str) -> None:
    devices = [await org.device() for _ in range(10)]
    stages = [{"percent": 10}, {"percent": 45, "minutes": 30}]
    rollout = await begun(org.operator, await uploaded(org.operator), stages=stages)
    assert [stage["percent"] for stage in rollout["stages"]] == [10, 45, 100]
    order = await by_position(org, rollout["id"], devices)
    assert [await wake(device) is not None for device in order] == [True] + [False] * 9
    await wake(order[0], runs="2.0.0")  # the stage is done, so the next one begins
    await reaches(org, rollout["id"], stage=1, stageLimit=5)
    assert [await wake(device) is not None for device in order[1:]] == [True] * 4 + [False] * 5
    assert (await rollout_now(org.viewer, rollout["id"]))["stage"] == 1
    await execute(
        database_url,
        f"UPDATE rollouts SET stage_started_at = now() - interval '31 minutes' WHERE id = '{rollout['id']}'",
    )
    await reaches(org, rollout["id"], stage=2, stageLimit=10)  # its time is over
    assert [await wake(device) is not None for device in order[1:]] == [True] * 9
    events = await logged(org.viewer, 2, types=["rollout.stage_started"], subjectIds=[rollout["id"]])
    assert [event["data"] for event in events] == [{"stage": 1, "devices": 5}, {"stage": 2, "devices": 10}]


async def test_a_rollout_in_which_too_many_fail_stops_by_itself(org: Organisation) -> None:
    devices = [await org.device() for _ in range(8)]
    rollout = await begun(org.operator, await uploaded(org.operator), failureShare=0.4)
    for device in devices:
        assert await wake(device) is not None
    for device in devices[:3]:
        await wake(device, runs="2.0.0")
    for device in devices[3:5]:
        await wake(device, update={"version": "2.0.0", "status": "FAILED"})
    assert (await rollout_now(org.viewer, rollout["id"]))["status"] == "RUNNING"  # 2 of 5 is no more than 40 %
    await wake(devices[5], update={"version": "2.0.0", "status": "FAILED"})
    stopped = await rollout_now(org.viewer, rollout["id"])  # at once, not when the clock comes round
    assert (stopped["status"], stopped["reason"]) == (
        "PAUSED",
        "3 of 6 devices that have ended did not install it.",
    )
    assert await wake(devices[6]) is None
    (event,) = await logged(org.viewer, types=["rollout.paused"], subjectIds=[rollout["id"]])
    assert (event["data"]["failed"], event["data"]["ended"]) == (3, 6)

    await org.operator.run(RESUME, id=rollout["id"])  # what failed is judged; what follows is judged afresh
    assert await wake(devices[6]) is not None
    await wake(devices[6], runs="2.0.0")
    await wake(devices[7], runs="2.0.0")
    done = await reaches(org, rollout["id"], status="COMPLETED")
    assert done["progress"] == progress(installed=5, failed=3)


async def test_a_first_stage_that_fails_whole_stops_it_however_small(org: Organisation) -> None:
    devices = [await org.device() for _ in range(10)]
    rollout = await begun(org.operator, await uploaded(org.operator), stages=[{"percent": 10}])
    order = await by_position(org, rollout["id"], devices)
    await wake(order[0])
    await wake(order[0], update={"version": "2.0.0", "status": "FAILED", "error": "boot loop"})
    stopped = await rollout_now(org.viewer, rollout["id"])
    assert (stopped["status"], stopped["stage"]) == ("PAUSED", 0)
    assert [await wake(device) for device in order] == [None] * 10


async def test_who_takes_too_long_is_offered_it_again_so_often(org: Organisation, database_url: str) -> None:
    device, idle = await org.device(), await org.device()
    plan = {"retries": 1, "timeoutMinutes": 5, "failureShare": 0.9}
    rollout = await begun(org.operator, await uploaded(org.operator), **plan)
    assert await wake(device) is not None
    await let_offers_be_over(database_url, rollout["id"])
    late = await reaches(org, rollout["id"], progress=progress(timedOut=1, pending=1))
    assert late["status"] == "RUNNING"
    assert (await update_of(org.viewer, device))["attempts"] == 1
    assert await wake(device) is not None
    now = await update_of(org.viewer, device)
    assert (now["state"], now["attempts"], now["error"]) == ("OFFERED", 2, None)
    await let_offers_be_over(database_url, rollout["id"])
    await reaches(org, rollout["id"], progress=progress(timedOut=1, pending=1))
    assert await wake(device) is None
    assert (await update_of(org.viewer, device))["state"] == "TIMED_OUT"
    events = await logged(org.viewer, 2, types=["firmware_update.timed_out"], subjectIds=[device.id])
    assert [event["data"]["willRetry"] for event in events] == [True, False]
    await wake(idle, runs="2.0.0")  # installed by other means, before it was offered anything
    done = await reaches(org, rollout["id"], status="COMPLETED")
    assert done["progress"] == progress(timedOut=1, installed=1)


async def test_who_took_too_long_and_comes_back_with_it_has_installed_it(
    org: Organisation, database_url: str
) -> None:
    device = await org.device()
    rollout = await begun(org.operator, await uploaded(org.operator))
    await wake(device)
    await let_offers_be_over(database_url, rollout["id"])
    await reaches(org, rollout["id"], progress=progress(timedOut=1))
    assert await wake(device, runs="2.0.0") is None
    assert (await update_of(org.viewer, device))["state"] == "INSTALLED"


async def test_timeouts_that_are_final_count_as_failures(org: Organisation, database_url: str) -> None:
    devices = [await org.device() for _ in range(6)]
    rollout = await begun(org.operator, await uploaded(org.operator), retries=0)
    for device in devices[:5]:
        await wake(device)
    await let_offers_be_over(database_url, rollout["id"])
    stopped = await reaches(org, rollout["id"], status="PAUSED")
    assert stopped["reason"] == "5 of 5 devices that have ended did not install it."


async def test_a_device_has_the_time_that_it_sleeps_on_top(org: Organisation, database_url: str) -> None:
    device = await org.device(wakeIntervalSeconds=86_400)
    await begun(org.operator, await uploaded(org.operator), timeoutMinutes=5)
    await wake(device)
    query = "UPDATE rollout_devices SET error = (due_at - state_since)::text WHERE device_id = '%s'"
    await execute(database_url, query % device.id)
    assert (await update_of(org.viewer, device))["error"] == "1 day 00:05:00"
