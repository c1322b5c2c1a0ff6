"""What a finding says, to the letter: an auditor reads it aloud, and a program reads its details."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from audit_fakes import ORIGIN, SEED, Witness, filled, worked_entries

from consent_gateway.audit.checkpoints import Checkpoint, Signer
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.log import make_receipt
from consent_gateway.audit.proofs import consistency_proof, inclusion_proof
from consent_gateway.audit.receipts import Receipt
from consent_gateway.audit.tiles import encode_bundle
from consent_gateway.audit.verifier import (
    Finding,
    verify_checkpoint,
    verify_directory,
    verify_payload,
    verify_prefix,
    verify_receipt,
)
from consent_gateway.audit.verifier.findings import FoundError
from consent_gateway.audit.witness_policy import parse_policy

VKEY = Signer(ORIGIN, SEED).vkey
W1, W2 = Witness("w1.example", 1), Witness("w2.example", 2)
POLICY = f"log {VKEY}\nwitness a {W1.vkey}\nwitness b {W2.vkey}\ngroup g any a b\nquorum g\n".encode()
STORE, _ = filled(worked_entries(600))
NOTE = STORE.checkpoint or b""
OLD = filled(worked_entries(300))[0].checkpoint or b""
COSIGNED = NOTE + W2.line(NOTE, 9)
PROOF = b"".join(b64encode(node) + b"\n" for node in consistency_proof(300, 600, STORE.read_tile))
ROOT = STORE.head().root.hex()
SEEN = {
    "origin": ORIGIN,
    "size": 600,
    "root": ROOT,
    "cosigned": [{"witness": "w2.example", "vkey": W2.vkey, "time": 9}],
}


def test_what_holds_says_what_was_seen(tmp_path: Path) -> None:
    receipt = make_receipt(5, 600, COSIGNED, STORE.read_tile)
    log = STORE.export(tmp_path)
    for finding, message, index, details in [
        (
            verify_checkpoint(VKEY, COSIGNED, policy=POLICY),
            f"600 entries signed by {ORIGIN}; cosigned by w2.example (9)",
            None,
            SEEN,
        ),
        (verify_checkpoint(VKEY, NOTE), f"600 entries signed by {ORIGIN}", None, SEEN | {"cosigned": []}),
        (
            verify_receipt(VKEY, receipt, b"entry-5", policy=POLICY),
            f"entry 5 of 600, log {ORIGIN}",
            5,
            SEEN,
        ),
        (
            verify_prefix(VKEY, OLD, COSIGNED, PROOF, policy=POLICY),
            f"300 is a prefix of 600, log {ORIGIN}",
            None,
            {"earlier": 300, **SEEN},
        ),
        (
            verify_directory(VKEY, log, checkpoint=COSIGNED, policy=POLICY, earlier=[NOTE, OLD]),
            f"600 entries, root {ROOT}",
            None,
            {**SEEN, "earlier": [300, 600]},
        ),
    ]:
        assert finding == Finding(ok=True, code="ok", message=message, index=index, details=details)


NOBODY = "not cosigned by w1.example, w2.example; group g has 0 of 1"


def test_what_does_not_hold_says_where(tmp_path: Path) -> None:
    receipt = make_receipt(5, 600, NOTE, STORE.read_tile)
    forged = filled([*worked_entries(400), b"forged", *worked_entries(600)[401:]])[0]
    log, bad = STORE.export(tmp_path / "log"), forged.export(tmp_path / "bad")
    (tmp_path / "bad/checkpoint").write_bytes(NOTE)
    entry = entry_bytes(
        Entry(EntryKind.ADMIN_ACTION, 1, "a", bytes(16), {}, {"p": commit(bytes(32), bytes(16), "p", b"")})
    )
    salt = opening_salt(bytes(32), bytes(16), "p")
    unsigned = "the entries do not hash to the root of the signed checkpoint"
    for finding, code, message, index in [
        (verify_receipt(VKEY, receipt, b"x"), "inclusion", "the entry is not at index 5 of this log", 5),
        (verify_receipt(VKEY, receipt, b"entry-5", policy=POLICY), "witness", NOBODY, None),
        (verify_prefix(VKEY, OLD, NOTE, PROOF, policy=POLICY), "witness", NOBODY, None),
        (verify_directory(VKEY, log, policy=POLICY), "witness", NOBODY, None),
        (verify_checkpoint(VKEY, NOTE, policy=POLICY), "witness", NOBODY, None),
        (verify_prefix(VKEY, OLD, NOTE, b""), "consistency", "size 300 is not shown to be a prefix of size 600", None),
        (verify_payload(b"{}", "p", salt, b""), "entry", "the entry has no such commitment", None),
        (verify_payload(entry, "p", salt, b"x"), "opening", "the payload is not what was committed to", None),
        (verify_directory(VKEY, bad), "root", unsigned, None),
        (
            verify_directory(VKEY, bad, earlier=[OLD]),
            "root",
            f"{unsigned}; the first 300 are those published before",
            300,
        ),
        (
            verify_directory(VKEY, bad, checkpoint=forged.checkpoint, earlier=[OLD, NOTE]),
            "prefix",
            "the first 600 entries are not those published before: one of 300 to 599 was changed",
            300,
        ),
        (
            verify_directory(VKEY, bad, exports=[log]),
            "root",
            f"{unsigned}; entry 400 is not as it was exported before",
            400,
        ),
    ]:
        assert finding == Finding(ok=False, code=code, message=message, index=index)
    held = verify_payload(entry, "p", salt, b"")
    assert (held.ok, held.message) == (True, "the payload is what the entry committed to as p")


def test_refusals_of_a_caller_are_told_in_full() -> None:
    for call, message in [
        (lambda: Receipt(0, (b"",), b"").to_bytes(), "a receipt has hashes of 32 bytes and no empty extra data"),
        (lambda: inclusion_proof(7, 7, STORE.read_tile), "the index is outside the tree"),
        (lambda: consistency_proof(0, 7, STORE.read_tile), "a consistency proof needs 0 < old <= new"),
        (lambda: parse_policy(b"quorum none\nquorum none"), "line 2 of the policy: there is a second quorum line"),
        (
            lambda: parse_policy(f"witness none {W1.vkey}".encode()),
            "line 1 of the policy: the name is taken",
        ),
        (
            lambda: parse_policy(f"witness a {W1.vkey}\ngroup g 2 a\nquorum g".encode()),
            "line 2 of the policy: the threshold is not between 1 and the number of members",
        ),
        (lambda: parse_policy(b""), "the policy has no quorum line"),
        (lambda: parse_policy(b"quorum x"), "line 1 of the policy: a name is not defined above"),
        (lambda: parse_policy(b"x"), "line 1 of the policy: not a log, witness, group or quorum line"),
        (lambda: Signer(ORIGIN, SEED).sign_checkpoint(1, bytes(31)), "the root of a checkpoint has 32 bytes"),
        (lambda: Signer(ORIGIN, SEED).sign_checkpoint(0, bytes(32)), "the empty tree has another root"),
        (lambda: Signer("a b", SEED), "a key name has no blanks and no +"),
    ]:
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value) == message
    assert Checkpoint("o", 1, bytes(32), ("x",)).text == f"o\n1\n{b64encode(bytes(32)).decode()}\nx\n"


def test_what_is_no_file_of_a_log_is_named_with_its_first_entry(tmp_path: Path) -> None:
    log = STORE.export(tmp_path)
    tile = log / "tile/0/001"
    tile.write_bytes(bytes(9000))
    found = verify_directory(VKEY, log)
    message = "tile/0/001 has 9000 bytes, more than 8192"
    assert found == Finding(ok=False, code="file", message=message, index=256)
    tile.unlink()
    tile.mkdir()
    found = verify_directory(VKEY, log)
    assert found == Finding(ok=False, code="file", message="tile/0/001 is not a regular file", index=256)
    none = verify_checkpoint("-", NOTE, policy=b"quorum none")
    assert none == Finding(ok=False, code="policy", message="no log is pinned: the policy lists none")


def test_what_is_wrong_with_a_file_of_a_log_is_told_at_the_entry_where_it_begins(tmp_path: Path) -> None:
    log = STORE.export(tmp_path)
    bundle, tile, above = log / "tile/entries/001", log / "tile/0/001", log / "tile/1/000.p/2"
    for path, content, code, message, index in [
        (bundle, encode_bundle(worked_entries(511)[256:]), "bundle", "the entry bundle 1 holds 255 entries, not 256", 511),
        (bundle, bundle.read_bytes()[:-1], "bundle", "an entry bundle ends inside an entry (bundle 1)", 511),
        (bundle, bundle.read_bytes()[:1], "bundle", "an entry bundle ends inside an entry (bundle 1)", 256),
        (tile, tile.read_bytes()[:-32], "tile", "tile/0/001 has 8160 bytes", 511),
        (tile, bytes(32) + tile.read_bytes()[32:], "tile", "entry 256 does not hash to its tile", 256),
        (tile, tile.read_bytes()[:-1] + b"\0", "tile", "entry 511 does not hash to its tile", 511),
        (above, above.read_bytes()[:-1] + b"\0", "tile", "entry 256 is the first below a wrong hash in tile/1/000.p/2", 256),
        (above, above.read_bytes()[:-32], "tile", "tile/1/000.p/2 has 32 bytes", 256),
    ]:  # fmt: skip
        whole = path.read_bytes()
        assert whole != content
        path.write_bytes(content)
        assert verify_directory(VKEY, log) == Finding(ok=False, code=code, message=message, index=index)
        path.write_bytes(whole)
    bundle.write_bytes(bytes(17_000_000))
    found = verify_directory(VKEY, log)
    assert (found.code, found.index) == ("file", 256)
    assert str(FoundError("code", "message")) == "message"


def test_the_newest_of_several_checkpoints_counts_where_none_is_replaced(tmp_path: Path) -> None:
    log = STORE.export(tmp_path / "log")
    (log / "checkpoint").unlink()
    for name, note in (("300", OLD), ("600", NOTE), ("99", b"x"), ("9x", b"x"), ("9" * 20, b"x")):
        (log / f"checkpoint.{name}").write_bytes(note)
    assert verify_directory(VKEY, log).details["size"] == 600
    (log / "checkpoint").write_bytes(b"x")
    assert verify_directory(VKEY, log).code == "checkpoint"


def test_a_folder_of_a_log_is_a_real_one(tmp_path: Path) -> None:
    log = STORE.export(tmp_path / "log")
    (log / "tile/entries").rename(tmp_path / "elsewhere")
    (log / "tile/entries").symlink_to(tmp_path / "elsewhere")
    found = verify_directory(VKEY, log)
    assert found == Finding(ok=False, code="file", message="tile/entries is not a directory")
