"""Rolling the key epoch on the command line: it can be stopped at any moment and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consent_gateway.cli.options import as_principal, emit, json_option, key_option, open_gateway, store_option
from consent_gateway.domain.key_jobs import KeyJob
from consent_gateway.services import epoch_roll
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.gateway import Gateway, Work
from consent_gateway.services.key_jobs import PAGE, Pace, Runner
from consent_gateway.services.key_pages import PAGES

SCOPE = "keys"
rate_option = click.option("--rate", type=click.IntRange(min=1), help="Most rows a second; default: no limit.")


@click.command("roll-epoch")
@rate_option
@key_option(SCOPE)
@store_option
@json_option
def roll_epoch(rate: int | None, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Begin the next key epoch and re-wrap every data key, or go on with a roll that was stopped."""
    run_job(store, key_file, epoch_roll.start, rate, as_json=as_json)


def run_job(
    store: Path | None, key_file: Path, start: Callable[[Work], KeyJob], rate: int | None, *, as_json: bool
) -> None:
    """Begin a job under the caller's key, or take it up, and do it to the end with a bar; print what it did."""
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, SCOPE)) as work:
        job = start(work)
    done = _watched(gateway, job, Pace(min(PAGE, rate or PAGE), rate), shown=not as_json)
    Sequencer(gateway).drain()
    line = f"{done.kind.value}: {done.done:,} changed, {done.failed:,} could not be read"
    emit(job_out(done), as_json=as_json, show=lambda console: console.print(line, markup=False))


def job_out(job: KeyJob) -> dict[str, Any]:
    """Return a job as it is printed; instants in seconds."""
    names = ("id", "from_number", "to_number", "done", "failed", "total", "started_at", "started_by", "finished_at")
    return {"kind": job.kind.value, **{name: getattr(job, name) for name in names}}


def _watched(gateway: Gateway, job: KeyJob, pace: Pace, *, shown: bool) -> KeyJob:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(job.kind.value, total=max(job.total, 1), completed=job.done)
        return Runner(gateway, PAGES).run(job.id, pace, lambda now: bar.update(task, completed=now.done))


COMMANDS = (roll_epoch,)
