"""Destroying a past key epoch: after that, what was wrapped under it is unreadable in every copy of the store.

The protocol is that of `services.keys.key_destruction`. What stands in the way: something live lies under the epoch, or
a process has not gone on.

Why no reader fails. A wrap under the epoch is in no row since the roll ended. One that was read before is used up by
transactions that are over: `DRAIN_SECONDS` have passed, and no store lets one idle longer. Nobody wraps under it any
more: whoever is writing now is waited for, and whoever writes later sees other registers, which say under which epoch
at least a data key may be wrapped (`Registers.least_epoch`). That holds for a process that was stopped or whose machine
slept, and for one with an older keyring. So that none of them has to be refused, every process that was seen in the
last `ALIVE_SECONDS` must hold a newer epoch.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import deferrals, key_epochs
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db.destructions import KEY_EPOCHS, Destruction
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.key_jobs import JobKind
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services.keys.key_destruction import Destroyable, Said
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.keyring import Keyring

DRAIN_SECONDS = 60
ALIVE_SECONDS = 45


def _require_past(work: Work, epoch: int) -> None:
    """Raise ConflictError for the current epoch, NotFoundError for one that the keyring does not hold."""
    keyring = work.gateway.vault.provider.keyring
    if epoch == keyring.current_epoch:
        raise ConflictError("this is the current epoch: roll it first")
    if epoch not in keyring.epochs:
        raise NotFoundError("the keyring holds no such epoch")


def holders(work: Work) -> dict[str, tuple[int, ...]]:
    """Return the epochs in the memory of each process that lives."""
    return key_epochs.live(work.session, work.now - ALIVE_SECONDS)


# -- the parts ---------------------------------------------------------------------------------------------------


def _require_needless(work: Work, epoch: int) -> None:
    _require_nothing_under(work, epoch)
    _require_everyone_on(work, epoch)


def _require_nothing_under(work: Work, epoch: int) -> None:
    under = job_rows.wraps_by_epoch(work.session).get(epoch, 0)
    if under:
        raise ConflictError(f"{under} data keys are still wrapped under this epoch: roll the epoch")
    waiting = deferrals.waiting_under(work.session, epoch)
    if waiting:
        raise ConflictError(f"{waiting} calls that were put off are sealed under this epoch and not carried out yet")
    roll = job_rows.last_finished(work.session, JobKind.EPOCH_ROLL)
    if roll is None or roll.finished_at is None or (roll.to_number or 0) <= epoch:
        raise ConflictError("no finished roll has left this epoch behind")
    if work.now < roll.finished_at + DRAIN_SECONDS:
        raise ConflictError(f"the roll ended a moment ago: wait until {DRAIN_SECONDS} seconds after it")


def _require_everyone_on(work: Work, epoch: int) -> None:
    behind = [holder for holder, held in holders(work).items() if max(held, default=0) <= epoch]
    if behind:
        raise ConflictError(f"{len(behind)} processes have not read the newer keyring yet")


def _deciding(epoch: int, approval: Approval) -> Said:
    fields = {"approval": approval.id, "standing": approval.standing, "approved_by": approval.approved_by}
    return EntryKind.KEK_DESTROYING, {"epoch": epoch, "proposed_by": approval.proposed_by} | fields


def _done(keyring: Keyring, destruction: Destruction) -> Said:
    fields: dict[str, object] = {"epoch": destruction.number, "approval": destruction.approval}
    return EntryKind.KEK_DESTROYED, {**fields, **_still_at_service(keyring)}


def _still_at_service(keyring: Keyring) -> dict[str, int]:
    """Return what of destroyed roots the key service still has: old copies of the keyring's file open until then."""
    until = [None if by is None else int(by.timestamp()) for by in keyring.destructions.values()]
    known = [by for by in until if by is not None]
    owed = {"service_owes": until.count(None)} if None in until else {}
    return owed | ({"service_until": max(known)} if known else {})


EPOCHS = Destroyable(
    "epoch",
    Action.DESTROY_KEY_EPOCH,
    KEY_EPOCHS,
    require_past=_require_past,
    require_needless=_require_needless,
    held=lambda keyring: keyring.epochs,
    without=Keyring.destroy_kek_epoch,
    deciding=_deciding,
    done=_done,
)
