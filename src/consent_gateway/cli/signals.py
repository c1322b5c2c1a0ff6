"""Commands for signals: decode one string, compare the decoders with files of vectors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.options import emit, json_option
from consent_gateway.errors import InputError, SignalError
from consent_gateway.policies.signals.detect import decode
from consent_gateway.policies.signals.gpc import read_well_known
from consent_gateway.policies.signals.vectors import Comparison, compare
from consent_gateway.policies.signals.views import view

_DIFFERS = 1
_MOST_SHOWN = 100


@click.group()
def signals() -> None:
    """TCF, GPP, US Privacy and GPC: decode strings, check vectors."""


@signals.command("decode")
@click.argument("string")
def decode_string(string: str) -> None:
    """Print a TCF, GPP, US Privacy or GPC value as JSON; status 2 names what cannot be decoded, and where.

    A text that begins with { is read as the content of a site's /.well-known/gpc.json.
    """
    found = _well_known(string) if string.lstrip().startswith("{") else view(decode(string.strip()))
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _well_known(text: str) -> dict[str, Any]:
    try:
        read = read_well_known("application/json", json.loads(text))
    except (ValueError, RecursionError):
        raise SignalError("gpc.json is not well-formed JSON") from None
    return {"kind": "gpc.json", "decoded": asdict(read)}


@signals.command("test")
@click.argument("vectors", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def test_vectors(vectors: tuple[Path, ...], *, as_json: bool) -> None:
    """Compare the decoders with vector files and print every difference; status 1 if there is any.

    A file that holds no consent strings is passed over and says so; status 2 names a file of no known format.
    """
    results = [(path, _compared(path)) for path in vectors]
    emit([_row(path, r) for path, r in results], as_json=as_json, show=lambda console: _show(console, results))
    if any(r.differences for _, r in results):
        raise click.exceptions.Exit(_DIFFERS)


def _compared(path: Path) -> Comparison:
    try:
        return compare(_document(path))
    except InputError as error:
        raise InputError(f"{path.name}: {error.detail}") from None


def _document(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InputError("the file is not well-formed JSON") from None


def _row(path: Path, result: Comparison) -> dict[str, Any]:
    return {"file": path.name, **asdict(result), "not_compared": sorted(result.not_compared)}


def _show(console: Console, results: list[tuple[Path, Comparison]]) -> None:
    table = Table("file", "format", "vectors", "differences", "expect nothing", "keys not compared")
    for path, r in results:
        marks = [str(r.checked), str(len(r.differences)), str(r.unspecified), ", ".join(sorted(r.not_compared))]
        table.add_row(path.name, r.format, *marks)
    console.print(table)
    for path, r in results:
        if r.passed_over:
            console.print(f"[yellow]{path.name} was passed over[/yellow]: {r.passed_over}", soft_wrap=True)
        for found in r.differences:
            console.print(f"{path.name} {found.place}", soft_wrap=True, markup=False)
            console.print(f"  expected {_short(found.expected)}\n  got      {_short(found.got)}", markup=False)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " …"
