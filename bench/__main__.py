"""`python -m bench [names]`: run these measurements, or all, print one table and keep the numbers."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable

from rich.console import Console

from bench import latency, memory, processing, read_path, reads, startup, uploads, wake_up
from bench.fleet import Fleet, opened
from bench.report import RESULTS, Report, save, show

ON_A_FLEET: dict[str, Callable[[Fleet], Awaitable[Report]]] = {
    "uploads": uploads.measure,
    "processing": processing.measure,
    "latency": latency.measure,
    "reads": reads.measure,
    "memory": memory.measure,
}
ALONE: dict[str, Callable[[], Awaitable[Report]]] = {
    "startup": startup.measure,
    "read_path": read_path.measure,
    "wake_up": wake_up.measure,
}
_err = Console(stderr=True)


async def run(names: list[str]) -> list[Report]:
    """Run them in the order of the tables above; those on a fleet share one server."""
    reports = []
    if chosen := [name for name in ON_A_FLEET if name in names]:
        async with opened() as fleet:
            for name in chosen:
                _err.print(f"measuring {name} ...")
                reports.append(await ON_A_FLEET[name](fleet))
    for name in ALONE:
        if name in names:
            _err.print(f"measuring {name} ...")
            reports.append(await ALONE[name]())
    return reports


def main() -> None:
    known = [*ON_A_FLEET, *ALONE]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(known)}; all when absent")
    names = parser.parse_args().names
    if unknown := set(names) - set(known):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    reports = asyncio.run(run(names or known))
    show(reports)
    save(reports)
    _err.print(f"Written to {RESULTS}.")


if __name__ == "__main__":
    main()
