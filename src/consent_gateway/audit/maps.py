"""The map of all chains: how many entries each has and which is its newest, under one root that the log records.

    leaf(key, count, link) = SHA-256(0x02 ‖ key ‖ u64 count ‖ link)
    node(left, right)      = SHA-256(0x03 ‖ left ‖ u64 left sum ‖ right ‖ u64 right sum)

A binary trie over the bits of the chain's key, the highest first. A subtree without chains is 32 zero bytes and its sum
0; one with a single chain is that leaf, wherever it stands; any other is a node, and its sum that of its two children.
So equal maps have equal roots, and a proof is as long as chains are alike: about log2 of how many there are.

Sums are part of every hash. The log records with a root how many entries the chains have together and at which size of
the log (`map.published`). Anybody who has the log counts the commitments `chain` and `other_chain` among so many
entries (`SumCheck`): an entry that is left out of its person's chain is one too many, unless some other chain has it.

A proof shows that a key has this leaf, or none: then the way to it ends at nothing or at the leaf of another key.

Stand-alone: only the standard library, and `canonical`.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

from consent_gateway.audit.canonical import canonical_json

MAP_PUBLISHED = "map.published"
PREFIX_BITS = 12
"""So many bits of a key choose one of 4,096 subtrees whose nodes are kept; below them, leaves are hashed anew."""

_HASH = 32
_KEY_BITS = 8 * _HASH
_U64 = 8
_LEAF_TAG, _NODE_TAG = b"\x02", b"\x03"
_LEAF_BYTES = 2 * _HASH + _U64
_MOST = 1 << 63
_PLACES = ("chain", "other_chain")


class MapLeaf(NamedTuple):
    """A chain as it is published: its key, how many entries it has (at least 1), and the link of the newest."""

    key: bytes
    entries: int
    link: bytes


class Subtree(NamedTuple):
    """The hash of a subtree, how many entries its chains have together, and how many chains there are."""

    hash: bytes
    entries: int
    chains: int


NOTHING = Subtree(bytes(_HASH), 0, 0)


@dataclass(frozen=True, slots=True)
class MapProof:
    """The way from the root to where a key belongs: at each branch the other side, hash and sum; then what is there."""

    others: tuple[tuple[bytes, int], ...]
    leaf: MapLeaf | None


ReadNode = Callable[[int], Subtree]
"""A kept node by its number: 1 is the root, 2n and 2n+1 the two below n; `NOTHING` for one that is not kept."""

ReadLeaves = Callable[[bytes, bytes], Sequence[MapLeaf]]
"""The leaves with first key <= key < second, in the order of their keys; the second b"" for no bound."""


# -- hashes --------------------------------------------------------------------------------------------------------


def map_leaf(leaf: MapLeaf) -> Subtree:
    """Return the subtree of one chain."""
    hashed = sha256(_LEAF_TAG + leaf.key + leaf.entries.to_bytes(_U64, "big") + leaf.link).digest()
    return Subtree(hashed, leaf.entries, 1)


def map_node(left: Subtree, right: Subtree) -> Subtree:
    """Return the subtree over two; where there is at most one chain in both, that is where it stands."""
    chains = left.chains + right.chains
    if chains <= 1:
        return right if right.chains else left
    return Subtree(_node(left.hash, left.entries, right.hash, right.entries), left.entries + right.entries, chains)


def _node(left: bytes, left_sum: int, right: bytes, right_sum: int) -> bytes:
    return sha256(_NODE_TAG + left + left_sum.to_bytes(_U64, "big") + right + right_sum.to_bytes(_U64, "big")).digest()


def subtree(leaves: Sequence[MapLeaf], depth: int = 0) -> Subtree:
    """Return the subtree of these leaves, sorted by key, all of which share their first `depth` bits."""
    if len(leaves) <= 1:
        return map_leaf(leaves[0]) if leaves else NOTHING
    middle = _middle(leaves, depth)
    return map_node(subtree(leaves[:middle], depth + 1), subtree(leaves[middle:], depth + 1))


def _middle(leaves: Sequence[MapLeaf], depth: int) -> int:
    """Return where in sorted leaves that share `depth` bits the next bit becomes 1."""
    return bisect_left(leaves, 1, key=lambda leaf: _bit(leaf.key, depth))


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


# -- keeping a map -------------------------------------------------------------------------------------------------


def kept_node(key: bytes, depth: int = PREFIX_BITS) -> int:
    """Return the number of the kept node at `depth` on the way to a key."""
    return 1 << depth | int.from_bytes(key[:2], "big") >> 2 * 8 - depth


def bounds(node: int) -> tuple[bytes, bytes]:
    """Return the first key below a kept node, and the first one after all of those (b"" where none is)."""
    depth = node.bit_length() - 1
    first = (node - (1 << depth)) << 2 * 8 - depth
    after = first + (1 << 2 * 8 - depth)
    return first.to_bytes(2, "big").ljust(_HASH, b"\0"), (
        b"" if after >> 2 * 8 else after.to_bytes(2, "big").ljust(_HASH, b"\0")
    )


def regrow(changed: Mapping[int, Subtree], read: ReadNode) -> dict[int, Subtree]:
    """Return every kept node that differs once the subtrees at `PREFIX_BITS` do, up to the root, number 1."""
    nodes = dict(changed)
    level = set(changed)
    while level != {1} and level:
        level = {number >> 1 for number in level}
        for number in level:
            left, right = (nodes[n] if n in nodes else read(n) for n in (2 * number, 2 * number + 1))
            nodes[number] = map_node(left, right)
    return nodes


def prove(key: bytes, read: ReadNode, leaves: ReadLeaves) -> MapProof:
    """Return the proof of what the map has for `key`: twelve kept nodes, then some hundreds of leaves of a million."""
    others: list[tuple[bytes, int]] = []
    for depth in range(PREFIX_BITS):
        number = kept_node(key, depth)
        if read(number).chains <= 1:
            found = leaves(*bounds(number))
            return MapProof(tuple(others), found[0] if found else None)
        other = read(kept_node(key, depth + 1) ^ 1)
        others.append((other.hash, other.entries))
    found = leaves(*bounds(kept_node(key)))
    for depth in range(PREFIX_BITS, _KEY_BITS):
        if len(found) <= 1:
            break
        middle = _middle(found, depth)
        ours, theirs = (found[middle:], found[:middle]) if _bit(key, depth) else (found[:middle], found[middle:])
        other = subtree(theirs, depth + 1)
        others.append((other.hash, other.entries))
        found = ours
    return MapProof(tuple(others), found[0] if found else None)


# -- checking ------------------------------------------------------------------------------------------------------


def verify_map(key: bytes, proof: MapProof, root: bytes, entries: int) -> bool:
    """Tell whether the map with this root and sum has `proof.leaf` where `key` belongs.

    If that is the leaf of `key`, the key has it; if it is another or none, the map does not have the key.
    """
    depth = len(proof.others)
    if not (len(key) == _HASH and depth <= _KEY_BITS and _sound(proof)):
        return False
    here, total = (NOTHING if proof.leaf is None else map_leaf(proof.leaf))[:2]
    if proof.leaf is not None and any(_bit(key, n) != _bit(proof.leaf.key, n) for n in range(depth)):
        return False
    for n in reversed(range(depth)):
        other, other_sum = proof.others[n]
        left, right = ((other, other_sum), (here, total)) if _bit(key, n) else ((here, total), (other, other_sum))
        here, total = _node(*left, *right), total + other_sum
    return (here, total) == (root, entries)


def _sound(proof: MapProof) -> bool:
    """Tell whether every part has its length, and sums fit the eight bytes that they are hashed as."""
    leaf = proof.leaf
    whole = leaf is None or (len(leaf.key) == len(leaf.link) == _HASH and 0 < leaf.entries < _MOST)
    return whole and all(len(node) == _HASH and 0 <= entries < 1 << 55 for node, entries in proof.others)


def check_published(fields: Mapping[str, object], leaves: Sequence[MapLeaf]) -> None:
    """Raise ValueError unless an entry `map.published` with these fields is about these leaves, sorted by key."""
    whole = subtree(leaves)
    told = (fields.get("root"), fields.get("entries"), fields.get("chains"))
    if told != (whole.hash.hex(), whole.entries, whole.chains):
        raise ValueError("the chains are not those of the published map")


def check_growth(older: Iterable[MapLeaf], newer: Iterable[MapLeaf]) -> None:
    """Raise ValueError unless every chain of an older map is in the newer one, grown or unchanged to the byte."""
    now = {leaf.key: leaf for leaf in newer}
    for leaf in older:
        found = now.get(leaf.key)
        if found is None or found.entries < leaf.entries:
            raise ValueError(f"the chain {leaf.key.hex()} lost entries that were published")
        if found.entries == leaf.entries and found.link != leaf.link:
            raise ValueError(f"the chain {leaf.key.hex()} has another newest entry and no more of them")


class SumCheck:
    """Walk a log from its first entry and hold each published map against how many entries are in chains."""

    def __init__(self) -> None:
        self._sums = array("Q", [0])  # how many places the first n entries have
        self.newest: tuple[int, int] | None = None  # the size of the newest map, and its sum
        self._root: object = None

    def feed(self, entry: bytes) -> None:
        """Take the next entry; ValueError for what is none, and for a map that the entries before it contradict."""
        match _read(entry):
            case {"commitments": dict(commitments), "kind": kind, "fields": dict(fields)}:
                self.take(commitments, fields if kind == MAP_PUBLISHED else None)
            case _:
                raise ValueError(f"entry {len(self._sums) - 1} is not an entry in canonical form")

    def take(self, commitments: Collection[str], published: Mapping[str, object] | None) -> None:
        """Take the next entry by the names of its commitments, and its fields if it is a map that was published."""
        if published is not None:
            self._check(published)
        self._sums.append(self._sums[-1] + sum(place in commitments for place in _PLACES))

    def _check(self, fields: Mapping[str, object]) -> None:
        size, entries, index = fields.get("size"), fields.get("entries"), len(self._sums) - 1
        before = (0, 0) if self.newest is None else self.newest
        if type(size) is not int or type(entries) is not int or not before[0] <= size <= index:
            raise ValueError(f"the map of entry {index} is of no size that the log had since the map before")
        if self.newest is not None and size == before[0] and fields.get("root") != self._root:
            raise ValueError(f"the map of entry {index} is another one of the same {size} entries")
        if self._sums[size] != entries:
            raise ValueError(
                f"the map of entry {index} has {entries} entries in chains, "
                f"but {self._sums[size]} of the first {size} entries say that they are in one"
            )
        self.newest, self._root = (size, entries), fields.get("root")


def _read(entry: bytes) -> object:
    """Return the value that an entry is, None if these bytes are not its only spelling."""
    try:
        value: object = json.loads(entry)
        spelt = canonical_json(value)
    except (ValueError, RecursionError):
        return None
    return value if spelt == entry else None


# -- the file ------------------------------------------------------------------------------------------------------


def write_leaves(leaves: Iterable[MapLeaf]) -> Iterator[bytes]:
    """Yield the file of a map: key ‖ u64 count ‖ link of every chain, in the order of the keys; 72 bytes each."""
    return map(pack_leaf, leaves)


def pack_leaf(leaf: MapLeaf) -> bytes:
    """Return key ‖ u64 count ‖ link; 72 bytes."""
    return leaf.key + leaf.entries.to_bytes(_U64, "big") + leaf.link


def unpack_leaves(data: bytes) -> list[MapLeaf]:
    """Return the leaves that were packed, as they are."""
    return [_leaf_at(data, at) for at in range(0, len(data), _LEAF_BYTES)]


def read_leaves(data: bytes) -> list[MapLeaf]:
    """Return the chains in the file of a map; ValueError unless they are whole, in order, each once and not empty."""
    if len(data) % _LEAF_BYTES:
        raise ValueError("the file of a map is cut off")
    leaves = unpack_leaves(data)
    if any(a.key >= b.key for a, b in pairwise(leaves)):
        raise ValueError("the chains of a map are not in order, each once")
    if any(not leaf.entries for leaf in leaves) or sum(leaf.entries for leaf in leaves) >= _MOST:
        raise ValueError("a chain of a map has no entry, or more than there can be")
    return leaves


def _leaf_at(data: bytes, at: int) -> MapLeaf:
    key, count = data[at : at + _HASH], data[at + _HASH : at + _HASH + _U64]
    return MapLeaf(key, int.from_bytes(count, "big"), data[at + _HASH + _U64 : at + _LEAF_BYTES])
