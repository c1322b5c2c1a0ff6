"""The Merkle tree of RFC 6962 section 2.1: hashes, roots, and the compact range that appends to it.

    leaf(d) = SHA-256(0x00 ‖ d)        node(l, r) = SHA-256(0x01 ‖ l ‖ r)        root of nothing = SHA-256("")

The prefixes keep a leaf from being read as a node (second preimage). A tree of n leaves splits at the largest
power of two below n, so it is a row of perfect subtrees, one for each 1-bit of n, left to right from the largest.
Their roots (the *peaks*, at most 63 hashes) are all that appending needs: `CompactRange`.

Appending works on whole rows rather than leaf by leaf: the new nodes of one height, preceded by the peak of that
height if there is one, pair up to the new nodes of the next; an odd last one is the new peak. That costs one node
hash per leaf and, as a by-product, hands out every new complete node, of which `tiles` keeps each eighth height.

Stand-alone: only the standard library, nothing of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
EMPTY_ROOT = sha256(b"").digest()
_PAIR = 2 * HASH_BYTES


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one log entry (RFC 6962 2.1)."""
    return sha256(LEAF_PREFIX + entry).digest()


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """Return `leaf_hash` of each entry, in order."""
    return [sha256(LEAF_PREFIX + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two 32-byte children (RFC 6962 2.1)."""
    return sha256(NODE_PREFIX + left + right).digest()


def root_from_leaves(leaves: Sequence[bytes]) -> bytes:
    """Return the root over these leaf hashes; the root of no leaves is SHA-256 of nothing."""
    return EMPTY_RANGE.extend(leaves).root


def perfect_root(row: bytes) -> bytes:
    """Return the root over `row`, 2^k concatenated 32-byte hashes (k >= 0); other lengths are a caller's bug."""
    while len(row) > HASH_BYTES:
        row = b"".join([sha256(NODE_PREFIX + row[at : at + _PAIR]).digest() for at in range(0, len(row), _PAIR)])
    return row


def fold_peaks(peaks: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees given left to right, largest first; at least one."""
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The right edge of a tree of `size` leaves: its peaks, left to right, one for each 1-bit of `size`."""

    size: int
    peaks: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.peaks) != self.size.bit_count():
            raise ValueError("a compact range has one peak for each 1-bit of its size")

    @property
    def root(self) -> bytes:
        """The root of the whole tree."""
        return fold_peaks(self.peaks) if self.peaks else EMPTY_ROOT

    def extend(self, leaves: Sequence[bytes]) -> CompactRange:
        """Return the range after appending these leaf hashes; O(len(leaves) + log size) node hashes."""
        return self.climb(leaves)[0]

    def climb(self, leaves: Sequence[bytes]) -> tuple[CompactRange, list[list[bytes]]]:
        """Append leaf hashes; return the new range and the new complete nodes by height.

        Row 0 are the leaves, row h the roots of those subtrees of 2^h leaves that became complete, left to right.
        The first of row h has the index `size >> h` at its height. Rows are never empty, so there are none for no
        leaves.
        """
        below = iter(reversed(self.peaks))  # smallest first
        peaks: list[bytes] = []
        rows: list[list[bytes]] = []
        row = list(leaves)
        while row:
            waiting = self.size >> len(rows) & 1
            rows.append(row)
            pairs = [next(below), *row] if waiting else row
            if len(pairs) & 1:
                peaks.append(pairs[-1])
            row = [sha256(NODE_PREFIX + a + b).digest() for a, b in zip(pairs[::2], pairs[1::2], strict=False)]
        peaks.extend(below)
        return CompactRange(self.size + len(leaves), tuple(reversed(peaks))), rows


EMPTY_RANGE = CompactRange(0, ())
