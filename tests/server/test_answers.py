"""Answers on the wire: head and body in one piece, and where there is no body or no hurry, as HTTP wants it."""

import asyncio
from urllib.parse import urlsplit

import orjson

from tests.support.stack import Stack
from tests.support.wire import request_head, sent

_BODY = orjson.dumps({"query": "{ __typename }"})
_HEAD = request_head("POST", "/graphql", Content_Type="application/json", Content_Length=len(_BODY))
_ANSWER = b'{"data":{"__typename":"Query"}}'


async def test_an_answer_comes_in_one_piece(stack: Stack) -> None:
    async with sent(stack.url, _HEAD + _BODY) as reader:
        piece = await asyncio.wait_for(reader.read(1 << 16), 15)
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\n" + _ANSWER)


async def test_requests_that_come_together_are_answered_in_their_order(stack: Stack) -> None:
    missing = request_head("GET", "/missing")
    async with sent(stack.url, _HEAD + _BODY + missing + _HEAD + _BODY) as reader:
        statuses = []
        for _ in range(3):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
            (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await asyncio.wait_for(reader.readexactly(length), 15)
            statuses.append(head.split()[1])
    assert statuses == [b"200", b"404", b"200"]


async def test_the_head_alone_is_answered_where_it_is_asked_for(stack: Stack) -> None:
    async with sent(stack.url, request_head("HEAD", "/health/live", Connection="close")) as reader:
        answer = await asyncio.wait_for(reader.read(), 15)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: " in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_body_is_sent_for_when_the_client_waits_for_that(stack: Stack) -> None:
    address = urlsplit(stack.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(_HEAD.removesuffix(b"\r\n") + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    sent_for = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
    writer.write(_BODY)
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    assert sent_for == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(_ANSWER)
