"""The consent ledger and the choices as rows: appended, never changed; folded elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, insert, select

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import choice_events, consent_events
from consent_gateway.domain.consents import ConsentEvent, ConsentKind, ConsentProperty
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SourceId, SubjectId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.subjects import Choice, Flag, fold_choices


def append(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Append consent events; the rows carry every column but `id`."""
    if rows:
        session.execute(insert(consent_events), list(rows))


def append_one(session: Session, row: dict[str, Any]) -> int:
    """Append one consent event; returns its number."""
    return int(session.execute(insert(consent_events).values(row).returning(consent_events.c.id)).scalar_one())


def append_choices(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Append choices (`subject_id`, `choice`, `active`, `at`, `source`, `received_at`)."""
    if rows:
        session.execute(insert(choice_events), list(rows))


def ledger(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, list[ConsentEvent]]:
    """Return every consent event of the subjects, in the order of arrival."""
    found: dict[SubjectId, list[ConsentEvent]] = {}
    for part in chunks(ids):
        statement = select(consent_events).where(consent_events.c.subject_id.in_(part)).order_by(consent_events.c.id)
        for row in session.execute(statement):
            found.setdefault(SubjectId(row.subject_id), []).append(event_of(row))
    return found


def rows_after(session: Session, ids: Iterable[SubjectId], after: int, limit: int) -> list[Any]:
    """Return a page of the rows of one person's subjects, in the order of arrival."""
    c = consent_events.c
    statement = select(consent_events).where(c.subject_id.in_(list(ids)), c.id > after).order_by(c.id).limit(limit)
    return list(session.execute(statement))


def ahead_of(session: Session, ids: Iterable[SubjectId], now: int) -> dict[SubjectId, int]:
    """Return the latest instant of the facts that lie ahead of `now` (seconds); nobody without any is in the answer."""
    c = consent_events.c
    found: dict[SubjectId, int] = {}
    for part in chunks(ids):
        statement = select(c.subject_id, func.max(c.at)).where(c.subject_id.in_(part), c.at > now)
        found |= {SubjectId(i): at for i, at in session.execute(statement.group_by(c.subject_id))}
    return found


def asked_under(session: Session, notice: NoticeId, after: int, limit: int) -> list[SubjectId]:
    """Return a page of the people whose ledger names a notice, by id."""
    c = consent_events.c
    statement = select(c.subject_id).where(c.notice == notice, c.subject_id > after).distinct()
    rows = session.execute(statement.order_by(c.subject_id).limit(limit)).scalars()
    return [SubjectId(found) for found in rows]


def choice_flags(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, Flag]:
    """Return the choices that are on, see `domain.subjects.fold_choices`; nobody without any is in the answer."""
    return {i: flags for i, said in choices(session, ids).items() if (flags := fold_choices(said))}


def choices(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, list[tuple[Choice, bool, int]]]:
    """Return every choice of the subjects as `(choice, active, at)`."""
    found: dict[SubjectId, list[tuple[Choice, bool, int]]] = {}
    for part in chunks(ids):
        c = choice_events.c
        statement = select(c.subject_id, c.choice, c.active, c.at).where(c.subject_id.in_(part))
        for row in session.execute(statement):
            found.setdefault(SubjectId(row.subject_id), []).append((Choice(row.choice), row.active, row.at))
    return found


def event_of(row: Any) -> ConsentEvent:
    """Return the event in a row of the ledger."""
    return ConsentEvent(
        subject_id=SubjectId(row.subject_id),
        purpose=PurposeId(row.purpose),
        channel=Channel(row.channel) if row.channel else None,
        kind=ConsentKind(row.kind),
        at=row.at,
        properties=ConsentProperty(row.properties),
        valid_until=row.valid_until,
        contact_point=row.contact_point,
        recipient=RecipientId(row.recipient) if row.recipient else None,
        imported=row.imported,
        notice=NoticeId(row.notice) if row.notice else None,
        source=SourceId(row.source) if row.source else None,
        notice_version=row.notice_version,
        proven=row.evidence is not None or all((row.notice, row.notice_version, row.method)),
        guardian=None if row.guardian is None else SubjectId(row.guardian),
        event_id=row.id,
    )
