"""How much is measured: sizes and durations, in full and quick."""

from __future__ import annotations

from dataclasses import dataclass, replace

MIN_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of one benchmark; durations in seconds, rates a second."""

    seconds: float = 5.0
    warmup: float = 1.0
    rounds: int = MIN_ROUNDS
    people: int = 200_000
    connections: int = 32
    offered: float = 1000.0
    open_connections: int = 64
    questions: int = 5000
    batch: int = 1000
    import_calls: int = 10
    import_rows: int = 1000
    receipts: int = 200
    audience_calls: int = 7
    entries: int = 1_000_000

    def lasting(self, seconds: float) -> Plan:
        """Return the plan with windows of `seconds`."""
        return replace(self, seconds=seconds, warmup=min(self.warmup, seconds / 2))


FULL = Plan()
QUICK = Plan(
    seconds=1.0,
    warmup=0.5,
    people=10_000,
    questions=1000,
    import_calls=2,
    receipts=40,
    entries=20_000,
    audience_calls=3,
)
