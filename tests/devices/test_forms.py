"""Photos in multipart forms: the part `image`, and beside it `metadata`, before or after."""

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.devices.operations import device_now
from tests.support.api import Organisation, TestDevice
from tests.support.images import image_of, originals
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.stack import Stack

_BOUNDARY = "----quartermaster-7d1"
_FORM = f"multipart/form-data; boundary={_BOUNDARY}"


def _part(name: str, content: bytes, *headers: str) -> bytes:
    head = [f'Content-Disposition: form-data; name="{name}"; filename="{name}.bin"', *headers]
    return f"--{_BOUNDARY}\r\n".encode() + "\r\n".join([*head, "", ""]).encode() + content + b"\r\n"


_END = f"--{_BOUNDARY}--\r\n".encode()


async def _post(device: TestDevice, body: bytes, **headers: str) -> httpx.Response:
    return await device.upload(body, content_type=_FORM, headers=headers)


@pytest.mark.parametrize("metadata_first", [True, False])
async def test_metadata_may_come_before_or_after_the_image(org: Organisation, metadata_first: bool) -> None:
    device, image = await org.device(), photo()
    said = {"batteryV": 3.8, "batteryPct": 71, "rssi": -58, "firmware": "3.0", "capturedAt": 1_000_000_000}
    parts = [_part("image", image, "Content-Type: image/jpeg"), _part("metadata", json.dumps(said).encode())]
    answer = await _post(device, b"".join(parts[::-1] if metadata_first else parts) + _END)
    assert answer.status_code == 201
    assert answer.json()["next"]["wakeInSeconds"] == 3600
    now = await device_now(org.viewer, device.id)
    assert (now["batteryV"], now["batteryPct"], now["rssi"], now["firmware"]) == (3.8, 71, -58, "3.0")
    facts = await image_of(org.viewer, answer.json()["imageId"], "sizeBytes deviceCapturedAt contentType")
    assert (facts["sizeBytes"], facts["contentType"]) == (len(image), "image/jpeg")
    assert facts["deviceCapturedAt"].startswith("2001-09-09T01:46:40")


async def test_the_bytes_are_those_of_the_part_alone(stack: Stack, org: Organisation) -> None:
    # Bytes that look like the beginning of the boundary, and line ends, are the image's own.
    image = photo(format="WEBP")
    padding = f"\r\n--{_BOUNDARY[:-1]}\r\n--\r\n\r\n".encode()
    device, sent = await org.device(), photo()[:-2] + b"\xff\xfe" + (len(padding) + 2).to_bytes(2) + padding
    sent += b"\xff\xd9"
    for body in (image, sent):
        answer = await _post(device, _part("other", b"x") + _part("image", body) + _END)
        assert answer.status_code == 201, answer.text
        (stored,) = [path for path in originals(stack.data_dir, body) if "originals" in path.parts]
        assert stored.read_bytes() == body


async def test_a_form_as_httpx_sends_it_and_without_metadata(org: Organisation) -> None:
    device = await org.device()
    files: Any = {"image": ("shelf.jpg", photo(), "image/jpeg")}
    answer = await device.http.post(
        f"/v1/devices/{device.key}/images",
        files=files,
        headers={"Authorization": f"Bearer {device.token}", "X-RSSI": "-44"},
    )
    assert answer.status_code == 201
    assert (await device_now(org.viewer, device.id))["rssi"] == -44


async def test_metadata_goes_before_headers_and_null_says_nothing(org: Organisation) -> None:
    device = await org.device()
    metadata = json.dumps({"rssi": -40, "firmware": None}).encode()
    body = _part("image", photo()) + _part("metadata", metadata) + _END
    await _post(device, body, **{"X-RSSI": "-90", "X-Firmware": "1.0"})
    now = await device_now(org.viewer, device.id)
    assert (now["rssi"], now["firmware"]) == (-40, "1.0")


_WHOLE = _part("image", photo(1))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        _END,
        _part("metadata", b"{}") + _END,
        _part("picture", photo(1)) + _END,
        _WHOLE + _WHOLE + _END,
        _WHOLE + _part("metadata", b"{") + _END,
        _WHOLE + _part("metadata", b"[1]") + _END,
        _WHOLE + _part("metadata", b'"x"') + _END,
        _WHOLE + _part("metadata", b'{"firmware": "' + b"x" * 17_000 + b'"}') + _END,
        _WHOLE + _part("metadata", b'{"rssi": -50}'),
        _WHOLE,
        _WHOLE.replace(b"Content-Disposition", b"Content Disposition") + _END,
        _WHOLE.replace(_BOUNDARY.encode(), b"another") + _END,
    ],
)
async def test_a_malformed_form_is_refused_and_nothing_is_kept(
    stack: Stack, org: Organisation, body: bytes
) -> None:
    device, before = await org.device(), len(originals(stack.data_dir, photo(1)))
    problem(await _post(device, body), 422, "BAD_FORM")
    assert len(originals(stack.data_dir, photo(1))) == before
    assert (await device_now(org.viewer, device.id))["totalCaptures"] == 0


async def test_malformed_vitals_in_the_metadata_are_named(org: Organisation) -> None:
    device = await org.device()
    for said, argument in (({"rssi": {}}, "rssi"), ({"capturedAt": [1]}, "capturedAt"), ({"sha256": 1}, "sha256")):
        body = _part("image", photo()) + _part("metadata", json.dumps(said).encode()) + _END
        assert problem(await _post(device, body), 422, "BAD_USER_INPUT")["details"]["argument"] == argument


async def test_a_form_whose_image_is_none_counts_as_a_failed_upload(org: Organisation) -> None:
    device = await org.device()
    problem(await _post(device, _part("image", photo()[:-50]) + _END), 422, "TRUNCATED")
    problem(await _post(device, _part("image", b"") + _END), 422, "NOT_AN_IMAGE")
    assert (await device_now(org.viewer, device.id))["failedUploads"] == 2


@pytest.mark.parametrize("of", ["body", "image", "neither", "unreadable"])
async def test_a_content_digest_is_of_the_whole_form_and_not_looked_at(org: Organisation, of: str) -> None:
    device, image = await org.device(), photo()
    body = _part("image", image) + _END
    digested = {"body": body, "image": image}.get(of, b"")
    digest = base64.b64encode(hashlib.sha256(digested).digest()).decode() if of != "unreadable" else "?"
    answer = await _post(device, body, **{"Content-Digest": f"sha-256=:{digest}:"})
    assert answer.status_code == 201, answer.text


async def test_the_hash_of_the_image_in_a_form_is_checked(org: Organisation) -> None:
    device, image = await org.device(), photo()
    right, wrong = hashlib.sha256(image).hexdigest(), "0" * 64
    part = _part("image", image)

    def said(value: str) -> bytes:
        return part + _part("metadata", json.dumps({"sha256": value}).encode()) + _END

    problem(await _post(device, part + _END, **{"X-Content-SHA256": wrong}), 422, "DIGEST_MISMATCH")
    problem(await _post(device, said(wrong)), 422, "DIGEST_MISMATCH")
    assert (await device_now(org.viewer, device.id))["failedUploads"] == 2
    assert (await _post(device, said(right))).status_code == 201
    assert (await _post(device, part + _END, **{"X-Content-SHA256": right})).json()["duplicate"] is True


async def test_a_form_needs_a_boundary(org: Organisation) -> None:
    device = await org.device()
    answer = await device.upload(_WHOLE + _END, content_type="multipart/form-data")
    problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
