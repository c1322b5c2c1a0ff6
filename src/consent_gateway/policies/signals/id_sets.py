"""Sets of vendor ids as a consent string writes them: a bit field, or ranges. Nothing is expanded before it is asked.

Invariants: a set is written one way, a field or ranges, never both; it is never larger than the text it was read from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_ID = 65_535  # vendor ids have 16 bits
Range = tuple[int, int]


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
