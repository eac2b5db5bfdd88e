"""Pictures made on this server, by the provider that needs no key: from the asking to the image, and what is
refused.
"""

import asyncio
import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from server.settings import SettingsError, load_settings
from tests.conftest import StackOf
from tests.generation.operations import FIELDS, GENERATE, GENERATION, ended, generate, now
from tests.support.api import Api, Organisation
from tests.support.live import Socket
from tests.support.log import logged
from tests.support.stack import Stack

LIST = f"""query ($filter: ImageGenerationFilter, $first: Int! = 20, $after: String) {{
  imageGenerations(filter: $filter, first: $first, after: $after) {{
    nodes {{ {FIELDS} }} totalCount pageInfo {{ hasNextPage endCursor }}
  }} }}"""
UPDATES = """subscription ($ids: [ID!]) {
  imageGenerationUpdates(ids: $ids) { type cursor event { data } generation { id status image { url } } } }"""


async def picture(api: Api, generation: dict[str, Any]) -> Image.Image:
    """The pixels behind the signed link."""
    answer = await api.http.get(generation["image"]["url"])
    assert answer.status_code == 200
    return Image.open(io.BytesIO(answer.content))


async def test_a_picture_is_made_and_can_be_looked_at(org: Organisation) -> None:
    asked = await generate(org.operator, "  A castle\r\nin the fog ", shape="LANDSCAPE", tags=["Castle", "fog "])
    assert (asked["status"], asked["kind"], asked["prompt"]) == ("QUEUED", "IMAGE", "A castle\nin the fog")
    assert (asked["requesterKind"], asked["tags"]) == ("USER", ["castle", "fog"])
    made = await ended(org.viewer, asked["id"])
    assert (made["status"], made["failure"], made["retryAt"], made["attempts"]) == ("READY", None, None, 1)
    assert (made["provider"], made["model"], made["costUsd"]) == ("local", "hills-1", 0.0)
    assert made["generationMs"] > 0
    assert made["requestedAt"] <= made["startedAt"] <= made["finishedAt"]
    image = made["image"]
    assert (image["status"], image["source"], image["contentType"]) == ("READY", "GENERATED", "image/png")
    assert (await picture(org.viewer, made)).size == (image["width"], image["height"]) == (768, 512)


async def test_the_same_prompt_gives_the_same_picture_and_another_gives_another(org: Organisation) -> None:
    prompts = ("a lake", "a lake", "a river")
    made = [await ended(org.operator, (await generate(org.operator, prompt))["id"]) for prompt in prompts]
    files = [(await org.operator.http.get(one["image"]["original"])).content for one in made]
    assert files[0] == files[1] != files[2]
    assert len({one["image"]["id"] for one in made}) == 3


