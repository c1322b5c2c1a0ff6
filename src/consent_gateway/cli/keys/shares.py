"""Recovery shares on the command line: `keys shares split`, `keys shares combine`, `keys drill`.

Shares are read one a line from a file or from standard input, never from arguments, which other users can see. They are
printed once, to standard output, and stand nowhere else.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console

from consent_gateway.cli.opening import as_principal, open_gateway, read_settings
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.domain.registers import Principal
from consent_gateway.services.keys import recovery
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.setup import recover_keyring
from consent_gateway.vault.shares import Share

_DIFFERS = 1
_copy_option = click.option(
    "--keyring",
    "copy",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Copy of the keyring's file (mode 0600).",
)
_shares_option = click.option(
    "--shares", "lines", type=click.File(), default="-", help="Shares, one a line; standard input without it."
)


@click.group("shares")
def shares() -> None:
    """Recovery shares: k of n custodians together open the keyring when what seals it is lost."""


@shares.command("split")
@click.option("--threshold", type=int, default=3, show_default=True, help="How many are needed.")
@click.option("--count", type=int, default=5, show_default=True, help="How many there are.")
@click.option("--propose", "proposing", is_flag=True, help="Only propose it; another key approves.")
@key_option("keys")
@store_option
@json_option
def split(threshold: int, count: int, key_file: Path, store: Path | None, *, proposing: bool, as_json: bool) -> None:
    """Make a new recovery key and print its shares, once; earlier shares open only old copies of the keyring.

    It needs an approval of exactly these numbers (`keys approvals approve`).
    """
    gateway = open_gateway(store)
    actor = as_principal(gateway, key_file, "keys")
    if proposing:
        _propose(gateway, actor, threshold, count, as_json=as_json)
        return
    made = recovery.make_shares(gateway, actor, threshold, count)
    Sequencer(gateway).drain()
    value = [
        {"index": share.index, "of": share.count, "needed": share.threshold, "share": share.text()} for share in made
    ]

    def show(console: Console) -> None:
        console.print(f"{count} shares, {threshold} needed, set {made[0].set_id.hex()}. Give each to another person.")
        for share in made:
            click.echo(f"{share.index}: {share.text()}")

    emit(value, as_json=as_json, show=show)


def _propose(gateway: Gateway, actor: Principal, threshold: int, count: int, *, as_json: bool) -> None:
    with gateway.work(actor) as work:
        approval = recovery.propose_shares(work, threshold, count)
    Sequencer(gateway).drain()
    emit({"proposal": approval.id}, as_json=as_json, show=lambda c: c.print(f"proposed: {approval.id}", markup=False))


@shares.command("combine")
@_copy_option
@_shares_option
@store_option
@json_option
def combine(copy: Path, lines: TextIO, store: Path | None, *, as_json: bool) -> None:
    """Bring the keyring back from a copy and shares, sealed by what the settings say; never over an existing one."""
    given = _read(lines)
    settings = read_settings(store)
    fingerprint = recover_keyring(settings, copy, given).fingerprint()
    gateway = open_gateway(store)
    recovery.record_recovered(gateway, given)
    Sequencer(gateway).drain()
    value = {"keyring": str(settings.keyring()), "fingerprint": fingerprint}
    text = f"recovered, fingerprint {fingerprint}. The shares are used up: make new ones with `keys shares split`."
    emit(value, as_json=as_json, show=lambda c: c.print(text, soft_wrap=True))


@click.command("drill")
@_copy_option
@_shares_option
@store_option
@json_option
def drill(copy: Path, lines: TextIO, store: Path | None, *, as_json: bool) -> None:
    """Prove that shares open a copy of the keyring, and change nothing; status 1 if the copy lacks keys in use."""
    gateway = open_gateway(store)
    try:
        found = recovery.drill(gateway, copy, _read(lines))
    finally:  # a drill that fails is in the log too
        Sequencer(gateway).drain()

    def show(console: Console) -> None:
        console.print(f"the shares {', '.join(map(str, found.shares))} of set {found.set_id} open this copy")
        if found.lacks:
            console.print(f"it lacks keys in use: {', '.join(found.lacks)}. Make a new copy.")
        if found.destroyed:
            console.print(f"it still holds destroyed keys: {', '.join(found.destroyed)}. Destroy it.")

    emit(asdict(found), as_json=as_json, show=show)
    if found.lacks:
        raise click.exceptions.Exit(_DIFFERS)


def _read(lines: TextIO) -> list[Share]:
    """Return the shares of a file; a number and a colon before one, as `split` prints them, do no harm."""
    return [Share.parse(line.rpartition(":")[2]) for line in lines if line.strip()]
