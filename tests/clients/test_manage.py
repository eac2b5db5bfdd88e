"""Making, finding, listing and closing clients."""

import uuid
from typing import Any

import pytest

from tests.support.api import Api, Organisation
from tests.support.images import settled
from tests.support.people import LOGIN, VIEWER, Person, from_address
from tests.support.photos import photo

CREATE = "mutation ($name: String!) { createClient(name: $name) { id name createdAt token { prefix } } }"
DELETE = "mutation ($id: ID!) { deleteClient(id: $id) { id } }"
ONE = "query ($id: ID!) { client(id: $id) { id name } }"
CLIENTS = (
    "query ($first: Int! = 100, $after: String) { clients(first: $first, after: $after) "
    "{ nodes { id name } totalCount pageInfo { hasNextPage hasPreviousPage endCursor } } }"
)
REGENERATE = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
REGISTER = 'mutation ($id: ID!) { registerDevice(device: {key: "late", clientId: $id}) { token } }'
REFRESH = "mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken } }"


def _new_name() -> str:
    return f"Müller & Söhne {uuid.uuid4().hex[:12]}"


async def test_a_new_client_has_its_name_and_no_token(admin: Api) -> None:
    name = _new_name()
    client = (await admin.run(CREATE, name=f"  {name}\t"))["createClient"]
    assert (client["name"], client["token"]) == (name, None)
    assert client["createdAt"]
    assert (await admin.run(ONE, id=client["id"]))["client"] == {"id": client["id"], "name": name}


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "two\nlines", "nul\0", "bell\a", "\u202eturned"])
async def test_a_name_that_nobody_can_read_is_refused(admin: Api, name: str) -> None:
    refusal = await admin.refused(CREATE, name=name)
    assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
    assert refusal["extensions"]["details"] == {"argument": "name"}


async def test_a_name_of_two_hundred_characters_is_fine(admin: Api) -> None:
    name = uuid.uuid4().hex.ljust(200, "é")
    assert (await admin.run(CREATE, name=name))["createClient"]["name"] == name


@pytest.mark.parametrize("again", [str, str.upper, str.lower, " {} ".format])
async def test_a_name_is_taken_however_it_is_written(admin: Api, again: Any) -> None:
    name = _new_name()
    await admin.run(CREATE, name=name)
    assert await admin.code(CREATE, name=again(name)) == "NAME_TAKEN"


async def test_only_an_admin_makes_and_closes_clients(org: Organisation) -> None:
    for caller in (org.operator, org.viewer):
        assert await caller.code(CREATE, name=_new_name()) == "FORBIDDEN"
        assert await caller.code(DELETE, id=org.id) == "FORBIDDEN"
    assert (await org.admin.run(ONE, id=org.id))["client"]["name"] == org.name


async def test_the_list_is_walked_by_name_and_counted(admin: Api) -> None:
    prefix = uuid.uuid4().hex
    made = [f"{prefix} {word}" for word in ("alpha", "Beta", "gamma", "Delta", "epsilon")]
    for name in reversed(made):
        await admin.run(CREATE, name=name)
    seen: list[str] = []
    after, total = None, None
    while True:
        page = (await admin.run(CLIENTS, first=2, after=after))["clients"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert total in (None, page["totalCount"])
        total = page["totalCount"]
        seen += [client["name"] for client in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert len(seen) == total
    assert [name for name in seen if name.startswith(prefix)] == sorted(made, key=str.lower)


async def test_everybody_else_lists_one_client_their_own(org: Organisation, other_org: Organisation) -> None:
    for caller in (org.operator, org.viewer):
        page = (await caller.run(CLIENTS))["clients"]
        assert page["nodes"] == [{"id": org.id, "name": org.name}]
        assert page["totalCount"] == 1
        assert (await caller.run(ONE, id=other_org.id))["client"] is None


async def test_closing_a_client_stops_its_users_at_once(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    session = await person.signed_in(api)
    assert (await session.api.run(VIEWER))["viewer"]["client"]["id"] == org.id
    assert (await org.admin.run(DELETE, id=org.id))["deleteClient"] == {"id": org.id}
    for caller in (session.api, org.operator, org.viewer):
        assert await caller.code(VIEWER) == "SESSION_OVER"
    assert await api.code(REFRESH, token=session.refresh_token) == "SESSION_OVER"
    refusal = await api.refused(LOGIN, headers=from_address(), email=person.email, password=person.password)
    assert refusal["extensions"]["code"] == "WRONG_CREDENTIALS"


async def test_closing_a_client_stops_its_tokens_and_its_devices_at_once(org: Organisation) -> None:
    device = await org.device()
    token = (await org.operator.run(REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    programme = org.admin.with_token(token)
    assert (await programme.run(VIEWER))["viewer"]["kind"] == "CLIENT"
    assert (await device.heartbeat()).status_code == 200
    await org.admin.run(DELETE, id=org.id)
    assert await programme.code(VIEWER) == "INVALID_TOKEN"
    refused = await device.upload(photo())
    assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_TOKEN")


async def test_a_closed_client_is_gone_and_its_name_is_free(org: Organisation) -> None:
    await org.admin.run(DELETE, id=org.id)
    assert (await org.admin.run(ONE, id=org.id))["client"] is None
    assert await org.admin.code(DELETE, id=org.id) == "NOT_FOUND"
    assert await org.admin.code(REGENERATE, id=org.id) == "NOT_FOUND"
    assert await org.admin.code(REGISTER, id=org.id) == "NOT_FOUND"
    assert (await org.admin.run(CREATE, name=org.name))["createClient"]["id"] != org.id


async def test_what_a_closed_client_owned_stays_visible_to_an_admin(org: Organisation) -> None:
    device = await org.device()
    image_id = (await device.upload(photo())).json()["imageId"]
    await settled(org.viewer, image_id)
    await org.admin.run(DELETE, id=org.id)
    query = "query ($id: ID!) { image(id: $id) { id url(variant: ORIGINAL) device { id client { id name } } } }"
    image = (await org.admin.run(query, id=image_id))["image"]
    assert image["device"] == {"id": device.id, "client": {"id": org.id, "name": org.name}}
    assert (await org.admin.http.get(image["url"])).status_code == 200
    filtered = "query ($id: ID!) { images(filter: {clientId: $id}) { nodes { id } totalCount } }"
    assert (await org.admin.run(filtered, id=org.id))["images"] == {"nodes": [{"id": image_id}], "totalCount": 1}


async def test_closing_one_client_leaves_another_alone(org: Organisation, other_org: Organisation) -> None:
    device = await other_org.device()
    await org.admin.run(DELETE, id=org.id)
    assert (await other_org.operator.run(VIEWER))["viewer"]["client"]["id"] == other_org.id
    assert (await device.heartbeat()).status_code == 200
