"""The log as files: whole, then what is new; a crash leaves an older log; a foreign directory is left as it is."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_builders import grow, of_entries, sqlite_log
from sqlalchemy import insert

from builders import a_consent, a_person, ref, take, twin, with_source
from consent_gateway.audit import verifier
from consent_gateway.audit.maps import read_leaves, subtree
from consent_gateway.audit.tiles import tree_tiles
from consent_gateway.db import tables
from consent_gateway.errors import ConflictError
from consent_gateway.services.log import log_directories, log_exports, maps
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_directories import (
    AppendOnlyDirectory,
    LogDirectory,
    PlainDirectory,
    open_directory,
)
from consent_gateway.services.log.log_exports import Piece, export, outgrown, pieces
from consent_gateway.services.work.gateway import Gateway
from edge import SHARED
from fakes import PowerCutError

AN_EPOCH = {"epoch": 2, "origin": "x", "vkey": "x", "reason": "x", "lost_from": None, "lost_until": None,
            "statement": b"", "entry_uid": bytes(16), "opened_at": 1}  # fmt: skip
LAYOUTS = (PlainDirectory, AppendOnlyDirectory)
Layout = Callable[[Path], LogDirectory]


@pytest.fixture(params=LAYOUTS, ids=["plain", "append-only"])
def layout(request: pytest.FixtureRequest) -> Layout:
    made: Layout = request.param
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the log goes: apart from the store's file."""
    return tmp_path / "log"


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def size_of(gateway: Gateway, directory: Path) -> int:
    """Have the directory checked by the verifier; returns how many entries it has, 0 without a checkpoint."""
    notes = list(open_directory(directory, append_only=not (directory / "checkpoint").exists()).notes())
    if not notes:
        return 0
    _, note = notes[0]
    finding = verifier.verify_directory(gateway.signer.vkey, directory, earlier=[note for _, note in notes])
    assert finding.ok, str(finding)
    return int(note.split(b"\n")[1])


def test_a_second_run_writes_what_is_new(gateway: Gateway, layout: Layout, place: Path) -> None:
    directory = layout(place)
    sizes = []
    for more in (5, 300, 0, 7, 520):
        grow(gateway, more)
        before = {name: (place / name).stat().st_mtime_ns for name in files(place)}
        done = export(gateway, directory, quick=more == 7)
        sizes.append(size_of(gateway, place))
        assert (done.size, done.before) == (sizes[-1], sizes[-2] if len(sizes) > 1 else 0)
        full = [name for name in before if ".p" not in name and name != "checkpoint"]
        assert [(place / name).stat().st_mtime_ns for name in full] == [before[name] for name in full]
        if more == 0:
            assert done.files == 0
            assert {name: (place / name).stat().st_mtime_ns for name in files(place)} == before
    fresh = place.with_name("fresh")
    export(gateway, PlainDirectory(fresh))
    if layout is PlainDirectory:
        assert files(place) == files(fresh)
    else:
        assert files(fresh).items() - {("checkpoint", files(fresh)["checkpoint"])} <= files(place).items()


def test_append_only_replaces_and_removes_nothing_and_locks_what_is_whole(gateway: Gateway, place: Path) -> None:
    kept: dict[str, bytes] = {}
    for more in (3, 300, 40):
        grow(gateway, more)
        export(gateway, AppendOnlyDirectory(place))
        found = files(place)
        assert kept.items() < found.items()
        kept = found
    assert sum(name.startswith("checkpoint.") for name in kept) == 3
    assert "checkpoint" not in kept
    assert {stat.S_IMODE((place / name).stat().st_mode) for name in kept} == {0o444}


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, at: int, *, torn: bool) -> Iterator[None]:
    """Die at the `at`-th flush; `torn`: what was written since the last one arrives only in half."""
    flushes = count(1)
    original = log_directories._flush

    def flush(descriptor: int) -> None:
        if next(flushes) < at:
            original(descriptor)
            return
        if torn and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(log_directories, "_flush", flush)
        yield


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_a_crash_anywhere_leaves_an_older_log_and_the_next_run_goes_on(
    sqlite_gateway: Gateway, layout: Layout, place: Path, monkeypatch: pytest.MonkeyPatch, torn: bool  # noqa: FBT001
) -> None:  # fmt: skip
    older = 0
    for more in (260, 270):
        grow(sqlite_gateway, more)
        for at in count(1):
            try:
                with dying(monkeypatch, at, torn=torn):
                    done = export(sqlite_gateway, layout(place))
            except PowerCutError:
                if whole_checkpoint(place):  # of before, or already the new one
                    assert size_of(sqlite_gateway, place) in (older, older + more + 8 * (not older))
            else:
                break
        assert at > 2
        assert done.size == size_of(sqlite_gateway, place) > older
        older = done.size
    export(sqlite_gateway, PlainDirectory(place.with_name("fresh")))
    fresh = files(place.with_name("fresh"))
    held = files(place)
    assert all(held[name] == content for name, content in fresh.items() if name != "checkpoint")


