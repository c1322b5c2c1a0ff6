"""Key epochs on the command line: roll, destroy, and by when an erasure reaches the backups.

A roll can be stopped at any moment and taken up again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.domain.key_jobs import KeyJob
from consent_gateway.errors import ConflictError
from consent_gateway.services.keys import epoch_roll, epoch_schedule, index_rotation
from consent_gateway.services.keys.key_jobs import Pace, Runner
from consent_gateway.services.keys.key_pages import PAGES, Starts
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway

SCOPE = "keys"
_NO_PROMISE = 1
rate_option = click.option("--rate", type=click.IntRange(min=1), help="Most rows a second; default: no limit.")


@click.command("roll-epoch")
@click.option("--over-lost", is_flag=True, help="Pass over the number of an epoch that is lost for good.")
@rate_option
@key_option(SCOPE)
@store_option
@json_option
def roll_epoch(rate: int | None, key_file: Path, store: Path | None, *, over_lost: bool, as_json: bool) -> None:
    """Begin the next key epoch and re-wrap every data key, or go on with a roll that was stopped."""
    run_job(store, key_file, partial(epoch_roll.start, over_lost=over_lost), rate, as_json=as_json)


@click.command("erasure-deadline")
@store_option
@json_option
def erasure_deadline(store: Path | None, *, as_json: bool) -> None:
    """Say by when what is erased now is unreadable in every older backup; status 1 without a promise."""
    with open_gateway(store).look() as work:
        found = epoch_schedule.deadline(work)
    value = {"at": None if found.at is None else instant(found.at), "why": found.why, "order": found.order}
    emit(value, as_json=as_json, show=lambda console: console.print(f"{value['at'] or ''} {found.why}".strip()))
    if found.at is None:
        raise click.exceptions.Exit(_NO_PROMISE)


def instant(at: int) -> str:
    """Return an instant (seconds) as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_job(store: Path | None, key_file: Path, start: Starts, rate: int | None, *, as_json: bool) -> None:
    """Begin a job under the caller's key, or take it up, and do it to the end with a bar; print what it did.

    While another process is at it, such as a server, its progress is shown. ConflictError if it cannot go on before
    somebody merged people.
    """
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, SCOPE)) as work:
        job = start(work, rate)
    done = _watched(gateway, job, Pace.of(job), shown=not as_json)
    Sequencer(gateway).drain()
    line = f"{done.kind.value}: {done.done:,} changed, {done.failed:,} could not be changed"
    emit(job_out(done), as_json=as_json, show=lambda console: console.print(line, markup=False))


def job_out(job: KeyJob) -> dict[str, Any]:
    """Return a job as it is printed; instants in seconds."""
    names = ("id", "from_number", "to_number", "done", "failed", "total", "rate", "rests_until")
    when = ("started_at", "started_by", "finished_at")
    return {"kind": job.kind.value, **{name: getattr(job, name) for name in (*names, *when)}}


def _watched(gateway: Gateway, job: KeyJob, pace: Pace, *, shown: bool) -> KeyJob:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(job.kind.value, total=max(job.total, 1), completed=job.done)

        def told(now: KeyJob) -> None:
            bar.update(task, completed=now.done)
            if index_rotation.is_blocked(now):
                raise ConflictError(
                    f"{now.failed} identifiers of different people are one by the newer rules: merge them, and go on"
                )

        return Runner(gateway, PAGES).run(job.id, pace, told)
