"""The tree cut into tiles, and the entries into bundles (C2SP tlog-tiles).

A tile of level L and index N holds up to 256 hashes: those of the complete subtrees of 256^L leaves with the
numbers 256·N … 256·N+255. A full tile is 8,192 bytes and never changes; the last tile of a level may be partial
and only grows, so a partial tile of any earlier size is a prefix of it. Empty tiles do not exist, and a partial
tile is never hashed upward: its parents exist only in proofs and in the root. An entry bundle holds the entries of
one level-0 tile, each as u16 length ‖ bytes.

Growing a tree (`grow`) touches nothing but its `Edge`: the peaks and the partial tile of each level. Whoever keeps
the edge appends without reading any other tile.

Stand-alone: only the standard library and `merkle`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.audit.merkle import EMPTY_RANGE, HASH_BYTES, CompactRange, perfect_root

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_BUNDLED_ENTRY = 65_535
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<index>(x[0-9]{3}/){0,6}[0-9]{3})(\.p/(?P<width>[0-9]{1,3}))?",
    re.ASCII,
)
_GROUPING = re.compile("[x/]")
_GROUP = 1000  # indexes are written in groups of three decimal digits
_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True)
class Tile:
    """The content of one tile: `data` is 1 to 256 hashes of 32 bytes."""

    level: int
    index: int
    data: bytes

    @property
    def width(self) -> int:
        """How many hashes it holds; 256 when full."""
        return len(self.data) // HASH_BYTES

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        return tile_path(self.level, self.index, self.width)


@dataclass(frozen=True, slots=True)
class Edge:
    """All that appending needs: the compact range, and the partial tile of each level that has one."""

    range: CompactRange
    partials: Mapping[int, bytes]

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self.range.size


EMPTY_EDGE = Edge(EMPTY_RANGE, {})


@dataclass(frozen=True, slots=True)
class Growth:
    """What an append changed: every tile that is new or longer, by level then index, and the edge after it."""

    tiles: tuple[Tile, ...]
    edge: Edge


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return `tile/<L>/<N>[.p/<W>]`; `width` below 256 names the partial tile."""
    return f"tile/{level}/{_index_path(index, width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return `tile/entries/<N>[.p/<W>]`; `width` below 256 names the partial bundle."""
    return f"tile/entries/{_index_path(index, width)}"


def parse_tile_path(path: str) -> tuple[int | None, int, int] | None:
    """Return (level, index, width) of what is served at `path`, None unless it is spelt exactly as the paths above.

    The level of an entry bundle is None. One tile has one path: leading zeros, empty groups (`x000/005`) and widths
    outside 1 to 255 are no paths, so that no cache keeps a tile under two names.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    index, width = int(_GROUPING.sub("", match["index"])), int(match["width"] or TILE_WIDTH)
    level = None if match["level"] == "entries" else int(match["level"])
    again = entries_path(index, width) if level is None else tile_path(level, index, width)
    return (level, index, width) if 0 < width <= TILE_WIDTH and again == path else None


def tile_width(size: int, level: int, index: int) -> int:
    """Return how many hashes that tile has in a tree of `size` leaves, 0 to 256; 0 means it does not exist."""
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))


def level_tiles(size: int, level: int) -> Iterator[tuple[int, int]]:
    """Yield (index, width) of each tile of `level` in a tree of `size` leaves; level 0 names the bundles too."""
    hashes = size >> TILE_HEIGHT * level
    for index in range(-(-hashes // TILE_WIDTH)):
        yield index, tile_width(size, level, index)


def tree_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, index, width) of each tile of a tree of `size` leaves."""
    level = 0
    while size >> TILE_HEIGHT * level:
        for index, width in level_tiles(size, level):
            yield level, index, width
        level += 1


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return u16 length ‖ bytes of each entry; raises ValueError for an entry above 65,535 bytes."""
    if any(len(entry) > MAX_BUNDLED_ENTRY for entry in entries):
        raise ValueError(f"an entry is at most {MAX_BUNDLED_ENTRY} bytes")
    return b"".join([len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries])


def decode_bundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle; raises ValueError when the last one is cut short."""
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        entries.append(data[start:at])
    if at != end:
        raise ValueError("an entry bundle ends inside an entry")
    return entries


def load_edge(size: int, partials: Mapping[int, bytes]) -> Edge:
    """Return the edge of a tree of `size` leaves from the partial tile of each level (at most 255 hashes each).

    For a cold start: it hashes each partial tile once, about 0.1 ms a level. Raises ValueError when a tile is
    missing, of another width, or superfluous.
    """
    wanted = {level: size >> TILE_HEIGHT * level & TILE_WIDTH - 1 for level in range(_levels(size))}
    widths = {level: width for level, width in wanted.items() if width}
    if {level: len(data) / HASH_BYTES for level, data in partials.items() if data} != widths:
        raise ValueError("the partial tiles do not fit the size of the tree")
    peaks = [peak for level in sorted(widths, reverse=True) for peak in _peaks(partials[level])]
    return Edge(CompactRange(size, tuple(peaks)), {level: partials[level] for level in widths})


def grow(edge: Edge, leaves: Sequence[bytes]) -> Growth:
    """Append leaf hashes (32 bytes each) to the tree; pure, reads nothing but `edge`.

    Costs one node hash per leaf. Raises ValueError for a leaf hash of another length.
    """
    after, rows = edge.range.climb(leaves)
    if rows and set(map(len, leaves)) != {HASH_BYTES}:
        raise ValueError("a leaf hash has 32 bytes")
    tiles: list[Tile] = []
    partials = dict(edge.partials)
    # rows[8·L] are the new hashes of tile level L
    for level, row in enumerate(rows[::TILE_HEIGHT]):
        data = partials.pop(level, b"") + b"".join(row)
        first = edge.size >> TILE_HEIGHT * (level + 1)
        tiles += _cut(level, first, data)
        if rest := len(data) % TILE_BYTES:
            partials[level] = data[-rest:]
    return Growth(tuple(tiles), Edge(after, partials))


def _cut(level: int, first: int, data: bytes) -> list[Tile]:
    """Cut a run of hashes that starts on a tile boundary into tiles; the last may be partial."""
    starts = range(0, len(data), TILE_BYTES)
    return [Tile(level, first + at // TILE_BYTES, data[at : at + TILE_BYTES]) for at in starts]


def _peaks(data: bytes) -> Iterator[bytes]:
    """Yield the roots of the perfect subtrees that a partial tile consists of, largest first."""
    at, width = 0, len(data) // HASH_BYTES
    for height in reversed(range(TILE_HEIGHT)):
        if width >> height & 1:
            end = at + (HASH_BYTES << height)
            yield perfect_root(data[at:end])
            at = end


def _levels(size: int) -> int:
    """Return how many levels of tiles a tree of `size` leaves has."""
    return -(-size.bit_length() // TILE_HEIGHT)


def _index_path(index: int, width: int) -> str:
    """Return the index in groups of three digits, all but the last prefixed `x`, and the partial suffix."""
    path = f"{index % _GROUP:03d}"
    while index := index // _GROUP:
        path = f"x{index % _GROUP:03d}/{path}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"
