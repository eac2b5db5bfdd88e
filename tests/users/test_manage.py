"""Making, promoting and removing users, and the list of them."""

import asyncio
from typing import Any

import pytest

from tests.support.api import Api, Organisation
from tests.support.people import CREATE_USER, DELETE_USER, LOGIN, VIEWER, Person, from_address, new_email

SET_ROLE = (
    "mutation ($id: ID!, $role: Role!, $client: ID) "
    "{ setUserRole(id: $id, role: $role, clientId: $client) { id role client { id } } }"
)
USERS = (
    "query ($first: Int! = 100, $after: String) { users(first: $first, after: $after) "
    "{ nodes { id email role client { id } } totalCount pageInfo { hasNextPage endCursor } } }"
)
REFRESH = "mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken } }"
CREATE_CLIENT = 'mutation { createClient(name: "never made") { id } }'
_PASSWORD = "long enough a password"


async def _everybody(admin: Api) -> list[dict[str, Any]]:
    users, after = [], None
    while True:
        page = (await admin.run(USERS, after=after))["users"]
        users += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return users
        after = page["pageInfo"]["endCursor"]


@pytest.fixture
async def only_admin(admin: Api) -> Api:
    """The first admin, once there is no other."""
    own = (await admin.run(VIEWER))["viewer"]["user"]["id"]
    for user in await _everybody(admin):
        if user["role"] == "ADMIN" and user["id"] != own:
            await admin.run(DELETE_USER, id=user["id"])
    return admin


async def test_a_new_user_has_its_role_and_client_and_may_sign_in(api: Api, org: Organisation) -> None:
    email = new_email()
    data = await org.admin.run(CREATE_USER, email=f" {email} ", password=_PASSWORD, role="VIEWER", client=org.id)
    user = data["createUser"]
    assert user.pop("id")
    assert user.pop("createdAt")
    assert user == {"email": email, "role": "VIEWER", "lastLoginAt": None, "client": {"id": org.id}}
    assert (await api.run(LOGIN, email=email, password=_PASSWORD))["login"]["accessToken"]


@pytest.mark.parametrize(("role", "named"), [("ADMIN", True), ("OPERATOR", False), ("VIEWER", False)])
async def test_a_role_and_a_client_that_do_not_go_together_are_refused(
    org: Organisation, role: str, named: bool
) -> None:
    client = org.id if named else None
    refusal = await org.admin.refused(CREATE_USER, email=new_email(), password=_PASSWORD, role=role, client=client)
    assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
    assert refusal["extensions"]["details"]["argument"] == "clientId"


