"""Turns: one writer of this process at a time, and whoever waits comes before whoever has just written.

A plain lock that is set free goes to the thread that runs, which may take it again and again: under a stream of writes
the sequencer would wait for seconds. So there are two locks. The next one holds the turn while waiting for the place;
a thread that comes back has to get the turn first.
"""

from __future__ import annotations

import threading
from time import monotonic


class Turns:
    """One place, and the turn to have it next. Thread-safe; not to be taken again by whoever holds it."""

    def __init__(self) -> None:
        self._turn, self._place = threading.Lock(), threading.Lock()

    def take(self, seconds: float) -> bool:
        """Hold the place; False if it was not free within `seconds`."""
        until = monotonic() + seconds
        if not _acquire(self._turn, until):
            return False
        try:
            return _acquire(self._place, until)
        finally:
            self._turn.release()

    def leave(self) -> None:
        """Give the place to whoever has the turn."""
        self._place.release()


def _acquire(lock: threading.Lock, until: float) -> bool:
    return lock.acquire(blocking=False) or lock.acquire(timeout=max(0.0, until - monotonic()))
