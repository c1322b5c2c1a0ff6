"""Commands for retention: how it stands, and a run by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from consent_gateway.api.retention import shown
from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.services.erasing import retention as retaining
from consent_gateway.services.log.audit_log import Sequencer


@click.group()
def retention() -> None:
    """Deleting what no purpose needs any more (status, run)."""


@retention.command("status")
@store_option
@json_option
def status(store: Path | None, *, as_json: bool) -> None:
    """Show the newest runs, the periods, and what has none."""
    gateway = open_gateway(store)
    with gateway.look() as work:
        value = shown(work)
    emit(value, as_json=as_json, show=lambda console: _show(console, value))


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted.")
@store_option
@json_option
def run(store: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete what is over now. The worker does it once a day (UTC); doing it again deletes nothing more."""
    gateway = open_gateway(store)
    found = retaining.run(gateway, dry_run=dry_run)
    Sequencer(gateway).drain()
    if not dry_run:
        gateway.store.truncate_log()
    value = {"dry_run": dry_run, **found.as_dict(), "by_field": dict(found.fields)}
    counts = ", ".join(f"{count} {name}" for name, count in (*found.as_dict().items(), *found.fields.items()))
    verb = "would delete" if dry_run else "deleted"
    emit(value, as_json=as_json, show=lambda console: console.print(f"{verb}: {counts}", soft_wrap=True))


def _show(console: Console, value: dict[str, Any]) -> None:
    for run_of_day in value["runs"]:
        counts = ", ".join(f"{count} {name}" for name, count in run_of_day["counts"].items() if count) or "nothing"
        console.print(f"{run_of_day['day']}  {counts}", soft_wrap=True)
    for name, periods in value["fields"].items():
        console.print(f"field {name}: " + ", ".join(f"{period} for {purpose}" for purpose, period in periods.items()))
    if value["gaps"]["fields"]:
        console.print(
            f"fields that a purpose without a period keeps: {', '.join(value['gaps']['fields'])}", soft_wrap=True
        )
    if value["unsourced"]:
        console.print(f"{value['unsourced']} people of whom no source is known", soft_wrap=True)
    for kind in ("purposes", "sources"):
        for name, period in value[kind].items():
            console.print(f"{kind[:-1]} {name}: {period}")
        if value["gaps"][kind]:
            console.print(f"{kind} without a period: {', '.join(value['gaps'][kind])}", soft_wrap=True)
