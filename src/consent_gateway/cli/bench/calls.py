"""Timing a function in process: a mean over distinct arguments, the loop measured alike for figures and limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.stats import Spread, spread

Ask = Callable[[Any], object]


def microseconds(plan: Plan, prepare: Callable[[], Ask], asked: Sequence[Any]) -> Spread:
    """Return the microseconds a call over all of `asked`; what `prepare` makes anew is part of the time."""
    runs = []
    for _ in range(plan.rounds):
        begun = perf_counter()
        ask = prepare()
        for each in asked:
            ask(each)
        runs.append((perf_counter() - begun) / len(asked) * 1e6)
    return spread(runs)


def nothing(point: object) -> object:
    """Do what Python does for a call that does nothing."""
    return point
