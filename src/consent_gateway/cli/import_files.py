"""A file of rows cut into batches that a gateway takes: read record by record, and never held.

Memory is bounded by one batch and one line, whatever the file is. CSV is read as the gateway itself reads it (RFC 4180,
any line ends) and written anew, so that a batch never cuts a record.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from consent_gateway.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one call carries, and how long a line or a CSV record may be; the gateway takes 5 MiB a call."""

    rows: int = 1000
    batch_bytes: int = 4 << 20
    line_bytes: int = 1 << 20


LIMITS = Limits()  # those of the gateway


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it is sent, with the number that a rejection of it shows.

    `row` is the number of the line in an NDJSON file, and of the record in a CSV (its header is row 0).
    """

    row: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call carries; `position` is how many bytes of the file had been read when it was complete."""

    header: bytes
    records: tuple[Record, ...]
    position: int

    def body(self) -> bytes:
        """Return the body of the call."""
        return self.header + b"".join(record.content for record in self.records)

    def refused(self, answer: dict[str, Any]) -> tuple[Record, ...]:
        """Return the records that an answer refuses: it counts them from 1, and no line of a body is blank."""
        return tuple(self.records[rejection["row"] - 1] for rejection in answer["rejections"])


def batches(path: Path, *, is_csv: bool, limits: Limits) -> Iterator[Batch]:
    """Yield the records of a file in order, as many a batch as `limits` allows, each batch with the CSV's header."""
    with path.open("rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")  # here, so that `file` stays open to its end
        records = _csv_records(text, limits.line_bytes) if is_csv else _lines(file, limits.line_bytes)
        header = next((record.content for record in records), b"") if is_csv else b""
        held: list[Record] = []
        size = len(header)
        for record in records:
            if held and (len(held) == limits.rows or size + len(record.content) > limits.batch_bytes):
                yield Batch(header, tuple(held), file.tell())
                held, size = [], len(header)
            held.append(record)
            size += len(record.content)
        if held:
            yield Batch(header, tuple(held), file.tell())


def _lines(file: BinaryIO, limit: int) -> Iterator[Record]:
    """Yield the lines of an NDJSON file that are not blank."""
    for row in itertools.count(1):
        line = file.readline(limit + 1)
        if len(line) > limit:
            raise _too_long(limit)
        if not line:
            return
        if line.strip():
            yield Record(row, line)


def _csv_records(text: TextIO, limit: int) -> Iterator[Record]:
    """Yield the header and the records of a CSV, written anew; what is blank is no record (as for the gateway)."""
    lines = _Lines(text, limit)
    rows = itertools.count()
    try:
        for fields in csv.reader(lines, strict=True):
            lines.taken = 0
            if fields:
                yield Record(next(rows), _written(fields, limit))
    except csv.Error:
        place = f"record {row}" if (row := next(rows)) else "the header"
        message = f"{place} must follow RFC 4180: quotes in pairs, fields of at most 131,072 characters"
        raise InputError(message) from None
    except UnicodeDecodeError:  # text is decoded ahead of the record
        raise InputError(f"the file is not UTF-8, at record {next(rows)} or soon after it") from None


class _Lines(Iterator[str]):
    """The lines of a text up to any line end, read only as far as a record may be long.

    `taken` counts characters, which are never more than bytes; who begins a new record sets it to 0.
    """

    def __init__(self, text: TextIO, limit: int) -> None:
        self._text, self._limit = text, limit
        self.taken = 0

    def __next__(self) -> str:
        line = self._text.readline(self._limit + 1)
        self.taken += len(line)
        if self.taken > self._limit:
            raise _too_long(self._limit)
        if not line:
            raise StopIteration
        return line


def _written(fields: list[str], limit: int) -> bytes:
    """Return a record as RFC 4180 has it, with CRLF, which also makes the writer quote lone line ends."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(fields)
    content = text.getvalue().encode()
    if len(content) > limit:
        raise _too_long(limit)
    return content


def _too_long(limit: int) -> InputError:
    return InputError(f"a line is longer than {limit} bytes, or a quote is never closed; is this the right file?")
