"""Images that people and their programs post: `POST /v1/images`."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Organisation
from tests.support.images import image_of, originals, settled, unfinished
from tests.support.library import change, found, post_image, posted
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.sql import execute
from tests.support.stack import Stack


def _kept(data_dir: Path, image: bytes) -> list[Path]:
    """The files as they came with these bytes: nothing that was made of them."""
    return [path for path in originals(data_dir, image) if "originals" in path.parts]


_FIELDS = "source uploadedBy prompt tags capturedAt deviceCapturedAt device { id }"


async def test_an_image_is_kept_with_what_was_said_of_it(stack: Stack, org: Organisation) -> None:
    image = photo()
    answer = await post_image(
        org.operator, image, prompt=" A red apple ", tags=["Fruit", "red  apple", "fruit"], capturedAt="2011-05-01"
    )
    assert answer.status_code == 201
    said = answer.json()
    assert said == {"imageId": said["imageId"], "duplicate": False, "restored": False}
    kept = await settled(org.viewer, said["imageId"], _FIELDS)
    assert (kept["source"], kept["prompt"], kept["device"]) == ("UPLOAD", "A red apple", None)
    viewer = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]
    assert kept["uploadedBy"] == f"USER:{viewer['user']['id']}"
    assert kept["tags"] == ["fruit", "red apple"]
    assert kept["capturedAt"].startswith("2011-05-01T00:00:00")  # people post what is old
    (file,) = _kept(stack.data_dir, image)
    assert file.read_bytes() == image
    (received,) = await logged(org.viewer, types=["image.received"], subjectIds=[said["imageId"]])
    assert received["data"]["source"] == "UPLOAD"
    assert received["actorKind"] == "USER"


async def test_a_form_goes_before_the_query(org: Organisation) -> None:
    image = photo(format="PNG")
    metadata = {"prompt": "from the form", "tags": ["form"], "sha256": hashlib.sha256(image).hexdigest()}
    answer = await org.operator.http.post(
        "/v1/images?prompt=query&tags=query",
        files={"image": ("x.png", image, "image/png"), "metadata": ("", json.dumps(metadata), "application/json")},
        headers=org.operator.headers,
    )
    assert answer.status_code == 201, answer.text
    kept = await image_of(org.viewer, answer.json()["imageId"], _FIELDS)
    assert (kept["prompt"], kept["tags"]) == ("from the form", ["form"])


async def test_the_same_bytes_are_the_same_image(stack: Stack, org: Organisation, other_org: Organisation) -> None:
    image = photo()
    answers = await asyncio.gather(*(post_image(org.operator, image) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json()["imageId"] for answer in answers}) == 1
    assert len(_kept(stack.data_dir, image)) == 1
    assert (await post_image(other_org.operator, image)).status_code == 201
    assert await found(org.viewer) == [answers[0].json()["imageId"]]


async def test_a_key_is_one_image_and_another_key_another(org: Organisation) -> None:
    image = photo()
    first = await post_image(org.operator, image, headers={"Idempotency-Key": "one"})
    again = await post_image(org.operator, image, headers={"Idempotency-Key": "one"})
    second = await post_image(org.operator, image, headers={"Idempotency-Key": "two"})
    assert (first.status_code, again.status_code, second.status_code) == (201, 200, 201)
    assert first.json()["imageId"] == again.json()["imageId"] != second.json()["imageId"]
    reused = await post_image(org.operator, photo(), headers={"Idempotency-Key": "one"})
    problem(reused, 409, "IDEMPOTENCY_KEY_REUSED")


async def test_posting_a_deleted_image_restores_it(stack: Stack, org: Organisation) -> None:
    image = photo()
    image_id = await posted(org.operator, image, prompt="kept")
    await change(org.operator, "deleteImage", image_id)
    assert await found(org.viewer) == []
    for headers in ({"Idempotency-Key": "another"}, {}):
        answer = await post_image(org.operator, image, headers=headers)
        restored = bool(headers)  # the second time it is there
        assert answer.status_code == 200
        assert answer.json() == {"imageId": image_id, "duplicate": True, "restored": restored}
    assert (await image_of(org.viewer, image_id, "deletedAt prompt")) == {"deletedAt": None, "prompt": "kept"}
    assert len(_kept(stack.data_dir, image)) == 1
    again = await post_image(org.operator, image, headers={"Idempotency-Key": "another"})
    assert again.json() == {"imageId": image_id, "duplicate": True, "restored": False}
    (event,) = await logged(org.viewer, types=["image.restored"], subjectIds=[image_id])
    assert event["data"]["reason"] == "POSTED_AGAIN"


async def test_posting_again_what_workers_gave_up_on_has_them_try_again(stack: Stack, org: Organisation) -> None:
    image = photo()
    image_id = await posted(org.operator, image)
    await execute(
        stack.environment["QM_DATABASE_URL"],
        f"UPDATE images SET status = 'REJECTED', rejection_code = 'GAVE_UP' WHERE id = '{image_id}'",
    )
    answer = await post_image(org.operator, image)
    assert (answer.status_code, answer.json()["duplicate"]) == (201, False)
    assert (await settled(org.viewer, answer.json()["imageId"]))["status"] == "READY"


async def test_a_device_that_posts_a_deleted_photo_again_restores_it(org: Organisation) -> None:
    device, image = await org.device(), photo()
    image_id = (await device.upload(image)).json()["imageId"]
    await change(org.operator, "deleteImage", image_id)
    answer = (await device.upload(image)).json()
    assert (answer["imageId"], answer["duplicate"], answer["restored"]) == (image_id, True, True)
    assert await found(org.viewer) == [image_id]


@pytest.mark.parametrize(
    ("said", "argument"),
    [
        ({"tags": [""]}, "tags"),
        ({"tags": ["x" * 65]}, "tags"),
        ({"tags": [f"tag {n}" for n in range(33)]}, "tags"),
        ({"tags": ["a\u0000b"]}, "tags"),
        ({"prompt": "x" * 4001}, "prompt"),
        ({"prompt": "a\u0007b"}, "prompt"),
        ({"capturedAt": "yesterday"}, "capturedAt"),
        ({"clientId": "x"}, "clientId"),
    ],
)
async def test_what_cannot_be_said_is_named_and_nothing_is_kept(
    stack: Stack, org: Organisation, said: dict[str, Any], argument: str
) -> None:
    image = photo()
    refused = problem(await post_image(org.operator, image, **said), 422, "BAD_USER_INPUT")
    assert refused["details"]["argument"] == argument
    assert originals(stack.data_dir, image) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (photo(1)[:-200], "TRUNCATED"),
        (b"", "NOT_AN_IMAGE"),
        (b"GIF89a" + bytes(100), "NOT_AN_IMAGE"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "NOT_AN_IMAGE"),
    ],
)
async def test_what_is_no_whole_image_is_refused(stack: Stack, org: Organisation, body: bytes, code: str) -> None:
    problem(await post_image(org.operator, body), 422, code)
    assert unfinished(stack.data_dir) == set()
    assert await found(org.viewer) == []


async def test_who_may_post(org: Organisation, other_org: Organisation) -> None:
    image = photo()
    problem(await post_image(org.operator.with_token(None), image), 401, "UNAUTHENTICATED")
    problem(await post_image(org.viewer, image), 403, "FORBIDDEN")
    problem(await post_image(org.operator.with_token((await org.device()).token), image), 403, "FORBIDDEN")
    problem(await post_image(org.operator, image, clientId=other_org.id), 404, "NOT_FOUND")
    made = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    program = org.operator.with_token(made["regenerateClientToken"]["token"])
    assert (await post_image(program, image)).status_code == 201


async def test_an_admin_says_whose_it_is(org: Organisation) -> None:
    refused = problem(await post_image(org.admin, photo()), 422, "BAD_USER_INPUT")
    assert refused["details"]["argument"] == "clientId"
    unknown = "00000000-0000-7000-8000-000000000000"
    problem(await post_image(org.admin, photo(), clientId=unknown), 404, "NOT_FOUND")
    image_id = await posted(org.admin, photo(), clientId=org.id)
    assert await found(org.viewer) == [image_id]
