"""Which process holds which key epochs, and under which a data key may be wrapped, as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import delete, func, select

from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import key_destructions, key_holders, key_jobs
from consent_gateway.domain.key_jobs import JobKind

_h, _d, _j = key_holders.c, key_destructions.c, key_jobs.c


def seen(session: Session, holder: str, epochs: Sequence[int], now: int, forget_before: int) -> None:
    """Write which epochs a process holds, and forget processes that were not seen for long."""
    upsert(session, key_holders, [{"holder": holder, "epochs": json.dumps(list(epochs)), "seen_at": now}])
    session.execute(delete(key_holders).where(_h.seen_at < forget_before))


def gone(session: Session, holder: str) -> None:
    """Forget a process that ends."""
    session.execute(delete(key_holders).where(_h.holder == holder))


def live(session: Session, since: int) -> dict[str, tuple[int, ...]]:
    """Return the epochs that each process held which was seen at `since` or later."""
    rows = session.execute(select(_h.holder, _h.epochs).where(_h.seen_at >= since).order_by(_h.holder))
    return {row.holder: tuple(json.loads(row.epochs)) for row in rows}


def least(session: Session) -> int:
    """Return the earliest epoch under which a data key may be wrapped now: the last one that a roll went to.

    Whoever decides to destroy an epoch changes the version of the registers, so that who writes after it sees this.
    """
    rolled = select(func.max(_j.to_number)).where(_j.kind == JobKind.EPOCH_ROLL.value, _j.finished_at.is_not(None))
    return max(session.execute(rolled).scalar() or 1, doomed(session) + 1)


def doomed(session: Session) -> int:
    """Return the last epoch that was decided to be destroyed, 0 if none was."""
    return session.execute(select(func.max(_d.epoch))).scalar() or 0
