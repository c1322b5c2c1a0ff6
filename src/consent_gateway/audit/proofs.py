"""Inclusion and consistency proofs: built from tiles, checked from nothing but hashes (RFC 9162 section 2.1).

*Inclusion* shows that an entry stands at an index of the tree with a given root; *consistency* shows that the tree
of m entries is a prefix of the tree of n, so that nothing was changed, removed or reordered in between. A proof is
a list of 32-byte hashes, each of a subtree `[lo, hi)` of leaves; building one is choosing those ranges (pure
arithmetic) and then hashing each from tiles through the `ReadTile` port. About 255 node hashes for each level of
tiles: below a millisecond for a million entries.

Checks return a plain bool, never raise on what an adversary may send, and follow RFC 9162 2.1.3.2 and 2.1.4.2 to
the letter. A consistency proof from size 0 proves nothing and is refused.

Stand-alone: only the standard library, `merkle` and `tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consent_gateway.audit.merkle import EMPTY_ROOT, HASH_BYTES, fold_peaks, node_hash, perfect_root
from consent_gateway.audit.tiles import TILE_HEIGHT, TILE_WIDTH, tile_width

_Range = tuple[int, int]  # leaves [lo, hi)


class ReadTile(Protocol):
    """The port to stored tiles."""

    def __call__(self, level: int, index: int, width: int, /) -> bytes:
        """Return the first `width` hashes (32·width bytes) of that tile; the tree has at least so many."""
        ...


def inclusion_proof(
    index: int, size: int, read_tile: ReadTile, known: dict[_Range, bytes] | None = None
) -> tuple[bytes, ...]:
    """Return the audit path of entry `index` in the tree of `size` entries, leaf to root (RFC 9162 2.1.3.1).

    `known` is for whoever makes many proofs in one tree: what it holds is not computed again. Start with an empty one.
    Raises ValueError unless 0 <= index < size, or when `read_tile` returns another length than asked for.
    """
    if not 0 <= index < size:
        raise ValueError("the index is outside the tree")
    ranges = _inclusion_ranges(index, size)
    if known is None:
        return _hash_ranges(ranges, size, read_tile)
    missing = [span for span in ranges if span not in known]
    known.update(zip(missing, _hash_ranges(missing, size, read_tile), strict=True))
    return tuple([known[span] for span in ranges])


def consistency_proof(old: int, new: int, read_tile: ReadTile) -> tuple[bytes, ...]:
    """Return the proof that the tree of `old` entries is a prefix of that of `new` (RFC 9162 2.1.4.1).

    Empty when the sizes are equal. Raises ValueError unless 0 < old <= new: from 0 there is nothing to prove.
    """
    if not 0 < old <= new:
        raise ValueError("a consistency proof needs 0 < old <= new")
    return _hash_ranges(_consistency_ranges(old, new), new, read_tile)


def root_at(size: int, now: int, read_tile: ReadTile) -> bytes:
    """Return the root that the tree had at `size` entries, out of the tiles of the tree of `now` >= size."""
    if not 0 <= size <= now:
        raise ValueError("the tree never had this size")
    return _hash_ranges([(0, size)], now, read_tile)[0] if size else EMPTY_ROOT


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether `path` proves that the leaf hash `leaf` has this index under `root` (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size or not _all_hashes((leaf, root, *path)):
        return False
    fn, sn, node = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            fn, sn = _skip_right_edge(fn, sn)
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether `path` proves the tree of `old` entries a prefix of that of `new` (RFC 9162 2.1.4.2).

    Equal sizes need equal roots and an empty path; old = 0 proves nothing and is refused.
    """
    if not 0 < old <= new or not _all_hashes((old_root, new_root, *path)):
        return False
    if old == new:
        return not path and old_root == new_root
    # a power of two is a perfect subtree: its root is the first node of the path, left out on the wire
    nodes = (old_root, *path) if old & (old - 1) == 0 else tuple(path)
    return bool(path) and _walk_consistency(old, new, nodes) == (old_root, new_root)


def _walk_consistency(old: int, new: int, nodes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the two roots that the nodes lead to, None when there are too many or too few of them."""
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_node = new_node = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            old_node, new_node = node_hash(node, old_node), node_hash(node, new_node)
            fn, sn = _skip_right_edge(fn, sn)
        else:
            new_node = node_hash(new_node, node)
        fn, sn = fn >> 1, sn >> 1
    return (old_node, new_node) if sn == 0 else None


def _skip_right_edge(fn: int, sn: int) -> tuple[int, int]:
    """Climb past the heights at which the last node has no sibling ("while fn even and not 0")."""
    while fn and not fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _all_hashes(values: Sequence[bytes]) -> bool:
    """Tell whether each value has the length of a hash; a shorter one could shift bytes between fields."""
    return all(len(value) == HASH_BYTES for value in values)


def _split(width: int) -> int:
    """Return the largest power of two below `width` (>= 2)."""
    return 1 << (width - 1).bit_length() - 1


def _inclusion_ranges(index: int, size: int) -> list[_Range]:
    """Return the sibling ranges on the way from leaf `index` to the root."""
    lo, hi, ranges = 0, size, list[_Range]()
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    return ranges[::-1]


def _consistency_ranges(old: int, new: int) -> list[_Range]:
    """Return the ranges of SUBPROOF(old, D[new], true) of RFC 9162 2.1.4.1, in wire order."""
    lo, hi, ranges = 0, new, list[_Range]()
    while hi != old:
        middle = lo + _split(hi - lo)
        if old <= middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    if lo:  # otherwise the verifier holds it already: it is the old root
        ranges.append((lo, hi))
    return ranges[::-1]


def _hash_ranges(ranges: Sequence[_Range], size: int, read_tile: ReadTile) -> tuple[bytes, ...]:
    """Return the hash of each range of leaves of the tree of `size`; each tile is read once."""
    held: dict[_Range, bytes] = {}

    def tile(level: int, index: int) -> bytes:
        if (level, index) not in held:
            held[level, index] = _read_whole(read_tile, level, index, tile_width(size, level, index))
        return held[level, index]

    def subtree(height: int, index: int) -> bytes:
        level, inside = divmod(height, TILE_HEIGHT)
        number, offset = divmod(index << inside, TILE_WIDTH)
        start = offset * HASH_BYTES
        return perfect_root(tile(level, number)[start : start + (HASH_BYTES << inside)])

    return tuple(fold_peaks([subtree(*node) for node in _perfect_nodes(*span)]) for span in ranges)


def _perfect_nodes(lo: int, hi: int) -> list[_Range]:
    """Return (height, index) of the perfect subtrees that make up [lo, hi), left to right."""
    nodes = []
    while lo < hi:
        height = (hi - lo).bit_length() - 1
        nodes.append((height, lo >> height))
        lo += 1 << height
    return nodes


def _read_whole(read_tile: ReadTile, level: int, index: int, width: int) -> bytes:
    """Read a tile and insist on its length: a short one would give a wrong hash in silence."""
    data = read_tile(level, index, width)
    if len(data) != width * HASH_BYTES:
        raise ValueError(f"tile {level}/{index} has {len(data)} bytes instead of {width * HASH_BYTES}")
    return data
