"""Four eyes as use cases: propose, approve, refuse, use. What may be done this way: `domain.approvals`.

A use case that needs four eyes calls `use` (an act done once) or `standing` (an order, a window) in its transaction,
before it acts, and names the approval in its entry. Each step here is an entry too.

Everyone begins by holding the registers, so that a key that is revoked meanwhile neither proposes nor approves, and
then locks the row: of two who approve, or of two who use, one comes second and is refused.
"""

from __future__ import annotations

import secrets

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import approvals as rows
from consent_gateway.domain.approvals import (
    ACTS,
    PROPOSAL_SECONDS,
    USE_SECONDS,
    Action,
    Approval,
    ApprovalState,
    Subject,
    problem,
)
from consent_gateway.errors import (
    AuthenticationError,
    ConflictError,
    FieldProblem,
    ForbiddenError,
    InputError,
    NotFoundError,
)
from consent_gateway.services.work.gateway import Work

_LISTED = 200
_ID_BYTES = 16


def propose(work: Work, action: Action, subject: Subject, valid_until: int | None = None) -> Approval:
    """Propose an act; it does nothing until somebody else approves it.

    `valid_until` (seconds) belongs to a standing one. InputError names the member of `subject` or the instant that is
    wrong; ConflictError if the same is proposed or approved already; ForbiddenError for the gateway itself.
    """
    _require_person(work)
    _require_subject(action, subject)
    _require_end(work, action, valid_until)
    written = _written(subject)
    _require_none_open(work, action, written)
    approval = Approval(
        secrets.token_hex(_ID_BYTES),
        action,
        dict(subject),
        work.actor.id,
        work.now,
        work.now + PROPOSAL_SECONDS,
        valid_until,
    )
    rows.add(work.session, approval, written)
    fields = {"expires_at": approval.expires_at, "valid_until": valid_until}
    work.record(EntryKind.APPROVAL_PROPOSED, _named(approval) | fields)
    return approval


def approve(work: Work, approval_id: str, action: Action | None = None) -> Approval:
    """Approve a proposal of somebody else; `action`: what the caller takes it to be for.

    NotFoundError if there is none; ForbiddenError for who proposed it; ConflictError if it is not open any more, or for
    another action.
    """
    _require_person(work)
    found = _open(work, approval_id, action, ApprovalState.PROPOSED)
    if found.proposed_by == work.actor.id:
        raise ForbiddenError("four eyes: somebody else than who proposed it approves")
    until = found.valid_until if found.standing else work.now + USE_SECONDS
    rows.change(work.session, found.id, approved_by=work.actor.id, approved_at=work.now, valid_until=until)
    fields = {"proposed_by": found.proposed_by, "valid_until": until}
    work.record(EntryKind.APPROVAL_GIVEN, _named(found) | fields)
    return find(work, found.id)


def refuse(work: Work, approval_id: str, action: Action | None = None) -> Approval:
    """End a proposal, or an approval that was not used up; who proposed it withdraws it by this. Errors: `approve`."""
    _require_person(work)
    found = _open(work, approval_id, action, ApprovalState.PROPOSED, ApprovalState.APPROVED)
    withdrawn = found.proposed_by == work.actor.id
    _end(work, found, ApprovalState.WITHDRAWN if withdrawn else ApprovalState.REFUSED)
    return find(work, found.id)


def use(work: Work, action: Action, subject: Subject) -> Approval:
    """Use up the approval of an act that is done once, and return it; ForbiddenError if nobody approved exactly that.

    It is used up with the transaction: if that fails, the approval is still there.
    """
    hold(work)
    for found in rows.open_for(work.session, action, _written(subject), lock=True):
        if not found.standing and state(work, found) is ApprovalState.APPROVED:
            _end(work, found, ApprovalState.USED)
            return found
    raise ForbiddenError(f"four eyes: {action.value} needs an approval of exactly this, and there is none")


def open_for(work: Work, action: Action, subject: Subject) -> Approval | None:
    """Return what is proposed or approved for exactly this subject, if anything is."""
    hold(work)
    found = rows.open_for(work.session, action, _written(subject), lock=True)
    open_states = (ApprovalState.PROPOSED, ApprovalState.APPROVED)
    return next((a for a in found if state(work, a) in open_states), None)


