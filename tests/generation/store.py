"""An S3 server on this machine that a test can fill up or silence. It looks at no signature: that is for Swift."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_FULL = b"<Error><Code>QuotaExceeded</Code><Message>It is full.</Message></Error>"
_NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code><Message>There is none.</Message></Error>"


class FakeStore:
    """Objects in memory. What is written to a name that holds a text of `full` is refused; one of `silent`: not
    answered while it is there.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.full: set[str] = set()
        self.silent: set[str] = set()
        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": self}))
        self.server.daemon_threads = True

    @property
    def settings(self) -> dict[str, str]:
        """Of a server that keeps its blobs here."""
        endpoint = f"http://127.0.0.1:{self.server.server_port}"
        return {
            "QM_STORAGE_URL": f"s3://pictures?endpoint={endpoint}&region=us-east-1",
            "QM_S3_ACCESS_KEY": "somebody",
            "QM_S3_SECRET_KEY": "something",
        }

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["FakeStore"]:
        store = cls()
        thread = threading.Thread(target=store.server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield store
        finally:
            store.over.set()
            store.server.shutdown()
            store.server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # boto3 waits for "100 Continue" before it sends a body
    store: FakeStore

    def do_PUT(self) -> None:
        name, body = self._name(), self.rfile.read(int(self.headers["Content-Length"]))
        if any(text in name for text in self.store.silent):
            while self.store.silent and not self.store.over.wait(0.05):
                pass
            self.close_connection = True
            return
        if any(text in name for text in self.store.full):
            self._answer(403, _FULL)
            return
        self.store.objects[name] = body
        self._answer(200)

    def do_GET(self) -> None:
        found = self.store.objects.get(self._name())
        self._answer(404, _NO_SUCH_KEY) if found is None else self._answer(200, found)

    def do_HEAD(self) -> None:
        name = self._name()
        found = self.store.objects.get(name, None if "/" in name else b"")  # without a slash it is the bucket
        self._answer(404) if found is None else self._answer(200, found)

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what is wrong is seen by the test."""
