"""What each subscription delivers, over both protocols: the right events, whole, and nobody else's."""

import pytest

from domain.kit.sql import Database
from tests.support.api import Organisation
from tests.support.live import Socket, event_stream, following
from tests.support.log import logged, write_events
from tests.support.photos import photo
from tests.support.stack import Stack

FIELDS = "id cursor type occurredAt clientId subjectKind subjectId actorKind actorId data correlationId"
EVENTS = (
    "subscription ($filter: EventFilter, $after: String) { events(filter: $filter, after: $after) {"
    + FIELDS
    + " subject { id ... on Device { name } } } }"
)
DEVICES = (
    "subscription ($ids: [ID!], $after: String) { deviceUpdates(ids: $ids, after: $after) "
    "{ type cursor event { id type data } device { id name batteryV } } }"
)
IMAGES = (
    "subscription ($device: ID, $after: String) { imageUpdates(deviceId: $device, after: $after) "
    "{ type cursor event { id } image { id status device { id } } } }"
)
BOTH = pytest.mark.parametrize("transport", ["ws", "sse"])


async def head(org: Organisation, devices: int = 1) -> str:
    """The cursor of the event that registered the last of so many devices."""
    cursor: str = (await logged(org.viewer, devices, types=["device.registered"]))[-1]["cursor"]
    return cursor


@BOTH
async def test_events_are_those_of_the_list_whole(transport: str, stack: Stack, org: Organisation) -> None:
    device = await org.device(name="Top shelf")
    after = await head(org)
    async with following(transport, stack.url, org.viewer, EVENTS, after=after) as following_event:
        assert (await device.heartbeat(headers={"X-Battery-V": "3.7"})).status_code == 200
        live = (await following_event())["events"]
    assert live.pop("subject") == {"id": device.id, "name": "Top shelf"}
    assert live["data"] == {"batteryV": 3.7}
    assert await logged(org.viewer, types=["device.checked_in"]) == [live]


@BOTH
async def test_a_filter_lets_only_what_it_names_through(transport: str, stack: Stack, org: Organisation) -> None:
    one, two = await org.device(), await org.device()
    filter = {"types": ["device.checked_in", "device.updated"], "subjectIds": [two.id], "subjectKind": "DEVICE"}
    rename = 'mutation ($id: ID!) { updateDevice(id: $id, changes: {name: "New"}) { id } }'
    async with following(transport, stack.url, org.viewer, EVENTS, filter=filter) as following_event:
        assert (await one.heartbeat()).status_code == 200
        await org.operator.run("mutation ($id: ID!) { rotateDeviceToken(id: $id) { token } }", id=two.id)
        await org.operator.run(rename, id=one.id)
        await org.operator.run(rename, id=two.id)
        event = (await following_event())["events"]
    assert (event["type"], event["subjectId"]) == ("device.updated", two.id)


@BOTH
async def test_device_updates_bring_the_device_as_it_is_now(
    transport: str, stack: Stack, org: Organisation
) -> None:
    one, two = await org.device(name="One"), await org.device(name="Two")
    after = await head(org, 2)
    async with following(transport, stack.url, org.viewer, DEVICES, ids=[two.id], after=after) as following_update:
        assert (await one.heartbeat()).status_code == 200
        assert (await two.upload(photo())).status_code == 201
        assert (await two.heartbeat(headers={"X-Battery-V": "3.61"})).status_code == 200
        updates = [(await following_update())["deviceUpdates"] for _ in range(2)]
    assert [update["type"] for update in updates] == ["device.checked_in"] * 2
    assert {update["device"]["id"] for update in updates} == {two.id}
    assert updates[-1]["device"] == {"id": two.id, "name": "Two", "batteryV": 3.61}
    assert updates[-1]["event"]["data"] == {"batteryV": 3.61}


