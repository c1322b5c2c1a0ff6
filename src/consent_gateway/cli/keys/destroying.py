"""Destroying past keys on the command line: those of an epoch, and that of a generation of the index.

Both need an approval of exactly that. What was decided and not done, because the process died, is done by the same
command.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.services.keys.epoch_destruction import EPOCHS
from consent_gateway.services.keys.index_destruction import GENERATIONS
from consent_gateway.services.keys.key_destruction import Destroyable
from consent_gateway.services.log.audit_log import Sequencer

Command = TypeVar("Command", bound=Callable[..., Any])
SCOPE = "keys"


def _options(command: Command) -> Command:
    proposing = click.option("--propose", "proposing", is_flag=True, help="Only propose it; another key approves.")
    return proposing(key_option(SCOPE)(store_option(json_option(command))))


@click.command("epoch")
@click.argument("epoch", type=click.IntRange(min=1))
@_options
def destroy_epoch(epoch: int, key_file: Path, store: Path | None, *, proposing: bool, as_json: bool) -> None:
    """Destroy the past key EPOCH; needs an approval of exactly that (`keys approvals approve`).

    What was decided and not done, because the process died, is done by the same command.
    """
    _destroy(EPOCHS, epoch, key_file, store, proposing=proposing, as_json=as_json)


@click.command("index")
@click.argument("generation", type=click.IntRange(min=1))
@_options
def destroy_index(generation: int, key_file: Path, store: Path | None, *, proposing: bool, as_json: bool) -> None:
    """Destroy the key of a past GENERATION of the index; needs an approval of exactly that (`keys approvals`).

    What was decided and not done, because the process died, is done by the same command.
    """
    _destroy(GENERATIONS, generation, key_file, store, proposing=proposing, as_json=as_json)


def _destroy(
    kind: Destroyable, number: int, key_file: Path, store: Path | None, *, proposing: bool, as_json: bool
) -> None:
    gateway = open_gateway(store)
    actor = as_principal(gateway, key_file, SCOPE)
    with gateway.work(actor) as work:
        proposal = kind.propose(work, number).id if proposing else None
        if proposal is None and not kind.is_decided(work, number):
            kind.decide(work, number)
    if not proposing:
        kind.carry_out(gateway)
    Sequencer(gateway).drain()
    value = {kind.called: number, "proposal": proposal, "destroyed": not proposing}
    line = f"proposed: {proposal}" if proposing else f"{kind.called} {number} is destroyed"
    emit(value, as_json=as_json, show=lambda console: console.print(line, markup=False))
