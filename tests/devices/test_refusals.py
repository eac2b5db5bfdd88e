"""Uploads that are refused: how they are told, what they count as, and that nothing of them stays."""

import base64
import hashlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import orjson
import pytest

from tests.devices.operations import UPDATE, device_now
from tests.support.api import Organisation, TestDevice
from tests.support.images import originals, unfinished
from tests.support.log import eventually, logged
from tests.support.photos import padded, photo
from tests.support.problems import problem
from tests.support.stack import Stack, wait_until
from tests.support.wire import answer_to, request_head, sent


def _path(device: TestDevice) -> str:
    return f"/v1/devices/{device.key}/images"


def _head(device: TestDevice, length: int, **headers: str) -> bytes:
    """The head of an upload that declares a body of so many bytes."""
    own: dict[str, str | int] = {"Authorization": f"Bearer {device.token}", "Content_Type": "image/jpeg"}
    return request_head("POST", _path(device), **{**own, "Content_Length": length, **headers})


def _nothing_stays(stack: Stack, image: bytes) -> None:
    assert originals(stack.data_dir, image) == []
    lingering = unfinished(stack.data_dir)  # another process's work may pass through, but passes
    wait_until(lambda: not lingering & unfinished(stack.data_dir), what="an empty folder of incoming blobs")


# Who.


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "UNAUTHENTICATED"),
        ("Bearer", "UNAUTHENTICATED"),
        ("Basic dXNlcjpwYXNz", "UNAUTHENTICATED"),
        ("Bearer qmd_" + "x" * 43, "INVALID_TOKEN"),
        ("Bearer qmc_" + "x" * 43, "INVALID_TOKEN"),
        ("Bearer nonsense", "INVALID_TOKEN"),
        ("Bearer a.b.c", "INVALID_TOKEN"),
    ],
)
async def test_without_a_credential_that_is_valid_it_is_401(
    stack: Stack, org: Organisation, authorization: str | None, code: str
) -> None:
    device, image = await org.device(), photo()
    headers = {"Content-Type": "image/jpeg", **({"Authorization": authorization} if authorization else {})}
    for address in (_path(device), f"/v1/devices/{device.key}/heartbeat"):
        answer = await device.http.post(address, content=image, headers=headers)
        problem(answer, 401, code)
        assert answer.headers["www-authenticate"] == "Bearer"
    _nothing_stays(stack, image)
    assert (await device_now(org.viewer, device.id))["lastSeenAt"] is None


