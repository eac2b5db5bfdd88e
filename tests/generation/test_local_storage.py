"""A browser's dump is taken over: by the mutation and by the route, every key accounted for, nothing twice."""

import asyncio
import base64
import json
import uuid
from typing import Any

import httpx
import pytest

from tests.generation.operations import IMPORT, scene
from tests.support.api import Api, Organisation
from tests.support.log import eventually, logged
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.stack import Stack
from tests.support.wire import answer_to, request_head, sent

ROUTE = "/v1/import/local-storage"
IMAGES = """query ($filter: ImageFilter) { images(filter: $filter, first: 100, order: RECEIVED_AT_ASC) {
  totalCount nodes { id status source contentType prompt tags url(variant: ORIGINAL) } } }"""


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


async def taken(api: Api, dump: Any, **given: Any) -> dict[str, Any]:
    report: dict[str, Any] = (await api.run(IMPORT, dump=dump, **given))["importLocalStorage"]
    return report


async def posted(api: Api, dump: Any, **parameters: str) -> httpx.Response:
    return await api.http.post(ROUTE, json=dump, headers=api.headers, params=parameters, timeout=60)


async def images(api: Api, **filter: Any) -> list[dict[str, Any]]:
    """Those of the caller, once none is being worked on."""

    async def settled() -> bool:
        unfinished = {"statuses": ["RECEIVED", "PROCESSING"]}
        return not (await api.run(IMAGES, filter=unfinished))["images"]["totalCount"]

    await eventually(settled, what="images in their last state")
    nodes: list[dict[str, Any]] = (await api.run(IMAGES, filter=filter))["images"]["nodes"]
    return nodes


def an_old_game() -> tuple[dict[str, str], list[bytes]]:
    """What an old front end left, and the pictures in it in their order."""
    files = [photo(format="PNG"), photo(), photo(format="WEBP"), photo(format="PNG"), photo()]
    dump = {
        "playerName": "Ada",
        "scene_dark_forest": data_url(files[0]),
        "scene_9f86d081884c7d659a2f": json.dumps(
            {"prompt": "The  old mill", "image": data_url(files[1], "image/jpeg")}
        ),
        "game:item-iron%20sword": data_url(files[2], "image/webp"),
        "items": json.dumps(
            [{"name": "shield", "img": {"src": data_url(files[3])}}, {"name": "rope", "img": None}]
        ),
        "lastScreenshot": base64.b64encode(files[4]).decode(),
        "settings": '{"volume": 0.5, "homepage": "https://example.com"}',
    }
    return dump, files


async def test_an_old_game_is_taken_over(org: Organisation) -> None:
    dump, files = an_old_game()
    report = await taken(org.operator, dump)
    counts = {name: report[name] for name in ("keys", "imported", "duplicates", "skipped", "failed")}
    assert counts == {"keys": 7, "imported": 5, "duplicates": 0, "skipped": 2, "failed": 0}
    told = [(one["key"][:8], one["kind"], one["path"], one["outcome"], one["prompt"]) for one in report["results"]]
    assert told == [
        ("playerNa", "OTHER", "$", "SKIPPED", None),
        ("scene_da", "SCENE", "$", "IMPORTED", "dark forest"),
        ("scene_9f", "SCENE", "$.image", "IMPORTED", "The old mill"),
        ("game:ite", "ITEM", "$", "IMPORTED", None),
        ("items", "ITEM", "$[0].img.src", "IMPORTED", "shield"),
        ("lastScre", "OTHER", "$", "IMPORTED", None),
        ("settings", "OTHER", "$", "SKIPPED", None),
    ]
    found = await images(org.viewer)
    assert {(one["status"], one["source"]) for one in found} == {("READY", "IMPORTED")}
    by_id = {one["id"]: one for one in found}
    taken_over = [by_id[one["image"]["id"]] for one in report["results"] if one["image"]]
    assert len(taken_over) == len(found) == 5
    assert [(await org.viewer.http.get(one["url"])).content for one in taken_over] == files
    assert taken_over[2]["tags"] == ["iron sword", "item"]
    (event,) = await logged(org.viewer, types=["local_storage.imported"])
    assert event["data"] == {"imported": 5, "duplicate": 0, "skipped": 2, "failed": 0}


async def test_scenes_answer_requests_for_them(org: Organisation) -> None:
    dump, _ = an_old_game()
    report = await taken(org.operator, dump)
    by_prompt = {one["prompt"]: one for one in report["results"] if one["scene"]}
    await images(org.viewer)
    for prompt in ("Dark Forest", "the old MILL"):
        cache, found = await scene(org.operator, prompt)
        assert (cache, found["misses"], found["generation"]) == ("HIT", 0, None)
        assert found["image"]["source"] == "IMPORTED"
    assert {one["scene"]["id"] for one in by_prompt.values()} >= {found["id"]}
    assert len(by_prompt) == 2


