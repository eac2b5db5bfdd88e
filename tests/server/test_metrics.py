"""What `/metrics` tells Prometheus: exactly what was done, whichever process did it."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.images import settled
from tests.support.live import Socket
from tests.support.log import eventually
from tests.support.photos import photo
from tests.support.stack import Stack, free_port, wait_until

HTTP = "quartermaster_http_request_seconds_count"
OPERATIONS = "quartermaster_graphql_operation_seconds_count"
CONNECTIONS = "quartermaster_live_connections"


class Metrics:
    """One look at them. Calling it gives the sum of the samples that have at least these labels."""

    def __init__(self, url: str) -> None:
        answer = httpx.get(f"{url}/metrics", timeout=20)
        assert answer.headers["content-type"].startswith("text/plain; version=")
        self.families = list(text_string_to_metric_families(answer.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


@pytest.fixture(scope="module")
def stack(stack_of: StackOf) -> Iterator[Stack]:
    """One of this module alone, so that nobody else counts anything. `api`, `org`, … use it too."""
    with stack_of() as stack:
        yield stack


@pytest.fixture
async def metrics_before(stack: Stack, org: Organisation) -> Metrics:
    """Those from before the test, when all that its fixtures led to is done."""

    async def quiet() -> Metrics | None:
        now = Metrics(stack.url)
        return now if now("quartermaster_outbox_rows") == 0 else None

    found: Metrics = await eventually(quiet, what="an empty outbox")
    return found


async def test_each_family_is_told_once_and_with_its_help(stack: Stack, org: Organisation) -> None:
    families = Metrics(stack.url).families
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(family.documentation and family.type != "unknown" for family in families)
    assert {name for name in names if not name.startswith("quartermaster_")} == set()


async def test_requests_are_counted_by_method_route_and_status(
    stack: Stack, org: Organisation, metrics_before: Metrics
) -> None:
    device = await org.device()
    for _ in range(3):
        assert (await device.heartbeat()).status_code == 200
    assert (await org.operator.http.post("/v1/devices/other/heartbeat")).status_code == 401
    assert (await org.operator.http.get("/nowhere/at/all")).status_code == 404
    after, route = Metrics(stack.url), "/v1/devices/{key}/heartbeat"
    for labels, count in (
        ({"method": "POST", "route": route, "status": "200"}, 3),
        ({"method": "POST", "route": route, "status": "401"}, 1),
        ({"method": "GET", "route": "other", "status": "404"}, 1),
    ):
        assert after(HTTP, **labels) - metrics_before(HTTP, **labels) == count, labels
    assert not [route for route in after.values(HTTP, "route") if device.key in route or "nowhere" in route]


async def test_uploads_are_counted_by_outcome_and_their_jobs_by_actor(
    stack: Stack, org: Organisation, metrics_before: Metrics
) -> None:
    device, first, second = await org.device(), photo(), photo()
    accepted = [await device.upload(image) for image in (first, second)]
    assert [answer.status_code for answer in accepted] == [201, 201]
    assert (await device.upload(first)).status_code == 200
    assert (await device.upload(photo()[:-40])).status_code == 422
    assert (await device.upload(b"x", content_type="text/plain")).status_code == 415
    for answer in accepted:
        await settled(org.viewer, answer.json()["imageId"])

    job = {"job": "process_image", "status": "ok"}

    async def counted() -> Metrics | None:
        now = Metrics(stack.url)
        jobs = now("quartermaster_job_seconds_count", **job)
        done = jobs - metrics_before("quartermaster_job_seconds_count", **job) >= 2
        return now if done and now("quartermaster_outbox_rows") == 0 else None

    after = await eventually(counted, what="both jobs")

    def grown(name: str, **labels: str) -> float:
        return float(after(name, **labels) - metrics_before(name, **labels))

    outcomes = ("accepted", "duplicate", "TRUNCATED", "UNSUPPORTED_MEDIA_TYPE")
    uploads = {outcome: grown("quartermaster_uploads_total", outcome=outcome) for outcome in outcomes}
    assert uploads == {"accepted": 2, "duplicate": 1, "TRUNCATED": 1, "UNSUPPORTED_MEDIA_TYPE": 1}
    assert grown("quartermaster_uploads_total") == 5
    assert grown("quartermaster_upload_bytes_total") == len(first) + len(second)
    assert grown("quartermaster_job_seconds_count") == 2
    assert grown("quartermaster_job_seconds_sum", **job) > 0
    assert grown("quartermaster_events_recorded_total") >= 5  # registered, twice received and ready
    assert after("quartermaster_outbox_lag_seconds") == 0


async def test_operations_are_counted_by_type_name_and_outcome(
    stack: Stack, org: Organisation, metrics_before: Metrics
) -> None:
    name = f"Named{uuid.uuid4().hex[:6]}"
    for _ in range(2):
        await org.viewer.run(f"query {name} {{ viewer {{ kind }} }}")
    await org.viewer.refused(f'mutation {name} {{ createClient(name: "x") {{ id }} }}')
    await org.viewer.run("{ viewer { kind } }")
    await org.viewer.refused("query Unfinished {")
    after = Metrics(stack.url)
    for labels, count in (
        ({"type": "query", "operation": name, "status": "ok"}, 2),
        ({"type": "mutation", "operation": name, "status": "error"}, 1),
        ({"type": "query", "operation": "anonymous", "status": "ok"}, 1),
        ({"type": "invalid", "operation": "anonymous", "status": "error"}, 1),
    ):
        assert after(OPERATIONS, **labels) - metrics_before(OPERATIONS, **labels) == count, labels


async def test_live_connections_and_the_pool_are_shown_as_they_are(
    stack: Stack, org: Organisation, metrics_before: Metrics
) -> None:
    assert metrics_before(CONNECTIONS, transport="websocket") == 0
    async with Socket.opened(stack.url, org.viewer.token):
        assert Metrics(stack.url)(CONNECTIONS, transport="websocket") == 1
    wait_until(lambda: Metrics(stack.url)(CONNECTIONS, transport="websocket") == 0, what="the socket's end")
    pool = Metrics(stack.url)
    opened = pool("quartermaster_database_connections", state="open")
    assert 1 <= pool("quartermaster_database_connections", state="idle") <= opened <= 10


async def test_connections_of_a_killed_process_are_forgotten_and_its_counts_are_not(
    stack: Stack, org: Organisation
) -> None:
    device = await org.device()
    assert (await device.heartbeat()).status_code == 200
    labels = {"route": "/v1/devices/{key}/heartbeat", "status": "200"}
    before, killed = Metrics(stack.url)(HTTP, **labels), stack.child("api")
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        os.kill(killed, signal.SIGKILL)
        await socket.connection.wait_closed()
    wait_until(lambda: stack.child("api") != killed, what="a new API process")
    stack.wait_until_healthy()
    after = Metrics(stack.url)
    assert after(CONNECTIONS) == 0
    assert after(HTTP, **labels) == before


@pytest.fixture
def two_workers(stack: Stack, tmp_path: Path) -> Iterator[str]:
    """`quartermaster api --workers 2` beside the stack, on its database; its URL."""
    port = free_port()
    environment = {**stack.environment, "QM_PORT": str(port), "QM_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "server", "api", "--workers", "2"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), within=60, what="the two workers")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_counts_of_several_api_processes_add_up(two_workers: str, tmp_path: Path) -> None:
    made = 0

    def both_took_part() -> bool:
        nonlocal made
        for _ in range(10):  # each on a connection of its own, which either process may accept
            assert httpx.get(f"{two_workers}/health/live", timeout=20).status_code == 200
            made += 1
        files = (tmp_path / "metrics").glob("histogram_*.db")
        return sum(b"/health/live" in path.read_bytes() for path in files) == 2

    wait_until(both_took_part, within=60, what="a request to each of the two processes")

    def seen() -> float:
        return Metrics(two_workers)(HTTP, route="/health/live", status="200")

    # Each knows at once what it did itself, and tells the other within a tenth of a second.
    wait_until(lambda: seen() == made, what="all of them to be counted")
    assert [seen() for _ in range(6)] == [made] * 6


async def test_names_that_clients_choose_are_bounded(stack: Stack, api: Api) -> None:
    # Its own process: which names were first is remembered there.
    names = [f"Chosen{number}" for number in range(230)]
    before = Metrics(stack.url)
    for name in names:
        assert (await api.post(f"query {name} {{ __typename }}")).status_code == 200
    after = Metrics(stack.url)
    shown = after.values(OPERATIONS, "operation")
    assert len(shown) <= 201 + len(before.values(OPERATIONS, "operation"))
    assert 30 <= after(OPERATIONS, operation="other") < 230
    counted = sum(after(OPERATIONS, operation=name) for name in names) + after(OPERATIONS, operation="other")
    assert counted - before(OPERATIONS, operation="other") == 230
