"""A small seeded generator, so that the demo is the same on every machine.

SHA-256 over seed, label and a counter. Every person rolls dice of their own, so that the tenth person is the same
whether ten or ten thousand are made. Not for secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")

SEED = "consent-gateway/demo/1"


class Dice:
    """Numbers that depend on nothing but `label` and how many were drawn before."""

    def __init__(self, label: str, seed: str = SEED) -> None:
        self._prefix = f"{seed}\x00{label}\x00"
        self._drawn = 0

    def below(self, limit: int) -> int:
        """Return an integer in `[0, limit)`; `limit` is far below 2^64, so that the bias is of no account."""
        self._drawn += 1
        digest = sha256(f"{self._prefix}{self._drawn}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % limit

    def between(self, low: int, high: int) -> int:
        """Return an integer in `[low, high]`."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """Return True in `percent` of a hundred cases."""
        return self.below(100) < percent

    def pick(self, values: Sequence[T]) -> T:
        """Return one of `values`, all equally likely; `values` is not empty."""
        return values[self.below(len(values))]

    def weighted(self, weights: Sequence[tuple[T, int]]) -> T:
        """Return one of the values; each is as likely as its weight."""
        left = self.below(sum(weight for _, weight in weights))
        for value, weight in weights:
            if left < weight:
                return value
            left -= weight
        return weights[-1][0]
