"""A running `quartermaster serve`, as its operator would start it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.api import Api

ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "correct horse battery staple"
_TOKEN_KEPT = 300  # seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, within: float = 20, what: str = "the condition") -> Any:
    """The first true value of the condition. Raises AssertionError when there is none in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)  # between two looks at the condition that is waited for
    raise AssertionError(f"{what} did not come true within {within} s")


@dataclass
class Stack:
    """`token` is the admin's access token, fetched now and again: it is over before all tests are."""

    url: str
    data_dir: Path
    process: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    log: Path
    token: str | None = None
    token_since: float = 0
    children: dict[str, int] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def started(cls, data_dir: Path, **settings: str) -> Iterator["Stack"]:
        """Start with these settings (environment variables), wait until it is healthy, stop at the end."""
        port = free_port()
        own = {name: value for name, value in os.environ.items() if not name.startswith("QM_")}
        environment = {
            **own,
            "QM_DATA_DIR": str(data_dir),
            "QM_PORT": str(port),
            "QM_ADMIN_EMAIL": ADMIN_EMAIL,
            "QM_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "QM_LOG_FORMAT": "json",
            **settings,
        }
        log = data_dir / "serve.log"
        data_dir.mkdir(parents=True, exist_ok=True)
        stack = cls(f"http://127.0.0.1:{port}", data_dir, cls._spawn(environment, log), environment, log)
        try:
            stack.wait_until_healthy()
            yield stack
        finally:
            stack.stop()

    @staticmethod
    def _spawn(environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "server", "serve"], env=environment, stdout=output, stderr=output
            )

    def restart(self) -> None:
        """Start again with the same settings, after `stop` or `kill`."""
        self.process = self._spawn(self.environment, self.log)
        self.wait_until_healthy()

    def stop(self) -> int:
        """Ask it to stop, as Ctrl-C does; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def kill(self) -> None:
        """kill -9 of the supervisor."""
        self.process.kill()
        self.process.wait(20)

    def is_healthy(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.output()[-3000:]}")
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_healthy(self, within: float = 40) -> None:
        try:
            wait_until(self.is_healthy, within=within, what="the server's health")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.output()[-3000:]}") from None

    def child(self, name: str) -> int:
        """The process number of a child (`api`, `worker`, `relay`) as it was started last."""
        return int(re.findall(rf"^{name}: started \(process (\d+)\)", self.output(), re.MULTILINE)[-1])

    def output(self) -> str:
        """Everything that it printed and logged."""
        return self.log.read_text(errors="replace")

    async def admin(self, api: Api) -> Api:
        """A client that is signed in as the first admin."""
        if self.token is None or time.monotonic() - self.token_since > _TOKEN_KEPT:
            self.token = (await api.login(ADMIN_EMAIL, ADMIN_PASSWORD)).token
            self.token_since = time.monotonic()
        return api.with_token(self.token)

    @asynccontextmanager
    async def signed_in(self) -> AsyncIterator[Api]:
        """A client of this stack alone, as its first admin."""
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as http:
            yield await self.admin(Api(http))
