"""Commands that open a new epoch of the log: see what would be opened, propose it, open what two people approved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from consent_gateway.cli.opening import as_principal, open_checked, read_settings
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.errors import NotFoundError
from consent_gateway.services.log import log_epochs
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_epochs import Plan

SCOPE = "approve"


@click.group()
def epoch() -> None:
    """Epochs of the log: list, statement, plan, propose, open (four eyes); see docs/log-epochs.md."""


def reason_option(command: Any) -> Any:
    """Add `--reason NAME`."""
    return click.option("--reason", required=True, help="A short name such as restored_backup; it is in the entry.")(
        command
    )


@epoch.command("list")
@store_option
@json_option
def list_epochs(store: Path | None, *, as_json: bool) -> None:
    """List the epochs of the log with the statements that auditors follow."""
    gateway, _ = open_checked(read_settings(store), settled=False)
    with gateway.look() as work:
        rows = log_epochs.listing(work)
    first = gateway.log_keys.signer().key
    found: list[dict[str, Any]] = [{"epoch": 1, "origin": first.name, "vkey": first.vkey, "statement": None}]
    found += map(log_epochs.told, rows)

    def show(console: Console) -> None:
        for item in found:
            lost = f", entries {item['lost_from']} to {item['lost_until']} lost" if item.get("lost_until") else ""
            console.print(f"epoch {item['epoch']}: {item['vkey']}{lost}", markup=False, soft_wrap=True)

    emit(found, as_json=as_json, show=show)


@epoch.command("statement")
@click.argument("number", type=int)
@store_option
def statement(number: int, store: Path | None) -> None:
    """Print the signed statement that opened epoch NUMBER, byte for byte, for a file that auditors follow."""
    gateway, _ = open_checked(read_settings(store), settled=False)
    with gateway.look() as work:
        found = [row.statement for row in log_epochs.listing(work) if row.epoch == number]
    if not found:
        raise NotFoundError("nothing opened an epoch of this number")
    click.echo(found[0], nl=False)


@epoch.command("plan")
@store_option
@json_option
def plan(store: Path | None, *, as_json: bool) -> None:
    """Say which epoch would be opened now: what survives, what is lost, and the new key."""
    gateway, check = open_checked(read_settings(store), settled=False)
    found = log_epochs.planned(gateway, check.copies)
    emit(_plan_json(found), as_json=as_json, show=lambda console: _show(console, found))


@epoch.command("propose")
@reason_option
@key_option(SCOPE)
@store_option
@json_option
def propose(reason: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Propose the epoch that would be opened now; somebody else approves it with `keys approvals approve`."""
    gateway, check = open_checked(read_settings(store), settled=False)
    found = log_epochs.planned(gateway, check.copies)
    with gateway.work(as_principal(gateway, key_file, SCOPE), curing=True) as work:
        made = log_epochs.propose(work, check.copies, reason)
    value = _plan_json(found) | {"approval": made.id}

    def show(console: Console) -> None:
        _show(console, found)
        console.print(f"proposed: {made.id}\nthen: consent-gateway keys approvals approve {made.id}", markup=False)

    emit(value, as_json=as_json, show=show)


@epoch.command("open")
@reason_option
@key_option(SCOPE)
@store_option
@json_option
def open_epoch(reason: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Open the epoch that was approved. Give auditors the statement and the new key: `audit epoch list --json`."""
    gateway, check = open_checked(read_settings(store), settled=False)
    row = log_epochs.open_epoch(gateway, as_principal(gateway, key_file, SCOPE), check.copies, reason)
    check.check_store()
    Sequencer(gateway).drain()
    for copy in check.copies.copies:
        check.copies.bring(copy)
    value = {"epoch": row.epoch, "vkey": row.vkey, "statement": row.statement.decode()}
    line = f"epoch {row.epoch} is open; auditors pin {row.vkey}"
    emit(value, as_json=as_json, show=lambda console: console.print(line, markup=False, soft_wrap=True))


def _plan_json(found: Plan) -> dict[str, Any]:
    return dict(found.as_json()) | {"plan": found.name}


def _show(console: Console, found: Plan) -> None:
    said = found.succession
    console.print(f"epoch {found.epoch} of the log, after {said.origin}", markup=False, soft_wrap=True)
    console.print(f"  new key: {said.vkey}", markup=False, soft_wrap=True)
    console.print(f"  surviving: {said.surviving} entries")
    if said.lost is None:
        console.print("  nothing is lost: a planned change of the key")
    else:
        console.print(f"  lost: entries {said.lost.start} to {said.lost.until - 1} as they were published")
    console.print(f"  plan: {found.name}", markup=False)
