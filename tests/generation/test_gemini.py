"""Gemini's wire format, over a real connection: what is asked, and every way in which it may be answered."""

import uuid
from datetime import datetime
from typing import Any

import pytest

from tests.generation.conftest import Drawing
from tests.generation.operations import GENERATE, ended, generate, until
from tests.generation.provider import KEY, Reply, encoded
from tests.support.api import Organisation
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.sql import execute

TYPE = "type.googleapis.com/google.rpc."


def drawn(data: bytes | None = None, mime: str = "image/png") -> Reply:
    parts = [{"text": "Here it is:"}, {"inlineData": {"mimeType": mime, "data": encoded(data)}}]
    return Reply.json({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]})


def over_quota(delay: str | None, quota: str = "GenerateRequestsPerMinutePerProject") -> Reply:
    details: list[dict[str, Any]] = [{"@type": f"{TYPE}QuotaFailure", "violations": [{"quotaId": quota}]}]
    if delay is not None:
        details.append({"@type": f"{TYPE}RetryInfo", "retryDelay": delay})
    error = {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED"}
    return Reply.json({"error": {**error, "details": details}}, 429)


def wrong(status: int, message: str = "An internal error has occurred.") -> Reply:
    return Reply.json({"error": {"code": status, "message": message, "status": "X"}}, status)


def blocked(reason: Any) -> Reply:
    return Reply.json({"candidates": [{"finishReason": reason, "index": 0}]})


@pytest.fixture
def prompt() -> str:
    """One that no other test uses."""
    return f"a tower {uuid.uuid4()}"


async def outcome(gemini: Drawing, org: Organisation, prompt: str, *replies: Reply) -> dict[str, Any]:
    """What becomes of a prompt that is answered so."""
    gemini.provider.script(prompt, *replies)
    return await ended(org.operator, (await generate(org.operator, prompt))["id"])


async def it_is_time(gemini: Drawing, generation_id: str) -> None:
    """Let what was put off be due now."""
    assert uuid.UUID(generation_id)
    await execute(
        gemini.stack.environment["QM_DATABASE_URL"],
        f"UPDATE image_generations SET retry_at = now(), lease_until = now() WHERE id = '{generation_id}'",
    )


async def test_it_is_asked_as_its_documentation_says(
    gemini: Drawing, gemini_org: Organisation, prompt: str
) -> None:
    made = await outcome(gemini, gemini_org, prompt, drawn())
    assert (made["status"], made["provider"], made["model"]) == ("READY", "gemini", "gemini-2.5-flash-image")
    assert (made["costUsd"], made["attempts"]) == (0.039, 1)
    assert made["generationMs"] >= 0
    assert (made["image"]["status"], made["image"]["contentType"]) == ("READY", "image/png")
    (request,) = gemini.provider.asked(prompt)
    assert request.path == "/v1/models/gemini-2.5-flash-image:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert request.body == {
        "contents": [{"role": "user", "parts": [{"text": prompt}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }


async def test_shapes_are_aspect_ratios(gemini: Drawing, gemini_org: Organisation, prompt: str) -> None:
    gemini.provider.script(prompt, drawn(photo(size=(30, 20)), "image/jpeg"))
    for shape in ("LANDSCAPE", "PORTRAIT"):
        made = await ended(gemini_org.operator, (await generate(gemini_org.operator, prompt, shape=shape))["id"])
        assert made["image"]["contentType"] == "image/jpeg"
    ratios = [one.body["generationConfig"]["imageConfig"] for one in gemini.provider.asked(prompt)]
    assert ratios == [{"aspectRatio": "3:2"}, {"aspectRatio": "2:3"}]


async def test_a_short_quota_is_waited_for_and_seen(gemini: Drawing, gemini_org: Organisation, prompt: str) -> None:
    gemini.provider.script(prompt, over_quota("34.5s"), drawn())
    asked = await generate(gemini_org.operator, prompt)
    (event,) = await logged(gemini_org.viewer, types=["image_generation.put_off"], subjectIds=[asked["id"]])
    assert (event["data"]["code"], event["data"]["retryInSeconds"]) == ("QUOTA_EXCEEDED", 34)
    waiting = await until(gemini_org.operator, asked["id"], "QUEUED")
    moments = [datetime.fromisoformat(waiting[name]) for name in ("startedAt", "retryAt")]
    assert 33 < (moments[1] - moments[0]).total_seconds() < 45
    assert len(gemini.provider.asked(prompt)) == 1
    await it_is_time(gemini, asked["id"])
    made = await ended(gemini_org.operator, asked["id"])
    assert (made["status"], made["attempts"], made["retryAt"]) == ("READY", 2, None)


@pytest.mark.parametrize(
    ("reply", "retry_after"),
    [
        (over_quota("3600s"), 3600),
        (over_quota("121.2s"), 122),
        (over_quota("20s", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"), None),
    ],
    ids=["long", "just too long", "of the day"],
)
async def test_a_quota_that_is_gone_for_long_is_told_at_once(
    gemini: Drawing, gemini_org: Organisation, prompt: str, reply: Reply, retry_after: int | None
) -> None:
    made = await outcome(gemini, gemini_org, prompt, reply)
    assert (made["status"], made["image"]) == ("FAILED", None)
    assert made["failure"]["code"] == "QUOTA_EXCEEDED"
    assert made["failure"]["retryAfterSeconds"] == retry_after
    assert "You exceeded your current quota" in made["failure"]["message"]
    assert len(gemini.provider.asked(prompt)) == 1


async def test_a_quota_that_stays_used_up_is_given_up(
    gemini: Drawing, gemini_org: Organisation, prompt: str
) -> None:
    gemini.provider.script(prompt, over_quota(None))
    asked = await generate(gemini_org.operator, prompt)
    for attempt in (1, 2):
        await logged(gemini_org.viewer, attempt, types=["image_generation.put_off"], subjectIds=[asked["id"]])
        await it_is_time(gemini, asked["id"])
    made = await ended(gemini_org.operator, asked["id"])
    assert (made["failure"]["code"], made["attempts"]) == ("QUOTA_EXCEEDED", 3)
    assert len(gemini.provider.asked(prompt)) == 3


@pytest.mark.parametrize("status", [500, 503, 529])
async def test_an_error_of_the_server_is_tried_again(
    gemini: Drawing, gemini_org: Organisation, prompt: str, status: int
) -> None:
    gemini.provider.script(prompt, wrong(status), drawn())
    asked = await generate(gemini_org.operator, prompt)
    (event,) = await logged(gemini_org.viewer, types=["image_generation.put_off"], subjectIds=[asked["id"]])
    assert (event["data"]["code"], event["data"]["retryInSeconds"]) == ("PROVIDER_ERROR", 4)
    await it_is_time(gemini, asked["id"])
    assert (await ended(gemini_org.operator, asked["id"]))["status"] == "READY"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (blocked("IMAGE_SAFETY"), "REFUSED", "IMAGE_SAFETY"),
        (blocked("PROHIBITED_CONTENT"), "REFUSED", "PROHIBITED_CONTENT"),
        (Reply.json({"promptFeedback": {"blockReason": "SAFETY"}}), "REFUSED", "SAFETY"),
        (blocked("MAX_TOKENS"), "PROVIDER_ERROR", "no picture"),
        (blocked(["SAFETY"]), "PROVIDER_ERROR", "no picture"),
        (Reply.json({"promptFeedback": {"blockReason": ["SAFETY"]}}), "REFUSED", "no reason given"),
        (Reply.json({"candidates": []}), "PROVIDER_ERROR", "no picture"),
        (Reply.json({"candidates": [{"content": {"parts": [{"text": "No."}]}}]}), "PROVIDER_ERROR", "no picture"),
        (Reply.json({"candidates": [{"content": {"parts": [{"inlineData": 5}, 7]}}, "x"]}), "PROVIDER_ERROR", "no"),
        (Reply.json([1, 2]), "PROVIDER_ERROR", "no picture"),
        (Reply(200, b"<html>captive portal</html>"), "PROVIDER_ERROR", "no picture"),
        (Reply(200, b'{"candidates": [' * 300), "PROVIDER_ERROR", "no picture"),
        (Reply(200, b""), "PROVIDER_ERROR", "no picture"),
        (Reply(200, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}), "PROVIDER_ERROR", "cannot be read"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/"}), "PROVIDER_ERROR", "302"),
        (wrong(400, "Invalid JSON payload."), "PROVIDER_ERROR", "Invalid JSON payload"),
        (wrong(404, "models/x is not found"), "PROVIDER_ERROR", "is not found"),
        (wrong(403, f"API key {KEY} not valid"), "PROVIDER_ERROR", "does not accept this server's key"),
        (wrong(504, "Deadline expired"), "TIMEOUT", "Deadline expired"),
        (wrong(408), "TIMEOUT", "in time (408)"),
        (Reply(502, b"<html>Bad gateway</html>"), "TIMEOUT", "in time (502)"),
        (Reply(520, b"<html>Unknown error</html>"), "TIMEOUT", "in time (520)"),
        (Reply(524, b"<html>A timeout occurred</html>"), "TIMEOUT", "in time (524)"),
        (drawn(b"GIF89a" + bytes(40)), "PROVIDER_ERROR", "not a JPEG, PNG or WebP"),
        (drawn(photo()[:-40]), "PROVIDER_ERROR", "end-of-image"),
        (drawn(bytes(500_001)), "PROVIDER_ERROR", "more than 500000 bytes"),
        (Reply(200, b" " * 2_000_000), "PROVIDER_ERROR", "more than"),
        (Reply(200, b'{"candidates"', cut=True), "PROVIDER_ERROR", "ended too early"),
        (Reply(drop=True), "PROVIDER_ERROR", "ended too early"),
        (Reply(200, b"{", drip=True), "TIMEOUT", "within 2 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_not_worth_another_attempt_fails_at_once(
    gemini: Drawing, gemini_org: Organisation, prompt: str, reply: Reply, code: str, words: str
) -> None:
    made = await outcome(gemini, gemini_org, prompt, reply)
    assert (made["status"], made["failure"]["code"], made["attempts"]) == ("FAILED", code, 1)
    assert words in made["failure"]["message"]
    assert made["finishedAt"]
    assert made["image"] is None
    assert len(gemini.provider.asked(prompt)) == 1


async def test_a_picture_that_only_a_decoder_finds_wrong_fails_too(
    gemini: Drawing, gemini_org: Organisation, prompt: str
) -> None:
    """It has a picture's ends, so it is stored; the worker that decodes it has the last word."""
    made = await outcome(gemini, gemini_org, prompt, drawn(b"\xff\xd8\xff\xd9"))
    assert (made["status"], made["failure"]["code"]) == ("FAILED", "PROVIDER_ERROR")
    assert "cannot be used" in made["failure"]["message"]
    assert (made["image"]["status"], made["image"]["url"]) == ("REJECTED", None)
    assert made["costUsd"] == 0.039  # paid all the same


async def test_the_key_is_nowhere(gemini: Drawing, gemini_org: Organisation, prompt: str) -> None:
    """Not even when the provider repeats it in words of its own; after all of the above, at log level debug."""
    said = f"Bad request with {KEY}, sk-other-abcdefgh and AIzaSyA1234567"
    made = await outcome(gemini, gemini_org, prompt, wrong(400, said))
    assert made["failure"]["message"].startswith("The provider did not take the request (400): Bad request with …")
    for secret in (KEY, "sk-other", "AIzaSy"):
        assert secret not in str(made)
        assert secret not in gemini.stack.output()
    events = await logged(gemini_org.viewer, 3, subjectIds=[made["id"]])
    assert KEY not in str(events)
    shown = await gemini_org.admin.run("{ diagnostics { settings { name value } } }")
    told = {one["name"]: one["value"] for one in shown["diagnostics"]["settings"]}
    assert told["QM_GENERATION_API_KEY"] == "(set)"


async def test_while_pictures_are_waited_for_photos_are_processed(
    gemini: Drawing, gemini_org: Organisation
) -> None:
    """The threads of a worker that wait for the provider are not those that decode."""
    prompt = f"slow {uuid.uuid4()}"
    gemini.provider.script(prompt, Reply(200, b"{", drip=True))
    waiting = [(await gemini_org.operator.run(GENERATE, prompt=prompt))["generateImage"] for _ in range(8)]
    device = await gemini_org.device()
    answer = await device.upload(photo())
    await logged(gemini_org.viewer, types=["image.ready"], subjectIds=[answer.json()["imageId"]])
    ends = [await ended(gemini_org.operator, one["id"]) for one in waiting]
    ready = (await logged(gemini_org.viewer, types=["image.ready"]))[0]["occurredAt"]
    assert {one["failure"]["code"] for one in ends} == {"TIMEOUT"}
    assert ready < max(one["finishedAt"] for one in ends)
