"""graphql-transport-ws as its specification has it, and who may open a socket from where."""

import json
from typing import Any

import pytest
import websockets

from tests.support.api import Organisation
from tests.support.live import Socket, connected, event_stream
from tests.support.stack import Stack

EVENTS = "subscription ($filter: EventFilter) { events(filter: $filter) { type subjectId } }"
BEATS = {"types": ["device.checked_in"]}
WHO = "{ viewer { role } }"


@pytest.mark.parametrize("subprotocols", [("graphql-ws",), ()], ids=["legacy", "none"])
async def test_only_the_transport_subprotocol_is_spoken(subprotocols: tuple[str, ...], stack: Stack) -> None:
    async with connected(stack.url, subprotocols=subprotocols) as connection:
        assert connection.subprotocol is None
        assert await Socket(connection).until_closed() == (4406, "Subprotocol not acceptable", [])


async def test_the_transport_subprotocol_is_chosen_among_several(stack: Stack) -> None:
    async with connected(stack.url, subprotocols=("graphql-ws", "graphql-transport-ws")) as connection:
        assert connection.subprotocol == "graphql-transport-ws"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_pages_of_another_origin_may_not_open_a_socket(origin: str, stack: Stack) -> None:
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with connected(stack.url, origin=origin):
            pass
    assert refusal.value.response.status_code == 403


async def test_pages_of_our_own_origin_may(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token, origin=stack.url) as socket:
        assert await (await socket.subscribe(WHO)).next() == {"viewer": {"role": "VIEWER"}}


@pytest.mark.parametrize(
    "payload",
    [
        {"authorization": "Bearer nonsense"},
        {"authorization": "Bearer qmd_unknown"},
        {"authorization": "Basic YTpi"},
        {"Authorization": "Bearer nonsense"},
        {"authorization": 5},
    ],
)
async def test_a_credential_that_is_none_closes_the_socket(payload: dict[str, Any], stack: Stack) -> None:
    async with connected(stack.url) as connection:
        socket = Socket(connection)
        await socket.send({"type": "connection_init", "payload": payload})
        assert await socket.until_closed() == (4403, "Forbidden", [])


async def test_the_credential_may_come_in_the_header_of_the_handshake(stack: Stack, org: Organisation) -> None:
    headers = org.viewer.headers
    async with Socket.opened(stack.url, None, additional_headers=headers) as socket:
        assert await (await socket.subscribe(WHO)).next() == {"viewer": {"role": "VIEWER"}}


async def test_without_a_credential_only_public_operations_work(stack: Stack) -> None:
    async with Socket.opened(stack.url, None) as socket:
        for query, type in ((WHO, "next"), (EVENTS, "error")):
            await socket.subscribe(query)
            message = await socket.receive()
            assert message["type"] == type
            errors = message["payload"]["errors"] if type == "next" else message["payload"]
            assert errors[0]["extensions"]["code"] == "UNAUTHENTICATED"
            if type == "next":
                assert message["payload"]["data"] is None
                assert (await socket.receive())["type"] == "complete"
        assert await (await socket.subscribe("{ __typename }")).next() == {"__typename": "Query"}


