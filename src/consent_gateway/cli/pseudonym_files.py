"""Commands for pseudonyms outside of any store: move a file of them, check vectors, print the partners' tool."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli import partner
from consent_gateway.cli.options import emit, json_option
from consent_gateway.errors import InputError, UnavailableError
from consent_gateway.vault.vectors import Comparison, compare

_DIFFERS = _REFUSED = 1
_SCOPE = "admin"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("decoder")
def print_decoder() -> None:
    """Print the file that partners use: checks pseudonyms, tells epochs, moves tables; Python alone is needed."""
    click.echo(files("consent_gateway.cli").joinpath("partner.py").read_text(encoding="utf-8"), nl=False)


@click.command("convert")
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


@click.command("test")
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
