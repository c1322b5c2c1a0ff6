"""Work on all keys: what kinds there are, how far one is, and who is at it.

A job goes over the people in the order of their numbers and remembers the last one it did. Its position is a help, not
a truth: what is left to do is told by the data itself, so that a job can be taken up after any crash, by any process.
A lease keeps two processes from doing the same page; nothing would break if they did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LEASE_SECONDS = 30
START = -1  # before subject 0, which is the gateway itself


class JobKind(StrEnum):
    """What is done to all keys."""

    EPOCH_ROLL = "epoch_roll"
    DEK = "dek"
    INDEX_GENERATION = "index_generation"


@dataclass(frozen=True, slots=True)
class KeyJob:
    """One job; instants in seconds. `from_number` and `to_number`: epochs or generations, None for data keys.

    `done` are changed rows, `failed` those of this pass that could not be changed, `total` how many there were at
    first. `rate`: most rows a second, None for no limit; `rests_until`: when there is something to do again.
    """

    id: int
    kind: JobKind
    from_number: int | None
    to_number: int | None
    position: int
    done: int
    failed: int
    total: int
    started_at: int
    started_by: str
    finished_at: int | None = None
    lease_holder: str | None = None
    lease_until: int | None = None
    rate: int | None = None
    rests_until: int | None = None

    def held(self, now: int, holder: str) -> bool:
        """Tell whether somebody else is at it."""
        return self.lease_holder not in (None, holder) and (self.lease_until or 0) > now

    def rests(self, now: int) -> int:
        """Return for how many seconds there is nothing to do."""
        return 0 if self.finished_at is not None else max(0, (self.rests_until or 0) - now)

    @property
    def progress(self) -> float:
        """Return the share of rows that are done, 0 to 1."""
        return 1.0 if self.finished_at is not None else min(self.done / self.total, 1.0) if self.total else 0.0
