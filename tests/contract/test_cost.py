"""What operations cost, how that is told, and what happens to who has spent too much."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.live import Socket
from tests.support.stack import Stack

DEVICES = "query ($first: Int!) { devices(first: $first) { nodes { id } } }"
BUDGET = 300


@pytest.fixture(scope="module")
def frugal(stack_of: StackOf) -> Iterator[Stack]:
    """A server on which each caller may spend little."""
    with stack_of(QM_COST_PER_MINUTE=str(BUDGET)) as stack:
        yield stack


@pytest.fixture
async def caller(frugal: Stack) -> Any:
    """Somebody who has not spent anything there."""
    async with httpx.AsyncClient(base_url=frugal.url, timeout=20) as http:
        yield (await Organisation.made(await frugal.admin(Api(http)))).viewer


async def test_an_answer_says_what_it_cost_and_what_is_left(caller: Api) -> None:
    answer = await caller.post(DEVICES, first=50)
    assert answer.json()["extensions"]["cost"] == {"requested": 51, "remaining": BUDGET - 51}
    assert answer.headers["RateLimit-Policy"] == f'"cost";q={BUDGET};w=60'
    assert answer.headers["RateLimit"].startswith(f'"cost";r={BUDGET - 51};t=')
    again = await caller.post(DEVICES, first=50)
    assert 0 < again.json()["extensions"]["cost"]["remaining"] < BUDGET - 51


async def test_who_has_spent_all_is_told_when_to_come_back(caller: Api) -> None:
    for _ in range(2):
        assert (await caller.post(DEVICES, first=99)).status_code == 200
    refused = await caller.post(DEVICES, first=100, headers={"Accept": "application/graphql-response+json"})
    refused = refused if refused.status_code == 429 else await caller.post(DEVICES, first=100)
    assert refused.status_code == 429
    assert "data" not in refused.json()
    (error,) = refused.json()["errors"]
    details = error["extensions"]["details"]
    assert error["extensions"]["code"] == "THROTTLED"
    assert (details["requested"], details["limit"]) == (101, BUDGET)
    assert 0 <= details["remaining"] < 101
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert int(refused.headers["Retry-After"]) == details["retryAfterSeconds"]
    assert refused.headers["RateLimit"].startswith('"cost";r=')


async def test_who_has_spent_all_is_refused_on_a_socket_too_and_others_are_not(frugal: Stack, caller: Api) -> None:
    async with Socket.opened(frugal.url, caller.token) as socket:
        codes = []
        for number in range(4):
            payload = {"query": DEVICES, "variables": {"first": 100}}
            await socket.send({"id": str(number), "type": "subscribe", "payload": payload})
            message = await socket.receive()
            if message["type"] == "error":
                codes.append(message["payload"][0]["extensions"]["code"])
            else:
                assert (await socket.receive())["type"] == "complete"
        assert "THROTTLED" in codes
    other = await Organisation.made(await frugal.admin(caller.with_token(None)))
    assert (await other.viewer.post(DEVICES, first=100)).status_code == 200


async def test_an_operation_that_costs_too_much_is_refused_before_anything_is_asked(org: Organisation) -> None:
    document = "{ devices(first: 100) { nodes { images(first: 100) { nodes { id } } } } }"
    error = await org.viewer.refused(document)
    assert error["extensions"]["code"] == "COST_TOO_HIGH"
    assert error["extensions"]["details"] == {"requested": 10_201 - 100 + 100, "most": 1_000}


async def test_what_costs_nothing_says_nothing_of_cost(api: Api) -> None:
    answer = await api.post("{ __typename }")
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert "RateLimit" not in answer.headers
