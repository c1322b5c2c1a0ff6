"""`consent-gateway keys lint-index`: would a blind index over this column give its values away?

A keyed hash hides a value but not that two rows are equal. Where values repeat, their frequencies name them: of a
column of cities, the most frequent hash is the largest city, whatever the key. The file is read here and nowhere else,
and no value of it is printed or kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from consent_gateway.cli.options import emit, json_option
from consent_gateway.errors import InputError
from consent_gateway.vault.blind_index import INDEXED_FIELDS, Leakage, measure_leakage, objections
from consent_gateway.vault.normal_forms import Normalised
from consent_gateway.vault.normalisers import normalise

_REFUSED = 1


@click.command("lint-index")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--field", required=True, help="The column of a CSV, or the member of the objects of an NDJSON file.")
@click.option("--kind", type=click.Choice(sorted(INDEXED_FIELDS)), help="Normalise as this kind first.")
@click.option("--region", help="Country code in which phone numbers without + are dialled.")
@json_option
def lint_index(path: Path, field: str, kind: str | None, region: str | None, *, as_json: bool) -> None:
    """Measure what a blind index over a column would give away; status 1 if it must not be indexed.

    Empty values do not count. With --kind, values without a normal form are counted apart.
    """
    values = list(_values(path, field))
    formed = (
        values if kind is None else [f.value for v in values if isinstance(f := _form(kind, v, region), Normalised)]
    )
    found = measure_leakage(formed)
    reasons = objections(found)
    value = {**asdict(found), "without_normal_form": len(values) - len(formed), "objections": reasons}
    emit(value | {"ok": not reasons}, as_json=as_json, show=lambda console: _show(console, found, value))
    if reasons:
        raise click.exceptions.Exit(_REFUSED)


def _form(kind: str, value: str, region: str | None) -> object:
    return normalise(kind, value, region=region)


def _values(path: Path, field: str) -> Iterator[str]:
    read = _csv_values if path.suffix.lower() == ".csv" else _json_values
    try:
        yield from (text for value in read(path, field) if (text := str(value).strip()))
    except UnicodeDecodeError:
        raise InputError("the file is not UTF-8") from None
    except csv.Error:
        raise InputError("the file is not CSV as of RFC 4180") from None


def _csv_values(path: Path, field: str) -> Iterator[object]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        if field not in (rows.fieldnames or ()):
            raise InputError("the header has no such column")
        yield from (row[field] for row in rows if row[field] is not None)


def _json_values(path: Path, field: str) -> Iterator[object]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _object(line, number)
            if row.get(field) is not None:
                yield row[field]


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"line {number} is not a JSON object: NDJSON has one on each line")
    return found


def _show(console: Console, found: Leakage, value: dict[str, Any]) -> None:
    console.print(
        f"{found.rows:,} values, {found.distinct:,} distinct; the most frequent makes up {found.top_share:.2%} "
        f"(min-entropy {found.min_entropy_bits:.1f} bits); {value['without_normal_form']:,} without normal form"
    )
    for reason in value["objections"]:
        console.print(f"[red]not to be indexed[/red]: {reason}")
    if not value["objections"]:
        console.print("looks like an identifier: a blind index gives away no more than how often each value occurs")
