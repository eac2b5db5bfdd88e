"""Traces to OpenTelemetry and errors to Sentry: extras that do nothing, and are not imported, unless configured."""

from server.settings import Settings


def start(settings: Settings, process: str) -> None:
    """Begin what is configured."""
