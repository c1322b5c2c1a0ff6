"""The published map of the log's chains as rows: its leaves, the kept nodes over them, and the roots.

`audit_chains` moves with every batch of the sequencer; what is here moves only when a map is published, so that a proof
is always of the newest root.

A map of a million chains is not written in one transaction, for which everybody else would have to wait. Its leaves are
written in parts, each beside what it was, under the number of the attempt; they count once the map of that attempt is
published, which is one row. Numbers of attempts grow, and only the newest may write (`go_on`). Whoever begins one and
only then reads what changed overwrites all that an attempt before left: its chains have grown since the newest map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, select, update

from consent_gateway.audit.maps import NOTHING, MapLeaf, Subtree, kept_node, pack_leaf
from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import (
    audit_chains,
    audit_head,
    audit_map_attempts,
    audit_map_leaves,
    audit_map_nodes,
    audit_maps,
)
from consent_gateway.errors import RaceError

_CHUNK = 10_000  # leaves of one read
_NEWEST = select(func.coalesce(func.max(audit_maps.c.attempt), 0)).scalar_subquery()
_COUNTS = audit_map_leaves.c.attempt <= _NEWEST
_COUNT = case((_COUNTS, audit_map_leaves.c.count), else_=audit_map_leaves.c.was_count)
_LINK = case((_COUNTS, audit_map_leaves.c.link), else_=audit_map_leaves.c.was_link)
_LEAVES = select(audit_map_leaves.c.chain_key, _COUNT, _LINK).where(_COUNT > 0).order_by(audit_map_leaves.c.chain_key)

# What counts before this attempt is what the newest published one wrote, or what was there when it did not.
_STAGE = """
INSERT INTO audit_map_leaves AS held (chain_key, count, link, was_count, attempt) {rows}
ON CONFLICT (chain_key) DO UPDATE SET
  was_count = CASE WHEN held.attempt <= {newest} THEN held.count ELSE held.was_count END,
  was_link = CASE WHEN held.attempt <= {newest} THEN held.link ELSE held.was_link END,
  count = excluded.count, link = excluded.link, attempt = excluded.attempt
"""
_ROWS = {
    "sqlite": "VALUES (?, ?, ?, 0, {attempt:d})",
    "postgresql": "SELECT u.*, 0, {attempt:d} FROM unnest(%s::bytea[], %s::bigint[], %s::bytea[]) AS u",
}


@dataclass(frozen=True, slots=True)
class PublishedMap:
    """A root that was published: the `number`-th, of the log's first `size` entries, by the entry `uid`, at seconds."""

    number: int
    size: int
    root: bytes
    entries: int
    chains: int
    uid: bytes
    at: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to publish the map after `before`, as long as nobody begins another."""

    number: int
    before: PublishedMap | None

    @property
    def published(self) -> int:
        """The attempt of the newest map."""
        return 0 if self.before is None else self.before.attempt


def newest(session: Session) -> PublishedMap | None:
    """Return the newest published map, None before the first."""
    row = session.execute(select(audit_maps).order_by(audit_maps.c.number.desc()).limit(1)).first()
    if row is None:
        return None
    return PublishedMap(
        row.number,
        row.size,
        bytes(row.root),
        row.entries,
        row.chains,
        bytes(row.entry_uid),
        row.published_at,
        row.attempt,
    )


def begin(session: Session, now: int, patience: int) -> Attempt:
    """Return a new attempt; RaceError while another goes on: one that moved within `patience` seconds."""
    held = session.execute(select(audit_map_attempts).with_for_update()).one()  # before anything else is read
    before = newest(session)
    last = 0 if before is None else before.attempt
    if held.attempt > last and now - held.moved_at < patience:
        raise RaceError
    attempt = Attempt(1 + max(last, held.attempt), before)
    session.execute(update(audit_map_attempts).values(attempt=attempt.number, moved_at=now))
    return attempt


def go_on(session: Session, attempt: Attempt, now: int) -> None:
    """Say that an attempt goes on, until the transaction ends without another's; RaceError once another began."""
    ours = audit_map_attempts.c.attempt == attempt.number
    if session.execute(update(audit_map_attempts).where(ours).values(moved_at=now)).rowcount != 1:
        raise RaceError


