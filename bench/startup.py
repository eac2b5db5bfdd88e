"""From the command to a healthy server: the first time on an empty folder, and the second time."""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Report, typical
from tests.support.stack import free_port

ROUNDS = 3
GOAL = 5.0
_PATIENCE = 120.0


async def measure() -> Report:
    firsts, seconds = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="qm-bench-start-") as folder:
            firsts.append(_start(Path(folder, "data")))
            seconds.append(_start(Path(folder, "data")))
    report = Report("startup")
    report.add("first start to ready", typical(firsts), "s", note=_all(firsts))
    second = typical(seconds)
    report.add("second start to ready", second, "s", goal=f"< {GOAL:.0f} s", met=second < GOAL, note=_all(seconds))
    return report


def _all(times: list[float]) -> str:
    return "rounds: " + ", ".join(f"{one:.2f}" for one in times)


def _start(data_dir: Path) -> float:
    """Start, wait for health, stop; returns the seconds to health."""
    port = free_port()
    environment = {**os.environ, "QM_DATA_DIR": str(data_dir), "QM_PORT": str(port)}
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "server", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_healthy(port):
            if server.poll() is not None or time.perf_counter() - started > _PATIENCE:
                raise RuntimeError("the server did not become healthy")
            time.sleep(0.01)
        return time.perf_counter() - started
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
