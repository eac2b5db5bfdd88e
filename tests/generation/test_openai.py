"""The images API of OpenAI, over a real connection: what is asked, and what is particular to its answers."""

import uuid
from typing import Any

import pytest

from tests.conftest import StackOf
from tests.generation.conftest import Drawing
from tests.generation.operations import ended, generate
from tests.generation.provider import KEY, FakeProvider, Reply, encoded
from tests.support.api import Organisation
from tests.support.log import logged
from tests.support.photos import photo


def drawn(data: bytes | None = None) -> Reply:
    return Reply.json({"created": 1, "data": [{"b64_json": encoded(data)}], "usage": {"total_tokens": 100}})


def wrong(status: int, code: str | None, message: str = "No.", **headers: str) -> Reply:
    error = {"message": message, "type": "x", "param": None, "code": code}
    return Reply.json({"error": error}, status, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture
def prompt() -> str:
    """One that no other test uses."""
    return f"a bridge {uuid.uuid4()}"


async def test_it_is_asked_as_its_documentation_says(
    openai: Drawing, openai_org: Organisation, prompt: str
) -> None:
    openai.provider.script(prompt, drawn(photo(format="WEBP")))
    shapes = {"SQUARE": "1024x1024", "LANDSCAPE": "1536x1024", "PORTRAIT": "1024x1536"}
    for shape in shapes:
        made = await ended(openai_org.operator, (await generate(openai_org.operator, prompt, shape=shape))["id"])
        assert (made["status"], made["provider"], made["model"]) == ("READY", "openai", "gpt-image-1")
        assert made["image"]["contentType"] == "image/webp"
    asked = openai.provider.asked(prompt)
    assert {one.path for one in asked} == {"/v1/images/generations"}
    assert {one.headers["authorization"] for one in asked} == {f"Bearer {KEY}"}
    assert [one.body for one in asked] == [
        {"model": "gpt-image-1", "prompt": prompt, "n": 1, "size": size} for size in shapes.values()
    ]


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (wrong(400, "content_policy_violation"), "REFUSED", "content_policy_violation"),
        (wrong(400, "moderation_blocked"), "REFUSED", "moderation_blocked"),
        (wrong(429, "insufficient_quota", "Check your plan."), "QUOTA_EXCEEDED", "Check your plan."),
        (wrong(400, "billing_hard_limit_reached"), "QUOTA_EXCEEDED", "used up"),
        (wrong(429, "rate_limit_exceeded", Retry_After="600"), "QUOTA_EXCEEDED", "used up"),
        (wrong(429, None, Retry_After="Fri, 31 Dec 2099 23:59:59 GMT"), "QUOTA_EXCEEDED", "used up"),
        (wrong(401, "invalid_api_key", "Incorrect API key: sk-te***15"), "PROVIDER_ERROR", "does not accept"),
        (wrong(400, None, "Unknown parameter"), "PROVIDER_ERROR", "Unknown parameter"),
        (Reply.json({"error": "plain words"}, 400), "PROVIDER_ERROR", "plain words"),
        (Reply(400, b"x" * 200_000), "PROVIDER_ERROR", "(400)"),
        (Reply.json({"data": [{"url": "http://127.0.0.1:9/x.png"}]}), "PROVIDER_ERROR", "no picture"),
        (Reply.json({"data": [{"b64_json": "not base64!"}]}), "PROVIDER_ERROR", "not base64"),
        (Reply.json({"data": []}), "PROVIDER_ERROR", "no picture"),
        (Reply.json({"data": [{"b64_json": ["x"]}]}), "PROVIDER_ERROR", "no picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_not_worth_another_attempt_fails_at_once(
    openai: Drawing, openai_org: Organisation, prompt: str, reply: Reply, code: str, words: str
) -> None:
    openai.provider.script(prompt, reply)
    made = await ended(openai_org.operator, (await generate(openai_org.operator, prompt))["id"])
    assert (made["status"], made["failure"]["code"], made["attempts"]) == ("FAILED", code, 1)
    assert words in made["failure"]["message"]
    assert "sk-te" not in made["failure"]["message"]
    assert len(openai.provider.asked(prompt)) == 1


async def test_a_date_that_is_none_is_no_time_to_wait(
    openai: Drawing, openai_org: Organisation, prompt: str
) -> None:
    reply = wrong(429, "rate_limit_exceeded", Retry_After="Mon, 99999999999 Jan 2020 00:00:00 GMT")
    openai.provider.script(prompt, reply)
    asked = await generate(openai_org.operator, prompt)
    (event,) = await logged(openai_org.viewer, types=["image_generation.put_off"], subjectIds=[asked["id"]])
    assert event["data"]["retryInSeconds"] == 4  # what is waited where the provider names no time


async def test_a_rate_limit_is_waited_for(openai: Drawing, openai_org: Organisation, prompt: str) -> None:
    openai.provider.script(prompt, wrong(429, "rate_limit_exceeded", Retry_After="1"), drawn())
    asked = await generate(openai_org.operator, prompt)
    (event,) = await logged(openai_org.viewer, types=["image_generation.put_off"], subjectIds=[asked["id"]])
    assert event["data"]["retryInSeconds"] == 1
    made = await ended(openai_org.operator, asked["id"])  # by itself, when the time has come
    assert (made["status"], made["attempts"]) == ("READY", 2)


@pytest.fixture(scope="module")
def older(stack_of: StackOf) -> Any:
    """A server that draws by an older model."""
    with FakeProvider.started() as provider:
        settings = {
            "QM_GENERATION_PROVIDER": "openai",
            "QM_GENERATION_API_KEY": KEY,
            "QM_GENERATION_BASE_URL": provider.url,
            "QM_GENERATION_MODEL": "dall-e-3",
        }
        with stack_of(**settings) as stack:
            yield Drawing(stack, provider)


async def test_older_models_are_told_to_send_the_picture_and_not_its_address(older: Drawing, prompt: str) -> None:
    older.provider.script(prompt, drawn())
    async with older.stack.signed_in() as admin:
        org = await Organisation.made(admin)
        made = await ended(org.operator, (await generate(org.operator, prompt, shape="LANDSCAPE"))["id"])
    assert (made["status"], made["model"], made["costUsd"]) == ("READY", "dall-e-3", None)
    (request,) = older.provider.asked(prompt)
    assert (request.body["size"], request.body["response_format"]) == ("1792x1024", "b64_json")


async def test_a_provider_that_is_not_there_is_tried_again(older: Drawing, prompt: str) -> None:
    """Nothing was asked, so nothing is paid twice."""
    async with older.stack.signed_in() as admin:
        org = await Organisation.made(admin)
        older.provider.close()
        asked = await generate(org.operator, prompt)
        (event,) = await logged(org.viewer, types=["image_generation.put_off"], subjectIds=[asked["id"]])
    assert event["data"]["message"] == "The provider cannot be reached."