def whole_checkpoint(place: Path) -> bool:
    """Whether the newest checkpoint is whole; one that is torn is completed by the next run."""
    notes = [note for path in place.glob("checkpoint*") if path.suffix != ".part" for note in [path.read_bytes()]]
    return all(note.count(b"\n") == 5 for note in notes)


def test_a_torn_file_is_completed_on_media_that_take_nothing_back(sqlite_gateway: Gateway, place: Path) -> None:
    grow(sqlite_gateway, 10)
    done = export(sqlite_gateway, AppendOnlyDirectory(place))
    for name in (f"checkpoint.{done.size}", f"tile/0/000.p/{done.size}"):
        path = place / name
        path.chmod(0o644)
        whole = path.read_bytes()
        path.write_bytes(whole[:40] if "checkpoint" in name else whole)
        export(sqlite_gateway, AppendOnlyDirectory(place))
        assert path.read_bytes() == whole
    assert size_of(sqlite_gateway, place) == done.size


def refused(gateway: Gateway, directory: LogDirectory, match: str, *, quick: bool = False) -> None:
    """The directory is refused, and stays as it is to the byte."""
    before = files(directory.path)
    with pytest.raises(ConflictError, match=match):
        export(gateway, directory, quick=quick)
    assert files(directory.path) == before


def test_a_directory_of_another_log_is_left_as_it_is(sqlite_gateway: Gateway, layout: Layout, tmp_path: Path) -> None:
    other = sqlite_log(tmp_path / "other.sqlite3")
    for gateway in (other, sqlite_gateway):
        grow(gateway, 300)
    export(other, layout(tmp_path / "log"))
    refused(sqlite_gateway, layout(tmp_path / "log"), "not signed by this log")


def test_another_history_of_this_log_is_refused_at_its_first_entry(
    sqlite_gateway: Gateway, layout: Layout, tmp_path: Path
) -> None:
    keyring = sqlite_gateway.vault.provider.keyring
    fork = sqlite_log(tmp_path / "fork.sqlite3", keyring)
    original = sqlite_log(tmp_path / "log.sqlite3", keyring)
    entries = [b'{"n":%d}' % n for n in range(600)]
    of_entries(fork, [*entries[:299], b'{"n":"299"}', *entries[300:]])
    of_entries(original, entries)
    export(fork, layout(tmp_path / "log"))
    for quick in (False, True):
        refused(original, layout(tmp_path / "log"), "entry 299 is the first", quick=quick)


def test_a_store_that_was_set_back_is_refused(sqlite_gateway: Gateway, layout: Layout, tmp_path: Path) -> None:
    keyring = sqlite_gateway.vault.provider.keyring
    today, yesterday = (sqlite_log(tmp_path / f"{n}.sqlite3", keyring) for n in range(2))
    of_entries(today, [b"%d" % n for n in range(20)])
    of_entries(yesterday, [b"%d" % n for n in range(10)])
    export(today, layout(tmp_path / "log"))
    refused(yesterday, layout(tmp_path / "log"), "has 20 entries, the store 10")


@pytest.mark.parametrize(
    ("name", "entry"),
    [("tile/entries/001", 256 + 7), ("tile/0/001", 256 + 3), ("tile/0/000", 3), ("tile/1/000.p/2", 0)],
)
def test_damage_is_named_and_nothing_is_added(
    sqlite_gateway: Gateway, layout: Layout, place: Path, name: str, entry: int
) -> None:
    of_entries(sqlite_gateway, [b"%04d" % n for n in range(600)])
    export(sqlite_gateway, layout(place))
    path = place / name
    content = bytearray(path.read_bytes())
    content[7 * 6 + 2 if "entries" in name else 3 * 32 if "/0/" in name else 5] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    refused(sqlite_gateway, layout(place), f"entry {entry} is the first")
    path.unlink()
    refused(sqlite_gateway, layout(place), f"{name} is not of this log, or damaged")


def test_files_of_a_run_that_died_are_compared_too(sqlite_gateway: Gateway, layout: Layout, place: Path) -> None:
    """They lie beyond the checkpoint, so nobody has vouched for them yet."""
    of_entries(sqlite_gateway, [b"%04d" % n for n in range(600)])
    (place / "tile" / "0").mkdir(parents=True)
    (place / "tile" / "0" / "001").write_bytes(bytes(8192))
    with pytest.raises(ConflictError, match="entry 256 is the first"):
        export(sqlite_gateway, layout(place))
    assert not list(open_directory(place, append_only=layout is AppendOnlyDirectory).notes())


