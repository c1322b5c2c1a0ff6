"""Erasures as rows: what each left in the tombstone file, and whether the file has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update

from consent_gateway.db.dialects import chunks, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import erasures

_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """One erasure: the uid of its entry, its instant (seconds), its line, and since when the file has the line."""

    uid: bytes
    at: int
    line: str
    filed_at: int | None = None


def add(session: Session, rows: Sequence[ErasureRow]) -> None:
    """Keep erasures; one that is there already stays as it is."""
    values = [{"uid": r.uid, "at": r.at, "line": r.line.encode(), "filed_at": r.filed_at} for r in rows]
    insert_ignoring(session, erasures, values, erasures.c.id)


def any_row(session: Session) -> bool:
    """Tell whether anything was ever kept here."""
    return session.execute(select(erasures.c.id).limit(1)).scalar() is not None


def count(session: Session) -> int:
    """Return how many rows there are."""
    return session.execute(select(func.count()).select_from(erasures)).scalar() or 0


def last(session: Session) -> int:
    """Return the number of the last erasure, 0 before the first."""
    return session.execute(select(func.max(erasures.c.id))).scalar() or 0


def known(session: Session, uids: Iterable[bytes]) -> set[bytes]:
    """Return which erasures there are."""
    found: set[bytes] = set()
    for part in chunks(uids):
        found.update(map(bytes, session.execute(select(erasures.c.uid).where(erasures.c.uid.in_(part))).scalars()))
    return found


def unfiled(session: Session, limit: int) -> list[ErasureRow]:
    """Return the oldest erasures whose line is not known to be in the file."""
    statement = select(erasures).where(erasures.c.filed_at.is_(None)).order_by(erasures.c.id).limit(limit)
    return [_row(r) for r in session.execute(statement)]


def newest_filed(session: Session, limit: int) -> list[bytes]:
    """Return the uids of the newest erasures that the file is known to have."""
    statement = select(erasures.c.uid).where(erasures.c.filed_at.is_not(None)).order_by(erasures.c.id.desc())
    return [bytes(uid) for uid in session.execute(statement.limit(limit)).scalars()]


def mark_filed(session: Session, uids: Iterable[bytes], now: int) -> None:
    """Say that the file has the lines of these erasures."""
    for part in chunks(uids):
        open_ones = erasures.c.uid.in_(part) & erasures.c.filed_at.is_(None)
        session.execute(update(erasures).where(open_ones).values(filed_at=now))


def every(session: Session) -> Iterator[ErasureRow]:
    """Yield every erasure in the order in which they were carried out, page by page."""
    after = 0
    while True:
        statement = select(erasures).where(erasures.c.id > after).order_by(erasures.c.id).limit(_PAGE)
        rows = session.execute(statement).all()
        if not rows:
            return
        yield from map(_row, rows)
        after = rows[-1].id


def _row(row: Any) -> ErasureRow:
    return ErasureRow(bytes(row.uid), row.at, bytes(row.line).decode(), row.filed_at)
