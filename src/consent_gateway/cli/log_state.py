"""Commands about the state of the log: how it stands, and its copies outside of the store."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.assembly import witnessing_of
from consent_gateway.cli.opening import open_checked, read_settings
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.services.log import spool
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_status import LogStatus, log_status

_WRONG = 1


@click.command("status")
@store_option
@json_option
def status(store: Path | None, *, as_json: bool) -> None:
    """Compare the log with itself, every kept checkpoint and every witness; status 1 if anything is wrong."""
    settings = read_settings(store)
    gateway, check = open_checked(settings, settled=False)
    witnessing = witnessing_of(settings, gateway)
    if witnessing is not None:
        witnessing.round()
    found = log_status(gateway, check.copies, () if witnessing is None else witnessing.states.values())
    emit(found.as_json(), as_json=as_json, show=lambda console: show(console, found))
    if not found.whole:
        raise click.exceptions.Exit(_WRONG)


@click.group()
def copies() -> None:
    """Checkpoints kept outside of the store: bring them up to date, begin a lost one anew."""


@copies.command("bring")
@store_option
@json_option
def bring(store: Path | None, *, as_json: bool) -> None:
    """Write the newest checkpoint to every copy that is behind; status 1 if one cannot be used."""
    _bring(store, renew=False, as_json=as_json)


@copies.command("renew")
@store_option
@json_option
def renew(store: Path | None, *, as_json: bool) -> None:
    """Begin copies anew that were deleted. Be sure first that the store was not set back: a copy would have said so."""
    _bring(store, renew=True, as_json=as_json)


def show(console: Console, found: LogStatus) -> None:
    """Print the status for people."""
    verdict = "[green]stands[/green]" if found.stands else "[bold red]does not stand: nothing is written[/bold red]"
    console.print(f"the log {verdict}: {found.size} entries, {found.pending} pending, epoch {found.epoch}")
    console.print(f"  {found.vkey}", markup=False, soft_wrap=True)
    for source, fault in found.faults.items():
        console.print(f"  {source}: {fault}", markup=False, soft_wrap=True)
    for witness in found.witnesses:
        told = witness.trouble or f"signed {witness.size} entries"
        console.print(f"  witness {witness.name}: {told}", markup=False, soft_wrap=True)
    if not found.copies:
        console.print("  no checkpoint is kept outside of the store; see docs/operations.md")
        return
    table = Table("copy", "stands", "entries", "behind", "trouble")
    for copy in found.copies:
        stands = "" if copy.anchor is None else copy.anchor.value
        table.add_row(copy.name, stands, str(copy.size), str(copy.lag), copy.trouble or "")
    console.print(table)


def _bring(store: Path | None, *, renew: bool, as_json: bool) -> None:
    gateway, check = open_checked(read_settings(store))
    Sequencer(gateway).drain()
    for copy in check.copies.copies:
        check.copies.bring(copy, renew=renew)
    spool.settle(gateway)
    found = log_status(gateway, check.copies)
    emit(found.as_json(), as_json=as_json, show=lambda console: show(console, found))
    if not found.whole:
        raise click.exceptions.Exit(_WRONG)
