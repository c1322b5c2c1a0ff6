"""The key epoch by the clock: rolled when it is old enough, the old one destroyed when two people ordered it so.

Rolling loses nothing and needs nobody. Destroying needs the standing order `scheduled_epoch_roll` for exactly the
length and grace that are set: then each destruction cites it. Out of the two follows by when an erasure reaches every
backup: what is erased now has its key under the current epoch at most, which is rolled at its end and destroyed after
the grace.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db.destructions import KEY_EPOCHS
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.key_jobs import JobKind, KeyJob
from consent_gateway.errors import ConflictError
from consent_gateway.services.keys import epoch_roll
from consent_gateway.services.keys.epoch_destruction import DRAIN_SECONDS, EPOCHS
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work

# What a roll takes at least where none was measured: far below what it does, for the deadline is a promise.
_SLOWEST_PER_SECOND = 1_000
_SLACK_SECONDS = 300  # keepers look every few seconds, and a page may wait for a lease


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when what is erased now is unreadable in every older backup (seconds); None with the reason why not."""

    at: int | None
    why: str
    order: str | None = None


def begin_if_due(gateway: Gateway) -> KeyJob | None:
    """Begin to roll the epoch if its time is over; returns the roll that was begun."""
    with gateway.look() as work:
        due = _due(work)
    if not due:
        return None
    with gateway.work(SYSTEM) as work:
        work.changed_registers()
        return epoch_roll.start(work) if _due(work) else None


def destroy_if_ordered(gateway: Gateway) -> list[int]:
    """Decide to destroy every past epoch whose grace is over, if the standing order holds; returns them."""
    with gateway.look() as work:
        ready = _ready(work) if order(work) is not None else []
    return [epoch for epoch in ready if _decided(gateway, epoch)]


def order(work: Work) -> Approval | None:
    """Return the standing order for the length and grace that are set, if one holds now."""
    rules = work.gateway.rules
    wanted = {"epoch_seconds": rules.key_epoch_seconds, "grace_seconds": rules.key_epoch_grace_seconds}
    found = approvals.standing(work, Action.SCHEDULED_EPOCH_ROLL)
    return next((approval for approval in found if approval.subject == wanted), None)


def deadline(work: Work) -> Deadline:
    """Return by when an erasure of now reaches every older backup: rest of the epoch, roll, grace, the service's time.

    Nothing is promised while anything that should be over is not: what has been late once says nothing of when it ends.
    """
    length = work.gateway.rules.key_epoch_seconds
    if length is None:
        return Deadline(None, "no promise: no schedule is set")
    found = order(work)
    if found is None:
        return Deadline(None, "no promise: no schedule approved")
    late = _late(work)
    if late is not None:
        return Deadline(None, f"no promise: {late}", found.id)
    begun = _begun(work)
    ends = work.now if begun is None else max(work.now, begun + length)
    grace = max(work.gateway.rules.key_epoch_grace_seconds, DRAIN_SECONDS)
    decided = ends + _roll_seconds(work) + grace + _SLACK_SECONDS
    if found.valid_until is not None and found.valid_until < decided:
        return Deadline(None, "no promise: the standing order ends before", found.id)
    at = decided + work.gateway.vault.provider.keyring.destruction_seconds
    return Deadline(at, "the epoch ends, is rolled, and is destroyed after its grace", found.id)


# -- the parts ---------------------------------------------------------------------------------------------------


def _begun(work: Work) -> int | None:
    """Return when the current epoch began; None for one that no roll began: nobody knows how old it is."""
    return job_rows.roll_begun(work.session, work.gateway.vault.provider.keyring.current_epoch)


def _late(work: Work) -> str | None:
    """Return what should be over by now and is not."""
    for epoch, due in _past(work):
        if work.now >= due + _SLACK_SECONDS:
            return f"epoch {epoch} should be destroyed by now, and is not"
    for roll in job_rows.unfinished(work.session, JobKind.EPOCH_ROLL):
        takes = max(_roll_seconds(work), roll.total // (roll.rate or _SLOWEST_PER_SECOND))
        if work.now >= roll.started_at + takes + _SLACK_SECONDS:
            return f"the roll to epoch {roll.to_number} should have ended by now, and has not"
    if None in work.gateway.vault.provider.keyring.destructions.values():
        return "the key service still owes the destruction of a key"
    return None


def _due(work: Work) -> bool:
    length = work.gateway.rules.key_epoch_seconds
    if length is None or job_rows.unfinished(work.session, JobKind.EPOCH_ROLL):
        return False
    begun = _begun(work)
    return begun is None or work.now >= begun + length


def _ready(work: Work) -> list[int]:
    decided = {d.number for d in KEY_EPOCHS.listed(work.session)}
    return [epoch for epoch, due in _past(work) if work.now >= due and epoch not in decided]


def _past(work: Work) -> list[tuple[int, int]]:
    """Return each past epoch of the keyring that a finished roll left behind, with the end of its own grace."""
    grace = max(work.gateway.rules.key_epoch_grace_seconds, DRAIN_SECONDS)
    left = job_rows.left_behind(work.session, work.gateway.vault.provider.keyring.epochs)
    return [(epoch, at + grace) for epoch, at in left]


def _decided(gateway: Gateway, epoch: int) -> bool:
    """Decide under the order, which is looked at again: it may have been taken back. False while something hinders."""
    try:
        with gateway.work(SYSTEM) as work:
            approvals.hold(work)
            found = order(work)
            if found is None:
                return False
            EPOCHS.decide(work, epoch, found)
    except ConflictError:
        return False  # a process is behind, or data keys are left: the next look tries again, and the status shows it
    return True


def _roll_seconds(work: Work) -> int:
    last = job_rows.last_finished(work.session, JobKind.EPOCH_ROLL)
    took = 0 if last is None or last.finished_at is None else last.finished_at - last.started_at
    people = 0 if last is None else last.total
    return max(took, people // _SLOWEST_PER_SECOND)
