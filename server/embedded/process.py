"""One server process: started on a free port, waited for until it answers, stopped in steps.

Common to PostgreSQL and Redis. What they are told and how they answer is in `postgres` and `redis`; how a
child is tied to its parent is in `launch`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from server.embedded import launch
from server.embedded.folder import EmbeddedError, open_log, until

HOST = "127.0.0.1"
PORT_ATTEMPTS = 5
_QUOTED_LINES = 8


@dataclass(frozen=True)
class Place:
    """Where a service's processes run, and as whom."""

    folder: Path  # their working directory
    log: Path  # gets their output
    tree: int  # a descriptor they inherit (see `folder.tree_lock`)
    identity: launch.Identity | None = None


@dataclass
class Server:
    """A server and its process: `start`, `wait` and `stop` belong to one thread (see `launch.command`)."""

    name: str  # for messages
    place: Place
    arguments: Callable[[int], list[str]]  # port -> argv
    answers: Callable[[int, int], bool]  # (pid, port) -> ready for clients
    death: signal.Signals  # what it gets when its parent ends
    stopping: Sequence[tuple[signal.Signals, float]]  # signals that stop it, each with the seconds it gets
    settings: Callable[[int], str] = lambda port: ""  # port -> what it reads on its standard input
    prepare: Callable[[], None] = lambda: None  # clears away what its own crash left in its way
    restarted: Callable[[], None] = lambda: None  # is told of every restart
    port: int = 0
    _attempts: int = 0
    _offset: int = 0  # where the log of this start begins
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it on a free port, without waiting for it."""
        self.port = free_port()
        self._attempts += 1
        self._spawn()

    def ending(self) -> int | None:
        """The exit code (negative: the signal) of a server that ended though nobody stopped it, else None."""
        return self._process.poll() if self._process else None

    def restart(self) -> None:
        """Start one that ended where it was, without waiting for it: its clients know no other port."""
        self.prepare()
        self._spawn()
        self.restarted()

    def _spawn(self) -> None:
        self._process, self._offset = spawn(
            self.arguments(self.port), self.place, death=self.death, feed=self.settings(self.port)
        )

    def wait(self, seconds: float) -> None:
        """Return when it answers. Raises EmbeddedError, with the last lines of its log, if it does not."""
        if not until(self._settled, seconds):
            raise EmbeddedError(f"{self.name} was not ready within {seconds:.0f} s.{self._quoted()}")
        if self._process is None or self._process.poll() is None:
            return
        if "Address already in use" in self.said() and self._attempts < PORT_ATTEMPTS:
            self.start()  # another program took the port between our choosing it and the server's binding it
            self.wait(seconds)
            return
        code = self._process.returncode
        raise EmbeddedError(f"{self.name} did not start (exit code {code}).{self._quoted()}")

    def stop(self) -> None:
        """Stop it, asking politely first, and reap it."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, seconds in (*self.stopping, (signal.SIGKILL, 10.0)):
            if process.poll() is None:
                process.send_signal(number)
                until(lambda: process.poll() is not None, seconds)

    def said(self) -> str:
        """What it logged since this start."""
        return _since(self.place.log, self._offset)

    def _quoted(self) -> str:
        return quoted(self.said(), self.place.log)

    def _settled(self) -> bool:
        process = self._process
        return process is None or process.poll() is not None or self.answers(process.pid, self.port)


def spawn(
    argv: Sequence[str], place: Place, *, death: signal.Signals, feed: str
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a program through the launcher, in its own session: a terminal's Ctrl-C does not reach it.

    `feed` is its standard input, at most 4 KiB. Returns it and the offset in the log where its output begins.
    """
    output = open_log(place.log)
    try:
        offset = os.fstat(output).st_size
        process = subprocess.Popen(
            launch.command(argv, death=death, identity=place.identity),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment(),
            start_new_session=True,
            pass_fds=(place.tree,),
            cwd=place.folder,
        )
    finally:
        os.close(output)
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already, which its exit code will tell
        process.stdin.write(feed.encode())  # fits into the pipe's buffer, so this never waits
        process.stdin.close()
    return process, offset


def run(argv: Sequence[str], place: Place, *, feed: str = "") -> None:
    """Run a program to its end. Raises EmbeddedError if it fails."""
    process, offset = spawn(argv, place, death=signal.SIGTERM, feed=feed)
    try:
        code = process.wait()
    finally:
        if process.poll() is None:  # we were interrupted
            process.terminate()
            process.wait()
    if code != 0:
        name = Path(argv[0]).name
        raise EmbeddedError(f"{name} failed (exit code {code}).{quoted(_since(place.log, offset), place.log)}")


def quoted(said: str, log: Path) -> str:
    """The last lines of what a program logged, ready to follow a sentence."""
    lines = said.strip().splitlines()[-_QUOTED_LINES:] or ["(empty)"]
    return f" The whole log is {log}; its last lines:" + "".join(f"\n  {line}" for line in lines)


def free_port() -> int:
    """A port of the loopback address that was free a moment ago."""
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def ask(port: int, message: bytes) -> bytes:
    """Connect, send the message and return the whole answer; empty if there is none within 0.5 s."""
    try:
        with socket.create_connection((HOST, port), timeout=0.5) as connection:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                return answer.read(4096)
    except OSError:
        return b""


def environment() -> dict[str, str]:
    """What the servers see of our environment: nothing that could change what they do, and no secrets."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C", "TZ": "UTC"} | {name: os.environ[name] for name in kept if name in os.environ}


def _since(log: Path, offset: int) -> str:
    """What the log holds from the offset on, its first megabyte."""
    with open(log, "rb") as file:
        file.seek(offset)
        return file.read(1 << 20).decode(errors="replace")
