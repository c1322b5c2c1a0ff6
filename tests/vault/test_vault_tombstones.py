"""The tombstone file: what is written stays, in order, in every copy; whatever else happens to it is noticed."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vault_builders import a_keyring

from consent_gateway.errors import TombstoneError
from consent_gateway.vault import tombstone_file as module
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.tombstone_file import TombstoneFile
from consent_gateway.vault.tombstones import START, Burial, SubjectHasher, decode, encode, header, line_key, seal

KEYRING = a_keyring()


def a_burial(number: int, **changes: Any) -> Burial:
    """The erasure of subject `number`."""
    burial = Burial(
        number.to_bytes(16, "big"),
        1_700_000_000 + number,
        SubjectHasher(KEYRING).hash(number),
        "request",
        (("email", bytes([number]) * 32),),
        (("email", 1, bytes([number]) * 16),),
        number,
    )
    return replace(burial, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tombstones.log"


@pytest.fixture
def file(path: Path) -> TombstoneFile:
    """A file of two lines, with two copies."""
    made = TombstoneFile(KEYRING, path, [path.with_name("one"), path.with_name("two")])
    made.create()
    made.append([a_burial(1), a_burial(2)])
    return made


def again(file: TombstoneFile) -> TombstoneFile:
    """Another process over the same files."""
    return TombstoneFile(KEYRING, file.path, file.copies)


# -- lines ---------------------------------------------------------------------------------------------------------

TOKENS = st.binary(min_size=16, max_size=32)
BURIALS = st.builds(
    Burial,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 1 << 40),
    st.none() | TOKENS,
    st.text(max_size=12),
    st.lists(st.tuples(st.text(max_size=8), TOKENS), max_size=3).map(tuple),
    st.lists(st.tuples(st.text(max_size=8), st.integers(1, 99), TOKENS), max_size=3).map(tuple),
    st.integers(0, 1 << 62),
)


@given(BURIALS)
def test_a_burial_comes_back_and_has_one_spelling(burial: Burial) -> None:
    text = encode(burial)
    assert decode(text) == burial
    assert "\n" not in text
    assert text.isascii()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"uid":"zz"}', "null", encode(a_burial(1)).replace(",", ", ", 1)])
def test_what_is_no_burial_is_refused(text: str) -> None:
    with pytest.raises(TombstoneError):
        decode(text)


def test_hashes_of_subjects_are_keyed_and_distinct() -> None:
    hasher = SubjectHasher(KEYRING)
    found = {hasher.hash(n) for n in range(1000)}
    assert len(found) == 1000
    assert {len(h) for h in found} == {32}
    assert found.isdisjoint(SubjectHasher(Keyring.in_memory()).hash(n) for n in range(1000))


def test_a_line_reveals_no_identifier_and_no_id() -> None:
    """The id of a subject stands nowhere: only its keyed hash, and how many ids there were."""
    text = encode(a_burial(7, last_id=99))
    assert KEYRING.roots.tombstone.hex() not in text
    assert (7).to_bytes(8, "big").hex() not in text.replace((7).to_bytes(16, "big").hex(), "")


# -- the file ------------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read_in_order_by_another_process(file: TombstoneFile) -> None:
    other = again(file)
    assert other.append([a_burial(2), a_burial(3), a_burial(3)]) == 1
    assert file.append([a_burial(3)]) == 0
    assert file.read() == other.read() == [a_burial(1), a_burial(2), a_burial(3)]
    assert (file.lines, other.lines) == (3, 3)
    assert file.holds(a_burial(3).uid)
    assert not file.holds(a_burial(4).uid)


def test_creating_what_is_there_changes_nothing(file: TombstoneFile) -> None:
    before = file.path.read_bytes()
    again(file).create()
    assert file.path.read_bytes() == before


def test_every_file_is_private_and_copies_are_equal(file: TombstoneFile) -> None:
    content = {p.read_bytes() for p in (file.path, *file.copies)}
    assert len(content) == 1
    for found in file.path.parent.iterdir():
        assert stat.S_IMODE(found.stat().st_mode) == 0o600


def test_many_writers_lose_nothing(file: TombstoneFile) -> None:
    def write(first: int) -> None:
        mine = again(file)
        for n in range(first, first + 20):
            mine.append([a_burial(n)])

    threads = [threading.Thread(target=write, args=(n,)) for n in (20, 40, 60, 80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {b.uid for b in file.read()} == {a_burial(n).uid for n in (1, 2, *range(20, 100))}
    assert len({p.read_bytes() for p in (file.path, *file.copies)}) == 1


def _lines(file: TombstoneFile) -> list[bytes]:
    return file.path.read_bytes().splitlines(keepends=True)


def test_any_altered_byte_is_found(file: TombstoneFile) -> None:
    content = file.path.read_bytes()
    for place in range(len(content)):
        if content[place : place + 1] == b"\n":
            continue  # an end that is gone: see below
        file.path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(TombstoneError):
            TombstoneFile(KEYRING, file.path).read()


@pytest.mark.parametrize("change", ["swap", "drop", "twice", "headless", "joined"])
def test_lines_that_are_moved_or_missing_inside_are_found(file: TombstoneFile, change: str) -> None:
    head, one, two = _lines(file)
    changed = {
        "swap": [head, two, one],
        "drop": [head, two],
        "twice": [head, one, one, two],
        "headless": [one, two],
        "joined": [head, one.rstrip(b"\n"), two],
    }
    file.path.write_bytes(b"".join(changed[change]))
    with pytest.raises(TombstoneError, match="line"):
        TombstoneFile(KEYRING, file.path).read()


def test_lines_that_are_missing_at_the_end_are_what_the_caller_compares(file: TombstoneFile) -> None:
    file.path.write_bytes(b"".join(_lines(file)[:-1]))
    assert TombstoneFile(KEYRING, file.path).read() == [a_burial(1)]


def test_a_file_of_another_keyring_is_refused(file: TombstoneFile) -> None:
    with pytest.raises(TombstoneError, match="another keyring"):
        TombstoneFile(Keyring.in_memory(), file.path).read()


def _signed(*texts: str) -> bytes:
    content, mac = b"", START
    for text in texts:
        line, mac = seal(line_key(KEYRING), mac, text)
        content += line
    return content


@pytest.mark.parametrize(
    "texts",
    [
        (header().replace('"version":1', '"version":2'),),
        (encode(a_burial(1)),),
        (header(), header()),
        (header(), '{"uid":"not one"}'),
    ],
)
def test_a_well_signed_file_of_another_form_is_refused(path: Path, texts: tuple[str, ...]) -> None:
    path.write_bytes(_signed(*texts))
    path.chmod(0o600)
    with pytest.raises(TombstoneError):
        TombstoneFile(KEYRING, path).read()


@pytest.mark.parametrize("cut", [1, 10, 70])
def test_a_line_that_a_crash_cut_off_is_no_line_and_goes(file: TombstoneFile, cut: int) -> None:
    content = file.path.read_bytes()
    file.path.write_bytes(content[:-cut])
    assert TombstoneFile(KEYRING, file.path).read() == [a_burial(1)]
    mended = TombstoneFile(KEYRING, file.path)
    assert mended.append([a_burial(2)]) == 1
    assert file.path.read_bytes() == content


def test_a_file_that_shrank_or_was_exchanged_is_read_anew(file: TombstoneFile) -> None:
    alone = TombstoneFile(KEYRING, file.path)
    alone.read()
    content = file.path.read_bytes()
    file.path.write_bytes(b"".join(_lines(file)[:-1]))
    assert alone.append([a_burial(2)]) == 1
    assert file.path.read_bytes() == content
    file.path.unlink()
    file.path.write_bytes(content)
    file.path.chmod(0o600)
    assert alone.append([a_burial(1)]) == 0


def test_a_line_with_blanks_in_it_is_a_line(file: TombstoneFile) -> None:
    spoken = a_burial(3, reason="asked on the telephone", suppressed=(("e mail", 1, b"t" * 16),))
    assert file.append([spoken]) == 1
    assert again(file).read()[-1] == spoken


def test_a_file_that_another_process_replaced_is_read_anew_however_long_it_is(file: TombstoneFile) -> None:
    for burials in ([a_burial(n) for n in (5, 6, 7, 8)], [a_burial(9), a_burial(10)], [a_burial(11)]):
        again(file).replace(burials, f".{len(burials)}")
        assert file.append([burials[0]]) == 0
        assert file.lines == len(burials)
        assert not file.holds(a_burial(1).uid)
    assert file.read() == [a_burial(11)]


def test_a_line_that_does_not_hold_is_named_by_its_number_in_the_file(file: TombstoneFile) -> None:
    """Also if what stands before it was read long ago."""
    file.read()
    with file.path.open("ab") as appended:
        appended.write(b"not a line\n")
    for reader in (file, again(file)):
        with pytest.raises(TombstoneError, match=r"^line 4 of the tombstone file"):
            reader.append([a_burial(3)])


# -- copies --------------------------------------------------------------------------------------------------------


def test_a_new_copy_gets_everything(file: TombstoneFile, tmp_path: Path) -> None:
    late = TombstoneFile(KEYRING, file.path, [tmp_path / "late"])
    assert late.append([a_burial(3)]) == 1
    assert (tmp_path / "late").read_bytes() == file.path.read_bytes()


def test_a_copy_that_fell_behind_or_was_cut_off_catches_up(file: TombstoneFile) -> None:
    one, two = file.copies
    one.write_bytes(_lines(file)[0])
    two.write_bytes(file.path.read_bytes() + b'{"half')
    again(file).read()
    assert one.read_bytes() == two.read_bytes() == file.path.read_bytes()


def test_a_copy_gets_whole_lines_alone(file: TombstoneFile) -> None:
    whole = file.path.read_bytes()
    file.copies[0].write_bytes(_lines(file)[0])
    file.copies[1].unlink()
    file.path.write_bytes(whole + b'{"half')
    again(file).read()
    assert [copy.read_bytes() for copy in file.copies] == [whole, whole]


def test_what_is_as_it_should_be_is_not_written(file: TombstoneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        pytest.fail("a copy that is whole was written")

    monkeypatch.setattr(module, "_extend", write)
    assert file.append([a_burial(1)]) == 0
    assert len(again(file).read()) == 2


def test_a_copy_without_any_whole_line_starts_anew(file: TombstoneFile) -> None:
    file.copies[0].write_bytes(b"{")
    again(file).read()
    assert file.copies[0].read_bytes() == file.path.read_bytes()


def test_a_copy_that_holds_more_or_other_lines_is_found(file: TombstoneFile, tmp_path: Path) -> None:
    """More: the file was cut. Other: it is a copy of something else."""
    whole = file.path.read_bytes()
    file.path.write_bytes(b"".join(_lines(file)[:-1]))
    with pytest.raises(TombstoneError, match="copy"):
        again(file).read()
    file.path.write_bytes(whole)
    other = TombstoneFile(KEYRING, tmp_path / "other")
    other.create()
    other.append([a_burial(9)])
    file.copies[0].write_bytes(other.path.read_bytes())
    with pytest.raises(TombstoneError, match="copy"):
        again(file).append([a_burial(3)])


def test_salvage_takes_every_line_that_holds_from_wherever(file: TombstoneFile) -> None:
    head, one, two = _lines(file)
    file.path.write_bytes(head + one + two.replace(b"request", b"mistake"))
    assert again(file).salvage() == [a_burial(1), a_burial(2)]  # the second from a copy
    for copy in file.copies:
        copy.unlink()
    assert again(file).salvage() == [a_burial(1)]
    file.path.unlink()
    assert again(file).salvage() == []


def test_replacing_keeps_what_was_there_aside(file: TombstoneFile) -> None:
    before = file.path.read_bytes()
    file.copies[1].unlink()
    file.replace([a_burial(5)], ".old")
    assert file.read() == [a_burial(5)]
    assert file.path.with_name(file.path.name + ".old").read_bytes() == before
    assert file.copies[0].read_bytes() == file.copies[1].read_bytes() == file.path.read_bytes()


# -- refusals ------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_never_made_by_writing(path: Path) -> None:
    file = TombstoneFile(KEYRING, path)
    assert not file.exists()
    for act in (file.read, lambda: file.append([a_burial(1)])):
        with pytest.raises(TombstoneError, match="no tombstone file"):
            act()
    assert not file.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o700])
def test_a_file_that_others_may_touch_is_refused(file: TombstoneFile, mode: int) -> None:
    file.path.chmod(mode)
    with pytest.raises(TombstoneError, match="0600"):
        file.read()


def test_a_link_is_refused(file: TombstoneFile) -> None:
    moved = file.path.rename(file.path.with_name("elsewhere"))
    file.path.symlink_to(moved)
    with pytest.raises(TombstoneError):
        file.read()
    file.path.unlink()
    file.copies[0].unlink()
    moved.rename(file.path)
    file.copies[0].symlink_to(file.path)
    with pytest.raises(TombstoneError):
        file.read()


def test_a_directory_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TombstoneError, match="directory"):
        TombstoneFile(KEYRING, tmp_path / "nowhere" / "tombstones.log").create()


@contextmanager
def disk_full_after(monkeypatch: pytest.MonkeyPatch, room: int) -> Iterator[None]:
    """A disk that takes `room` more bytes, in short writes."""
    left, write = [room], os.write

    def writing(descriptor: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "full")
        taken = write(descriptor, bytes(data)[: min(left[0], 50)])
        left[0] -= taken
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", writing)
        yield


@pytest.mark.parametrize("room", [0, 1, 120, 400])
def test_a_full_disk_leaves_whole_lines_and_is_made_up_for(
    file: TombstoneFile, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    before = file.path.read_bytes()
    alone = TombstoneFile(KEYRING, file.path)
    with disk_full_after(monkeypatch, room), pytest.raises(TombstoneError, match="disk"):
        alone.append([a_burial(3), a_burial(4)])
    assert file.path.read_bytes() == before
    assert alone.append([a_burial(3), a_burial(4)]) == 2
    assert TombstoneFile(KEYRING, file.path).read() == [a_burial(n) for n in (1, 2, 3, 4)]


def test_a_full_disk_of_a_copy_lets_nothing_count(file: TombstoneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    room = len(b"".join(_lines(file))) - len(_lines(file)[0])  # enough for the file, not for the copies too
    with disk_full_after(monkeypatch, room // 2 + 20), pytest.raises(TombstoneError):
        file.append([a_burial(3)])
    assert file.append([a_burial(3)]) in (0, 1)
    assert len({p.read_bytes() for p in (file.path, *file.copies)}) == 1


def test_a_file_that_cannot_be_begun_is_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TombstoneFile(KEYRING, path)
    with disk_full_after(monkeypatch, 10), pytest.raises(TombstoneError):
        file.create()
    assert not file.exists()


def test_what_cannot_be_moved_aside_is_not_replaced(file: TombstoneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "no")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(TombstoneError, match=r"^the directory of the tombstone file cannot be written$"):
            file.replace([], ".old")
    assert file.path.read_bytes() == before


def test_a_file_system_that_flushes_no_directories_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", flush)
        TombstoneFile(KEYRING, path).create()
    assert TombstoneFile(KEYRING, path).read() == []


def test_a_line_is_flushed_before_it_counts(file: TombstoneFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug would be to return first: every path is flushed, after its last byte, before `append` returns."""
    flushed: list[int] = []
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append(os.fstat(descriptor).st_size)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", flush)
        file.append([a_burial(3)])
    assert flushed == [file.path.stat().st_size] * 3