async def test_an_email_is_taken_in_any_case_and_free_again_after_deletion(org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    again: dict[str, Any] = {
        "email": person.email.upper(),
        "password": _PASSWORD,
        "role": "VIEWER",
        "client": org.id,
    }
    assert await org.admin.code(CREATE_USER, **again) == "EMAIL_TAKEN"
    await org.admin.run(DELETE_USER, id=person.id)
    assert (await org.admin.run(CREATE_USER, **again))["createUser"]["id"] != person.id


@pytest.mark.parametrize(
    "email", ["", "nobody", "@example.com", "a@", "a b@example.com", "a@b@c", "a\n@example.com"]
)
async def test_what_is_no_email_is_refused(org: Organisation, email: str) -> None:
    refusal = await org.admin.refused(CREATE_USER, email=email, password=_PASSWORD, role="VIEWER", client=org.id)
    assert refusal["extensions"]["details"] == {"argument": "email"}


@pytest.mark.parametrize("password", ["", "x" * 11, "x" * 201])
async def test_a_password_too_short_or_too_long_is_refused(org: Organisation, password: str) -> None:
    refusal = await org.admin.refused(
        CREATE_USER, email=new_email(), password=password, role="VIEWER", client=org.id
    )
    assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
    assert refusal["extensions"]["details"] == {"argument": "password"}


@pytest.mark.parametrize("length", [12, 200])
async def test_passwords_at_the_ends_of_the_range_work(api: Api, org: Organisation, length: int) -> None:
    email, password = new_email(), "é" * length
    await org.admin.run(CREATE_USER, email=email, password=password, role="VIEWER", client=org.id)
    assert (await api.run(LOGIN, email=email, password=password))["login"]["accessToken"]


async def test_a_user_of_a_client_that_is_not_there_is_refused(org: Organisation, other_org: Organisation) -> None:
    await org.admin.run("mutation ($id: ID!) { deleteClient(id: $id) { id } }", id=other_org.id)
    for client in (other_org.id, "00000000-0000-7000-8000-000000000000"):
        arguments = {"email": new_email(), "password": _PASSWORD, "role": "VIEWER", "client": client}
        assert await org.admin.code(CREATE_USER, **arguments) == "NOT_FOUND"


async def test_a_new_role_holds_from_the_next_request_without_a_new_login(org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    api = (await person.signed_in(org.admin)).api
    register = "mutation ($key: String!) { registerDevice(device: {key: $key}) { device { client { id } } } }"
    assert await api.code(register, key="by-a-viewer") == "FORBIDDEN"
    changed = (await org.admin.run(SET_ROLE, id=person.id, role="OPERATOR"))["setUserRole"]
    assert changed == {"id": person.id, "role": "OPERATOR", "client": {"id": org.id}}
    made = await api.run(register, key="by-an-operator")
    assert made["registerDevice"]["device"]["client"]["id"] == org.id
    await org.admin.run(SET_ROLE, id=person.id, role="VIEWER")
    assert await api.code(register, key="by-a-viewer-again") == "FORBIDDEN"


async def test_a_user_who_moves_sees_the_new_clients_things_at_once(
    org: Organisation, other_org: Organisation
) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    api = (await person.signed_in(org.admin)).api
    device, others = await org.device(), await other_org.device()
    query = "query ($id: ID!) { device(id: $id) { id } }"
    assert (await api.run(query, id=device.id))["device"] == {"id": device.id}
    await org.admin.run(SET_ROLE, id=person.id, role="VIEWER", client=other_org.id)
    assert (await api.run(query, id=device.id))["device"] is None
    assert (await api.run(query, id=others.id))["device"] == {"id": others.id}


async def test_an_admin_made_and_unmade_gains_and_loses_the_platform(only_admin: Api, org: Organisation) -> None:
    person = await Person.made(only_admin, "OPERATOR", org.id)
    api = (await person.signed_in(only_admin)).api
    promoted = (await only_admin.run(SET_ROLE, id=person.id, role="ADMIN"))["setUserRole"]
    assert promoted == {"id": person.id, "role": "ADMIN", "client": None}
    assert (await api.run(VIEWER))["viewer"]["client"] is None
    assert await only_admin.code(SET_ROLE, id=person.id, role="VIEWER") == "BAD_USER_INPUT"
    await only_admin.run(SET_ROLE, id=person.id, role="VIEWER", client=org.id)
    assert await api.code(CREATE_CLIENT) == "FORBIDDEN"


async def test_the_last_admin_can_neither_be_demoted_nor_deleted(only_admin: Api, org: Organisation) -> None:
    own = (await only_admin.run(VIEWER))["viewer"]["user"]["id"]
    assert await only_admin.code(DELETE_USER, id=own) == "LAST_ADMIN"
    assert await only_admin.code(SET_ROLE, id=own, role="VIEWER", client=org.id) == "LAST_ADMIN"
    assert (await only_admin.run(VIEWER))["viewer"]["role"] == "ADMIN"


async def test_admins_who_delete_each_other_at_once_never_meet_an_internal_error(only_admin: Api) -> None:
    for _ in range(6):
        one, two = [await Person.made(only_admin, "ADMIN") for _ in range(2)]
        sessions = [await person.signed_in(only_admin) for person in (one, two)]
        answers = await asyncio.gather(
            sessions[0].api.post(DELETE_USER, id=two.id), sessions[1].api.post(DELETE_USER, id=one.id)
        )
        bodies = [answer.json() for answer in answers]
        codes = [body["errors"][0]["extensions"]["code"] for body in bodies if body.get("errors")]
        assert len(codes) < 2, codes
        assert set(codes) <= {"NOT_FOUND", "UNAUTHENTICATED", "SESSION_OVER"}
        for person in (one, two):
            await only_admin.post(DELETE_USER, id=person.id)


async def test_deleting_a_user_stops_all_its_tokens_at_once(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    sessions = [await person.signed_in(api) for _ in range(2)]
    for session in sessions:
        assert (await session.api.run(VIEWER))["viewer"]["user"]["id"] == person.id
    assert (await org.admin.run(DELETE_USER, id=person.id))["deleteUser"] == {"id": person.id}
    for session in sessions:
        assert await session.api.code(VIEWER) == "SESSION_OVER"
        assert await api.code(REFRESH, token=session.refresh_token) == "SESSION_OVER"
    wrong = await api.refused(LOGIN, headers=from_address(), email=person.email, password=person.password)
    assert wrong["extensions"]["code"] == "WRONG_CREDENTIALS"
    assert await org.admin.code(DELETE_USER, id=person.id) == "NOT_FOUND"
    assert await org.admin.code(SET_ROLE, id=person.id, role="VIEWER") == "NOT_FOUND"


async def test_the_list_of_users_is_walked_page_by_page(org: Organisation) -> None:
    made = [await Person.made(org.admin, "VIEWER", org.id) for _ in range(3)]
    seen: list[dict[str, Any]] = []
    after = None
    for left in (5, 3, 1):
        page = (await org.operator.run(USERS, first=2, after=after))["users"]
        assert page["totalCount"] == 5
        assert page["pageInfo"]["hasNextPage"] is (left > 2)
        seen += page["nodes"]
        after = page["pageInfo"]["endCursor"]
    assert [user["email"] for user in seen] == sorted(user["email"] for user in seen)
    assert {person.id for person in made} < {user["id"] for user in seen}
    assert len({user["id"] for user in seen}) == 5
    assert {user["client"]["id"] for user in seen} == {org.id}


async def test_a_user_deleted_between_two_pages_leaves_neither_gap_nor_repeat(org: Organisation) -> None:
    for _ in range(3):
        await Person.made(org.admin, "VIEWER", org.id)
    everybody = [user["id"] for user in (await org.operator.run(USERS))["users"]["nodes"]]
    page = (await org.operator.run(USERS, first=2))["users"]
    viewers_last = [user["id"] for user in page["nodes"] if user["role"] == "VIEWER"][-1:]
    for user_id in viewers_last:
        await org.admin.run(DELETE_USER, id=user_id)
    rest = (await org.operator.run(USERS, after=page["pageInfo"]["endCursor"]))["users"]["nodes"]
    assert [user["id"] for user in rest] == everybody[2:]


async def test_an_admin_sees_users_of_every_client_and_other_admins(
    admin: Api, org: Organisation, other_org: Organisation
) -> None:
    users = await _everybody(admin)
    clients = {user["client"]["id"] if user["client"] else None for user in users}
    assert {org.id, other_org.id, None} <= clients
    emails = [user["email"].lower() for user in users]
    assert emails == sorted(emails)


async def test_a_viewer_does_not_see_the_list_of_users(org: Organisation) -> None:
    assert await org.viewer.code(USERS) == "FORBIDDEN"
