"""The audit log as rows: pending entries, the integrated log, its tiles and its signed head.

A use case appends to `audit_pending` in its own transaction (`append`); the sequencer integrates in another
(`SqlLogStore` inside `Store.transaction`), which holds the writer's lock before it reads the head: the lock of the file
on SQLite, an advisory lock on PostgreSQL. Entry bytes are stored as they were hashed, never rebuilt from columns.

The edge of the tree and the heads of chains are cached between transactions, and thrown away when another sequencer
moved the head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, select, text

from consent_gateway.audit.chains import ChainHead
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.epochs import FIRST_EPOCH
from consent_gateway.audit.log import EMPTY_HEAD, NO_CHAIN, Head, Integration, Pending, load_head
from consent_gateway.audit.proofs import root_at
from consent_gateway.audit.tiles import TILE_WIDTH, encode_bundle
from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.log_people import Opening, chain_heads
from consent_gateway.db.tables import (
    audit_chains,
    audit_entries,
    audit_head,
    audit_openings,
    audit_pending,
    audit_tiles,
    log_epochs,
)
from consent_gateway.errors import AuditError, RaceError

_SEQUENCER_LOCK = 0x636F6E73656E74  # "consent"
_HASH = 32
_REMEMBERED = 200_000  # chains: some 40 MB
# Where the uid stands in the canonical bytes: `...,"uid":"<32 hex>","v":1}` is always the tail of an entry.
_UID_TAIL = len('","v":1}')

# The driver's own statements: they carry every entry there is. On PostgreSQL one statement takes whole columns.
_SQLITE_INSERT = {
    audit_pending: "INSERT INTO audit_pending (uid, entry, chains) VALUES (?, ?, ?)",
    audit_openings: "INSERT INTO audit_openings (uid, name, subject_id, payload) VALUES (?, ?, ?, ?)",
    audit_entries: "INSERT INTO audit_entries (idx, uid, entry) VALUES (?, ?, ?)",
    audit_chains: (
        "INSERT INTO audit_chains (chain_key, count, link) VALUES (?, ?, ?) "
        "ON CONFLICT (chain_key) DO UPDATE SET count = excluded.count, link = excluded.link"
    ),
}
_POSTGRESQL_INSERT = {
    audit_pending: (
        "INSERT INTO audit_pending (uid, entry, chains) SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[])"
    ),
    audit_openings: (
        # Only of people who are still there: an erasure that is under way is waited for (see `append`).
        "INSERT INTO audit_openings (uid, name, subject_id, payload) "
        "SELECT o.* FROM unnest(%s::bytea[], %s::text[], %s::bigint[], %s::bytea[]) "
        "AS o (uid, name, subject_id, payload) "
        "JOIN subject_keys AS k ON k.subject_id = o.subject_id FOR KEY SHARE OF k"
    ),
    audit_entries: (
        "INSERT INTO audit_entries (idx, uid, entry) SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[])"
    ),
    audit_chains: (
        "INSERT INTO audit_chains (chain_key, count, link) "
        "SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::bytea[]) "
        "ON CONFLICT (chain_key) DO UPDATE SET count = excluded.count, link = excluded.link"
    ),
}
_TAKE = (
    select(audit_pending.c.id, audit_pending.c.entry, audit_pending.c.chains)
    .order_by(audit_pending.c.id)
    .limit(bindparam("n"))
)

_HEAD = select(
    audit_head.c.size, audit_head.c.root, select(func.max(log_epochs.c.epoch)).scalar_subquery().label("epoch")
)


Recorded = tuple[bytes, bytes, bytes | None]
"""A uid, canonical bytes with room for the places in chains, and the chains themselves (`chains.chain_ref`)."""


@dataclass(slots=True)
class Edge:
    """What a sequencer remembers between transactions: it holds as long as nobody else moved the head."""

    head: Head = EMPTY_HEAD
    chains: dict[bytes, ChainHead] = field(default_factory=dict)

    def moved(self, integration: Integration) -> None:
        """Remember what a committed transaction wrote."""
        self.head = integration.head
        if len(self.chains) > _REMEMBERED:
            self.chains.clear()
        self.chains.update(integration.chains)


def append(session: Session, entries: Sequence[Recorded], openings: Sequence[Opening] = ()) -> None:
    """Queue entries and keep their openings, in the transaction of the action (P4).

    RaceError where somebody was erased since they were read: what was found out about them is not told any more (P2),
    and their chain has ended with the length that the erasure named.
    """
    _insert(session, audit_pending, entries)
    if _insert(session, audit_openings, [(o.uid, o.name, o.subject_id, o.payload) for o in openings]) < len(openings):
        raise RaceError


def _insert(session: Session, table: Table, rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert rows; returns how many were."""
    if not rows:
        return 0
    if session.dialect.name == "sqlite":
        session.exec_driver_sql(_SQLITE_INSERT[table], list(rows))
        return len(rows)
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return session.exec_driver_sql(_POSTGRESQL_INSERT[table], columns).rowcount


