"""Vectors of whole trees: worked values of a small one, the geometry of one with 70,000 entries, directories.

Formats: worked values (`checkpoints`, `inclusion`, `consistency`, `roots`, and receipts in files beside it), a geometry
(`tiles_sha256`, `bundles_sha256`: the entries follow a rule, so the whole tree is built again), the description of a
tlog-tiles directory that lies beside it (`log_vkey`, `entries`, a checkpoint file for each size), and
`consent-gateway/log-vectors@v1`: the files of a log in base64, cases that change some of them, and what is wanted:
`accept`, or `refuse` with the code and the first bad index.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from consent_gateway.audit.checkpoints import Checkpoint
from consent_gateway.audit.merkle import HASH_BYTES, leaf_hashes
from consent_gateway.audit.notes import parse_vkey
from consent_gateway.audit.proofs import (
    consistency_proof,
    inclusion_proof,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from consent_gateway.audit.tiles import (
    EMPTY_EDGE,
    TILE_WIDTH,
    decode_bundle,
    encode_bundle,
    entries_path,
    grow,
    level_tiles,
    tile_path,
    tree_tiles,
)
from consent_gateway.audit.vectors.cases import ACCEPT, REFUSE, Case, answer, equal
from consent_gateway.audit.vectors.notes import checkpoint_case, note_opens
from consent_gateway.audit.verifier import verify_directory, verify_receipt

_MAX_SIZE = 1 << 20
LOG_FORMAT = "consent-gateway/log-vectors@v1"


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree built from its entries, with all of its tiles."""

    entries: Sequence[bytes]
    tiles: Mapping[tuple[int, int], bytes]

    @classmethod
    def of(cls, entries: Sequence[bytes]) -> _Tree:
        growth = grow(EMPTY_EDGE, leaf_hashes(entries))
        return cls(entries, {(tile.level, tile.index): tile.data for tile in growth.tiles})

    def read(self, level: int, index: int, width: int, /) -> bytes:
        return self.tiles[level, index][: width * HASH_BYTES]

    def root(self, size: int) -> bytes:
        return root_at(size, len(self.entries), self.read)

    def proofs(self, document: Mapping[str, Any]) -> Iterator[Case]:
        """Answer proofs in hex: they are built to the byte, and they hold."""
        leaves = leaf_hashes(self.entries)
        for case in document["inclusion"]:
            index, size, path = case["index"], case["size"], _unhex(case["proof"])
            name = f"inclusion {index} in {size}"
            yield equal(name, path, list(inclusion_proof(index, size, self.read)))
            yield answer(name, wanted=True, got=verify_inclusion(index, size, leaves[index], path, self.root(size)))
        for case in document["consistency"]:
            old, new, path = case["first"], case["second"], _unhex(case["proof"])
            name, roots = f"consistency {old} to {new}", (self.root(old), self.root(new))
            yield equal(name, path, list(consistency_proof(old, new, self.read)))
            yield answer(name, wanted=True, got=verify_consistency(old, new, *roots, path))
        for size, root in document["roots"].items():
            yield equal(f"root {size}", root, self.root(int(size)))


def worked_cases(document: Mapping[str, Any], folder: Path) -> Iterator[Case]:
    """Answer the worked values of a small tree, and the receipts `entry-<n>.tlog-proof` beside the file."""
    tree = _Tree.of([entry.encode() for entry in document["entries"]])
    yield equal("leaf hashes", document["leaf_hashes"], [leaf.hex() for leaf in leaf_hashes(tree.entries)])
    yield from tree.proofs(document)
    for index, path in document["index_paths"].items():
        yield equal(f"path of tile {index}", f"tile/0/{path}", tile_path(0, int(index)))
    vkey, witness = document["log_vkey"], document["witness_vkey"]
    yield equal("log key id", document["log_key_id_hex"], parse_vkey(vkey).key_id)
    yield equal("witness key id", document["witness_key_id_hex"], parse_vkey(witness).key_id)
    for size, note in document["checkpoints"].items():
        head = Checkpoint(document["origin"], int(size), tree.root(int(size)))
        yield checkpoint_case(f"checkpoint {size}", note.encode(), vkey, head)
        yield answer(f"cosignature {size}", wanted=True, got=note_opens(note.encode(), witness))
    for file in sorted(folder.glob("entry-*.tlog-proof")):
        entry = tree.entries[int(file.stem.removeprefix("entry-"))]
        found = verify_receipt(vkey, file.read_bytes(), entry, witnesses=[witness])
        yield answer(file.name, wanted=True, got=found.ok)


def geometry_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer the geometry of a tree whose entry i is `e` and i in decimal: tiles, bundles, roots, proofs."""
    size = document["size"]
    if size > _MAX_SIZE:
        raise ValueError("the tree is too large to be built here")
    tree = _Tree.of([b"e%d" % number for number in range(size)])
    tiles = {tile_path(*tile): tree.read(*tile) for tile in tree_tiles(size)}
    bundles = {
        entries_path(index, width): tree.entries[index * TILE_WIDTH :][:width] for index, width in level_tiles(size, 0)
    }
    yield equal("tiles", document["tile_count"], len(tiles))
    yield equal("bundles", document["bundle_count"], len(bundles))
    for path, digest in document["tiles_sha256"].items():
        yield equal(path, digest, sha256(tiles[path]).digest())
    for path, digest in document["bundles_sha256"].items():
        yield equal(path, digest, sha256(encode_bundle(bundles[path])).digest())
    yield equal("root", document["root"], tree.root(size))
    yield from tree.proofs(document)


def directory_cases(document: Mapping[str, Any], folder: Path) -> Iterator[Case]:
    """Answer a tlog-tiles directory of another program: it holds at each size for which it has a checkpoint."""
    vkey, entries = document["log_vkey"], [entry.encode() for entry in document["entries"]]
    tree = _Tree.of(entries)
    for size in range(len(entries) + 1):
        name = f"checkpoint.{size}"
        note = (folder / name).read_bytes()
        yield checkpoint_case(name, note, vkey, Checkpoint(parse_vkey(vkey).name, size, tree.root(size)))
        finding = verify_directory(vkey, folder, checkpoint=note)
        yield answer(f"the directory at {size}", wanted=True, got=finding.ok)
    stored = decode_bundle((folder / entries_path(0, len(entries))).read_bytes())
    yield equal("entries", entries, stored)
    yield answer("the directory as it is", wanted=True, got=verify_directory(vkey, folder).ok)


def own_log_cases(document: Mapping[str, Any]) -> Iterator[Case]:
    """Answer logs with some files changed (null: gone), by `verify_directory`: code and index of a refusal."""
    with TemporaryDirectory() as folder:
        for number, case in enumerate(document["cases"]):
            root = Path(folder) / str(number)
            _write(root, {**document["files"], **case["files"]})
            earlier = [note.encode() for note in case.get("earlier", [])]
            finding = verify_directory(document["log_vkey"], root, earlier=earlier, strict=case.get("strict", False))
            wanted = ACCEPT if case["want"] == ACCEPT else f"{REFUSE} ({case['code']} at {case['index']})"
            got = ACCEPT if finding.ok else f"{REFUSE} ({finding.code} at {finding.index})"
            yield Case(case["name"], wanted, got)


def _write(root: Path, contents: Mapping[str, str | None]) -> None:
    for name, content in contents.items():
        if content is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b64decode(content))


def _unhex(values: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]
