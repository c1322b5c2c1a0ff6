"""Tile paths, geometry, bundles, and growing a tree from its edge alone."""

from __future__ import annotations

from hashlib import sha256

import pytest
from audit_fakes import mth, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.merkle import leaf_hashes
from consent_gateway.audit.tiles import (
    EMPTY_EDGE,
    Edge,
    Tile,
    decode_bundle,
    encode_bundle,
    entries_path,
    grow,
    level_tiles,
    load_edge,
    parse_tile_path,
    tile_path,
    tile_width,
    tree_tiles,
)

NOT_TILES = (
    "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/257", "tile/0/000.p/01", "tile/0/000.p/1000", "tile/0/000.p/",
    "tile/00/000", "tile/64/000", "tile/-1/000", "tile/100/000", "tile/0/x000/000", "tile/0/0000", "tile/0/00",
    "tile/0/x001", "tile/0/000/", "tile//0/000", "tile/Entries/000", "tile/entries/000.p/1/1", "tile/0/000.p/\u0661",
    "tile/0/\u0661\u0661\u0661", "tile/0/x9999/000", "tile/entries/", "tile/0", "", "0/000", "xtile/0/000",
    "tile/0/000\n", "tile/0/X001/000", "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
)  # fmt: skip
LEAVES = leaf_hashes([b"%d" % number for number in range(4000)])


def level_hashes(size: int, level: int) -> list[bytes]:
    """Return the hashes of a level by the recursive definition."""
    span = 256**level
    return [mth(LEAVES[at : at + span]) for at in range(0, size - span + 1, span)]


def all_tiles(size: int) -> dict[tuple[int, int], bytes]:
    levels = {level for level, _, _ in tree_tiles(size)}
    hashes = {level: b"".join(level_hashes(size, level)) for level in levels}
    return {(lv, n): hashes[lv][n * 8192 : n * 8192 + w * 32] for lv, n, w in tree_tiles(size)}


def test_paths() -> None:
    for index, path in vector("worked/small.json")["index_paths"].items():
        assert tile_path(0, int(index)) == f"tile/0/{path}"
        assert entries_path(int(index), 3) == f"tile/entries/{path}.p/3"
    assert tile_path(2, 1234067, 17) == "tile/2/x001/x234/067.p/17"


@pytest.mark.parametrize("index", [0, 5, 999, 1000, 1234067, 10**9, 2**55, 10**20 - 1])
def test_paths_are_read_as_they_are_written(index: int) -> None:
    for width in (1, 9, 10, 255, 256):
        assert parse_tile_path(entries_path(index, width)) == (None, index, width)
        for level in (0, 9, 10, 63):
            assert parse_tile_path(tile_path(level, index, width)) == (level, index, width)


@pytest.mark.parametrize("path", NOT_TILES)
def test_a_tile_has_one_path(path: str) -> None:
    assert parse_tile_path(path) is None


def test_size_256_is_one_full_tile_and_its_parent() -> None:
    assert list(tree_tiles(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tree_tiles(0)) == []
    assert list(level_tiles(257, 0)) == [(0, 256), (1, 1)]
    assert tile_width(257, 0, 2) == 0
    assert tile_width(257, 1, 0) == 1


def test_seventy_thousand_entries_have_the_published_tiles() -> None:
    want = vector("worked/tiles-70000.json")
    entries = [b"e%d" % number for number in range(want["size"])]
    leaves, edge, tiles = leaf_hashes(entries), EMPTY_EDGE, dict[tuple[int, int], Tile]()
    for start in range(0, want["size"], 7001):
        growth = grow(edge, leaves[start : start + 7001])
        edge = growth.edge
        tiles |= {(tile.level, tile.index): tile for tile in growth.tiles}
    assert edge.range.root.hex() == want["root"]
    assert len(tiles) == want["tile_count"] == len(list(tree_tiles(want["size"])))
    digests = {tile.path: sha256(tile.data).hexdigest() for tile in tiles.values()}
    assert digests.items() >= want["tiles_sha256"].items()
    bundles = {
        entries_path(n, w): sha256(encode_bundle(entries[n * 256 : n * 256 + w])).hexdigest()
        for n, w in level_tiles(want["size"], 0)
    }
    assert len(bundles) == want["bundle_count"]
    assert bundles.items() >= want["bundles_sha256"].items()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=6))
def test_growing_equals_building_at_once(batches: list[int]) -> None:
    edge, tiles, size = EMPTY_EDGE, dict[tuple[int, int], bytes](), 0
    for batch in batches:
        before = all_tiles(size)
        growth = grow(edge, LEAVES[size : size + batch])
        size, edge = size + batch, growth.edge
        tiles |= {(tile.level, tile.index): tile.data for tile in growth.tiles}
        assert tiles == all_tiles(size)
        changed = {key for key, data in tiles.items() if before.get(key) != data}
        assert {(tile.level, tile.index) for tile in growth.tiles} == changed
    assert edge.range.root == mth(LEAVES[:size])


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 4000))
def test_an_edge_is_loaded_from_its_partial_tiles(size: int) -> None:
    edge = grow(EMPTY_EDGE, LEAVES[:size]).edge
    assert load_edge(size, edge.partials) == edge
    assert all(0 < len(data) < 8192 for data in edge.partials.values())


def test_an_edge_that_does_not_fit_is_refused() -> None:
    edge = grow(EMPTY_EDGE, LEAVES[:600]).edge
    for size, partials in [
        (601, edge.partials),
        (600, {}),
        (600, {0: edge.partials[0]}),
        (600, {**edge.partials, 2: bytes(32)}),
        (600, {**edge.partials, 0: edge.partials[0][:-1]}),
    ]:
        with pytest.raises(ValueError):
            load_edge(size, partials)


def test_growing_reads_the_edge_only_and_leaves_it_alone() -> None:
    edge = grow(EMPTY_EDGE, LEAVES[:255]).edge
    kept = Edge(edge.range, dict(edge.partials))
    growth = grow(edge, LEAVES[255:257])
    assert edge == kept
    assert [(tile.path, tile.width) for tile in growth.tiles] == [
        ("tile/0/000", 256),
        ("tile/0/001.p/1", 1),
        ("tile/1/000.p/1", 1),
    ]
    assert grow(edge, []).tiles == ()


def test_a_leaf_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        grow(EMPTY_EDGE, [bytes(31)])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=9))
def test_bundles_read_back(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data) == entries
    if data:
        with pytest.raises(ValueError):
            decode_bundle(data[:-1])


def test_bundle_bytes_and_limits() -> None:
    assert encode_bundle([b"entry-0", b"entry-1"]).hex() == "0007656e7472792d300007656e7472792d31"
    assert decode_bundle(encode_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(ValueError):
        encode_bundle([bytes(65_536)])
    with pytest.raises(ValueError):
        decode_bundle(b"\0")
