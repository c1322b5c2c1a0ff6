"""Commands that read the log out: export it to a directory, prove who was in an audience."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from consent_gateway.cli.options import emit, json_option, open_gateway, store_option
from consent_gateway.services import audiences, log_exports, manifests
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.log_directories import open_directory


@click.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--append-only",
    is_flag=True,
    help="Never replace, move or remove a file: for write-once media. Checkpoints are checkpoint.SIZE.",
)
@click.option("--quick", is_flag=True, help="Compare tiles with what is there, and trust the bundles below them.")
@store_option
@json_option
def export(directory: Path, store: Path | None, *, append_only: bool, quick: bool, as_json: bool) -> None:
    """Write the log as a C2SP tlog-tiles directory; a second run writes what is new.

    What is there is compared first. A directory that is not a prefix of this log is refused (status 2), with the first
    entry that differs, and nothing is written.
    """
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    into = open_directory(directory, append_only=append_only)
    with _entries_bar() as progress:
        done = log_exports.export(gateway, into, progress, quick=quick)
    value = {
        "directory": str(directory),
        "origin": gateway.signer.key.name,
        "size": done.size,
        "root": done.root.hex(),
        "before": done.before,
        "files": done.files,
    }
    text = (
        f"{done.size - done.before} new entries, {done.size} in all, in {directory}\n"
        f"verify with: consent-gateway audit verify tree VKEY {directory}"
    )
    emit(value, as_json=as_json, show=lambda _: click.echo(text))


@click.command("prove")
@click.argument("audience")
@click.argument("pseudonym")
@store_option
def prove(audience: str, pseudonym: str, store: Path | None) -> None:
    """Print the proof that somebody is in an audience, or is not, as JSON; `audit verify membership` checks it.

    The audience must not have expired. The reading is recorded.
    """
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    with gateway.work() as work:
        row = audiences.find(work, audience)
        proof = manifests.prove(work, row, pseudonym)
        audiences.record_reading(work, row, 1)
    Sequencer(gateway).drain()
    click.echo(json.dumps(proof, indent=2))


@contextmanager
def _entries_bar() -> Iterator[log_exports.Progress]:
    """Show how many entries are done, on standard error."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


READING = (export, prove)
