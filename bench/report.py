"""What a measurement says: rows of a table for people, and the same in JSON for comparisons."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True)
class Row:
    """`value` and `bare` are in `unit`; `met` says whether the goal was reached, None where there is none.

    `share` is what `value` is of `bare` where that was taken round by round, which a busy machine disturbs less.
    """

    what: str
    value: float
    unit: str
    bare: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""
    share: float | None = None

    @property
    def ratio(self) -> float | None:
        if self.share is not None:
            return self.share
        return self.value / self.bare if self.bare else None


@dataclass
class Report:
    """The rows of one measurement.

    `lines` are a table of its own shape, printed below the common one: each is what its columns hold, by their
    titles, which all lines share.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    lines: list[dict[str, str | float]] = field(default_factory=list)

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        bare: float | None = None,
        goal: str = "",
        met: bool | None = None,
        note: str = "",
        share: float | None = None,
    ) -> None:
        self.rows.append(Row(what, value, unit, bare, goal, met, note, share))


def typical(values: Sequence[float]) -> float:
    """The median."""
    return float(median(values))


def shares(values: Sequence[float], bare: Sequence[float]) -> list[float]:
    """Each value beside the mean of the bare ones before and after it, of which there is one more."""
    return [2 * value / (before + after) for value, before, after in zip(values, bare, bare[1:], strict=False)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def show(reports: Sequence[Report], caption: str) -> None:
    """Print one table of everything."""
    table = Table(
        "Measurement",
        "Value",
        "Bare limit",
        "Ratio",
        "Goal",
        "Notes",
        title="Quartermaster, measured",
        caption=caption,
    )
    for column in (1, 2, 3):
        table.columns[column].justify = "right"
    for report in reports:
        table.add_section()
        table.add_row(f"[bold]{report.name}[/]")
        for row in report.rows:
            table.add_row(*_cells(row))
    console = Console() if Console().is_terminal else Console(width=150)
    console.print(table)
    for report in reports:
        if report.lines:
            console.print(_own_table(report))


def _own_table(report: Report) -> Table:
    table = Table(title=report.name)
    for column, first in report.lines[0].items():
        table.add_column(column, justify="left" if isinstance(first, str) else "right")
    for line in report.lines:
        table.add_row(*(cell if isinstance(cell, str) else _number(cell) for cell in line.values()))
    return table


def _cells(row: Row) -> list[str]:
    color = {True: "green", False: "red", None: ""}[row.met]
    goal = f"[{color}]{row.goal}[/]" if color else row.goal
    bare = "" if row.bare is None else f"{_number(row.bare)} {row.unit}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return [row.what, f"{_number(row.value)} {row.unit}", bare, ratio, goal, row.note]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def save(reports: Sequence[Report], caption: str, path: Path = RESULTS) -> None:
    """Write everything to a file, over what was there."""
    path.parent.mkdir(exist_ok=True)
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "caption": caption,
        "machine": {"cpus": psutil.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "measurements": {
            report.name: [{**asdict(row), "ratio": row.ratio} for row in report.rows] for report in reports
        },
        "tables": {report.name: report.lines for report in reports if report.lines},
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
