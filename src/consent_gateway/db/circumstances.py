"""Circumstances of contact points as rows, appended and never changed; and the instants of the last noes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import choice_events, circumstances, consent_events, contacts
from consent_gateway.domain.circumstances import MEDIA, Circumstance, Subscriber, Told
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.subjects import OPT_OUT_CHOICES, Choice

_Instants = dict[SubjectId, dict[str, int | None]]
_NOES = (ConsentKind.REFUSED.value, ConsentKind.WITHDRAWN.value)
_BY_MEDIUM = {medium: [c.value for c, m in MEDIA.items() if m == medium] for medium in ("email", "phone")}


def append(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Append circumstances; the rows carry every column but `id`."""
    if rows:
        session.execute(insert(circumstances), list(rows))


def told(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, list[Circumstance]]:
    """Return every circumstance of the subjects, in the order of arrival."""
    found: dict[SubjectId, list[Circumstance]] = {}
    for part in chunks(ids):
        statement = select(circumstances).where(circumstances.c.subject_id.in_(part)).order_by(circumstances.c.id)
        for row in session.execute(statement):
            found.setdefault(SubjectId(row.subject_id), []).append(_circumstance(row))
    return found


def last_noes(session: Session, ids: Iterable[SubjectId]) -> _Instants:
    """Return when people last opted out of sharing, refused or withdrew anything, and revoked by medium.

    An objection revokes everything. Only people who ever said no are in the answer.
    """
    found: _Instants = {}
    for part in chunks(ids):
        _merge(found, session.execute(_ledger_noes(part)).mappings())
        _merge(found, session.execute(_choice_noes(part)).mappings())
    return found


def last_confirmations(session: Session, ids: Iterable[SubjectId], purposes: Collection[PurposeId]) -> _Instants:
    """Return when each medium last carried a message for one of `purposes`."""
    found: _Instants = {}
    if not purposes:
        return found
    c = contacts.c
    newest = [func.max(case((c.channel.in_(on), c.at))).label(f"confirmed_{m}") for m, on in _BY_MEDIUM.items()]
    for part in chunks(ids):
        statement = select(c.subject_id, *newest).where(c.subject_id.in_(part), c.purpose.in_(list(purposes)))
        _merge(found, session.execute(statement.group_by(c.subject_id)).mappings())
    return found


def _ledger_noes(ids: Sequence[Any]) -> Any:
    c = consent_events.c
    withdrawn = c.kind == ConsentKind.WITHDRAWN.value
    newest = [func.max(c.at).label("refused_at")]
    for medium, on in _BY_MEDIUM.items():
        reached: ColumnElement[bool] = and_(withdrawn, or_(c.channel.is_(None), c.channel.in_(on)))
        newest.append(func.max(case((reached, c.at))).label(f"revoked_{medium}"))
    return select(c.subject_id, *newest).where(c.subject_id.in_(ids), c.kind.in_(_NOES)).group_by(c.subject_id)


def _choice_noes(ids: Sequence[Any]) -> Any:
    c = choice_events.c
    objected = func.max(case((c.choice == Choice.OBJECTION.value, c.at)))
    opted_out = func.max(case((c.choice.in_([o.value for o in OPT_OUT_CHOICES]), c.at)))
    statement = select(
        c.subject_id,
        opted_out.label("opted_out_at"),
        *(objected.label(f"revoked_{medium}") for medium in _BY_MEDIUM),
    )
    return statement.where(c.subject_id.in_(ids), c.active).group_by(c.subject_id)


def _merge(found: _Instants, rows: Iterable[Any]) -> None:
    for row in rows:
        values = dict(row)
        held = found.setdefault(SubjectId(values.pop("subject_id")), {})
        for name, at in values.items():
            if at is not None:
                held[name] = max(at, held.get(name) or at)


def _circumstance(row: Any) -> Circumstance:
    said = Told(
        Subscriber(row.subscriber) if row.subscriber else None,
        row.in_sale,
        row.opt_out_offered,
        row.expressed_interest,
        row.collected_day,
    )
    return Circumstance(row.contact_point, row.source, said)
