"""The nightly backup: `quartermaster backup --thin-out` in a process of its own, with what the settings say."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta

import structlog

from domain.kit.errors import Unavailable
from server.embedded import launch
from server.settings import PREFIX

_GENTLY = 10  # what `nice` calls it
_STOP_WITHIN = 5.0  # seconds

_log = structlog.get_logger(__name__)


async def back_up_apart(limit: timedelta) -> None:
    """Wait for it, at most so long. Raises Unavailable with what it said last; when cancelled, it is stopped."""
    argv = [sys.executable, "-m", "server", "backup", "--thin-out"]
    process = await asyncio.create_subprocess_exec(
        *launch.command(argv, death=signal.SIGTERM),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.nice(_GENTLY),
    )
    try:
        async with asyncio.timeout(limit.total_seconds()):
            _, said = await process.communicate()
    except TimeoutError:
        after = f"{limit / timedelta(hours=1):g} hours ({PREFIX}BACKUP_MAX_HOURS)"
        raise Unavailable(f"It was not done after {after}, and was stopped.") from None
    finally:
        if process.returncode is None:
            await _stopped(process)
    lines = said.decode(errors="replace").strip().splitlines()
    if process.returncode:
        raise Unavailable(lines[-1] if lines else f"The backup ended with {process.returncode}.")
    for line in lines:
        _log.warning("the backup was made, and says", said=line)


async def _stopped(process: asyncio.subprocess.Process) -> None:
    """Returns when it has ended, however often this task is cancelled meanwhile."""
    stopping = asyncio.create_task(_stop(process))
    while not stopping.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(stopping)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_WITHIN)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
