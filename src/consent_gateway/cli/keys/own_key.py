"""The gateway's own key on the command line: whether it is lost, and a new one with four eyes.

`own-key status` ends with status 1 if it is lost.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work import own_key as owning
from consent_gateway.services.work.own_key import OwnKey, OwnKeyState

SCOPE = "keys"
_LOST = 1


@click.group("own-key")
def own_key() -> None:
    """The gateway's own key, under which refused rows, signals of nobody known and replies with tokens lie."""


@own_key.command("status")
@store_option
@json_option
def status(store: Path | None, *, as_json: bool) -> None:
    """Say whether the key opens, and how much lies under it; status 1 if it is lost."""
    with open_gateway(store).look() as work:
        found = owning.status(work)
    emit(described(found), as_json=as_json, show=lambda console: _show(console, found))
    if found.state is OwnKeyState.LOST:
        raise click.exceptions.Exit(_LOST)


@own_key.command("renew")
@click.option("--propose", "proposing", is_flag=True, help="Only propose it; another key approves.")
@key_option(SCOPE)
@store_option
@json_option
def renew(key_file: Path, store: Path | None, *, proposing: bool, as_json: bool) -> None:
    """Make a new own key in place of a lost one, and give up what lay under that; needs an approval (four eyes)."""
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, SCOPE)) as work:
        proposal = owning.propose(work).id if proposing else None
        given_up = None if proposing else owning.renew(work)
    Sequencer(gateway).drain()
    value = {"proposal": proposal, "given_up": None if given_up is None else described(given_up)}
    line = f"proposed: {proposal}" if given_up is None else f"there is a new key; given up: {_counts(given_up)}"
    emit(value, as_json=as_json, show=lambda console: console.print(line, markup=False))


def described(found: OwnKey) -> dict[str, Any]:
    """Return it as it is printed."""
    return asdict(found) | {"state": found.state.value}


def _show(console: Console, found: OwnKey) -> None:
    console.print(f"{found.state.value}; under it: {_counts(found)}", markup=False)
    if found.state is OwnKeyState.LOST:
        console.print('its key epoch was destroyed: docs/erasure.md, "The gateway\'s own key"', markup=False)


def _counts(found: OwnKey) -> str:
    return f"{found.quarantined} refused rows, {found.signals} signals of nobody known, {found.replies} replies"
