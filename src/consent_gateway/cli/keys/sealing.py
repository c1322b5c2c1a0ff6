"""Another seal for the keyring's file: a new passphrase or secret, another key service, or the newest key of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from consent_gateway.assembly import key_service
from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.errors import InputError
from consent_gateway.services.keys import recovery
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.settings import PREFIX, Settings

_SEALS = tuple(PREFIX + name for name in ("KMS_", "KEYRING_SECRET_", "KEYRING_PASSPHRASE_", "ALLOW_UNSEALED_"))


@click.command("reseal")
@click.option(
    "--to",
    "target",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of NAME=value lines: the settings of the new seal. Without it: those of now, with fresh keys.",
)
@key_option("keys")
@store_option
@json_option
def reseal(target: Path | None, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Seal the keyring's file anew; the keys in it stay, and so do recovery shares. It can be repeated at any moment.

    Processes that run go on until they need the file: give them the new settings and start them again.
    """
    gateway = open_gateway(store)
    actor = as_principal(gateway, key_file, "keys")
    environment = os.environ if target is None else _with_seal(os.environ, target)
    done = recovery.reseal(gateway, actor, key_service(Settings.from_environment(environment, store_directory=store)))
    Sequencer(gateway).drain()
    value = {"fingerprint": done.fingerprint, "from": done.former, "to": done.kind, "left": list(done.left)}

    def show(console: Console) -> None:
        console.print(f"the keyring is sealed by {done.kind} now. Destroy every copy of the former file.", markup=False)
        if done.left:
            console.print("keys at the former service that open such copies: " + ", ".join(done.left), markup=False)

    emit(value, as_json=as_json, show=show)


def _with_seal(environment: Mapping[str, str], target: Path) -> dict[str, str]:
    """Return the environment with the seal of a file in place of its own; InputError names a line that is none."""
    found = {name: value for name, value in environment.items() if not name.startswith(_SEALS)}
    for number, line in enumerate(target.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.startswith(_SEALS):
            raise InputError(f"line {number} of the file does not set anything about the seal of the keyring")
        found[name] = value
    return found
