"""Destroying the key of a past generation of the blind index: after that, nothing is found by its values any more.

Two acts of one transaction each with the irreversible one between them, as with key epochs
(`services.epoch_destruction`): `decide` with its entry, the key out of the keyring, an entry that it is done. Whoever
finds something decided and not done does it again.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import generations as generation_rows
from consent_gateway.db import index_destructions as rows
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services import approvals
from consent_gateway.services.gateway import Gateway, Work


def propose(work: Work, number: int) -> Approval:
    """Propose to destroy the key of a generation; ConflictError says what still needs it, errors of `approvals`."""
    _require_needless(work, number)
    return approvals.propose(work, Action.DESTROY_INDEX_GENERATION, {"generation": number})


def decide(work: Work, number: int) -> None:
    """Decide to destroy the key of a generation that nothing needs any more, by an approval of exactly that.

    ConflictError says what still needs it; ForbiddenError if nobody approved; NotFoundError if there is no such key.
    """
    work.changed_registers()
    _require_needless(work, number)
    if is_decided(work, number):
        raise ConflictError("the key of this generation is decided to be destroyed already")
    approval = approvals.use(work, Action.DESTROY_INDEX_GENERATION, {"generation": number})
    rows.decide(work.session, number, approval.id, work.now)
    work.record(EntryKind.INDEX_MOVED, {"step": "destroying", "from": number, "approval": approval.id})


def is_decided(work: Work, number: int) -> bool:
    """Tell whether it was decided to destroy the key of a generation, done or not."""
    return any(d.generation == number for d in rows.listed(work.session))


def carry_out(gateway: Gateway) -> list[int]:
    """Destroy what is decided and not done yet; returns the generations. Idempotent, for every process."""
    with gateway.look() as work:
        waiting = rows.listed(work.session, undone=True)
    return [d.generation for d in waiting if _destroy(gateway, d)]


# -- the parts ---------------------------------------------------------------------------------------------------------


def _require_needless(work: Work, number: int) -> None:
    index = work.registers.index
    if number not in work.gateway.vault.custody.keyring.generations:
        raise NotFoundError("the keyring holds no such index generation")
    used = {index.counts.number, *(other.number for other in index.others())}
    if number in used | {work.gateway.vault.custody.keyring.current_generation}:
        raise ConflictError("this generation is in use: move the index first")
    counted = generation_rows.count(work.session, number)
    left = counted + sum(generation_rows.strangers(work.session, number).values())
    if left:
        raise ConflictError(f"{left} rows of people who are not known can be found by this key alone")


def _destroy(gateway: Gateway, destruction: rows.IndexDestruction) -> bool:
    custody = gateway.vault.custody
    custody.follow()
    if destruction.generation in custody.keyring.generations:
        custody.use(custody.keyring.destroy_index_generation(destruction.generation))
    with gateway.work() as work:
        if not rows.destroyed(work.session, destruction.generation, work.now):
            return False  # another process wrote the entry
        fields = {"step": "destroyed", "from": destruction.generation, "approval": destruction.approval}
        work.record(EntryKind.INDEX_MOVED, fields)
    return True
