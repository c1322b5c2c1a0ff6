"""Four eyes: an act that one key proposes and another approves, within a time, for exactly what was proposed.

Acts are a closed list. Each says what it is about by a subject: a few numbers and names, none of them personal. An
approval is for that subject and no other. It is used once, within `USE_SECONDS`; or it is standing (an order, a window)
and holds until an instant that was proposed with it, however often it is cited.

The state is a function of the row, the instant, and the keys that live: an approval lapses and is void by itself,
without anything having to run. It rests on two keys; when either is revoked it is worth nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from consent_gateway.domain.ids import is_slug

PROPOSAL_SECONDS = 3 * 86_400  # how long a proposal waits for the second pair of eyes
USE_SECONDS = 86_400  # how long what was approved, to be done once, can be done
_HOUR, _DAY = 3600, 86_400
_MOST = (1 << 53) - 1


class ApprovalState(StrEnum):
    """How an approval stands; the first two are open, the others final."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    USED = "used"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    VOID = "void"  # a key it rests on was revoked


class Action(StrEnum):
    """What needs four eyes."""

    DESTROY_KEY_EPOCH = "destroy_key_epoch"
    DESTROY_INDEX_GENERATION = "destroy_index_generation"
    BULK_REVEAL_WINDOW = "bulk_reveal_window"
    SCHEDULED_EPOCH_ROLL = "scheduled_epoch_roll"
    MAKE_RECOVERY_SHARES = "make_recovery_shares"
    LOG_EPOCH = "log_epoch"
    LIFT_TOMBSTONES = "lift_tombstones"
    RENEW_OWN_KEY = "renew_own_key"


@dataclass(frozen=True, slots=True)
class Act:
    """What an action needs: the members of its subject, and how long a standing approval may last (None: used once)."""

    numbers: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    longest_seconds: int | None = None

    @property
    def standing(self) -> bool:
        """Tell whether it holds until an instant instead of being used once."""
        return self.longest_seconds is not None


ACTS: Mapping[Action, Act] = {
    Action.DESTROY_KEY_EPOCH: Act(frozenset({"epoch"})),
    Action.DESTROY_INDEX_GENERATION: Act(frozenset({"generation"})),
    Action.BULK_REVEAL_WINDOW: Act(
        frozenset({"subjects"}), frozenset({"principal", "purpose", "recipient"}), 4 * _HOUR
    ),
    Action.MAKE_RECOVERY_SHARES: Act(frozenset({"threshold", "count"})),
    Action.LOG_EPOCH: Act(frozenset({"epoch"}), frozenset({"plan", "reason"})),
    Action.SCHEDULED_EPOCH_ROLL: Act(frozenset({"epoch_seconds", "grace_seconds"}), frozenset(), 400 * _DAY),
    Action.RENEW_OWN_KEY: Act(frozenset({"epoch"})),
    Action.LIFT_TOMBSTONES: Act(frozenset({"at", "identifiers"}), frozenset({"act", "proof", "source"})),
}

Subject = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Approval:
    """One act with the keys that proposed and approved it; instants in seconds.

    `valid_until`: of a standing one from the proposal on, otherwise set by the approval.
    """

    id: str
    action: Action
    subject: Subject
    proposed_by: str
    proposed_at: int
    expires_at: int
    valid_until: int | None
    approved_by: str | None = None
    approved_at: int | None = None
    ended: ApprovalState | None = None
    ended_by: str | None = None
    ended_at: int | None = None

    @property
    def standing(self) -> bool:
        """Tell whether it holds until an instant instead of being used once."""
        return ACTS[self.action].standing

    def state(self, now: int, live: Collection[str]) -> ApprovalState:
        """Return how it stands at `now` (seconds) while the keys named `live` live."""
        if self.ended is not None:
            return self.ended
        if self.proposed_by not in live or (self.approved_by is not None and self.approved_by not in live):
            return ApprovalState.VOID
        if self.approved_by is None:
            over = now >= min(self.expires_at, self.valid_until or self.expires_at)
            return ApprovalState.EXPIRED if over else ApprovalState.PROPOSED
        over = self.valid_until is None or now >= self.valid_until
        return ApprovalState.EXPIRED if over else ApprovalState.APPROVED


def problem(action: Action, subject: Subject) -> str | None:
    """Return the member of a subject that is missing, too many, or of the wrong kind; None if all are right."""
    act = ACTS[action]
    for name in sorted((act.numbers | act.names) ^ subject.keys()):
        return name
    numbers = (n for n in sorted(act.numbers) if not _is_number(subject[n]))
    names = (n for n in sorted(act.names) if not _is_name(subject[n]))
    return next(numbers, None) or next(names, None)


def _is_number(value: int | str) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST


def _is_name(value: int | str) -> bool:
    return isinstance(value, str) and is_slug(value)