def has_grown(session: Session) -> bool:
    """Tell whether any chain differs from the published map."""
    return session.execute(_changed().limit(1)).first() is not None


def changes(session: Session) -> tuple[int, dict[int, bytes]]:
    """Return the size of the log, and the chains as they are at it that differ from the published map.

    They are packed (`maps.pack_leaf`), by the kept node that they are below, in the order of their keys: a million take
    72 MB. One statement, one snapshot: the sequencer may work on meanwhile.
    """
    size, found = 0, dict[int, bytearray]()
    rows = session.execute(_changed().order_by(audit_chains.c.chain_key).execution_options(yield_per=_CHUNK))
    for at, key, count, link in rows:
        size, leaf = at, MapLeaf(bytes(key), count, bytes(link))
        found.setdefault(kept_node(leaf.key), bytearray()).extend(pack_leaf(leaf))
    return size, {number: bytes(leaves) for number, leaves in found.items()}


def _changed() -> Select[Any]:
    held = audit_map_leaves
    same = and_(held.c.chain_key == audit_chains.c.chain_key, held.c.count == audit_chains.c.count, _COUNTS)
    return (
        select(audit_head.c.size, audit_chains.c.chain_key, audit_chains.c.count, audit_chains.c.link)
        .select_from(audit_chains.join(audit_head, audit_head.c.id == 1).outerjoin(held, same))
        .where(held.c.chain_key.is_(None))
    )


def leaves_between(session: Session, first: bytes, after: bytes) -> list[MapLeaf]:
    """Return the published leaves with first key <= key < second, in order; b"" for no bound (`maps.ReadLeaves`)."""
    key = audit_map_leaves.c.chain_key
    return _read(session, *([key >= first, key < after] if after else [key >= first]))


def map_leaves(session: Session) -> Iterator[MapLeaf]:
    """Yield every leaf of the newest published map in the order of keys; read it in one snapshot with `newest`."""
    after = b""
    while found := _read(session, audit_map_leaves.c.chain_key > after, limit=_CHUNK):
        yield from found
        after = found[-1].key


def _read(session: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> list[MapLeaf]:
    rows = session.execute(_LEAVES.where(*conditions).limit(limit))
    return [MapLeaf(bytes(key), count, bytes(link)) for key, count, link in rows]


def nodes(session: Session) -> dict[int, Subtree]:
    """Return every kept node of the newest published map by its number."""
    rows = session.execute(select(audit_map_nodes))
    return {n: Subtree(bytes(hashed), entries, chains) for n, hashed, entries, chains in rows}


def node(session: Session, number: int) -> Subtree:
    """Return one kept node (`maps.ReadNode`)."""
    row = session.execute(select(audit_map_nodes).where(audit_map_nodes.c.number == number)).first()
    return NOTHING if row is None else Subtree(bytes(row.hash), row.entries, row.chains)


def stage(session: Session, attempt: Attempt, leaves: Sequence[MapLeaf]) -> None:
    """Write leaves of the map that the attempt is about to publish: they do not count yet."""
    kind = session.dialect.name
    rows = _ROWS[kind].format(attempt=attempt.number)
    statement = _STAGE.format(rows=rows, newest=attempt.published)
    values: Any = list(leaves) if kind == "sqlite" else tuple(list(column) for column in zip(*leaves, strict=True))
    session.exec_driver_sql(statement, values)


def put(session: Session, changed: Mapping[int, Subtree], published: PublishedMap) -> None:
    """Make this the newest map, of leaves that are staged; a number that another publisher took is a RaceError."""
    row = {
        "number": published.number,
        "size": published.size,
        "root": published.root,
        "entries": published.entries,
        "chains": published.chains,
        "entry_uid": published.uid,
        "published_at": published.at,
        "attempt": published.attempt,
    }
    session.execute(audit_maps.insert(), [row])
    rows = [{"number": n, "hash": s.hash, "entries": s.entries, "chains": s.chains} for n, s in changed.items()]
    upsert(session, audit_map_nodes, rows)
