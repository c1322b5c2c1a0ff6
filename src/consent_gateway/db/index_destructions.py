"""Which generations of the blind index are decided to lose their key, as rows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import index_destructions

_t = index_destructions.c


@dataclass(frozen=True, slots=True)
class IndexDestruction:
    """A generation whose key two people decided to destroy; `destroyed_at` is None until it is done."""

    generation: int
    approval: str
    decided_at: int
    destroyed_at: int | None


def decide(session: Session, generation: int, approval: str, now: int) -> None:
    """Write that a key is going to be destroyed; RaceError if that was decided already."""
    session.execute(insert(index_destructions).values(generation=generation, approval=approval, decided_at=now))


def destroyed(session: Session, generation: int, now: int) -> bool:
    """Write that it was; False if that is written already."""
    undone = update(index_destructions).where(_t.generation == generation, _t.destroyed_at.is_(None))
    return session.execute(undone.values(destroyed_at=now)).rowcount == 1


def listed(session: Session, *, undone: bool = False) -> list[IndexDestruction]:
    """Return what was decided, or what is not done yet, by generation."""
    statement = select(index_destructions).order_by(_t.generation)
    rows = session.execute(statement.where(_t.destroyed_at.is_(None)) if undone else statement)
    return [IndexDestruction(*row) for row in rows]