def test_a_layout_is_not_changed_midway(sqlite_gateway: Gateway, tmp_path: Path) -> None:
    grow(sqlite_gateway, 3)
    export(sqlite_gateway, PlainDirectory(tmp_path / "plain"))
    export(sqlite_gateway, AppendOnlyDirectory(tmp_path / "kept"))
    for place, append_only in (("plain", True), ("kept", False)):
        with pytest.raises(ConflictError, match="append-only"):
            open_directory(tmp_path / place, append_only=append_only)


def test_an_entry_that_came_meanwhile_waits_for_the_next_run(
    gateway: Gateway, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export holds no snapshot and no lock: the log grows while it is read."""
    grow(gateway, 300)
    other, original = twin(gateway), log_exports._read_page

    def and_grow(reading: Gateway, page: list[Piece]) -> list[tuple[Piece, bytes]]:
        grow(other, 40)
        return original(reading, page)

    with monkeypatch.context() as patched:
        patched.setattr(log_exports, "_read_page", and_grow)
        patched.setattr(log_exports, "_PAGE", 2)
        first = export(gateway, PlainDirectory(place))
    assert size_of(gateway, place) == first.size
    assert export(gateway, PlainDirectory(place)).size > first.size
    assert size_of(gateway, place) > first.size


def test_the_map_is_exported_when_it_is_asked_for(gateway: Gateway, layout: Layout, place: Path) -> None:
    grow(gateway, 3)
    assert log_exports.export_map(gateway, layout(place)) is None
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    take(gateway, [a_consent(ref(1)), a_consent(ref(2))])
    Sequencer(gateway).drain()
    published = maps.publish(gateway)
    export(gateway, layout(place))
    assert not (place / "maps").exists()
    assert published is not None
    assert log_exports.export_map(gateway, layout(place)) == f"maps/{published.number}"
    leaves = read_leaves((place / "maps" / str(published.number)).read_bytes())
    assert (subtree(leaves).hash, len(leaves)) == (published.root, published.chains)
    (place / "maps" / str(published.number)).chmod(0o644)
    (place / "maps" / str(published.number)).write_bytes(b"x" * 72)
    with pytest.raises(ConflictError, match="damaged"):
        log_exports.export_map(gateway, layout(place))


def test_a_directory_of_an_earlier_epoch_goes_on(sqlite_gateway: Gateway, layout: Layout, place: Path) -> None:
    """Its checkpoint has the name and key of that epoch; the tree is the same."""
    grow(sqlite_gateway, 300)
    first = export(sqlite_gateway, layout(place))
    sqlite_gateway.adopt_epoch(2)
    with sqlite_gateway.store.transaction() as session:
        session.execute(insert(tables.log_epochs), [AN_EPOCH | {"surviving": first.size}])
    grow(sqlite_gateway, 30)
    second = export(sqlite_gateway, layout(place))
    assert (second.before, second.size) == (first.size, first.size + 30)
    assert verifier.verify_directory(sqlite_gateway.signer.vkey, place).ok


def test_the_geometry_of_the_worked_vectors(sqlite_gateway: Gateway, place: Path) -> None:
    path = SHARED / "vectors" / "audit" / "worked" / "tiles-70000.json"
    if not path.is_file():
        pytest.skip("SHARED VECTORS MISSING: tiles-70000.json is not beside the project")
    vectors = json.loads(path.read_text())
    of_entries(sqlite_gateway, [b"e%d" % n for n in range(vectors["size"])])
    seen: list[tuple[int, int]] = []
    done = export(sqlite_gateway, PlainDirectory(place), lambda at, of: seen.append((at, of)))
    found = files(place)
    assert done.root.hex() == vectors["root"]
    bundles = [name for name in found if name.startswith("tile/entries/")]
    assert (len(bundles), len(found) - len(bundles) - 1) == (vectors["bundle_count"], vectors["tile_count"])
    for name, digest in (vectors["tiles_sha256"] | vectors["bundles_sha256"]).items():
        assert hashlib.sha256(found[name]).hexdigest() == digest, name
    assert seen == sorted(seen)
    assert seen[-1] == (70000, 70000)


@given(st.integers(0, 70_000), st.integers(0, 70_000))
def test_what_is_written_is_what_the_larger_tree_has_besides(one: int, two: int) -> None:
    before, size = sorted((one, two))
    had, has = {p.name for p in pieces(0, before)}, {p.name for p in pieces(0, size)}
    added, gone = {p.name for p in pieces(before, size)}, set(outgrown(before, size))
    assert {p.name for p in pieces(0, size) if p.level is not None} == {
        Piece(level, index, width).name for level, index, width in tree_tiles(size)
    }
    assert (had | added) - gone == has
    assert gone <= had
    assert all(".p/" in name for name in gone)
    assert not added & had