async def test_the_same_dump_again_changes_nothing(org: Organisation) -> None:
    dump, _ = an_old_game()
    first = await taken(org.operator, dump)
    again = (await posted(org.operator, dump)).json()
    text = await taken(org.operator, json.dumps(dump))  # as a text, too
    assert (again["imported"], again["duplicates"], text["duplicates"]) == (0, 5, 5)
    ids = [one["image"] and one["image"]["id"] for one in first["results"]]
    assert [one["imageId"] for one in again["results"]] == ids
    assert len(await images(org.viewer)) == 5
    twice = {"scene_a": dump["scene_dark_forest"], "other": dump["scene_dark_forest"]}
    assert (await taken(org.operator, twice))["duplicates"] == 2


async def test_of_dumps_sent_at_once_each_picture_is_taken_once(org: Organisation) -> None:
    dump, _ = an_old_game()
    reports = await asyncio.gather(*(taken(org.operator, dump) for _ in range(4)))
    assert sum(report["imported"] for report in reports) == 5
    assert len(await images(org.viewer)) == 5


async def test_what_was_deleted_since_is_there_again(org: Organisation) -> None:
    first = await taken(org.operator, {"scene_x": data_url(photo(format="PNG"))})
    picture = await images(org.viewer)
    await org.operator.run("mutation ($id: ID!) { deleteImage(id: $id) { id } }", id=picture[0]["id"])
    assert await images(org.viewer) == []
    dump = {"scene_x": data_url((await org.viewer.http.get(picture[0]["url"])).content)}
    again = await taken(org.operator, dump)
    assert again["results"][0]["image"]["id"] == first["results"][0]["image"]["id"]
    assert len(await images(org.viewer)) == 1


async def test_a_dry_run_says_the_same_and_does_nothing(org: Organisation) -> None:
    dump, _ = an_old_game()
    foreseen = (await posted(org.operator, {**dump, "item_2": dump["lastScreenshot"]}, dryRun="true")).json()
    assert (foreseen["dryRun"], foreseen["imported"], foreseen["duplicates"]) == (True, 5, 1)
    assert await images(org.viewer) == []
    report = await taken(org.operator, dump)
    assert report["imported"] == 5
    foreseen = await taken(org.operator, dump, dry=True)
    assert [one["image"] for one in foreseen["results"]] != [None] * 7
    assert foreseen["duplicates"] == 5


