"""Commands for pseudonyms: move a file of them, begin an epoch, check vectors, print the partners' tool."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli import partner
from consent_gateway.cli.options import as_principal, emit, json_option, key_option, open_gateway, store_option
from consent_gateway.domain.epochs import MAX_OVERLAP_SECONDS
from consent_gateway.domain.ids import RecipientId
from consent_gateway.errors import InputError, NotFoundError, UnavailableError
from consent_gateway.services import pseudonyms as rolling
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.gateway import Gateway
from consent_gateway.vault.vectors import Comparison, compare

_DIFFERS = _REFUSED = 1
_SCOPE = "admin"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def pseudonyms() -> None:
    """Pseudonyms: move a file to the current epoch, begin the next one, check vectors, print the partners' tool."""


@pseudonyms.command("decoder")
def print_decoder() -> None:
    """Print the file that partners use: checks pseudonyms, tells epochs, moves tables; Python alone is needed."""
    click.echo(files("consent_gateway.cli").joinpath("partner.py").read_text(encoding="utf-8"), nl=False)


@pseudonyms.command("convert")
@click.argument("path", type=_FILE)
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, envvar="CONSENT_GATEWAY_CLIENT_URL")
@click.option("--key-file", type=_FILE, required=True, help="File with an API key of the recipient.")
def convert_file(path: Path, url: str, key_file: Path) -> None:
    """Print every pseudonym of a file with its successor as NDJSON, in order; status 1 if some mean nobody.

    The file has one pseudonym a line, plain or as NDJSON such as the members of an audience.
    """
    refused = 0
    key = key_file.read_text(encoding="utf-8").strip()
    try:
        with path.open(encoding="utf-8") as lines:
            for old, new in partner.convert(partner.read_rows(lines), url, key):
                refused += new is None
                click.echo(json.dumps({"old": old, "new": new}))
    except partner.GatewayFailure as error:
        raise UnavailableError(str(error)) from None
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8") from None
    if refused:
        click.echo(f"{refused} mean nobody", err=True)
        raise click.exceptions.Exit(_REFUSED)


@pseudonyms.command("roll")
@click.argument("recipient")
@click.option(
    "--overlap-seconds",
    required=True,
    type=click.IntRange(0, MAX_OVERLAP_SECONDS),
    help="How long former names go on to count; 0 ends them all now.",
)
@key_option(_SCOPE)
@store_option
@json_option
def roll_epoch(recipient: str, overlap_seconds: int, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Begin the next epoch of the pseudonyms of RECIPIENT, and of everybody's in its sector."""
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, _SCOPE)) as work:
        rolling.roll(work, RecipientId(recipient), overlap_seconds)
    Sequencer(gateway).drain()
    _tell(gateway, recipient, as_json=as_json)


@pseudonyms.command("epochs")
@click.argument("recipient")
@store_option
@json_option
def show_epochs(recipient: str, store: Path | None, *, as_json: bool) -> None:
    """Show which epochs of the pseudonyms of RECIPIENT count, and until when."""
    _tell(open_gateway(store), recipient, as_json=as_json)


def _tell(gateway: Gateway, recipient: str, *, as_json: bool) -> None:
    with gateway.look() as work:
        if recipient not in work.registers.recipients:
            raise NotFoundError("there is no such recipient")
        sector = work.registers.sector(RecipientId(recipient))
        epochs = work.registers.epochs_of(sector)
        counting = epochs.counting(work.now)
    former = [{"epoch": e, "counts_until": epochs.former[e]} for e in sorted(epochs.former) if e in counting]
    value = {"recipient": recipient, "sector": sector, "epoch": epochs.current, "former": former}
    line = f"{recipient}: epoch {epochs.current}; {len(former)} former count"
    emit(value, as_json=as_json, show=lambda console: console.print(line, markup=False))


@pseudonyms.command("test")
@click.argument("vectors", nargs=-1, required=True, type=_FILE)
@json_option
def test_vectors(vectors: tuple[Path, ...], *, as_json: bool) -> None:
    """Hold vector files against the vault and print every difference; status 1 if there is any.

    Reads the published vectors of pseudonyms, and vectors of customer-match digests (Meta, Google, UID2).
    """
    results = [(path, _compared(path)) for path in vectors]
    emit(
        [{"file": path.name, **asdict(result)} for path, result in results],
        as_json=as_json,
        show=lambda console: _show(console, results),
    )
    if any(result.differences for _, result in results):
        raise click.exceptions.Exit(_DIFFERS)


def _compared(path: Path) -> Comparison:
    try:
        return compare(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        raise InputError(f"{path.name}: the file is not well-formed JSON") from None
    except InputError as error:
        raise InputError(f"{path.name}: {error.detail}") from None


def _show(console: Console, results: list[tuple[Path, Comparison]]) -> None:
    table = Table("file", "format", "checked", "differences")
    for path, result in results:
        table.add_row(path.name, result.format, str(result.checked), str(len(result.differences)))
    console.print(table)
    for path, result in results:
        for found in result.differences:
            console.print(f"{path.name} {found.place}", soft_wrap=True, markup=False)
            console.print(f"  expected {found.expected}\n  got      {found.got}", soft_wrap=True, markup=False)
