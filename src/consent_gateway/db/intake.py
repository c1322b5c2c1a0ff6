"""What came in and how it was answered: import counts, quarantined rows, replies kept for idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from consent_gateway.db.dialects import chunks, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import Token
from consent_gateway.db.tables import idempotency_keys, imports, quarantine, quarantine_identifiers

_QUARANTINE = 0x72656675736564  # "refused"


def hold_quarantine(session: Session, *, keeping: bool) -> None:
    """Order those who keep refused rows against who erases somebody in them; until the transaction ends.

    Those who keep share the lock, and take no other after it; an erasure takes it alone. SQLite has one writer anyway.
    """
    if session.dialect.name != "sqlite":
        function = func.pg_advisory_xact_lock_shared if keeping else func.pg_advisory_xact_lock
        session.execute(select(function(_QUARANTINE)))


def put_quarantine(session: Session, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Keep rejected rows (sealed) with their reasons; returns their ids in the same order."""
    if not rows:
        return []
    statement = insert(quarantine).returning(quarantine.c.id, sort_by_parameter_order=True)
    return list(session.execute(statement, list(rows)).scalars())


def tie_quarantine(session: Session, pairs: Sequence[tuple[Token, int]]) -> None:
    """Remember which identifiers a kept row contains, so that an erasure reaches it."""
    rows = [{"kind": t.kind, "token": t.value, "quarantine_id": i} for t, i in pairs]
    insert_ignoring(session, quarantine_identifiers, rows, quarantine_identifiers.c.quarantine_id)


def forget_quarantined(session: Session, tokens: Sequence[Token]) -> int:
    """Empty every kept row that contains one of the identifiers; its reasons stay. Returns how many those were."""
    hold_quarantine(session, keeping=False)
    emptied = 0
    for token in tokens:
        tied = (quarantine_identifiers.c.kind == token.kind) & (quarantine_identifiers.c.token == token.value)
        emptied += _empty(session, quarantine.c.id.in_(select(quarantine_identifiers.c.quarantine_id).where(tied)))
        session.execute(delete(quarantine_identifiers).where(tied))
    return emptied


def empty_quarantine(session: Session, before: int) -> int:
    """Empty every kept row older than `before` (seconds); its reasons stay."""
    return _empty(session, quarantine.c.at < before)


def _empty(session: Session, which: ColumnElement[bool]) -> int:
    """Empty those of the kept rows that are not yet, and untie them: nothing is looked for in them any more."""
    kept = which & (quarantine.c.sealed != b"")
    ids = session.execute(update(quarantine).where(kept).values(sealed=b"").returning(quarantine.c.id)).scalars().all()
    for part in chunks(ids):
        session.execute(delete(quarantine_identifiers).where(quarantine_identifiers.c.quarantine_id.in_(part)))
    return len(ids)


def quarantine_rows(session: Session, after: int, limit: int) -> list[dict[str, Any]]:
    """Return rejected rows above `after` without their content."""
    columns = [c for c in quarantine.columns if c.name != "sealed"]
    statement = select(*columns).where(quarantine.c.id > after).order_by(quarantine.c.id).limit(limit)
    return [dict(row) for row in session.execute(statement).mappings()]


def put_import(session: Session, row: dict[str, Any]) -> None:
    """Keep the counts of one import call."""
    session.execute(insert(imports), [row])


def find_reply(session: Session, principal: str, key: str) -> Any | None:
    """Return the stored reply for an idempotency key, None when it is new."""
    statement = select(idempotency_keys).where(idempotency_keys.c.principal == principal, idempotency_keys.c.key == key)
    return session.execute(statement).first()


def forget_replies(session: Session, before: int) -> int:
    """Delete replies older than `before` (seconds); a request that comes again after that is a new one."""
    return session.execute(delete(idempotency_keys).where(idempotency_keys.c.at < before)).rowcount


def put_reply(session: Session, row: dict[str, Any]) -> None:
    """Store the reply for an idempotency key; a racing twin raises RaceError at this point."""
    session.execute(insert(idempotency_keys), [row])
