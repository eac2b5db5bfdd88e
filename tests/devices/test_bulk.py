"""Many devices changed at once: by ids or by filter, each with a result of its own."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.contract.documents import SOME_ID
from tests.devices.operations import DEREGISTER, device_now, keys
from tests.support.api import Api, Organisation
from tests.support.log import logged, whole_log
from tests.support.problems import problem
from tests.support.sql import execute
from tests.support.stack import Stack

_ARGUMENTS = "$ids: [ID!], $filter: DeviceFilter, $all: Boolean! = false, $dryRun: Boolean! = false"
_PASSED = "ids: $ids, filter: $filter, all: $all, dryRun: $dryRun"
_ANSWER = "{ dryRun matched changed failed results { id key ok changed error { code message } } }"
UPDATE_MANY = f"""mutation ($changes: BulkDeviceChanges!, {_ARGUMENTS}) {{
  bulkUpdateDevices(changes: $changes, {_PASSED}) {_ANSWER} }}"""
DEREGISTER_MANY = f"mutation ({_ARGUMENTS}) {{ bulkDeregisterDevices({_PASSED}) {_ANSWER} }}"
LABELS = "query ($id: ID!) { device(id: $id) { labels } }"
DISABLE = {"enabled": False}


async def _update(api: Api, changes: dict[str, Any], **which: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.run(UPDATE_MANY, changes=changes, **which))["bulkUpdateDevices"]
    return answer


async def _deregister(api: Api, **which: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.run(DEREGISTER_MANY, **which))["bulkDeregisterDevices"]
    return answer


def _counts(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["matched"], answer["changed"], answer["failed"]


def _codes(answer: dict[str, Any]) -> list[str | None]:
    return [result["error"] and result["error"]["code"] for result in answer["results"]]


async def _labels(api: Api, device_id: str) -> list[str]:
    labels: list[str] = (await api.run(LABELS, id=device_id))["device"]["labels"]
    return labels


async def test_each_of_the_ids_has_its_result_in_their_order(org: Organisation, other_org: Organisation) -> None:
    first, off, gone, theirs = [await one.device() for one in (org, org, org, other_org)]
    await _update(org.operator, DISABLE, ids=[off.id])
    await org.operator.run(DEREGISTER, id=gone.id)
    ids = [off.id, theirs.id, first.id, gone.id, "no id", SOME_ID, first.id]
    answer = await _update(org.operator, DISABLE, ids=ids)
    assert [result["id"] for result in answer["results"]] == ids[:-1]
    assert [result["key"] for result in answer["results"]] == [off.key, None, first.key, None, None, None]
    assert _codes(answer) == [None, "NOT_FOUND", None, "NOT_FOUND", "BAD_USER_INPUT", "NOT_FOUND"]
    assert [result["ok"] for result in answer["results"]] == [True, False, True, False, False, False]
    assert [result["changed"] for result in answer["results"]] == [False, False, True, False, False, False]
    assert _counts(answer) == (6, 1, 4)
    assert (await device_now(org.viewer, first.id))["enabled"] is False
    assert (await device_now(other_org.viewer, theirs.id))["enabled"] is True


async def test_a_filter_chooses_as_it_does_in_the_list(org: Organisation, other_org: Organisation) -> None:
    shelf = [await org.device(f"cam-{name}", labels=["shelf", name]) for name in "ab"]
    door, theirs = await org.device("cam-door"), await other_org.device("cam-c", labels=["shelf"])
    answer = await _update(org.operator, {"wakeIntervalSeconds": 60}, filter={"labels": ["shelf"]})
    assert [(result["id"], result["changed"]) for result in answer["results"]] == [(one.id, True) for one in shelf]
    assert (await shelf[0].heartbeat()).json()["next"]["wakeInSeconds"] == 60
    for api, device in ((org.viewer, door), (other_org.viewer, theirs)):
        assert (await device_now(api, device.id))["wakeIntervalSeconds"] == 3600
    by_state = {"presence": ["ONLINE", "ASLEEP"], "status": ["ACTIVE"], "search": "cam"}
    assert [one["key"] for one in (await _update(org.operator, DISABLE, filter=by_state))["results"]] == ["cam-a"]


async def test_every_changed_device_has_its_event_and_no_other(org: Organisation) -> None:
    devices = [await org.device(labels=labels) for labels in (["old"], ["new"], [])]
    changes = {"addLabels": ["new"], "removeLabels": ["old"], "wakeIntervalSeconds": 3600}
    assert _counts(await _update(org.operator, changes, all=True)) == (3, 2, 0)
    events = await logged(org.viewer, 2, types=["device.updated"])
    assert {event["subjectId"]: event["data"] for event in events} == {
        devices[0].id: {"before": {"labels": ["old"]}, "after": {"labels": ["new"]}},
        devices[2].id: {"before": {"labels": []}, "after": {"labels": ["new"]}},
    }
    assert {event["actorKind"] for event in events} == {"USER"}
    assert len({event["correlationId"] for event in events}) == 1
    assert (await device_now(org.viewer, devices[1].id))["updatedAt"] == (
        await device_now(org.viewer, devices[1].id)
    )["createdAt"]


async def test_several_changes_at_once_leave_the_rest_as_it_is(org: Organisation) -> None:
    one, two = await org.device(name="One", labels=["a", "b"]), await org.device(name="Two", wakeIntervalSeconds=60)
    await _update(org.operator, {"enabled": False, "labels": ["z", "c", "c"]}, ids=[one.id, two.id])
    for device, name, seconds in ((one, "One", 3600), (two, "Two", 60)):
        now = await device_now(org.viewer, device.id)
        assert (now["name"], now["enabled"], now["wakeIntervalSeconds"]) == (name, False, seconds)
        assert await _labels(org.viewer, device.id) == ["c", "z"]
    await _update(org.operator, {"labels": [], "enabled": None}, ids=[one.id])
    assert await _labels(org.viewer, one.id) == []


async def test_one_that_would_have_too_many_labels_fails_alone(org: Organisation) -> None:
    full, other = await org.device(labels=[f"l{number}" for number in range(50)]), await org.device()
    answer = await _update(org.operator, {"addLabels": ["more"], "enabled": False}, ids=[full.id, other.id])
    assert _codes(answer) == ["BAD_USER_INPUT", None]
    assert "50" in answer["results"][0]["error"]["message"]
    assert await _labels(org.viewer, other.id) == ["more"]
    assert (await device_now(org.viewer, full.id))["enabled"] is True
    swap = {"addLabels": ["more"], "removeLabels": ["l0"]}
    assert _counts(await _update(org.operator, swap, ids=[full.id])) == (1, 1, 0)


async def test_deregistering_many_stops_their_tokens_and_frees_their_keys(org: Organisation) -> None:
    going = [await org.device(f"cam-{name}", labels=["old"]) for name in "ab"]
    staying = await org.device("cam-c")
    for device in going:
        assert (await device.heartbeat()).status_code == 200
    answer = await _deregister(org.operator, filter={"labels": ["old"]})
    assert _counts(answer) == (2, 2, 0)
    for device in going:
        problem(await device.heartbeat(), 401, "INVALID_TOKEN")
    assert await keys(org.viewer) == ["cam-c"]
    events = await logged(org.viewer, 2, types=["device.deregistered"])
    assert {event["data"]["key"] for event in events} == {"cam-a", "cam-b"}
    await org.device("cam-a")
    assert (await staying.heartbeat()).status_code == 200
    again = await _deregister(org.operator, ids=[going[0].id, staying.id])
    assert _codes(again) == ["NOT_FOUND", None]
    assert await keys(org.viewer) == ["cam-a"]


async def test_a_dry_run_tells_the_same_and_changes_nothing(org: Organisation) -> None:
    one, off = await org.device(labels=["a"]), await org.device(labels=["a"])
    await _update(org.operator, DISABLE, ids=[off.id])
    before = [await device_now(org.viewer, device.id) for device in (one, off)]
    which = {"filter": {"labels": ["a"]}, "dryRun": True}
    tried = await _update(org.operator, DISABLE, **which)
    assert tried["dryRun"] is True
    assert _counts(tried) == (2, 1, 0)
    assert _counts(await _deregister(org.operator, **which)) == (2, 2, 0)
    assert [await device_now(org.viewer, device.id) for device in (one, off)] == before
    assert (await one.heartbeat()).status_code == 200
    done = await _update(org.operator, DISABLE, filter={"labels": ["a"]})
    assert done["results"] == tried["results"]
    assert done["dryRun"] is False
    await logged(org.viewer, 2, types=["device.updated"])
    assert len(await whole_log(org.viewer, types=["device.updated", "device.deregistered"])) == 2


@pytest.mark.parametrize("which", [{}, {"filter": {}}, {"filter": {"labels": []}}, {"filter": {"search": None}}])
async def test_an_empty_filter_is_refused_unless_all_is_said(org: Organisation, which: dict[str, Any]) -> None:
    devices = [await org.device() for _ in range(2)]
    asked: list[tuple[str, dict[str, Any]]] = [(UPDATE_MANY, {"changes": DISABLE}), (DEREGISTER_MANY, {})]
    for operation, variables in asked:
        error = await org.operator.refused(operation, **variables, **which)
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["extensions"]["details"] == {"argument": "filter"}
        assert "all: true" in error["message"]
    assert [(await device.heartbeat()).status_code for device in devices] == [200, 200]
    assert _counts(await _update(org.operator, DISABLE, all=True, **which)) == (2, 2, 0)


@pytest.mark.parametrize("also", [{"filter": {"enabled": True}}, {"all": True}, {"filter": {}}])
async def test_ids_and_a_filter_exclude_each_other(org: Organisation, also: dict[str, Any]) -> None:
    device = await org.device()
    error = await org.operator.refused(DEREGISTER_MANY, ids=[device.id], **also)
    assert error["extensions"]["details"] == {"argument": "ids"}
    assert (await device.heartbeat()).status_code == 200


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({}, "changes"),
        ({"enabled": None, "addLabels": []}, "changes"),
        ({"wakeIntervalSeconds": 9}, "wakeIntervalSeconds"),
        ({"labels": ["-"]}, "labels"),
        ({"addLabels": [" "]}, "addLabels"),
        ({"removeLabels": ["x" * 65]}, "removeLabels"),
        ({"labels": ["a"], "addLabels": ["b"]}, "labels"),
        ({"addLabels": ["a"], "removeLabels": ["a"]}, "addLabels"),
        ({"labels": [f"l{number}" for number in range(51)]}, "labels"),
    ],
)
async def test_changes_that_are_wrong_are_refused_whole(
    org: Organisation, changes: dict[str, Any], argument: str
) -> None:
    device = await org.device(labels=["a"])
    error = await org.operator.refused(UPDATE_MANY, changes=changes, ids=[device.id])
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"]["argument"] == argument
    assert await _labels(org.viewer, device.id) == ["a"]


async def test_a_thousand_are_changed_at_once_and_one_more_is_refused(stack: Stack, org: Organisation) -> None:
    await execute(
        stack.environment["QM_DATABASE_URL"],
        "INSERT INTO devices (id, client_id, key, name, token_hash) SELECT gen_random_uuid(), "
        f"'{org.id}', 'cam-' || n, 'cam ' || n, '{uuid.uuid4()}' || n FROM generate_series(1, 1000) AS n",
    )
    answer = await _update(org.operator, DISABLE, filter={"search": "cam"})
    assert _counts(answer) == (1000, 1000, 0)
    assert (await org.viewer.run("{ devices(filter: {enabled: false}) { totalCount } }"))["devices"] == {
        "totalCount": 1000
    }
    await logged(org.viewer, 1000, types=["device.updated"])
    extra = await org.device("cam-extra")
    for which in ({"filter": {"search": "cam"}}, {"ids": [f"{number}" for number in range(1001)]}):
        error = await org.operator.refused(DEREGISTER_MANY, **which)
        assert error["extensions"]["code"] == "TOO_MANY_DEVICES"
        assert error["extensions"]["details"] == {"argument": next(iter(which)), "most": 1000}
    assert (await extra.heartbeat()).status_code == 200
    assert _counts(await _deregister(org.operator, filter={"enabled": False})) == (1000, 1000, 0)
    assert await keys(org.viewer) == ["cam-extra"]


async def test_two_at_once_that_overlap_both_succeed(org: Organisation) -> None:
    ids = [(await org.device()).id for _ in range(20)]
    calls = [
        _update(org.operator, {"addLabels": [f"l{number}"]}, ids=chosen)
        for number, chosen in enumerate((ids, ids[::-1], ids[5:], ids[15::-1]))
    ]
    assert [answer["failed"] for answer in await asyncio.gather(*calls)] == [0] * 4
    assert await _labels(org.viewer, ids[7]) == ["l0", "l1", "l2", "l3"]


async def test_a_viewer_may_not_and_an_admin_may_for_any_client(org: Organisation, other_org: Organisation) -> None:
    mine, theirs = await org.device(), await other_org.device()
    assert await org.viewer.code(UPDATE_MANY, changes=DISABLE, ids=[mine.id]) == "FORBIDDEN"
    assert await org.viewer.code(DEREGISTER_MANY, ids=[mine.id]) == "FORBIDDEN"
    assert _counts(await _update(org.operator, DISABLE, filter={"clientId": other_org.id})) == (0, 0, 0)
    assert _counts(await _update(org.admin, DISABLE, filter={"clientId": other_org.id})) == (1, 1, 0)
    assert _counts(await _update(org.admin, DISABLE, ids=[mine.id, theirs.id])) == (2, 1, 0)


async def test_under_one_idempotency_key_it_happens_once(org: Organisation) -> None:
    device = await org.device()
    headers = {"Idempotency-Key": f"bulk {uuid.uuid4()}"}
    answers = [await org.operator.run(UPDATE_MANY, headers=headers, changes=DISABLE, ids=[device.id]) for _ in "12"]
    assert answers[0] == answers[1]
    assert answers[1]["bulkUpdateDevices"]["changed"] == 1
