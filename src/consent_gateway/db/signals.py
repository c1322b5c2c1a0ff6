"""Signals as rows: kept with the person, or by the identifier they came with until its person turns up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, tuple_, update

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import Token
from consent_gateway.db.tables import signal_mappings, signals
from consent_gateway.domain.ids import SubjectId


def put(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Keep signals; the rows carry every column but `id` and `linked_at`."""
    if rows:
        session.execute(insert(signals), list(rows))


def unlinked(session: Session, tokens: Collection[Token]) -> list[tuple[Token, int, bytes]]:
    """Return identifier, id and ciphertext of the signals that came with these identifiers and belong to nobody."""
    nobody = signals.c.subject_id.is_(None)
    found: list[tuple[Token, int, bytes]] = []
    for part in chunks(tokens, 200):
        pairs = [(t.kind, t.value) for t in part]
        named = tuple_(signals.c.identifier_kind, signals.c.token).in_(pairs)
        rows = session.execute(select(signals).where(nobody, named).order_by(signals.c.id))
        found += [(Token(r.identifier_kind, bytes(r.token)), r.id, bytes(r.sealed)) for r in rows]
    return found


def any_unlinked(session: Session) -> bool:
    """Tell whether any signal belongs to nobody; most batches need not ask further."""
    return session.execute(select(signals.c.id).where(signals.c.subject_id.is_(None)).limit(1)).scalar() is not None


def link(session: Session, signal: int, subject_id: SubjectId, sealed: bytes, now: int) -> None:
    """Give a signal to the person whose identifier it came with, sealed anew under their key; its token goes."""
    statement = update(signals).where(signals.c.id == signal)
    linked = {"subject_id": subject_id, "sealed": sealed, "linked_at": now, "token": None, "generation": None}
    session.execute(statement.values(**linked))


def of_subjects(session: Session, ids: Collection[SubjectId], limit: int) -> list[dict[str, Any]]:
    """Return the newest signals of a person, of every subject of theirs, newest first, without the strings."""
    columns = [c for c in signals.columns if c.name not in {"sealed", "token", "subject_id"}]
    statement = select(*columns).where(signals.c.subject_id.in_(ids)).order_by(signals.c.id.desc()).limit(limit)
    return [dict(row) for row in session.execute(statement).mappings()]


def replace_mapping(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write the whole mapping (`kind`, `rule`, `number`, `purpose`, `channel`, `recipient`) in place of the last."""
    session.execute(delete(signal_mappings))
    if rows:
        session.execute(insert(signal_mappings), list(rows))


def mapping_rows(session: Session) -> list[dict[str, Any]]:
    """Return the mapping in its order."""
    order = (signal_mappings.c.kind, signal_mappings.c.rule, signal_mappings.c.number)
    return [dict(row) for row in session.execute(select(signal_mappings).order_by(*order)).mappings()]
