"""Every place where something lies sealed under a person's data key or the gateway's own: read and written whole.

Used to seal all of it anew. A test holds `PLACES` against the classification of the columns: whoever adds a column of
ciphertext adds it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Table, Update, bindparam, delete, func, insert, select, update

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import SealedGroup
from consent_gateway.db.tables import (
    consent_events,
    idempotency_keys,
    quarantine,
    retired_audit_keys,
    sealed_groups,
    signals,
    subject_keys,
)
from consent_gateway.domain.ids import SubjectId

PLACES = frozenset(
    {
        "subject_keys.wrapped_dek",
        "sealed_groups.sealed",
        "consent_events.evidence",
        "signals.sealed",
        "quarantine.sealed",
        "retired_audit_keys.sealed",
    }
)
# Rows with a number of their own: the table, its column of ciphertext, and what names the row.
_FREE = {"evidence": (consent_events, "evidence"), "signal": (signals, "sealed"), "quarantine": (quarantine, "sealed")}

Free = tuple[int, bytes]  # the number of a row and its ciphertext
RetiredKey = tuple[int, bytes]  # the number of a retired audit key of a person, and the sealed key


def lock_keys(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, bytes]:
    """Return the wrapped data keys of those that have one, locked until the transaction ends."""
    found: dict[SubjectId, bytes] = {}
    for part in chunks(sorted(ids)):
        statement = select(subject_keys).where(subject_keys.c.subject_id.in_(part)).order_by(subject_keys.c.subject_id)
        rows = session.execute(statement.with_for_update())
        found.update({SubjectId(row.subject_id): bytes(row.wrapped_dek) for row in rows})
    return found


def groups_of(session: Session, subject_id: SubjectId) -> list[SealedGroup]:
    """Return every sealed group of a person."""
    rows = session.execute(select(sealed_groups).where(sealed_groups.c.subject_id == subject_id))
    return [
        SealedGroup(SubjectId(r.subject_id), r.name, r.schema_version, r.row_version, bytes(r.sealed)) for r in rows
    ]


def free_of(session: Session, place: str, subject_id: SubjectId) -> list[Free]:
    """Return what a person has in `evidence` or `signal`."""
    table, column = _FREE[place]
    statement = select(table.c.id, table.c[column]).where(table.c.subject_id == subject_id)
    return [(i, bytes(sealed)) for i, sealed in session.execute(statement.where(table.c[column].is_not(None)))]


def own_of(session: Session, place: str) -> list[Free]:
    """Return what the gateway holds itself: refused rows in `quarantine`, a `signal` of nobody known."""
    table, column = _FREE[place]
    statement = select(table.c.id, table.c[column])
    if place == "signal":
        statement = statement.where(table.c.subject_id.is_(None))
    return [(i, bytes(sealed)) for i, sealed in session.execute(statement) if sealed]


def count_own(session: Session, place: str) -> int:
    """Return how many rows of `own_of` there are."""
    table, column = _FREE[place]
    statement = select(func.count()).where(table.c[column] != b"")
    if place == "signal":
        statement = statement.where(table.c.subject_id.is_(None))
    return session.execute(statement).scalar() or 0


def empty_own_signals(session: Session) -> None:
    """Take the strings of the signals of nobody known away; what the signals did stays."""
    session.execute(update(signals).where(signals.c.subject_id.is_(None)).values(sealed=b""))


def put_free(session: Session, place: str, rows: Sequence[Free]) -> None:
    """Write ciphertexts anew by the numbers of their rows."""
    table, column = _FREE[place]
    if rows:
        session.execute(_by_number(table, column), [{"number": i, "sealed": sealed} for i, sealed in rows])


def replies(session: Session, prefix: bytes) -> list[tuple[str, str, bytes]]:
    """Return principal, key and bytes of the kept replies that begin with `prefix`, which says that they are sealed."""
    rows = session.execute(select(idempotency_keys.c.principal, idempotency_keys.c.key, idempotency_keys.c.response))
    return [(r.principal, r.key, bytes(r.response)) for r in rows if bytes(r.response).startswith(prefix)]


def put_reply(session: Session, principal: str, key: str, content: bytes) -> None:
    """Write the bytes of a kept reply anew."""
    named = (idempotency_keys.c.principal == principal, idempotency_keys.c.key == key)
    session.execute(update(idempotency_keys).where(*named).values(response=content))


def retired_keys(session: Session, subject_id: SubjectId) -> list[RetiredKey]:
    """Return the audit keys of a person's former data keys, the newest first."""
    columns = (retired_audit_keys.c.number, retired_audit_keys.c.sealed)
    statement = select(*columns).where(retired_audit_keys.c.subject_id == subject_id)
    return [(n, bytes(sealed)) for n, sealed in session.execute(statement.order_by(retired_audit_keys.c.number.desc()))]


def put_retired(session: Session, subject_id: SubjectId, keys: Sequence[RetiredKey]) -> None:
    """Write all retired audit keys of a person in place of those that are there."""
    session.execute(delete(retired_audit_keys).where(retired_audit_keys.c.subject_id == subject_id))
    if keys:
        rows = [{"subject_id": subject_id, "number": n, "sealed": sealed} for n, sealed in keys]
        session.execute(insert(retired_audit_keys), rows)


def _by_number(table: Table, column: str) -> Update:
    return update(table).where(table.c.id == bindparam("number")).values({column: bindparam("sealed")})