async def test_a_disabled_device_is_refused_and_its_photo_not_kept(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()
    await org.operator.run(UPDATE, id=device.id, changes={"enabled": False})
    problem(await device.upload(image), 403, "DEVICE_DISABLED")
    problem(await device.upload(image[:-50]), 403, "DEVICE_DISABLED")
    problem(await device.heartbeat(), 403, "DEVICE_DISABLED")
    _nothing_stays(stack, image)
    now = await device_now(org.viewer, device.id)
    assert (now["lastSeenAt"], now["totalCaptures"], now["failedUploads"]) == (None, 0, 0)


async def test_a_device_posts_as_itself_only(stack: Stack, org: Organisation, other_org: Organisation) -> None:
    device, image = await org.device(), photo()
    for other in (await org.device(), await other_org.device()):
        stolen = TestDevice(device.http, other.id, other.key, device.token)
        problem(await stolen.upload(image), 403, "OTHER_DEVICE")
        problem(await stolen.heartbeat(), 403, "OTHER_DEVICE")
        assert (await device_now(org.admin, other.id))["lastSeenAt"] is None
    unknown = TestDevice(device.http, device.id, "nobody", device.token)
    problem(await unknown.upload(image), 403, "OTHER_DEVICE")
    _nothing_stays(stack, image)


async def test_a_viewer_posts_nothing(org: Organisation) -> None:
    device = await org.device()
    sent_by = {"Authorization": f"Bearer {org.viewer.token}"}
    problem(await device.upload(photo(), headers=sent_by), 403, "FORBIDDEN")
    problem(await device.heartbeat(headers=sent_by), 403, "FORBIDDEN")


@pytest.mark.parametrize("key", ["nobody", "...", "a b", "käse", "%00", "x" * 3000])
async def test_a_key_that_nobody_has_is_404_for_the_clients_own_program(org: Organisation, key: str) -> None:
    made = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    headers = {"Authorization": f"Bearer {made['regenerateClientToken']['token']}", "Content-Type": "image/jpeg"}
    address = f"/v1/devices/{key if key == '%00' else quote(key)}/images"
    answer = await org.operator.http.post(address, content=photo(), headers=headers)
    if key == "%00":
        problem(answer, 422, "BAD_USER_INPUT")
    else:
        problem(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_posting_is_possible(org: Organisation, method: str) -> None:
    device = await org.device()
    answer = await device.http.request(method, _path(device), headers={"Authorization": f"Bearer {device.token}"})
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"


# What, before its bytes are read.


async def test_a_body_of_unknown_length_is_411(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()

    async def pieces() -> AsyncIterator[bytes]:
        yield image

    headers = {"Authorization": f"Bearer {device.token}", "Content-Type": "image/jpeg"}
    problem(await device.http.post(_path(device), content=pieces(), headers=headers), 411, "LENGTH_REQUIRED")
    _nothing_stays(stack, image)


async def test_a_body_that_is_too_large_is_413_before_it_is_sent(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    status, body = await answer_to(stack.url, _head(device, 20_000_001))
    assert status == 413
    assert b'"code":"TOO_LARGE"' in body
    form = _head(device, 20_065_537, Content_Type="multipart/form-data; boundary=b")
    assert (await answer_to(stack.url, form))[0] == 413


async def test_an_image_that_is_too_large_within_its_form_is_413(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), padded(photo(), 20_000_001)
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + image + b"\r\n--b--\r\n"
    problem(await device.upload(body, content_type="multipart/form-data; boundary=b"), 413, "TOO_LARGE")
    _nothing_stays(stack, image)
    assert (await device.upload(padded(photo(), 20_000_000))).status_code == 201


@pytest.mark.parametrize("content_type", ["", "image/gif", "application/json", "image/jpeg-2000", "text/html"])
async def test_other_media_types_are_415(org: Organisation, content_type: str) -> None:
    device = await org.device()
    problem(await device.upload(photo(), content_type=content_type), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert (await device_now(org.viewer, device.id))["failedUploads"] == 0


# What, once they were.


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "NOT_AN_IMAGE"),
        (b"GIF89a" + bytes(100), "NOT_AN_IMAGE"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "NOT_AN_IMAGE"),
        (bytes(2_000_000), "NOT_AN_IMAGE"),
        (photo(2)[:-2], "TRUNCATED"),
        (photo(2)[: len(photo(2)) // 2], "TRUNCATED"),
        (photo(2)[:-2] + bytes(70_000), "TRUNCATED"),
        (photo(2) + bytes(70_000) + b"\n", "TRUNCATED"),
        (photo(2, format="PNG") + bytes(1), "TRUNCATED"),
        (photo(2, format="PNG") + bytes(70_000), "TRUNCATED"),
        (photo(2, format="PNG")[:-1], "TRUNCATED"),
        (photo(2, format="WEBP")[:-7], "TRUNCATED"),
        (photo(2)[:3], "TRUNCATED"),
    ],
)
async def test_what_is_no_whole_image_is_422_counted_and_told(
    stack: Stack, org: Organisation, image: bytes, code: str
) -> None:
    device = await org.device()
    body = problem(await device.upload(image, headers={"X-Battery-V": "3.1"}), 422, code)
    now = await device_now(org.viewer, device.id)
    assert (now["failedUploads"], now["totalCaptures"], now["batteryV"]) == (1, 0, 3.1)
    assert now["lastSeenAt"]
    (event,) = await logged(org.viewer, types=["device.upload_failed"], subjectIds=[device.id])
    assert event["data"]["code"] == code
    assert event["data"]["message"] in body["detail"]
    _nothing_stays(stack, image)


async def test_a_refused_photo_may_be_sent_again_whole(org: Organisation) -> None:
    device, image, key = await org.device(), photo(), {"Idempotency-Key": "wake-1"}
    problem(await device.upload(image[:-5], headers=key), 422, "TRUNCATED")
    assert (await device.upload(image, headers=key)).status_code == 201


def _digest(image: bytes, algorithm: str = "sha-256") -> str:
    return f"{algorithm}=:{base64.b64encode(hashlib.sha256(image).digest()).decode()}:"


async def test_the_right_digest_is_taken_in_each_form(org: Organisation) -> None:
    device = await org.device()
    for number in range(4):
        image = photo()
        hexadecimal = hashlib.sha256(image).hexdigest()
        headers = [
            {"Content-Digest": _digest(image)},
            {"Content-Digest": f"md5=:AAAA:, {_digest(image, 'SHA-256')}"},
            {"X-Content-SHA256": hexadecimal},
            {"X-Content-SHA256": hexadecimal.upper()},
        ][number]
        assert (await device.upload(image, headers=headers)).status_code == 201, headers


async def test_a_wrong_digest_is_422_and_counted(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()
    wrong = [
        {"Content-Digest": _digest(b"other")},
        {"X-Content-SHA256": "0" * 64},
    ]
    for headers in wrong:
        problem(await device.upload(image, headers=headers), 422, "DIGEST_MISMATCH")
    assert (await device_now(org.viewer, device.id))["failedUploads"] == len(wrong)
    _nothing_stays(stack, image)


@pytest.mark.parametrize(
    "digest", ["sha-256=:A:", "sha-256=abc", "sha-256", "sha-256=::", "sha-256=:!!:", "sha-256=:AAAA:"]
)
async def test_a_digest_that_cannot_be_read_is_never_taken_for_a_match(org: Organisation, digest: str) -> None:
    device = await org.device()
    answer = await device.upload(photo(), headers={"Content-Digest": digest})
    problem(answer, 422, "BAD_USER_INPUT")
    assert answer.json()["details"]["argument"] == "Content-Digest"


async def test_two_digests_that_contradict_each_other_are_refused(org: Organisation) -> None:
    device, image = await org.device(), photo()
    headers = {"Content-Digest": _digest(image), "X-Content-SHA256": "0" * 64}
    problem(await device.upload(image, headers=headers), 422, "BAD_USER_INPUT")


# Cut off.


async def _is_counted(org: Organisation, device: TestDevice) -> dict[str, object]:
    async def counted() -> bool:
        return bool((await device_now(org.viewer, device.id))["failedUploads"])

    await eventually(counted, what="the count of the upload that was cut off")
    (event,) = await logged(org.viewer, types=["device.upload_failed"], subjectIds=[device.id])
    return dict(event["data"])


async def test_a_connection_that_ends_in_the_middle_is_counted_as_cut_off(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()
    async with sent(stack.url, _head(device, len(image), X_RSSI="-93") + image[: len(image) // 2]):
        pass
    assert (await _is_counted(org, device))["code"] == "CUT_OFF"
    now = await device_now(org.viewer, device.id)
    assert (now["failedUploads"], now["totalCaptures"], now["rssi"]) == (1, 0, -93)
    _nothing_stays(stack, image)


async def test_a_large_upload_that_is_cut_off_leaves_no_spilled_file(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), padded(photo(), 5_000_000)
    async with sent(stack.url, _head(device, len(image)) + image[:3_500_000]):

        async def spilled() -> bool:
            return any(path.stat().st_size >= 1_000_000 for path in unfinished(stack.data_dir))

        await eventually(spilled, what="a file that is on its way into the store")
    assert (await _is_counted(org, device))["code"] == "CUT_OFF"
    _nothing_stays(stack, image)


async def test_a_form_that_is_cut_off_is_counted_too(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + photo()
    form = _head(device, len(body) + 100, Content_Type="multipart/form-data; boundary=b")
    async with sent(stack.url, form + body):
        pass
    assert (await _is_counted(org, device))["code"] == "CUT_OFF"


async def test_a_heartbeat_that_is_cut_off_is_no_defect_of_the_server(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    head = request_head(
        "POST",
        f"/v1/devices/{device.key}/heartbeat",
        Authorization=f"Bearer {device.token}",
        Content_Length=100,
        X_Request_ID=f"cut-{device.key}",
    )
    async with sent(stack.url, head + b"{"):
        pass
    wait_until(lambda: f"cut-{device.key}" in stack.output(), what="the log line of the request")
    lines = [orjson.loads(line) for line in stack.output().splitlines() if f"cut-{device.key}" in line]
    assert [(line["event"], line["level"]) for line in lines] == [("request", "info")]
    assert (await device.heartbeat()).status_code == 200


# Too often.


async def test_a_device_that_reports_too_often_is_told_when_to_come_back(stack: Stack, org: Organisation) -> None:
    device, other, image = await org.device(), await org.device(), photo()
    statuses = [(await device.heartbeat()).status_code for _ in range(60)]
    assert statuses == [200] * 60
    for answer in (await device.heartbeat(), await device.upload(image)):
        problem(answer, 429, "TOO_MANY_REQUESTS")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    _nothing_stays(stack, image)
    assert (await device_now(org.viewer, device.id))["totalCaptures"] == 0
    assert (await other.heartbeat()).status_code == 200
