"""Legal holds as rows, and the erasures that wait for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from consent_gateway.db.dialects import chunks, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import legal_holds, pending_erasures
from consent_gateway.domain.holds import HELD, PENDING, Hold, HoldEnd, HoldReason
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import Flag

_c = legal_holds.c


@dataclass(frozen=True, slots=True)
class Waiting:
    """An erasure that was asked for while the person was held."""

    subject_id: SubjectId
    reason: str
    asked_at: int
    asked_by: str


def place(session: Session, subject_id: SubjectId, reason: HoldReason, until: int | None, by: str, at: int) -> int:
    """Put a hold on a subject and return its number."""
    row = {"subject_id": subject_id, "reason": reason, "until": until, "placed_at": at, "placed_by": by}
    number: int = session.execute(insert(legal_holds).values(**row).returning(_c.id)).scalar_one()
    return number


def end(session: Session, hold: int, at: int, by: str, reason: HoldEnd) -> None:
    """Say that a hold is in force no more; it stays as a record for as long as the person."""
    session.execute(update(legal_holds).where(_c.id == hold).values(ended_at=at, ended_by=by, end_reason=reason))


def of_subjects(session: Session, ids: Iterable[SubjectId], *, in_force: bool = True) -> list[Hold]:
    """Return the holds on any of the subjects, oldest first; ended ones only without `in_force`."""
    found: list[Hold] = []
    for part in chunks(ids):
        statement = select(legal_holds).where(_c.subject_id.in_(part)).order_by(_c.id)
        if in_force:
            statement = statement.where(_c.ended_at.is_(None))
        found += [_hold(row) for row in session.execute(statement)]
    return sorted(found, key=lambda hold: hold.id)


def due(session: Session, now: int, limit: int) -> list[Hold]:
    """Return holds in force whose day has come, the earliest first."""
    statement = select(legal_holds).where(_c.ended_at.is_(None), _c.until <= now).order_by(_c.until).limit(limit)
    return [_hold(row) for row in session.execute(statement)]


def any_hold(session: Session) -> bool:
    """Tell whether anybody was ever held; most work need not ask further."""
    return session.execute(select(_c.id).limit(1)).scalar() is not None


def flags(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, Flag]:
    """Return what holds in force, and erasures that wait, switch on for the subjects; nobody without any."""
    wanted = list(ids)
    if not any_hold(session):
        return {}
    found = {hold.subject_id: HELD for hold in of_subjects(session, wanted)}
    for part in chunks(wanted):
        statement = select(pending_erasures.c.subject_id).where(pending_erasures.c.subject_id.in_(part))
        found.update({SubjectId(i): PENDING for i in session.execute(statement).scalars()})
    return found


def put_waiting(session: Session, waiting: Waiting) -> bool:
    """Keep an erasure until it can be carried out; False if one waits already."""
    row = {
        "subject_id": waiting.subject_id,
        "reason": waiting.reason,
        "asked_at": waiting.asked_at,
        "asked_by": waiting.asked_by,
    }
    return bool(insert_ignoring(session, pending_erasures, [row], pending_erasures.c.subject_id))


def outweigh_waiting(session: Session, subject_id: SubjectId, weaker: str, reason: str) -> None:
    """Give an erasure that waits another reason, if it waits for a weaker one."""
    c = pending_erasures.c
    waiting = update(pending_erasures).where(c.subject_id == subject_id, c.reason == weaker)
    session.execute(waiting.values(reason=reason))


def waiting_after(session: Session, after: int, limit: int) -> list[Waiting]:
    """Return the erasures that wait, of subjects above `after`."""
    c = pending_erasures.c
    statement = select(pending_erasures).where(c.subject_id > after).order_by(c.subject_id).limit(limit)
    return [_waiting(row) for row in session.execute(statement)]


def waiting_of(session: Session, ids: Iterable[SubjectId]) -> Waiting | None:
    """Return the erasure that waits for a person, the earliest of their subjects'."""
    found: list[Waiting] = []
    for part in chunks(ids):
        statement = select(pending_erasures).where(pending_erasures.c.subject_id.in_(part))
        found += [_waiting(row) for row in session.execute(statement)]
    return min(found, key=lambda w: (w.asked_at, w.subject_id), default=None)


def _hold(row: Any) -> Hold:
    return Hold(
        row.id,
        SubjectId(row.subject_id),
        HoldReason(row.reason),
        row.until,
        row.placed_at,
        row.placed_by,
        row.ended_at,
        row.ended_by,
        None if row.end_reason is None else HoldEnd(row.end_reason),
    )


def _waiting(row: Any) -> Waiting:
    return Waiting(SubjectId(row.subject_id), row.reason, row.asked_at, row.asked_by)
