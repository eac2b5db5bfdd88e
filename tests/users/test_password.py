"""Changing one's own password."""

import pytest

from tests.support.api import Api, Organisation
from tests.support.people import LOGIN, VIEWER, Person, from_address

CHANGE = "mutation ($current: String!, $new: String!) { changePassword(current: $current, new: $new) { id } }"
REFRESH = "mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken } }"
_NEW = "another long password"


@pytest.fixture
async def person(org: Organisation) -> Person:
    return await Person.made(org.admin, "OPERATOR", org.id)


async def test_changing_the_password_ends_the_other_sessions_and_keeps_ones_own(api: Api, person: Person) -> None:
    own, other = await person.signed_in(api), await person.signed_in(api)
    assert (await other.api.run(VIEWER))["viewer"]["kind"] == "USER"
    data = await own.api.run(CHANGE, current=person.password, new=_NEW)
    assert data["changePassword"] == {"id": person.id}
    assert (await own.api.run(VIEWER))["viewer"]["user"]["id"] == person.id
    assert (await api.run(REFRESH, token=own.refresh_token))["refreshSession"]["accessToken"]
    assert await other.api.code(VIEWER) == "SESSION_OVER"
    assert await api.code(REFRESH, token=other.refresh_token) == "SESSION_OVER"


async def test_after_the_change_only_the_new_password_signs_in(api: Api, person: Person) -> None:
    await (await person.signed_in(api)).api.run(CHANGE, current=person.password, new=_NEW)
    assert (await api.run(LOGIN, email=person.email, password=_NEW))["login"]["user"]["id"] == person.id
    refusal = await api.refused(LOGIN, headers=from_address(), email=person.email, password=person.password)
    assert refusal["extensions"]["code"] == "WRONG_CREDENTIALS"


async def test_a_wrong_current_password_changes_nothing(api: Api, person: Person) -> None:
    own, other = await person.signed_in(api), await person.signed_in(api)
    refusal = await own.api.refused(CHANGE, headers=from_address(), current="not this one at all", new=_NEW)
    assert refusal["extensions"]["code"] == "WRONG_CREDENTIALS"
    assert (await other.api.run(VIEWER))["viewer"]["kind"] == "USER"
    assert (await api.run(LOGIN, email=person.email, password=person.password))["login"]["accessToken"]


@pytest.mark.parametrize("new", ["short", "x" * 201])
async def test_a_new_password_follows_the_rule(api: Api, person: Person, new: str) -> None:
    own = await person.signed_in(api)
    refusal = await own.api.refused(CHANGE, current=person.password, new=new)
    assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
    assert refusal["extensions"]["details"] == {"argument": "new"}


async def test_a_token_has_no_password(org: Organisation) -> None:
    device = await org.device()
    assert await org.admin.with_token(device.token).code(CHANGE, current=_NEW, new=_NEW) == "NO_PASSWORD"


async def test_guessing_the_current_password_is_limited(api: Api, person: Person) -> None:
    own = await person.signed_in(api)
    codes = [
        (await own.api.refused(CHANGE, headers=from_address(), current=f"guess number {number}", new=_NEW))
        ["extensions"]["code"]
        for number in range(6)
    ]  # fmt: skip
    assert codes == ["WRONG_CREDENTIALS"] * 5 + ["TOO_MANY_REQUESTS"]
