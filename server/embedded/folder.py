"""The data folder: who holds it, the passwords in it, and run.json, which says where its services listen.

Everything here is a file. Processes are started in `process`, and what the services keep in their own folders
is theirs (`postgres`, `redis`).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LOG_LIMIT = 8 * 1024 * 1024  # bytes; a longer log is set aside as <name>.1 at the next start


class EmbeddedError(Exception):
    """An embedded service cannot run. The message says what is wrong and what to do about it."""


def make(folder: Path) -> None:
    """Create the data folder, private to us. One that exists keeps its mode: secrets in it are private."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {folder} cannot be created: {error.strerror}. Set QM_DATA_DIR."
        ) from error
    if not usable:
        raise EmbeddedError(
            f"The data folder {folder} is not writable for this user. Set QM_DATA_DIR or its owner."
        )


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process alone. Raises EmbeddedError if another one holds it."""
    # `attach` tests the lock by taking it for an instant, which must not turn a start away: try for a moment.
    with lock(folder / "lock", seconds=0.5) as held:
        if not held:
            pid = (read_run(folder) or {}).get("pid", "not known")
            raise EmbeddedError(
                f"Another Quartermaster (process {pid}) is using {folder}. Stop it, or set QM_DATA_DIR."
            )
        forget_run(folder)
        try:
            yield
        finally:
            forget_run(folder)


@contextmanager
def tree_lock(path: Path, service: str, *, nudge: Callable[[], None]) -> Iterator[int]:
    """Yield a locked descriptor for the processes of `service` to inherit: it tells when all are gone.

    The lock lives as long as any of them, however orphaned, and no pid can be mistaken for another. Those
    left over from a parent that was killed are waited for (30 s); `nudge` asks them to stop.
    """
    with lock(path, seconds=0) as held:
        if held:
            yield held
            return
    nudge()
    with lock(path, seconds=30) as held:
        if not held:
            raise EmbeddedError(
                f"{service} of an earlier run still holds {path}: it is shutting down. "
                "Wait for it, or end that process, and start again."
            )
        yield held


@contextmanager
def lock(path: Path, *, seconds: float) -> Iterator[int]:
    """Try for `seconds` to lock the file: yields its descriptor, or 0 if another process kept it locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(
            f"The lock {path} cannot be opened: {error.strerror}. Run as the data's owner."
        ) from error
    try:
        yield descriptor if until(lambda: _locked(descriptor), seconds) else 0
    finally:
        os.close(descriptor)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll the condition every 10 ms until it holds (True) or the time is over (False)."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def held_by_another(folder: Path) -> bool:
    """Whether some process holds the data folder right now."""
    if not (folder / "lock").exists():
        return False
    with lock(folder / "lock", seconds=0) as held:
        return not held


def password(path: Path) -> tuple[str, bool]:
    """The password kept in this file (0600), and whether it was made just now."""
    try:
        return path.read_text().strip(), False
    except FileNotFoundError:
        word = secrets.token_urlsafe(24)
        write_private(path, word + "\n")
        return word, True
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be read: {error.strerror}. Run as the user who owns it.") from error


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        draft.unlink()
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_run(folder: Path, entries: dict[str, Any]) -> None:
    """Say where the services of this data folder listen. `entries` must be JSON."""
    write_private(folder / "run.json", json.dumps({"pid": os.getpid(), **entries}, indent=2) + "\n")


def read_run(folder: Path) -> dict[str, Any] | None:
    """What run.json says, if the process that wrote it lives; None if there is none or it is stale."""
    try:
        entries = json.loads((folder / "run.json").read_text())
        os.kill(entries["pid"], 0)
    except PermissionError as error:
        if error.filename is None:  # from kill: it lives, under another user
            return dict(entries)
        raise EmbeddedError(f"{error.filename} cannot be read. Run as the user who started the server.") from error
    except (FileNotFoundError, ProcessLookupError, ValueError, KeyError, TypeError):
        return None
    return dict(entries)


def forget_run(folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / "run.json").unlink()


def open_log(path: Path) -> int:
    """A descriptor that appends to the log (0600); a log over LOG_LIMIT is set aside first."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def works_in(pid: int, folder: Path, program: str) -> bool:
    """Whether this process is a server of this data folder: the servers' working directory is their data."""
    if sys.platform == "linux":
        with suppress(OSError):
            return os.path.realpath(os.readlink(f"/proc/{pid}/cwd")) == os.path.realpath(folder)
        return False
    # No /proc: the name of the program must do.
    shown = subprocess.run(
        ["/bin/ps", "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False
    ).stdout
    return program in shown


def first_number(path: Path) -> int:
    """The number in the first line of a pid file, or 0."""
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
