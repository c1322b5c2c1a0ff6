"""Bits of a consent string: base64url text to bytes, and a reader that knows at which bit it stands.

The alphabet is base64url without padding, six bits a character (TCF v2 "Base64-URL", GPP "6-bit alphabet"). Bits after
the last field are filling and are not looked at, as in the reference libraries: some fill to six bits, some to eight.

Invariants: no read goes beyond the end; every failure is one `SignalError` that names the section, the field and the
bit offset, never a value; what a reader returns is never larger than the text it read (ranges stay ranges).
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from dataclasses import dataclass
from itertools import accumulate, compress

from consent_gateway.errors import SignalError
from consent_gateway.policies.signals.id_sets import MAX_ID, NOBODY, IdSet, Range

MAX_CHARS = 32_768  # no string in the field is a third of this; it bounds time and memory
CHAR_BITS = 6
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ALPHABETIC = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
_LETTERS = _ALPHABET[:26]
# The three fields of two bits that each character is: the US sections have no others.
_PAIRS = {char: bytes((n >> 4, n >> 2 & 3, n & 3)) for n, char in enumerate(_ALPHABET)}
_FIBONACCI: tuple[int, ...] = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765,
                               10946, 17711, 28657, 46368)  # fmt: skip
_FIBONACCI_BITS = len(_FIBONACCI) + 1
_ID_BITS, _ONE, _TWO = 16, 17, 33  # bits of an id, of an entry of one id, and of one of two
_WINDOW = 5  # bytes that hold any entry of a range, wherever in a byte it begins


def broken(place: str, field: str, at: int, message: str) -> SignalError:
    """Return the one error of this package: where (section, field, bit offset), and what is wrong there."""
    detail = f"{place}, {field}, bit {at}: {message}" if field else f"{place}: {message}"
    return SignalError(detail)


def require_length(text: str, place: str) -> None:
    """Refuse a string that is longer than any in the field before anything is done with it."""
    if len(text) > MAX_CHARS:
        raise broken(place, "", 0, f"is longer than {MAX_CHARS} characters")


def bytes_of(text: str, place: str) -> bytes:
    """Return the bits of a base64url text, filled up with zeros; SignalError for none, and for any other character."""
    try:
        padded = text.encode("ascii").translate(_TO_BASE64) + b"A" * (-len(text) % 4)
        raw = a2b_base64(padded, strict_mode=True)
    except ValueError:
        raise _foreign(text, place) from None
    return _not_empty(raw, place)


def pairs_of(text: str, place: str) -> bytes:
    """Return the fields of two bits of a base64url text, a byte each; SignalError as for `bytes_of`."""
    try:
        pairs = b"".join([_PAIRS[char] for char in text])
    except KeyError:
        raise _foreign(text, place) from None
    return _not_empty(pairs, place)


def _foreign(text: str, place: str) -> SignalError:
    good = _ALPHABETIC.match(text)
    at = good.end() if good else 0
    return broken(place, "", 0, f"character {at + 1} is not of the base64url alphabet")


def _not_empty(read: bytes, place: str) -> bytes:
    if not read:
        raise broken(place, "", 0, "is empty")
    return read


def places(written: int, width: int) -> tuple[int, ...]:
    """Return the places, from 1, of the ones in a bit field."""
    return tuple([n for n, bit in enumerate(f"{written:0{width}b}", 1) if bit == "1"]) if written else ()


@dataclass(frozen=True, slots=True)
class Table:
    """Fields of fixed width that follow one another from the first bit of a text, and where each is cut."""

    fields: tuple[tuple[str, int], ...]
    cuts: tuple[tuple[int, int], ...]  # bits to the right of the field, its mask
    width: int

    @classmethod
    def of(cls, **fields: int) -> Table:
        """Return the table of fields given as name and width, in their order."""
        width = sum(fields.values())
        ends = accumulate(fields.values())
        cuts = tuple((width - end, (1 << n) - 1) for end, n in zip(ends, fields.values(), strict=True))
        return cls(tuple(fields.items()), cuts, width)


class Bits:
    """Reads fields one after the other; `place` is the section's name in errors, `length` is in bits."""

    __slots__ = ("at", "length", "place", "raw")

    def __init__(self, text: str, place: str) -> None:
        self.raw = bytes_of(text, place) + bytes(_WINDOW)
        self.length = len(text) * CHAR_BITS
        self.place = place
        self.at = 0

    def fail(self, field: str, message: str, *, at: int | None = None) -> SignalError:
        """Return the error for the field that begins here, or at `at`."""
        return broken(self.place, field, self.at if at is None else at, message)

    def number(self, width: int, field: str) -> int:
        """Return the next `width` bits as a number, the first bit worth most."""
        start, end = self.at, self.at + width
        if end > self.length:
            raise self.fail(field, f"ends after {self.length} bits, {end - self.length} short")
        self.at = end
        return int.from_bytes(self.raw[start >> 3 : end + 7 >> 3]) >> (-end & 7) & (1 << width) - 1

    def cut(self, table: Table) -> list[int]:
        """Return the fields of a table, which begin where the text does: the fixed part of a core segment."""
        self.at = 0
        if table.width > self.length:
            for name, width in table.fields:
                self.number(width, name)
        core = self.number(table.width, self.place)
        return [core >> right & mask for right, mask in table.cuts]

    def letters(self, written: int, field: str) -> str:
        """Return two letters of six bits each, A = 0, of a field that was cut."""
        first, second = divmod(written, 1 << CHAR_BITS)
        if max(first, second) >= len(_LETTERS):
            raise self.fail(field, "is not two letters from A to Z")
        return _LETTERS[first] + _LETTERS[second]

    def numbers(self, width: int, field: str) -> tuple[int, ...]:
        """Return the places, from 1, of the bits that are set in a field of `width` bits."""
        return places(self.number(width, field), width)

    # -- vendors -------------------------------------------------------------------------------------------------

    def vendors(self, field: str) -> IdSet:
        """Return a TCF vendor section: MaxVendorId, then a bit field, or ranges of 16-bit ids."""
        largest = self.number(_ID_BITS, field)
        if self.number(1, field):
            return IdSet(ranges=self.ranges(field, largest))
        return IdSet(largest, self.number(largest, field)) if largest else NOBODY

    def ranges(self, field: str, largest: int = MAX_ID) -> tuple[Range, ...]:
        """Return a count of 12 bits and as many entries: one id, or first and last; within 1 to `largest`."""
        found = []
        count = self.number(12, field)
        raw, at = self.raw, self.at
        for _ in range(count):
            start, byte = at, at >> 3
            # Both kinds of entry are looked at as two ids: a one for "two", the first, the last or what follows.
            entry = int.from_bytes(raw[byte : byte + _WINDOW]) >> 7 - (at & 7)
            first = last = entry >> _ID_BITS & MAX_ID
            at += _ONE
            if entry >> 2 * _ID_BITS & 1:
                last = entry & MAX_ID
                at = start + _TWO
            if at > self.length:
                raise self.fail(field, f"ends after {self.length} bits", at=start)
            if not 0 < first <= last <= largest:
                raise self.fail(field, "is no range of ids: reversed, from 0, or above the largest", at=start)
            found.append((first, last))
        self.at = at
        return tuple(found)

    # -- Fibonacci -----------------------------------------------------------------------------------------------

    def fibonacci(self, field: str) -> int:
        """Return a Fibonacci-coded integer: weights 1, 2, 3, 5, 8, …, ended by two ones; at most 65,535."""
        start, byte = self.at, self.at >> 3
        ahead = int.from_bytes(self.raw[byte : byte + 4]) >> 8 - (start & 7) & (1 << _FIBONACCI_BITS) - 1
        written = f"{ahead:0{_FIBONACCI_BITS}b}"
        end = written.find("11")
        if end < 0:
            raise self.fail(field, "is no Fibonacci number of an id: it does not end, or is too large")
        self.at += end + 2
        value = sum(compress(_FIBONACCI, map(int, written[: end + 1])))
        if value > MAX_ID:
            raise self.fail(field, "is larger than any id", at=start)
        return value

    def fibonacci_ranges(self, field: str) -> tuple[Range, ...]:
        """Return a GPP "Range (Fibonacci)": every number is the distance from the one before; ascending, apart."""
        found: list[Range] = []
        last = 0
        for _ in range(self.number(12, field)):
            start = self.at
            many = self.number(1, field)
            first = last + self.fibonacci(field)
            last = first + self.fibonacci(field) if many else first
            if last > MAX_ID:
                raise self.fail(field, "is larger than any id", at=start)
            found.append((first, last))
        return tuple(found)

    def optimized(self, field: str) -> IdSet:
        """Return a GPP "OptimizedRange": the largest id, then a bit field or a Fibonacci range that ends with it."""
        start, largest = self.at, self.number(_ID_BITS, field)
        if not self.number(1, field):
            return IdSet(largest, self.number(largest, field)) if largest else NOBODY
        ranges = self.fibonacci_ranges(field)
        if (ranges[-1][1] if ranges else 0) != largest:
            raise self.fail(field, "the largest id is not the last of the range", at=start)
        return IdSet(ranges=ranges)
