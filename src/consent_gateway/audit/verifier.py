"""Checks from the outside: what an auditor runs who trusts neither the server nor its operator.

The only thing that is trusted is the log's key, pinned by the auditor as a vkey (and the witnesses' keys, if any).
Everything else is recomputed: the checkpoint's signature, the hash of every entry, every tile, the root. Results
are values: a `Finding` says whether it holds and, if not, what is wrong and at which entry first. Nothing that an
adversary can put into a file raises.

What each check finds:

- `verify_receipt`    an entry, index, path or checkpoint that was changed; another log's key; a missing witness
- `verify_directory`  any entry or tile changed, lost, reordered or truncated; a history rewritten by whoever holds
  the signing key, as soon as the auditor has kept an earlier checkpoint (or a witness has cosigned one)
- `verify_prefix`     that two checkpoints belong to one growing log
- `verify_payload`    that a disclosed salt and payload are what an entry committed to

Stand-alone: standard library, `cryptography` and the modules beside this one; `singlefile` prints all of it as one
Python file. Speed: about two SHA-256 calls for each entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from consent_gateway.audit.checkpoints import Checkpoint, OpenedCheckpoint, open_checkpoint, pinned_key
from consent_gateway.audit.commitments import verify_opening
from consent_gateway.audit.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, leaf_hashes
from consent_gateway.audit.notes import parse_vkey
from consent_gateway.audit.proofs import verify_consistency, verify_inclusion
from consent_gateway.audit.receipts import parse_path, parse_receipt
from consent_gateway.audit.tiles import (
    EMPTY_EDGE,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    entries_path,
    grow,
    level_tiles,
    tile_path,
)

_Raw = TypeVar("_Raw")
_Value = TypeVar("_Value")
Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all) after each bundle."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check: `code` is stable, `message` is for people, `index` the first entry concerned."""

    ok: bool
    code: str
    message: str
    index: int | None = None

    def __str__(self) -> str:
        return f"ok {self.message}" if self.ok else f"FAIL {self.code}: {self.message}"


class _FoundError(Exception):
    """Carries the first thing that is wrong out of the walk; never leaves this module."""

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.finding = Finding(ok=False, code=code, message=message, index=index)


def verify_receipt(vkey: str, receipt: bytes, entry: bytes, *, witnesses: Sequence[str] = ()) -> Finding:
    """Check that the log with this key has `entry` at the index that the receipt names.

    `receipt` is a `.tlog-proof` file, `entry` the logged bytes, `witnesses` vkeys that must all have cosigned.
    """
    try:
        parsed = _parsed("receipt", parse_receipt, receipt)
        opened = _open(vkey, parsed.checkpoint, witnesses)
    except _FoundError as found:
        return found.finding
    head = opened.checkpoint
    if not verify_inclusion(parsed.index, head.size, leaf_hash(entry), parsed.path, head.root):
        message = f"the entry is not at index {parsed.index} of this log"
        return Finding(ok=False, code="inclusion", message=message, index=parsed.index)
    message = f"entry {parsed.index} of {head.size}, log {head.origin}"
    return Finding(ok=True, code="ok", message=message, index=parsed.index)


def verify_prefix(vkey: str, old: bytes, new: bytes, proof: bytes) -> Finding:
    """Check that the checkpoint `old` is a prefix of `new`, both signed notes.

    `proof` is a file of base64 hashes, one a line, empty for equal sizes. From size 0 nothing can be proven.
    """
    try:
        before, after = _open(vkey, old).checkpoint, _open(vkey, new).checkpoint
        path = _parsed("consistency", parse_path, proof.decode("ascii", "replace").split())
    except _FoundError as found:
        return found.finding
    if not verify_consistency(before.size, after.size, before.root, after.root, path):
        message = f"size {before.size} is not shown to be a prefix of size {after.size}"
        return Finding(ok=False, code="consistency", message=message)
    message = f"{before.size} is a prefix of {after.size}, log {after.origin}"
    return Finding(ok=True, code="ok", message=message)


def verify_payload(entry: bytes, name: str, salt: bytes, payload: bytes) -> Finding:
    """Check that `payload` is what the entry committed to under `name`; check the entry by its receipt as well."""
    try:
        commitment = bytes.fromhex(json.loads(entry.decode())["commitments"][name])
    except (ValueError, LookupError, TypeError, RecursionError):
        return Finding(ok=False, code="entry", message="the entry has no such commitment")
    if not verify_opening(commitment, salt, payload):
        return Finding(ok=False, code="opening", message="the payload is not what was committed to")
    return Finding(ok=True, code="ok", message=f"the payload is what the entry committed to as {name}")


def verify_directory(
    vkey: str,
    directory: Path,
    *,
    progress: Progress | None = None,
    earlier: bytes | None = None,
    witnesses: Sequence[str] = (),
) -> Finding:
    """Re-hash a whole log kept in the tlog-tiles layout and compare it with its `checkpoint` file.

    Every entry is hashed again and compared with its tile, every tile above with the one below, the root with the
    signed checkpoint. `earlier` is a checkpoint (signed note) that the auditor kept: the log must extend it.
    Reads each file once and holds one bundle at a time. The finding names the first bad entry where one can be
    named.
    """
    try:
        head = _open(vkey, _read(directory, "checkpoint"), witnesses).checkpoint
        kept = None if earlier is None else _open(vkey, earlier).checkpoint
        _check_directory(directory, head, kept, progress)
    except _FoundError as found:
        return found.finding
    return Finding(ok=True, code="ok", message=f"{head.size} entries, root {head.root.hex()}")


