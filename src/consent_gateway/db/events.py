"""Behaviour and contacts as rows, each known by its source's own key, so that a repeated import changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select

from consent_gateway.db.dialects import chunks, insert_ignoring, upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import NEWEST_CONTACTS, contacts, events, subject_traits
from consent_gateway.domain.ids import PurposeId, SubjectId


def add_events(session: Session, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Insert events and return the keys of those that were new."""
    return set(insert_ignoring(session, events, rows, events.c.event_key))


def add_contacts(session: Session, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Insert contacts and return the keys of those that were new."""
    return set(insert_ignoring(session, contacts, rows, contacts.c.contact_key))


def summaries(session: Session, ids: Iterable[SubjectId]) -> dict[tuple[SubjectId, str], tuple[int, int, int]]:
    """Return `(count, first, last)` for each subject and event type."""
    found: dict[tuple[SubjectId, str], tuple[int, int, int]] = {}
    for part in chunks(ids):
        statement = (
            select(events.c.subject_id, events.c.type, func.count(), func.min(events.c.at), func.max(events.c.at))
            .where(events.c.subject_id.in_(part))
            .group_by(events.c.subject_id, events.c.type)
        )
        for subject_id, kind, count, first, last in session.execute(statement):
            found[SubjectId(subject_id), kind] = (count, first, last)
    return found


def newest_contacts(session: Session, ids: Iterable[SubjectId]) -> dict[tuple[SubjectId, str], list[int]]:
    """Return the newest contact times for each subject and channel, newest first."""
    found: dict[tuple[SubjectId, str], list[int]] = {}
    rank = func.row_number().over(
        partition_by=(contacts.c.subject_id, contacts.c.channel), order_by=contacts.c.at.desc()
    )
    for part in chunks(ids):
        ranked = (
            select(contacts.c.subject_id, contacts.c.channel, contacts.c.at, rank.label("rank"))
            .where(contacts.c.subject_id.in_(part))
            .subquery()
        )
        statement = select(ranked).where(ranked.c.rank <= NEWEST_CONTACTS).order_by(ranked.c.rank)
        for row in session.execute(statement):
            found.setdefault((SubjectId(row.subject_id), row.channel), []).append(row.at)
    return found


def declared_traits(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, dict[str, int | str | None]]:
    """Return the declared trait values of each subject."""
    found: dict[SubjectId, dict[str, int | str | None]] = {}
    for part in chunks(ids):
        for row in session.execute(select(subject_traits).where(subject_traits.c.subject_id.in_(part))):
            value = row.text if row.text is not None else row.number
            found.setdefault(SubjectId(row.subject_id), {})[row.trait] = value
    return found


def put_traits(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write declared trait values (`subject_id`, `trait`, `number`, `text`), replacing earlier ones."""
    upsert(session, subject_traits, rows)


def contacts_for(
    session: Session, ids: Iterable[SubjectId], purposes: Collection[PurposeId]
) -> dict[SubjectId, list[tuple[str, int]]]:
    """Return `(channel, at)` of every message that the subjects were sent for one of `purposes`."""
    found: dict[SubjectId, list[tuple[str, int]]] = {}
    columns = (contacts.c.subject_id, contacts.c.channel, contacts.c.at)
    for part in chunks(ids) if purposes else ():
        statement = select(*columns).where(contacts.c.subject_id.in_(part), contacts.c.purpose.in_(list(purposes)))
        for row in session.execute(statement):
            found.setdefault(SubjectId(row.subject_id), []).append((row.channel, row.at))
    return found
