"""Audiences as rows: what was asked, what was answered, and the members in chunks until it expires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, select

from consent_gateway.db.engine import Session
from consent_gateway.db.tables import audience_manifests, audience_members, audiences


@dataclass(frozen=True, slots=True)
class AudienceRow:
    """One audience as it is stored; instants in seconds, `segment`, `message`, `waterfall` and `packs` are JSON."""

    id: str
    segment: str
    purpose: str
    channel: str
    recipient: str
    message: str
    basis: str | None
    created_at: int
    expires_at: int
    size: int
    waterfall: str
    packs: str
    manifest_root: bytes
    entry_uid: bytes
    epoch: int


def put(session: Session, row: AudienceRow, chunks: Sequence[bytes], hashes: bytes) -> None:
    """Write an audience, its members, packed 8 bytes a subject, and the manifest's hashes of 256 members each."""
    session.execute(insert(audiences), [asdict(row)])
    session.execute(insert(audience_manifests), [{"audience_id": row.id, "hashes": hashes}])
    if chunks:
        rows = [{"audience_id": row.id, "chunk": n, "subject_ids": data} for n, data in enumerate(chunks)]
        session.execute(insert(audience_members), rows)


def get(session: Session, audience_id: str) -> AudienceRow | None:
    """Return an audience, expired or not."""
    row = session.execute(select(audiences).where(audiences.c.id == audience_id)).mappings().first()
    return None if row is None else AudienceRow(**row)


def provable(session: Session, now: int) -> list[AudienceRow]:
    """Return the audiences that have not expired at `now` and whose manifest can show who is in, the oldest first."""
    statement = (
        select(audiences)
        .join(audience_manifests, audience_manifests.c.audience_id == audiences.c.id)
        .where(audiences.c.expires_at > now)
        .order_by(audiences.c.created_at, audiences.c.id)
    )
    return [AudienceRow(**row) for row in session.execute(statement).mappings()]


def chunk(session: Session, audience_id: str, number: int) -> bytes | None:
    """Return one chunk of members, None after the last."""
    statement = select(audience_members.c.subject_ids).where(
        audience_members.c.audience_id == audience_id, audience_members.c.chunk == number
    )
    data = session.execute(statement).scalar()
    return None if data is None else bytes(data)


def manifest(session: Session, audience_id: str) -> bytes | None:
    """Return the manifest's hashes of 256 members each, None for an audience that has none."""
    statement = select(audience_manifests.c.hashes).where(audience_manifests.c.audience_id == audience_id)
    data = session.execute(statement).scalar()
    return None if data is None else bytes(data)


def drop_expired(session: Session, now: int) -> int:
    """Forget the members of audiences that have expired; the audience itself stays as a record."""
    expired = select(audiences.c.id).where(audiences.c.expires_at <= now)
    session.execute(delete(audience_manifests).where(audience_manifests.c.audience_id.in_(expired)))
    return session.execute(delete(audience_members).where(audience_members.c.audience_id.in_(expired))).rowcount
