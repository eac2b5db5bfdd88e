"""The log as a list: what is in it, its filters, its pages, and what each event is about."""

from datetime import datetime, timedelta
from typing import Any

from domain.kit.sql import Database
from tests.support.api import Organisation
from tests.support.log import EVENTS, logged, whole_log, write_events
from tests.support.photos import photo

COUNTED = "query ($filter: EventFilter) { events(filter: $filter, first: 1) { totalCount nodes { id } } }"
SUBJECTS = """query ($filter: EventFilter) { events(filter: $filter, first: 100) { nodes { type subject {
  __typename id ... on Device { key } ... on Image { status } ... on Client { name } ... on User { email }
} } } }"""


async def numbered(org: Organisation, database: Database, count: int) -> str:
    """A device of the organisation whose check-ins 0, 1, 2, … are in the log; returns its id."""
    device = await org.device()
    await write_events(database, org.id, device.id, count)
    await logged(org.viewer, count, types=["device.checked_in"], subjectIds=[device.id])
    return device.id


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["n"] for event in events]


async def test_an_event_says_what_happened_to_whom_by_whom_and_in_which_request(org: Organisation) -> None:
    request_id = f"test-{org.id}"
    data = await org.operator.run(
        'mutation { registerDevice(device: {key: "cam-1", name: "Shelf"}) { device { id } } viewer: __typename }',
        headers={"X-Request-ID": request_id},
    )
    device_id = data["registerDevice"]["device"]["id"]
    me = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    (event,) = await logged(org.viewer, subjectIds=[device_id])
    assert event.pop("cursor")
    assert len(event.pop("id")) == 36
    assert abs(datetime.now().astimezone() - datetime.fromisoformat(event.pop("occurredAt"))) < timedelta(minutes=1)
    given: dict[str, Any] = {"name": "Shelf", "mac": None, "board": None, "labels": []}

    assert event == {
        "type": "device.registered",
        "clientId": org.id,
        "subjectKind": "DEVICE",
        "subjectId": device_id,
        "actorKind": "USER",
        "actorId": me,
        "data": {"key": "cam-1", "after": {"key": "cam-1", **given, "wakeIntervalSeconds": 3600}},
        "correlationId": request_id,
    }


async def test_every_change_is_in_the_log_in_its_order(org: Organisation) -> None:
    device = await org.device()
    assert (await device.heartbeat(headers={"X-Battery-V": "3.7"})).status_code == 200
    assert (await device.upload(photo())).status_code == 201
    await logged(org.viewer, types=["image.ready"])
    change = 'mutation ($id: ID!) { updateDevice(id: $id, changes: {name: "Other"}) { id } }'
    for mutation in (
        change,
        "mutation ($id: ID!) { rotateDeviceToken(id: $id) { token } }",
        "mutation ($id: ID!) { deregisterDevice(id: $id) { id } }",
    ):
        await org.operator.run(mutation, id=device.id)
    await logged(org.viewer, types=["device.deregistered"])
    mine = [event["type"] for event in await whole_log(org.viewer) if not event["type"].startswith("session.")]
    assert mine == [
        "client.created",
        "user.created",
        "user.created",
        "device.registered",
        "device.checked_in",
        "image.received",
        "device.checked_in",
        "image.ready",
        "device.updated",
        "device.token_rotated",
        "device.deregistered",
    ]


async def test_pages_are_newest_first_and_neither_repeat_nor_skip(org: Organisation, database: Database) -> None:
    device_id = await numbered(org, database, 25)
    found: list[dict[str, Any]] = []
    after: str | None = None
    pages: list[dict[str, Any]] = []
    while not pages or pages[-1]["hasNextPage"]:
        page = (await org.viewer.run(EVENTS, filter={"subjectIds": [device_id]}, first=10, after=after))["events"]
        assert page["nodes"][-1]["cursor"] == page["pageInfo"]["endCursor"]
        found += page["nodes"]
        pages.append(page["pageInfo"])
        after = page["pageInfo"]["endCursor"]
        if len(pages) == 1:  # what happens while somebody pages does not shift the pages
            await write_events(database, org.id, device_id, 5, at_once=1)
            await logged(org.viewer, 31, subjectIds=[device_id])
    assert [len(found), len(pages)] == [26, 3]
    assert numbers(found[:-1]) == list(range(24, -1, -1))
    assert found[-1]["type"] == "device.registered"


async def test_types_subjects_and_kinds_narrow_the_list_together(org: Organisation) -> None:
    one, two = await org.device(), await org.device()
    for device in (one, two):
        assert (await device.heartbeat()).status_code == 200
    assert (await one.upload(photo())).status_code == 201
    await logged(org.viewer, types=["image.ready"])

    async def of(**filter: Any) -> list[tuple[str, str]]:
        return [(event["type"], event["subjectId"]) for event in await whole_log(org.viewer, **filter)]

    beats = [("device.checked_in", one.id), ("device.checked_in", two.id), ("device.checked_in", one.id)]
    assert await of(types=["device.checked_in"]) == beats
    assert await of(types=["device.checked_in"], subjectIds=[two.id]) == beats[1:2]
    assert await of(subjectIds=[two.id]) == [("device.registered", two.id), beats[1]]
    assert [type for type, _ in await of(subjectKind="IMAGE")] == ["image.received", "image.ready"]
    assert await of(subjectKind="IMAGE", types=["device.checked_in"]) == []
    assert await of(types=[]) == []
    assert await of(types=["no.such_type"]) == []
    assert {type.partition(".")[0] for type, _ in await of(subjectKind="USER")} == {"user", "session"}


