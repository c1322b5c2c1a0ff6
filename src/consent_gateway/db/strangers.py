"""What is kept of contact points whoever has them, as rows: the suppression list, and opt-outs that wait for somebody.

Both name a contact point by its lasting token alone: they outlive an erasure, and are there before anybody is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, tuple_

from consent_gateway.db.dialects import chunks, insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import Token
from consent_gateway.db.tables import suppressions, waiting_opt_outs

_STRANGERS = 0x737472616E676572  # "stranger"


def suppress(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Put contact points on the suppression list (`token`, `kind`, `reason`, `at`); it survives erasure."""
    insert_ignoring(session, suppressions, rows, suppressions.c.token)


def unsuppress_erased(session: Session, tokens: Collection[Token]) -> None:
    """Take contact points off the list that only an erasure had put there; what anybody asked for stays."""
    c = suppressions.c
    for part in chunks(tokens, 200):
        named = tuple_(c.kind, c.token).in_([(t.kind, t.value) for t in part])
        session.execute(delete(suppressions).where(named, c.reason == "erased"))


def suppressed(session: Session, tokens: Collection[Token]) -> set[Token]:
    """Return which tokens are on the suppression list."""
    found: set[Token] = set()
    for part in chunks(tokens, 200):
        pairs = [(t.kind, t.value) for t in part]
        statement = select(suppressions.c.kind, suppressions.c.token).where(
            tuple_(suppressions.c.kind, suppressions.c.token).in_(pairs)
        )
        found.update(Token(r.kind, bytes(r.token)) for r in session.execute(statement))
    return found


def any_suppressed(session: Session) -> bool:
    """Tell whether the suppression list has any row; most batches need not ask further."""
    return session.execute(select(suppressions.c.kind).limit(1)).scalar() is not None


def hold_strangers(session: Session, *, arriving: bool) -> None:
    """Order the arrival of people against opt-outs of people nobody knows yet; until the transaction ends.

    Those who bring people share the lock, an opt-out of a stranger takes it alone. SQLite has one writer anyway.
    """
    if session.dialect.name != "sqlite":
        function = func.pg_advisory_xact_lock_shared if arriving else func.pg_advisory_xact_lock
        session.execute(select(function(_STRANGERS)))


def put_waiting(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Keep opt-outs of people nobody knows (`kind`, `token`, `fact`, `at`) until they turn up."""
    session.execute(insert(waiting_opt_outs), list(rows))


def take_waiting(session: Session, tokens: Collection[Token]) -> list[tuple[Token, str]]:
    """Remove and return the opt-outs that waited for these identifiers, oldest first."""
    found: list[tuple[Token, str]] = []
    for part in chunks(tokens, 200):
        pairs = [(t.kind, t.value) for t in part]
        condition = tuple_(waiting_opt_outs.c.kind, waiting_opt_outs.c.token).in_(pairs)
        rows = session.execute(select(waiting_opt_outs).where(condition).order_by(waiting_opt_outs.c.id))
        found += [(Token(row.kind, bytes(row.token)), row.fact) for row in rows]
        session.execute(delete(waiting_opt_outs).where(condition))
    return found


def any_waiting(session: Session) -> bool:
    """Tell whether any opt-out waits; most batches need not ask further."""
    return session.execute(select(waiting_opt_outs.c.id).limit(1)).scalar() is not None
