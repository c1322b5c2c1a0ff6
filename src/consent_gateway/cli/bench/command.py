"""The `bench` command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from consent_gateway.cli.bench import report
from consent_gateway.cli.bench.places import POSTGRES, SQLITE
from consent_gateway.cli.bench.plan import FULL, QUICK
from consent_gateway.cli.bench.run import NAMES, run
from consent_gateway.cli.options import emit, json_option

_SIGNALLED = 128  # the shells' convention for the status of what a signal ended


@click.command()
@click.option("--store", type=click.Choice((SQLITE, POSTGRES, "both")), default="both", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Length of each window; default 5, quick 1.")
@click.option("--quick", is_flag=True, help="Few people and short windows: to see that it works.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this; may be repeated.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/bench"),
    show_default=True,
    help="Where the stores are for the run; on the disk that is to be measured.",
)
@json_option
def bench(
    store: str, seconds: float | None, *, quick: bool, only: tuple[str, ...], directory: Path, as_json: bool
) -> None:
    """Measure this machine: the law, decisions, imports, audiences and the log, each next to its raw limit."""
    plan = QUICK if quick else FULL
    plan = plan.lasting(seconds) if seconds else plan
    stores = (SQLITE, POSTGRES) if store == "both" else (store,)
    with cleaning_up(), Console(stderr=True).status("starting") as status:
        result = run(plan, stores, only or NAMES, directory, status.update)
    emit(report.as_json(result), as_json=as_json, show=lambda console: report.show(result, console))


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Let SIGTERM end the run as an exception does, so that its servers end and its stores are removed."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(_SIGNALLED + number)
