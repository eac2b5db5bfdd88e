"""Live connections end when their credential does: at its expiry, and at once when it is revoked."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import websockets

from domain.users.sessions import ALGORITHM
from server.process import derived_key
from server.settings import load_settings
from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.live import Socket, event_stream, one_more_subscriber
from tests.support.log import logged
from tests.support.people import DELETE_USER, Person
from tests.support.stack import Stack

EVENTS = "subscription ($filter: EventFilter) { events(filter: $filter) { type subjectId } }"
BEATS = {"types": ["device.checked_in"]}
CLOCKS = timedelta(milliseconds=-50)  # timers and the time of day do not run quite alike
AT_ONCE = 3.0  # seconds, of which the relay takes milliseconds unless the machine is busy

Ending = Callable[[Organisation, Person], Awaitable[tuple[Api, Callable[[], Awaitable[Any]], str]]]


async def session(org: Organisation, person: Person) -> Api:
    return (await person.signed_in(org.viewer)).api


async def logout(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    mine = await session(org, person)
    return mine, lambda: mine.run("mutation { logout }"), "SESSION_OVER"


async def delete_user(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    return await session(org, person), lambda: org.admin.run(DELETE_USER, id=person.id), "SESSION_OVER"


async def change_password(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    mine, other = await session(org, person), await session(org, person)
    query = 'mutation ($current: String!) { changePassword(current: $current, new: "a wholly new one") { id } }'
    return mine, lambda: other.run(query, current=person.password), "SESSION_OVER"


async def refresh_twice(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    mine = await person.signed_in(org.viewer)

    async def end() -> None:
        query = "mutation ($token: String!) { refreshSession(refreshToken: $token) { expiresAt } }"
        await mine.api.run(query, token=mine.refresh_token)
        assert await mine.api.code(query, token=mine.refresh_token) == "TOKEN_REUSED"

    return mine.api, end, "SESSION_OVER"


async def set_role(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    query = "mutation ($id: ID!) { setUserRole(id: $id, role: OPERATOR) { role } }"
    return await session(org, person), lambda: org.admin.run(query, id=person.id), "PERMISSIONS_CHANGED"


async def move_to_another(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    other = await Organisation.made(org.admin)
    query = "mutation ($id: ID!, $client: ID!) { setUserRole(id: $id, role: VIEWER, clientId: $client) { role } }"
    mine = await session(org, person)
    return mine, lambda: org.admin.run(query, id=person.id, client=other.id), "PERMISSIONS_CHANGED"


async def regenerate(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    query = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
    token = (await org.operator.run(query, id=org.id))["regenerateClientToken"]["token"]
    return org.viewer.with_token(token), lambda: org.operator.run(query, id=org.id), "INVALID_TOKEN"


async def delete_client(org: Organisation, person: Person) -> tuple[Api, Callable[[], Awaitable[Any]], str]:
    query = "mutation ($id: ID!) { deleteClient(id: $id) { id } }"
    return await session(org, person), lambda: org.admin.run(query, id=org.id), "SESSION_OVER"


ENDINGS = pytest.mark.parametrize(
    "ending",
    [logout, delete_user, change_password, refresh_twice, set_role, move_to_another, regenerate, delete_client],
)


@pytest.fixture
async def person(org: Organisation) -> Person:
    return await Person.made(org.admin, "VIEWER", org.id)


@asynccontextmanager
async def bystander(stack: Stack, org: Organisation):  # type: ignore[no-untyped-def]
    """A socket of somebody else, which must still be open and live at the end."""
    other = await Organisation.made(org.admin)
    device = await other.device()
    async with Socket.opened(stack.url, other.viewer.token) as socket:
        live = await socket.subscribe(EVENTS, filter=BEATS)
        yield
        assert (await device.heartbeat()).status_code == 200
        assert (await live.next())["events"]["subjectId"] == device.id


@ENDINGS
async def test_revoking_closes_the_socket_at_once(
    ending: Ending, stack: Stack, org: Organisation, person: Person
) -> None:
    api, end, code = await ending(org, person)
    async with bystander(stack, org), Socket.opened(stack.url, api.token) as socket:
        await socket.subscribe(EVENTS, filter=BEATS)
        await end()
        async with asyncio.timeout(AT_ONCE):
            assert await socket.until_closed() == (4403, code, [])


@ENDINGS
async def test_revoking_ends_the_event_stream_at_once_with_the_reason(
    ending: Ending, stack: Stack, org: Organisation, person: Person
) -> None:
    api, end, code = await ending(org, person)
    async with bystander(stack, org), event_stream(api, EVENTS, filter=BEATS) as events:
        await end()
        async with asyncio.timeout(AT_ONCE):
            event, payload = await anext(events)
            assert (event, payload["errors"][0]["extensions"]["code"]) == ("next", code)
            assert await anext(events) == ("complete", None)
            with pytest.raises(StopAsyncIteration):
                await anext(events)


async def test_rotating_a_devices_token_closes_its_socket(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    async with Socket.opened(stack.url, device.token) as socket:
        await socket.ping()
        await org.operator.run("mutation ($id: ID!) { rotateDeviceToken(id: $id) { token } }", id=device.id)
        async with asyncio.timeout(AT_ONCE):
            assert await socket.until_closed() == (4403, "INVALID_TOKEN", [])


async def test_a_change_that_leaves_the_permissions_alone_closes_nothing(
    stack: Stack, org: Organisation, person: Person
) -> None:
    device = await org.device()
    mine = await session(org, person)
    async with Socket.opened(stack.url, mine.token) as socket:
        live = await socket.subscribe(EVENTS, filter=BEATS)
        query = "mutation ($id: ID!) { setUserRole(id: $id, role: VIEWER) { role } }"
        await org.admin.run(query, id=person.id)
        await mine.run(
            'mutation ($current: String!) { changePassword(current: $current, new: "a wholly new one") { id } }',
            current=person.password,
        )
        await logged(org.viewer, types=["user.password_changed"])
        assert (await device.heartbeat()).status_code == 200
        assert (await live.next())["events"]["subjectId"] == device.id


async def test_a_closed_session_cannot_connect_again(stack: Stack, org: Organisation, person: Person) -> None:
    mine = await session(org, person)
    await mine.run("mutation { logout }")
    with pytest.raises(websockets.ConnectionClosedError, match="4403"):
        async with Socket.opened(stack.url, mine.token):
            pass


def short_lived(stack: Stack, token: str, seconds: float) -> tuple[str, datetime]:
    """A token of the same session that expires soon, signed as the server signs; and when it does."""
    settings = load_settings(secret_key=stack.environment["QM_SECRET_KEY"])
    key = derived_key(settings, "access tokens")
    claims = jwt.decode(token, key, algorithms=[ALGORITHM])
    # Whole seconds, as the claim has them.
    expiry = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    return jwt.encode({**claims, "exp": expiry, "jti": uuid.uuid4().hex}, key, algorithm=ALGORITHM), expiry


async def test_a_socket_closes_when_its_token_expires(stack: Stack, org: Organisation) -> None:
    assert org.viewer.token is not None
    token, expiry = short_lived(stack, org.viewer.token, 3)
    device = await org.device()
    async with Socket.opened(stack.url, token) as socket:
        live = await socket.subscribe(EVENTS, filter=BEATS)
        assert (await device.heartbeat()).status_code == 200
        assert (await live.next())["events"]["subjectId"] == device.id
        assert await socket.until_closed() == (4403, "TOKEN_EXPIRED", [])
        assert CLOCKS <= datetime.now(UTC) - expiry < timedelta(seconds=AT_ONCE)
    with pytest.raises(websockets.ConnectionClosedError, match="4403"):
        async with Socket.opened(stack.url, token):
            pass


async def test_an_event_stream_ends_when_its_token_expires(stack: Stack, org: Organisation) -> None:
    assert org.viewer.token is not None
    token, expiry = short_lived(stack, org.viewer.token, 3)
    device = await org.device()
    async with event_stream(org.viewer.with_token(token), EVENTS, filter=BEATS) as events:
        assert (await device.heartbeat()).status_code == 200
        assert (await anext(events))[1]["data"]["events"]["subjectId"] == device.id
        event, payload = await anext(events)
        assert (event, payload["errors"][0]["extensions"]["code"]) == ("next", "TOKEN_EXPIRED")
        assert await anext(events) == ("complete", None)
        assert CLOCKS <= datetime.now(UTC) - expiry < timedelta(seconds=AT_ONCE)


@pytest.fixture
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of() as stack:
        yield stack


async def test_stopping_the_server_ends_every_live_connection_at_once(own_stack: Stack) -> None:
    async with (
        own_stack.signed_in() as admin,
        Socket.opened(own_stack.url, admin.token) as socket,
        event_stream(admin, EVENTS, filter=BEATS) as events,
    ):
        async with one_more_subscriber(admin):
            await socket.subscribe(EVENTS, filter=BEATS)
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(own_stack.stop))
        assert (await socket.until_closed())[0] == 1012  # "service restart": clients connect again
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        assert await stopping == 0
        assert time.monotonic() - began < 5.0
    assert '"level":"error"' not in own_stack.output()
