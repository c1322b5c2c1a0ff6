"""What is known about the log beside the log, as rows: epochs, copies, witnesses. See `db.tables.log_state`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, insert, select

from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import log_copies, log_epochs, log_witnessed, log_witnesses

_e = log_epochs.c


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch after the first; `lost_from` and `lost_until` are None if nothing was lost; instants in seconds."""

    epoch: int
    origin: str
    vkey: str
    reason: str
    surviving: int
    lost_from: int | None
    lost_until: int | None
    statement: bytes
    entry_uid: bytes
    opened_at: int


def epochs(session: Session) -> list[EpochRow]:
    """Return every epoch after the first, oldest first."""
    rows = session.execute(select(log_epochs).order_by(_e.epoch)).all()
    return [
        EpochRow(
            r.epoch, r.origin, r.vkey, r.reason, r.surviving, r.lost_from, r.lost_until,
            bytes(r.statement), bytes(r.entry_uid), r.opened_at,
        )
        for r in rows
    ]  # fmt: skip


def statements(session: Session) -> list[bytes]:
    """Return the statement of every epoch after the first, oldest first."""
    return [bytes(note) for note in session.execute(select(_e.statement).order_by(_e.epoch)).scalars()]


def current_epoch(session: Session) -> int:
    """Return the number of the current epoch."""
    return session.execute(select(func.max(_e.epoch))).scalar() or 1


def add_epoch(session: Session, row: EpochRow) -> None:
    """Insert an epoch; RaceError if another process opened it."""
    session.execute(insert(log_epochs), [{c.name: getattr(row, c.name) for c in log_epochs.columns}])


def is_known_copy(session: Session, place: str) -> bool:
    """Tell whether a copy was ever written at this place."""
    return session.execute(select(log_copies.c.place).where(log_copies.c.place == place)).first() is not None


def know_copy(session: Session, place: str, name: str, now: int) -> None:
    """Remember that a copy was written at this place."""
    upsert(session, log_copies, [{"place": place, "name": name, "kept_at": now}])


def witness_size(session: Session, witness: str, origin: str) -> int:
    """Return the size that a witness is known to have signed of this origin, 0 if none."""
    c = log_witnesses.c
    statement = select(c.size).where(c.witness == witness, c.origin == origin)
    return session.execute(statement).scalar() or 0


def put_witness(session: Session, witness: str, origin: str, size: int, cosigned_at: int) -> None:
    """Remember what a witness signed last."""
    upsert(session, log_witnesses, [{"witness": witness, "origin": origin, "size": size, "cosigned_at": cosigned_at}])


def witnessed(session: Session) -> tuple[int, bytes] | None:
    """Return size and note of the newest checkpoint with a quorum of cosignatures, None if there was none yet."""
    row = session.execute(select(log_witnessed.c.size, log_witnessed.c.checkpoint)).first()
    return None if row is None else (row.size, bytes(row.checkpoint))


def put_witnessed(session: Session, size: int, checkpoint: bytes) -> None:
    """Keep the newest checkpoint with a quorum of cosignatures."""
    upsert(session, log_witnessed, [{"id": 1, "size": size, "checkpoint": checkpoint}])
