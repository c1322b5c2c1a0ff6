"""What was put off while the keys were away, as rows: one is carried out at a time, the oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import deferrals

_t = deferrals.c


@dataclass(frozen=True, slots=True)
class Deferral:
    """One call that was put off: its entry's uid, whose it was and for whom, when it came (seconds), and the letter."""

    id: int
    uid: bytes
    principal: str
    recipient: str
    at: int
    epoch: int
    sealed: bytes
    refused: str | None = None


def add(session: Session, **values: Any) -> None:
    """Insert one; it waits."""
    session.execute(insert(deferrals).values(**values))


def any_waiting(session: Session) -> bool:
    """Tell whether one waits."""
    return session.execute(select(_t.id).where(_t.refused.is_(None)).limit(1)).scalar() is not None


def oldest(session: Session) -> Deferral | None:
    """Return the oldest one that waits, locked until the transaction ends; None if there is none, or it just went."""
    statement = select(deferrals).where(_t.refused.is_(None)).order_by(_t.id).limit(1).with_for_update()
    row = session.execute(statement).one_or_none()
    return None if row is None else Deferral(*row)


def remove(session: Session, number: int) -> None:
    """Delete one that was carried out."""
    session.execute(delete(deferrals).where(_t.id == number))


def refuse(session: Session, number: int, code: str) -> None:
    """Set one aside, with the code of what it was refused with."""
    session.execute(update(deferrals).where(_t.id == number).values(refused=code))


def forget_refused(session: Session, before: int) -> None:
    """Delete what was set aside and came before an instant."""
    session.execute(delete(deferrals).where(_t.refused.is_not(None), _t.at < before))


def waiting_under(session: Session, epoch: int) -> int:
    """Return how many that wait are in the letterbox of an epoch."""
    counted = select(func.count()).select_from(deferrals).where(_t.epoch == epoch, _t.refused.is_(None))
    return session.execute(counted).scalar() or 0


def counts(session: Session) -> tuple[int, int]:
    """Return how many wait, and how many were set aside."""
    waiting = select(func.count(), func.count(_t.refused)).select_from(deferrals)
    total, refused = session.execute(waiting).one()
    return total - refused, refused
