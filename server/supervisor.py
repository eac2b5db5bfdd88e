"""The supervisor of `quartermaster serve`: starts child processes, restarts those that crash, stops them all.

Which children there are, and what they run, is the command line's business; how a child is tied to its parent
is in `server.embedded.launch`. On Linux the children get SIGTERM even when the supervisor itself is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from server.embedded import launch

EX_CONFIG = 78  # sysexits.h: the configuration is wrong, so starting again would not help
FIRST_DELAY = 0.2  # seconds before the first restart, doubled for each one after
LONGEST_DELAY = 10.0
STEADY_AFTER = 30.0  # a child that was up this long starts again with FIRST_DELAY


@dataclass(frozen=True)
class Child:
    """A program to keep running. Its output is ours."""

    name: str  # "api", "worker", "relay"
    argv: list[str]
    env: dict[str, str]  # complete: nothing is inherited


@dataclass
class _Stop:
    """What is known about stopping: that it began, until when to be polite, and the exit code it leads to."""

    within: float
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    kill: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: float = 0.0
    code: int = 0

    def begin(self, code: int = 0) -> None:
        if not self.begun.is_set():
            self.code = code
            self.deadline = asyncio.get_running_loop().time() + self.within
            self.begun.set()

    def forced(self) -> None:
        self.code = self.code or 1


async def supervise(children: Sequence[Child], *, stop_within: float = 8.0, on_event: Callable[[str], None]) -> int:
    """Keep the children running until SIGINT or SIGTERM, then stop them all; returns the exit code.

    0: all stopped by themselves. 1: some had to be killed, `stop_within` seconds after being asked or on a
    second Ctrl-C. 78: a child exited with 78, its configuration being wrong. `on_event` is given one sentence
    per happening. Call it in the main thread, which must outlive the children. Cancelling it kills them.
    """
    stop = _Stop(stop_within)
    with _signals(stop, on_event):
        keepers = [asyncio.create_task(_keep(child, stop, on_event)) for child in children]
        try:
            await asyncio.gather(*keepers)
        finally:  # also when cancelled or on an error of our own: nothing is left behind
            stop.begin()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
    return stop.code


@contextmanager
def _signals(stop: _Stop, on_event: Callable[[str], None]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into stopping, and a Ctrl-C while stopping into killing."""
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if not stop.begun.is_set():
            on_event(f"stopping ({number.name})")
            stop.begin()
        elif number == signal.SIGINT:
            stop.kill.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _keep(child: Child, stop: _Stop, on_event: Callable[[str], None]) -> None:
    """Start the child, again and again until stopping begins; return when it is gone."""
    loop = asyncio.get_running_loop()
    delay = 0.0
    while not stop.begun.is_set():
        started = loop.time()
        ending = await _run(child, stop, on_event)
        if stop.begun.is_set():
            return
        if ending == EX_CONFIG:
            on_event(f"{child.name}: its configuration is wrong (exit code {EX_CONFIG}); stopping")
            stop.begin(EX_CONFIG)
            return
        uptime = loop.time() - started
        delay = next_delay(delay, uptime)
        on_event(f"{child.name}: {_ending(ending)} after {uptime:.1f} s; starting again in {delay:.1f} s")
        await _either(stop.begun.wait(), asyncio.sleep(delay))


def next_delay(delay: float, uptime: float) -> float:
    """Seconds to wait before a restart, given those before the last one (0: none) and the time it was up."""
    if delay == 0 or uptime >= STEADY_AFTER:
        return FIRST_DELAY
    return min(delay * 2, LONGEST_DELAY)


async def _run(child: Child, stop: _Stop, on_event: Callable[[str], None]) -> int | OSError:
    """One life of the child: returns its exit code (negative: the signal), or why it could not be started."""
    argv = launch.command(child.argv, death=signal.SIGTERM)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=child.env, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        return error
    try:
        on_event(f"{child.name}: started (process {process.pid})")
        await _either(process.wait(), stop.begun.wait())
        if process.returncode is None:
            await _end(child, process, stop, on_event)
    finally:
        _kill_group(process)
        code = await process.wait()
    return code


async def _end(
    child: Child, process: asyncio.subprocess.Process, stop: _Stop, on_event: Callable[[str], None]
) -> None:
    """Ask the child to stop, and kill it when the time is over or we are told to."""
    with suppress(ProcessLookupError):
        process.terminate()
    left = max(0.0, stop.deadline - asyncio.get_running_loop().time())
    await _either(process.wait(), stop.kill.wait(), asyncio.sleep(left))
    if process.returncode is None:
        why = "at once" if stop.kill.is_set() else f"after {stop.within:g} s"
        on_event(f"{child.name}: killed {why}, it had not stopped")
        stop.forced()
        _kill_group(process)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the child's session: itself, or processes it started and did not take along."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says "not permitted" of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)


async def _either(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them is done, and drop the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _ending(ending: int | OSError) -> str:
    if isinstance(ending, OSError):
        return f"could not be started ({ending.strerror})"
    if ending < 0:
        return f"killed by {signal.Signals(-ending).name}"
    return f"exited with code {ending}"
