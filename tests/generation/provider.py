"""A provider on this machine: a real HTTP server that answers each prompt as a test has said, and remembers."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.photos import photo

KEY = "sk-test-9f86d081884c7d659a2feaa0c55ad015"
"""What the server under test authenticates with; must never be seen again."""


@dataclass(frozen=True)
class Reply:
    """What is answered. `wait`: not before the test says so. `drip`: byte by byte, for ever. `cut`: the connection
    ends in the middle of the body. `drop`: it ends before anything was said.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None
    drip: bool = False
    cut: bool = False
    drop: bool = False

    @classmethod
    def json(cls, body: Any, status: int = 200, **given: Any) -> "Reply":
        return cls(status, json.dumps(body).encode(), **given)


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeProvider:
    """Replies by prompt, each once, the last one for ever."""

    def __init__(self) -> None:
        self._replies: dict[str, list[Reply]] = {}
        self._asked: dict[str, list[Request]] = {}
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["FakeProvider"]:
        provider = cls()
        thread = threading.Thread(target=provider._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield provider
        finally:
            provider.over.set()
            provider.close()
            thread.join()

    def close(self) -> None:
        """Be there no more."""
        self._server.shutdown()
        self._server.server_close()

    def script(self, prompt: str, *replies: Reply) -> None:
        self._replies[prompt] = list(replies)

    def asked(self, prompt: str) -> list[Request]:
        return self._asked.get(prompt, [])

    def reply(self, request: Request) -> Reply:
        prompt = request.body.get("prompt") or request.body["contents"][0]["parts"][0]["text"]
        self._asked.setdefault(prompt, []).append(request)
        replies = self._replies[prompt]
        return replies.pop(0) if len(replies) > 1 else replies[0]


class _Handler(BaseHTTPRequestHandler):
    provider: FakeProvider

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.provider.reply(Request(self.path, headers, body))
        if reply.wait is not None:
            reply.wait.wait(60)
        if reply.drop:
            self.connection.close()
            return
        with suppress(OSError):  # whoever asked may be gone
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        length = len(reply.body) + 1000 * (reply.cut or reply.drip)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(reply.body)
        while reply.drip and not self.provider.over.wait(0.05):
            self.wfile.write(b" ")
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is wrong is seen by the test."""


def encoded(data: bytes | None = None) -> str:
    """A picture in base64: a new one, or these bytes."""
    return base64.b64encode(photo(format="PNG") if data is None else data).decode()
