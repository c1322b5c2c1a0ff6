"""The log as files: all of it the first time, what is new each time after.

    1. head     the newest checkpoint of the store: N entries;
    2. compare  what the directory has, M entries, with the store: a prefix, file for file, or nothing is written;
    3. write    the tiles and bundles that a tree of N entries has and one of M has not, in order of their entries;
    4. publish  the checkpoint, last; then partial tiles that have grown may go.

A directory is therefore always a log of M entries that verifies, whatever happens in between: files beyond M are looked
at by nobody, and the next run finds them, compares them and goes on. A directory of another log, of another key, or of
another history of this log is refused, with the first entry that differs.

Nothing of the log changes, so no snapshot is held: each page of files is read in one of its own, and an export of
millions of entries is in nobody's way. Openings of commitments are not part of the log and are never written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from consent_gateway.audit.checkpoints import Checkpoint, open_checkpoint
from consent_gateway.audit.maps import subtree, write_leaves
from consent_gateway.audit.merkle import EMPTY_ROOT, HASH_BYTES
from consent_gateway.audit.proofs import root_at
from consent_gateway.audit.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    decode_bundle,
    entries_path,
    tile_path,
    tile_width,
)
from consent_gateway.db import log_store, map_store
from consent_gateway.db.engine import Session
from consent_gateway.errors import AuditError, ConflictError
from consent_gateway.services.log.log_directories import LogDirectory
from consent_gateway.services.work.gateway import Gateway

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all) after each bundle."""
_LENGTH_BYTES = 2  # in front of each entry of a bundle
_TRIES = 3
_PAGE = 64  # files that are read in one snapshot


@dataclass(frozen=True, slots=True)
class Piece:
    """One file: the tile of a level, or, without a level, the entry bundle."""

    level: int | None
    index: int
    width: int

    @property
    def name(self) -> str:
        """Its path below the directory."""
        if self.level is None:
            return entries_path(self.index, self.width)
        return tile_path(self.level, self.index, self.width)

    @property
    def full_name(self) -> str:
        """The path of the file that takes its place once it is full."""
        return Piece(self.level, self.index, TILE_WIDTH).name

    @property
    def end(self) -> int:
        """How many entries a log has that ends with it, as far as its own level tells."""
        return self.index * TILE_WIDTH + self.width


@dataclass(frozen=True, slots=True)
class Exported:
    """What a run did: the log's size and root, how many entries the directory had before, files written."""

    size: int
    root: bytes
    before: int
    files: int


def export(
    gateway: Gateway, directory: LogDirectory, progress: Progress | None = None, *, quick: bool = False
) -> Exported:
    """Bring a directory up to the newest checkpoint; returns what was done. Running it again writes nothing.

    `quick` compares the tiles that are there and trusts the bundles below them: a run then reads 32 bytes of each entry
    instead of all of it. ConflictError names the first entry at which the directory is not a prefix of this log.
    """
    with gateway.store.reading() as session:
        size, note = log_store.checkpoint(session) or (0, b"")
        root = _root_at(session, size, size)
    before = _compare(gateway, directory, size, quick=quick)
    files = 0
    for piece, content in _contents(gateway, pieces(before, size)):
        found = directory.put(piece.name, content)
        if found is not None and found != content:
            raise _differs(piece, found, content)
        files += found is None
        if progress is not None and piece.level == 0:
            progress(piece.end, size)
    if size > before:
        directory.publish(size, note, outgrown(before, size))
    return Exported(size, root, before, files)


def export_map(gateway: Gateway, directory: LogDirectory) -> str | None:
    """Write the chains of the newest published map as `maps/<number>`; returns the name, None if there is no map yet.

    From it an auditor computes the root and the sum that the entry `map.published` says (`audit.maps.read_leaves`).
    """
    for _ in range(_TRIES):
        with gateway.store.reading() as session:
            newest = map_store.newest(session)
            leaves = [] if newest is None else list(map_store.map_leaves(session))
        if newest is None:
            return None
        name = f"maps/{newest.number}"
        if subtree(leaves).hash != newest.root:
            continue  # the next map came between the two reads
        content = b"".join(write_leaves(leaves))
        if directory.put(name, content) not in (None, content):
            raise ConflictError(f"{name} is not of this log, or damaged")
        return name
    raise AuditError("the published map does not hash to its root; run consent-gateway audit verify")


def pieces(before: int, size: int) -> Iterator[Piece]:
    """Yield the files that a tree of `size` entries has and one of `before` has not, in order of their entries."""
    for index in range(before >> TILE_HEIGHT, -(-size >> TILE_HEIGHT)):
        if (width := tile_width(size, 0, index)) > tile_width(before, 0, index):
            yield Piece(None, index, width)
            yield Piece(0, index, width)
    level = 1
    while size >> TILE_HEIGHT * level:
        hashes, had = size >> TILE_HEIGHT * level, before >> TILE_HEIGHT * level
        for index in range(had >> TILE_HEIGHT, -(-hashes >> TILE_HEIGHT)):
            if (width := tile_width(size, level, index)) > tile_width(before, level, index):
                yield Piece(level, index, width)
        level += 1


