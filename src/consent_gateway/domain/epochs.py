"""Epochs of pseudonyms: which names a sector of recipients is given now, and which earlier ones still count.

A roll begins the next epoch: whoever is named from then on gets another name, which nobody can join with the former one
but the gateway. For an overlap the former names still count, so that a recipient can move its tables; after it they are
refused as if they had been made up. Epochs only grow: a name that stopped counting never counts again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

FIRST_EPOCH = 1
MAX_OVERLAP_SECONDS = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of one sector: the `current` one, and until when (exclusive, in seconds) each former one counts."""

    current: int = FIRST_EPOCH
    former: Mapping[int, int] = field(default_factory=dict)

    def counting(self, now: int) -> Collection[int]:
        """Return the epochs whose pseudonyms mean somebody at `now`, the current one first."""
        if not self.former:  # the usual case, on the path of every decision
            return (self.current,)
        return (self.current, *(epoch for epoch, until in self.former.items() if until > now))

    def rolled(self, now: int, overlap_seconds: int) -> Epochs:
        """Return the epochs after a roll: no former one counts longer than `overlap_seconds` from `now` on.

        So an overlap of 0 ends them all at once, as a leak asks for.
        """
        last = now + overlap_seconds
        return Epochs(
            self.current + 1, {e: min(until, last) for e, until in self.former.items()} | {self.current: last}
        )


FIRST_EPOCHS = Epochs()
