"""Open a new epoch of the log: what it goes on from, what is lost, and who decided it. See `audit.epochs`.

A *plan* is computed from what is there: the surviving log of the store, and every kept checkpoint that contradicts it
(of copies, and of what this process published itself). Two people decide it: the approval is for exactly that plan, by
its digest, which covers the new key, what survives and what is lost. Opening it is one transaction: the approval is
used up, the statement is signed by the key of the epoch before, and the first entry of the new epoch is integrated at
once, before whatever waits. So no two roots of one size are ever signed under one origin.

Nothing contradicts the log: then the plan is a change of its key, and nothing is lost. Receipts, exports and
checkpoints of an older epoch stay what they are.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.entries import EntryKind, EntryWriter
from consent_gateway.audit.epochs import Anchor, Loss, Succession, epoch_number, epoch_origin, statement_digest
from consent_gateway.audit.log import EMPTY_HEAD, NO_CHAIN, Head, integrate
from consent_gateway.audit.log_keys import LogKeys
from consent_gateway.audit.notes import Note, parse_note
from consent_gateway.db import log_state
from consent_gateway.db.engine import Session
from consent_gateway.db.log_state import EpochRow
from consent_gateway.db.log_store import Edge, SqlLogStore
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ConflictError, LogHaltedError
from consent_gateway.services.log import spool
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.log_view import LogView, UnsoundError, view
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import UID_BYTES, Gateway, Work
from consent_gateway.services.work.log_gate import SPOOL, FaultKind

_CURABLE = frozenset({FaultKind.ROLLED_BACK, FaultKind.FORKED})


@dataclass(frozen=True, slots=True)
class Plan:
    """The epoch that would be opened now; `last` is that of the newest contradicting checkpoint, or the current one."""

    current: int
    last: int
    succession: Succession

    @property
    def epoch(self) -> int:
        """The number of the new epoch."""
        return self.succession.epoch

    @property
    def name(self) -> str:
        """What an approval of exactly this names it by; a planned change of the key does not depend on the size."""
        said = self.succession
        if said.lost is None:
            said = replace(said, surviving=0, root=EMPTY_HEAD.root)
        return "p" + sha256(said.text.encode()).hexdigest()[:40]

    def subject(self, reason: str) -> dict[str, int | str]:
        """Return the subject of its approval."""
        return {"epoch": self.epoch, "plan": self.name, "reason": reason}

    def as_json(self) -> dict[str, object]:
        """Return what the plan says, for people and for the entry."""
        said = self.succession
        lost = said.lost
        return {
            "epoch": said.epoch,
            "origin": epoch_name(said),
            "vkey": said.vkey,
            "surviving": {"size": said.surviving, "root": said.root.hex()},
            "lost": None if lost is None else {"from": lost.start, "until": lost.until, "root": lost.root.hex()},
        }


def epoch_name(said: Succession) -> str:
    """Return the origin of the epoch that a statement opens: the name of its key."""
    return said.vkey.partition("+")[0]


def planned(gateway: Gateway, copies: Copies) -> Plan:
    """Return the epoch that would be opened now. LogHaltedError if the stored log itself is not sound."""
    kept = _kept(gateway, copies)
    with gateway.store.reading() as session:
        return _plan(_sound(gateway, session), kept)


def propose(work: Work, copies: Copies, reason: str) -> Approval:
    """Propose the epoch that would be opened now; `reason` is a slug. Errors as `approvals.propose`."""
    kept = _kept(work.gateway, copies)
    plan = _plan(_sound(work.gateway, work.session), kept)
    return approvals.propose(work, Action.LOG_EPOCH, plan.subject(reason))


def open_epoch(gateway: Gateway, actor: Principal, copies: Copies, reason: str) -> EpochRow:
    """Open the epoch that two people approved, and look at every copy anew.

    ForbiddenError without an approval of exactly this; ConflictError if what halts the log is nothing that an epoch
    cures (another log, altered entries): that has to be put right first.
    """
    _require_curable(gateway)
    with gateway.work(actor, curing=True) as work:
        store = SqlLogStore(work.session, Edge(), 0)
        head = store.head()
        plan = _plan(_sound(gateway, work.session), _kept(gateway, copies))
        if plan.succession.lost is None and gateway.gate.faults.keys() - {SPOOL}:
            raise ConflictError("no checkpoint is known that the log contradicts, so its loss cannot be named")
        approval = approvals.use(work, Action.LOG_EPOCH, plan.subject(reason))
        row = _opened(work, plan, reason)
        note = _integrated(work, store, head, plan, row, approval)
        log_state.add_epoch(work.session, row)
    gateway.adopt_epoch(plan.epoch)
    gateway.published = note
    gateway.gate.report("memory", None)
    for source in list(gateway.gate.evidence):
        gateway.gate.evidence.pop(source)
        gateway.gate.report(source, None)
    for copy in copies.copies:
        copies.bring(copy)
    spool.settle(gateway)
    return row


def listing(work: Work) -> list[EpochRow]:
    """Return every epoch after the first, oldest first."""
    return log_state.epochs(work.session)


def told(row: EpochRow) -> dict[str, Any]:
    """Return what people and auditors are told of an epoch after the first; its statement is text."""
    return {
        "epoch": row.epoch,
        "origin": row.origin,
        "vkey": row.vkey,
        "reason": row.reason,
        "surviving": row.surviving,
        "lost_from": row.lost_from,
        "lost_until": row.lost_until,
        "statement": row.statement.decode(),
    }


# -- the parts ---------------------------------------------------------------------------------------------------


def _sound(gateway: Gateway, session: Session) -> LogView:
    try:
        return view(session, gateway.log_keys)
    except UnsoundError as error:
        raise LogHaltedError(str(error.fault)) from None


def _require_curable(gateway: Gateway) -> None:
    for source, fault in gateway.gate.faults.items():
        if fault.kind not in _CURABLE and source != SPOOL:
            raise ConflictError(f"no epoch cures what {source} found: {fault}")


def _plan(log: LogView, kept: Sequence[Checkpoint]) -> Plan:
    held, against = _evidence(log, kept)
    newest = max(against, key=lambda kept: (_number(log.keys, kept), kept.size), default=None)
    last = log.epoch if newest is None else max(_number(log.keys, newest), log.epoch)
    epoch = last + 1
    lost = None if newest is None else Loss(_common(log, held, against), newest.size, newest.root)
    said = Succession(
        epoch_origin(log.keys.origin, last), epoch, log.keys.signer(epoch).vkey, log.size, log.head.root, lost
    )
    return Plan(log.epoch, last, said)


def _kept(gateway: Gateway, copies: Copies) -> list[Checkpoint]:
    """Return every checkpoint that is known; ask *before* the log is read, which may grow meanwhile."""
    kept = [state.kept for state in copies.states.values() if state.kept is not None]
    kept += gateway.gate.evidence.values()
    return kept if gateway.published is None else [*kept, gateway.published]


def _evidence(log: LogView, kept: Sequence[Checkpoint]) -> tuple[list[Checkpoint], list[Checkpoint]]:
    """Return the kept checkpoints that the log extends, and those that it contradicts."""
    stands = [(checkpoint, log.judge(checkpoint)) for checkpoint in kept]
    held = [checkpoint for checkpoint, anchor in stands if anchor is Anchor.HOLDS]
    return held, [c for c, anchor in stands if anchor in (Anchor.ROLLED_BACK, Anchor.FORKED)]


def _common(log: LogView, held: Sequence[Checkpoint], against: Sequence[Checkpoint]) -> int:
    """Return the largest size that is known to be common to the log and to what contradicts it."""
    least = min(checkpoint.size for checkpoint in against)
    newest = max(checkpoint.size for checkpoint in against)
    if all(checkpoint.size > log.size for checkpoint in against):
        return log.size
    return max((c.size for c in held if c.size < min(least, newest, log.size + 1)), default=0)


def _number(keys: LogKeys, checkpoint: Checkpoint) -> int:
    return epoch_number(keys.origin, checkpoint.origin) or 0


def _opened(work: Work, plan: Plan, reason: str) -> EpochRow:
    said = plan.succession
    lost = said.lost
    return EpochRow(
        said.epoch,
        epoch_name(said),
        said.vkey,
        reason,
        said.surviving,
        None if lost is None else lost.start,
        None if lost is None else lost.until,
        _statement(work.gateway.log_keys, plan),
        secrets.token_bytes(UID_BYTES),
        work.now,
    )


def _statement(keys: LogKeys, plan: Plan) -> bytes:
    """Return the statement, signed by the key of every epoch between the store's and the one that is superseded.

    Usually that is one. There are two where the store was set back to before an epoch: who knows that epoch follows
    from it, who does not follows from the one before.
    """
    text = plan.succession.text
    notes = [parse_note(keys.signer(number).sign_text(text)) for number in sorted({plan.current, plan.last})]
    return Note(text, tuple(signature for note in notes for signature in note.signatures)).to_bytes()


def _integrated(
    work: Work, store: SqlLogStore, head: Head, plan: Plan, row: EpochRow, approval: Approval
) -> Checkpoint:
    """Write the first entry of the epoch into the tree, under the new key; returns the head that was signed."""
    entry = _entry(work, plan, row, approval)
    done = integrate(head, [(entry, NO_CHAIN)], {})
    signer = work.gateway.log_keys.signer(plan.epoch)
    store.write(done, signer.sign_checkpoint(done.head.size, done.head.root))
    return Checkpoint(signer.key.name, done.head.size, done.head.root)


def _entry(work: Work, plan: Plan, row: EpochRow, approval: Approval) -> bytes:
    fields: Mapping[str, object] = plan.as_json() | {
        "previous": plan.succession.origin,
        "reason": row.reason,
        "approval": approval.id,
        "proposed_by": approval.proposed_by,
        "approved_by": approval.approved_by,
        "statement": statement_digest(row.statement).hex(),
    }
    return EntryWriter(EntryKind.LOG_EPOCH_OPENED, work.actor.id).write(work.now_ms, row.entry_uid, fields)
