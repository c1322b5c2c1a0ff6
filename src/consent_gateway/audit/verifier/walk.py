"""Hashing a log from left to right: bundles to leaves, leaves to tiles, tiles to roots.

The work for 64 bundles (a *run*: read them, hash each entry, compare the hashes with their level-0 tile, hash each full
bundle up to its root) depends on nothing else, so runs may be spread over processes; what they return, the hashes of
tile level 1, is grown into the tree above by one process, and every tile there is compared with its file. Each file is
read once. Memory holds a few runs for each process and the edge of the tree, however long the log is.

A file has exactly the width that its name says. A partial tile or bundle may have been replaced by the full one
(tlog-tiles allows it); then what lies beyond the size of the checkpoint is not looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from consent_gateway.audit.merkle import EMPTY_RANGE, HASH_BYTES, CompactRange, leaf_hashes, perfect_root
from consent_gateway.audit.tiles import (
    EMPTY_EDGE,
    MAX_BUNDLED_ENTRY,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Edge,
    Tile,
    decode_bundle,
    entries_path,
    grow,
    level_tiles,
    tile_path,
    tile_width,
)
from consent_gateway.audit.verifier.files import LogFiles
from consent_gateway.audit.verifier.findings import Finding, FoundError
from consent_gateway.audit.verifier.strict import EntryFacts, Fact, entry_facts

Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all) after each run."""
_RUN = 64
_AHEAD = 4  # runs in work for each process
_MAX_BUNDLE = TILE_WIDTH * (MAX_BUNDLED_ENTRY + 2)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be hashed: a tree of `size` entries, with the roots that it had at the sizes `kept`."""

    directory: Path
    size: int
    kept: tuple[int, ...] = ()
    strict: bool = False

    @property
    def bundles(self) -> int:
        """How many bundles there are."""
        return -(-self.size // TILE_WIDTH)

    @property
    def cuts(self) -> frozenset[int]:
        """The bundles within which a size ends, that of the whole or a kept one."""
        return frozenset(size // TILE_WIDTH for size in (self.size, *self.kept) if size % TILE_WIDTH)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of bundles came to: the root of each full one, the leaves of `Job.cuts`, facts if asked for."""

    roots: tuple[bytes, ...]
    leaves: Mapping[int, Sequence[bytes]]
    facts: tuple[Fact, ...]


def worker_processes(jobs: int) -> ProcessPoolExecutor:
    """Return processes that share nothing with this one."""
    return ProcessPoolExecutor(jobs, get_context("spawn"))


def runs_in_order(job: Job) -> Iterator[Run | Finding]:
    """Yield each run, done when it is asked for."""
    return (check_run(job, first) for first in range(0, job.bundles, _RUN))


def runs_spread(pool: ProcessPoolExecutor, job: Job, jobs: int) -> Iterator[Run | Finding]:
    """Yield each run in order, done by the processes of the pool; a few are in work ahead of the one at hand."""
    firsts = iter(range(0, job.bundles, _RUN))
    waiting: deque[Future[Run | Finding]] = deque()
    waiting.extend(pool.submit(check_run, job, first) for first in islice(firsts, _AHEAD * jobs))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(check_run, job, first) for first in islice(firsts, 1))


def check_run(job: Job, first: int) -> Run | Finding:
    """Check the bundles from `first` on and their level-0 tiles; a finding is a value here, to cross processes."""
    files, cuts = LogFiles(job.directory), job.cuts
    roots, leaves_of, facts = list[bytes](), dict[int, list[bytes]](), list[Fact]()
    try:
        for index in range(first, min(first + _RUN, job.bundles)):
            entries = _read_bundle(files, index, tile_width(job.size, 0, index))
            leaves = leaf_hashes(entries)
            data = b"".join(leaves)
            _check_tile(files, Tile(0, index, data))
            if len(leaves) == TILE_WIDTH:
                roots.append(perfect_root(data))
            if index in cuts:
                leaves_of[index] = leaves
            if job.strict:
                facts += entry_facts(index * TILE_WIDTH, entries)
    except FoundError as found:
        return found.finding
    return Run(tuple(roots), leaves_of, tuple(facts))


