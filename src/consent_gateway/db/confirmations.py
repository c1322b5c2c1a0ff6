"""Requests for a second step that wait for it: each by the hash of its token, beside the pending fact."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import consent_confirmations, consent_events

_c = consent_confirmations.c


def digest(token: str) -> bytes:
    """Return what is stored of a token: its randomness makes a plain hash enough, and looking it up tells no prefix."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request as it is stored; `fact` is the pending row of the ledger."""

    expires_at: int
    confirmed_at: int | None
    fact: Any


def put(session: Session, row: dict[str, Any]) -> None:
    """Write one request (`token_hash`, `subject_id`, `event_id`, `expires_at`)."""
    session.execute(insert(consent_confirmations), [row | {"confirmed_at": None}])


def find(session: Session, token_hash: bytes) -> Waiting | None:
    """Return the request with this hash of its token; None if there is none, or the person is gone."""
    statement = (
        select(_c.expires_at, _c.confirmed_at, *consent_events.c)
        .join(consent_events, consent_events.c.id == _c.event_id)
        .where(_c.token_hash == token_hash)
    )
    row = session.execute(statement).first()
    return None if row is None else Waiting(row.expires_at, row.confirmed_at, row)


def take(session: Session, token_hash: bytes, at: int) -> bool:
    """Mark a request as confirmed; False for whoever comes second."""
    waiting = update(consent_confirmations).where(_c.token_hash == token_hash, _c.confirmed_at.is_(None))
    return session.execute(waiting.values(confirmed_at=at)).rowcount == 1
