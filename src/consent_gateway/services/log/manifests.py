"""Proofs that somebody was in an audience, or was not, under the manifest that its entry commits to.

Members are kept in the order of the manifest, in chunks, and of its tree only one hash for each 256 of them. A leaf
is a hash, so where one lies among a million is known up to a chunk or two; those chunks, hashed again, and the hashes
that are kept give any proof in milliseconds. What is shown was true when the audience was resolved, and can be shown
until it expires; a proof that somebody holds is good for ever.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.audit.manifests import (
    MEMBER_BYTES,
    ManifestLeaf,
    manifest_leaves,
    manifest_proof,
    member_leaves,
    witnesses_of,
)
from consent_gateway.audit.merkle import HASH_BYTES, perfect_root
from consent_gateway.audit.tiles import TILE_WIDTH
from consent_gateway.db import audiences as audience_db
from consent_gateway.db.audiences import AudienceRow
from consent_gateway.domain.ids import RecipientId
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services.disclosing.audiences import CHUNK, chunk_ids
from consent_gateway.services.log import audit_log
from consent_gateway.services.work.gateway import Work

_LEADING = 8  # bytes of a leaf that say where it lies


@dataclass(slots=True)
class _Tree:
    """The manifest of one audience, as far as it is looked at."""

    work: Work
    row: AudienceRow
    hashes: bytes
    chunks: dict[int, list[bytes]] = field(default_factory=dict)

    def chunk(self, number: int) -> list[bytes]:
        """Return the leaves of one chunk of members."""
        if number not in self.chunks:
            ids = chunk_ids(self.work, self.row.id, number) or []
            sector = self.work.registers.sector(RecipientId(self.row.recipient))
            blocks = self.work.gateway.vault.pseudonymiser.bulk_bytes(ids, sector, self.row.epoch)
            self.chunks[number] = member_leaves(bytes.fromhex(self.row.id), blocks)
        return self.chunks[number]

    def around(self, leaf: bytes) -> tuple[int, list[bytes]]:
        """Return a part of the leaves that holds `leaf` or both of its neighbours, and the index it begins at."""
        last = -(-self.row.size // CHUNK) - 1
        if last < 0:
            return 0, []
        first = end = (int.from_bytes(leaf[:_LEADING]) * self.row.size >> 8 * _LEADING) // CHUNK
        part = self.chunk(first)
        while leaf < part[0] and first > 0:
            first -= 1
            part = self.chunk(first) + part
        while leaf > part[-1] and end < last:
            end += 1
            part = part + self.chunk(end)
        return first * CHUNK, part

    def tile(self, level: int, index: int, width: int, /) -> bytes:
        """Return a tile of the tree; see `audit.proofs.ReadTile`."""
        if level == 0:
            start, end = index * TILE_WIDTH, index * TILE_WIDTH + width
            chunks = range(start // CHUNK, (end - 1) // CHUNK + 1)
            leaves = [leaf for number in chunks for leaf in self.chunk(number)]
            return b"".join(leaves[start - chunks[0] * CHUNK :][:width])
        if level == 1:
            return self.hashes[index * TILE_WIDTH * HASH_BYTES :][: width * HASH_BYTES]
        below = range(index * TILE_WIDTH, index * TILE_WIDTH + width)
        return b"".join([perfect_root(self.tile(level - 1, child, TILE_WIDTH)) for child in below])


def prove(work: Work, row: AudienceRow, pseudonym: str) -> dict[str, Any]:
    """Return the proof that `audit.manifests.verify_membership` checks: whether the audience has this person.

    NotFoundError for a text that is no pseudonym of the audience's recipient and epoch, and until the entry of the
    audience is in the tree; ConflictError for an audience from before manifests could show anybody out.
    """
    sector = work.registers.sector(RecipientId(row.recipient))
    if work.gateway.vault.pseudonymiser.resolve(pseudonym, sector, {row.epoch}) is None:
        raise NotFoundError
    tree = _tree(work, row)
    shown = _witnesses(tree, pseudonym)
    proof = manifest_proof(row.id, pseudonym, row.size, bytes(row.manifest_root), shown, tree.tile)
    uid = bytes(row.entry_uid)
    entry, receipt = audit_log.find(work.session, uid).entry, audit_log.receipt(work.session, uid)
    return proof | {"entry": base64.b64encode(entry).decode(), "receipt": receipt.decode()}


def has_member(work: Work, row: AudienceRow, pseudonym: str) -> bool:
    """Tell whether an audience had a person, by their pseudonym of its recipient and epoch; errors as `leaves`."""
    (leaf,) = member_leaves(bytes.fromhex(row.id), _block_of(pseudonym))
    return [shown for _, shown in _witnesses(_tree(work, row), pseudonym)] == [leaf]


def leaves(work: Work, row: AudienceRow, pseudonym: str) -> tuple[bool, tuple[ManifestLeaf, ...]]:
    """Return whether an audience had a person, and the leaves of its manifest that show it (`check_manifest`).

    ConflictError for an audience from before manifests could show anybody out.
    """
    tree = _tree(work, row)
    return manifest_leaves(row.id, pseudonym, row.size, _witnesses(tree, pseudonym), tree.tile)


def _tree(work: Work, row: AudienceRow) -> _Tree:
    hashes = audience_db.manifest(work.session, row.id)
    if hashes is None:
        raise ConflictError("this audience was resolved before manifests could show who is out: resolve it again")
    return _Tree(work, row, hashes)


def _witnesses(tree: _Tree, pseudonym: str) -> list[tuple[int, bytes]]:
    (leaf,) = member_leaves(bytes.fromhex(tree.row.id), _block_of(pseudonym))
    return witnesses_of(leaf, *tree.around(leaf))


def _block_of(pseudonym: str) -> bytes:
    return bytes.fromhex(pseudonym[-2 * MEMBER_BYTES :])
