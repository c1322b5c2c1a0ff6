"""Shared by the audit tests: where the vectors are, a store in memory, and the RFC's own definitions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from consent_gateway.audit.chains import ChainHead
from consent_gateway.audit.checkpoints import Signer, parse_checkpoint, subtree_message
from consent_gateway.audit.log import EMPTY_HEAD, NO_CHAIN, Head, Integration, Pending, sequence
from consent_gateway.audit.notes import COSIGNATURE_ED25519, COSIGNATURE_MLDSA44, NoteSignature, VerifierKey, parse_note
from consent_gateway.audit.tiles import encode_bundle, entries_path, level_tiles, tile_path, tree_tiles

_BESIDE = [folder / "shared" for folder in Path(__file__).resolve().parents[3:5]]  # `make mutants` runs one deeper
SHARED = next((folder for folder in _BESIDE if folder.is_dir()), _BESIDE[0])
ORIGIN = "gateway.example/audit"
SEED = bytes(range(32))


def need(name: str) -> Path:
    """Return a shared file, or skip loudly where the shared folder does not exist."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"SHARED VECTORS MISSING: {name} is not beside the project")
    return path


def vector(name: str) -> Any:
    return json.loads(need(f"vectors/audit/{name}").read_text(encoding="utf-8"))


def worked_entries(count: int = 7) -> list[bytes]:
    return [b"entry-%d" % number for number in range(count)]


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# --- RFC 6962 2.1, written as it is defined there: slow, recursive, independent of the code under test


def split(width: int) -> int:
    power = 1
    while power * 2 < width:
        power *= 2
    return power


def mth(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), mth(leaves[k:])]
    return [*path(index - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), mth(leaves[:k])]


class Witness:
    """A witness that signs whatever it is shown, by Ed25519 (0x04) or ML-DSA-44 (0x06)."""

    def __init__(self, name: str, number: int = 1, *, post_quantum: bool = False) -> None:
        seed = bytes([number]) * 32
        self._pq = MLDSA44PrivateKey.from_seed_bytes(seed) if post_quantum else None
        self._ed = Ed25519PrivateKey.from_private_bytes(seed)
        public = (self._pq or self._ed).public_key().public_bytes_raw()
        self.key = VerifierKey(name, COSIGNATURE_MLDSA44 if post_quantum else COSIGNATURE_ED25519, public)

    @property
    def vkey(self) -> str:
        return self.key.vkey

    def line(self, note: bytes, time: int = 1_700_000_007) -> bytes:
        text = parse_note(note).text
        if self._pq is not None:
            signature = self._pq.sign(subtree_message(self.key.name, time, parse_checkpoint(text)))
        else:
            signature = self._ed.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
        return NoteSignature(self.key.name, self.key.key_id, time.to_bytes(8, "big") + signature).line.encode()


class MemoryLogStore:
    """A `LogStore` in memory that keeps what a database keeps: rows, tiles, head, checkpoint, pending entries.

    `fail_next` stands for a commit that raises: nothing of the transaction may remain.
    """

    def __init__(self) -> None:
        self.queue: list[bytes] = []
        self.refs: dict[bytes, bytes] = {}  # the chains of a queued entry
        self.heads: dict[bytes, ChainHead] = {}
        self.rows: list[tuple[int, bytes, bytes]] = []
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.checkpoint: bytes | None = None
        self.fail_next = False
        self._head = EMPTY_HEAD
        self._taken = 0

    def head(self) -> Head:
        return self._head

    def pending(self, limit: int, /) -> Sequence[Pending]:
        self._taken = min(limit, len(self.queue))
        return [(entry, self.refs.get(entry, NO_CHAIN)) for entry in self.queue[: self._taken]]

    def chains(self, keys: Collection[bytes], /) -> Mapping[bytes, ChainHead]:
        return {key: self.heads[key] for key in keys if key in self.heads}

    def save(self, integration: Integration, checkpoint: bytes, /) -> None:
        if self.fail_next:
            self.fail_next = False
            raise OSError("disk full")
        assert [row[0] for row in integration.rows] == list(range(self._head.size, integration.head.size))
        self.rows += integration.rows
        self.tiles |= {(tile.level, tile.index): tile.data for tile in integration.tiles}
        self._head, self.checkpoint = integration.head, checkpoint
        self.heads.update(integration.chains)
        del self.queue[: self._taken]

    def read_tile(self, level: int, index: int, width: int, /) -> bytes:
        return self.tiles[level, index][: 32 * width]

    def export(self, directory: Path) -> Path:
        """Write the tlog-tiles layout of the current head."""
        size = self._head.size
        files = {tile_path(*tile): self.read_tile(*tile) for tile in tree_tiles(size)}
        for index, width in level_tiles(size, 0):
            entries = [row[1] for row in self.rows[index * 256 : index * 256 + width]]
            files[entries_path(index, width)] = encode_bundle(entries)
        assert self.checkpoint is not None
        for name, data in {**files, "checkpoint": self.checkpoint}.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)
        return directory


def filled(entries: Sequence[bytes], batch: int = 1000) -> tuple[MemoryLogStore, Signer]:
    """Return a store whose log holds these entries, written in batches."""
    store, signer = MemoryLogStore(), Signer(ORIGIN, SEED)
    store.queue += entries
    while sequence(store, signer, batch):
        pass
    return store, signer
