"""The state of the keyring on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from consent_gateway.cli.options import emit, json_option, open_gateway, store_option


@click.command("status")
@store_option
@json_option
def status(store: Path | None, *, as_json: bool) -> None:
    """Show the state of the keyring: epochs, generations, fingerprints; never a key."""
    keyring = open_gateway(store).vault.provider.keyring
    value = {
        "fingerprint": keyring.fingerprint(),
        "sealed": keyring.is_sealed,
        "kek_epochs": list(keyring.epochs),
        "current_kek_epoch": keyring.current_epoch,
        "index_generations": list(keyring.generations),
        "current_index_generation": keyring.current_generation,
        "keys": keyring.key_fingerprints(),
    }
    emit(value, as_json=as_json, show=lambda c: c.print_json(data=value))


COMMANDS = (status,)
