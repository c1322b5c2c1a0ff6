"""Commands for API keys: issue, list, revoke."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.db import registers as register_rows
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work import principals


@click.command("issue")
@click.argument("name")
@click.option("--recipient", default="self", show_default=True, help="Whose pseudonyms the key sees.")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(sorted(principals.SCOPES)))
@store_option
@json_option
def issue(name: str, recipient: str, scopes: tuple[str, ...], store: Path | None, *, as_json: bool) -> None:
    """Make an API key for a system; it is shown once."""
    gateway = open_gateway(store)
    with gateway.work() as work:
        key = principals.issue(work, name, recipient, frozenset(scopes))
    Sequencer(gateway).drain()
    emit({"principal": name, "api_key": key}, as_json=as_json, show=lambda c: c.print(key, markup=False))


@click.command("revoke")
@click.argument("name")
@store_option
def revoke(name: str, store: Path | None) -> None:
    """Revoke an API key; it does nothing any more from now on, on every replica."""
    gateway = open_gateway(store)
    with gateway.work() as work:
        principals.revoke(work, name)
    Sequencer(gateway).drain()
    click.echo(f"revoked {name}")


@click.command("list")
@store_option
@json_option
def list_keys(store: Path | None, *, as_json: bool) -> None:
    """List API keys; the keys themselves are not stored."""
    gateway = open_gateway(store)
    with gateway.store.reading() as session:
        rows = register_rows.list_principals(session)
    found = [row | {"scopes": json.loads(row["scopes"])} for row in rows]
    emit(found, as_json=as_json, show=lambda console: _show(console, found))


def _show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table("name", "recipient", "scopes", "state")
    for row in rows:
        table.add_row(row["id"], row["recipient"], " ".join(row["scopes"]), "revoked" if row["revoked_at"] else "live")
    console.print(table)
