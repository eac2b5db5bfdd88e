"""Idempotency keys: a mutation that is sent twice under one key happens once and is answered the same."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.support.api import Api, Organisation
from tests.support.live import Socket
from tests.support.people import DELETE_USER, VIEWER, Person
from tests.support.stack import Stack

REGISTER = (
    "mutation Register($key: String!) { registerDevice(device: {key: $key}) { token device { id key createdAt } } }"
)
UPDATE = "mutation ($id: ID!, $name: String!) { updateDevice(id: $id, changes: {name: $name}) { name } }"
REGENERATE = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
DEVICES = "{ devices { totalCount nodes { key name } } }"
EVENTS = 'subscription { events(filter: {types: ["device.registered", "device.updated"]}) { type } }'


@pytest.fixture
def key() -> dict[str, str]:
    """Headers with a key that nobody used."""
    return {"Idempotency-Key": f"test {uuid.uuid4()}"}


async def _count(api: Api) -> int:
    return int((await api.run(DEVICES))["devices"]["totalCount"])


async def test_the_same_request_again_gets_the_same_answer_and_does_nothing(
    org: Organisation, key: dict[str, str]
) -> None:
    answers = [await org.operator.run(REGISTER, headers=key, key="once") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert await _count(org.operator) == 1
    token = answers[2]["registerDevice"]["token"]
    assert (await org.operator.with_token(token).run(VIEWER))["viewer"]["device"]["key"] == "once"


async def test_it_leaves_one_event(stack: Stack, org: Organisation, key: dict[str, str]) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        events = await socket.subscribe(EVENTS)
        for _ in range(3):
            made = await org.operator.run(REGISTER, headers=key, key="once")
        await org.operator.run(UPDATE, id=made["registerDevice"]["device"]["id"], name="marks the end")
        types = [(await events.next())["events"]["type"] for _ in range(2)]
    assert types == ["device.registered", "device.updated"]


async def test_without_a_key_a_repeat_is_another_request(org: Organisation) -> None:
    await org.operator.run(REGISTER, key="once")
    assert await org.operator.code(REGISTER, key="once") == "KEY_TAKEN"


async def test_a_one_time_token_made_under_a_key_stays_the_valid_one(
    org: Organisation, key: dict[str, str]
) -> None:
    first, second = [
        (await org.operator.run(REGENERATE, headers=key, id=org.id))["regenerateClientToken"]["token"]
        for _ in range(2)
    ]
    assert first == second
    assert (await org.operator.with_token(first).run(VIEWER))["viewer"]["kind"] == "CLIENT"


async def test_a_key_used_for_another_request_is_refused(org: Organisation, key: dict[str, str]) -> None:
    device = await org.device("first")
    await org.operator.run(UPDATE, headers=key, id=device.id, name="as wanted")
    others: list[tuple[str, dict[str, Any]]] = [
        (UPDATE, {"id": device.id, "name": "another"}),
        (UPDATE.replace("{ name }", "{ id name }"), {"id": device.id, "name": "as wanted"}),
        (REGISTER, {"key": "second"}),
    ]
    for document, variables in others:
        refusal = await org.operator.refused(document, headers=key, **variables)
        assert refusal["extensions"]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert (await org.operator.run(DEVICES))["devices"]["nodes"] == [{"key": "first", "name": "as wanted"}]


async def test_of_simultaneous_requests_one_takes_effect(org: Organisation, key: dict[str, str]) -> None:
    answers = await asyncio.gather(*(org.operator.post(REGISTER, headers=key, key="once") for _ in range(6)))
    bodies = [answer.json() for answer in answers]
    done = [body["data"] for body in bodies if not body.get("errors")]
    codes = {body["errors"][0]["extensions"]["code"] for body in bodies if body.get("errors")}
    assert done
    assert all(data == done[0] for data in done)
    assert codes <= {"IN_PROGRESS"}
    assert await _count(org.operator) == 1
    assert await org.operator.run(REGISTER, headers=key, key="once") == done[0]


async def test_a_refused_mutation_releases_the_key(org: Organisation, key: dict[str, str]) -> None:
    refusal = await org.operator.refused(REGISTER, headers=key, key="not a key!")
    assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
    made = await org.operator.run(REGISTER, headers=key, key="right-this-time")
    assert made["registerDevice"]["device"]["key"] == "right-this-time"


async def test_what_was_refused_once_may_succeed_later_under_its_key(
    org: Organisation, key: dict[str, str]
) -> None:
    device = await org.device("taken")
    refusal = await org.operator.refused(REGISTER, headers=key, key="taken")
    assert refusal["extensions"]["code"] == "KEY_TAKEN"
    await org.operator.run("mutation ($id: ID!) { deregisterDevice(id: $id) { id } }", id=device.id)
    assert (await org.operator.run(REGISTER, headers=key, key="taken"))["registerDevice"]["token"]


@pytest.mark.parametrize(
    "document", ["mutation { nope }", "mutation { registerDevice(device: {}) { token } }", "{"]
)
async def test_what_was_no_operation_leaves_the_key_free(
    org: Organisation, key: dict[str, str], document: str
) -> None:
    await org.operator.refused(document, headers=key)
    assert (await org.operator.run(REGISTER, headers=key, key="once"))["registerDevice"]["token"]


async def test_a_mutation_that_may_not_be_done_leaves_the_key_free(org: Organisation, key: dict[str, str]) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    api = (await person.signed_in(org.admin)).api
    assert (await api.refused(REGISTER, headers=key, key="once"))["extensions"]["code"] == "FORBIDDEN"
    await org.admin.run("mutation ($id: ID!) { setUserRole(id: $id, role: OPERATOR) { id } }", id=person.id)
    assert (await api.run(REGISTER, headers=key, key="once"))["registerDevice"]["token"]


async def test_keys_are_each_callers_own(org: Organisation, other_org: Organisation, key: dict[str, str]) -> None:
    colleague = (await (await Person.made(org.admin, "OPERATOR", org.id)).signed_in(org.admin)).api
    callers = {"own": org.operator, "colleagues": colleague, "others": other_org.operator}
    tokens = {
        (await caller.run(REGISTER, headers=key, key=name))["registerDevice"]["token"]
        for name, caller in callers.items()
    }
    assert len(tokens) == 3
    assert await _count(org.operator) == 2


async def test_a_key_outlives_a_session_of_its_user(org: Organisation, key: dict[str, str]) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    answers = []
    for _ in range(2):
        api = (await person.signed_in(org.admin)).api
        answers.append(await api.run(REGISTER, headers=key, key="once"))
    assert answers[0] == answers[1]


async def test_somebody_who_is_gone_gets_no_answer_from_before(org: Organisation, key: dict[str, str]) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    api = (await person.signed_in(org.admin)).api
    await api.run(REGISTER, headers=key, key="once")
    await org.admin.run(DELETE_USER, id=person.id)
    assert (await api.refused(REGISTER, headers=key, key="once"))["extensions"]["code"] == "SESSION_OVER"


async def test_somebody_who_may_no_longer_gets_no_answer_from_before(
    org: Organisation, key: dict[str, str]
) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    api = (await person.signed_in(org.admin)).api
    await api.run(REGISTER, headers=key, key="once")
    await org.admin.run("mutation ($id: ID!) { setUserRole(id: $id, role: VIEWER) { id } }", id=person.id)
    refusal = await api.refused(REGISTER, headers=key, key="once")
    assert refusal["extensions"]["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_what_was_half_done_is_not_done_again(org: Organisation, key: dict[str, str]) -> None:
    document = (
        'mutation { done: registerDevice(device: {key: "half"}) { token } '
        'refused: registerDevice(device: {key: "half"}) { token } }'
    )
    first, second = [(await org.operator.post(document, headers=key)).json() for _ in range(2)]
    for body in (first, second):
        assert body.pop("extensions")["cost"]["requested"] == 2
        (error,) = body["errors"]
        assert error["extensions"].pop("correlationId")
        error.pop("locations", None)  # they say where in the document that the caller has
        assert error["extensions"] == {"code": "KEY_TAKEN", "details": {"argument": "key"}}
    assert first == second
    assert await _count(org.operator) == 1


async def test_queries_take_no_notice_of_a_key(org: Organisation, key: dict[str, str]) -> None:
    assert (await org.operator.run(DEVICES, headers=key))["devices"]["totalCount"] == 0
    await org.device()
    assert (await org.operator.run(DEVICES, headers=key))["devices"]["totalCount"] == 1


@pytest.mark.parametrize("bad", ["", "x" * 256, "a\tb"])
async def test_a_key_that_is_unusable_is_refused(org: Organisation, bad: str) -> None:
    refusal = await org.operator.refused(REGISTER, headers={"Idempotency-Key": bad}, key="once")
    assert refusal["extensions"]["code"] == "BAD_IDEMPOTENCY_KEY"
    assert await _count(org.operator) == 0
