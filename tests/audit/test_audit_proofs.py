"""Proofs: golden and worked vectors, the RFC's definitions, every single-bit change."""

from __future__ import annotations

from functools import cache

import pytest
from audit_fakes import MemoryLogStore, filled, flip, mth, path, subproof, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.merkle import leaf_hashes
from consent_gateway.audit.proofs import (
    consistency_proof,
    inclusion_proof,
    root_at,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [b"%d" % number for number in range(1200)]
LEAVES = leaf_hashes(ENTRIES)


@cache
def log_of(size: int) -> MemoryLogStore:
    return filled(ENTRIES[:size], batch=max(1, size // 3))[0]


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def test_worked_proofs_up_to_size_seven() -> None:
    small = vector("worked/small.json")
    entries = [entry.encode() for entry in small["entries"]]
    leaves = leaf_hashes(entries)
    store = filled(entries)[0]
    for case in small["inclusion"]:
        index, size, proof = case["index"], case["size"], unhex(case["proof"])
        assert list(inclusion_proof(index, size, store.read_tile)) == proof
        assert verify_inclusion(index, size, leaves[index], proof, bytes.fromhex(case["root"]))
    for case in small["consistency"]:
        first, second, proof = case["first"], case["second"], unhex(case["proof"])
        assert list(consistency_proof(first, second, store.read_tile)) == proof
        roots = bytes.fromhex(case["root1"]), bytes.fromhex(case["root2"])
        assert verify_consistency(first, second, *roots, proof)


@pytest.mark.parametrize("size", [1, 2, 7, 255, 256, 257, 1200])
def test_many_proofs_of_one_tree_share_what_they_know(size: int) -> None:
    store, reads = log_of(size), list[tuple[int, int]]()

    def counting(level: int, index: int, width: int, /) -> bytes:
        reads.append((level, index))
        return store.read_tile(level, index, width)

    known: dict[tuple[int, int], bytes] = {}
    asked = [*range(0, size, 7), size - 1, 0]
    for index in asked:
        assert inclusion_proof(index, size, counting, known) == inclusion_proof(index, size, store.read_tile)
    reads.clear()
    assert inclusion_proof(asked[1 % len(asked)], size, counting, known) == inclusion_proof(
        asked[1 % len(asked)], size, store.read_tile
    )
    assert reads == []


def test_worked_proofs_at_seventy_thousand() -> None:
    want = vector("worked/tiles-70000.json")
    entries = [b"e%d" % number for number in range(want["size"])]
    store = filled(entries, batch=20_000)[0]
    for case in want["inclusion"]:
        size = case["size"]
        assert list(inclusion_proof(case["index"], size, store.read_tile)) == unhex(case["proof"])
    for case in want["consistency"]:
        proof = consistency_proof(case["first"], case["second"], store.read_tile)
        assert list(proof) == unhex(case["proof"])
    for size, root in want["roots"].items():
        assert root_at(int(size), want["size"], store.read_tile).hex() == root


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.integers(1, 1200), st.data())
def test_every_entry_is_proven_as_the_rfc_defines(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, log_of(1200).read_tile)
    assert list(proof) == path(index, LEAVES[:size])
    root = mth(LEAVES[:size])
    assert verify_inclusion(index, size, LEAVES[index], proof, root)
    assert not verify_inclusion(index, size, LEAVES[index - 1], proof, root) or size == 1
    assert not verify_inclusion(index, size, LEAVES[index], [*proof, root], root)
    assert not verify_inclusion(index + size, size, LEAVES[index], proof, root)
    if proof:
        assert not verify_inclusion(index, size, LEAVES[index], proof[:-1], root)
        bad = data.draw(st.integers(0, len(proof) - 1))
        changed = flip(proof[bad], data.draw(st.integers(0, 255)))
        assert not verify_inclusion(index, size, LEAVES[index], [*proof[:bad], changed, *proof[bad + 1 :]], root)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.integers(1, 1200), st.data())
def test_every_prefix_is_proven_as_the_rfc_defines(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(old, new, log_of(1200).read_tile)
    assert list(proof) == subproof(old, LEAVES[:new])
    roots = mth(LEAVES[:old]), mth(LEAVES[:new])
    assert verify_consistency(old, new, *roots, proof)
    assert not verify_consistency(old, new, *roots, [*proof, roots[1]])
    assert not verify_consistency(old, new, flip(roots[0], 3), roots[1], proof)
    if proof:
        assert not verify_consistency(old, new, *roots, proof[1:])
        bad = data.draw(st.integers(0, len(proof) - 1))
        changed = flip(proof[bad], data.draw(st.integers(0, 255)))
        assert not verify_consistency(old, new, *roots, [*proof[:bad], changed, *proof[bad + 1 :]])


def test_every_prefix_of_every_small_size_is_consistent() -> None:
    roots = [mth(LEAVES[:size]) for size in range(66)]
    for new in range(1, 66):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, log_of(1200).read_tile)
            assert verify_consistency(old, new, roots[old], roots[new], proof)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(2, 300), st.data())
def test_no_proof_leads_from_a_rewritten_history(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    victim = data.draw(st.integers(0, old - 1))
    forged = filled([*ENTRIES[:victim], b"forged", *ENTRIES[victim + 1 : new]])[0]
    proof = consistency_proof(old, new, forged.read_tile)
    assert not verify_consistency(old, new, mth(LEAVES[:old]), forged.head().root, proof)


def test_from_size_zero_nothing_is_proven() -> None:
    root = mth(LEAVES[:4])
    assert not verify_consistency(0, 4, mth([]), root, [])
    assert not verify_consistency(0, 0, mth([]), mth([]), [])
    with pytest.raises(ValueError):
        consistency_proof(0, 4, log_of(4).read_tile)


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_an_index_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError):
        inclusion_proof(index, size, log_of(4).read_tile)


def test_a_tile_of_another_length_is_not_hashed() -> None:
    with pytest.raises(ValueError, match="tile 0/0 has 31 bytes"):
        inclusion_proof(0, 4, lambda _level, _index, _width: bytes(31))


def test_a_root_is_of_a_size_that_the_tree_had() -> None:
    store, _ = filled([b"a", b"b"])
    for size in (-1, 3):
        with pytest.raises(ValueError, match="never had"):
            root_at(size, 2, store.read_tile)
