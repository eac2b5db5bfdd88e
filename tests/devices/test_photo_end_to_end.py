"""A device's photo, from its token to the frontend that sees it."""

from tests.support.api import Organisation
from tests.support.live import Socket
from tests.support.photos import photo
from tests.support.stack import Stack


async def test_a_photo_is_accepted_processed_and_seen_live(stack: Stack, org: Organisation) -> None:
    device = await org.device(name="Top shelf")
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        updates = await socket.subscribe(
            "subscription ($device: ID!) { imageUpdates(deviceId: $device) { type image { id status width } } }",
            device=device.id,
        )
        answer = await device.upload(photo(), headers={"X-Battery-V": "3.9", "X-RSSI": "-61"})
        assert answer.status_code == 201
        image_id = answer.json()["imageId"]
        assert answer.json() == {
            "imageId": image_id,
            "duplicate": False,
            "restored": False,
            "next": {
                "wakeInSeconds": 3600,
                "configVersion": None,
                "config": None,
                "commands": [],
                "firmware": None,
            },
        }
        received, ready = (await updates.next())["imageUpdates"], (await updates.next())["imageUpdates"]
    assert (received["type"], received["image"]["id"]) == ("image.received", image_id)
    assert ready == {"type": "image.ready", "image": {"id": image_id, "status": "READY", "width": 320}}
    data = await org.viewer.run(
        "query ($id: ID!) { image(id: $id) "
        "{ url(variant: THUMBNAIL) device { key batteryV rssi totalCaptures } } }",
        id=image_id,
    )
    assert data["image"]["device"] == {"key": device.key, "batteryV": 3.9, "rssi": -61, "totalCaptures": 1}
    thumbnail = await org.viewer.http.get(data["image"]["url"])
    assert thumbnail.headers["content-type"] == "image/webp"
    assert thumbnail.content[8:12] == b"WEBP"