def outgrown(before: int, size: int) -> Iterator[str]:
    """Yield the partial files of a tree of `before` entries that one of `size` has in a longer form."""
    for piece in pieces(0, before):
        if piece.width < TILE_WIDTH and tile_width(size, piece.level or 0, piece.index) > piece.width:
            yield piece.name


def _compare(gateway: Gateway, directory: LogDirectory, size: int, *, quick: bool) -> int:
    """Return how many entries the directory has; ConflictError unless they are the first of this log."""
    before, root = _held(gateway, directory, size)
    if before > size:
        raise ConflictError(f"the directory has {before} entries, the store {size}: the store was set back")
    wanted = (piece for piece in pieces(0, before) if not quick or piece.level is not None)
    for piece, content in _contents(gateway, wanted):
        found = directory.read(piece.name)
        if found is None:
            found = (directory.read(piece.full_name) or b"")[: len(content)]
        if found != content:
            raise _differs(piece, found, content)
    with gateway.store.reading() as session:
        if root != _root_at(session, before, size):
            raise ConflictError(f"the directory's checkpoint of {before} entries is not of this log")
    return before


def _held(gateway: Gateway, directory: LogDirectory, size: int) -> tuple[int, bytes]:
    """Return size and root of the newest checkpoint in the directory; completes one that a crash cut short."""
    for name, note in directory.notes():
        head = _opened(gateway, note)
        whole = note if head is not None else _whole(gateway, name, note, size)
        directory.put(name, whole)  # finishes what a crash left
        head = head or open_checkpoint(whole, gateway.signer.key).checkpoint
        return head.size, head.root
    return 0, EMPTY_ROOT


def _opened(gateway: Gateway, note: bytes) -> Checkpoint | None:
    """Return the checkpoint that this log signed in any of its epochs, None for any other note."""
    try:
        return gateway.log_keys.open(note)[1].checkpoint
    except ValueError:
        return None


def _whole(gateway: Gateway, name: str, note: bytes, size: int) -> bytes:
    """Return the checkpoint of which `note` is the beginning: signatures are deterministic, so it can be made again."""
    suffix = name.rpartition(".")[2]
    if suffix.isdecimal() and 0 < int(suffix) <= size:
        with gateway.store.reading() as session:
            again = gateway.signer.sign_checkpoint(int(suffix), _root_at(session, int(suffix), size))
        if again.startswith(note):
            return again
    raise ConflictError(f"{name} was not signed by this log: the directory is of another log or key")


def _contents(gateway: Gateway, wanted: Iterable[Piece]) -> Iterator[tuple[Piece, bytes]]:
    """Yield each file with what the store has for it, a page to a snapshot."""
    page: list[Piece] = []
    for piece in wanted:
        page.append(piece)
        if len(page) == _PAGE:
            yield from _read_page(gateway, page)
            page = []
    yield from _read_page(gateway, page)


def _read_page(gateway: Gateway, page: list[Piece]) -> list[tuple[Piece, bytes]]:
    with gateway.store.reading() as session:
        return [(piece, _content(session, piece)) for piece in page]


def _content(session: Session, piece: Piece) -> bytes:
    if piece.level is None:
        return log_store.bundle(session, piece.index, piece.width)
    return log_store.read_tile(session, piece.level, piece.index, piece.width)


def _root_at(session: Session, size: int, now: int) -> bytes:
    return root_at(size, now, lambda level, index, width: log_store.read_tile(session, level, index, width))


def _differs(piece: Piece, found: bytes, wanted: bytes) -> ConflictError:
    entry = _first_difference(piece, found, wanted)
    return ConflictError(f"{piece.name} is not of this log, or damaged: entry {entry} is the first that differs")


def _first_difference(piece: Piece, found: bytes, wanted: bytes) -> int:
    """Return the first entry at which two contents of one file differ."""
    if piece.level is None:
        have, want = _entries(found), decode_bundle(wanted)
        same = next((at for at, entry in enumerate(want) if at >= len(have) or have[at] != entry), len(want))
        return piece.index * TILE_WIDTH + min(same, piece.width - 1)
    starts = range(0, len(wanted), HASH_BYTES)
    at = next((at for at in starts if found[at : at + HASH_BYTES] != wanted[at : at + HASH_BYTES]), starts[-1])
    return (piece.index * TILE_WIDTH + at // HASH_BYTES) << TILE_HEIGHT * piece.level


def _entries(bundle: bytes) -> list[bytes]:
    """Return the whole entries at the beginning of a bundle that may be damaged."""
    entries: list[bytes] = []
    at = 0
    while len(bundle) - at >= _LENGTH_BYTES:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start], "big")
        entries.append(bundle[start:at])
    return entries
