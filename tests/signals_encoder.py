"""An encoder of consent strings for tests, written from the specifications and sharing nothing with the decoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
Range = tuple[int, int]


def text_of(bits: str, *, to_bytes: bool = False) -> str:
    """Base64url, filled with zeros to six bits, or first to eight as some encoders do."""
    if to_bytes:
        bits += "0" * (-len(bits) % 8)
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[n : n + 6], 2)] for n in range(0, len(bits), 6))


def bits_in(text: str) -> str:
    return "".join(f"{ALPHABET.index(c):06b}" for c in text)


def number(value: int, width: int) -> str:
    return f"{value:0{width}b}"


def letters(two: str) -> str:
    return "".join(number(ord(c) - ord("A"), 6) for c in two)


def field_of(ids: Iterable[int], width: int) -> str:
    held = set(ids)
    return "".join("1" if n in held else "0" for n in range(1, width + 1))


def runs(ids: Iterable[int]) -> list[Range]:
    """Maximal runs, ascending."""
    found: list[Range] = []
    for n in sorted(set(ids)):
        if found and found[-1][1] == n - 1:
            found[-1] = (found[-1][0], n)
        else:
            found.append((n, n))
    return found


def fixed_ranges(ranges: Sequence[Range]) -> str:
    bits = number(len(ranges), 12)
    for first, last in ranges:
        bits += "0" + number(first, 16) if first == last else "1" + number(first, 16) + number(last, 16)
    return bits


def vendors(ids: Iterable[int], *, as_ranges: bool) -> str:
    held = set(ids)
    largest = max(held, default=0)
    if as_ranges:
        return number(largest, 16) + "1" + fixed_ranges(runs(held))
    return number(largest, 16) + "0" + field_of(held, largest)


def fibonacci(value: int) -> str:
    weights = [1, 2]
    while weights[-1] <= value:
        weights.append(weights[-1] + weights[-2])
    bits = ""
    for weight in reversed(weights):
        if bits or weight <= value:
            bits = ("1" if weight <= value else "0") + bits
            value -= weight if weight <= value else 0
    return bits + "1"


def fibonacci_ranges(ids: Iterable[int]) -> str:
    found = runs(ids)
    bits, before = number(len(found), 12), 0
    for first, last in found:
        bits += "0" if first == last else "1"
        bits += fibonacci(first - before)
        bits += "" if first == last else fibonacci(last - first)
        before = last
    return bits


def optimized(ids: Iterable[int], *, as_ranges: bool) -> str:
    held = set(ids)
    largest = max(held, default=0)
    return number(largest, 16) + ("1" + fibonacci_ranges(held) if as_ranges else "0" + field_of(held, largest))


@dataclass
class Tc:
    """What a TC string says; defaults make a string that keeps every rule of v2.3."""

    created: int = 17_000_000_000
    updated: int = 17_000_000_000
    cmp: int = 300
    language: str = "EN"
    policy: int = 5
    service_specific: bool = True
    features: set[int] = field(default_factory=set)
    consents: set[int] = field(default_factory=set)
    interests: set[int] = field(default_factory=set)
    country: str = "DE"
    vendors: set[int] = field(default_factory=set)
    vendor_interests: set[int] = field(default_factory=set)
    restrictions: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    disclosed: set[int] | None = field(default_factory=set)
    publisher: set[int] | None = None
    as_ranges: bool = False
    to_bytes: bool = True
    version: int = 2

    def core(self) -> str:
        bits = number(self.version, 6) + number(self.created, 36) + number(self.updated, 36) + number(self.cmp, 12)
        bits += number(1, 12) + number(1, 6) + letters(self.language) + number(48, 12) + number(self.policy, 6)
        bits += ("1" if self.service_specific else "0") + "0" + field_of(self.features, 12)
        bits += field_of(self.consents, 24) + field_of(self.interests, 24) + "0" + letters(self.country)
        bits += vendors(self.vendors, as_ranges=self.as_ranges)
        bits += vendors(self.vendor_interests, as_ranges=self.as_ranges)
        bits += number(len(self.restrictions), 12)
        for (purpose, kind), ids in self.restrictions.items():
            bits += number(purpose, 6) + number(kind, 2) + fixed_ranges(runs(ids))
        return bits

    def core_text(self) -> str:
        return text_of(self.core(), to_bytes=self.to_bytes)

    def text(self) -> str:
        parts = [self.core()]
        if self.disclosed is not None:
            parts.append("001" + vendors(self.disclosed, as_ranges=self.as_ranges))
        if self.publisher is not None:
            parts.append("011" + field_of(self.publisher, 24) + field_of((), 24) + number(0, 6))
        return ".".join(text_of(bits, to_bytes=self.to_bytes) for bits in parts)


def header(ids: Iterable[int], *, to_bytes: bool = True) -> str:
    return text_of(number(3, 6) + number(1, 6) + fibonacci_ranges(ids), to_bytes=to_bytes)


def gpp(sections: dict[int, str], *, to_bytes: bool = True) -> str:
    return "~".join([header(sections, to_bytes=to_bytes), *(sections[n] for n in sorted(sections))])


def us(values: Sequence[int], *, version: int = 1, gpc: bool | None = None, to_bytes: bool = True) -> str:
    core = text_of(number(version, 6) + "".join(number(v, 2) for v in values), to_bytes=to_bytes)
    if gpc is None:
        return core
    return core + "." + text_of("01" + ("1" if gpc else "0"), to_bytes=to_bytes)


# How many two-bit fields the core of each US section has, counted in the specifications.
US_FIELDS = {
    8: 20, 9: 17, 10: 16, 11: 18, 12: 19, 13: 20, 14: 20, 15: 23, 16: 18, 17: 23, 18: 18, 19: 18, 20: 20, 21: 24,
    22: 18, 23: 18, 24: 8, 25: 9, 26: 9, 27: 9,
}  # fmt: skip
WITH_GPC = {7, 8, 10, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24}
SHORT_NATIONAL, LONG_NATIONAL = 27, 32
