"""People as rows: subjects, their identifiers as keyed hashes, wrapped keys, sealed groups, tombstones."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update

from consent_gateway.db.dialects import chunks, upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import (
    audience_rows,
    audit_openings,
    canaries,
    choice_events,
    circumstances,
    consent_confirmations,
    consent_events,
    contacts,
    events,
    identifiers,
    legal_holds,
    merges,
    notice_views,
    pending_erasures,
    retired_audit_keys,
    sealed_groups,
    signals,
    subject_keys,
    subject_links,
    subject_sources,
    subject_traits,
    subjects,
)
from consent_gateway.domain.ids import SubjectId


def point_of(table: Any = identifiers) -> ColumnElement[int]:
    """Return the number of the contact point that a row belongs to: its first row, in whichever generation."""
    return func.coalesce(table.c.point, table.c.id)


_POINT = (
    point_of().label("point"),
    identifiers.c.subject_id,
    identifiers.c.kind,
    identifiers.c.token,
    identifiers.c.suppressed,
)

# Everything that belongs to one person and goes with them, in the order in which it is deleted.
_OWNED = (
    subject_keys,
    sealed_groups,
    identifiers,
    audience_rows,
    consent_events,
    consent_confirmations,
    notice_views,
    choice_events,
    circumstances,
    events,
    contacts,
    subject_traits,
    signals,
    audit_openings,
    subject_links,
    merges,
    canaries,
    legal_holds,
    pending_erasures,
    retired_audit_keys,
    subject_sources,
)


class Token(NamedTuple):
    """A blind index value: 16 bytes that stand for one normalised identifier of one kind.

    A tuple, because a batch hashes each of its thousands many times.
    """

    kind: str
    value: bytes


@dataclass(frozen=True, slots=True)
class ContactPoint:
    """One identifier of a subject; `id` names it in the consent ledger, whatever generation its token is of."""

    id: int
    subject_id: SubjectId
    kind: str
    token: bytes
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """One ciphertext of a subject and the versions that its AAD binds."""

    subject_id: SubjectId
    name: str
    schema_version: int
    row_version: int
    sealed: bytes


def find_by_tokens(session: Session, tokens: Collection[Token], generation: int) -> dict[Token, ContactPoint]:
    """Return the contact points that hold `tokens` of a generation."""
    found: dict[Token, ContactPoint] = {}
    by_kind: dict[str, list[bytes]] = {}
    for token in tokens:
        by_kind.setdefault(token.kind, []).append(token.value)
    for kind, values in by_kind.items():
        for part in chunks(values):
            for row in _holding(session, kind, generation, part):
                point = _point(row)
                found[Token(kind, point.token)] = point
    return found


def _holding(session: Session, kind: str, generation: int, values: list[bytes]) -> Any:
    # The driver's own parameters: expanding a list of thousands by the compiler costs more than looking them up.
    if session.dialect.name == "sqlite":
        return session.exec_driver_sql(
            _by_tokens("?", f"IN ({', '.join('?' * len(values))})"), (kind, generation, *values)
        )
    return session.exec_driver_sql(_by_tokens("%s", "= ANY(%s)"), (kind, generation, values)).all()


@lru_cache(maxsize=1024)
def _by_tokens(mark: str, among: str) -> str:
    condition = f"kind = {mark} AND generation = {mark} AND token {among}"
    return f"{select(*_POINT).compile()} WHERE {condition}"


def contact_points(session: Session, ids: Iterable[SubjectId], generation: int) -> dict[SubjectId, list[ContactPoint]]:
    """Return every identifier of the subjects, oldest first, with its token of the generation that counts."""
    result: dict[SubjectId, list[ContactPoint]] = {}
    for part in chunks(ids):
        held = identifiers.c.subject_id.in_(part), identifiers.c.generation == generation
        for row in session.execute(select(*_POINT).where(*held).order_by(point_of())):
            point = _point(row)
            result.setdefault(point.subject_id, []).append(point)
    return result


def _point(row: Any) -> ContactPoint:
    return ContactPoint(row.point, SubjectId(row.subject_id), row.kind, bytes(row.token), bool(row.suppressed))


def update_profile(session: Session, subject_id: SubjectId, regions: str, birth_month: int | None) -> None:
    """Write the two facts of a person that live outside the vault."""
    statement = update(subjects).where(subjects.c.id == subject_id)
    session.execute(statement.values(regions=regions, birth_month=birth_month))


def profiles(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, tuple[str, int | None]]:
    """Return `(regions, birth_month)` of each subject that exists."""
    found: dict[SubjectId, tuple[str, int | None]] = {}
    for part in chunks(ids):
        statement = select(subjects.c.id, subjects.c.regions, subjects.c.birth_month)
        for row in session.execute(statement.where(subjects.c.id.in_(part))):
            found[SubjectId(row.id)] = (row.regions, row.birth_month)
    return found


def existing(session: Session, ids: Iterable[SubjectId]) -> set[SubjectId]:
    """Return those of `ids` that exist: nothing else of them is read."""
    found: set[SubjectId] = set()
    for part in chunks(sorted(ids)):
        statement = select(subjects.c.id).where(subjects.c.id.in_(part))
        found.update(SubjectId(i) for i in session.execute(statement).scalars())
    return found


def lock(session: Session, subject_id: SubjectId) -> bool:
    """Lock the person's row until the transaction ends; False if there is no such person."""
    statement = select(subjects.c.id).where(subjects.c.id == subject_id).with_for_update(key_share=True)
    return session.execute(statement).scalar() is not None


