"""Quotas as rows. Counting is right under concurrency because of one lock: whoever counts holds the key's row first.

`hold` takes it until the transaction ends, on whichever replica; what is read after it was committed by everyone who
held it before (READ COMMITTED), and on SQLite there is one writer anyway.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update

from consent_gateway.db.dialects import chunks, insert_ignoring, upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import quota_units, quotas
from consent_gateway.domain.quotas import QuotaKind

_u = quota_units.c


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """What is stored of a key's quota: its own limits (None: the setting), and since when it is suspended, if it is."""

    per_hour: int | None
    per_day: int | None
    suspended_at: int | None


def hold(session: Session, principal: str, kind: QuotaKind) -> QuotaRow:
    """Return a key's quota, held until the transaction ends; made where there was none."""
    found = _held(session, principal, kind)
    if found is None:
        insert_ignoring(session, quotas, [{"principal": principal, "kind": kind.value}], quotas.c.principal)
        found = _held(session, principal, kind)
    return found or QuotaRow(None, None, None)


def _held(session: Session, principal: str, kind: QuotaKind) -> QuotaRow | None:
    columns = (quotas.c.per_hour, quotas.c.per_day, quotas.c.suspended_at)
    statement = select(*columns).where(quotas.c.principal == principal, quotas.c.kind == kind.value)
    row = session.execute(statement.with_for_update()).one_or_none()
    return None if row is None else QuotaRow(row.per_hour, row.per_day, row.suspended_at)


def forget(session: Session, principal: str, kind: QuotaKind, until: int) -> None:
    """Delete what no window counts any more: everything up to `until` (seconds)."""
    session.execute(delete(quota_units).where(*_of(principal, kind), _u.at <= until))


def forget_all(session: Session, until: int) -> int:
    """Delete the units of every key up to `until` (seconds), also of keys that never ask again; returns how many."""
    return session.execute(delete(quota_units).where(_u.at <= until)).rowcount


def used(session: Session, principal: str, kind: QuotaKind, after: int) -> int:
    """Return how many units count after an instant."""
    return session.execute(select(func.count()).where(*_of(principal, kind), _u.at > after)).scalar() or 0


def last_asked(session: Session, principal: str, kind: QuotaKind, units: Collection[bytes]) -> dict[bytes, int]:
    """Return when each of `units` was asked about last, as far as it was."""
    found: dict[bytes, int] = {}
    for part in chunks(units):
        statement = select(_u.unit, _u.at).where(*_of(principal, kind), _u.unit.in_(part))
        found.update({bytes(row.unit): row.at for row in session.execute(statement)})
    return found


def nth_oldest(session: Session, principal: str, kind: QuotaKind, after: int, number: int) -> int | None:
    """Return the instant of unit `number` (from 1) of those that count after an instant, oldest first."""
    statement = select(_u.at).where(*_of(principal, kind), _u.at > after).order_by(_u.at)
    return session.execute(statement.offset(number - 1).limit(1)).scalar()


def count(session: Session, principal: str, kind: QuotaKind, units: Collection[bytes], at: int) -> None:
    """Count units as asked about at `at`."""
    rows = [{"principal": principal, "kind": kind.value, "unit": unit, "at": at} for unit in sorted(units)]
    upsert(session, quota_units, rows)


def put_limits(session: Session, principal: str, kind: QuotaKind, per_hour: int | None, per_day: int | None) -> None:
    """Write a key's own limits; the row must be held."""
    _set(session, principal, kind, {"per_hour": per_hour, "per_day": per_day})


def suspend(session: Session, principal: str, kind: QuotaKind, at: int | None) -> None:
    """Suspend a key since `at`, or lift the suspension (None); the row must be held."""
    _set(session, principal, kind, {"suspended_at": at})


def listed(session: Session) -> list[dict[str, Any]]:
    """Return every quota that a key ever touched."""
    statement = select(quotas).order_by(quotas.c.principal, quotas.c.kind)
    return [dict(row) for row in session.execute(statement).mappings()]


def _set(session: Session, principal: str, kind: QuotaKind, values: dict[str, int | None]) -> None:
    statement = update(quotas).where(quotas.c.principal == principal, quotas.c.kind == kind.value)
    session.execute(statement.values(values))


def _of(principal: str, kind: QuotaKind) -> tuple[Any, Any]:
    return _u.principal == principal, _u.kind == kind.value
