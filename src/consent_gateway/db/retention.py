"""What is over, as rows: found page by page above an id, so that a run can be repeated, taken up, or only counted."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, exists, false, func, or_, select, update

from consent_gateway.db.bulk import upsert_many
from consent_gateway.db.dialects import chunks, insert_ignoring, upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import (
    consent_events,
    contacts,
    events,
    quarantine,
    retention_runs,
    signals,
    subject_sources,
    subjects,
)
from consent_gateway.domain.consents import ENDS, NO, YES
from consent_gateway.domain.ids import SubjectId

_ENDING = sorted(kind.value for kind in NO | ENDS)
_YES = sorted(kind.value for kind in YES)


@dataclass(frozen=True, slots=True)
class Found:
    """A row that is over: its id and whose it is; None where nobody is known."""

    id: int
    subject_id: SubjectId | None


@dataclass(frozen=True, slots=True)
class Fact:
    """What the ledger says of one purpose at one instant (seconds); None: about all channels, recipients, addresses."""

    purpose: str
    kind: str
    at: int
    valid_until: int | None
    channel: str | None = None
    recipient: str | None = None
    contact_point: int | None = None

    def closes(self, grant: Fact) -> bool:
        """Tell whether this end is about all that a grant was about: what is said of less leaves the rest in force."""
        about = ("channel", "recipient", "contact_point")
        return self.at >= grant.at and all(getattr(self, name) in (None, getattr(grant, name)) for name in about)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the job: the day it is for, and what it deleted."""

    day: int
    started_at: int
    finished_at: int | None
    counts: dict[str, int]


def supplied(session: Session, source: str, ids: Collection[SubjectId], now: int) -> None:
    """Say that a source told about these people now."""
    rows = [(i, source, now) for i in sorted(ids)]
    upsert_many(session, subject_sources, ("subject_id", "source", "last_at"), rows)


# -- what is over --------------------------------------------------------------------------------------------------


def events_over(session: Session, cutoffs: Mapping[str, int], after: int, limit: int) -> list[Found]:
    """Return events at or before the cutoff of their source."""
    over = or_(false(), *(and_(events.c.source == s, events.c.at <= at) for s, at in cutoffs.items()))
    return _page(session, events, over, after, limit)


def contacts_over(
    session: Session, sources: Mapping[str, int], purposes: Mapping[str, int], latest: int, after: int, limit: int
) -> list[Found]:
    """Return contacts at or before the cutoff of their purpose, or else of their source; none after `latest`."""
    c = contacts.c
    by_purpose = [and_(c.purpose == p, c.at <= at) for p, at in purposes.items()]
    by_source = [and_(c.purpose.is_(None), c.source == s, c.at <= at) for s, at in sources.items()]
    over = and_(c.at <= latest, or_(false(), *by_purpose, *by_source))
    return _page(session, contacts, over, after, limit)


def evidence_over(session: Session, purposes: Mapping[str, int], after: int, limit: int) -> list[Found]:
    """Return facts with evidence whose consent ended at or before the cutoff of the purpose (`Fact.closes`).

    By an end that was said, or because its own time was over and no later yes may rest on it.
    """
    c, later = consent_events.c, consent_events.alias()
    about = ((later.c.channel, c.channel), (later.c.recipient, c.recipient), (later.c.contact_point, c.contact_point))
    as_wide = and_(*(or_(end.is_(None), end == grant) for end, grant in about))
    renewed = exists().where(
        later.c.subject_id == c.subject_id,
        later.c.purpose == c.purpose,
        later.c.kind.in_(_YES),
        later.c.id != c.id,
        later.c.at >= c.at,
    )
    over = []
    for purpose, at in purposes.items():
        ended = exists().where(
            later.c.subject_id == c.subject_id,
            later.c.purpose == c.purpose,
            later.c.kind.in_(_ENDING),
            later.c.at >= c.at,
            later.c.at <= at,
            as_wide,
        )
        over.append(and_(c.purpose == purpose, c.at <= at, or_(ended, and_(c.valid_until <= at, ~renewed))))
    condition = and_(c.evidence.is_not(None), or_(false(), *over))
    return _page(session, consent_events, condition, after, limit)


def signals_over(session: Session, cutoffs: Mapping[str, int], strangers: int, after: int, limit: int) -> list[Found]:
    """Return signals at or before the cutoff of their source; those of nobody known at or before `strangers` too."""
    c = signals.c
    by_source = [and_(c.source == s, c.received_at <= at) for s, at in cutoffs.items()]
    over = or_(and_(c.subject_id.is_(None), c.received_at <= strangers), *by_source)
    return _page(session, signals, over, after, limit)


def quarantine_over(session: Session, before: int) -> int:
    """Return how many kept rows older than `before` (seconds) still have their content."""
    old = and_(quarantine.c.at < before, quarantine.c.sealed != b"")
    return session.execute(select(func.count()).select_from(quarantine).where(old)).scalar() or 0


def _page(session: Session, table: Table, over: ColumnElement[bool], after: int, limit: int) -> list[Found]:
    columns = (table.c.id, table.c.subject_id)
    statement = select(*columns).where(table.c.id > after, over).order_by(table.c.id).limit(limit)
    return [Found(r.id, None if r.subject_id is None else SubjectId(r.subject_id)) for r in session.execute(statement)]