def lock_all(session: Session, ids: Iterable[SubjectId]) -> set[SubjectId]:
    """Lock the rows of people until the transaction ends, in the order of their ids; returns those who exist.

    Every use case that writes about a person holds this lock, and so does an erasure: whichever comes second sees
    what the other did, and nothing is written about somebody who is gone.
    """
    found: set[SubjectId] = set()
    for part in chunks(sorted(ids)):
        statement = select(subjects.c.id).where(subjects.c.id.in_(part)).order_by(subjects.c.id)
        found.update(SubjectId(i) for i in session.execute(statement.with_for_update(key_share=True)).scalars())
    return found


def ids_after(session: Session, after: int, limit: int) -> list[SubjectId]:
    """Return the next `limit` subject ids above `after`, ascending."""
    statement = select(subjects.c.id).where(subjects.c.id > after).order_by(subjects.c.id).limit(limit)
    return [SubjectId(i) for i in session.execute(statement).scalars()]


def last_id(session: Session) -> int:
    """Return the highest subject id there is, 0 if there is nobody."""
    return session.execute(select(func.max(subjects.c.id))).scalar() or 0


def skip_ids(session: Session, last: int) -> None:
    """Let no new subject get an id up to `last`: in a restored store those were given to people it has forgotten."""
    if session.dialect.name == "sqlite":
        # The table of AUTOINCREMENT has no row before the first insert.
        given = "(SELECT seq FROM sqlite_sequence WHERE name = 'subjects')"
        session.exec_driver_sql(f"INSERT INTO sqlite_sequence (name, seq) SELECT 'subjects', 0 WHERE {given} IS NULL")
        session.exec_driver_sql("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'subjects'", (last,))
        return
    sequence = func.pg_get_serial_sequence("subjects", "id")
    if last > (session.execute(select(func.nextval(sequence))).scalar() or 0):
        session.execute(select(func.setval(sequence, last)))


