"""Hashes and the compact range against worked values and the RFC's recursive definition."""

from __future__ import annotations

import pytest
from audit_fakes import mth, vector, worked_entries
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.merkle import (
    EMPTY_RANGE,
    EMPTY_ROOT,
    CompactRange,
    leaf_hash,
    leaf_hashes,
    node_hash,
    perfect_root,
    root_from_leaves,
)

LEAVES = leaf_hashes([b"%d" % number for number in range(3000)])


def test_worked_values() -> None:
    small = vector("worked/small.json")
    leaves = [leaf_hash(entry.encode()) for entry in small["entries"]]
    assert [leaf.hex() for leaf in leaves] == small["leaf_hashes"]
    for size, root in small["roots"].items():
        assert root_from_leaves(leaves[: int(size)]).hex() == root
    assert EMPTY_ROOT.hex() == small["roots"]["0"]


def test_the_values_of_the_format_sheet() -> None:
    leaves = leaf_hashes(worked_entries())
    pair = node_hash(leaves[0], leaves[1])
    assert pair.hex() == "2f27a5082c1d42afa488ac350a9fc4390c084f54f71ecdff859e98db8429b479"
    assert root_from_leaves(leaves).hex() == "9139601cc1ca8ab2a7a0c2c134c04845f2b1ba549a83d6c845cfcda439cc585d"


def test_every_small_size_is_the_recursive_definition() -> None:
    for size in range(300):
        assert root_from_leaves(LEAVES[:size]) == mth(LEAVES[:size])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 400), max_size=7))
def test_appending_in_batches_gives_the_same_tree(batches: list[int]) -> None:
    edge, size = EMPTY_RANGE, 0
    for batch in batches:
        edge = edge.extend(LEAVES[size : size + batch])
        size += batch
    assert edge.size == size
    assert edge.root == mth(LEAVES[:size])
    assert edge == EMPTY_RANGE.extend(LEAVES[:size])


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 600), st.integers(0, 600))
def test_climbing_hands_out_every_new_complete_node(old: int, count: int) -> None:
    _, rows = EMPTY_RANGE.extend(LEAVES[:old]).climb(LEAVES[old : old + count])
    for height, row in enumerate(rows):
        first = old >> height
        assert len(row) == ((old + count) >> height) - first > 0
        spans = [(n << height, (n + 1) << height) for n in range(first, first + len(row))]
        assert row == [mth(LEAVES[lo:hi]) for lo, hi in spans]
    assert (old + count) >> len(rows) == old >> len(rows)


def test_a_perfect_row_folds() -> None:
    for height in range(9):
        row = LEAVES[: 1 << height]
        assert perfect_root(b"".join(row)) == mth(row)


@pytest.mark.parametrize(("size", "peaks"), [(-1, 0), (0, 1), (3, 1), (4, 2)])
def test_a_range_has_one_peak_for_each_bit(size: int, peaks: int) -> None:
    with pytest.raises(ValueError):
        CompactRange(size, (bytes(32),) * peaks)
