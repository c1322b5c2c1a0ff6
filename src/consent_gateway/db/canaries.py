"""Canaries as rows: made-up people whom no honest process asks for."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from consent_gateway.db.dialects import chunks, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import canaries
from consent_gateway.domain.ids import SubjectId


def plant(session: Session, subject_id: SubjectId, at: int) -> None:
    """Mark a person as a canary; once is enough."""
    insert_ignoring(session, canaries, [{"subject_id": subject_id, "planted_at": at}], canaries.c.subject_id)


def among(session: Session, ids: Collection[SubjectId]) -> set[SubjectId]:
    """Return which of the people are canaries; asked also about nobody, so that every call makes the same statement."""
    found: set[SubjectId] = set()
    for part in chunks(sorted(ids) or [SubjectId(0)]):
        statement = select(canaries.c.subject_id).where(canaries.c.subject_id.in_(part))
        found.update(SubjectId(i) for i in session.execute(statement).scalars())
    return found
