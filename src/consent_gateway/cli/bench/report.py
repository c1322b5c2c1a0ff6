"""Showing what was measured: a table for people, plain values for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.bench.run import Result
from consent_gateway.cli.bench.stats import Figure, Spread

_WHOLE, _TENTHS = 100, 10
_WIDE = 170
_COLUMNS = ("what", "measured", "unit", "aim", "raw limit", "limit", "share")


def as_json(result: Result) -> dict[str, Any]:
    """Return everything for programs."""
    return {
        "machine": result.machine,
        "plan": asdict(result.plan),
        "stores": {kind: [figure.as_json() for figure in figures] for kind, figures in result.figures.items()},
        "skipped": result.skipped,
    }


def show(result: Result, console: Console) -> None:
    """Print the machine and one table a store."""
    facts = result.machine
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    console.print(
        f"{facts['cores']} cores ({facts['cpu']}), {facts['system']}, Python {facts['python']}, "
        f"SQLite {facts['sqlite']}; flush of 4 KiB {facts['fsync_ms']:.2f} ms; "
        f"load before {facts['load_before']}, after {facts['load_after']}"
    )
    for kind, figures in result.figures.items():
        console.print(_table(kind, figures))
        for note in (f"{figure.name}: {figure.note}" for figure in figures if figure.note):
            console.print(f"  {note}", markup=False)
    for skipped in result.skipped:
        console.print(f"not measured: {skipped}", style="yellow")


def _table(kind: str, figures: list[Figure]) -> Table:
    table = Table(title=f"{kind}: median (least – greatest run)", title_justify="left", box=SIMPLE, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _COLUMNS[::4] else "right")
    for figure in figures:
        first, *more = [(m.name, number(m.value), f"{figure.share(m):.0%}") for m in figure.limits] or [("", "", "")]
        table.add_row(figure.name, number(figure.value), figure.unit, _aim(figure), *first)
        for limit in more:
            table.add_row("", "", "", "", *limit)
    return table


def _aim(figure: Figure) -> str:
    if figure.aim is None:
        return ""
    return f"{figure.aim:,.0f} {'met' if figure.met else 'missed'}"


def number(value: Spread) -> str:
    """Return a median with its range, with as many digits as it deserves."""
    digits = 0 if value.median >= _WHOLE else 1 if value.median >= _TENTHS else 2
    return f"{value.median:,.{digits}f} ({value.low:,.{digits}f} – {value.high:,.{digits}f})"
