"""From runs to figures: nearest-rank percentiles, medians with their range, and shares of a limit.

Invariant: a share is 1 where the limit is reached and smaller where it is missed, both for rates (more is better) and
for times (less is better).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

TIMES = frozenset({"ms", "µs"})


@dataclass(frozen=True, slots=True)
class Spread:
    """What several runs gave: their median, least and greatest value."""

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True, slots=True)
class Limit:
    """What the same machine does in the same run when it does only `name`; the same unit as the figure."""

    name: str
    value: Spread


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured; `unit` is `ms`, `µs` (less is better) or a rate such as `requests/s`."""

    name: str
    value: Spread
    unit: str
    limits: tuple[Limit, ...] = ()
    aim: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the aim; None where there is none."""
        if self.aim is None:
            return None
        return self.value.median <= self.aim if self.unit in TIMES else self.value.median >= self.aim

    def share(self, limit: Limit) -> float:
        """Return which share of `limit` is reached."""
        return share(self.value.median, limit.value.median, self.unit)

    def as_json(self) -> dict[str, Any]:
        """Return the figure for programs."""
        return {
            "name": self.name,
            "unit": self.unit,
            **_json(self.value),
            "limits": [{"name": m.name, **_json(m.value), "share": self.share(m)} for m in self.limits],
            "aim": self.aim,
            "met": self.met,
            "note": self.note,
        }


def _json(value: Spread) -> dict[str, float]:
    return {"median": value.median, "min": value.low, "max": value.high, "runs": value.runs}


def spread(values: Sequence[float]) -> Spread:
    """Return the median and range of some runs; ValueError if there are none."""
    if not values:
        raise ValueError("no run, no figure")
    return Spread(median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], share_below: float) -> float:
    """Return the nearest-rank percentile of unsorted `values`, e.g. 0.99; ValueError if there are none.

    The nearest rank is a value that was measured: the least one that `share_below` of all do not exceed.
    """
    if not values:
        raise ValueError("no value, no percentile")
    ordered = sorted(values)
    return ordered[max(math.ceil(share_below * len(ordered)), 1) - 1]


def share(value: float, limit: float, unit: str) -> float:
    """Return `value / limit` for a rate and `limit / value` for a time; 0 where that is not defined."""
    above, below = (limit, value) if unit in TIMES else (value, limit)
    return above / below if below else 0.0


def in_a_row(*rates: float) -> float:
    """Return the rate of doing one thing after the other, each at its rate: a harmonic sum."""
    return 1 / sum(1 / rate for rate in rates)


def milliseconds(latencies_us: Sequence[int], share_below: float) -> float:
    """Return a percentile of latencies in microseconds, in milliseconds."""
    return percentile(latencies_us, share_below) / 1000
