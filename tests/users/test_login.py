"""Signing in: who gets in, what everybody else is told, and how often they may try."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.support.api import Api, Organisation
from tests.support.people import LOGIN, VIEWER, Person, from_address, new_email

_WRONG = "certainly not the password"


async def test_the_right_password_gives_a_session_of_that_user(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    session = (await api.run(LOGIN, email=person.email, password=person.password))["login"]
    assert session["user"] == {"id": person.id, "email": person.email, "role": "OPERATOR", "client": {"id": org.id}}
    lasts = datetime.fromisoformat(session["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < lasts <= timedelta(minutes=15)
    viewer = (await api.with_token(session["accessToken"]).run(VIEWER))["viewer"]
    assert viewer["user"]["id"] == person.id


async def test_the_email_may_be_written_in_any_case_and_with_blanks(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    written = f"  {person.email.upper()} "
    session = (await api.run(LOGIN, email=written, password=person.password))["login"]
    assert session["user"]["id"] == person.id


async def test_a_wrong_email_and_a_wrong_password_get_the_same_answer(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    refusals = [
        await api.refused(LOGIN, headers=from_address(), email=email, password=password)
        for email, password in [(person.email, _WRONG), (new_email(), person.password)]
    ]
    for refusal in refusals:
        assert refusal["extensions"].pop("correlationId")
    assert refusals[0] == refusals[1]
    assert refusals[0]["extensions"] == {"code": "WRONG_CREDENTIALS"}


async def test_an_empty_an_overlong_and_a_nul_password_are_just_wrong(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    for password in ["", "x" * 10_000, "nul\0byte in it"]:
        refusal = await api.refused(LOGIN, headers=from_address(), email=person.email, password=password)
        assert refusal["extensions"]["code"] == "WRONG_CREDENTIALS"


async def test_an_email_with_a_nul_byte_is_just_wrong(api: Api) -> None:
    refusal = await api.refused(LOGIN, headers=from_address(), email="nul\0@example.com", password=_WRONG)
    assert refusal["extensions"]["code"] in {"WRONG_CREDENTIALS", "BAD_USER_INPUT"}


async def test_the_sixth_wrong_password_in_a_minute_waits_whatever_its_address(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    for _ in range(5):
        refusal = await api.refused(LOGIN, headers=from_address(), email=person.email, password=_WRONG)
        assert refusal["extensions"]["code"] == "WRONG_CREDENTIALS"
    for password in (_WRONG, person.password):
        refusal = await api.refused(LOGIN, headers=from_address(), email=person.email, password=password)
        assert refusal["extensions"]["code"] == "TOO_MANY_REQUESTS"
        assert 1 <= refusal["extensions"]["details"]["retryAfterSeconds"] <= 60


async def test_the_limit_counts_for_an_account_however_its_email_is_written(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    for email in [person.email, person.email.upper(), f" {person.email}", f"{person.email} ", person.email]:
        await api.refused(LOGIN, headers=from_address(), email=email, password=_WRONG)
    refusal = await api.refused(LOGIN, headers=from_address(), email=person.email, password=person.password)
    assert refusal["extensions"]["code"] == "TOO_MANY_REQUESTS"


async def test_five_wrong_passwords_from_an_address_block_that_address_only(api: Api, org: Organisation) -> None:
    person, address = await Person.made(org.admin, "VIEWER", org.id), from_address()
    for _ in range(5):
        await api.refused(LOGIN, headers=address, email=new_email(), password=_WRONG)
    refusal = await api.refused(LOGIN, headers=address, email=person.email, password=person.password)
    assert refusal["extensions"]["code"] == "TOO_MANY_REQUESTS"
    elsewhere = await api.run(LOGIN, headers=from_address(), email=person.email, password=person.password)
    assert elsewhere["login"]["user"]["id"] == person.id


async def test_right_passwords_do_not_count(api: Api, org: Organisation) -> None:
    person, address = await Person.made(org.admin, "VIEWER", org.id), from_address()
    for _ in range(7):
        session = await api.run(LOGIN, headers=address, email=person.email, password=person.password)
        assert session["login"]["accessToken"]


async def test_guesses_sent_all_at_once_are_limited_too(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    guesses = [
        api.refused(LOGIN, headers=from_address(), email=person.email, password=f"guess number {number}")
        for number in range(12)
    ]
    codes = [refusal["extensions"]["code"] for refusal in await asyncio.gather(*guesses)]
    assert codes.count("WRONG_CREDENTIALS") <= 5
    assert set(codes) <= {"WRONG_CREDENTIALS", "TOO_MANY_REQUESTS"}
    assert "TOO_MANY_REQUESTS" in codes


async def test_a_login_leaves_its_time(api: Api, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    before = datetime.now(UTC)
    await person.signed_in(api)
    data = await org.admin.run(
        "query ($id: ID!) { node(id: $id) { ... on User { lastLoginAt client { id } } } }", id=person.id
    )
    assert abs(datetime.fromisoformat(data["node"]["lastLoginAt"]) - before) < timedelta(seconds=30)
