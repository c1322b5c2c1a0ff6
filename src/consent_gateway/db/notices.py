"""Notices as rows: each version in each language, published once and never changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, select

from consent_gateway.db.dialects import insert_ignoring
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import notice_views, notices
from consent_gateway.domain.ids import NoticeId, PurposeId, SubjectId
from consent_gateway.domain.notices import NoticeBook, NoticeVersion


def add_notice(session: Session, row: dict[str, Any]) -> bool:
    """Write one version of a notice in one language; False, and nothing changes, if it was published already."""
    return bool(insert_ignoring(session, notices, [row], notices.c.id))


def notice_rows(session: Session, notice: NoticeId | None = None) -> list[dict[str, Any]]:
    """Return the versions of all notices (or of one), oldest first, with `purposes` as a list."""
    statement = select(notices).order_by(notices.c.id, notices.c.version, notices.c.language)
    if notice is not None:
        statement = statement.where(notices.c.id == notice)
    rows = session.execute(statement).mappings()
    return [dict(row) | {"purposes": json.loads(row["purposes"])} for row in rows]


def add_views(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Append what people were shown; the rows carry every column but `id`."""
    if rows:
        session.execute(insert(notice_views), list(rows))


def views(session: Session, ids: Iterable[SubjectId]) -> list[dict[str, Any]]:
    """Return what one person's subjects were shown, in the order of arrival."""
    statement = select(notice_views).where(notice_views.c.subject_id.in_(list(ids))).order_by(notice_views.c.id)
    return [dict(row) for row in session.execute(statement).mappings()]


def notice_book(session: Session) -> NoticeBook:
    """Read every version of every notice, without the words."""
    c = notices.c
    statement = select(c.id, c.version, c.language, c.published_at, c.material, c.purposes)
    found: dict[tuple[str, int], list[Any]] = {}
    for row in session.execute(statement.order_by(c.id, c.version, c.published_at, c.language)):
        found.setdefault((row.id, row.version), []).append(row)
    versions: dict[NoticeId, list[NoticeVersion]] = {}
    for (name, _), rows in found.items():
        versions.setdefault(NoticeId(name), []).append(_version(rows))
    return NoticeBook.of(versions)


def _version(rows: list[Any]) -> NoticeVersion:
    first = rows[0]
    purposes = frozenset(PurposeId(p) for p in json.loads(first.purposes))
    languages = tuple(row.language for row in rows)
    return NoticeVersion(NoticeId(first.id), first.version, languages, first.published_at, first.material, purposes)
