"""`python -m bench [names]`: run these measurements, or all, print one table and keep the numbers."""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import psutil
from rich.console import Console

from bench import (
    check_ins,
    fanout,
    fleets,
    graphql,
    latency,
    memory,
    processing,
    read_path,
    search,
    startup,
    thumbnails,
    uploads,
    wake_up,
)
from bench.fleet import Fleet, opened
from bench.report import RESULTS, Report, save, show

ON_A_FLEET: dict[str, Callable[[Fleet], Awaitable[Report]]] = {
    "uploads": uploads.measure,
    "processing": processing.measure,
    "latency": latency.measure,
    "check_ins": check_ins.measure,
    "graphql": graphql.measure,
    "fanout": fanout.measure,
    "memory": memory.measure,
}
ALONE: dict[str, Callable[[], Awaitable[Report]]] = {
    "startup": startup.measure,
    "read_path": read_path.measure,
    "wake_up": wake_up.measure,
    "fleets": fleets.measure,
    "search": search.measure,
    "thumbnails": thumbnails.measure,
}
_err = Console(stderr=True)


async def run(names: list[str]) -> list[Report]:
    """Run them in the order of the tables above; those on a fleet share one server."""
    reports = []
    if on_a_fleet := [(name, measure) for name, measure in ON_A_FLEET.items() if name in names]:
        async with opened() as fleet:
            for name, measure in on_a_fleet:
                _err.print(f"measuring {name} ...")
                reports.append(await measure(fleet))
    for name, measure_alone in ALONE.items():
        if name in names:
            _err.print(f"measuring {name} ...")
            reports.append(await measure_alone())
    return reports


class Neighbours:
    """What everything else on this machine used of its processors while this one worked."""

    def __init__(self) -> None:
        self._started, self._busy, self._own = time.monotonic(), _busy(), _own()

    def cores(self) -> float:
        """Cores in use by others, on average. Right when all our children have ended."""
        seconds = time.monotonic() - self._started
        return max(0.0, (_busy() - self._busy - (_own() - self._own)) / seconds)


def _busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    known = [*ON_A_FLEET, *ALONE]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(known)}; all when absent")
    names = parser.parse_args().names
    if unknown := set(names) - set(known):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    neighbours = Neighbours()
    reports = asyncio.run(run(names or known))
    caption = f"Other programs used {neighbours.cores():.1f} of {psutil.cpu_count()} processors meanwhile."
    show(reports, caption)
    save(reports, caption)
    _err.print(f"Written to {RESULTS}.")


if __name__ == "__main__":
    main()