@BOTH
async def test_without_ids_device_updates_are_of_all_devices(
    transport: str, stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    one, foreign = await org.device(), await other_org.device()
    after = await head(org)
    async with following(transport, stack.url, org.viewer, DEVICES, after=after) as following_update:
        assert (await foreign.heartbeat()).status_code == 200
        two = await org.device()
        assert (await one.heartbeat()).status_code == 200
        updates = [(await following_update())["deviceUpdates"] for _ in range(2)]
    seen = [(update["type"], update["device"]["id"]) for update in updates]
    assert seen == [("device.registered", two.id), ("device.checked_in", one.id)]


@BOTH
async def test_image_updates_follow_a_photo_to_its_end(transport: str, stack: Stack, org: Organisation) -> None:
    one, two = await org.device(), await org.device()
    async with following(transport, stack.url, org.viewer, IMAGES, device=two.id) as following_update:
        assert (await one.upload(photo())).status_code == 201
        image_id = (await two.upload(photo())).json()["imageId"]
        updates = [(await following_update())["imageUpdates"] for _ in range(2)]
    assert [update["type"] for update in updates] == ["image.received", "image.ready"]
    ready = {"id": image_id, "status": "READY", "device": {"id": two.id}}
    assert updates[1]["image"] == ready


async def test_image_updates_of_all_devices_are_of_the_organisation_only(
    stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    one, two, foreign = await org.device(), await org.device(), await other_org.device()
    async with following("ws", stack.url, org.viewer, IMAGES) as following_update:
        ids = [(await device.upload(photo())).json()["imageId"] for device in (foreign, one, two)]
        updates = [(await following_update())["imageUpdates"] for _ in range(4)]
    assert {update["image"]["id"] for update in updates} == set(ids[1:])


@BOTH
async def test_a_foreign_device_that_is_asked_for_by_id_stays_silent(
    transport: str, stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    mine, foreign = await org.device(), await other_org.device()
    after = await head(org)
    ids = [foreign.id, mine.id]
    async with following(transport, stack.url, org.viewer, DEVICES, ids=ids, after=after) as following_update:
        assert (await foreign.heartbeat()).status_code == 200
        await logged(other_org.viewer, types=["device.checked_in"])
        assert (await mine.heartbeat()).status_code == 200
        assert (await following_update())["deviceUpdates"]["device"]["id"] == mine.id


@BOTH
async def test_a_subscriber_never_sees_another_organisation(
    transport: str, stack: Stack, org: Organisation, other_org: Organisation, database: Database
) -> None:
    """Foreign events come before, between and after its own, resumed from the log and live."""
    mine, foreign = await org.device(), await other_org.device()
    after = await head(org)
    await write_events(database, other_org.id, foreign.id, 20)
    await write_events(database, org.id, mine.id, 1, own="kept")
    await logged(org.viewer, types=["device.checked_in"])
    async with following(transport, stack.url, org.viewer, EVENTS, after=after) as following_event:
        assert (await following_event())["events"]["data"] == {"n": 0, "own": "kept"}
        for own in ("live", "live again"):
            await write_events(database, other_org.id, foreign.id, 20, at_once=3)
            await write_events(database, org.id, mine.id, 1, own=own)
            assert (await following_event())["events"]["data"] == {"n": 0, "own": own}


@pytest.mark.parametrize("argument", ["clientId", "subjectIds"])
async def test_asking_for_another_organisations_events_by_name_brings_none(
    argument: str, stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    mine, foreign = await org.device(), await other_org.device()
    filter = {"clientId": other_org.id} if argument == "clientId" else {"subjectIds": [foreign.id]}
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        await socket.subscribe(EVENTS, filter=filter)
        own = await socket.subscribe(EVENTS, filter={"types": ["device.checked_in"]})
        assert (await foreign.heartbeat()).status_code == 200
        await logged(other_org.viewer, types=["device.checked_in"])
        assert (await mine.heartbeat()).status_code == 200
        message = await socket.receive()
        assert (message["id"], message["payload"]["data"]["events"]["subjectId"]) == (own.operation, mine.id)
        assert await socket.ping() == []


async def test_an_admin_sees_all_organisations_or_the_one_it_chooses(
    stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    one, other = await org.device(), await other_org.device()
    beats = {"types": ["device.checked_in"], "subjectIds": [one.id, other.id]}
    chosen = {**beats, "clientId": other_org.id}
    async with (
        following("ws", stack.url, org.admin, EVENTS, filter=beats) as of_all,
        following("sse", stack.url, org.admin, EVENTS, filter=chosen) as of_one,
    ):
        assert (await one.heartbeat()).status_code == 200
        await logged(org.admin, types=["device.checked_in"], subjectIds=[one.id])
        assert (await other.heartbeat()).status_code == 200
        assert [(await of_all())["events"]["subjectId"] for _ in range(2)] == [one.id, other.id]
        assert (await of_one())["events"]["subjectId"] == other.id


@pytest.mark.parametrize("who", ["nobody", "device"])
async def test_subscriptions_need_what_reading_needs(who: str, stack: Stack, org: Organisation) -> None:
    token = (await org.device()).token if who == "device" else None
    code = {"nobody": "UNAUTHENTICATED", "device": "FORBIDDEN"}[who]
    async with Socket.opened(stack.url, token) as socket:
        for query in (EVENTS, DEVICES, IMAGES):
            await socket.subscribe(query)
            message = await socket.receive()
            assert message["type"] == "error"
            assert message["payload"][0]["extensions"]["code"] == code
            async with event_stream(org.viewer.with_token(token), query) as events:
                event, payload = await anext(events)
                assert (event, payload["data"]) == ("next", None)
                assert payload["errors"][0]["extensions"]["code"] == code
                assert await anext(events) == ("complete", None)


async def test_a_client_token_follows_its_own_organisation(stack: Stack, org: Organisation) -> None:
    data = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    device = await org.device()
    api = org.viewer.with_token(data["regenerateClientToken"]["token"])
    filter = {"types": ["device.checked_in"]}
    async with following("sse", stack.url, api, EVENTS, filter=filter) as following_event:
        assert (await device.heartbeat()).status_code == 200
        assert (await following_event())["events"]["subjectId"] == device.id


@BOTH
async def test_a_time_without_a_zone_is_utc_and_harms_no_other_subscriber(
    transport: str, stack: Stack, org: Organisation
) -> None:
    """Comparing it with the log's times must not end the feed that all subscribers hang on."""
    device = await org.device()
    since = {"types": ["device.checked_in"], "since": "2024-01-01T00:00:00"}
    later = {"types": ["device.checked_in"], "since": "2124-01-01T00:00:00"}
    async with (
        following(transport, stack.url, org.viewer, EVENTS, filter=since) as wanted,
        following(transport, stack.url, org.viewer, EVENTS, filter=later),
        following(transport, stack.url, org.viewer, DEVICES, ids=[device.id]) as other,
    ):
        assert (await device.heartbeat()).status_code == 200
        assert (await wanted())["events"]["subjectId"] == device.id
        while (await other())["deviceUpdates"]["type"] != "device.checked_in":
            pass  # its registration may come first


async def test_two_root_fields_in_one_subscription_are_refused(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        await socket.subscribe("subscription { events { id } imageUpdates { type } }")
        message = await socket.receive()
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
