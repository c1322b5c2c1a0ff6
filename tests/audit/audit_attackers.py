"""Whoever owns the database: every row can be read and written, and served as if it were the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from audit_fakes import flip
from sqlalchemy import delete, insert, select, update

from builders import a_gateway
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.merkle import leaf_hashes
from consent_gateway.audit.tiles import EMPTY_EDGE, encode_bundle, entries_path, grow, tile_path
from consent_gateway.db import log_store
from consent_gateway.db.engine import Store
from consent_gateway.db.tables import audit_entries, audit_head, audit_tiles
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.work.gateway import Gateway

TABLES = (audit_entries, audit_tiles, audit_head)


def honest_entry(number: int) -> bytes:
    uid = sha256(b"%d" % number).digest()[:16]
    return entry_bytes(
        Entry(EntryKind.ADMIN_ACTION, 1_700_000_000_000 + number, "key:ops", uid, {"action": "test", "number": number})
    )


def forged_entry(number: int) -> bytes:
    """The same uid, something else said."""
    return honest_entry(number).replace(b'"number":', b'"number":1000')


@dataclass(frozen=True)
class Attacker:
    """A log of 600 entries in a store, and what an attacker can do to it; `note` gives a checkpoint by its size."""

    gateway: Gateway
    notes: dict[int, bytes]

    @classmethod
    def over(cls, store: Store, sizes: Sequence[int] = (300, 600)) -> Attacker:
        gateway, notes, done = a_gateway(store), {}, 0
        for size in sizes:
            with store.transaction() as session:
                rows = [honest_entry(number) for number in range(done, size)]
                log_store.append(session, [(log_store.uid_of(row), row, None) for row in rows])
            Sequencer(gateway).drain()
            with store.reading() as session:
                notes[size] = audit_log.checkpoint(session)
            done = size
        return cls(gateway, notes)

    @property
    def vkey(self) -> str:
        return self.gateway.signer.vkey

    @property
    def kept(self) -> list[bytes]:
        return list(self.notes.values())

    def entries(self) -> list[bytes]:
        with self.gateway.store.reading() as session:
            return list(session.execute(select(audit_entries.c.entry).order_by(audit_entries.c.idx)).scalars())

    def put_entries(self, entries: Sequence[bytes]) -> None:
        """Replace all rows of entries; tiles and head stay as they are."""
        rows = [{"idx": at, "uid": log_store.uid_of(entry), "entry": entry} for at, entry in enumerate(entries)]
        with self.gateway.store.transaction() as session:
            session.execute(delete(audit_entries))
            if rows:
                session.execute(insert(audit_entries), rows)

    def remove(self, *indexes: int) -> None:
        with self.gateway.store.transaction() as session:
            session.execute(delete(audit_entries).where(audit_entries.c.idx.in_(indexes)))

    def wipe(self) -> None:
        with self.gateway.store.transaction() as session:
            for table in TABLES:
                session.execute(delete(table))

    def rewrite(self, entries: Sequence[bytes], signer: Signer | None = None, note: bytes | None = None) -> None:
        """Replace the whole log, hashes and all; sign the new head, or keep an old checkpoint."""
        growth = grow(EMPTY_EDGE, leaf_hashes(entries))
        root, size = growth.edge.range.root, growth.edge.size
        checkpoint = signer.sign_checkpoint(size, root) if signer else note or self.notes[600]
        self.wipe()
        self.put_entries(entries)
        with self.gateway.store.transaction() as session:
            tiles = [{"level": tile.level, "idx": tile.index, "hashes": tile.data} for tile in growth.tiles]
            session.execute(insert(audit_tiles), tiles)
            head = {"id": 1, "size": size, "root": root, "checkpoint": checkpoint}
            session.execute(insert(audit_head), [head])

    def change_tile(self, level: int, index: int, change: Callable[[bytes], bytes]) -> None:
        here = (audit_tiles.c.level == level, audit_tiles.c.idx == index)
        with self.gateway.store.transaction() as session:
            stored = bytes(session.execute(select(audit_tiles.c.hashes).where(*here)).scalar_one())
            session.execute(update(audit_tiles).where(*here).values(hashes=change(stored)))

    def flip_hash(self, level: int, index: int, bit: int) -> None:
        self.change_tile(level, index, lambda data: flip(data, bit))

    def serve(self, folder: Path) -> Path:
        """Write what is in the tables as a log, row for row, without the product's own checks."""
        with self.gateway.store.reading() as session:
            bundles: dict[int, list[bytes]] = {}
            for index, entry in session.execute(
                select(audit_entries.c.idx, audit_entries.c.entry).order_by(audit_entries.c.idx)
            ):
                bundles.setdefault(index // 256, []).append(bytes(entry))
            tiles = session.execute(select(audit_tiles.c.level, audit_tiles.c.idx, audit_tiles.c.hashes)).all()
            head = session.execute(select(audit_head.c.size, audit_head.c.checkpoint)).first()
        size = head.size if head else 0
        files = {"checkpoint": bytes(head.checkpoint)} if head else {}
        for level, index, hashes in tiles:
            files[tile_path(level, index, _width(size, level, index))] = bytes(hashes)
        for index, entries in bundles.items():
            files[entries_path(index, _width(size, 0, index))] = encode_bundle(entries)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        folder.mkdir(exist_ok=True)
        return folder


def _width(size: int, level: int, index: int) -> int:
    """How wide the file must be called, so that a reader of a log of this size finds it."""
    return max(1, min(256, (size >> 8 * level) - 256 * index))