PNG = photo(1, format="PNG")
ENCODED = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"DATA:image/png;BASE64,{ENCODED}",
        f"data:;base64,{ENCODED}",
        f"data:image/png;name=a.png;charset=x;base64,{ENCODED}",
        f"data:image/jpeg;base64,{ENCODED}",  # the content counts
        f"  data:image/png;base64,{ENCODED.rstrip('=')}\n",
        f"data:image/png;base64,{chr(10).join(ENCODED[i : i + 76] for i in range(0, len(ENCODED), 76))}",
        f"data:image/png;base64,{ENCODED.replace('+', '-').replace('/', '_')}",
        f"data:image/png;base64,{ENCODED.replace('+', '%2B').replace('/', '%2F')}",
        json.dumps(f"data:image/png;base64,{ENCODED}"),
        ENCODED,
    ],
)
async def test_a_picture_is_understood_in_every_form(org: Organisation, text: str) -> None:
    report = await taken(org.operator, {"item_1": text})
    assert (report["imported"], report["failed"]) == (1, 0), report
    (image,) = await images(org.viewer)
    assert (image["status"], image["contentType"]) == ("READY", "image/png")


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("scene_1", "data:image/png;base64,####", "BAD_BASE64"),
        ("scene_1", "data:image/png;base64", "BAD_DATA_URL"),
        ("scene_1", "data:image/svg+xml,%3Csvg/%3E", "BAD_DATA_URL"),
        ("scene_1", "data:text/html;base64,PGI+", "NOT_AN_IMAGE"),
        ("scene_1", data_url(b"GIF89a" + bytes(20), "image/gif"), "NOT_AN_IMAGE"),
        ("scene_1", data_url(PNG[:-20]), "TRUNCATED"),
        ("scene_1", data_url(b""), "NOT_AN_IMAGE"),
        ("scene_1", "blob:https://game.example/1234", "BLOB_URL"),
        ("scene_1", "https://example.com/scene.png", "REMOTE_URL"),
        ("scene_1", "", "NO_PICTURE"),
        ("scene_1", "{broken json", "NO_PICTURE"),
        ("item_1", '{"name": "rope"}', "NO_PICTURE"),
        ("item_1", 5, "NO_PICTURE"),
        ("item_1", None, "NO_PICTURE"),
        ("item_1", "[" * 30 + f'"{data_url(PNG)}"' + "]" * 30, "TOO_DEEP"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
async def test_what_is_wrong_is_told_with_its_key_and_spoils_nothing_else(
    org: Organisation, key: str, value: Any, code: str
) -> None:
    report = await taken(org.operator, {key: value, "item_good": data_url(photo(format="PNG"))})
    bad, good = report["results"]
    assert (bad["key"], bad["outcome"], bad["code"], bad["image"]) == (key, "FAILED", code, None)
    assert bad["message"]
    assert (good["outcome"], report["failed"], report["imported"]) == ("IMPORTED", 1, 1)


async def test_json_in_the_texts_of_json_is_opened(org: Organisation) -> None:
    files = [photo(format="PNG"), photo(), photo(format="WEBP")]
    scenes = {"s1": {"prompt": "a quay", "image": data_url(files[0])}, "s2": json.dumps([data_url(files[1])])}
    deep = json.dumps(data_url(files[2]))
    for _ in range(6):
        deep = json.dumps({"text": deep})
    root = {"scenes": json.dumps(scenes), "name": '"unnamed"', "_persist": '{"version":1}'}
    dump = {
        "persist:root": json.dumps(root),
        "item_deep": deep,
        "item_deeper": json.dumps({"x": "[" * 20 + f'"{ENCODED}"' + "]" * 20}),
    }
    report = await taken(org.operator, dump)
    told = [(one["key"], one["path"], one["outcome"], one["code"], one["prompt"]) for one in report["results"]]
    assert told == [
        ("persist:root", "$.scenes.s1.image", "IMPORTED", None, "a quay"),
        ("persist:root", "$.scenes.s2[0]", "IMPORTED", None, "unnamed"),
        ("item_deep", "$" + ".text" * 6, "IMPORTED", None, None),
        ("item_deeper", "$.x" + "[0]" * 19, "FAILED", "TOO_DEEP", None),
    ]


@pytest.mark.parametrize(
    "hostile",
    [
        "[" + ",".join(['"[[[[[[[["'] * 10_000) + "]",  # opened in vain
        json.dumps(dict.fromkeys(("prompt", "text", "name"), '[{"a": "[1,2,')),
        '"' + "\\" * 100_000,
        "[" * 100_000 + "]" * 100_000,
    ],
)
async def test_what_only_looks_like_json_is_passed_over(org: Organisation, hostile: str) -> None:
    for _ in range(3):  # in texts of texts
        hostile = json.dumps(hostile)
    assert len(hostile) < 30_000_000
    answer = await posted(org.operator, {"other": hostile, "item_good": data_url(photo(format="PNG"))})
    report = answer.json()
    assert (report["imported"], report["skipped"], report["failed"]) == (1, 1, 0)


async def test_a_name_that_is_longer_in_lower_case_is_a_tag_all_the_same(org: Organisation) -> None:
    dump = {f"item_İstanbul{'a' * 60}": data_url(photo(format="PNG")), f"item_{'İ' * 64}": data_url(photo())}
    assert (await taken(org.operator, dump))["imported"] == 2
    tags = sorted(one["tags"] for one in await images(org.viewer))
    assert tags == [["item", "i\u0307" * 32], ["item", f"i\u0307stanbul{'a' * 55}"]]


async def test_what_only_a_decoder_finds_wrong_is_rejected_and_can_be_sent_again(org: Organisation) -> None:
    dump = {"scene_old_well": data_url(b"\xff\xd8\xff\xd9", "image/jpeg")}
    assert (await taken(org.operator, dump))["imported"] == 1
    assert [one["status"] for one in await images(org.viewer)] == ["REJECTED"]
    assert (await scene(org.operator, "old well"))[0] == "MISS"
    assert (await taken(org.operator, dump))["imported"] == 1


async def test_a_large_dump_goes_by_the_route(org: Organisation) -> None:
    files = [photo(size=(700, 500), format="PNG") for _ in range(20)]
    dump = {f"scene_hall_{'abcdefghijklmnopqrst'[i]}": data_url(file) for i, file in enumerate(files)}
    assert len(json.dumps(dump)) > 1_000_000
    too_large = await org.operator.post(IMPORT, dump=dump)
    assert (too_large.status_code, too_large.json()["errors"][0]["extensions"]["code"]) == (413, "TOO_LARGE")
    answer = await posted(org.operator, dump)
    report = answer.json()
    assert (answer.status_code, report["keys"], report["imported"]) == (200, 20, 20)
    assert {one["outcome"] for one in report["results"]} == {"IMPORTED"}
    assert all(one["sceneId"] and one["imageId"] for one in report["results"])
    assert len(await images(org.viewer, search="hall")) == 20


async def test_the_route_refuses_what_is_no_dump(stack: Stack, org: Organisation) -> None:
    http, headers = org.operator.http, {**org.operator.headers, "Content-Type": "application/json"}
    for body, code in ((b"{", "BAD_JSON"), (b"", "BAD_JSON"), (b"[]", "BAD_DUMP"), (b'"x"', "BAD_DUMP")):
        problem(await http.post(ROUTE, content=body, headers=headers), 422, code)
    problem(await http.post(ROUTE, content=b"{}", headers=org.operator.headers), 415, "UNSUPPORTED_MEDIA_TYPE")
    said = {"Authorization": headers["Authorization"], "Content_Type": "application/json"}
    status, answer = await answer_to(stack.url, request_head("POST", ROUTE, **said, Content_Length=32_000_001))
    assert (status, json.loads(answer)["code"]) == (413, "TOO_LARGE")  # before the body was sent
    problem(await http.post(ROUTE, content=_chunks(), headers=headers), 411, "LENGTH_REQUIRED")
    assert await org.operator.code(IMPORT, dump=[1]) == "BAD_DUMP"
    assert await images(org.viewer) == []


async def test_the_route_refuses_dumps_too_large_and_strangers(org: Organisation, other_org: Organisation) -> None:
    many = {str(number): "x" for number in range(5_001)}
    problem(await posted(org.operator, many), 422, "TOO_MANY_KEYS")
    crowd = json.dumps([data_url(photo(size=(8, 6), format="PNG"))] * 1_001)
    problem(await posted(org.operator, {"items": crowd}), 422, "TOO_MANY_PICTURES")
    problem(await posted(org.operator, {}, dryRun="perhaps"), 422, "BAD_USER_INPUT")
    problem(await posted(org.operator, {}, clientId="x"), 422, "BAD_USER_INPUT")
    problem(await posted(org.operator, {}, clientId=other_org.id), 404, "NOT_FOUND")
    problem(await posted(org.admin, {}), 422, "BAD_USER_INPUT")
    problem(await posted(org.admin, {}, clientId=str(uuid.uuid4())), 404, "NOT_FOUND")
    problem(await posted(org.viewer, {}), 403, "FORBIDDEN")
    problem(await posted(org.operator.with_token(None), {}), 401, "UNAUTHENTICATED")
    assert await images(org.viewer) == []


async def test_who_sends_slowly_takes_one_place_and_not_that_of_others(
    stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    said = {"Authorization": org.operator.headers["Authorization"], "Content_Type": "application/json"}
    slow = request_head("POST", ROUTE, **said, Content_Length=1_000, Expect="100-continue")
    async with sent(stack.url, slow) as reader:
        asked_for = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
        assert asked_for.split()[1] == b"100"  # its body is awaited, in a place
        for _ in range(8):  # are not counted
            refusal = await posted(org.operator, {})
            problem(refusal, 503, "BUSY")
            assert refusal.headers["retry-after"] == "5"
        assert (await posted(other_org.operator, {})).status_code == 200

    async def free_again() -> bool:
        return (await posted(org.operator, {})).status_code == 200

    await eventually(free_again, what="the place of a sender who went away")


async def test_a_dump_is_sent_within_half_a_minute(stack: Stack, org: Organisation) -> None:
    said = {"Authorization": org.operator.headers["Authorization"], "Content_Type": "application/json"}
    async with sent(stack.url, request_head("POST", ROUTE, **said, Content_Length=1_000) + b"{") as reader:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 40)
        assert head.split()[1] == b"408"
    assert (await posted(org.operator, {})).status_code == 200


async def test_six_a_minute_and_then_when_to_come_back(org: Organisation, other_org: Organisation) -> None:
    for _ in range(6):
        assert (await posted(org.operator, {}, dryRun="true")).status_code == 200
    answer = await posted(org.operator, {})
    problem(answer, 429, "TOO_MANY_REQUESTS")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await posted(other_org.operator, {})).status_code == 200


async def _chunks() -> Any:
    yield b"{}"


async def test_it_belongs_to_whom_it_is_sent_for(org: Organisation, other_org: Organisation) -> None:
    dump = {"scene_bay": data_url(PNG)}
    assert (await posted(org.operator, dump)).json()["imported"] == 1
    assert (await posted(org.admin, dump, clientId=other_org.id)).json()["imported"] == 1
    (mine,), (theirs,) = await images(org.viewer), await images(other_org.viewer)
    assert mine["id"] != theirs["id"]
    assert await other_org.viewer.code(IMPORT, dump=dump) == "FORBIDDEN"
