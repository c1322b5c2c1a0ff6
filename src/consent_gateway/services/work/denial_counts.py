"""What this process has counted of those it turned away and has not recorded yet; `denials` records it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

_MINUTE = 60
_MOST = 256  # kinds of denials in memory; what comes beyond is counted together
_MORE = "more"


class Denial(NamedTuple):
    """A kind of denial within a minute (its first second): whose key ("" for none that is known), scope, and why."""

    minute: int
    principal: str
    scope: str
    why: str


class Denials:
    """Counts by kind. Thread-safe, and bounded however many knock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Denial] = Counter()

    def note(self, principal: str, scope: str, why: str, now: int) -> None:
        """Count one request that was turned away at `now` (seconds)."""
        seen = Denial(now - now % _MINUTE, principal, scope, why)
        with self._lock:
            if seen not in self._counts and len(self._counts) >= _MOST:
                seen = Denial(seen.minute, "", "", _MORE)
            self._counts[seen] += 1

    def take(self, now: int, *, everything: bool = False) -> Counter[Denial]:
        """Return and forget what was counted in minutes that are over, or `everything`."""
        with self._lock:
            over = Counter({d: n for d, n in self._counts.items() if everything or d.minute + _MINUTE <= now})
            self._counts -= over
        return over

    def give_back(self, counts: Counter[Denial]) -> None:
        """Count what could not be recorded once more."""
        with self._lock:
            self._counts += counts
