"""Staying signed in and signing out: refresh tokens that rotate, stolen ones, credentials that are over."""

import asyncio
import hashlib
import hmac
import time
from typing import Any

import jwt
import pytest

from domain.kit.ids import new_id
from tests.support.api import Api, Organisation
from tests.support.people import VIEWER, Person, SignedIn
from tests.support.stack import Stack

REFRESH = (
    "mutation ($token: String!) { refreshSession(refreshToken: $token) "
    "{ accessToken refreshToken expiresAt user { id } } }"
)
LOGOUT = "mutation { logout }"


@pytest.fixture
async def person(org: Organisation) -> Person:
    return await Person.made(org.admin, "OPERATOR", org.id)


@pytest.fixture
async def session(api: Api, person: Person) -> SignedIn:
    return await person.signed_in(api)


def _signed(stack: Stack, claims: dict[str, Any], key: bytes | None = None) -> str:
    """A token such as the server makes, with claims that it would not give."""
    secret = stack.environment["QM_SECRET_KEY"].encode()
    return jwt.encode(claims, key or hmac.new(secret, b"access tokens", hashlib.sha256).digest(), algorithm="HS256")


def _claims(session: SignedIn) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(session.answer["accessToken"], options={"verify_signature": False})
    return claims


async def _refreshed(api: Api, token: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.run(REFRESH, token=token))["refreshSession"]
    return answer


async def test_refreshing_gives_new_tokens_that_both_work(api: Api, person: Person, session: SignedIn) -> None:
    fresh = await _refreshed(api, session.refresh_token)
    assert fresh["user"]["id"] == person.id
    assert fresh["refreshToken"] != session.refresh_token
    assert fresh["accessToken"] != session.answer["accessToken"]
    assert (await api.with_token(fresh["accessToken"]).run(VIEWER))["viewer"]["user"]["id"] == person.id
    again = await _refreshed(api, fresh["refreshToken"])
    assert again["refreshToken"] not in (fresh["refreshToken"], session.refresh_token)


async def test_the_access_token_from_before_a_refresh_lives_out_its_time(api: Api, session: SignedIn) -> None:
    await _refreshed(api, session.refresh_token)
    assert (await session.api.run(VIEWER))["viewer"]["kind"] == "USER"


async def test_a_refresh_token_used_twice_ends_the_session_with_all_its_tokens(api: Api, session: SignedIn) -> None:
    fresh = await _refreshed(api, session.refresh_token)
    thief, owner = session.api, api.with_token(fresh["accessToken"])
    assert (await owner.run(VIEWER))["viewer"]["kind"] == "USER"
    assert await api.code(REFRESH, token=session.refresh_token) == "TOKEN_REUSED"
    assert await owner.code(VIEWER) == "SESSION_OVER"
    assert await thief.code(VIEWER) == "SESSION_OVER"
    assert await api.code(REFRESH, token=fresh["refreshToken"]) == "SESSION_OVER"


async def test_ending_one_session_by_reuse_leaves_the_users_other_sessions(
    api: Api, person: Person, session: SignedIn
) -> None:
    other = await person.signed_in(api)
    await _refreshed(api, session.refresh_token)
    assert await api.code(REFRESH, token=session.refresh_token) == "TOKEN_REUSED"
    assert (await other.api.run(VIEWER))["viewer"]["user"]["id"] == person.id
    assert (await _refreshed(api, other.refresh_token))["accessToken"]


async def test_of_two_simultaneous_refreshes_one_wins_and_the_session_ends(api: Api, session: SignedIn) -> None:
    answers = await asyncio.gather(*(api.post(REFRESH, token=session.refresh_token) for _ in range(2)))
    bodies = [answer.json() for answer in answers]
    won = [body["data"]["refreshSession"] for body in bodies if body.get("data")]
    lost = [body["errors"][0]["extensions"]["code"] for body in bodies if body.get("errors")]
    assert lost == ["TOKEN_REUSED"]
    assert len(won) == 1
    assert await api.with_token(won[0]["accessToken"]).code(VIEWER) == "SESSION_OVER"


async def test_a_session_is_refreshed_with_its_expired_access_token_in_the_header(
    stack: Stack, session: SignedIn
) -> None:
    expired = session.api.with_token(_signed(stack, {**_claims(session), "exp": int(time.time()) - 5}))
    assert await expired.code(VIEWER) == "TOKEN_EXPIRED"
    fresh = await _refreshed(expired, session.refresh_token)
    assert (await expired.with_token(fresh["accessToken"]).run(VIEWER))["viewer"]["kind"] == "USER"


@pytest.mark.parametrize("stale", ["nonsense", "qmd_unknown", "qmc_unknown", "e30.e30.e30"])
async def test_a_session_is_refreshed_whatever_stale_credential_comes_along(session: SignedIn, stale: str) -> None:
    api = session.api.with_token(stale)
    assert await api.code(VIEWER) == "INVALID_TOKEN"
    assert (await _refreshed(api, session.refresh_token))["accessToken"]


async def test_a_token_that_this_server_did_not_sign_is_refused(stack: Stack, session: SignedIn) -> None:
    claims = _claims(session)
    unsigned = jwt.encode(claims, "", algorithm="none")
    for forged in (_signed(stack, claims, b"another key, also of thirty-two bytes"), unsigned):
        assert await session.api.with_token(forged).code(VIEWER) == "INVALID_TOKEN"


@pytest.mark.parametrize("missing", ["exp", "sid", "sub"])
async def test_a_token_without_a_claim_that_counts_is_refused(
    stack: Stack, session: SignedIn, missing: str
) -> None:
    claims = {name: value for name, value in _claims(session).items() if name != missing}
    assert await session.api.with_token(_signed(stack, claims)).code(VIEWER) == "INVALID_TOKEN"


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "token", "Bearerqmd_x"])
async def test_a_header_that_is_no_bearer_credential_is_unauthenticated(api: Api, header: str) -> None:
    refusal = await api.refused(VIEWER, headers={"Authorization": header})
    assert refusal["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("shape", ["", "nonsense", "qmr_", "qmr_not-an-id_secret", "qmr_{unknown}_secret"])
async def test_a_refresh_token_that_never_was_is_refused(api: Api, shape: str) -> None:
    assert await api.code(REFRESH, token=shape.replace("{unknown}", new_id())) == "SESSION_OVER"


async def test_a_guess_at_a_refresh_token_cannot_look_like_a_right_one(api: Api, session: SignedIn) -> None:
    guess = session.refresh_token[:-6] + "AAAAAA"
    assert await api.code(REFRESH, token=guess) == "TOKEN_REUSED"
    assert await session.api.code(VIEWER) == "SESSION_OVER"


async def test_logout_ends_access_and_refresh_at_once(api: Api, session: SignedIn) -> None:
    assert (await session.api.run(VIEWER))["viewer"]["kind"] == "USER"
    assert await session.api.run(LOGOUT) == {"logout": True}
    assert await session.api.code(VIEWER) == "SESSION_OVER"
    assert await session.api.code(LOGOUT) == "SESSION_OVER"
    assert await api.code(REFRESH, token=session.refresh_token) == "SESSION_OVER"


async def test_logout_leaves_the_users_other_sessions(api: Api, person: Person, session: SignedIn) -> None:
    other = await person.signed_in(api)
    await session.api.run(LOGOUT)
    assert (await other.api.run(VIEWER))["viewer"]["user"]["id"] == person.id


async def test_a_token_that_is_no_session_cannot_log_out(org: Organisation) -> None:
    device = await org.device()
    assert await org.admin.with_token(device.token).code(LOGOUT) == "NO_SESSION"
