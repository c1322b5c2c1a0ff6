"""The command that prints the keys that consent receipts are signed with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import store_option
from consent_gateway.services.ledger.receipts import keys

_DIFFERS = 1


@click.command("keys")
@store_option
def print_keys(store: Path | None) -> None:
    """Print the public keys of receipts as a JWK set."""
    click.echo(json.dumps({"keys": [key.members for key in keys(open_gateway(store))]}, indent=2))