def _check_directory(directory: Path, head: Checkpoint, kept: Checkpoint | None, progress: Progress | None) -> None:
    """Raise the first thing that is wrong with the tree of `head`, or with it as a successor of `kept`."""
    kept_size = kept.size if kept else 0
    if kept_size > head.size:
        raise _FoundError("rolled_back", f"{head.size} entries, but {kept_size} were published before")
    kept_root, root = _walk(directory, head.size, kept_size, progress)
    if root != head.root:
        raise _FoundError("root", "the entries do not hash to the root of the signed checkpoint")
    if kept and kept_root != kept.root:
        raise _FoundError("prefix", f"the first {kept_size} entries are not those published before")


def _walk(directory: Path, size: int, kept: int, progress: Progress | None) -> tuple[bytes, bytes]:
    """Check all bundles and tiles of a tree of `size`; return the roots at `kept` and at `size` entries."""
    edge, kept_root = EMPTY_EDGE, EMPTY_ROOT
    for index, width in level_tiles(size, 0):
        leaves = _check_bundle(directory, index, width)
        if edge.size < kept <= edge.size + width:
            kept_root = edge.range.extend(leaves[: kept - edge.size]).root
        growth = grow(edge, leaves)
        edge = growth.edge
        for tile in growth.tiles:
            if tile.level and tile.width == TILE_WIDTH:  # partial ones follow once, when the walk ends
                _check_tile(directory, tile)
        if progress is not None:
            progress(edge.size, size)
    for level, data in edge.partials.items():
        if level:
            _check_tile(directory, Tile(level, size >> TILE_HEIGHT * (level + 1), data))
    return kept_root, edge.range.root


def _check_bundle(directory: Path, index: int, width: int) -> list[bytes]:
    """Return the leaf hashes of one bundle after comparing them with its level-0 tile."""
    first = index * TILE_WIDTH
    bundle = _read_either(directory, entries_path(index, width), entries_path(index), first)
    try:
        entries = decode_bundle(bundle)
    except ValueError as error:
        raise _FoundError("bundle", f"{error} (bundle {index})", first) from None
    if len(entries) < width:
        raise _FoundError("bundle", f"the entry bundle {index} is short", first + len(entries))
    leaves = leaf_hashes(entries[:width])
    _check_tile(directory, Tile(0, index, b"".join(leaves)))
    return leaves


def _check_tile(directory: Path, tile: Tile) -> None:
    """Compare a recomputed tile with its file; raise at the first hash that differs."""
    stored = _read_tile_file(directory, tile)
    if stored == tile.data:
        return
    starts = range(0, len(tile.data), HASH_BYTES)
    offset = next(at for at in starts if stored[at : at + HASH_BYTES] != tile.data[at : at + HASH_BYTES])
    index = (tile.index * TILE_WIDTH + offset // HASH_BYTES) << TILE_HEIGHT * tile.level
    what = "does not hash to its tile" if tile.level == 0 else f"is the first below a wrong hash in {tile.path}"
    raise _FoundError("tile", f"entry {index} {what}", index)


def _read_tile_file(directory: Path, tile: Tile) -> bytes:
    """Return the stored bytes of a tile, cut to the width at hand; raises for a file of another length."""
    first = tile.index * TILE_WIDTH << TILE_HEIGHT * tile.level
    stored = _read_either(directory, tile.path, tile_path(tile.level, tile.index), first)
    if len(stored) not in {len(tile.data), TILE_BYTES}:
        raise _FoundError("tile", f"{tile.path} has {len(stored)} bytes", first)
    return stored[: len(tile.data)]


def _read_either(directory: Path, path: str, full: str, first: int) -> bytes:
    """Read a partial file or, as tlog-tiles allows once it filled up, the full one that replaced it."""
    for name in (path, full):
        if (directory / name).is_file():
            return _read(directory, name, first)
    raise _FoundError("missing", f"{path} is missing", first)


def _read(directory: Path, name: str, first: int | None = None) -> bytes:
    """Read a file of the log."""
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise _FoundError("missing", f"{name}: {error.strerror}", first) from None


def _open(vkey: str, note: bytes, witnesses: Sequence[str] = ()) -> OpenedCheckpoint:
    """Return the checkpoint signed by the pinned key and cosigned by each witness."""
    log = _parsed("vkey", pinned_key, vkey)
    keys = [_parsed("vkey", parse_vkey, witness) for witness in witnesses]
    try:
        opened = open_checkpoint(note, log, keys)
    except ValueError as error:
        raise _FoundError("checkpoint", str(error)) from None
    if absent := [key.name for key in keys if not opened.signed_by(key)]:
        raise _FoundError("witness", f"not cosigned by {', '.join(absent)}")
    return opened


def _parsed(code: str, parse: Callable[[_Raw], _Value], raw: _Raw) -> _Value:
    """Return `parse(raw)`, its ValueError turned into a finding."""
    try:
        return parse(raw)
    except ValueError as error:
        raise _FoundError(code, str(error)) from None