# -- deleting ------------------------------------------------------------------------------------------------------


def drop_events(session: Session, ids: Iterable[int]) -> int:
    """Delete events; returns how many were there."""
    return _drop(session, events, ids)


def drop_contacts(session: Session, ids: Iterable[int]) -> int:
    """Delete contacts; returns how many were there."""
    return _drop(session, contacts, ids)


def drop_signals(session: Session, ids: Iterable[int]) -> int:
    """Delete signals; returns how many were there."""
    return _drop(session, signals, ids)


def drop_evidence(session: Session, ids: Iterable[int]) -> int:
    """Delete the evidence of facts, which stay; returns how many had any."""
    c, count = consent_events.c, 0
    for part in chunks(ids):
        held = and_(c.id.in_(part), c.evidence.is_not(None))
        count += session.execute(update(consent_events).where(held).values(evidence=None)).rowcount
    return count


def _drop(session: Session, table: Table, ids: Iterable[int]) -> int:
    return sum(session.execute(delete(table).where(table.c.id.in_(part))).rowcount for part in chunks(ids))


# -- whole people --------------------------------------------------------------------------------------------------


def sources_of(session: Session, ids: Sequence[SubjectId]) -> dict[SubjectId, dict[str, int]]:
    """Return when each source told about each subject last; who came before that was kept is not in it."""
    return _latest(session, select(subject_sources), subject_sources.c.subject_id, ids, "source", "last_at")


def came_at(session: Session, ids: Sequence[SubjectId]) -> dict[SubjectId, int]:
    """Return when each subject came."""
    found: dict[SubjectId, int] = {}
    for part in chunks(ids):
        statement = select(subjects.c.id, subjects.c.created_at).where(subjects.c.id.in_(part))
        found.update({SubjectId(row.id): row.created_at for row in session.execute(statement)})
    return found


def unsourced(session: Session) -> int:
    """Return of how many subjects nobody knows which source told about them."""
    known = exists().where(subject_sources.c.subject_id == subjects.c.id)
    return session.execute(select(func.count()).select_from(subjects).where(~known)).scalar() or 0


def facts_of(session: Session, ids: Sequence[SubjectId]) -> dict[SubjectId, list[Fact]]:
    """Return what the ledger says of each subject."""
    found: dict[SubjectId, list[Fact]] = {}
    c = consent_events.c
    for part in chunks(ids):
        columns = (c.purpose, c.kind, c.at, c.valid_until, c.channel, c.recipient, c.contact_point)
        for subject_id, *said in session.execute(select(c.subject_id, *columns).where(c.subject_id.in_(part))):
            found.setdefault(SubjectId(subject_id), []).append(Fact(*said))
    return found


def latest_events(session: Session, ids: Sequence[SubjectId]) -> dict[SubjectId, dict[str, int]]:
    """Return the latest event of each subject by source."""
    c = events.c
    statement = select(c.subject_id, c.source, func.max(c.at).label("at")).group_by(c.subject_id, c.source)
    return _latest(session, statement, c.subject_id, ids, "source", "at")


def latest_contacts(session: Session, ids: Sequence[SubjectId]) -> dict[SubjectId, list[tuple[str, str | None, int]]]:
    """Return `(source, purpose, at)` of the latest contact of each subject for each source and purpose."""
    found: dict[SubjectId, list[tuple[str, str | None, int]]] = {}
    c = contacts.c
    columns = (c.subject_id, c.source, c.purpose)
    for part in chunks(ids):
        statement = select(*columns, func.max(c.at)).where(c.subject_id.in_(part)).group_by(*columns)
        for i, source, purpose, at in session.execute(statement):
            found.setdefault(SubjectId(i), []).append((source, purpose, at))
    return found


def _latest(
    session: Session, statement: Any, owner: Any, ids: Sequence[SubjectId], key: str, value: str
) -> dict[SubjectId, dict[str, int]]:
    found: dict[SubjectId, dict[str, int]] = {}
    for part in chunks(ids):
        for row in session.execute(statement.where(owner.in_(part))).mappings():
            found.setdefault(SubjectId(row["subject_id"]), {})[row[key]] = row[value]
    return found


# -- runs ----------------------------------------------------------------------------------------------------------


def claim(session: Session, day: int, now: int, stale: int) -> bool:
    """Take the run of a day; False if somebody has done it, or is at it and began after `stale` (seconds)."""
    c = retention_runs.c
    row = {"day": day, "started_at": now, "counts": "{}"}
    if insert_ignoring(session, retention_runs, [row], c.day):
        return True
    dead = and_(c.day == day, c.finished_at.is_(None), c.started_at <= stale)
    return session.execute(update(retention_runs).where(dead).values(started_at=now)).rowcount > 0


def finish(session: Session, day: int, started_at: int, now: int, counts: Mapping[str, int]) -> None:
    """Keep what a run deleted, in place of an earlier run of that day."""
    row = {"day": day, "started_at": started_at, "finished_at": now, "counts": json.dumps(dict(counts))}
    upsert(session, retention_runs, [row])


def runs(session: Session, limit: int) -> list[Run]:
    """Return the newest runs, the newest first."""
    statement = select(retention_runs).order_by(retention_runs.c.day.desc()).limit(limit)
    return [Run(r.day, r.started_at, r.finished_at, json.loads(r.counts)) for r in session.execute(statement)]
