"""Rows out of a body: NDJSON, one object a line, or CSV (RFC 4180) with a header.

Every row is checked as strictly as a whole body would be, and stands on its own: what is wrong with one is listed with
its path, and the others go on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from pydantic import ValidationError

from consent_gateway.api.guard import check_json_document
from consent_gateway.api.problems import field_problems, plain_name
from consent_gateway.api.wire import ITEMS
from consent_gateway.errors import FieldProblem, InputError, TooLargeError
from consent_gateway.services.rows.intake import Incoming

_CSV_COLUMNS = (
    "member_no", "email", "phone", "device_id", "openid",
    "country", "given_name", "family_name", "birth_date", "language", "subscriber",
    "postal_address",
)  # fmt: skip
_IDENTIFIER_COLUMNS = frozenset(_CSV_COLUMNS[:5])
_TRAIT = "trait."
_COLLECTION = ("collection.in_sale", "collection.opt_out_offered", "collection.expressed_interest", "collection.on")
_SWITCH = {"true": True, "false": False}
_SURPLUS = "surplus"  # no column can have this name
Rows = list[Incoming[Any]]


def ndjson_rows(kind: str, body: bytes, limit: int) -> Rows:
    """Return one row for each line that is not blank; row numbers are line numbers."""
    lines = [(n, line) for n, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    _require(lines, limit)
    return [read_line(kind, n, line) for n, line in lines]


def read_line(kind: str, number: int, line: bytes) -> Incoming[Any]:
    """Return one line as a row, checked as strictly as a whole body would be."""
    found = check_json_document(line)
    if found is not None:
        return Incoming(number, line, None, (found,))
    return read_item(kind, number, line)


def read_item(kind: str, number: int, document: bytes) -> Incoming[Any]:
    """Return one JSON object as a row; what does not fit the model is listed with its path."""
    try:
        item = ITEMS[kind].model_validate_json(document)
    except ValidationError as error:
        return Incoming(number, document, None, field_problems(error))
    return Incoming(number, document, item.item())


def csv_rows(body: bytes, limit: int) -> Rows:
    """Return one row for each record of a CSV (RFC 4180) with a header; row numbers count records, from 1.

    InputError names what is wrong with the header: no identifier column, an unknown or repeated one.
    """
    text = body.decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = _header(next(_records(reader), []))
    records = list(enumerate(_records(reader), 1))
    _require(records, limit)
    plain = all(name in _CSV_COLUMNS for name in header)
    return [_record(n, header, record, plain=plain) for n, record in records]


def _records(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        for record in reader:
            if record:
                yield record
    except csv.Error:
        raise InputError(
            fields=(
                FieldProblem(
                    "$", "malformed_csv", "must follow RFC 4180: quotes in pairs, fields of at most 131,072 characters"
                ),
            )
        ) from None


def _header(names: list[str]) -> list[str]:
    header = [name.strip() for name in names]
    problems = [
        FieldProblem(
            f"$.{plain_name(name)}", "unknown_column", "known: " + ", ".join(_CSV_COLUMNS + _COLLECTION) + ", trait.ID"
        )
        for name in header
        if name not in _CSV_COLUMNS + _COLLECTION and not name.startswith(_TRAIT)
    ]
    if len(set(header)) != len(header):
        problems.append(FieldProblem("$", "repeated_column", "each column once"))
    if not _IDENTIFIER_COLUMNS & set(header):
        missing = "one of " + ", ".join(_CSV_COLUMNS[:5])
        problems.append(FieldProblem("$", "missing_column", f"the header needs {missing}"))
    if problems:
        raise InputError(fields=tuple(problems))
    return header


def _record(number: int, header: list[str], record: list[str], *, plain: bool) -> Incoming[Any]:
    """Return one record as a row; `plain`: no column names a trait, or how contact points were obtained."""
    raw = msgspec.json.encode(dict(zip(header, record, strict=False)))
    if len(record) != len(header):
        raw = msgspec.json.encode(dict(zip(header, record, strict=False)) | _surplus(header, record))
        message = f"the record has {len(record)} fields, the header {len(header)}"
        return Incoming(number, raw, None, (FieldProblem("$", "wrong_width", message),))
    values = {name: value for name, value in zip(header, record, strict=True) if value and not value.isspace()}
    if plain:
        row = read_item("subjects", number, msgspec.json.encode(values))
        return Incoming(number, raw, row.item, row.problems)
    item: dict[str, Any] = {name: value for name, value in values.items() if name in _CSV_COLUMNS}
    traits = {name.removeprefix(_TRAIT): value for name, value in values.items() if name.startswith(_TRAIT)}
    told = {name.split(".")[1]: _SWITCH.get(values[name], values[name]) for name in _COLLECTION if name in values}
    groups = {name: group for name, group in (("traits", traits), ("collection", told)) if group}
    row = read_item("subjects", number, msgspec.json.encode(item | groups))
    return Incoming(number, raw, row.item, row.problems)


def _surplus(header: list[str], record: list[str]) -> dict[str, list[str]]:
    """Return the fields that no column names: whoever looks into a wrong row needs the whole of it."""
    return {_SURPLUS: record[len(header) :]} if len(record) > len(header) else {}


def _require(rows: Sequence[object], limit: int) -> None:
    if len(rows) > limit:
        raise TooLargeError(f"at most {limit} rows a call")
    if not rows:
        raise InputError(fields=(FieldProblem("$", "empty", "there are no rows"),))
