"""The id that ties a request to its log lines, its jobs and its errors.

The edge sets it, the outbox carries it into jobs and events, and whoever logs reads it.
"""

from contextvars import ContextVar

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
