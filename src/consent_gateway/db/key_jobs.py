"""Jobs over all keys as rows, and the wrapped data keys that they go over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Row, func, insert, select, update

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import key_jobs, subject_keys
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.key_jobs import JobKind, KeyJob

Swap = tuple[bytes, int, bytes]  # the new wrap, whose, and the wrap that it takes the place of

_t = key_jobs.c
# The epoch stands in the wrap's own header (`vault.keys`): bytes 3 to 6. No column repeats it that could say otherwise.
_EPOCH: ColumnElement[bytes] = func.substr(subject_keys.c.wrapped_dek, 3, 4, type_=LargeBinary)
_SWAP = {
    "sqlite": "UPDATE subject_keys SET wrapped_dek = ? WHERE subject_id = ? AND wrapped_dek = ?",
    "postgresql": "UPDATE subject_keys AS k SET wrapped_dek = n.new"
    " FROM unnest(%s::bytea[], %s::bigint[], %s::bytea[]) AS n (new, id, old)"
    " WHERE k.subject_id = n.id AND k.wrapped_dek = n.old",
}


def add(session: Session, **values: Any) -> int:
    """Insert a job and return its number."""
    found: int = session.execute(insert(key_jobs).values(**values).returning(_t.id)).scalar_one()
    return found


def find(session: Session, job: int, *, lock: bool = False) -> KeyJob | None:
    """Return a job, locked until the transaction ends if that is wanted; None if there is no such one."""
    statement = select(key_jobs).where(_t.id == job)
    row = session.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else _job(row)


def unfinished(session: Session, kind: JobKind | None = None) -> list[KeyJob]:
    """Return the jobs (of a kind) that are not finished, the oldest first."""
    statement = select(key_jobs).where(_t.finished_at.is_(None)).order_by(_t.id)
    if kind is not None:
        statement = statement.where(_t.kind == kind.value)
    return [_job(row) for row in session.execute(statement)]


def last_finished(session: Session, kind: JobKind) -> KeyJob | None:
    """Return the job of a kind that was finished last."""
    statement = select(key_jobs).where(_t.kind == kind.value, _t.finished_at.is_not(None)).order_by(_t.id.desc())
    row = session.execute(statement.limit(1)).one_or_none()
    return None if row is None else _job(row)


def left_behind(session: Session, epochs: Sequence[int]) -> list[tuple[int, int]]:
    """Return each of `epochs` that a roll went on from, ascending, and when the first such roll was finished."""
    rolled = select(_t.to_number, _t.finished_at).where(
        _t.kind == JobKind.EPOCH_ROLL.value, _t.finished_at.is_not(None)
    )
    rolls = [(row.to_number, row.finished_at) for row in session.execute(rolled)]
    found = {epoch: [at for to, at in rolls if to > epoch] for epoch in sorted(epochs)}
    return [(epoch, min(at)) for epoch, at in found.items() if at]


def roll_begun(session: Session, epoch: int) -> int | None:
    """Return when the roll to an epoch was begun; None if none was."""
    rolls = select(func.max(_t.started_at)).where(_t.kind == JobKind.EPOCH_ROLL.value, _t.to_number == epoch)
    found: int | None = session.execute(rolls).scalar()
    return found


def newest(session: Session, limit: int) -> list[KeyJob]:
    """Return the jobs that were started last, the newest first."""
    return [_job(row) for row in session.execute(select(key_jobs).order_by(_t.id.desc()).limit(limit))]


def change(session: Session, job: int, **values: Any) -> None:
    """Write columns of one job, which the caller has locked."""
    session.execute(update(key_jobs).where(_t.id == job).values(**values))


def wraps_after(session: Session, after: int, limit: int) -> list[tuple[SubjectId, bytes]]:
    """Return the next `limit` wrapped data keys above subject `after`, in the order of the subjects."""
    columns = (subject_keys.c.subject_id, subject_keys.c.wrapped_dek)
    statement = select(*columns).where(subject_keys.c.subject_id > after).order_by(subject_keys.c.subject_id)
    return [(SubjectId(i), bytes(wrapped)) for i, wrapped in session.execute(statement.limit(limit))]


def swap_wraps(session: Session, swaps: Sequence[Swap]) -> int:
    """Put new wraps in place of old ones, each only where exactly the old one is there; return how many were.

    One that was deleted meanwhile stays deleted, and one that somebody else replaced stays theirs.
    """
    if not swaps:
        return 0
    if session.dialect.name == "sqlite":
        return session.exec_driver_sql(_SWAP["sqlite"], list(swaps)).rowcount
    columns = tuple(list(column) for column in zip(*swaps, strict=True))
    return session.exec_driver_sql(_SWAP["postgresql"], columns).rowcount


def wraps_by_epoch(session: Session) -> dict[int, int]:
    """Return how many data keys are wrapped under each epoch; one scan of small rows, exact."""
    rows = session.execute(select(_EPOCH, func.count()).group_by(_EPOCH))
    return {int.from_bytes(epoch, "big"): count for epoch, count in rows}


def _job(row: Row[Any]) -> KeyJob:
    values = dict(row._mapping)  # noqa: SLF001 - the documented way to read a row as a mapping
    return KeyJob(**values | {"kind": JobKind(values["kind"])})
