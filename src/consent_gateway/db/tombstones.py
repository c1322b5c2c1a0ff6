"""Tombstones as rows: keyed hashes of the identifiers of erased people, why and when, and whether one was lifted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from consent_gateway.db.dialects import chunks, upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import tombstones


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The 32-byte hash of one identifier; instants in seconds. `reason`: of the erasure, empty where nobody kept it."""

    token: bytes
    kind: str
    erased_at: int
    reason: str
    lifted_at: int | None = None


def put(session: Session, stones: Sequence[Tombstone]) -> None:
    """Set tombstones; one that was lifted stands again: its person was there once more, and was erased once more."""
    upsert(session, tombstones, [{c.name: getattr(s, c.name) for c in tombstones.columns} for s in stones])


def lift(session: Session, tokens: Iterable[bytes], at: int) -> None:
    """Lift the tombstones of these hashes: they keep nobody away any more, and still say since when facts count."""
    for part in chunks(tokens):
        session.execute(update(tombstones).where(tombstones.c.token.in_(part)).values(lifted_at=at))


def standing(session: Session, tokens: Iterable[bytes], *, lock: bool = False) -> dict[bytes, Tombstone]:
    """Return which of the hashes have a tombstone that was not lifted; with `lock`, until the transaction ends."""
    return _among(session, tokens, tombstones.c.lifted_at.is_(None), lock=lock)


def lifted(session: Session, tokens: Iterable[bytes]) -> dict[bytes, Tombstone]:
    """Return which of the hashes have a tombstone that was lifted."""
    return _among(session, tokens, tombstones.c.lifted_at.is_not(None))


def any_row(session: Session) -> bool:
    """Tell whether anyone was ever erased; most batches need not ask further."""
    return session.execute(select(tombstones.c.kind).limit(1)).scalar() is not None


def any_lifted(session: Session) -> bool:
    """Tell whether any tombstone was ever lifted; most batches need not ask further."""
    found = select(tombstones.c.kind).where(tombstones.c.lifted_at.is_not(None)).limit(1)
    return session.execute(found).scalar() is not None


def _among(session: Session, tokens: Iterable[bytes], which: Any, *, lock: bool = False) -> dict[bytes, Tombstone]:
    found = {}
    for part in chunks(sorted(tokens)):
        statement = select(tombstones).where(tombstones.c.token.in_(part), which).order_by(tombstones.c.token)
        for row in session.execute(statement.with_for_update() if lock else statement):
            token = bytes(row.token)
            found[token] = Tombstone(token, row.kind, row.erased_at, row.reason, row.lifted_at)
    return found
