"""The blind index on the command line: where it stands, moving it to another key, destroying a former one.

A move can be stopped at any moment; the same command goes on with it.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from consent_gateway.cli.keys.rolling import rate_option, run_job
from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.services import index_rotation
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.index_destruction import GENERATIONS
from consent_gateway.services.index_rotation import Progress

SCOPE = "keys"


@click.command("index")
@rate_option
@key_option(SCOPE)
@store_option
@json_option
def rotate_index(rate: int | None, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Move the blind index to a new generation, or go on with a move that was stopped.

    The former rows go a minute after the switch; its key stays until `keys destroy index`.
    """
    run_job(store, key_file, index_rotation.start, rate, as_json=as_json)


@click.command("index-status")
@store_option
@json_option
def index_status(store: Path | None, *, as_json: bool) -> None:
    """Show which generation of the blind index counts, how far a move is, and what keeps the first key alive."""
    with open_gateway(store).look() as work:
        found = index_rotation.progress(work)
    emit(found.as_json(), as_json=as_json, show=lambda console: show(console, found))


@click.command("index")
@click.argument("generation", type=click.IntRange(min=1))
@click.option("--propose", "proposing", is_flag=True, help="Only propose it; another key approves.")
@key_option(SCOPE)
@store_option
@json_option
def destroy_index(generation: int, key_file: Path, store: Path | None, *, proposing: bool, as_json: bool) -> None:
    """Destroy the key of a past GENERATION of the index; needs an approval of exactly that (`keys approvals`).

    What was decided and not done, because the process died, is done by the same command.
    """
    gateway = open_gateway(store)
    actor = as_principal(gateway, key_file, SCOPE)
    with gateway.work(actor) as work:
        proposal = GENERATIONS.propose(work, generation).id if proposing else None
        if proposal is None and not GENERATIONS.is_decided(work, generation):
            GENERATIONS.decide(work, generation)
    if not proposing:
        GENERATIONS.carry_out(gateway)
    Sequencer(gateway).drain()
    value = {"generation": generation, "proposal": proposal, "destroyed": not proposing}
    line = f"proposed: {proposal}" if proposing else f"generation {generation} is destroyed"
    emit(value, as_json=as_json, show=lambda console: console.print(line, markup=False))


def show(console: Console, found: Progress) -> None:
    """Print where the index stands in a few lines."""
    console.print(f"generation {found.counts} counts")
    if found.moving is not None:
        console.print(f"generation {found.moving} is moving: {found.missing:,} identifiers to go")
    if found.leaving is not None:
        console.print(f"generation {found.leaving} is leaving: {found.left:,} identifiers to go")
    for table, count in found.strangers.items():
        console.print(f"{table}: {count:,} rows of people who are not known need the key of generation 1")
    if found.outdated:
        console.print(f"newer normalisers wait for a move: {', '.join(found.outdated)} (keys rotate index)")
