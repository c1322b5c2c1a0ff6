"""Destroying a past key epoch: after that, what was wrapped under it is unreadable in every copy of the store.

It cannot be taken back, so it is two acts of one transaction each, with the irreversible one between them:

1. `decide`: two keys approved it, nothing live is under the epoch, and every process has gone on. The entry comes first
   (promise P4): whoever reads the log sees what was decided even if the machine dies now.
2. `carry_out`: the root leaves the keyring, durably. Whoever finds something decided and not done does it again.
3. An entry says that it is done.

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
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.key_jobs import JobKind
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services import approvals
from consent_gateway.services.gateway import Gateway, Work
from consent_gateway.vault.keyring import Keyring

DRAIN_SECONDS = 60
ALIVE_SECONDS = 45


def propose(work: Work, epoch: int) -> Approval:
    """Propose to destroy a past epoch; somebody else approves it. Errors: those of `require_past`, and of proposals."""
    require_past(work, epoch)
    return approvals.propose(work, Action.DESTROY_KEY_EPOCH, {"epoch": epoch})


def decide(work: Work, epoch: int, order: Approval | None = None) -> None:
    """Decide to destroy a past epoch, by an approval of exactly that or by a standing order.

    ConflictError says what is still in the way; ForbiddenError if nobody approved it.
    """
    work.changed_registers()  # whoever is writing about people is waited for, and sees the newer keyring next
    work.gateway.vault.provider.refresh()
    require_past(work, epoch)
    if is_decided(work, epoch):
        raise ConflictError("this epoch is decided to be destroyed already")
    _require_nothing_under(work, epoch)
    _require_everyone_on(work, epoch)
    approval = order or approvals.use(work, Action.DESTROY_KEY_EPOCH, {"epoch": epoch})
    key_epochs.decide(work.session, epoch, approval.id, work.now)
    fields = {"approval": approval.id, "standing": approval.standing, "approved_by": approval.approved_by}
    work.record(EntryKind.KEK_DESTROYING, {"epoch": epoch, "proposed_by": approval.proposed_by} | fields)


def is_decided(work: Work, epoch: int) -> bool:
    """Tell whether it was decided to destroy an epoch, done or not."""
    return any(d.epoch == epoch for d in key_epochs.destructions(work.session))


def carry_out(gateway: Gateway) -> list[int]:
    """Destroy what is decided and not done yet; returns the epochs. Idempotent, for every process."""
    with gateway.look() as work:
        waiting = key_epochs.destructions(work.session, undone=True)
    return [d.epoch for d in waiting if _destroy(gateway, d)]


def require_past(work: Work, epoch: int) -> None:
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


def _destroy(gateway: Gateway, destruction: key_epochs.Destruction) -> bool:
    provider = gateway.vault.provider
    provider.refresh()
    if destruction.epoch in provider.keyring.epochs:
        provider.use(provider.keyring.destroy_kek_epoch(destruction.epoch))
    with gateway.work() as work:
        if not key_epochs.destroyed(work.session, destruction.epoch, work.now):
            return False  # another process wrote the entry
        fields: dict[str, object] = {"epoch": destruction.epoch, "approval": destruction.approval}
        work.record(EntryKind.KEK_DESTROYED, {**fields, **_still_at_service(provider.keyring)})
    return True


def _still_at_service(keyring: Keyring) -> dict[str, int]:
    """Return what of destroyed roots the key service still has: old copies of the keyring's file open until then."""
    until = [None if by is None else int(by.timestamp()) for by in keyring.destructions.values()]
    known = [by for by in until if by is not None]
    owed = {"service_owes": until.count(None)} if None in until else {}
    return owed | ({"service_until": max(known)} if known else {})
