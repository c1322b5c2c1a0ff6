"""New people as rows: their numbers, keys, identifiers, ciphertexts and audience rows, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consent_gateway.db.bulk import insert_many
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import SealedGroup
from consent_gateway.db.tables import audience_rows, identifiers, sealed_groups, subject_keys, subject_traits, subjects
from consent_gateway.domain.ids import SubjectId

_IDENTIFIER = ("subject_id", "kind", "generation", "token", "suppressed")
_GROUP = ("subject_id", "name", "schema_version", "row_version", "sealed")
_ROW = ("subject_id", "regions", "birth_month", "flags")
Known = tuple[SubjectId, str, int | None, int]
"""What is known of a new person in the clear: their number, regions, month of birth, and flags."""


def create(session: Session, at: int, people: Sequence[tuple[str, int | None]]) -> list[SubjectId]:
    """Insert subjects, each with `(regions, birth_month)`, created `at`; returns their ids in the same order."""
    if not people:
        return []
    ids = _next_ids(session, len(people))
    rows = [(i, at, regions, born) for i, (regions, born) in zip(ids, people, strict=True)]
    insert_many(session, subjects, ("id", "created_at", "regions", "birth_month"), rows)
    return ids


def _next_ids(session: Session, count: int) -> list[SubjectId]:
    """Return the ids that the next subjects get; no id is ever given twice.

    SQLite: the one writer reads what AUTOINCREMENT gave last, and writing explicit ids moves it on.
    """
    if session.dialect.name == "sqlite":
        last = session.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'subjects'").scalar() or 0
        return [SubjectId(i) for i in range(last + 1, last + 1 + count)]
    given = "SELECT nextval(pg_get_serial_sequence('subjects', 'id')) FROM generate_series(1, %s)"
    return sorted(SubjectId(i) for i in session.exec_driver_sql(given, (count,)).scalars())


def add_keys(session: Session, rows: Sequence[tuple[SubjectId, bytes]]) -> None:
    """Insert wrapped data keys."""
    insert_many(session, subject_keys, ("subject_id", "wrapped_dek"), rows)


def add_identifiers(session: Session, rows: Sequence[tuple[SubjectId, str, int, bytes, bool]]) -> None:
    """Insert identifiers: whose, kind, generation, token, whether it is suppressed. A taken token raises RaceError."""
    insert_many(session, identifiers, _IDENTIFIER, rows)


def add_sealed(session: Session, groups: Sequence[SealedGroup]) -> None:
    """Insert the first ciphertexts of people."""
    rows = [(g.subject_id, g.name, g.schema_version, g.row_version, g.sealed) for g in groups]
    insert_many(session, sealed_groups, _GROUP, rows)


def add_traits(session: Session, rows: Sequence[tuple[SubjectId, str, int | None, str | None]]) -> None:
    """Insert the first declared traits of people: whose, which, and the number or the text."""
    insert_many(session, subject_traits, ("subject_id", "trait", "number", "text"), rows)


def add_rows(session: Session, people: Sequence[tuple[Known, Mapping[str, int | str]]]) -> None:
    """Insert audience rows, each of what is known and of trait columns; every other column says that nothing is known.

    The same rows as `audience_rows.insert_rows` makes of `audience_rows.blank`.
    """
    slots = tuple(sorted({name for _, traits in people for name in traits}))
    rows = [(*known, *(traits.get(name) for name in slots)) for known, traits in people]
    insert_many(session, audience_rows, (*_ROW, *slots), rows)
