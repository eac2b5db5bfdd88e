"""Traces to OpenTelemetry and errors to Sentry: extras that do nothing, and are not imported, unless configured.

Spans are made by hand, in the three places where work begins: a request (`edge.py`), a GraphQL operation
(`graphql.py`), a job (`background.py`). What leaves the process holds names, durations and correlation ids,
never bodies, headers or variables.
"""

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from domain.kit.correlation import correlation_id
from server import VERSION
from server.settings import Settings

_tracer: Any = None
_report: Callable[[BaseException], object] | None = None


def start(settings: Settings, process: str) -> None:
    """Begin what is configured, for the process called `api`, `worker` or `relay`."""
    if settings.otel_endpoint is not None:
        _start_traces(settings.otel_endpoint, process)
    if settings.sentry_dsn is not None:
        _start_errors(settings.sentry_dsn, process)


def capture(error: BaseException) -> None:
    """Report a defect. Free when nothing is configured."""
    if _report is not None:
        _report(error)


class Span:
    """A span under way, or nothing at all. The one made inside it, in the same task, is its child."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Any = None) -> None:
        self._span = span
        self._token: Token[Any] | None = None

    def set(self, name: str | None = None, *, failed: bool = False, **attributes: Any) -> None:
        """Add what is known only now. An attribute's `__` becomes a dot."""
        if self._span is None:
            return
        if name is not None:
            self._span.update_name(name)
        self._span.set_attributes({key.replace("__", "."): value for key, value in attributes.items()})
        if failed:
            self._fail()

    def __enter__(self) -> "Span":
        if self._span is not None:
            self._token = _current.set(self._span)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        if kind is not None:
            self._fail(kind.__name__)
        self._span.end()
        # An event stream ends in another task than it began in, where there is nothing to take back.
        with suppress(ValueError):
            _current.reset(self._token)  # type: ignore[arg-type]

    def _fail(self, why: str | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - see the module's first line

        self._span.set_status(Status(StatusCode.ERROR, why))


# Our own and not OpenTelemetry's context: that one complains in the log about the streams above.
_current: ContextVar[Any] = ContextVar("span", default=None)
NOTHING = Span()
"""What is not traced."""


def span(name: str, *, kind: str = "INTERNAL", traceparent: str | None = None, **attributes: Any) -> Span:
    """A span to enter. It goes on from `traceparent` (W3C) or else from the span around it."""
    if _tracer is None:
        return NOTHING
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    made = Span(_tracer.start_span(name, context=_context(traceparent), kind=SpanKind[kind]))
    made.set(correlation_id=correlation_id.get() or "", **attributes)
    return made


def _context(traceparent: str | None) -> Any:
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if traceparent is not None:
        return TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    around = _current.get()
    return None if around is None else set_span_in_context(around)


def _start_traces(endpoint: str, process: str) -> None:
    global _tracer  # noqa: PLW0603 - one process, one tracer
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create(
        {
            "service.namespace": "quartermaster",
            "service.name": f"quartermaster-{process}",
            "service.version": VERSION,
        }
    )
    provider = TracerProvider(resource=resource)  # it sends what it still holds when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    _tracer = provider.get_tracer("quartermaster", VERSION)


def _start_errors(dsn: str, process: str) -> None:
    global _report  # noqa: PLW0603 - one process, one reporter
    import sentry_sdk  # noqa: PLC0415
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415

    # Its other integrations collect requests, SQL and log lines of their own accord.
    sentry_sdk.init(
        dsn,
        release=f"quartermaster@{VERSION}",
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[AtexitIntegration(lambda *_: None), DedupeIntegration(), ExcepthookIntegration()],
        include_local_variables=False,
        send_default_pii=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
    )
    sentry_sdk.set_tag("process", process)

    def report(error: BaseException) -> None:
        with sentry_sdk.new_scope() as scope:
            scope.set_tag("correlation_id", correlation_id.get() or "none")
            scope.capture_exception(error)

    _report = report
