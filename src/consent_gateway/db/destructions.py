"""Which keys are decided to be destroyed, as rows: one table a kind of key, all of one form.

A row is written when two keys decided it, and says at the end when it was done.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Table, insert, select, update

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import index_destructions, key_destructions


@dataclass(frozen=True, slots=True)
class Destruction:
    """A key (by its number) that was decided to be destroyed; `destroyed_at` is None until it is done."""

    number: int
    approval: str
    decided_at: int
    destroyed_at: int | None


@dataclass(frozen=True, slots=True)
class Destructions:
    """The destructions of one kind of key; its table names the number first."""

    table: Table

    def decide(self, session: Session, number: int, approval: str, now: int) -> None:
        """Write that a key is going to be destroyed; RaceError if that was decided already."""
        session.execute(insert(self.table).values({self._number: number, "approval": approval, "decided_at": now}))

    def destroyed(self, session: Session, number: int, now: int) -> bool:
        """Write that it was; False if that is written already."""
        undone = update(self.table).where(self._number == number, self.table.c.destroyed_at.is_(None))
        return session.execute(undone.values(destroyed_at=now)).rowcount == 1

    def listed(self, session: Session, *, undone: bool = False) -> list[Destruction]:
        """Return what was decided, or what is not done yet, by number."""
        statement = select(self.table).order_by(self._number)
        rows = session.execute(statement.where(self.table.c.destroyed_at.is_(None)) if undone else statement)
        return [Destruction(*row) for row in rows]

    @property
    def _number(self) -> Column[int]:
        (column,) = self.table.primary_key.columns
        return column


KEY_EPOCHS = Destructions(key_destructions)
INDEX_GENERATIONS = Destructions(index_destructions)