async def test_queries_and_mutations_work_over_the_socket(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    rename = 'mutation ($id: ID!) { updateDevice(id: $id, changes: {name: "Renamed"}) { name } }'
    async with Socket.opened(stack.url, org.operator.token) as socket:
        assert await (await socket.subscribe(rename, id=device.id)).next() == {"updateDevice": {"name": "Renamed"}}
        assert (await socket.receive())["type"] == "complete"
        read = await socket.subscribe("query ($id: ID!) { device(id: $id) { name } }", id=device.id)
        assert await read.next() == {"device": {"name": "Renamed"}}
        assert await socket.receive() == {"id": read.operation, "type": "complete"}


async def test_a_refused_operation_leaves_the_socket_open(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        for query, code in (
            ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
            ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ):
            await socket.subscribe(query)
            message = await socket.receive()
            assert message["type"] == "error"
            assert message["payload"][0]["extensions"]["code"] == code
        assert await (await socket.subscribe(WHO)).next() == {"viewer": {"role": "VIEWER"}}


async def test_operations_run_beside_each_other_and_complete_alone(stack: Stack, org: Organisation) -> None:
    one, two = await org.device(), await org.device()
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        first = await socket.subscribe(EVENTS, filter={**BEATS, "subjectIds": [one.id]})
        second = await socket.subscribe(EVENTS, filter=BEATS)
        await first.complete()
        await socket.ping()
        for device in (one, two):
            assert (await device.heartbeat()).status_code == 200
        got = [await socket.receive() for _ in range(2)]
        assert {message["id"] for message in got} == {second.operation}
        assert [message["payload"]["data"]["events"]["subjectId"] for message in got] == [one.id, two.id]


async def test_at_most_20_operations_run_on_a_socket(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        running = [await socket.subscribe(EVENTS, filter=BEATS) for _ in range(20)]
        assert await socket.ping() == []
        one_more = await socket.subscribe(EVENTS, filter=BEATS)
        refused = await socket.receive()
        assert (refused["id"], refused["type"]) == (one_more.operation, "error")
        assert "limit" in refused["payload"][0]["message"]
        await running[0].complete()
        await socket.ping()
        await socket.subscribe(EVENTS, filter=BEATS)  # there is room again
        assert await socket.ping() == []


async def test_a_ping_is_answered_before_and_after_signing_in(stack: Stack, org: Organisation) -> None:
    async with connected(stack.url) as connection:
        socket = Socket(connection)
        assert await socket.ping() == []
        authorization = org.viewer.headers["Authorization"]
        await socket.send({"type": "connection_init", "payload": {"authorization": authorization}})
        assert (await socket.receive())["type"] == "connection_ack"
        assert await socket.ping() == []
        await socket.send({"type": "pong"})  # one that nobody asked for is nothing to close over
        assert await socket.ping() == []


async def test_subscribing_before_signing_in_closes_the_socket(stack: Stack) -> None:
    async with connected(stack.url) as connection:
        socket = Socket(connection)
        await socket.send({"id": "1", "type": "subscribe", "payload": {"query": WHO}})
        assert (await socket.until_closed())[0] == 4401


async def test_a_socket_that_does_not_sign_in_is_closed(stack: Stack) -> None:
    async with connected(stack.url) as connection:
        code, reason, _ = await Socket(connection).until_closed()
    assert (code, reason) == (4408, "Connection initialisation timeout")


async def test_signing_in_twice_closes_the_socket(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        await socket.send({"type": "connection_init"})
        assert (await socket.until_closed())[0] == 4429


async def test_an_id_that_is_in_use_closes_the_socket(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        running = await socket.subscribe(EVENTS, filter=BEATS)
        await socket.send({"id": running.operation, "type": "subscribe", "payload": {"query": WHO}})
        assert (await socket.until_closed())[0] == 4409


INVALID: list[Any] = [
    "not json",
    b"bytes",
    [],
    "a string",
    5,
    None,
    {},
    {"type": "nonsense"},
    {"type": 5},
    {"type": ["subscribe"]},
    {"type": "complete"},
    {"type": "complete", "id": ["1"]},
    {"type": "subscribe", "payload": {"query": WHO}},
    {"type": "subscribe", "id": 1, "payload": {"query": WHO}},
    {"type": "subscribe", "id": "1"},
    {"type": "subscribe", "id": "1", "payload": None},
    {"type": "subscribe", "id": "1", "payload": {}},
    {"type": "subscribe", "id": "1", "payload": {"query": 5}},
    {"type": "subscribe", "id": "1", "payload": {"query": WHO, "variables": [1]}},
    {"type": "subscribe", "id": "1", "payload": {"query": WHO, "operationName": 5}},
]


@pytest.mark.parametrize("message", INVALID, ids=str)
async def test_an_invalid_message_closes_the_socket(message: Any, stack: Stack, org: Organisation) -> None:
    raw = message if message in ("not json", b"bytes") else json.dumps(message)
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        await socket.connection.send(raw)
        assert (await socket.until_closed())[0] == 4400


async def test_invalid_payloads_of_connection_init_close_the_socket(stack: Stack) -> None:
    async with connected(stack.url) as connection:
        socket = Socket(connection)
        await socket.send({"type": "connection_init", "payload": ["Bearer"]})
        assert (await socket.until_closed())[0] == 4400


async def test_a_message_over_256_kb_closes_the_socket(stack: Stack, org: Organisation) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        await socket.send({"id": "1", "type": "subscribe", "payload": {"query": WHO + " " * 300_000}})
        assert (await socket.until_closed())[0] == 1009


async def test_a_query_over_server_sent_events_is_one_result_and_its_end(org: Organisation) -> None:
    async with event_stream(org.viewer, WHO) as events:
        (kind, result), end = [event async for event in events]
    assert (kind, result["data"], end) == ("next", {"viewer": {"role": "VIEWER"}}, ("complete", None))
