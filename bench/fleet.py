"""The product under measurement: a real `quartermaster serve` on a temporary folder, its processes, its
database, and the organisation and devices that load it. Opened once and shared by the measurements of a run.
"""

import asyncio
import json
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from server.demo.shelf import Shelf
from server.embedded import attach
from tests.support.api import Api, Organisation, TestDevice
from tests.support.stack import Stack

_DEVICES = 8
_PATIENCE = 180.0
UPLOAD_BYTES = 200_000

SETTINGS = {
    "QM_DEVICE_REPORTS_PER_MINUTE": "10000000",
    "QM_ACCESS_TOKEN_MINUTES": "1440",
    "QM_COST_PER_MINUTE": "1000000000",
}


class Processes:
    """Those of one `quartermaster serve`, told apart by what they run."""

    def __init__(self, supervisor: int) -> None:
        self.supervisor = psutil.Process(supervisor)
        found = self.supervisor.children(recursive=True)
        servers = {process.cmdline()[-1]: process for process in found if "server" in process.cmdline()}
        self.api, self.worker, self.relay = servers["api"], servers["worker"], servers["relay"]
        self.postgres = next(process for process in found if process.name() == "postgres")
        self.redis = next(process for process in found if "redis" in process.name())

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU that each has used so far."""
        singles = {name: _cpu(getattr(self, name)) for name in ("api", "worker", "relay", "redis")}
        return {**singles, "postgres": self._postgres_cpu()}

    def _postgres_cpu(self) -> float:
        ended = self.postgres.cpu_times()
        return (
            _cpu(self.postgres)
            + ended.children_user
            + ended.children_system
            + sum(_cpu(child) for child in self.postgres.children(recursive=True))
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The worker stands still while this lasts."""
        self.worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.send_signal(signal.SIGCONT)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@dataclass(frozen=True)
class Fleet:
    """`folder` is on the same disk as the server's data."""

    stack: Stack
    processes: Processes
    folder: Path
    database_url: str
    database: "asyncpg.Connection[asyncpg.Record]"
    admin: Api
    org: Organisation
    devices: list[TestDevice]

    @property
    def address(self) -> dict[str, Any]:
        return {"port": httpx.URL(self.stack.url).port}

    async def load(self, **spec: Any) -> dict[str, Any]:
        """Run the load generator in a process of its own; returns what it counted."""
        return await apart("bench.load", {**self.address, **spec})

    async def upload(self, images: list[Path], connections: int, **spec: Any) -> dict[str, Any]:
        """Load with uploads; each is different although the photographs repeat."""
        devices = [{"key": device.key, "token": device.token} for device in self.devices]
        paths = [str(path) for path in images]
        return await self.load(kind="uploads", devices=devices, images=paths, connections=connections, **spec)

    async def relayed(self) -> None:
        """Wait until the outbox is empty."""
        await _none(lambda: self.database.fetchval("SELECT count(*) FROM outbox"))

    async def waiting(self) -> int:
        """Images that are neither READY nor REJECTED."""
        statement = "SELECT count(*) FROM images WHERE status IN ('RECEIVED', 'PROCESSING')"
        return int(await self.database.fetchval(statement))

    async def settled(self, *, every: float = 0.02) -> None:
        """Wait until every image was looked at and every event told; asks so often (s)."""
        await _none(self.waiting, every)
        await self.relayed()

    async def drop_backlog(self) -> None:
        """Forget the images that nobody looked at, so that the next round begins like the first."""
        await self.relayed()
        await self.database.execute("UPDATE images SET status = 'READY' WHERE status = 'RECEIVED'")
        await self.database.execute("CHECKPOINT")


async def _none(count: Callable[[], Awaitable[int]], every: float = 0.02) -> None:
    """Wait until there is none left."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            if not await count():
                return
            await asyncio.sleep(every)


async def apart(module: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Run a module of ours in a process of its own: JSON in, JSON out."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate(json.dumps(spec).encode())
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}")
    result: dict[str, Any] = json.loads(answer)
    return result


@asynccontextmanager
async def opened() -> AsyncIterator[Fleet]:
    """Start the product, register a fleet, stop everything at the end."""
    with tempfile.TemporaryDirectory(prefix="qm-bench-") as folder:
        with Stack.started(Path(folder, "data"), **SETTINGS) as stack:
            services = attach(stack.data_dir)
            assert services is not None
            async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
                admin = await stack.admin(Api(http))
                org = await Organisation.made(admin)
                devices = [await org.device(f"cam-{number}") for number in range(_DEVICES)]
                database = await asyncpg.connect(services.database_url)
                processes = Processes(stack.process.pid)
                yield Fleet(stack, processes, Path(folder), services.database_url, database, admin, org, devices)
                await database.close()


def photographs(folder: Path, count: int, *, size: int | None = None) -> list[Path]:
    """Photographs of different shelves as files; `size` pads each with a comment to so many bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    start = datetime.now(UTC) - timedelta(days=1)
    paths = []
    for number in range(count):
        at = start + timedelta(minutes=number)
        jpeg = Shelf(number).photograph(at=at, battery_pct=80, signal=-60)
        path = folder / f"{number}.jpg"
        path.write_bytes(padded(jpeg, size) if size else jpeg)
        paths.append(path)
    return paths


def padded(jpeg: bytes, size: int) -> bytes:
    """The same picture with comments that make the file so large, as far as it is smaller."""
    comments = b""
    while (missing := size - len(jpeg) - len(comments)) >= 4:
        comments += comment(bytes(min(missing, 60_000) - 4))
    return jpeg[:2] + comments + jpeg[2:]


def comment(text: bytes) -> bytes:
    """A JPEG comment segment."""
    return b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text


def different(jpeg: bytes) -> bytes:
    """The same picture in bytes that nobody sent before."""
    return jpeg[:2] + comment(uuid.uuid4().hex.encode()) + jpeg[2:]
