"""A collector of traces and errors: what OpenTelemetry and Sentry would be sent to, on a local port."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it was sent; ids are hex, `process` is its service's name."""

    process: str
    name: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """`spans` and `errors` (Sentry's event documents) grow as they arrive; `bodies` is everything, raw."""

    url: str = ""
    spans: list[CollectedSpan] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator["Collector"]:
        collector = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                collector.receive(self.path, gzip.decompress(body) if packed else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            collector.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield collector
            server.shutdown()

    @property
    def sentry_dsn(self) -> str:
        return self.url.replace("http://", "http://public-key@") + "/42"

    def receive(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            self.spans += _spans(body)
        elif path == "/api/42/envelope/":
            lines = [json.loads(line) for line in body.splitlines() if line]
            items = zip(lines[1::2], lines[2::2], strict=True)
            self.errors += [payload for header, payload in items if header["type"] == "event"]
        else:
            raise AssertionError(f"nobody sends anything to {path}")


def _spans(body: bytes) -> Iterator[CollectedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        process = _attributes(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield CollectedSpan(
                process,
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.status.code == span.status.STATUS_CODE_ERROR,
                _attributes(span.attributes),
            )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
