"""A client's token, for its own programs: made, shown once, replaced."""

from datetime import UTC, datetime, timedelta

from tests.support.api import Organisation
from tests.support.live import Socket
from tests.support.people import VIEWER
from tests.support.stack import Stack

REGENERATE = (
    "mutation ($id: ID!) { regenerateClientToken(id: $id) "
    "{ token client { id token { prefix createdAt lastUsedAt } } } }"
)
TOKEN = "query ($id: ID!) { client(id: $id) { token { prefix createdAt lastUsedAt } } }"
_TOKEN_EVENTS = (
    'subscription { events(filter: {types: ["client.token_regenerated"]}) { type actorId subjectId data } }'
)
UPDATE = 'mutation ($id: ID!) { updateDevice(id: $id, changes: {name: "by a program"}) { name } }'


async def test_a_token_is_shown_once_and_known_by_its_prefix_after(org: Organisation) -> None:
    assert (await org.operator.run(TOKEN, id=org.id))["client"]["token"] is None
    made = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]
    secret, shown = made["token"], made["client"]["token"]
    assert secret.startswith(shown["prefix"])
    assert len(shown["prefix"]) < len(secret) / 3
    assert datetime.now(UTC) - datetime.fromisoformat(shown["createdAt"]) < timedelta(seconds=30)
    assert shown["lastUsedAt"] is None
    answer = await org.viewer.post(TOKEN, id=org.id)
    assert answer.json()["data"]["client"]["token"] == shown
    assert secret not in answer.text


async def test_using_a_token_is_remembered(org: Organisation) -> None:
    secret = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    assert (await org.operator.with_token(secret).run(VIEWER))["viewer"]["client"]["id"] == org.id
    used = (await org.operator.run(TOKEN, id=org.id))["client"]["token"]["lastUsedAt"]
    assert datetime.now(UTC) - datetime.fromisoformat(used) < timedelta(seconds=30)


async def test_a_new_token_stops_the_old_one_at_once(org: Organisation) -> None:
    old = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    programme = org.operator.with_token(old)
    assert (await programme.run(VIEWER))["viewer"]["kind"] == "CLIENT"
    made = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]
    assert made["token"] != old
    assert made["client"]["token"]["lastUsedAt"] is None
    assert await programme.code(VIEWER) == "INVALID_TOKEN"
    assert (await programme.with_token(made["token"]).run(VIEWER))["viewer"]["client"]["id"] == org.id


async def test_who_may_make_a_token(org: Organisation, other_org: Organisation) -> None:
    assert (await org.admin.run(REGENERATE, id=org.id))["regenerateClientToken"]["client"]["id"] == org.id
    secret = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    assert await org.operator.code(REGENERATE, id=other_org.id) == "NOT_FOUND"
    assert await org.viewer.code(REGENERATE, id=org.id) == "FORBIDDEN"
    assert await org.operator.with_token(secret).code(REGENERATE, id=org.id) == "FORBIDDEN"
    assert (await other_org.operator.run(TOKEN, id=other_org.id))["client"]["token"] is None


async def test_a_token_operates_its_own_clients_devices_only(org: Organisation, other_org: Organisation) -> None:
    secret = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    programme = org.operator.with_token(secret)
    own, other = await org.device(), await other_org.device()
    assert (await programme.run(UPDATE, id=own.id))["updateDevice"] == {"name": "by a program"}
    assert await programme.code(UPDATE, id=other.id) == "NOT_FOUND"
    reports = [
        await programme.http.post(f"/v1/devices/{device.key}/heartbeat", headers=programme.headers)
        for device in (own, other)
    ]
    assert [report.status_code for report in reports] == [200, 404]


async def test_every_new_token_leaves_an_event_without_the_secret(stack: Stack, org: Organisation) -> None:
    own = (await org.operator.run(VIEWER))["viewer"]["user"]["id"]
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        events = await socket.subscribe(_TOKEN_EVENTS)
        secret = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]["token"]
        event = (await events.next())["events"]
    assert (event["type"], event["actorId"], event["subjectId"]) == ("client.token_regenerated", own, org.id)
    assert secret not in str(event)
