"""Taking devices out of service: the device goes, what it did stays."""

from tests.devices.operations import DEREGISTER, device_now, keys
from tests.support.api import Organisation
from tests.support.images import settled, variant_of
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.problems import problem

_IMAGES = """query ($device: ID!) { images(filter: {deviceId: $device}) {
  totalCount nodes { id device { id key name deregisteredAt } }
} }"""


async def test_it_is_gone_from_the_list_and_its_token_is_refused_at_once(org: Organisation) -> None:
    device, other = await org.device("cam-1"), await org.device("cam-2")
    assert (await device.heartbeat()).status_code == 200
    answer = await org.operator.run(DEREGISTER, id=device.id)
    assert answer["deregisterDevice"] == {"id": device.id}
    problem(await device.heartbeat(), 401, "INVALID_TOKEN")
    problem(await device.upload(photo()), 401, "INVALID_TOKEN")
    assert await keys(org.viewer) == ["cam-2"]
    assert (await other.heartbeat()).status_code == 200


async def test_the_event_says_what_was_deregistered_and_by_whom(org: Organisation) -> None:
    device = await org.device("cam", name="Top shelf")
    viewer = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]
    await org.operator.run(DEREGISTER, id=device.id)
    (event,) = await logged(org.viewer, types=["device.deregistered"])
    assert (event["data"]["key"], event["data"]["name"]) == ("cam", "Top shelf")
    assert event["data"]["before"] == {
        **{"key": "cam", "name": "Top shelf", "enabled": True, "wakeIntervalSeconds": 3600},
        **{"mac": None, "board": None, "labels": []},
    }
    assert (event["actorKind"], event["actorId"]) == ("USER", viewer["user"]["id"])
    assert (event["subjectKind"], event["subjectId"], event["clientId"]) == ("DEVICE", device.id, org.id)


async def test_its_images_stay_and_still_say_who_took_them(org: Organisation) -> None:
    device = await org.device("cam", name="Top shelf")
    image_id = (await device.upload(photo())).json()["imageId"]
    await settled(org.viewer, image_id)
    await org.operator.run(DEREGISTER, id=device.id)
    images = (await org.viewer.run(_IMAGES, device=device.id))["images"]
    deregistered_at = images["nodes"][0]["device"]["deregisteredAt"]
    assert deregistered_at
    taken_by = {"id": device.id, "key": "cam", "name": "Top shelf", "deregisteredAt": deregistered_at}
    assert images == {"totalCount": 1, "nodes": [{"id": image_id, "device": taken_by}]}
    assert (await variant_of(org.viewer, image_id, "DISPLAY"))[8:12] == b"WEBP"


async def test_a_photo_that_was_accepted_before_is_still_processed(org: Organisation) -> None:
    device = await org.device()
    image_id = (await device.upload(photo())).json()["imageId"]
    await org.operator.run(DEREGISTER, id=device.id)
    assert (await settled(org.viewer, image_id))["status"] == "READY"


async def test_its_key_is_free_for_a_new_device_with_a_history_of_its_own(org: Organisation) -> None:
    old = await org.device("cam")
    await old.upload(photo())
    await org.operator.run(DEREGISTER, id=old.id)
    new = await org.device("cam")
    assert new.id != old.id
    assert (await new.heartbeat()).status_code == 200
    problem(await old.heartbeat(), 401, "INVALID_TOKEN")
    found = await org.viewer.run('{ device(key: "cam") { id totalCaptures } }')
    assert found["device"] == {"id": new.id, "totalCaptures": 0}


async def test_it_is_still_found_by_its_id_inactive_and_without_a_token(org: Organisation) -> None:
    device = await org.device("cam")
    await device.heartbeat()
    await org.operator.run(DEREGISTER, id=device.id)
    found = await device_now(org.viewer, device.id)
    assert (found["key"], found["status"], found["token"]) == ("cam", "INACTIVE", None)
    assert found["deregisteredAt"]
    assert (await org.viewer.run('{ device(key: "cam") { id } }'))["device"] is None


async def test_only_those_who_may_write_and_only_once(org: Organisation, other_org: Organisation) -> None:
    device = await org.device()
    assert await org.viewer.code(DEREGISTER, id=device.id) == "FORBIDDEN"
    assert await other_org.operator.code(DEREGISTER, id=device.id) == "NOT_FOUND"
    assert (await device.heartbeat()).status_code == 200
    await org.operator.run(DEREGISTER, id=device.id)
    assert await org.operator.code(DEREGISTER, id=device.id) == "NOT_FOUND"
