"""Posting photos: the forms that are accepted, and what is remembered of each."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.devices.operations import UPDATE, device_now
from tests.support.api import Organisation
from tests.support.images import image_of, settled, variant_of
from tests.support.log import logged
from tests.support.photos import padded, photo
from tests.support.problems import problem
from tests.support.stack import Stack
from tests.support.stores import stored

_TYPES = [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")]
_FACTS = "status contentType sizeBytes sha256 capturedAt deviceCapturedAt receivedAt width height source"


@pytest.fixture(scope="module")
def stack(either_stack: Stack) -> Stack:
    return either_stack


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value)


@pytest.mark.parametrize(("kind", "content_type"), _TYPES)
async def test_a_raw_body_of_each_format_is_kept_as_it_came(
    stack: Stack, org: Organisation, kind: str, content_type: str
) -> None:
    device, image = await org.device(), photo(format=kind)
    answer = await device.upload(image, content_type=content_type)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    image_id = answer.json()["imageId"]
    kept = (await stored(stack, image))["originals"]
    assert kept == image
    facts = await settled(org.viewer, image_id, _FACTS)
    assert (facts["status"], facts["width"], facts["height"]) == ("READY", 320, 240)
    assert (facts["contentType"], facts["sizeBytes"], facts["source"]) == (content_type, len(image), "DEVICE")
    assert facts["sha256"] == hashlib.sha256(image).hexdigest()


async def test_the_content_decides_what_it_is_not_the_header(org: Organisation) -> None:
    device = await org.device()
    answer = await device.upload(photo(format="PNG"), content_type="image/jpeg; charset=binary")
    facts = await image_of(org.viewer, answer.json()["imageId"], _FACTS)
    assert facts["contentType"] == "image/png"


async def test_a_photo_that_came_in_many_pieces_is_whole(stack: Stack, org: Organisation) -> None:
    # Larger than what the store gathers before it writes, so it is spilled on the way.
    device, image = await org.device(), padded(photo(), 3_456_789)
    answer = await device.upload(image)
    assert answer.status_code == 201
    assert await variant_of(org.viewer, answer.json()["imageId"], "DISPLAY")
    kept = (await stored(stack, image))["originals"]
    assert hashlib.sha256(kept).digest() == hashlib.sha256(image).digest()


@pytest.mark.parametrize("padding", [1, 4096, 4097, 300_000])
async def test_a_jpeg_may_be_followed_by_any_number_of_nuls(stack: Stack, org: Organisation, padding: int) -> None:
    device, image = await org.device(), photo() + bytes(padding)
    answer = await device.upload(image)
    assert answer.status_code == 201
    assert (await settled(org.viewer, answer.json()["imageId"]))["status"] == "READY"
    kept = (await stored(stack, image))["originals"]
    assert kept == image


async def test_both_events_of_an_upload_carry_its_correlation_id(org: Organisation) -> None:
    device = await org.device()
    answer = await device.upload(photo(), headers={"X-Request-ID": "wake-4711", "X-Battery-V": "3.5"})
    assert answer.headers["x-request-id"] == "wake-4711"
    types = ["image.received", "device.checked_in", "image.ready"]
    events = await logged(org.viewer, 3, types=types)
    assert [event["type"] for event in events] == types
    assert {event["correlationId"] for event in events} == {"wake-4711"}
    assert events[0]["data"]["deviceId"] == device.id
    assert events[1]["data"] == {"batteryV": 3.5}
    assert events[0]["actorKind"] == events[1]["actorKind"] == "DEVICE"


async def test_a_moment_in_iso_is_when_it_was_taken(org: Organisation) -> None:
    device, taken = await org.device(), datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    zoned = taken.astimezone(datetime.fromisoformat("2020-01-01T00:00:00+05:30").tzinfo)
    for said in (taken.isoformat(), f"{taken:%Y-%m-%dT%H:%M:%S}", f"{taken:%Y-%m-%dT%H:%M:%SZ}", zoned.isoformat()):
        answer = await device.upload(photo(), headers={"X-Captured-At": said})
        facts = await image_of(org.viewer, answer.json()["imageId"], _FACTS)
        assert _moment(facts["capturedAt"]) == _moment(facts["deviceCapturedAt"]) == taken


async def test_a_moment_in_seconds_since_1970_is_when_it_was_taken(org: Organisation) -> None:
    device, taken = await org.device(), datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    for said in (f"{int(taken.timestamp())}", f"{taken.timestamp():.1f}"):
        answer = await device.upload(photo(), headers={"X-Captured-At": said})
        facts = await image_of(org.viewer, answer.json()["imageId"], _FACTS)
        assert _moment(facts["capturedAt"]) == _moment(facts["deviceCapturedAt"]) == taken


@pytest.mark.parametrize("said", ["0", "2004-05-06T07:08:09Z", "2089-01-01T00:00:00Z", "0002-01-01T00:00:00Z"])
async def test_a_clock_that_is_years_wrong_is_kept_but_not_believed(org: Organisation, said: str) -> None:
    device, before = await org.device(), datetime.now(UTC)
    answer = await device.upload(photo(), headers={"X-Captured-At": said})
    assert answer.status_code == 201
    facts = await settled(org.viewer, answer.json()["imageId"], _FACTS)
    claimed = datetime.fromtimestamp(0, UTC) if said == "0" else _moment(said)
    assert _moment(facts["deviceCapturedAt"]) == claimed
    assert before <= _moment(facts["capturedAt"]) <= datetime.now(UTC)


async def test_without_any_clock_the_server_says_when(org: Organisation) -> None:
    device, before = await org.device(), datetime.now(UTC)
    answer = await device.upload(photo())
    facts = await settled(org.viewer, answer.json()["imageId"], _FACTS)
    assert facts["deviceCapturedAt"] is None
    assert before <= _moment(facts["capturedAt"]) <= _moment(facts["receivedAt"]) <= datetime.now(UTC)


async def test_the_vitals_of_an_upload_are_the_devices_and_what_is_not_said_stays(org: Organisation) -> None:
    device = await org.device()
    said = {"X-Battery-V": "4.05", "X-Battery-Pct": "97.5", "X-RSSI": "-61", "X-Firmware": "cam 2.0.1"}
    assert (await device.upload(photo(), headers=said)).status_code == 201
    assert (await device.upload(photo(), headers={"X-RSSI": "-75.4"})).status_code == 201
    now = await device_now(org.viewer, device.id)
    assert (now["batteryV"], now["batteryPct"], now["rssi"], now["firmware"]) == (4.05, 97.5, -75, "cam 2.0.1")
    assert now["totalCaptures"] == 2


@pytest.mark.parametrize(
    ("header", "value", "argument"),
    [
        ("X-Battery-V", "full", "batteryV"),
        ("X-Battery-V", "-0.1", "batteryV"),
        ("X-Battery-V", "nan", "batteryV"),
        ("X-Battery-Pct", "100.1", "batteryPct"),
        ("X-Battery-Pct", "", "batteryPct"),
        ("X-RSSI", "-151", "rssi"),
        ("X-RSSI", "inf", "rssi"),
        ("X-RSSI", "1e99", "rssi"),
        ("X-Firmware", "x" * 101, "firmware"),
        ("X-Captured-At", "yesterday", "capturedAt"),
        ("X-Captured-At", "", "capturedAt"),
        ("X-Captured-At", "9" * 30, "capturedAt"),
        ("X-Captured-At", "2024-13-01T00:00:00Z", "capturedAt"),
        ("X-Captured-At", "0001-01-01T00:00:00+05:00", "capturedAt"),
        ("X-Captured-At", "0001-01-01T00:00:00Z", "capturedAt"),
        ("X-Captured-At", "9999-12-31T23:59:59.999999Z", "capturedAt"),
        ("X-Content-SHA256", "abc", "sha256"),
    ],
)
async def test_a_malformed_header_is_named_and_nothing_is_kept(
    stack: Stack, org: Organisation, header: str, value: str, argument: str
) -> None:
    device, image = await org.device(), photo()
    body = problem(await device.upload(image, headers={header: value}), 422, "BAD_USER_INPUT")
    assert body["details"]["argument"] == argument
    assert "_" not in body["detail"]
    assert await stored(stack, image) == {}
    now = await device_now(org.viewer, device.id)
    assert (now["totalCaptures"], now["lastSeenAt"]) == (0, None)
    assert (await device.upload(image)).json()["duplicate"] is False


async def test_the_next_wake_follows_the_operator(org: Organisation) -> None:
    device = await org.device(wakeIntervalSeconds=120)
    assert (await device.upload(photo())).json()["next"]["wakeInSeconds"] == 120
    await org.operator.run(UPDATE, id=device.id, changes={"wakeIntervalSeconds": 900})
    assert (await device.upload(photo())).json()["next"] == {
        "wakeInSeconds": 900,
        "configVersion": None,
        "config": None,
        "commands": [],
        "firmware": None,
    }


async def test_a_program_of_the_client_may_post_for_its_devices(org: Organisation, other_org: Organisation) -> None:
    device = await org.device()
    made = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    program = made["regenerateClientToken"]["token"]
    for token in (program, org.operator.token):
        sent = {"Authorization": f"Bearer {token}"}
        assert (await device.upload(photo(), headers=sent)).status_code == 201
        assert (await device.heartbeat(headers=sent)).status_code == 200
    assert (await device_now(org.viewer, device.id))["totalCaptures"] == 2
    others = await other_org.device()
    problem(await others.upload(photo(), headers={"Authorization": f"Bearer {program}"}), 404, "NOT_FOUND")
    problem(await others.heartbeat(headers={"Authorization": f"Bearer {program}"}), 404, "NOT_FOUND")


async def test_a_heartbeat_tells_vitals_by_header_or_by_body(org: Organisation) -> None:
    device = await org.device(wakeIntervalSeconds=77)
    answer = await device.heartbeat(headers={"X-Battery-V": "3.3", "X-Firmware": "1"}, json={"rssi": -50})
    assert (answer.status_code, answer.json()) == (
        200,
        {"next": {"wakeInSeconds": 77, "configVersion": None, "config": None, "commands": [], "firmware": None}},
    )
    await device.heartbeat(json={"batteryPct": 50, "firmware": "2", "batteryV": None, "unknown": [1]})
    now = await device_now(org.viewer, device.id)
    assert (now["batteryV"], now["batteryPct"], now["rssi"], now["firmware"]) == (3.3, 50, -50, "2")
    assert (now["status"], now["totalCaptures"]) == ("ACTIVE", 0)
    (first, second) = await logged(org.viewer, 2, types=["device.checked_in"])
    assert first["data"] == {"batteryV": 3.3, "rssi": -50, "firmware": "1"}
    assert second["data"] == {"batteryPct": 50.0, "firmware": "2"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "BAD_JSON"),
        (b"[]", 422, "BAD_JSON"),
        (json.dumps({"rssi": "strong"}).encode(), 422, "BAD_USER_INPUT"),
        (json.dumps({"rssi": [1]}).encode(), 422, "BAD_USER_INPUT"),
        (json.dumps({"firmware": 7}).encode(), 422, "BAD_USER_INPUT"),
        (json.dumps({"firmware": "a\0b"}).encode(), 422, "BAD_USER_INPUT"),
        (b" " * 20_000, 413, "TOO_LARGE"),
    ],
)
async def test_a_malformed_heartbeat_is_refused(org: Organisation, body: bytes, status: int, code: str) -> None:
    device = await org.device()
    address, sent = f"/v1/devices/{device.key}/heartbeat", {"Authorization": f"Bearer {device.token}"}
    problem(await device.http.post(address, content=body, headers=sent), status, code)
    assert (await device_now(org.viewer, device.id))["lastSeenAt"] is None
