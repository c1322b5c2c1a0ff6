"""Merges as rows: which subjects are one person, as each merge said it and as the links that follow from all of them.

A merge joins two subjects; the subjects that the merges in force connect are one *cluster*, served as its *head*, the
smallest id. Nothing about a person moves: a link is all that a merge adds, and deleting it is all that undoing takes.
`clusters` reads the links, which every write path asks; `connected` walks the merges themselves, from which the links
are computed and against which `services.identity.reconcile` compares them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import merges, subject_links
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.merges import Clusters, Pair, components


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge as it is stored; instants in seconds, `result` is JSON, `undone_at` None while it is in force."""

    id: int
    subject_id: SubjectId
    other_id: SubjectId
    reason: str
    rules: str
    result: str
    at: int
    undone_at: int | None
    undone_reason: str | None


def any_link(session: Session) -> bool:
    """Tell whether anybody is merged; most work need not ask further."""
    return session.execute(select(subject_links.c.subject_id).limit(1)).scalar() is not None


def heads(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, SubjectId]:
    """Return the head of each subject of `ids` that is not its own."""
    found: dict[SubjectId, SubjectId] = {}
    for part in chunks(ids):
        statement = select(subject_links.c.subject_id, subject_links.c.head_id)
        for row in session.execute(statement.where(subject_links.c.subject_id.in_(part))):
            found[SubjectId(row.subject_id)] = SubjectId(row.head_id)
    return found


def clustered(session: Session, ids: Collection[SubjectId]) -> set[SubjectId]:
    """Return those of `ids` that are merged with somebody, as head or as member."""
    if not any_link(session):
        return set()
    found = set(heads(session, ids))
    for part in chunks(ids):
        statement = select(subject_links.c.head_id).where(subject_links.c.head_id.in_(part))
        found.update(SubjectId(i) for i in session.execute(statement).scalars())
    return found


def clusters(session: Session, ids: Collection[SubjectId]) -> Clusters:
    """Return the whole cluster of each subject of `ids`, in the order of the heads; mostly that is `{id: [id]}`."""
    if not ids or not any_link(session):
        return {i: [i] for i in sorted(ids)}
    linked = heads(session, ids)
    found: Clusters = {head: [head] for head in sorted({linked.get(i, i) for i in ids})}
    for part in chunks(found):
        statement = select(subject_links).where(subject_links.c.head_id.in_(part)).order_by(subject_links.c.subject_id)
        for row in session.execute(statement):
            found[SubjectId(row.head_id)].append(SubjectId(row.subject_id))
    return found


def connected(session: Session, ids: Iterable[SubjectId]) -> Clusters:
    """Return the whole cluster of each subject of `ids`, found by following the merges in force."""
    seen: set[SubjectId] = set()
    frontier, pairs = set(ids), set[Pair]()
    while frontier:
        seen |= frontier
        fresh = pairs_of(session, frontier)
        pairs |= fresh
        frontier = {i for pair in fresh for i in pair} - seen
    return components(seen, pairs)


def pairs_of(session: Session, ids: Iterable[SubjectId]) -> set[Pair]:
    """Return the two subjects of every merge in force that names one of `ids`."""
    found: set[Pair] = set()
    for part in chunks(ids):
        named = or_(merges.c.subject_id.in_(part), merges.c.other_id.in_(part))
        statement = select(merges.c.subject_id, merges.c.other_id).where(named, merges.c.undone_at.is_(None))
        found.update((SubjectId(r.subject_id), SubjectId(r.other_id)) for r in session.execute(statement))
    return found


def relink(session: Session, found: Clusters) -> None:
    """Write the links of whole clusters: every member but the head is served as the head."""
    for part in chunks(i for members in found.values() for i in members):
        session.execute(delete(subject_links).where(subject_links.c.subject_id.in_(part)))
    rows = [{"subject_id": i, "head_id": head} for head, members in found.items() for i in members if i != head]
    if rows:
        session.execute(insert(subject_links), rows)


def links_of(session: Session, ids: Iterable[SubjectId]) -> dict[SubjectId, SubjectId]:
    """Return every stored link from or to one of `ids`, for whoever checks them."""
    found: dict[SubjectId, SubjectId] = {}
    for part in chunks(ids):
        named = or_(subject_links.c.subject_id.in_(part), subject_links.c.head_id.in_(part))
        found.update(
            {SubjectId(r.subject_id): SubjectId(r.head_id) for r in session.execute(select(subject_links).where(named))}
        )
    return found


def add(session: Session, row: Mapping[str, Any]) -> int:
    """Keep a merge (every column but `id` and the undoing) and return its number."""
    number: int = session.execute(insert(merges).values(**row).returning(merges.c.id)).scalar_one()
    return number


def put_result(session: Session, merge: int, result: str) -> None:
    """Write what a merge changed, once it is known."""
    session.execute(update(merges).where(merges.c.id == merge).values(result=result))


def undo(session: Session, merge: int, reason: str, now: int) -> None:
    """Say that a merge is in force no more; it stays as a record."""
    session.execute(update(merges).where(merges.c.id == merge).values(undone_at=now, undone_reason=reason))


def get(session: Session, merge: int) -> Merge | None:
    """Return a merge, undone or not."""
    row = session.execute(select(merges).where(merges.c.id == merge)).mappings().first()
    return None if row is None else Merge(**row)


def after(session: Session, merge: int, limit: int) -> list[Merge]:
    """Return the next `limit` merges above `merge`, oldest first, undone ones too."""
    statement = select(merges).where(merges.c.id > merge).order_by(merges.c.id).limit(limit)
    return [Merge(**row) for row in session.execute(statement).mappings()]


def between(session: Session, low: SubjectId, high: SubjectId) -> Merge | None:
    """Return the merge in force of exactly these two subjects."""
    pair = (merges.c.subject_id == low, merges.c.other_id == high, merges.c.undone_at.is_(None))
    row = session.execute(select(merges).where(*pair)).mappings().first()
    return None if row is None else Merge(**row)


def forget(session: Session, ids: Iterable[SubjectId]) -> None:
    """Delete every link and every merge that names one of `ids`: part of an erasure."""
    for part in chunks(ids):
        session.execute(delete(subject_links).where(or_(*(c.in_(part) for c in subject_links.c))))
        session.execute(delete(merges).where(or_(merges.c.subject_id.in_(part), merges.c.other_id.in_(part))))