async def test_the_stages_are_told_live_and_in_the_log(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        live = await socket.subscribe(UPDATES)
        asked = await generate(org.operator, "a harbour")
        seen = [(await live.next())["imageGenerationUpdates"] for _ in range(3)]
    assert [one["type"].partition(".")[2] for one in seen] == ["queued", "running", "ready"]
    assert seen[-1]["generation"]["id"] == asked["id"]
    assert seen[-1]["generation"]["image"]["url"]  # who is told can look at once
    events = await logged(org.viewer, 3, subjectIds=[asked["id"]])
    assert {event["subjectKind"] for event in events} == {"IMAGE_GENERATION"}
    assert events[0]["actorKind"] == "USER"
    assert events[-1]["data"]["imageId"] == (await now(org.viewer, asked["id"]))["image"]["id"]


async def test_node_finds_it_for_its_own_client_only(org: Organisation, other_org: Organisation) -> None:
    asked = await generate(org.operator, "a well")
    query = "query ($id: ID!) { node(id: $id) { __typename id } }"
    assert (await org.viewer.run(query, id=asked["id"]))["node"]["__typename"] == "ImageGeneration"
    assert (await other_org.viewer.run(query, id=asked["id"]))["node"] is None
    assert (await other_org.viewer.run(GENERATION, id=asked["id"]))["imageGeneration"] is None


async def test_the_list_is_filtered_and_paged(org: Organisation) -> None:
    asked = [(await generate(org.operator, f"mountain {number}"))["id"] for number in range(3)]
    for generation_id in asked:
        await ended(org.operator, generation_id)
    first = await org.viewer.run(LIST, first=2, filter={"statuses": ["READY"], "kinds": ["IMAGE"]})
    page = first["imageGenerations"]
    assert [node["id"] for node in page["nodes"]] == asked[:0:-1]
    assert page["totalCount"] == 3
    after = page["pageInfo"]["endCursor"]
    rest = (await org.viewer.run(LIST, first=2, after=after))["imageGenerations"]
    assert [node["id"] for node in rest["nodes"]] == asked[:1]
    for nothing in ({"statuses": ["FAILED"]}, {"kinds": ["SCENE"]}, {"failureCodes": ["TIMEOUT"]}):
        assert (await org.viewer.run(LIST, filter=nothing))["imageGenerations"]["nodes"] == []
    (me,) = {node["requesterId"] for node in rest["nodes"]}
    assert (await org.viewer.run(LIST, filter={"requesterId": me}))["imageGenerations"]["totalCount"] == 3


@pytest.mark.parametrize(
    ("prompt", "details"),
    [
        ("", {}),
        (" \n\t ", {}),
        ("x" * 2001, {"given": 2001}),
        ("bell\x07", {"character": "U+0007"}),
        ("nul\x00", {"character": "U+0000"}),
        ("right\u202eto left", {"character": "U+202E"}),
        ("in\u200bvisible", {"character": "U+200B"}),
        ("private \ue000", {"character": "U+E000"}),
        *(
            (f"g{blank}un", {"character": f"U+{ord(blank):04X}"})
            for blank in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        ),
    ],
)
async def test_a_prompt_that_breaks_a_rule_is_refused(
    org: Organisation, prompt: str, details: dict[str, Any]
) -> None:
    refusal = (await org.operator.refused(GENERATE, prompt=prompt))["extensions"]
    assert refusal["code"] == "BAD_USER_INPUT"
    assert refusal["details"].items() >= {"argument": "prompt", **details}.items()


async def test_prompts_of_every_language_are_taken(org: Organisation) -> None:
    for prompt in ("x" * 2000, "城\u3000の\nうえ", "می\u200cخواهم", "👩‍🚀 on\u00a0a 🏳️‍🌈"):
        made = await ended(org.operator, (await generate(org.operator, prompt))["id"])
        assert (made["status"], made["prompt"]) == ("READY", prompt)


async def test_bad_tags_and_strangers_are_refused_and_leave_nothing(
    org: Organisation, other_org: Organisation
) -> None:
    assert await org.operator.code(GENERATE, prompt="x", tags=["y" * 65]) == "BAD_USER_INPUT"
    assert await org.operator.code(GENERATE, prompt="x", client=other_org.id) == "NOT_FOUND"
    assert await org.viewer.code(GENERATE, prompt="x") == "FORBIDDEN"
    assert await org.admin.code(GENERATE, prompt="x") == "BAD_USER_INPUT"  # whose?
    assert await org.admin.code(GENERATE, prompt="x", client=str(uuid.uuid4())) == "NOT_FOUND"
    assert (await org.viewer.run(LIST))["imageGenerations"]["totalCount"] == 0
    assert (await generate(org.admin, "for them", client=org.id))["status"] == "QUEUED"


async def test_ten_a_minute_and_then_when_to_come_back(org: Organisation) -> None:
    for _ in range(12):
        assert await org.operator.code(GENERATE, prompt="") == "BAD_USER_INPUT"  # not counted
    answers = await asyncio.gather(*(org.operator.post(GENERATE, prompt="a hill") for _ in range(12)))
    bodies = [answer.json() for answer in answers]
    refused = [body["errors"][0]["extensions"] for body in bodies if body.get("errors")]
    assert [one["code"] for one in refused] == ["THROTTLED", "THROTTLED"]
    assert all(1 <= one["details"]["retryAfterSeconds"] <= 60 for one in refused)
    assert (await org.viewer.run(LIST))["imageGenerations"]["totalCount"] == 10
    assert (await generate(org.admin, "somebody else", client=org.id))["id"]


async def test_the_same_request_under_one_key_is_one_picture(org: Organisation) -> None:
    key = {"Idempotency-Key": f"test {uuid.uuid4()}"}
    ids = {(await org.operator.run(GENERATE, headers=key, prompt="once"))["generateImage"]["id"] for _ in range(3)}
    assert len(ids) == 1
    assert (await org.viewer.run(LIST))["imageGenerations"]["totalCount"] == 1


@pytest.fixture(scope="module")
def strict(stack_of: StackOf) -> Iterator[Stack]:
    """One whose operator does not want everything drawn."""
    denied = "weapon, Secret  Base, gun, 枪, ﾋﾟｽﾄﾙ, ปืน, می\u200cخواهم,"
    with stack_of(QM_PROMPT_DENIED=denied, QM_GENERATIONS_PER_MINUTE="2") as stack:
        yield stack


async def test_the_operator_says_what_is_not_drawn_and_how_often(strict: Stack) -> None:
    async with strict.signed_in() as admin:
        org = await Organisation.made(admin)
        for prompt in ("A WEAPON.", "the secret\nbase", "a ｗｅａｐｏｎ", "a wea\u200dpon", "no weapon!"):
            refusal = (await org.operator.refused(GENERATE, prompt=prompt))["extensions"]
            assert refusal["code"] == "PROMPT_DENIED", prompt
            assert refusal["details"]["word"] in ("weapon", "secret base")
        for prompt in ("weaponry", "a base, secretly"):
            assert (await generate(org.operator, prompt))["status"] == "QUEUED"
        assert await org.operator.code(GENERATE, prompt="a third") == "THROTTLED"


async def test_what_is_not_drawn_is_found_in_every_script(strict: Stack) -> None:
    found = {
        "他拿着枪走进城": "枪",
        "黒いピストルを持つ人": "ピストル",
        "ชายถือปืนในป่า": "ปืน",
        "一把gun在桌上": "gun",
        "gun_fight": "gun",
        "_gun": "gun",
        "g\ufe0fun": "gun",
        "gu\U000e0100n": "gun",
        "g\u180bun": "gun",
        "می\u200cخواهم": "میخواهم",
    }
    async with strict.signed_in() as admin:
        org = await Organisation.made(admin)
        for prompt, word in found.items():
            refusal = (await org.operator.refused(GENERATE, prompt=prompt))["extensions"]
            assert (refusal["code"], refusal.get("details", {}).get("word")) == ("PROMPT_DENIED", word), prompt
        for prompt in ("a gunner's Gunnera, begun", "城 ❤️ gun2"):
            assert (await generate(org.operator, prompt))["status"] == "QUEUED"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"generation_provider": "gemini"}, "QM_GENERATION_API_KEY is required"),
        ({"generation_provider": "midjourney"}, "QM_GENERATION_PROVIDER"),
        ({"generation_provider": "openai", "generation_api_key": "two words"}, "QM_GENERATION_API_KEY is wrong"),
        ({"generation_base_url": "ftp://example.com"}, "QM_GENERATION_BASE_URL is wrong"),
    ],
)
def test_wrong_settings_are_refused_by_name(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as refusal:
        load_settings(**given)
    assert "two words" not in str(refusal.value)
