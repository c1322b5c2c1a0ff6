"""Receipt files: shared cases, the shell checker, every changed bit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from audit_fakes import filled, flip, need, vector, worked_entries
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.log import make_receipt
from consent_gateway.audit.receipts import Receipt, parse_receipt
from consent_gateway.audit.verifier import verify_receipt

STORE, SIGNER = filled(worked_entries())


def receipt(index: int) -> bytes:
    assert STORE.checkpoint is not None
    return make_receipt(index, 7, STORE.checkpoint, STORE.read_tile)


def shell_checker() -> Path:
    for tool in ("bash", "openssl", "xxd", "base64"):
        if shutil.which(tool) is None:
            pytest.skip(f"THE SHELL CHECKER WAS NOT RUN: {tool} is not installed")
    return need("verifiers/check_receipt.sh")


def shell_holds(folder: Path, vkey: str, proof: bytes, entry: bytes) -> bool:
    script = shell_checker()
    (folder / "p").write_bytes(proof)
    (folder / "e").write_bytes(entry)
    done = subprocess.run(["bash", script, vkey, folder / "p", folder / "e"], capture_output=True, check=False)
    return done.returncode == 0


def test_worked_receipts_read_write_and_verify() -> None:
    vkey = vector("worked/small.json")["log_vkey"]
    for index, entry in enumerate(worked_entries()):
        data = need(f"vectors/audit/worked/entry-{index}.tlog-proof").read_bytes()
        parsed = parse_receipt(data)
        assert parsed.to_bytes() == data
        assert parsed.index == index
        assert data.startswith(receipt(index))  # theirs has a witness line more
        assert verify_receipt(vkey, data, entry).ok
        assert not verify_receipt(vkey, data, entry + b"x").ok


@pytest.mark.parametrize("case", range(27))
def test_shared_cases(case: int) -> None:
    document = vector("worked/tlog-proof-cases.json")
    want = document["cases"][case]
    finding = verify_receipt(document["log_vkey"], want["proof"].encode(), bytes.fromhex(want["leaf_hex"]))
    assert finding.ok == (want["want"] == "accept"), (want["name"], str(finding))


def test_the_shell_checker_agrees_on_our_receipts(tmp_path: Path) -> None:
    entries = [
        entry_bytes(Entry(EntryKind.ADMIN_ACTION, at, "key:ops", bytes(16), {"说": "é", "n": at})) for at in range(300)
    ]
    store, signer = filled(entries, batch=70)
    assert store.checkpoint is not None
    for index in (0, 255, 256, 299):
        proof = make_receipt(index, 300, store.checkpoint, store.read_tile)
        assert verify_receipt(signer.vkey, proof, entries[index]).ok
        assert shell_holds(tmp_path, signer.vkey, proof, entries[index])
        assert not shell_holds(tmp_path, signer.vkey, proof, entries[index - 1])


def test_every_changed_bit_is_found() -> None:
    entry, data = worked_entries()[3], receipt(3)
    assert verify_receipt(SIGNER.vkey, data, entry).ok
    for bit in range(8 * len(data)):
        assert not verify_receipt(SIGNER.vkey, flip(data, bit), entry).ok, bit
    for bit in range(8 * len(entry)):
        assert verify_receipt(SIGNER.vkey, data, flip(entry, bit)).code == "inclusion"


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.none() | st.binary(min_size=1, max_size=20),
)
def test_receipts_read_back(index: int, path: list[bytes], extra: bytes | None) -> None:
    made = Receipt(index, tuple(path), b"any note\n\n", extra)
    assert parse_receipt(made.to_bytes()) == made


def test_extra_data_is_carried_and_not_believed() -> None:
    parsed = parse_receipt(receipt(2))
    data = Receipt(parsed.index, parsed.path, parsed.checkpoint, b"hello").to_bytes()
    assert b"\nextra aGVsbG8=\nindex 2\n" in data
    assert parse_receipt(data).extra == b"hello"
    assert verify_receipt(SIGNER.vkey, data, worked_entries()[2]).ok


def test_impossible_receipts_are_not_written() -> None:
    for made in (Receipt(0, (bytes(31),), b""), Receipt(0, (), b"", b"")):
        with pytest.raises(ValueError):
            made.to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v1\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra aGVsbG9=\nindex 0\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra aGVsbG8=\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0 \n\nx",
        b"c2sp.org/tlog-proof@v1\nindex \xd9\xa7\n\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + b"A" * 43 + b"=\n" * 64 + b"\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\nx",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + bytes(2_000_000),
    ],
)
def test_malformed_receipts_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_receipt(data)
    assert verify_receipt(SIGNER.vkey, data, b"").code == "receipt"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.integers(0, 400))
def test_junk_never_raises(junk: bytes, at: int) -> None:
    data = receipt(1)
    for changed in (junk, data[:at] + junk, data[:at] + junk + data[at:]):
        finding = verify_receipt(SIGNER.vkey, changed, b"entry-1")
        assert not finding.ok or changed == data or parse_receipt(changed).path == parse_receipt(data).path
    assert not verify_receipt(junk.decode("latin-1"), data, b"entry-1").ok
