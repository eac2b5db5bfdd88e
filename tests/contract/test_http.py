"""GraphQL over HTTP at its edges: what is no operation at all, and the correlation id of every answer."""

from typing import Any

import httpx
import pytest

from domain.kit.ids import is_id
from tests.support.api import Api, Organisation
from tests.support.live import Socket
from tests.support.stack import Stack

_JSON = {"Content-Type": "application/json"}
_REFUSED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "a body that is too large": (
        413,
        "TOO_LARGE",
        {"content": b'{"query": "{ __typename }", "more": "' + b"a" * 262_144 + b'"}', "headers": _JSON},
    ),
    "a batch": (400, "BAD_REQUEST", {"json": [{"query": "{ __typename }"}, {"query": "{ __typename }"}]}),
    "an empty batch": (400, "BAD_REQUEST", {"json": []}),
    "no body": (400, "BAD_REQUEST", {"headers": _JSON}),
    "half a body": (400, "BAD_REQUEST", {"content": b'{"query": "{', "headers": _JSON}),
    "a number": (400, "BAD_REQUEST", {"json": 7}),
    "null": (400, "BAD_REQUEST", {"content": b"null", "headers": _JSON}),
    "text": (400, "BAD_REQUEST", {"json": "{ __typename }"}),
    "no query": (400, "BAD_REQUEST", {"json": {}}),
    "an empty query": (400, "BAD_REQUEST", {"json": {"query": ""}}),
    "a query that is a number": (400, "BAD_REQUEST", {"json": {"query": 7}}),
    "variables that are a list": (400, "BAD_REQUEST", {"json": {"query": "{ __typename }", "variables": [1]}}),
    "bytes that are no UTF-8": (400, "BAD_REQUEST", {"content": b'{"query": "\xff"}', "headers": _JSON}),
    "half a character": (
        400,
        "BAD_REQUEST",
        {"content": b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}', "headers": _JSON},
    ),
    "objects nested without end": (
        400,
        "BAD_REQUEST",
        {"content": b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 5_000, "headers": _JSON},
    ),
    "text/plain": (
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        {"content": b'{"query": "{ __typename }"}', "headers": {"Content-Type": "text/plain"}},
    ),
    "a form": (415, "UNSUPPORTED_MEDIA_TYPE", {"data": {"query": "{ __typename }"}}),
    "a multipart form": (
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        {"files": {"operations": (None, '{"query": "{ __typename }"}'), "map": (None, "{}")}},
    ),
    "no content type": (415, "UNSUPPORTED_MEDIA_TYPE", {"content": b'{"query": "{ __typename }"}'}),
    "a subscription without a stream": (
        406,
        "NOT_ACCEPTABLE",
        {"json": {"query": "subscription { events { id } }"}},
    ),
}


def _check(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json()["errors"]
    assert error["message"]
    assert error["extensions"] == {"code": code, "correlationId": answer.headers["X-Request-ID"]}


@pytest.mark.parametrize("what", _REFUSED)
async def test_what_is_no_operation_is_refused(org: Organisation, what: str) -> None:
    status, code, request = _REFUSED[what]
    headers = {**org.operator.headers, **request.get("headers", {})}
    answer = await org.operator.http.post("/graphql", **{**request, "headers": headers})
    _check(answer, status, code)


async def test_of_several_operations_one_must_be_named(org: Organisation) -> None:
    body = {"query": "query a { viewer { kind } } query b { viewer { role } }"}
    for _ in range(2):  # the second time the document is known
        answer = (await org.viewer.http.post("/graphql", json=body, headers=org.viewer.headers)).json()
        assert answer["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    named = await org.viewer.http.post("/graphql", json={**body, "operationName": "b"}, headers=org.viewer.headers)
    assert named.json()["data"] == {"viewer": {"role": "VIEWER"}}
    other = await org.viewer.http.post("/graphql", json={**body, "operationName": "c"}, headers=org.viewer.headers)
    assert other.json()["errors"][0]["extensions"]["code"] == "OPERATION_NOT_FOUND"


async def test_a_body_at_the_limit_is_taken(api: Api) -> None:
    body = b'{"query": "{ __typename }", "more": "' + b"a" * 262_000 + b'"}'
    answer = await api.http.post("/graphql", content=body, headers=_JSON)
    assert answer.json() == {"data": {"__typename": "Query"}}


async def test_a_query_may_be_sent_with_get_and_a_mutation_may_not(org: Organisation) -> None:
    get, headers = org.operator.http.get, org.operator.headers
    answer = await get("/graphql", params={"query": "{ viewer { kind } }"}, headers=headers)
    assert answer.json()["data"] == {"viewer": {"kind": "USER"}}
    _check(
        await get("/graphql", params={"query": "mutation { logout }"}, headers=headers), 405, "METHOD_NOT_ALLOWED"
    )
    assert (await org.operator.run("{ viewer { kind } }"))["viewer"]["kind"] == "USER"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused(api: Api, method: str) -> None:
    _check(await api.http.request(method, "/graphql"), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("given", ["a-1", "trace:0.1_x", "x" * 128])
async def test_a_request_id_is_echoed_and_told_in_errors(api: Api, given: str) -> None:
    answer = await api.post("{ viewer { kind } }", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    assert answer.json()["errors"][0]["extensions"]["correlationId"] == given


@pytest.mark.parametrize("given", ["", "two words", "<script>", "x" * 129, "a\tb", "a,b", "naïve"])
async def test_a_bad_request_id_is_replaced(api: Api, given: str) -> None:
    headers = [(b"x-request-id", given.encode("latin-1")), (b"content-type", b"application/json")]
    answer = await api.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert answer.headers["X-Request-ID"] != given
    assert is_id(answer.headers["X-Request-ID"])


async def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    ids = {(await api.post("{ __typename }")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


async def test_a_request_id_is_kept_with_the_event_that_it_led_to(stack: Stack, org: Organisation) -> None:
    given = {"X-Request-ID": f"test-{org.id}"}
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        events = await socket.subscribe(
            'subscription { events(filter: {types: ["device.registered"]}) { correlationId } }'
        )
        await org.operator.run('mutation { registerDevice(device: {key: "traced"}) { token } }', headers=given)
        event = (await events.next())["events"]
    assert event["correlationId"] == given["X-Request-ID"]


async def test_a_path_that_is_not_there_is_a_problem_document(api: Api) -> None:
    answer = await api.http.get("/nowhere")
    body = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert (body["code"], body["correlationId"]) == ("NOT_FOUND", answer.headers["X-Request-ID"])