async def test_since_and_until_cut_the_log_where_it_was_recorded(org: Organisation) -> None:
    device = await org.device()
    times: list[datetime] = []
    for _ in range(3):
        assert (await device.heartbeat()).status_code == 200
        events = await logged(org.viewer, len(times) + 1, types=["device.checked_in"])
        times.append(datetime.fromisoformat(events[-1]["occurredAt"]))
    # Recorded is a little later than occurred, and before the next one occurred.
    second_on = await whole_log(org.viewer, types=["device.checked_in"], since=times[1].isoformat())
    before_third = await whole_log(org.viewer, types=["device.checked_in"], until=times[2].isoformat())
    between = await whole_log(
        org.viewer, types=["device.checked_in"], since=times[1].isoformat(), until=times[2].isoformat()
    )
    assert [len(second_on), len(before_third), len(between)] == [2, 2, 1]
    assert between[0] == second_on[0] == before_third[1]


async def test_total_count_counts_what_the_filter_lets_through(org: Organisation, database: Database) -> None:
    device_id = await numbered(org, database, 12)
    for filter, count in (
        ({"subjectIds": [device_id]}, 13),
        ({"subjectIds": [device_id], "types": ["device.checked_in"]}, 12),
        ({"types": ["no.such_type"]}, 0),
    ):
        assert (await org.viewer.run(COUNTED, filter=filter))["events"]["totalCount"] == count


async def test_an_organisation_sees_its_own_events_only_and_an_admin_those_of_all(
    org: Organisation, other_org: Organisation
) -> None:
    mine, theirs = await org.device(), await other_org.device()
    await logged(org.admin, 2, subjectIds=[mine.id, theirs.id])
    assert [event["subjectId"] for event in await whole_log(org.viewer, subjectIds=[mine.id, theirs.id])] == [
        mine.id
    ]
    assert {event["clientId"] for event in await whole_log(org.operator)} == {org.id}
    assert await whole_log(org.viewer, clientId=other_org.id) == []
    seen = await whole_log(org.admin, clientId=other_org.id, types=["device.registered"])
    assert [event["subjectId"] for event in seen] == [theirs.id]
    assert (await org.viewer.run(COUNTED, filter={"clientId": other_org.id}))["events"]["totalCount"] == 0


async def test_events_need_a_permission_that_devices_do_not_have(org: Organisation) -> None:
    device = await org.device()
    assert await org.viewer.with_token(None).code(COUNTED) == "UNAUTHENTICATED"
    assert await org.viewer.with_token(device.token).code(COUNTED) == "FORBIDDEN"


async def test_each_event_leads_to_its_subject(org: Organisation) -> None:
    device = await org.device("cam-7")
    assert (await device.upload(photo())).status_code == 201
    await logged(org.viewer, types=["image.ready"])
    nodes = (await org.operator.run(SUBJECTS))["events"]["nodes"]
    found = {node["type"]: node["subject"] for node in nodes}
    assert found["device.registered"] == {"__typename": "Device", "id": device.id, "key": "cam-7"}
    assert found["client.created"] == {"__typename": "Client", "id": org.id, "name": org.name}
    assert found["image.ready"] == found["image.received"]
    assert found["image.ready"]["status"] == "READY"
    assert found["user.created"]["email"].endswith("@example.com")


async def test_the_subject_of_a_deleted_user_is_null(org: Organisation) -> None:
    user = (await org.viewer.run("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    await org.admin.run("mutation ($id: ID!) { deleteUser(id: $id) { id } }", id=user)
    await logged(org.admin, types=["user.deleted"], subjectIds=[user])
    nodes = (await org.admin.run(SUBJECTS, filter={"subjectIds": [user]}))["events"]["nodes"]
    assert "user.deleted" in {node["type"] for node in nodes}
    assert all(node["subject"] is None for node in nodes)


async def test_a_subject_that_the_caller_may_not_read_does_not_hide_the_others(org: Organisation) -> None:
    """A viewer may not read users; the devices in the same page are shown all the same."""
    device = await org.device("cam-9")
    await logged(org.viewer, subjectIds=[device.id])
    answer = (await org.viewer.post(SUBJECTS)).json()
    found = {node["type"]: node["subject"] for node in answer["data"]["events"]["nodes"]}
    assert found["device.registered"] == {"__typename": "Device", "id": device.id, "key": "cam-9"}
    assert found["client.created"]["id"] == org.id
    assert found["user.created"] is None
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}
    assert {error["path"][-1] for error in answer["errors"]} == {"subject"}


async def test_cursors_that_are_none_are_refused(org: Organisation) -> None:
    devices = await org.operator.run("{ devices { pageInfo { endCursor } } }")
    assert devices["devices"]["pageInfo"]["endCursor"] is None
    device = await org.device()
    await logged(org.viewer, subjectIds=[device.id])
    devices = await org.operator.run("{ devices { pageInfo { endCursor } } }")
    for cursor in ("garbage", "", "WyJldmVudCIsIC0xXQ", devices["devices"]["pageInfo"]["endCursor"]):
        assert await org.viewer.code(EVENTS, after=cursor) == "BAD_USER_INPUT", cursor


async def test_pages_have_1_to_100_events(org: Organisation) -> None:
    for first in (0, -1, 101):
        assert await org.viewer.code(EVENTS, first=first) == "BAD_USER_INPUT"
