"""Traces and errors, as a collector receives them from a server that is configured to send them."""

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.collector import CollectedSpan, Collector
from tests.support.photos import photo
from tests.support.sql import without_table
from tests.support.stack import ADMIN_EMAIL, Stack, wait_until


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector.listening() as collector:
        yield collector


@pytest.fixture(scope="module")
def stack(stack_of: StackOf, collector: Collector) -> Iterator[Stack]:
    """One that reports to the collector. The other fixtures (`api`, `org`, …) use it too."""
    with stack_of(
        QM_OTEL_ENDPOINT=collector.url, QM_SENTRY_DSN=collector.sentry_dsn, OTEL_BSP_SCHEDULE_DELAY="50"
    ) as stack:
        yield stack


def spans_of(collector: Collector, correlation_id: str, count: int) -> list[CollectedSpan]:
    def enough() -> list[CollectedSpan]:
        found = [span for span in collector.spans if span.attributes.get("correlation_id") == correlation_id]
        return found if len(found) >= count else []

    found: list[CollectedSpan] = wait_until(enough, what=f"{count} spans of {correlation_id}")
    return found


async def test_a_request_and_its_operation_are_one_trace_that_goes_on_from_the_callers(
    collector: Collector, admin: Api
) -> None:
    request_id, trace, caller = uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4().hex[:16]
    headers = {"X-Request-ID": request_id, "traceparent": f"00-{trace}-{caller}-01"}
    await admin.run("query WhoAmI { viewer { kind } }", headers=headers)
    spans = {span.name: span for span in spans_of(collector, request_id, 2)}
    request, operation = spans["POST /graphql"], spans["query WhoAmI"]
    assert (request.process, request.trace, request.parent) == ("quartermaster-api", trace, caller)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
        "correlation_id": request_id,
    }
    assert (operation.trace, operation.parent) == (trace, request.id)
    assert operation.attributes["graphql.operation.type"] == "query"
    assert operation.attributes["graphql.operation.name"] == "WhoAmI"
    assert not request.failed
    assert not operation.failed


async def test_a_failed_operation_is_marked_and_a_malformed_traceparent_begins_a_new_trace(
    collector: Collector, api: Api
) -> None:
    request_id = uuid.uuid4().hex
    headers = {"X-Request-ID": request_id, "traceparent": "00-nonsense"}
    await api.refused("query Nobody { viewer { kind } }", headers=headers)
    request, operation = sorted(spans_of(collector, request_id, 2), key=lambda span: span.parent)
    assert (request.name, request.parent) == ("POST /graphql", "")
    assert (operation.parent, operation.failed) == (request.id, True)


async def test_a_job_has_a_span_with_the_correlation_id_of_its_upload(
    collector: Collector, org: Organisation
) -> None:
    request_id = uuid.uuid4().hex
    device = await org.device()
    assert (await device.upload(photo(), headers={"X-Request-ID": request_id})).status_code == 201
    spans = {span.name: span for span in spans_of(collector, request_id, 2)}
    assert spans["job process_image"].process == "quartermaster-worker"
    assert spans["POST /v1/devices/{key}/images"].attributes["http.response.status_code"] == 201


async def test_health_and_metrics_are_not_traced(collector: Collector, api: Api) -> None:
    request_id, last = uuid.uuid4().hex, uuid.uuid4().hex
    for path in ("/health", "/health/live", "/metrics"):
        await api.http.get(path, headers={"X-Request-ID": request_id})
    await api.http.get("/", headers={"X-Request-ID": last})
    spans_of(collector, last, 1)  # later than the others, and sent in order
    assert not [span for span in collector.spans if span.attributes.get("correlation_id") == request_id]


async def test_an_unexpected_error_is_reported_with_its_correlation_id_and_nothing_of_the_request(
    collector: Collector, stack: Stack, api: Api
) -> None:
    request_id, password = uuid.uuid4().hex, f"secret {uuid.uuid4().hex}"
    login = (
        "mutation ($email: String!, $secret: String!) { login(email: $email, password: $secret) { accessToken } }"
    )
    headers = {"X-Request-ID": request_id, "X-Secret": f"header {password}"}
    wrong = await api.refused(login, headers=headers, email=ADMIN_EMAIL, secret=password)
    async with without_table(stack.environment["QM_DATABASE_URL"], "users"):
        masked = await api.refused(login, headers=headers, email=ADMIN_EMAIL, secret=password)
    assert wrong["extensions"]["code"] == "WRONG_CREDENTIALS"
    assert masked["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "correlationId": request_id}
    assert "users" not in masked["message"]

    def reported() -> list[dict[str, object]]:
        return [error for error in collector.errors if error["tags"].get("correlation_id") == request_id]

    wait_until(reported, what="the report")
    (error,) = reported()  # the wrong password before was a refusal, which is no defect
    assert error["tags"] == {"process": "api", "correlation_id": request_id}
    exceptions = error["exception"]["values"]  # type: ignore[index]
    assert exceptions[-1]["type"] == "UndefinedTableError"
    frames = [frame for value in exceptions for frame in value["stacktrace"]["frames"]]
    assert any(frame["function"] == "check_password" for frame in frames)
    assert not [frame for frame in frames if "vars" in frame]
    assert not {"request", "user", "extra"} & error.keys()
    assert error.get("breadcrumbs", {"values": []}) == {"values": []}
    assert password not in b"".join(collector.bodies).decode(errors="replace")


async def test_an_unexpected_error_of_a_rest_route_is_reported_once(
    collector: Collector, stack: Stack, org: Organisation
) -> None:
    device, request_id = await org.device(), uuid.uuid4().hex
    async with without_table(stack.environment["QM_DATABASE_URL"], "devices"):
        answer = await device.heartbeat(headers={"X-Request-ID": request_id})
    assert answer.status_code == 500
    last = uuid.uuid4().hex
    async with without_table(stack.environment["QM_DATABASE_URL"], "devices"):
        await device.heartbeat(headers={"X-Request-ID": last})
    wait_until(lambda: {"process": "api", "correlation_id": last} in [error["tags"] for error in collector.errors])
    tags = [error["tags"]["correlation_id"] for error in collector.errors]
    assert (tags.count(request_id), tags.count(last)) == (1, 1)


@pytest.mark.parametrize(
    ("variable", "value", "module", "extra"),
    [
        ("QM_OTEL_ENDPOINT", "http://127.0.0.1:4318", "opentelemetry", "otel"),
        ("QM_SENTRY_DSN", "http://key@127.0.0.1/1", "sentry_sdk", "sentry"),
    ],
)
def test_a_server_that_lacks_a_configured_extra_refuses_to_start_and_names_it(
    variable: str, value: str, module: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from server.cli import main; sys.argv = ['', 'serve']; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={variable: value}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 78
    assert variable in ended.stderr
    assert f"pip install quartermaster[{extra}]" in ended.stderr


def test_nothing_is_imported_that_is_not_configured() -> None:
    code = "import sys; from server.app import create_app; create_app(); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    modules = set(ended.stdout.split())
    assert "server.telemetry" in modules
    assert not modules & {"sentry_sdk", "opentelemetry.exporter", "opentelemetry.sdk.trace"}
