"""How much of each window for revealing many people is used: one conditional statement, never exceeded."""

from __future__ import annotations

from sqlalchemy import update

from consent_gateway.db.dialects import insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import reveal_windows


def take(session: Session, approval: str, people: int, most: int) -> bool:
    """Count `people` against a window of `most`; False, and nothing counted, if they do not fit."""
    insert_ignoring(session, reveal_windows, [{"approval": approval, "used": 0}], reveal_windows.c.approval)
    used = reveal_windows.c.used
    statement = update(reveal_windows).where(reveal_windows.c.approval == approval, used + people <= most)
    return session.execute(statement.values(used=used + people)).rowcount == 1
