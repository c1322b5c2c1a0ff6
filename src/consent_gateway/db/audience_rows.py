"""The audience row: one row per subject with everything a decision reads, and the one write path that keeps it true.

Every use case that changes a person's truth (profile, identifiers, ledger, choices, events, contacts, traits) calls one
of the writers here in the same transaction. `services.identity.reconcile` recomputes rows from the truth and reports
what differs. Rows are read by key (one person), by a list (a batch) and by a scan that groups them into classes
(an audience, see `db.classes`); all three give the same `ClassKey`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import CAPPED_CHANNELS, NEWEST_CONTACTS, audience_rows, subject_keys, subject_links
from consent_gateway.domain.audiences import (
    CAPPED,
    COVERED,
    OUTDATED_NOTICE,
    THREE_IN_24H,
    ClassKey,
    age_band,
    consent_code,
)
from consent_gateway.domain.circumstances import RECENCY_COLUMNS, Recency, recency_code
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.scopes import Side, Slot, read
from consent_gateway.domain.subjects import month_of

_c = audience_rows.c
Values = dict[str, Any]
MAX_READ = 1000  # people of one query
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Reading:
    """What a question reads of a row: the consent slot (None: no such pair is enabled), and the cap to check."""

    slot: int | None
    flags: int  # the bits that the question can use; what is masked away cannot split a class
    side: Side
    channel: str
    cap_limit: int
    cap_window: int
    medium: str = ""  # "email" or "phone": whose contact points' facts are read
    facts: int = 0  # the bits of them that the question can use
    recency: Recency = Recency.NOTHING


@dataclass(frozen=True, slots=True)
class Person:
    """One row as a question reads it: the subject, the wrapped data key for commitments, and the class."""

    subject_id: SubjectId
    wrapped_dek: bytes
    key: ClassKey


# -- reading -----------------------------------------------------------------------------------------------------


def read_people(session: Session, reading: Reading, ids: Sequence[SubjectId], now: int) -> dict[SubjectId, Person]:
    """Return the people of `ids` that exist, each quantised at `now` for the question that `reading` belongs to.

    A subject that was merged into another has no row: it is read as the person it belongs to, with its own data key.
    Only whoever is missing costs the second query.
    """
    found = read_rows(session, reading, ids, now)
    missing = [i for i in ids if i not in found]
    return found | read_rows(session, reading, missing, now, merged=True) if missing else found


def read_rows(
    session: Session, reading: Reading, ids: Sequence[SubjectId], now: int, *, merged: bool = False
) -> dict[SubjectId, Person]:
    """Return those of `ids` that have a row of their own or, with `merged`, those that are read by that of another."""
    month = month_of(now)
    found: dict[SubjectId, Person] = {}
    caps, noes = cap_columns(reading), RECENCY_COLUMNS[reading.recency]
    medium = reading.medium if reading.facts else None
    sql = _people_sql(session.dialect.name, reading.slot, medium, (*noes, *caps), merged=merged)
    for part in chunks(ids, MAX_READ):
        # The driver's own parameters: this is the one query of every decision, and compiling it costs more than it.
        wanted = json.dumps(part) if session.dialect.name == "sqlite" else part
        rows = session.exec_driver_sql(sql, (wanted,))
        for sid, dek, regions, born, flags, facts, until, named, scope, *times in rows:
            state, properties, covered, outdated = read(Slot(until, named, scope), reading.side, now)
            key = ClassKey(
                regions,
                age_band(born, month),
                flags & reading.flags,
                consent_code(state),
                int(properties) | (COVERED if covered else 0) | (OUTDATED_NOTICE if outdated else 0),
                _caps(reading, times[2:] if noes else times, now),
                facts & reading.facts,
                recency_code(reading.recency, times[:2], now) if noes else 0,
            )
            found[SubjectId(sid)] = Person(SubjectId(sid), bytes(dek), key)
    return found


def population(session: Session) -> int:
    """Return how many people there are."""
    return session.execute(select(func.count()).select_from(audience_rows)).scalar() or 0


@lru_cache(maxsize=256)
def _people_sql(dialect: str, slot: int | None, medium: str | None, instants: tuple[str, ...], *, merged: bool) -> str:
    named_by = subject_links.c.subject_id if merged else _c.subject_id
    facts = literal_column("0") if medium is None else _c[f"{medium}_facts"]
    until = literal_column("0") if slot is None else _c[f"c{slot}"]
    named = literal_column("0") if slot is None else _c[f"r{slot}"]
    scope = literal_column("0") if slot is None else _c[f"p{slot}"]
    statement = select(
        named_by,
        subject_keys.c.wrapped_dek,
        _c.regions,
        _c.birth_month,
        _c.flags,
        facts,
        until,
        named,
        scope,
        *(_c[name] for name in instants),
    )
    rows = audience_rows.join(subject_links, subject_links.c.head_id == _c.subject_id) if merged else audience_rows
    statement = statement.select_from(rows.join(subject_keys, subject_keys.c.subject_id == named_by))
    among = "IN (SELECT value FROM json_each(?))" if dialect == "sqlite" else "= ANY(%s)"
    return f"{statement.compile()} WHERE {named_by} {among}"


def cap_columns(reading: Reading) -> tuple[str, ...]:
    """Return the contact times that tell whether the cap, and three contacts in 24 hours, are reached."""
    if reading.channel not in CAPPED_CHANNELS or not 0 < reading.cap_limit <= NEWEST_CONTACTS:
        return ()
    return f"{reading.channel}_{reading.cap_limit}", f"{reading.channel}_3"


def _caps(reading: Reading, times: Sequence[int | None], now: int) -> int:
    bits = 0
    for at, window, bit in zip(times, (reading.cap_window, DAY), (CAPPED, THREE_IN_24H), strict=False):
        if at is not None and at > now - window:
            bits |= bit
    return bits


# -- writing -----------------------------------------------------------------------------------------------------


def insert_rows(session: Session, rows: Sequence[Values]) -> None:
    """Insert whole rows; every column must be named (`blank` gives them all)."""
    if rows:
        session.execute(insert(audience_rows), list(rows))


def blank(subject_id: SubjectId) -> Values:
    """Return a row of which nothing is known."""
    values: Values = {column.name: 0 if column.server_default is not None else None for column in audience_rows.columns}
    return values | {"subject_id": subject_id, "regions": "", "flags": 0}


def update_rows(session: Session, changes: Mapping[SubjectId, Values]) -> None:
    """Write some columns of some rows; rows that change the same columns go in one statement."""
    groups: dict[tuple[str, ...], list[Values]] = {}
    for subject_id, values in changes.items():
        if values:
            names = tuple(sorted(values))
            groups.setdefault(names, []).append({f"v_{n}": values[n] for n in names} | {"b_id": subject_id})
    for names, rows in groups.items():
        session.execute(_update_statement(names), rows)


@lru_cache(maxsize=256)
def _update_statement(names: tuple[str, ...]) -> Any:
    values: dict[str, Any] = {name: bindparam(f"v_{name}") for name in names}
    return update(audience_rows).where(_c.subject_id == bindparam("b_id")).values(values)


def rows(session: Session, ids: Iterable[SubjectId], names: Sequence[str] | None = None) -> dict[SubjectId, Values]:
    """Return the stored columns `names` (all by default) of the subjects, locked against other writers."""
    columns = list(_c) if names is None else [_c.subject_id, *(_c[n] for n in names)]
    found: dict[SubjectId, Values] = {}
    for part in chunks(ids):
        statement = select(*columns).where(and_(_c.subject_id.in_(part))).order_by(_c.subject_id)
        for row in session.execute(statement.with_for_update(key_share=True)).mappings():
            found[SubjectId(row["subject_id"])] = dict(row)
    return found
