"""The map of chains: roots and sums against a naive trie, proofs of what is there and of what is not, and forgeries."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from audit_fakes import flip
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.maps import (
    NOTHING,
    MapLeaf,
    MapProof,
    Subtree,
    SumCheck,
    bounds,
    check_growth,
    check_published,
    kept_node,
    map_leaf,
    prove,
    read_leaves,
    regrow,
    subtree,
    verify_map,
    write_leaves,
)

# Keys that are alike for many bits are as likely as others: that is where tries go wrong.
KEYS = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 15).map(lambda n: bytes(31) + bytes([n])),
    st.integers(0, 7).map(lambda n: bytes([0, n]) + b"\xff" * 30),
)
MAPS = st.dictionaries(KEYS, st.tuples(st.integers(1, 99), st.binary(min_size=32, max_size=32)), max_size=40)


def leaves_of(chains: dict[bytes, tuple[int, bytes]]) -> list[MapLeaf]:
    return [MapLeaf(key, *chains[key]) for key in sorted(chains)]


def naive(leaves: Sequence[MapLeaf], bits: str = "") -> tuple[bytes, int]:
    """The trie as the documents define it: slow, by strings of bits, independent of the code under test."""
    below = [leaf for leaf in leaves if f"{int.from_bytes(leaf.key, 'big'):0256b}".startswith(bits)]
    if not below:
        return bytes(32), 0
    if len(below) == 1:
        return sha256(b"\x02" + below[0].key + below[0].entries.to_bytes(8, "big") + below[0].link).digest(), below[
            0
        ].entries
    (left, a), (right, b) = naive(below, bits + "0"), naive(below, bits + "1")
    return sha256(b"\x03" + left + a.to_bytes(8, "big") + right + b.to_bytes(8, "big")).digest(), a + b


class Kept:
    """A map as a store keeps it: leaves by key, and the nodes that are not nothing."""

    def __init__(self) -> None:
        self.leaves: dict[bytes, MapLeaf] = {}
        self.nodes: dict[int, Subtree] = {}
        self.read = 0

    def node(self, number: int) -> Subtree:
        return self.nodes.get(number, NOTHING)

    def between(self, first: bytes, after: bytes) -> list[MapLeaf]:
        found = [self.leaves[k] for k in sorted(self.leaves) if k >= first and (not after or k < after)]
        self.read += len(found)
        return found

    def put(self, leaves: Sequence[MapLeaf]) -> None:
        self.leaves |= {leaf.key: leaf for leaf in leaves}
        touched = {kept_node(leaf.key) for leaf in leaves}
        self.nodes |= regrow({n: subtree(self.between(*bounds(n)), 12) for n in touched}, self.node)

    @property
    def root(self) -> Subtree:
        return self.node(1)


@settings(derandomize=True, deadline=None, max_examples=120)
@given(MAPS)
def test_root_and_sum_are_those_of_the_naive_trie(chains: dict[bytes, tuple[int, bytes]]) -> None:
    leaves = leaves_of(chains)
    whole = subtree(leaves)
    assert (whole.hash, whole.entries) == naive(leaves)
    assert (whole.entries, whole.chains) == (sum(leaf.entries for leaf in leaves), len(leaves))
    assert read_leaves(b"".join(write_leaves(leaves))) == leaves


@settings(derandomize=True, deadline=None, max_examples=120)
@given(st.lists(MAPS, max_size=4), KEYS)
def test_a_map_that_grew_is_the_map_that_was_made_at_once(
    steps: list[dict[bytes, tuple[int, bytes]]], other: bytes
) -> None:
    kept = Kept()
    for step in steps:
        kept.put(leaves_of(step))
        leaves = [kept.leaves[key] for key in sorted(kept.leaves)]
        assert kept.root == subtree(leaves)
        for key in {*kept.leaves, other}:
            proof = prove(key, kept.node, kept.between)
            assert verify_map(key, proof, kept.root.hash, kept.root.entries)
            assert (proof.leaf == kept.leaves.get(key)) or key not in kept.leaves
            assert (proof.leaf is None or proof.leaf.key != key) == (key not in kept.leaves)


def some(count: int = 300) -> Kept:
    kept = Kept()
    keys = [sha256(b"%d" % n).digest() for n in range(count)]
    kept.put([MapLeaf(key, n % 7 + 1, sha256(key).digest()) for n, key in enumerate(keys)])
    return kept


def test_a_proof_reads_little() -> None:
    kept = some(5000)
    key = sha256(b"7").digest()
    kept.read = 0
    proof = prove(key, kept.node, kept.between)
    assert kept.read < 15
    assert len(proof.others) < 25


FORGED: dict[str, Callable[[MapProof, MapLeaf], MapProof]] = {
    "count": lambda p, leaf: replace(p, leaf=leaf._replace(entries=leaf.entries - 1 or 9)),
    "link": lambda p, leaf: replace(p, leaf=leaf._replace(link=flip(leaf.link, 3))),
    "none": lambda p, _: replace(p, leaf=None),
    "another key": lambda p, leaf: replace(p, leaf=leaf._replace(key=flip(leaf.key, 1))),
    "another far key": lambda p, leaf: replace(p, leaf=leaf._replace(key=flip(leaf.key, 255))),
    "short": lambda p, _: replace(p, others=p.others[:-1]),
    "long": lambda p, _: replace(p, others=(*p.others, (bytes(32), 0))),
    "much too long": lambda p, _: replace(p, others=p.others * 100),
    "a sum": lambda p, _: replace(p, others=((p.others[0][0], p.others[0][1] + 1), *p.others[1:])),
    "a negative sum": lambda p, _: replace(p, others=((p.others[0][0], -1), *p.others[1:])),
    "a hash": lambda p, _: replace(p, others=((flip(p.others[0][0], 0), p.others[0][1]), *p.others[1:])),
    "a short hash": lambda p, _: replace(p, others=((b"", p.others[0][1]), *p.others[1:])),
    "a short link": lambda p, leaf: replace(p, leaf=leaf._replace(link=b"")),
    "no entry": lambda p, leaf: replace(p, leaf=leaf._replace(entries=0)),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_proof_is_refused(forgery: str) -> None:
    kept = some()
    key = sha256(b"7").digest()
    proof = prove(key, kept.node, kept.between)
    assert proof.leaf is not None
    assert verify_map(key, proof, *kept.root[:2])
    assert not verify_map(key, FORGED[forgery](proof, proof.leaf), *kept.root[:2])


def test_another_root_or_sum_or_key_is_refused() -> None:
    kept = some()
    key = sha256(b"7").digest()
    proof = prove(key, kept.node, kept.between)
    assert not verify_map(key, proof, flip(kept.root.hash, 0), kept.root.entries)
    assert not verify_map(key, proof, kept.root.hash, kept.root.entries + 1)
    assert not verify_map(key[:-1], proof, *kept.root[:2])
    assert not verify_map(flip(key, 0), proof, *kept.root[:2])


def test_an_empty_map_and_a_map_of_one() -> None:
    assert subtree([]) == NOTHING
    assert verify_map(bytes(32), MapProof((), None), bytes(32), 0)
    leaf = MapLeaf(b"k" * 32, 3, b"l" * 32)
    assert verify_map(leaf.key, MapProof((), leaf), *map_leaf(leaf)[:2])
    assert verify_map(bytes(32), MapProof((), leaf), *map_leaf(leaf)[:2])  # nothing else is there


# -- what an auditor does ------------------------------------------------------------------------------------------


def test_leaves_of_a_published_map() -> None:
    kept = some()
    leaves = sorted(kept.leaves.values())
    said = {"root": kept.root.hash.hex(), "entries": kept.root.entries, "chains": 300}
    check_published(said, leaves)
    for changed in ({"root": "00" * 32}, {"entries": 1}, {"chains": 299}):
        with pytest.raises(ValueError, match="published map"):
            check_published(said | changed, leaves)
    for phantom in (leaves[1:], [leaves[0]._replace(entries=leaves[0].entries + 1), *leaves[1:]]):
        with pytest.raises(ValueError, match="published map"):
            check_published(said, phantom)


def test_counts_only_grow() -> None:
    older = sorted(some(20).leaves.values())
    grown = [leaf._replace(entries=leaf.entries + 1, link=bytes(32)) for leaf in older]
    check_growth(older, older)
    check_growth(older, [*grown, MapLeaf(b"\xff" * 32, 1, bytes(32))])
    for bad, reason in (
        (older[1:], "lost"),
        ([older[0]._replace(entries=older[0].entries - 1), *older[1:]], "lost"),
        ([older[0]._replace(link=bytes(32)), *older[1:]], "another newest entry"),
    ):
        with pytest.raises(ValueError, match=reason):
            check_growth(older, bad)


def entry(kind: str = "decision.made", commitments: Sequence[str] = (), **fields: object) -> bytes:
    return canonical_json({"kind": kind, "commitments": dict.fromkeys(commitments, "00"), "fields": fields})


def fed(*entries: bytes) -> SumCheck:
    check = SumCheck()
    for one in entries:
        check.feed(one)
    return check


ABOUT, BOTH, NOBODY = entry(commitments=["chain", "subject"]), entry(commitments=["chain", "other_chain"]), entry()


def published(size: object, entries: object) -> bytes:
    return entry("map.published", size=size, entries=entries)


def test_sums_are_those_of_the_log() -> None:
    assert fed(ABOUT, NOBODY, BOTH, published(2, 1)).newest == (2, 1)
    assert fed(ABOUT, published(1, 1), BOTH, published(1, 1), published(3, 3)).newest == (3, 3)
    assert fed(published(0, 0), NOBODY).newest == (0, 0)


@pytest.mark.parametrize(("entries", "reason"), [
    ([ABOUT, NOBODY, published(2, 0)], "2 entries say"),
    ([ABOUT, published(1, 2)], "has 2 entries in chains, but 1"),
    ([ABOUT, published(2, 1)], "no size"),
    ([ABOUT, published(1, 1), published(0, 0)], "no size"),
    ([published(bool(1), 0)], "no size"),
    ([published("0", 0)], "no size"),
    ([published(0, None)], "no size"),
    ([b"{}"], "not an entry"),
    ([b"["], "not an entry"),
    ([b"\xff"], "not an entry"),
    ([json.dumps(json.loads(ABOUT)).encode()], "entry 0 is not an entry in canonical form"),
    ([NOBODY, NOBODY.replace(b'"commitments":{}', b'"commitments":{},"commitments":{}')], "entry 1 is not"),
    ([canonical_json({"kind": "x", "commitments": "chain", "fields": {}})], "not an entry"),
])  # fmt: skip
def test_a_map_that_the_log_contradicts(entries: list[bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fed(*entries)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_map_or_refused(data: bytes) -> None:
    try:
        leaves = read_leaves(data)
    except ValueError:
        return
    assert b"".join(write_leaves(leaves)) == data


def test_files_that_are_no_map() -> None:
    one, two = (MapLeaf(bytes([n]) * 32, 1, bytes(32)) for n in (1, 2))
    for leaves in ([two, one], [one, one], [one._replace(entries=0)], [one._replace(entries=2**63), two]):
        with pytest.raises(ValueError):
            read_leaves(b"".join(write_leaves(leaves)))
    with pytest.raises(ValueError, match="cut off"):
        read_leaves(b"".join(write_leaves([one]))[:-1])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 8191), KEYS)
def test_bounds_hold_exactly_the_keys_of_a_node(number: int, key: bytes) -> None:
    first, after = bounds(number)
    depth = number.bit_length() - 1
    assert (first <= key and (not after or key < after)) == (kept_node(key, depth) == number)
    assume(depth < 12)
    assert bounds(2 * number)[0] == first
    assert bounds(2 * number + 1)[1] == after
