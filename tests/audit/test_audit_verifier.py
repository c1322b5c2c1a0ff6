"""The verifier on whole logs: honest ones hold, each attack has its own finding."""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from audit_fakes import ORIGIN, SEED, filled, flip, need, vector

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.log import make_receipt
from consent_gateway.audit.proofs import consistency_proof
from consent_gateway.audit.tiles import decode_bundle, encode_bundle
from consent_gateway.audit.verifier import (
    Finding,
    verify_directory,
    verify_payload,
    verify_prefix,
    verify_receipt,
)

ENTRIES = [b'{"n":%d}' % number for number in range(700)]
VKEY = Signer(ORIGIN, SEED).vkey


def exported(folder: Path, entries: Sequence[bytes] = ENTRIES) -> Path:
    return filled(entries)[0].export(folder)


def checkpoint(entries: Sequence[bytes]) -> bytes:
    note = filled(entries)[0].checkpoint
    assert note is not None
    return note


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_an_honest_log_holds(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = exported(tmp_path)
    finding = verify_directory(VKEY, root, progress=lambda done, size: calls.append((done, size)))
    assert finding.ok, str(finding)
    assert finding.message.startswith("700 entries")
    assert calls == [(700, 700)]
    for size in (1, 255, 256, 257, 512, 699, 700):
        assert verify_directory(VKEY, root, earlier=checkpoint(ENTRIES[:size])).ok


def test_the_log_of_another_program_holds_at_every_size(tmp_path: Path) -> None:
    source = need("vectors/audit/tessera-testlog")
    vkey = vector("tessera-testlog/ABOUT.json")["log_vkey"]
    assert verify_directory(vkey, source).ok
    for size in range(16):
        copy = tmp_path / str(size)
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        shutil.copyfile(source / f"checkpoint.{size}", copy / "checkpoint")
        finding = verify_directory(vkey, copy)
        assert finding.ok, (size, str(finding))
        assert finding.message.startswith(f"{size} entries")


def test_every_changed_bit_of_a_log_is_found(tmp_path: Path) -> None:
    root = exported(tmp_path, ENTRIES[:5])
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        data = path.read_bytes()
        for bit in range(8 * len(data)):
            path.write_bytes(flip(data, bit))
            assert not verify_directory(VKEY, root).ok, (path, bit)
        path.write_bytes(data)
    assert verify_directory(VKEY, root).ok


def forge_entry(bundle: bytes, offset: int) -> bytes:
    entries = decode_bundle(bundle)
    entries[offset] = b"forged"
    return encode_bundle(entries)


ATTACKS: dict[str, tuple[str, Callable[[bytes], bytes], str, int | None]] = {
    "an entry edited": ("tile/entries/001", lambda data: forge_entry(data, 44), "tile", 300),
    "an entry deleted": ("tile/entries/001", lambda data: encode_bundle(decode_bundle(data)[1:]), "bundle", 256),
    "the tail deleted": (
        "tile/entries/002.p/188",
        lambda data: encode_bundle(decode_bundle(data)[:-1]),
        "bundle",
        699,
    ),
    "entries swapped": (
        "tile/entries/000",
        lambda data: encode_bundle([*reversed(decode_bundle(data)[:2]), *decode_bundle(data)[2:]]),
        "tile",
        0,
    ),
    "a bundle cut inside an entry": ("tile/entries/002.p/188", lambda data: data[:-1], "bundle", 699),
    "a leaf hash changed": ("tile/0/001", lambda data: flip(data, 8 * 32 * 44), "tile", 300),
    "a tile cut": ("tile/0/001", lambda data: data[:-32], "tile", 511),
    "a parent hash changed": ("tile/1/000.p/2", lambda data: flip(data, 8 * 63), "tile", 256),
    "a parent tile grown": ("tile/1/000.p/2", lambda data: data + bytes(32), "tile", 512),
    "the size edited": ("checkpoint", lambda data: data.replace(b"\n700\n", b"\n699\n"), "checkpoint", None),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_and_named(tmp_path: Path, name: str) -> None:
    path, change, code, index = ATTACKS[name]
    root = exported(tmp_path)
    edit(root / path, change)
    finding = verify_directory(VKEY, root)
    assert (finding.ok, finding.code, finding.index) == (False, code, index), str(finding)


@pytest.mark.parametrize(
    ("path", "index"),
    [("tile/0/001", 256), ("tile/entries/002.p/188", 512), ("tile/1/000.p/2", 0), ("checkpoint", None)],
)
def test_a_lost_file_is_named(tmp_path: Path, path: str, index: int | None) -> None:
    root = exported(tmp_path)
    (root / path).unlink()
    finding = verify_directory(VKEY, root)
    assert (finding.code, finding.index) == ("missing", index)
    assert path in finding.message


def test_nothing_left_is_no_success(tmp_path: Path) -> None:
    assert verify_directory(VKEY, tmp_path).code == "missing"


def test_a_rewritten_suffix_needs_the_key(tmp_path: Path) -> None:
    honest, root = checkpoint(ENTRIES), exported(tmp_path, [*ENTRIES[:-1], b"forged"])
    (root / "checkpoint").write_bytes(honest)
    assert verify_directory(VKEY, root).code == "root"


def test_a_history_rewritten_with_the_key_is_caught_by_a_kept_checkpoint(tmp_path: Path) -> None:
    root = exported(tmp_path, [b"forged", *ENTRIES[1:]])
    assert verify_directory(VKEY, root).ok  # nobody can tell without memory
    assert verify_directory(VKEY, root, earlier=checkpoint(ENTRIES[:300])).code == "prefix"
    assert verify_directory(VKEY, root, earlier=checkpoint(ENTRIES)).code == "prefix"


def test_yesterdays_database_is_caught_by_a_kept_checkpoint(tmp_path: Path) -> None:
    root = exported(tmp_path, ENTRIES[:400])
    assert verify_directory(VKEY, root, earlier=checkpoint(ENTRIES)).code == "rolled_back"


def test_a_log_does_not_introduce_itself(tmp_path: Path) -> None:
    root = exported(tmp_path)
    other = Signer(ORIGIN, bytes(32)).vkey
    assert verify_directory(other, root).code == "checkpoint"
    assert verify_directory("no key", root).code == "vkey"
    assert verify_directory(VKEY, root, earlier=b"junk").code == "checkpoint"


def test_a_partial_file_may_have_been_replaced_by_the_full_one(tmp_path: Path) -> None:
    root = exported(tmp_path, ENTRIES[:600])
    (root / "checkpoint").write_bytes(checkpoint(ENTRIES[:300]))  # the log grew while it was being read
    assert verify_directory(VKEY, root).code == "missing"
    shutil.copyfile(root / "tile/1/000.p/2", root / "tile/1/000.p/1")
    edit(root / "tile/1/000.p/1", lambda data: data[:32])
    assert verify_directory(VKEY, root).ok


def test_witnesses_that_are_asked_for_must_have_signed() -> None:
    small = vector("worked/small.json")
    cosigned = need("vectors/audit/worked/entry-3.tlog-proof").read_bytes()
    witness = small["witness_vkey"]
    assert verify_receipt(small["log_vkey"], cosigned, b"entry-3", witnesses=[witness]).ok
    store, _ = filled([b"entry-%d" % number for number in range(7)])
    assert store.checkpoint is not None
    plain = make_receipt(3, 7, store.checkpoint, store.read_tile)
    finding = verify_receipt(VKEY, plain, b"entry-3", witnesses=[witness])
    assert (finding.ok, finding.code) == (False, "witness")
    assert "auditor.example/w1" in finding.message


def prefix_case(old: int, new: int) -> tuple[bytes, bytes, bytes]:
    store, _ = filled(ENTRIES[:new])
    proof = consistency_proof(old, new, store.read_tile) if old else ()
    lines = b"".join(b64encode(node) + b"\n" for node in proof)
    return (
        checkpoint(ENTRIES[:old]) if old else Signer(ORIGIN, SEED).sign_text(EMPTY),
        checkpoint(ENTRIES[:new]),
        lines,
    )


EMPTY = f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


@pytest.mark.parametrize(("old", "new"), [(1, 700), (256, 700), (300, 301), (700, 700)])
def test_a_prefix_is_recognised(old: int, new: int) -> None:
    finding = verify_prefix(VKEY, *prefix_case(old, new))
    assert finding.ok
    assert str(finding) == f"ok {old} is a prefix of {new}, log {ORIGIN}"


def test_what_is_no_prefix_is_refused() -> None:
    old, new, proof = prefix_case(300, 700)
    forged = checkpoint([b"forged", *ENTRIES[1:300]])
    assert verify_prefix(VKEY, forged, new, proof).code == "consistency"
    assert verify_prefix(VKEY, new, old, proof).code == "consistency"
    assert verify_prefix(VKEY, old, new, proof[:-45]).code == "consistency"
    assert verify_prefix(VKEY, old, new, b"\xff junk").code == "consistency"
    assert verify_prefix(VKEY, old, b"", proof).code == "checkpoint"
    assert verify_prefix(VKEY, *prefix_case(0, 700)).code == "consistency"


def test_a_person_proves_what_was_recorded() -> None:
    key, uid, payload = bytes(range(32)), bytes(16), b'{"purpose":"marketing"}'
    commitments = {"payload": commit(key, uid, "payload", payload)}
    entry = entry_bytes(Entry(EntryKind.CONSENT_RECORDED, 1, "key:crm", uid, {}, commitments))
    salt = opening_salt(key, uid, "payload")
    assert verify_payload(entry, "payload", salt, payload).ok
    assert verify_payload(entry, "payload", salt, b"{}").code == "opening"
    assert verify_payload(entry, "payload", salt[1:], payload).code == "opening"
    for bad in (b"", b"[]", b"\xff", b'{"commitments":[]}', b'{"commitments":{"payload":7}}', b"[" * 60_000):
        assert verify_payload(bad, "payload", salt, payload).code == "entry"
    assert verify_payload(entry, "other", salt, payload).code == "entry"


def test_findings_read_well() -> None:
    assert str(Finding(ok=False, code="tile", message="m", index=3)) == "FAIL tile: m"


def test_a_salt_has_one_length() -> None:
    """Salt and payload stand side by side in what is hashed: a byte could move from one to the other."""
    key, uid, payload = bytes(range(32)), bytes(16), b'{"purpose":"marketing"}'
    salt = opening_salt(key, uid, "payload")
    entry = entry_bytes(
        Entry(EntryKind.CONSENT_RECORDED, 1, "a", uid, {}, {"payload": commit(key, uid, "payload", payload)})
    )
    assert verify_payload(entry, "payload", salt, payload).ok
    assert verify_payload(entry, "payload", salt[:-1], salt[-1:] + payload).code == "opening"
    assert verify_payload(entry, "payload", salt + payload[:1], payload[1:]).code == "opening"


def test_a_kept_export_names_the_entry_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    root, kept = tmp_path / "now", tmp_path / "kept"
    for folder, entries in ((root, [*ENTRIES[:500], b"forged", *ENTRIES[501:]]), (kept, ENTRIES[:600])):
        folder.mkdir()
        exported(folder, entries)
    found = verify_directory(VKEY, root, exports=[kept])
    assert (found.code, found.index) == ("prefix", 500)
    (kept / "tile/0/001").unlink()
    found = verify_directory(VKEY, root, exports=[kept])
    assert (found.code, found.index) == ("prefix", 0)
    assert verify_directory(VKEY, root, exports=[tmp_path]).code == "missing"
    same = verify_directory(VKEY, root, exports=[root], earlier=[checkpoint(ENTRIES[:600])])
    assert (same.code, same.index) == ("prefix", 0)  # an export that was forged as well tells nothing
