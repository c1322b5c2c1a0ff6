"""Quotas: how many different people a key may ask about within the last hour and the last day.

Windows roll: what was asked at `at` counts while `at > now - window`. The same person asked again counts once, from the
last time. Whoever counts holds the key's row of the quota until the transaction ends (`db.quotas`), so that the
arithmetic here is never overtaken.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HOUR, DAY = 3600, 86_400


class QuotaKind(StrEnum):
    """What is counted: people who were revealed, and identifiers of nobody that were asked about."""

    REVEAL = "reveal"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most within any hour, and within any day."""

    per_hour: int
    per_day: int

    def windows(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return `(seconds, most)` of each window."""
        return (HOUR, self.per_hour), (DAY, self.per_day)


def excess(used: int, fresh: int, most: int) -> int:
    """Return how many of those that count have to leave a window before `fresh` more fit; 0 or less: they fit now."""
    return used + fresh - most