def standing(work: Work, action: Action) -> list[Approval]:
    """Return the standing approvals of an action that hold now, the newest first; the caller cites the one it acts by.

    In a transaction that acts by one, call `hold` before: a key that is revoked meanwhile takes it away.
    """
    return [a for a in rows.open_for(work.session, action) if a.standing and state(work, a) is ApprovalState.APPROVED]


def hold(work: Work) -> None:
    """Keep keys and registers as they are until the transaction ends; AuthenticationError for a revoked caller."""
    work.hold_registers()
    if not work.is_live(work.actor):
        raise AuthenticationError


def find(work: Work, approval_id: str) -> Approval:
    """Return one approval; NotFoundError if there is none."""
    found = rows.find(work.session, approval_id)
    if found is None:
        raise NotFoundError("there is no such approval")
    return found


def listing(work: Work) -> list[Approval]:
    """Return the approvals that were proposed last (at most 200), the newest first."""
    return rows.newest(work.session, _LISTED)


def state(work: Work, approval: Approval) -> ApprovalState:
    """Return how an approval stands now."""
    return approval.state(work.now, {p.id for p in work.registers.principals.values()})


def lapse(work: Work) -> int:
    """Record which approvals are over by time or by a revoked key, and return how many; idempotent, for the worker."""
    if not rows.any_open(work.session):
        return 0
    hold(work)
    over = [a for a in rows.not_ended(work.session) if state(work, a) in (ApprovalState.EXPIRED, ApprovalState.VOID)]
    for approval in over:
        _end(work, approval, state(work, approval))
    return len(over)


# -- the parts ---------------------------------------------------------------------------------------------------


def _open(work: Work, approval_id: str, action: Action | None, *allowed: ApprovalState) -> Approval:
    found = rows.find(work.session, approval_id, lock=True)
    if found is None:
        raise NotFoundError("there is no such approval")
    if action not in (None, found.action):
        raise ConflictError(f"this is about {found.action.value}")
    now = state(work, found)
    if now not in allowed:
        raise ConflictError(f"this is {now.value}, and nothing can be done with it any more")
    return found


def _end(work: Work, approval: Approval, how: ApprovalState) -> None:
    rows.change(work.session, approval.id, ended=how.value, ended_by=work.actor.id, ended_at=work.now)
    fields = {"proposed_by": approval.proposed_by, "approved_by": approval.approved_by, "how": how.value}
    work.record(EntryKind.APPROVAL_ENDED, _named(approval) | fields)


def _require_person(work: Work) -> None:
    """Refuse the gateway itself: four eyes are those of two keys."""
    if not work.actor.key:
        raise ForbiddenError("four eyes are those of two API keys: use one with the scope approve")
    hold(work)


def _require_subject(action: Action, subject: Subject) -> None:
    wrong = problem(action, subject)
    if wrong is not None:
        act = ACTS[action]
        message = f"the subject of {action.value} has exactly: {', '.join(sorted(act.numbers | act.names))}"
        path = f"$.subject.{wrong}" if wrong in act.numbers | act.names else "$.subject"
        raise InputError(fields=(FieldProblem(path, "invalid_subject", message),))


def _require_end(work: Work, action: Action, valid_until: int | None) -> None:
    longest = ACTS[action].longest_seconds
    if longest is None and valid_until is None:
        return
    if longest is None or valid_until is None or not work.now < valid_until <= work.now + longest:
        hours = (longest or 0) // 3600
        message = "is for standing approvals" if longest is None else f"an instant within {hours} hours from now"
        raise InputError(fields=(FieldProblem("$.valid_until", "invalid_instant", message),))


def _require_none_open(work: Work, action: Action, subject: str) -> None:
    rows.hold_proposals(work.session)
    open_states = (ApprovalState.PROPOSED, ApprovalState.APPROVED)
    if any(state(work, a) in open_states for a in rows.open_for(work.session, action, subject)):
        raise ConflictError("the same is proposed or approved already")


def _written(subject: Subject) -> str:
    return canonical_json(dict(subject)).decode()


def _named(approval: Approval) -> dict[str, object]:
    return {"approval": approval.id, "action": approval.action.value, "subject": dict(approval.subject)}
