"""What the server writes to its log, and what it never does."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.api import Api, Organisation
from tests.support.log import eventually, logged
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.sql import without_table
from tests.support.stack import ADMIN_EMAIL, ADMIN_PASSWORD, Stack, wait_until

LOGIN = """mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken refreshToken }
}"""
REFRESH = "mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken refreshToken } }"


def lines(stack: Stack) -> list[dict[str, Any]]:
    """The log's lines. What is no JSON was printed by the supervisor, for people."""
    return [json.loads(line) for line in stack.output().splitlines() if line.startswith("{")]


def line(stack: Stack, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The one line that is wanted, once it is there."""
    found = wait_until(lambda: [entry for entry in lines(stack) if wanted(entry)], what="the log line")
    assert len(found) == 1
    entry: dict[str, Any] = found[0]
    return entry


async def test_an_upload_can_be_followed_by_its_request_id_into_its_job_and_its_events(
    stack: Stack, org: Organisation
) -> None:
    request_id = f"from-the-device:{uuid.uuid4().hex}"
    device = await org.device()
    answer = await device.upload(photo(), headers={"X-Request-ID": request_id})
    assert answer.headers["x-request-id"] == request_id
    image_id = answer.json()["imageId"]

    def mine(event: str) -> Callable[[dict[str, Any]], bool]:
        return lambda entry: entry["event"] == event and entry.get("correlation_id") == request_id

    request = line(stack, mine("request"))
    assert (request["process"], request["method"], request["status"]) == ("api", "POST", 201)
    assert request["path"] == f"/v1/devices/{device.key}/images"
    assert request["ms"] > 0
    job = line(stack, mine("job done"))
    assert (job["process"], job["job"], job["image_id"]) == ("worker", "process_image", image_id)
    events = await logged(org.viewer, 2, subjectIds=[image_id])
    assert [(event["type"], event["correlationId"]) for event in events] == [
        ("image.received", request_id),
        ("image.ready", request_id),
    ]


@pytest.mark.parametrize("given", ["two words", "x" * 129, 'quo"te', ""])
async def test_a_request_id_that_could_spoil_a_log_is_replaced(api: Api, given: str) -> None:
    answer = await api.http.get("/", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] != given
    assert uuid.UUID(answer.headers["x-request-id"]).version == 7


async def test_health_checks_and_metrics_do_not_fill_the_log(stack: Stack, api: Api) -> None:
    quiet, loud = uuid.uuid4().hex, uuid.uuid4().hex
    for path in ("/health", "/health/live", "/metrics"):
        await api.http.get(path, headers={"X-Request-ID": quiet})
    await api.http.get("/", headers={"X-Request-ID": loud})
    line(stack, lambda entry: entry.get("correlation_id") == loud)
    assert not [entry for entry in lines(stack) if entry.get("correlation_id") == quiet]


async def test_an_unexpected_error_is_masked_outside_and_whole_in_the_log(stack: Stack, org: Organisation) -> None:
    device, request_id = await org.device(), uuid.uuid4().hex
    async with without_table(stack.environment["QM_DATABASE_URL"], "devices"):
        answer = await device.heartbeat(headers={"X-Request-ID": request_id})
    body = problem(answer, 500, "INTERNAL_SERVER_ERROR")
    assert body["correlationId"] == request_id
    assert "devices" not in body["detail"]
    error = line(stack, lambda entry: entry["level"] == "error" and entry.get("correlation_id") == request_id)
    assert error["event"] == "unexpected error"
    assert error["exception"][0]["exc_type"] == "UndefinedTableError"
    assert any(frame["name"] == "post_heartbeat" for frame in error["exception"][0]["frames"])
    request = line(stack, lambda entry: entry["event"] == "request" and entry.get("correlation_id") == request_id)
    assert request["status"] == 500


async def test_secrets_never_reach_the_log(stack: Stack, api: Api, org: Organisation) -> None:
    wrong = f"not the password {uuid.uuid4().hex}"
    assert await api.code(LOGIN, email=ADMIN_EMAIL, password=wrong) == "WRONG_CREDENTIALS"
    first = (await api.run(LOGIN, email=ADMIN_EMAIL, password=ADMIN_PASSWORD))["login"]
    second = (await api.run(REFRESH, token=first["refreshToken"]))["refreshSession"]
    reused = await api.code(REFRESH, token=first["refreshToken"])
    device = await org.device()
    assert (await device.upload(photo())).status_code == 201
    await device.upload(photo()[:-40])
    client_token = (
        await org.admin.run(
            "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }",
            id=org.id,
        )
    )["regenerateClientToken"]["token"]
    async with without_table(stack.environment["QM_DATABASE_URL"], "sessions"):
        broken = [
            await api.code(LOGIN, email=ADMIN_EMAIL, password=ADMIN_PASSWORD),
            await api.code(REFRESH, token=second["refreshToken"]),
        ]
    async with without_table(stack.environment["QM_DATABASE_URL"], "devices"):
        assert (await device.upload(photo())).status_code == 500
    assert (reused, broken) == ("TOKEN_REUSED", ["INTERNAL_SERVER_ERROR"] * 2)

    async def all_logged() -> bool:
        return stack.output().count("UndefinedTableError") >= 3

    await eventually(all_logged, what="the errors in the log")
    secrets = {
        "wrong password": wrong,
        "password": ADMIN_PASSWORD,
        "access token": first["accessToken"],
        "new access token": second["accessToken"],
        "refresh token": first["refreshToken"],
        "new refresh token": second["refreshToken"],
        "device token": device.token,
        "client token": client_token,
        "secret key": stack.environment["QM_SECRET_KEY"],
        "database password": stack.environment["QM_DATABASE_URL"].partition("@")[0].rpartition(":")[2],
        "Redis password": stack.environment["QM_REDIS_URL"].partition("@")[0].rpartition(":")[2],
    }
    log = stack.output()
    assert all(len(secret) > 8 for secret in secrets.values())
    assert [name for name, secret in secrets.items() if secret in log] == []