class Walk:
    """Grows the tree above the bundles: its leaves are their roots, so its level 0 is tile level 1 of the log."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._files = LogFiles(job.directory)
        self._edge: Edge = EMPTY_EDGE
        self._roots: dict[int, bytes] = {}

    def go(
        self, runs: Iterator[Run | Finding], facts: EntryFacts | None, progress: Progress | None
    ) -> tuple[bytes, dict[int, bytes]]:
        """Take all runs; return the root of the whole, and the root at each kept size. Raises FoundError."""
        leaves: Mapping[int, Sequence[bytes]] = {}
        for number, run in enumerate(runs, 1):
            if isinstance(run, Finding):
                raise FoundError(run.code, run.message, run.index)
            self._extend(run.roots, run.leaves)
            leaves = run.leaves
            if facts is not None:
                facts.take(run.facts)
            if progress is not None:
                progress(min(number * _RUN * TILE_WIDTH, self._job.size), self._job.size)
        for level, data in self._edge.partials.items():
            self._check(Tile(level, self._edge.size >> TILE_HEIGHT * (level + 1), data))
        self._note_roots(self._edge.size + 1, (), leaves)
        return self._root_at(self._job.size, (), leaves), self._roots

    def _extend(self, hashes: Sequence[bytes], leaves: Mapping[int, Sequence[bytes]]) -> None:
        """Append the roots of full bundles; compare every tile that became full."""
        self._note_roots(self._edge.size + len(hashes), hashes, leaves)
        growth = grow(self._edge, hashes)
        for tile in growth.tiles:
            if tile.width == TILE_WIDTH:  # partial ones follow once, when the walk ends
                self._check(tile)
        self._edge = growth.edge

    def _check(self, tile: Tile) -> None:
        """Compare a tile of the tree above with its file, one level up."""
        _check_tile(self._files, Tile(tile.level + 1, tile.index, tile.data))

    def _note_roots(self, end: int, hashes: Sequence[bytes], leaves: Mapping[int, Sequence[bytes]]) -> None:
        """Note the root at each kept size that ends within the bundles from the edge to before `end`."""
        for size in self._job.kept:
            if self._edge.size <= size // TILE_WIDTH < end:
                self._roots[size] = self._root_at(size, hashes, leaves)

    def _root_at(self, size: int, hashes: Sequence[bytes], leaves: Mapping[int, Sequence[bytes]]) -> bytes:
        """Return the root of the first `size` entries: the edge, full bundles after it, then fewer than 256 leaves."""
        full, rest = divmod(size, TILE_WIDTH)
        bundles = self._edge.range.extend(hashes[: full - self._edge.size])
        last = EMPTY_RANGE.extend(leaves[full][:rest] if rest else ())
        return CompactRange(size, bundles.peaks + last.peaks).root


def read_entry(job: Job, index: int) -> bytes:
    """Return one entry of a log that was walked; FoundError if it has none of this index."""
    if index >= job.size:
        raise FoundError("epoch", f"there is no entry {index}", job.size)
    bundle, at = divmod(index, TILE_WIDTH)
    return _read_bundle(LogFiles(job.directory), bundle, tile_width(job.size, 0, bundle))[at]


def _read_bundle(files: LogFiles, index: int, width: int) -> list[bytes]:
    """Return the entries of one bundle; FoundError, at the first that its tile does not know, unless all are there."""
    first = index * TILE_WIDTH
    full = entries_path(index)
    found = _existing(files, entries_path(index, width), full, first)
    data = files.read(found, _MAX_BUNDLE, first)
    wanted = TILE_WIDTH if found == full else width
    try:
        entries = decode_bundle(data)
    except ValueError as error:
        raise FoundError("bundle", f"{error} (bundle {index})", first + _intact(files, index, width, data)) from None
    if len(entries) != wanted:
        message = f"the entry bundle {index} holds {len(entries)} entries, not {wanted}"
        raise FoundError("bundle", message, first + _intact(files, index, width, data))
    return entries[:width]


def _intact(files: LogFiles, index: int, width: int, data: bytes) -> int:
    """Return how many entries at the beginning of a damaged bundle hash to their tile."""
    return agreeing(b"".join(leaf_hashes(_whole_entries(data))), _read_tile(files, 0, index, width)[1])


def _whole_entries(data: bytes) -> list[bytes]:
    """Return the entries of a bundle up to the one that is cut short, and no more than a bundle has."""
    at = 0
    for _ in range(TILE_WIDTH):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        at = end
    return decode_bundle(data[:at])


def _check_tile(files: LogFiles, tile: Tile) -> None:
    """Compare a recomputed tile with its file; raise at the first hash that differs."""
    name, stored = _read_tile(files, tile.level, tile.index, tile.width)
    full = name == tile_path(tile.level, tile.index)
    fits = len(stored) == (TILE_BYTES if full else len(tile.data))
    if fits and stored.startswith(tile.data):
        return
    index = (tile.index * TILE_WIDTH + agreeing(tile.data, stored)) << TILE_HEIGHT * tile.level
    if not fits:
        raise FoundError("tile", f"{name} has {len(stored)} bytes", index)
    what = "does not hash to its tile" if tile.level == 0 else f"is the first below a wrong hash in {name}"
    raise FoundError("tile", f"entry {index} {what}", index)


def _read_tile(files: LogFiles, level: int, index: int, width: int) -> tuple[str, bytes]:
    """Return name and content of the file of a tile; how long it is for the caller to judge."""
    first = index * TILE_WIDTH << TILE_HEIGHT * level
    name = _existing(files, tile_path(level, index, width), tile_path(level, index), first)
    return name, files.read(name, TILE_BYTES, first)


def agreeing(one: bytes, other: bytes) -> int:
    """Return how many hashes at the beginning of two tiles are the same."""
    starts = range(0, min(len(one), len(other)), HASH_BYTES)
    differing = (at for at in starts if one[at : at + HASH_BYTES] != other[at : at + HASH_BYTES])
    return next(differing, min(len(one), len(other))) // HASH_BYTES


def first_difference(one: Path, other: Path, size: int) -> int | None:
    """Return the first entry below `size` whose hashes differ in two directories; None when there is none."""
    files = LogFiles(one), LogFiles(other)
    for index, width in level_tiles(size, 0):
        mine, theirs = (_read_tile(each, 0, index, width)[1] for each in files)
        if (same := agreeing(mine, theirs)) < width:
            return index * TILE_WIDTH + same
    return None


def _existing(files: LogFiles, path: str, full: str, first: int) -> str:
    """Return the name of a partial file or, as tlog-tiles allows, of the full one that replaced it."""
    found = files.find(path, full)
    if found is None:
        raise FoundError("missing", f"{path} is missing", first)
    return found
