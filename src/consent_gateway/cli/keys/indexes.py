"""The blind index on the command line: where it stands, moving it to another key, destroying a former one.

A move can be stopped at any moment; the same command goes on with it.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from consent_gateway.cli.keys.rolling import rate_option, run_job
from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.services.keys import index_rotation
from consent_gateway.services.keys.index_rotation import Progress

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
