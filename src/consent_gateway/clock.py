"""The only caller of "now".

Everything else receives the instant as an argument: a decision is a function of its facts and of one instant,
so that it can be replayed (promise P10). Instants are aware datetimes in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the current instant in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place


class FixedClock:
    """A clock that stands still until it is told to move; for tests, replays and simulations."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def __call__(self) -> datetime:
        """Return the instant that was set."""
        return self.instant

    def advance(self, delta: timedelta) -> datetime:
        """Move the clock by `delta` (also backwards) and return the new instant."""
        self.instant += delta
        return self.instant
