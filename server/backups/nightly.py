"""The nightly backup: `quartermaster backup --thin-out` in a process of its own, with what the settings say."""

import asyncio
import os
import sys
from contextlib import suppress

from domain.kit.errors import Unavailable

_GENTLY = 10  # what `nice` calls it
_STOP_WITHIN = 5.0  # seconds


async def back_up_apart() -> None:
    """Wait for it. Raises Unavailable with what it said last; when cancelled, it is stopped."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "backup", "--thin-out"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.nice(_GENTLY),
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise Unavailable(lines[-1] if lines else f"The backup ended with {process.returncode}.")
