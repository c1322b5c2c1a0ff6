"""The log as rows that go from one store to another, whatever either of them is made of.

Entries and tiles come in parts; the head comes with the last part, in one transaction with what belongs to it. Until
then the target says that it has fewer entries than it holds, so that nothing can be appended to it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Table, delete, func, insert, select

from consent_gateway.audit.log import Integration
from consent_gateway.audit.tiles import TILE_HEIGHT, TILE_WIDTH, Edge, load_edge
from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.log_store import StoredHead, read_tile, uid_of
from consent_gateway.db.tables import (
    audit_chains,
    audit_entries,
    audit_head,
    audit_map_leaves,
    audit_map_nodes,
    audit_maps,
    audit_tiles,
    log_epochs,
    log_witnessed,
)

# What is known about the log beside its entries and does not follow from them without the keys of people.
BELONGING = (audit_chains, audit_map_leaves, audit_map_nodes, audit_maps, log_epochs, log_witnessed)
_ROWS = 1000
Rows = list[dict[str, Any]]


def held(session: Session) -> int:
    """Return how many entries there are, those beyond the head included."""
    last = session.execute(select(func.max(audit_entries.c.idx))).scalar()
    return 0 if last is None else int(last) + 1


def edge(session: Session, size: int) -> Edge:
    """Return the edge of the tree of `size` entries; AuditError or ValueError where tiles are missing."""
    partials: dict[int, bytes] = {}
    level = 0
    while hashes := size >> TILE_HEIGHT * level:
        if width := hashes % TILE_WIDTH:
            partials[level] = read_tile(session, level, hashes // TILE_WIDTH, width)
        level += 1
    return load_edge(size, partials)


def write(session: Session, integration: Integration) -> None:
    """Write entries and tiles, and no head."""
    rows = [{"idx": index, "uid": uid_of(entry), "entry": entry} for index, entry, _leaf in integration.rows]
    session.execute(insert(audit_entries), rows)
    upsert(session, audit_tiles, [{"level": t.level, "idx": t.index, "hashes": t.data} for t in integration.tiles])


def put_head(session: Session, head: StoredHead) -> None:
    """Say that the log has these entries, under the checkpoint as it was signed."""
    row = {"id": 1, "size": head.size, "root": head.root, "checkpoint": head.checkpoint}
    upsert(session, audit_head, [row])


def rows_of(session: Session, table: Table) -> Iterator[Rows]:
    """Yield all rows of a table, some at a time."""
    for part in session.execute(select(table)).mappings().partitions(_ROWS):
        yield [dict(row) for row in part]


def replace(session: Session, table: Table, parts: Iterator[Rows]) -> None:
    """Let a table hold these rows and no others."""
    session.execute(delete(table))
    for rows in parts:
        session.execute(insert(table), rows)


def belonging(session: Session) -> Sequence[tuple[Table, Iterator[Rows]]]:
    """Return the tables that belong to the log, with their rows, to be read while the session lasts."""
    return [(table, rows_of(session, table)) for table in BELONGING]
