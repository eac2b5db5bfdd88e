"""In which media type, with which status and how packed an answer comes."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.support.api import Api, Organisation

JSON, RESPONSE_JSON = "application/json", "application/graphql-response+json"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (RESPONSE_JSON, RESPONSE_JSON),
        (f"{RESPONSE_JSON}; charset=utf-8", RESPONSE_JSON),
        (f"{RESPONSE_JSON}, {JSON};q=0.9", RESPONSE_JSON),
        (f"{RESPONSE_JSON};q=0.5, {JSON}", JSON),
        (f"{RESPONSE_JSON};q=0, */*", JSON),
        (f"text/html, {JSON};q=0.1", JSON),
        (f"text/event-stream, {JSON}", JSON),
    ],
)
async def test_an_answer_has_the_media_type_that_is_accepted(api: Api, accept: str, media: str) -> None:
    answer = await api.post("{ __typename }", headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == media
    assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["text/html", "image/png", f"{JSON};q=0", f"{JSON};q=nonsense"])
async def test_what_nobody_can_answer_in_is_refused(api: Api, accept: str) -> None:
    answer = await api.post("{ __typename }", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ("{ __typename }", 200),
        ("{ viewer { kind } }", 200),  # nobody: an error of the field, so it was executed
        ("{ devices(", 400),
        ("{ nope }", 400),
        ("query ($n: Int!) { devices(first: $n) { totalCount } }", 400),
        ("query a { __typename } query b { __typename }", 400),
    ],
)
async def test_the_status_says_whether_it_was_executed(api: Api, document: str, status: int) -> None:
    answer = await api.post(document, headers={"Accept": RESPONSE_JSON})
    assert answer.status_code == status
    assert ("data" in answer.json()) == (status == 200)
    assert (await api.post(document, headers={"Accept": JSON})).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ('application/json; charset="UTF-8"', True),
        ("application/json; charset=latin-1", False),
        ("application/graphql", False),
        ("text/json", False),
    ],
)
async def test_requests_are_json_in_utf_8(api: Api, content_type: str, taken: bool) -> None:
    body = json.dumps({"query": "{ __typename }"})
    answer = await api.http.post("/graphql", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == (200 if taken else 415)


async def test_parameters_of_a_get_are_json_too(org: Organisation) -> None:
    get, headers = org.viewer.http.get, org.viewer.headers
    document = "query a($id: ID!) { device(id: $id) { id } } query b { viewer { kind } }"
    device = await org.device()
    params = {"query": document, "operationName": "a", "variables": json.dumps({"id": device.id})}
    assert (await get("/graphql", params=params, headers=headers)).json()["data"] == {"device": {"id": device.id}}
    bad = await get("/graphql", params={**params, "variables": "{"}, headers=headers)
    assert (bad.status_code, bad.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")


async def _raw(http: httpx.AsyncClient, body: Any, headers: dict[str, str]) -> tuple[httpx.Headers, bytes]:
    async with http.stream("POST", "/graphql", json=body, headers=headers) as response:
        return response.headers, b"".join([part async for part in response.aiter_raw()])


async def test_a_large_answer_is_packed_for_who_accepts_it(org: Organisation) -> None:
    body = {"query": "{ __schema { types { name description fields { name description } } } }"}
    plain, whole = await _raw(org.viewer.http, body, {"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain
    assert "Accept-Encoding" in plain["vary"]
    packed, part = await _raw(org.viewer.http, body, {"Accept-Encoding": "br;q=1, gzip"})
    assert packed["content-encoding"] == "gzip"
    assert int(packed["content-length"]) == len(part) < len(whole) / 3
    assert json.loads(gzip.decompress(part)) == json.loads(whole)
    refused, _ = await _raw(org.viewer.http, body, {"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused


async def test_a_small_answer_is_not_packed(api: Api) -> None:
    headers, _ = await _raw(api.http, {"query": "{ __typename }"}, {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in headers
