"""Logs: structlog for our own lines and for those of libraries, with the correlation id on each."""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from domain.kit.correlation import correlation_id
from server import telemetry
from server.soon import soon

# Frames' local variables hold tokens, passwords and keys: they never reach a log.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_QUIET = (
    "uvicorn.access",
    "uvicorn.error",
    "dramatiq",
    "apscheduler",
    "httpx",
    "alembic",
    "strawberry",
    "PIL",
)


def configure_logs(*, level: str, format: str, process: str) -> None:
    """Send every log line of this process to standard error, as text for people or JSON for programs."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_correlation_id,
        _with_process(process),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _reported,
    ]
    ending: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [_tracebacks, structlog.processors.JSONRenderer(serializer=_to_json)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    global _write_request, _process
    _write_request, _process = _request_writer(level=level, console=console), process
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes the lines of requests that wait before any other."""

    def emit(self, record: logging.LogRecord) -> None:
        _write_lines()
        super().emit(record)


_lines: deque[tuple[str, str, int, float, str | None, float]] = deque()
"""Of requests: method, path, status, milliseconds, correlation id, and the time in seconds since 1970."""
_MOST_LINES = 64  # more at a time would keep somebody waiting for a millisecond


def _write_lines() -> None:
    """Write the lines of requests that wait, in one piece. May be called by any thread."""
    lines = []
    while _lines:
        try:
            lines.append(_request_line(*_lines.popleft()))
        except IndexError:  # another thread has it
            break
    if lines:
        sys.stderr.write(b"".join(lines).decode())
        sys.stderr.flush()


def _request_line(method: str, path: str, status: int, ms: float, correlation: str | None, at: float) -> bytes:
    # The same line as by structlog, in a tenth of its time: there is one for each request.
    line = {
        "method": method,
        "path": path,
        "status": status,
        "ms": ms,
        "event": "request",
        "correlation_id": correlation,
        "process": _process,
        "level": "info",
        "timestamp": datetime.fromtimestamp(at, UTC),
    }
    return orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _ignored(*_: object) -> None:
    """What is below the level."""


_log = structlog.get_logger("server.edge")
_process = ""
_write_request: Callable[[str, str, int, float], None] = _ignored


def log_request(method: str, path: str, status: int, ms: float) -> None:
    """The line of one request."""
    _write_request(method, path, status, ms)


def _request_writer(*, level: str, console: bool) -> Callable[[str, str, int, float], None]:
    if logging.getLevelName(level.upper()) > logging.INFO:
        return _ignored
    if console:
        return lambda method, path, status, ms: _log.info("request", method=method, path=path, status=status, ms=ms)

    def write(method: str, path: str, status: int, ms: float) -> None:
        _lines.append((method, path, status, ms, correlation_id.get(), time.time()))
        if len(_lines) < _MOST_LINES:
            soon(_write_lines)
        else:
            _write_lines()

    return write


def _with_correlation_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if (current := correlation_id.get()) is not None:
        event.setdefault("correlation_id", current)
    return event


def _with_process(name: str) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("process", name)
        return event

    return add


def _reported(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Whatever is bad enough for an error line with an exception is a defect, whichever part logged it."""
    given = event.get("exc_info")
    if given and event.get("level") in ("error", "critical"):
        given = sys.exc_info() if given is True else given
        error = given[1] if isinstance(given, tuple) else given
        if isinstance(error, BaseException):
            telemetry.capture(error)
    return event


def _to_json(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=repr).decode()
