"""What an adversary can put into a directory or a file: refused with the reason, and never a hang or a crash."""

from __future__ import annotations

import os
import socket
import tracemalloc
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_fakes import ORIGIN, SEED, filled, worked_entries

from consent_gateway.audit import command
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.tiles import decode_bundle, encode_bundle
from consent_gateway.audit.verifier import verify_directory, verify_prefix, verify_receipt

VKEY = Signer(ORIGIN, SEED).vkey
STORE, _ = filled(worked_entries(600))
assert STORE.checkpoint is not None
NOTE = STORE.checkpoint


def replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def moved_behind_a_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def behind_a_linked_folder(path: Path) -> None:
    moved_behind_a_link(path.parent)


def sparse(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


TRICKS: dict[str, Callable[[Path], None]] = {
    "a link to the same bytes": moved_behind_a_link,
    "a linked folder": behind_a_linked_folder,
    "a link to a device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": replaced(lambda path: path.symlink_to(path)),
    "a dangling link": replaced(lambda path: path.symlink_to("nowhere")),
    "a FIFO": replaced(os.mkfifo),
    "a socket": replaced(bind),
    "a folder": replaced(Path.mkdir),
    "terabytes": sparse(1 << 42),
    "a byte too many": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "nothing": sparse(0),
}  # fmt: skip


@pytest.mark.parametrize("file", ["checkpoint", "tile/0/001", "tile/entries/002.p/88", "tile/1/000.p/2"])
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_refused(tmp_path: Path, trick: str, file: str) -> None:
    root = STORE.export(tmp_path / "log")
    if (trick, file) == ("a linked folder", "checkpoint"):
        pytest.skip("the folder itself is named by the auditor")
    TRICKS[trick](root / file)
    finding = verify_directory(VKEY, root)
    assert not finding.ok
    assert finding.code in {"file", "missing", "tile", "bundle", "checkpoint"}
    if trick.startswith(("a link", "a FIFO", "a socket", "a folder", "terabytes")):
        assert finding.code == "file", str(finding)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    STORE.export(tmp_path / "log")
    (tmp_path / "link").symlink_to("log")
    assert verify_directory(VKEY, tmp_path / "link").ok


def test_the_width_of_a_file_is_the_one_of_its_name(tmp_path: Path) -> None:
    root = STORE.export(tmp_path)
    partial = root / "tile/0/002.p/88"
    data = partial.read_bytes()
    padded = data + bytes(8192 - len(data))
    for wrong, index in ((data[:-32], 599), (data + bytes(32), 600), (padded, 600), (data[:-1], 599), (b"", 512)):
        partial.write_bytes(wrong)
        finding = verify_directory(VKEY, root)
        assert (finding.code, finding.index) == ("tile", index), str(finding)
    partial.unlink()
    (root / "tile/0/002").write_bytes(data)
    assert verify_directory(VKEY, root).code == "tile"  # a full tile of 88 hashes
    (root / "tile/0/002").write_bytes(data + bytes(8192 - len(data)))
    assert verify_directory(VKEY, root).ok  # beyond the checkpoint's size nothing was signed yet


def test_a_bundle_holds_exactly_its_entries(tmp_path: Path) -> None:
    root = STORE.export(tmp_path)
    partial = root / "tile/entries/002.p/88"
    entries = decode_bundle(partial.read_bytes())
    for wrong, index in (([*entries, b"smuggled"], 600), (entries[:-1], 599), ([], 512)):
        partial.write_bytes(encode_bundle(wrong))
        finding = verify_directory(VKEY, root)
        assert (finding.code, finding.index) == ("bundle", index), str(finding)


LINES = b"A" * 43 + b"=\n"
JUNK = {
    "nothing": b"",
    "zero bytes": bytes(4096),
    "a million lines": LINES * 10**6,
    "a million signatures": NOTE + NOTE.rsplit(b"\n", 2)[1] + b"\n" + b"\xe2\x80\x94 a AAAAAAAA\n" * 70_000,
    "deep JSON": b"[" * 10**6,
    "a huge number": b'{"receipt":' + b"9" * 10**6 + b"}",
    "base64 with junk": NOTE.replace(b"=\n", b"=!\n"),
    "non-canonical base64": NOTE.replace(b"=\n", b"B\n"),
    "no UTF-8": b"\xff\xfe" * 1000,
    "a path": b"../../../../etc/passwd",
}  # fmt: skip


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_refused_by_every_check(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    junk, note = tmp_path / "junk", tmp_path / "note"
    junk.write_bytes(JUNK[name])
    note.write_bytes(NOTE)
    log = STORE.export(tmp_path / "log")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/checkpoint").write_bytes(JUNK[name])
    for arguments in [
        ("receipt", VKEY, junk, note),
        ("tree", VKEY, log, junk),
        ("tree", VKEY, tmp_path / "bad"),
        ("tree", "-", log, "--policy", junk),
        ("prefix", VKEY, junk, note, junk),
        ("prefix", VKEY, note, junk, junk),
        ("checkpoint", VKEY, junk),
        ("payload", junk, "subject", "00" * 32, junk),
        ("consent", junk, junk),
        ("consent", junk, note, junk),
    ]:
        assert command.main([*map(str, arguments), "--json"]) == 1, arguments
    assert "Traceback" not in capsys.readouterr().err


def test_a_prefix_proof_is_lines_of_base64() -> None:
    store, _ = filled(worked_entries(7))
    old, new = filled(worked_entries(4))[0].checkpoint, store.checkpoint
    assert old is not None
    assert new is not None
    node = b64encode(store.read_tile(0, 0, 7)[:32])
    good = b64encode(bytes.fromhex("e429c5b5ccaa9523c37297f1846766f903137e82195c5199e6be57130d1006c8"))
    assert verify_prefix(VKEY, old, new, good + b"\n").ok
    assert verify_prefix(VKEY, old, new, good).ok
    for proof in (b"", b"\n", good + b"\n\n", b"\n" + good, good + b" ", node, good + b"\n" + node, good.lower()):
        assert verify_prefix(VKEY, old, new, proof).code == "consistency", proof


def test_files_beyond_the_bound_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 1 << 40)
    assert command.main(["checkpoint", VKEY, str(huge)]) == 1
    assert "larger than" in capsys.readouterr().out


def test_what_is_printed_is_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "\x1b[31mred"
    assert command.main(["checkpoint", VKEY, str(name)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31mred: No such file" in out


def test_receipts_and_entries_may_be_anything() -> None:
    for junk in JUNK.values():
        assert verify_receipt(VKEY, junk, junk).code == "receipt"


def test_a_bundle_of_millions_of_nothing_is_not_hashed_to_the_end(tmp_path: Path) -> None:
    root = STORE.export(tmp_path / "log")
    (root / "tile/entries/001").write_bytes(bytes(2 * 4_000_000))
    tracemalloc.start()
    finding = verify_directory(VKEY, root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (finding.code, finding.index) == ("bundle", 256)
    assert finding.message == "the entry bundle 1 holds 4000000 entries, not 256"
    assert peak < 100 << 20, "the hashes of what no bundle holds"