class SetBackError(Exception):
    """The store is not the one that was written to; `kind` is that of a fault of the log (rolled_back, forked)."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind)
        self.kind, self.detail = kind, detail


class SqlLogStore:
    """One sequencing transaction; see `audit.log.LogStore`. The caller keeps `Edge` between transactions."""

    def __init__(self, session: Session, edge: Edge, epoch: int = FIRST_EPOCH) -> None:
        self._session = session
        self._edge = edge
        self.epoch = epoch
        self.saved: Integration | None = None

    def head(self) -> Head:
        """Take the writer's lock, then return the stored head; the cached one where nobody else moved it.

        SetBackError if it does not extend the cached one: the store is not the one that this process wrote to.
        """
        if self._session.dialect.name != "sqlite":
            self._session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SEQUENCER_LOCK})
        row = self._session.execute(_HEAD).first()
        size, root, epoch = (0, EMPTY_HEAD.root, FIRST_EPOCH) if row is None else (row.size, bytes(row.root), row.epoch)
        before, self.epoch = self.epoch, epoch or FIRST_EPOCH
        if (size, root) == (self._edge.head.size, self._edge.head.root):
            return self._edge.head
        head = read_head(self._session, size, root) if size else EMPTY_HEAD
        if before == self.epoch:  # an epoch that was opened elsewhere says itself what it goes on from
            self._require_extended(head)
        self._edge.head = head
        self._edge.chains.clear()
        return head

    def _require_extended(self, head: Head) -> None:
        known = self._edge.head
        if head.size < known.size:
            raise SetBackError("rolled_back", f"{known.size} entries were published, the store has {head.size}")
        if known.size and self._root_at(known.size, head) != known.root:
            raise SetBackError("forked", f"the first {known.size} entries are not those that were published")

    def _root_at(self, size: int, head: Head) -> bytes:
        return root_at(size, head.size, lambda level, index, width: read_tile(self._session, level, index, width))

    def pending(self, limit: int, /) -> list[Pending]:
        """Return the oldest pending entries."""
        rows = self._session.execute(_TAKE, {"n": limit}).all()
        self._ids = [row[0] for row in rows]
        return [(bytes(entry), NO_CHAIN if chains is None else bytes(chains)) for _, entry, chains in rows]

    def chains(self, keys: Collection[bytes], /) -> Mapping[bytes, ChainHead]:
        """Return the heads of these chains, remembered or read."""
        held = self._edge.chains
        found = {key: held[key] for key in keys if key in held}
        found.update(chain_heads(self._session, keys - found.keys()))
        return found

    def save(self, integration: Integration, checkpoint: bytes, /) -> None:
        """Write the batch; durable once the transaction around it has committed."""
        self.write(integration, checkpoint)
        self._forget()
        self.saved = integration

    def write(self, integration: Integration, checkpoint: bytes) -> None:
        """Write entries, tiles and head, and leave what is pending as it is."""
        _insert(self._session, audit_entries, [(index, uid_of(e), e) for index, e, _leaf in integration.rows])
        # In the order of the keys, which is that of their pages
        chains = sorted((key, count, link) for key, (count, link) in integration.chains.items())
        _insert(self._session, audit_chains, chains)
        tiles = [{"level": t.level, "idx": t.index, "hashes": t.data} for t in integration.tiles]
        upsert(self._session, audit_tiles, tiles)
        head = {"id": 1, "size": integration.head.size, "root": integration.head.root, "checkpoint": checkpoint}
        upsert(self._session, audit_head, [head])

    def _forget(self) -> None:
        # Pending ids can commit out of order on PostgreSQL, so exactly the ids that were read are deleted.
        if self._ids[-1] - self._ids[0] + 1 == len(self._ids):
            condition = audit_pending.c.id.between(self._ids[0], self._ids[-1])
            self._session.execute(delete(audit_pending).where(condition))
            return
        self._session.execute(
            delete(audit_pending).where(audit_pending.c.id == bindparam("b_id")), [{"b_id": i} for i in self._ids]
        )


def entries_of_kind(session: Session, kind: EntryKind) -> Iterator[bytes]:
    """Yield the integrated entries of a kind, in their order."""
    said = b',"kind":"%b","uid":"' % kind.value.encode()
    for entry in session.execute(select(audit_entries.c.entry).order_by(audit_entries.c.idx)).scalars():
        if said in bytes(entry):
            yield bytes(entry)


def uid_of(entry: bytes) -> bytes:
    """Return the uid of canonical entry bytes without parsing them."""
    return bytes.fromhex(entry[-32 - _UID_TAIL : -_UID_TAIL].decode())


def read_head(session: Session, size: int, root: bytes) -> Head:
    """Load the edge of the stored tree; raises AuditError when the tiles do not hash to the root."""
    partials: dict[int, bytes] = {}
    level, hashes = 0, size
    while hashes:
        width = hashes % TILE_WIDTH
        if width:
            partials[level] = read_tile(session, level, hashes // TILE_WIDTH, width)
        level, hashes = level + 1, hashes // TILE_WIDTH
    try:
        return load_head(size, root, partials)
    except ValueError:
        raise AuditError("the stored tiles do not hash to the stored root; run consent-gateway audit verify") from None


def read_tile(session: Session, level: int, index: int, width: int) -> bytes:
    """Return the first `width` hashes of a tile; raises AuditError if the store has fewer."""
    statement = select(audit_tiles.c.hashes).where(audit_tiles.c.level == level, audit_tiles.c.idx == index)
    data = session.execute(statement).scalar()
    if data is None or len(data) < width * _HASH:
        raise AuditError(f"tile {level}/{index} is missing or short; run consent-gateway audit verify")
    return bytes(data)[: width * _HASH]


def checkpoint(session: Session) -> tuple[int, bytes] | None:
    """Return the size of the log and its signed checkpoint, None before the first entry is integrated."""
    row = session.execute(select(audit_head.c.size, audit_head.c.checkpoint)).first()
    return None if row is None else (row.size, bytes(row.checkpoint))


@dataclass(frozen=True, slots=True)
class StoredHead:
    """The row that says where the log stands: size, root, and the checkpoint that was signed of them."""

    size: int
    root: bytes
    checkpoint: bytes


def stored_head(session: Session) -> StoredHead | None:
    """Return the stored head, None before the first entry is integrated."""
    row = session.execute(select(audit_head.c.size, audit_head.c.root, audit_head.c.checkpoint)).first()
    return None if row is None else StoredHead(row.size, bytes(row.root), bytes(row.checkpoint))


def find_entry(session: Session, uid: bytes) -> tuple[int, bytes] | None:
    """Return index and bytes of an integrated entry, None while it is pending or unknown."""
    statement = select(audit_entries.c.idx, audit_entries.c.entry).where(audit_entries.c.uid == uid)
    row = session.execute(statement).first()
    return None if row is None else (row.idx, bytes(row.entry))


def is_pending(session: Session, uid: bytes) -> bool:
    """Tell whether the entry was acknowledged and is not integrated yet."""
    return session.execute(select(audit_pending.c.id).where(audit_pending.c.uid == uid)).first() is not None


def pending_count(session: Session) -> int:
    """Return how many acknowledged entries wait for the sequencer."""
    return session.execute(select(func.count()).select_from(audit_pending)).scalar() or 0


def backlog(session: Session) -> int:
    """Return about how many entries wait: the span of their numbers, which costs two looks into an index."""
    row = session.execute(select(func.min(audit_pending.c.id), func.max(audit_pending.c.id))).one()
    return 0 if row[0] is None else row[1] - row[0] + 1


def bundle(session: Session, index: int, width: int) -> bytes:
    """Return the entry bundle of one level-0 tile: `width` entries from `index * 256`."""
    first = index * TILE_WIDTH
    statement = (
        select(audit_entries.c.entry)
        .where(audit_entries.c.idx >= first, audit_entries.c.idx < first + width)
        .order_by(audit_entries.c.idx)
    )
    entries = [bytes(e) for e in session.execute(statement).scalars()]
    if len(entries) != width:
        raise AuditError(f"entries of bundle {index} are missing; run consent-gateway audit verify")
    return encode_bundle(entries)