def add_identifiers(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Insert identifiers (`subject_id`, `kind`, `generation`, `token`, `suppressed`, `point` if it is an earlier row).

    A taken token raises RaceError.
    """
    if rows:
        session.execute(insert(identifiers), list(rows))


def add_points(session: Session, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert identifiers as `add_identifiers` does; returns the numbers of their contact points in the same order."""
    if not rows:
        return []
    statement = insert(identifiers).returning(identifiers.c.id, sort_by_parameter_order=True)
    return list(session.execute(statement, list(rows)).scalars())


def add_keys(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Insert wrapped data keys (`subject_id`, `wrapped_dek`)."""
    if rows:
        session.execute(insert(subject_keys), list(rows))


def wrapped_keys(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, bytes]:
    """Return the wrapped data key of each subject that has one."""
    found: dict[SubjectId, bytes] = {}
    for part in chunks(ids):
        rows = _of(session, "SELECT subject_id, wrapped_dek FROM subject_keys WHERE", part)
        found.update({SubjectId(i): bytes(wrapped) for i, wrapped in rows})
    return found


def _of(session: Session, query: str, ids: Sequence[int], *before: str) -> Any:
    # As in `audience_rows.read_rows`: for what is read of thousands, compiling the statement costs more than it.
    if session.dialect.name == "sqlite":
        among = "IN (SELECT value FROM json_each(?))"
        return session.exec_driver_sql(f"{query} subject_id {among}", (*before, json.dumps(ids))).all()
    return session.exec_driver_sql(f"{query} subject_id = ANY(%s)", (*before, ids)).all()


def put_sealed(session: Session, groups: Sequence[SealedGroup]) -> None:
    """Write ciphertexts, replacing the earlier version of the same group."""
    rows = [
        {f: getattr(g, f) for f in ("subject_id", "name", "schema_version", "row_version", "sealed")} for g in groups
    ]
    upsert(session, sealed_groups, rows)


def sealed(session: Session, ids: Iterable[SubjectId], name: str) -> dict[SubjectId, SealedGroup]:
    """Return the ciphertext of the group `name` of each subject that has it."""
    found: dict[SubjectId, SealedGroup] = {}
    mark = "?" if session.dialect.name == "sqlite" else "%s"
    columns = "subject_id, name, schema_version, row_version, sealed"
    query = f"SELECT {columns} FROM sealed_groups WHERE name = {mark} AND"  # noqa: S608 - our names
    for part in chunks(ids):
        for i, group, schema, version, ciphertext in _of(session, query, part, name):
            found[i] = SealedGroup(SubjectId(i), group, schema, version, bytes(ciphertext))
    return found


def drop_sealed(session: Session, ids: Iterable[SubjectId], name: str) -> None:
    """Delete the group `name` of subjects."""
    for part in chunks(ids):
        held = sealed_groups.c.subject_id.in_(part) & (sealed_groups.c.name == name)
        session.execute(delete(sealed_groups).where(held))


def delete_person(session: Session, subject_id: SubjectId) -> dict[str, int]:
    """Delete every row of a person and return how many went from each table."""
    counts = {}
    for table in _OWNED:
        counts[table.name] = session.execute(delete(table).where(table.c.subject_id == subject_id)).rowcount
    # Who spoke for a child is forgotten too (0: nobody any more); that a guardian did stays true of the consent.
    forgotten = update(consent_events).where(consent_events.c.guardian == subject_id).values(guardian=0)
    session.execute(forgotten)
    session.execute(delete(subjects).where(subjects.c.id == subject_id))
    return counts


def mark_suppressed(session: Session, said: Mapping[int, bool]) -> None:
    """Write on contact points, in every generation, whether they are on the suppression list."""
    for point, suppressed_now in said.items():
        session.execute(update(identifiers).where(point_of() == point).values(suppressed=suppressed_now))


def stray_rows(session: Session) -> list[SubjectId]:
    """Return the ids of audience rows that belong to nobody, or to somebody served as another: a scan counts them."""
    known = select(subjects.c.id).where(subjects.c.id == audience_rows.c.subject_id).exists()
    linked = select(subject_links.c.subject_id).where(subject_links.c.subject_id == audience_rows.c.subject_id).exists()
    statement = select(audience_rows.c.subject_id).where(or_(~known, linked))
    return [SubjectId(i) for i in session.execute(statement).scalars()]


def drop_rows(session: Session, ids: Sequence[SubjectId]) -> None:
    """Delete audience rows that belong to nobody."""
    for part in chunks(ids):
        session.execute(delete(audience_rows).where(audience_rows.c.subject_id.in_(part)))
