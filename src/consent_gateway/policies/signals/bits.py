"""Bits of a consent string: base64url text to a row of "0" and "1", and a reader that knows where it stands.

The alphabet is base64url without padding, six bits a character (TCF v2 "Base64-URL", GPP "6-bit alphabet"). Bits after
the last field are filling and are not looked at, as in the reference libraries: some fill to six bits, some to eight.

Invariants: no read goes beyond the end; every failure is one `SignalError` that names the section, the field and the
bit offset, never a value; what a reader returns is never larger than the text it read (ranges stay ranges).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from consent_gateway.errors import SignalError

MAX_CHARS = 32_768  # no string in the field is a third of this; it bounds time and memory
MAX_ID = 65_535  # vendor ids have 16 bits
_ALPHABET = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_CHAR_BITS, _BYTE_BITS, _QUAD = 6, 8, 4
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIBONACCI: tuple[int, ...] = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765,
                               10946, 17711, 28657, 46368)  # fmt: skip
_ENTRY = {"0": 17, "1": 33, "": 17}  # bits of an entry by its first: one id of 16 bits, or two; "": it is cut off
Range = tuple[int, int]


def broken(place: str, field: str, at: int, message: str) -> SignalError:
    """Return the one error of this package: where (section, field, bit offset), and what is wrong there."""
    detail = f"{place}, {field}, bit {at}: {message}" if field else f"{place}: {message}"
    return SignalError(detail)


def require_length(text: str, place: str) -> None:
    """Refuse a string that is longer than any in the field before anything is done with it."""
    if len(text) > MAX_CHARS:
        raise broken(place, "", 0, f"is longer than {MAX_CHARS} characters")


def bits_of(text: str, place: str) -> str:
    """Return the bits of a base64url text; SignalError for an empty one and for any other character."""
    good = _ALPHABET.match(text)
    end = good.end() if good else 0
    if end != len(text):
        raise broken(place, "", 0, f"character {end + 1} is not of the base64url alphabet")
    if not text:
        raise broken(place, "", 0, "is empty")
    raw = urlsafe_b64decode(text + "A" * (-end % _QUAD))
    return f"{int.from_bytes(raw):0{len(raw) * _BYTE_BITS}b}"[: end * _CHAR_BITS]


@dataclass(frozen=True, slots=True)
class IdSet:
    """A set of vendor ids as it was written: a bit field whose first bit is id 1, or ranges (both ends within).

    Nothing is expanded before somebody asks: a range of 65,535 ids is one pair.
    """

    size: int = 0
    field: int = 0
    ranges: tuple[Range, ...] = ()

    def __contains__(self, vendor: object) -> bool:
        if not isinstance(vendor, int) or vendor < 1:
            return False
        if vendor <= self.size and self.field >> (self.size - vendor) & 1:
            return True
        return any(first <= vendor <= last for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        """Yield the ids once each, ascending."""
        yield from self.listed()
        for first, last in self.merged():
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return self.field.bit_count() + sum(last - first + 1 for first, last in self.merged())

    def __bool__(self) -> bool:
        return bool(self.field or self.ranges)

    def listed(self) -> Iterator[int]:
        """Yield the ids of the bit field, ascending."""
        if self.field:
            yield from (n for n, bit in enumerate(f"{self.field:0{self.size}b}", 1) if bit == "1")

    def merged(self) -> Iterator[Range]:
        """Yield the ranges without overlaps, ascending."""
        seen = 0
        for first, last in sorted(self.ranges):
            if last > seen:
                yield max(first, seen + 1), last
                seen = last


NOBODY = IdSet()  # an IdSet is written one way: a field or ranges, never both


def places(written: str) -> tuple[int, ...]:
    """Return the places, from 1, of the ones in a bit field."""
    if "1" not in written:
        return ()
    return tuple([n for n, bit in enumerate(written, 1) if bit == "1"])


@dataclass(frozen=True, slots=True)
class Table:
    """Fields of fixed width that follow one another, and where each is cut."""

    fields: tuple[tuple[str, int], ...]
    cuts: tuple[slice, ...]
    width: int

    @classmethod
    def of(cls, **fields: int) -> Table:
        """Return the table of fields given as name and width, in their order."""
        ends = list(accumulate(fields.values(), initial=0))
        return cls(tuple(fields.items()), tuple(slice(a, b) for a, b in pairwise(ends)), ends[-1])


class Bits:
    """Reads fields one after the other; `place` is the section's name in errors."""

    __slots__ = ("at", "bits", "place")

    def __init__(self, text: str, place: str) -> None:
        self.bits = bits_of(text, place)
        self.place = place
        self.at = 0

    def fail(self, field: str, message: str, *, at: int | None = None) -> SignalError:
        """Return the error for the field that begins here, or at `at`."""
        return broken(self.place, field, self.at if at is None else at, message)

    def chunk(self, width: int, field: str) -> str:
        """Return the next `width` bits as they are written."""
        end = self.at + width
        if end > len(self.bits):
            raise self.fail(field, f"ends after {len(self.bits)} bits, {end - len(self.bits)} short")
        found = self.bits[self.at : end]
        self.at = end
        return found

    def number(self, width: int, field: str) -> int:
        """Return the next `width` bits as a number, the first bit worth most."""
        return int(self.chunk(width, field), 2)

    def cut(self, table: Table) -> list[str]:
        """Return the fields of a table as they are written, one cut each: the fixed part of a core segment."""
        start = self.at
        end = start + table.width
        if end > len(self.bits):
            for name, width in table.fields:
                self.chunk(width, name)
        self.at = end
        bits = self.bits if start == 0 else self.bits[start:]
        return [bits[cut] for cut in table.cuts]

    def flag(self, field: str) -> bool:
        """Return the next bit."""
        return self.chunk(1, field) == "1"

    def letters(self, written: str, field: str) -> str:
        """Return two letters of six bits each, A = 0, of a field that was cut."""
        first, second = int(written[:6], 2), int(written[6:], 2)
        if max(first, second) >= len(_LETTERS):
            raise self.fail(field, "is not two letters from A to Z")
        return _LETTERS[first] + _LETTERS[second]

    def numbers(self, width: int, field: str) -> tuple[int, ...]:
        """Return the places, from 1, of the bits that are set in a field of `width` bits."""
        return places(self.chunk(width, field))

    # -- vendors -------------------------------------------------------------------------------------------------

    def vendors(self, field: str) -> IdSet:
        """Return a TCF vendor section: MaxVendorId, then a bit field, or ranges of 16-bit ids."""
        largest = self.number(16, field)
        if self.flag(field):
            return IdSet(ranges=self.ranges(field, largest))
        return IdSet(largest, self.number(largest, field)) if largest else NOBODY

    def ranges(self, field: str, largest: int = MAX_ID) -> tuple[Range, ...]:
        """Return a count of 12 bits and as many entries: one id, or first and last; within 1 to `largest`."""
        found = []
        bits = self.bits
        for _ in range(self.number(12, field)):
            start = self.at
            self.at += _ENTRY[bits[start : start + 1]]
            entry = bits[start + 1 : self.at]
            if len(entry) != self.at - start - 1:
                raise self.fail(field, f"ends after {len(bits)} bits", at=start)
            first, last = (int(entry[:16], 2), int(entry[-16:], 2))
            if not 0 < first <= last <= largest:
                raise self.fail(field, "is no range of ids: reversed, from 0, or above the largest", at=start)
            found.append((first, last))
        return tuple(found)

    # -- Fibonacci -----------------------------------------------------------------------------------------------

    def fibonacci(self, field: str) -> int:
        """Return a Fibonacci-coded integer: weights 1, 2, 3, 5, 8, …, ended by two ones; at most 65,535."""
        start = self.at
        end = self.bits.find("11", start, start + len(_FIBONACCI) + 1)
        if end < 0:
            raise self.fail(field, "is no Fibonacci number of an id: it does not end, or is too large")
        self.at = end + 2
        value = sum([_FIBONACCI[n] for n, bit in enumerate(self.bits[start : end + 1]) if bit == "1"])
        if value > MAX_ID:
            raise self.fail(field, "is larger than any id", at=start)
        return value

    def fibonacci_ranges(self, field: str) -> tuple[Range, ...]:
        """Return a GPP "Range (Fibonacci)": every number is the distance from the one before; ascending, apart."""
        found: list[Range] = []
        last = 0
        for _ in range(self.number(12, field)):
            start = self.at
            many = self.flag(field)
            first = last + self.fibonacci(field)
            last = first + self.fibonacci(field) if many else first
            if last > MAX_ID:
                raise self.fail(field, "is larger than any id", at=start)
            found.append((first, last))
        return tuple(found)

    def optimized(self, field: str) -> IdSet:
        """Return a GPP "OptimizedRange": the largest id, then a bit field or a Fibonacci range that ends with it."""
        start, largest = self.at, self.number(16, field)
        if not self.flag(field):
            return IdSet(largest, self.number(largest, field)) if largest else NOBODY
        ranges = self.fibonacci_ranges(field)
        if (ranges[-1][1] if ranges else 0) != largest:
            raise self.fail(field, "the largest id is not the last of the range", at=start)
        return IdSet(ranges=ranges)
