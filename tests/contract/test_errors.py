"""What a caller is told when an operation is wrong: a clear code, the correlation id, nothing of the inside."""

import base64
import json
import re
from typing import Any

import pytest

from domain.kit.ids import new_id
from tests.support.api import Api, Organisation
from tests.support.live import Socket, event_stream
from tests.support.stack import Stack

_LEAKS = re.compile(
    r"Traceback|\.py\b|/site-packages|/domain/|/server/|asyncpg|sqlalchemy|strawberry|graphql\.error"
    r"|SELECT |INSERT |\bpg_"
)
_INVALID, _BAD, _PARSE = "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED"


def _cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _nested(levels: int) -> str:
    """An operation with so many levels of fields."""
    first = "(first: 2)"
    names = [f"devices{first}", "nodes", *[f"images{first}", "nodes", "device"] * levels][: levels - 1]
    leaf = "totalCount" if names[-1].endswith(first) else "id"
    return "{ " + " { ".join([*names, leaf]) + " }" * levels


def _bomb(fragments: int) -> str:
    """Fragments that each spread the next one twice: small to send, 2 ** fragments to expand."""
    chain = " ".join(f"fragment f{n} on Viewer {{ ...f{n + 1} ...f{n + 1} }}" for n in range(fragments))
    return f"{{ viewer {{ ...f0 }} }} {chain} fragment f{fragments} on Viewer {{ kind }}"


_WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cut off": (_PARSE, "{ devices(", {}),
    "not GraphQL": (_PARSE, "SELECT * FROM users", {}),
    "a character that has no place": (_PARSE, "{ viewer { kind } } ☃", {}),
    "too many tokens": (_PARSE, "{ " + "viewer { kind } " * 600 + "}", {}),
    "nested beyond all measure": (_PARSE, "{ a" * 900 + " }" * 900, {}),
    "an unknown field": (_INVALID, "{ devices { nodes { passwordHash } } }", {}),
    "an unknown root field": (_INVALID, "{ passwords }", {}),
    "an unknown argument": (_INVALID, "{ devices(last: 3) { nodes { id } } }", {}),
    "an unknown fragment": (_INVALID, "{ viewer { ...nowhere } }", {}),
    "a fragment within itself": (_INVALID, "{ viewer { ...f } } fragment f on Viewer { ...f }", {}),
    "no selection": (_INVALID, "{ devices }", {}),
    "a variable of the wrong type": (
        _INVALID,
        "query ($n: Int!) { devices(first: $n) { totalCount } }",
        {"n": "x"},
    ),
    "a variable that is missing": (_INVALID, "query ($n: Int!) { devices(first: $n) { totalCount } }", {}),
    "a variable out of range": (
        _INVALID,
        "query ($n: Int!) { devices(first: $n) { totalCount } }",
        {"n": 1 << 40},
    ),
    "an enum value that is none": (_INVALID, "{ devices(order: SIZE) { totalCount } }", {}),
    "a time that is none": (_INVALID, '{ devices(filter: {seenSince: "yesterday"}) { totalCount } }', {}),
    "a time before all time": (
        _BAD,
        '{ devices(filter: {seenSince: "0001-01-01T00:00:00+14:00"}) { totalCount } }',
        {},
    ),
    "too deep": (_INVALID, _nested(11), {}),
    "too deep in a fragment": (
        _INVALID,
        "{ devices { nodes { ...f } } } fragment f on Device { images { nodes { device { images { nodes { "
        "device { images { nodes { device { id } } } } } } } } } }",
        {},
    ),
    "too many root fields": (_INVALID, "{ " + "viewer { kind } " * 21 + "}", {}),
    "too many aliases": (_INVALID, "{ " + " ".join(f"a{n}: viewer {{ kind }}" for n in range(16)) + " }", {}),
    "too many aliases in fragments": (
        _INVALID,
        "{ viewer { ...f } again: viewer { ...f } } fragment f on Viewer { "
        + " ".join(f"a{n}: kind" for n in range(8))
        + " }",
        {},
    ),
    "introspection too deep": (
        _INVALID,
        "{ __schema { types { " + "fields { type { " * 5 + "name" + " } }" * 5 + " } } }",
        {},
    ),
    "first zero": (_BAD, "{ devices(first: 0) { nodes { id } } }", {}),
    "first below zero": (_BAD, "{ users(first: -1) { nodes { id } } }", {}),
    "first above a hundred": (_BAD, "{ events(first: 101) { nodes { id } } }", {}),
    "an id that is none": (_BAD, '{ device(id: "7") { id } }', {}),
    "an id of node that is none": (_BAD, "{ node(id: 7) { id } }", {}),
    "an id in a list that is none": (_BAD, '{ events(filter: {subjectIds: ["x"]}) { nodes { id } } }', {}),
    "text that no column holds": (_BAD, "query ($key: String) { device(key: $key) { id } }", {"key": "nul\0"}),
    "neither id nor key": (_BAD, "{ device { id } }", {}),
}
_DEVICES_AFTER = "query ($after: String) { devices(after: $after) { nodes { id } } }"
_IMAGES_AFTER = "query ($after: String) { images(order: CAPTURED_AT_ASC, after: $after) { nodes { id } } }"
_EVENTS_AFTER = "query ($after: String) { events(after: $after) { nodes { id } } }"
_BAD_CURSORS = {
    "empty": (_DEVICES_AFTER, ""),
    "no base64": (_DEVICES_AFTER, "%%%"),
    "beyond ASCII": (_DEVICES_AFTER, "é☃"),
    "no JSON": (_DEVICES_AFTER, "aGVsbG8"),
    "no list": (_DEVICES_AFTER, base64.urlsafe_b64encode(b'{"a": 1}').decode()),
    "too short": (_DEVICES_AFTER, _cursor("KEY_ASC", "x")),
    "of another order": (_DEVICES_AFTER, _cursor("KEY_DESC", "x", new_id())),
    "with a number for text": (_DEVICES_AFTER, _cursor("KEY_ASC", 7, new_id())),
    "with null for text": (_DEVICES_AFTER, _cursor("KEY_ASC", None, new_id())),
    "with text that no column holds": (_DEVICES_AFTER, _cursor("KEY_ASC", "nul\0", new_id())),
    "with an id that is none": (_DEVICES_AFTER, _cursor("KEY_ASC", "x", "'; DROP TABLE devices; --")),
    "with a list for an id": (_DEVICES_AFTER, _cursor("KEY_ASC", "x", [1])),
    "with a time that is none": (_IMAGES_AFTER, _cursor("CAPTURED_AT_ASC", "yesterday", new_id())),
    "with a time out of range": (
        _IMAGES_AFTER,
        _cursor("CAPTURED_AT_ASC", "0001-01-01T00:00:00+14:00", new_id()),
    ),
    "of the log, with text": (_EVENTS_AFTER, _cursor("event", "7")),
    "of the log, below zero": (_EVENTS_AFTER, _cursor("event", -1)),
    "of the log, out of range": (_EVENTS_AFTER, _cursor("event", 1 << 63)),
    "of another list": (_EVENTS_AFTER, _cursor("KEY_ASC", "x", new_id())),
}


def _check(error: dict[str, Any], code: str) -> None:
    assert error["extensions"]["code"] == code, error
    assert error["extensions"]["correlationId"]
    assert error["message"]
    assert set(error) <= {"message", "locations", "path", "extensions"}
    assert set(error["extensions"]) <= {"code", "correlationId", "details"}
    assert not _LEAKS.search(json.dumps(error)), error


@pytest.mark.parametrize("what", _WRONG)
async def test_a_wrong_operation_is_told_what_is_wrong(org: Organisation, what: str) -> None:
    code, document, variables = _WRONG[what]
    answer = await org.operator.post(document, **variables)
    assert answer.status_code == 200
    body = answer.json()
    # What was never executed has no data, as the specification says.
    assert set(body) - {"extensions"} == ({"errors"} if code in (_PARSE, _INVALID) else {"data", "errors"})
    _check(body["errors"][0], code)
    assert body["errors"][0]["extensions"]["correlationId"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("what", _BAD_CURSORS)
async def test_a_bad_cursor_is_bad_input(org: Organisation, what: str) -> None:
    document, cursor = _BAD_CURSORS[what]
    _check(await org.operator.refused(document, after=cursor), "BAD_USER_INPUT")


async def test_as_deep_and_with_as_many_aliases_as_allowed_is_fine(org: Organisation) -> None:
    assert await org.operator.run(_nested(10))
    aliases = " ".join(f"a{number}: viewer {{ kind }}" for number in range(15))
    assert len(await org.operator.run(f"{{ {aliases} }}")) == 15


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("too many tokens", "more than 2000 tokens"),
        ("nested beyond all measure", "nested too deeply"),
        ("too deep", "More than 10 levels"),
        ("too deep in a fragment", "More than 10 levels"),
        ("too many root fields", "More than 20 root fields"),
        ("too many aliases", "More than 15 aliases"),
        ("too many aliases in fragments", "More than 15 aliases"),
        ("introspection too deep", "introspection depth"),
    ],
)
async def test_a_limit_is_named_when_it_is_reached(org: Organisation, what: str, said: str) -> None:
    _, document, variables = _WRONG[what]
    assert said in (await org.operator.refused(document, **variables))["message"]


async def test_fragments_that_spread_each_other_twice_keep_nobody_busy(api: Api, org: Organisation) -> None:
    assert await org.operator.run(_bomb(120)) == {"viewer": {"kind": "USER"}}
    assert await api.code(_bomb(120)) == "UNAUTHENTICATED"


async def test_an_error_in_one_field_leaves_the_others(org: Organisation) -> None:
    document = "query ($id: ID!) { viewer { kind } node(id: $id) { id } devices { totalCount } }"
    body = (await org.operator.post(document, id="no id")).json()
    assert body["data"] == {"viewer": {"kind": "USER"}, "node": None, "devices": {"totalCount": 0}}
    assert [error["path"] for error in body["errors"]] == [["node"]]


async def test_a_wrong_operation_on_a_socket_is_told_the_same(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.operator.token) as socket:
        await socket.send({"id": "1", "type": "subscribe", "payload": {"query": "{ nope }"}})
        message = await socket.receive()
    assert message["type"] == "error"
    _check(message["payload"][0], "GRAPHQL_VALIDATION_FAILED")


async def test_a_bad_cursor_of_a_subscription_is_bad_input(org: Organisation) -> None:
    async with event_stream(org.operator, 'subscription { events(after: "nope") { id } }') as events:
        event, data = await anext(events)
    assert event == "next"
    _check(data["errors"][0], "BAD_USER_INPUT")
