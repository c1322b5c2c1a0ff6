"""The second pair of eyes on the command line; whoever acts names their own API key in a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.domain.approvals import Action, Approval, Subject
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work import approvals as approving
from consent_gateway.services.work.gateway import Work

SCOPE = "approve"


@click.group()
def approvals() -> None:
    """What needs four eyes: propose, list, approve, refuse."""


@approvals.command("list")
@store_option
@json_option
def list_approvals(store: Path | None, *, as_json: bool) -> None:
    """List what was proposed, the newest first, with its state."""
    with open_gateway(store).look() as work:
        found = [described(work, approval) for approval in approving.listing(work)]

    def show(console: Console) -> None:
        table = Table("id", "action", "subject", "state", "proposed by", "approved by", "valid until")
        for row in found:
            table.add_row(*(_cell(row, name) for name in ("id", "action", "subject", "state", "proposed_by")),
                          _cell(row, "approved_by"), _cell(row, "valid_until"))  # fmt: skip
        console.print(table)

    emit(found, as_json=as_json, show=show if found else lambda console: console.print("nothing was proposed yet"))


@approvals.command("propose")
@click.argument("action", type=click.Choice([action.value for action in Action]))
@click.option("--subject", "members", multiple=True, required=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="For a standing approval; UTC.")
@key_option(SCOPE)
@store_option
@json_option
def propose(
    action: str, members: tuple[str, ...], until: datetime | None, key_file: Path, store: Path | None, *, as_json: bool
) -> None:
    """Propose ACTION; it does nothing until somebody else approves it."""
    valid_until = None if until is None else int(until.replace(tzinfo=UTC).timestamp())
    subject = _subject(members)
    _act(store, key_file, lambda work: approving.propose(work, Action(action), subject, valid_until), as_json=as_json)


@approvals.command("approve")
@click.argument("approval")
@key_option(SCOPE)
@store_option
@json_option
def approve(approval: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Approve what another key proposed."""
    _act(store, key_file, lambda work: approving.approve(work, approval), as_json=as_json)


@approvals.command("refuse")
@click.argument("approval")
@key_option(SCOPE)
@store_option
@json_option
def refuse(approval: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Refuse a proposal, or take an approval back; who proposed it withdraws it."""
    _act(store, key_file, lambda work: approving.refuse(work, approval), as_json=as_json)


def described(work: Work, approval: Approval) -> dict[str, Any]:
    """Return one approval as it is printed; instants in seconds."""
    return {
        "id": approval.id,
        "action": approval.action.value,
        "subject": dict(approval.subject),
        "state": approving.state(work, approval).value,
        "proposed_by": approval.proposed_by,
        "approved_by": approval.approved_by,
        "expires_at": approval.expires_at,
        "valid_until": approval.valid_until,
    }


# -- the parts ---------------------------------------------------------------------------------------------------


def _act(store: Path | None, key_file: Path, act: Callable[[Work], Approval], *, as_json: bool) -> None:
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, SCOPE), curing=True) as work:
        found = described(work, act(work))
    Sequencer(gateway).drain()
    line = f"{found['id']}: {found['action']} is {found['state']}"
    emit(found, as_json=as_json, show=lambda console: console.print(line, markup=False))


def _subject(members: tuple[str, ...]) -> Subject:
    subject: dict[str, int | str] = {}
    for member in members:
        name, _, value = member.partition("=")
        subject[name] = int(value) if value.isascii() and value.isdecimal() else value
    return subject


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if isinstance(value, dict):
        return " ".join(f"{key}={member}" for key, member in value.items())
    if name.endswith("until") and value is not None:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "" if value is None else str(value)
