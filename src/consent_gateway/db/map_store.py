"""The published map of the log's chains as rows: its leaves, the kept nodes over them, and the roots.

`audit_chains` moves with every batch of the sequencer; what is here moves only when a map is published, so that a proof
is always of the newest root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, select

from consent_gateway.audit.maps import NOTHING, MapLeaf, Subtree
from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import audit_chains, audit_head, audit_map_leaves, audit_map_nodes, audit_maps

_CHUNK = 10_000  # leaves of one read


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


def newest(session: Session) -> PublishedMap | None:
    """Return the newest published map, None before the first."""
    row = session.execute(select(audit_maps).order_by(audit_maps.c.number.desc()).limit(1)).first()
    if row is None:
        return None
    return PublishedMap(
        row.number, row.size, bytes(row.root), row.entries, row.chains, bytes(row.entry_uid), row.published_at
    )


def changes(session: Session) -> tuple[int, list[MapLeaf]]:
    """Return the size of the log, and the chains as they are at it that differ from the published map.

    One statement, one snapshot: the sequencer may work on meanwhile.
    """
    held = audit_map_leaves
    same = and_(held.c.chain_key == audit_chains.c.chain_key, held.c.count == audit_chains.c.count)
    statement = (
        select(audit_head.c.size, audit_chains.c.chain_key, audit_chains.c.count, audit_chains.c.link)
        .select_from(audit_chains.join(audit_head, audit_head.c.id == 1).outerjoin(held, same))
        .where(held.c.chain_key.is_(None))
    )
    rows = session.execute(statement).all()
    found = sorted(MapLeaf(bytes(key), count, bytes(link)) for _, key, count, link in rows)
    return (rows[0].size if rows else 0), found


def leaves_between(session: Session, first: bytes, after: bytes) -> list[MapLeaf]:
    """Return the published leaves with first key <= key < second, in order; b"" for no bound (`maps.ReadLeaves`)."""
    key = audit_map_leaves.c.chain_key
    statement = select(audit_map_leaves).where(key >= first).order_by(key)
    rows = session.execute(statement.where(key < after) if after else statement)
    return [MapLeaf(bytes(key), count, bytes(link)) for key, count, link in rows]


def map_leaves(session: Session) -> Iterator[MapLeaf]:
    """Yield every leaf of the newest published map in the order of keys; read it in one snapshot with `newest`."""
    after = b""
    while True:
        key = audit_map_leaves.c.chain_key
        rows = session.execute(select(audit_map_leaves).where(key > after).order_by(key).limit(_CHUNK)).all()
        yield from (MapLeaf(bytes(key), count, bytes(link)) for key, count, link in rows)
        if len(rows) < _CHUNK:
            return
        after = bytes(rows[-1].chain_key)


def nodes(session: Session) -> dict[int, Subtree]:
    """Return every kept node of the newest published map by its number."""
    rows = session.execute(select(audit_map_nodes))
    return {n: Subtree(bytes(hashed), entries, chains) for n, hashed, entries, chains in rows}


def node(session: Session, number: int) -> Subtree:
    """Return one kept node (`maps.ReadNode`)."""
    row = session.execute(select(audit_map_nodes).where(audit_map_nodes.c.number == number)).first()
    return NOTHING if row is None else Subtree(bytes(row.hash), row.entries, row.chains)


def put(session: Session, leaves: Sequence[MapLeaf], changed: Mapping[int, Subtree], published: PublishedMap) -> None:
    """Make this the newest map; a number that another publisher took is a RaceError."""
    row = {
        "number": published.number,
        "size": published.size,
        "root": published.root,
        "entries": published.entries,
        "chains": published.chains,
        "entry_uid": published.uid,
        "published_at": published.at,
    }
    session.execute(audit_maps.insert(), [row])
    upsert(session, audit_map_leaves, [{"chain_key": k, "count": n, "link": link} for k, n, link in leaves])
    rows = [{"number": n, "hash": s.hash, "entries": s.entries, "chains": s.chains} for n, s in changed.items()]
    upsert(session, audit_map_nodes, rows)
