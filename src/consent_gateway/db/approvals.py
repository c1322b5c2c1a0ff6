"""Approvals as rows. Whoever changes one locks it first, so that it is approved, refused or used once."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import approvals
from consent_gateway.domain.approvals import Action, Approval, ApprovalState

_t = approvals.c
_PROPOSALS = 0x70726F706F7365  # "propose"


def hold_proposals(session: Session) -> None:
    """Let one propose at a time, until the transaction ends: what is looked for before is a row that is not there."""
    if session.dialect.name != "sqlite":
        session.execute(select(func.pg_advisory_xact_lock(_PROPOSALS)))


def add(session: Session, approval: Approval, subject: str) -> None:
    """Insert a proposal; `subject` is its canonical JSON."""
    row = {c.name: getattr(approval, c.name) for c in approvals.columns} | {"subject": subject}
    session.execute(insert(approvals), [row])


def find(session: Session, approval_id: str, *, lock: bool = False) -> Approval | None:
    """Return an approval, locked until the transaction ends if that is wanted; None if there is no such one."""
    statement = select(approvals).where(_t.id == approval_id)
    row = session.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else _approval(row)


def open_for(session: Session, action: Action, subject: str | None = None, *, lock: bool = False) -> list[Approval]:
    """Return the approvals of an action (about one subject) that nothing has ended, the newest first."""
    statement = select(approvals).where(_t.action == action.value, _t.ended.is_(None))
    if subject is not None:
        statement = statement.where(_t.subject == subject)
    statement = statement.order_by(_t.proposed_at.desc(), _t.id)
    return [_approval(row) for row in session.execute(statement.with_for_update() if lock else statement)]


def not_ended(session: Session) -> list[Approval]:
    """Return every approval that nothing has ended, locked, in the order of their ids."""
    statement = select(approvals).where(_t.ended.is_(None)).order_by(_t.id).with_for_update()
    return [_approval(row) for row in session.execute(statement)]


def any_open(session: Session) -> bool:
    """Tell whether there is an approval that nothing has ended."""
    return session.execute(select(_t.id).where(_t.ended.is_(None)).limit(1)).scalar() is not None


def newest(session: Session, limit: int) -> list[Approval]:
    """Return the approvals that were proposed last, the newest first."""
    statement = select(approvals).order_by(_t.proposed_at.desc(), _t.id).limit(limit)
    return [_approval(row) for row in session.execute(statement)]


def change(session: Session, approval_id: str, **values: Any) -> None:
    """Write columns of one approval, which the caller has locked."""
    session.execute(update(approvals).where(_t.id == approval_id).values(**values))


def _approval(row: Row[Any]) -> Approval:
    values = dict(row._mapping)  # noqa: SLF001 - the documented way to read a row as a mapping
    values["action"], values["subject"] = Action(values["action"]), json.loads(values["subject"])
    values["ended"] = None if values["ended"] is None else ApprovalState(values["ended"])
    return Approval(**values)
