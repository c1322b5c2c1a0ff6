"""A receipt is checked with the file and the key alone: every change is found, and what was changed is said."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit import consent_receipts, jws
from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.commitments import commit, opening_salt
from consent_gateway.audit.consent_receipts import receipt_payload, sign_receipt, verify_document
from consent_gateway.audit.entries import Entry, EntryKind, entry_bytes
from consent_gateway.audit.jws import JwsSigner, to_base64url
from consent_gateway.audit.singlefile import build_single_file
from consent_gateway.audit.verifier import Finding

SIGNER = JwsSigner(b"s" * 32)
KEY = json.dumps(SIGNER.key.members).encode()
AUDIT_KEY, UID = b"k" * 32, b"u" * 16
RECEIPT: dict[str, Any] = {
    "schema_version": "ISO/IEC TS 27560:2023",
    "receipt_id": "urn:uuid:1",
    "record_id": "urn:uuid:2",
    "pii_principal_id": "p1-00",
    "processing": [
        {
            "privacy_notice": {"id": "privacy", "version": 3},
            "language": "en",
            "purpose": "https://w3id.org/dpv#DirectMarketing",
            "pii_information": [{"pii_type": "https://w3id.org/dpv/pd#EmailAddress", "pii_optional": False}],
            "pii_controllers": ["self"],
            "storage_locations": ["DE"],
            "retention_period": "P2Y",
            "jurisdiction": ["DE"],
            "recipient_third_parties": ["self"],
            "withdrawal_method": "Abmelden – 退订",
        }
    ],
    "parties": [
        {
            "party_id": "self",
            "party_name": "Acme",
            "party_address": "x",
            "party_contact": "y",
            "party_type": "controller",
        }
    ],
    "events": [
        {
            "event_time": "2026-11-18T12:00:00Z",
            "validity_duration": "until withdrawn",
            "entity_id": "p1-00",
            "event_type": "https://w3id.org/dpv#ExpressedConsent",
            "event_state": "https://w3id.org/dpv#ConsentGiven",
        }
    ],
    "log": {"origin": "test", "entry": UID.hex(), "salt": opening_salt(AUDIT_KEY, UID, "subject").hex()},
}
DOCUMENT = sign_receipt(SIGNER, RECEIPT)


def an_entry(receipt: dict[str, Any], uid: bytes = UID) -> bytes:
    commitments = {"subject": commit(AUDIT_KEY, uid, "subject", receipt_payload(receipt))}
    return entry_bytes(Entry(EntryKind.RECEIPT_ISSUED, 1, "system", uid, {}, commitments))


def code(document: bytes, key: bytes = KEY, entry: bytes | None = None) -> str:
    return verify_document(document, key, entry).code


def changed(**members: Any) -> bytes:
    """The document with other members in its receipt, spelt as it should be."""
    held = json.loads(DOCUMENT)
    return canonical_json({"receipt": held["receipt"] | members, "signature": held["signature"]})


def test_a_receipt_as_it_was_issued_holds() -> None:
    found = verify_document(DOCUMENT, KEY, an_entry(RECEIPT))
    assert found.ok
    assert SIGNER.key.kid in found.message
    assert "urn:uuid:1" in found.message


def test_every_changed_byte_is_found() -> None:
    for at, byte in enumerate(DOCUMENT):
        for other in (byte ^ 1, byte ^ 0x20, byte ^ 0x80):
            assert not verify_document(DOCUMENT[:at] + bytes([other]) + DOCUMENT[at + 1 :], KEY).ok, (at, other)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, len(DOCUMENT)), st.integers(0, 40), st.binary(max_size=40))
def test_every_insertion_removal_and_replacement_is_found(at: int, cut: int, put: bytes) -> None:
    other = DOCUMENT[:at] + put + DOCUMENT[at + cut :]
    assert verify_document(other, KEY).ok == (other == DOCUMENT)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_rubbish_never_raises(data: bytes) -> None:
    assert not verify_document(data, KEY).ok
    assert not verify_document(DOCUMENT, data).ok
    assert code(DOCUMENT, KEY, data) == "log"


@pytest.mark.parametrize("member", sorted(RECEIPT))
def test_the_altered_member_is_named(member: str) -> None:
    found = verify_document(changed(**{member: "other"}), KEY)
    assert found.code == "altered"
    assert found.message.endswith(f": {member}")


def test_members_that_were_added_or_taken_away_are_named() -> None:
    assert verify_document(changed(extra=1), KEY).message.endswith(": extra")
    held = json.loads(DOCUMENT)
    del held["receipt"]["events"]
    assert verify_document(canonical_json(held), KEY).message.endswith(": events")


def test_what_is_wrong_is_told_apart() -> None:
    held = json.loads(DOCUMENT)
    protected, _, signature = held["signature"].partition("..")
    flipped = canonical_json(held | {"signature": f"{protected}..{'B' + signature[1:]}"})
    assert code(flipped) == "signature"
    assert code(DOCUMENT, json.dumps(JwsSigner(bytes(32)).key.members).encode()) == "wrong_key"
    assert code(DOCUMENT, b"{}") == "key"
    assert code(json.dumps(held).encode()) == "canonical"
    assert code(DOCUMENT + b"\n") == "canonical"
    assert code(DOCUMENT.replace(b'{"receipt"', b'{"receipt":{},"receipt"', 1)) == "canonical"
    assert code(b"{}") == code(b"\xff") == code(canonical_json(held | {"more": 1})) == "schema"
    assert code(canonical_json(held | {"signature": "x"})) == "signature_form"


@pytest.mark.parametrize("part", ["processing", "parties", "events"])
def test_a_signed_receipt_that_lacks_a_mandatory_member_is_found(part: str) -> None:
    for name in {"processing": consent_receipts._ISO_PROCESSING, **consent_receipts._ISO_PARTS}[part]:
        cut = {k: v for k, v in RECEIPT[part][0].items() if k != name}
        for item in (cut, cut | {name: ""}):
            found = verify_document(sign_receipt(SIGNER, RECEIPT | {part: [item]}), KEY)
            assert (found.code, found.message) == ("schema", f"{part} lacks {name}")


def test_something_else_under_the_same_key_is_no_receipt() -> None:
    other = canonical_json({"receipt": RECEIPT, "signature": SIGNER.sign(canonical_json(RECEIPT), {"typ": "letter"})})
    assert code(other) == "signature_form"


def test_the_entry_must_be_its_own_and_commit_to_it() -> None:
    assert code(DOCUMENT, KEY, an_entry(RECEIPT)) == "ok"
    assert code(DOCUMENT, KEY, an_entry(RECEIPT | {"language": "fr"})) == "log"
    assert code(DOCUMENT, KEY, an_entry(RECEIPT, b"v" * 16)) == "log"
    assert code(DOCUMENT, KEY, b"{}") == "log"
    bare = sign_receipt(SIGNER, {k: v for k, v in RECEIPT.items() if k != "log"})
    assert code(bare, KEY, an_entry(RECEIPT)) == "log"


def bare(**more: object) -> bytes:
    return sign_receipt(SIGNER, {k: v for k, v in RECEIPT.items() if k != "log"} | more)


KANTARA = {"version": "1", **dict.fromkeys(consent_receipts._KANTARA_TOP, "x"), "consentReceiptID": "k-1"}


@pytest.mark.parametrize(("document", "key", "entry", "found"), [
    (b"{", KEY, None, ("schema", "the file is not JSON in UTF-8")),
    (b"\xff", KEY, None, ("schema", "the file is not JSON in UTF-8")),
    (b"[" * 100_000, KEY, None, ("schema", "the file is not JSON in UTF-8")),
    (b"{}", KEY, None, ("schema", "a document has a receipt and a signature, and nothing else")),
    (DOCUMENT[:-1] + b" " * 4_000_000 + b"}", KEY, None,
     ("schema", "a document has a receipt and a signature, and nothing else")),
    (DOCUMENT + b"\n", KEY, None, ("canonical", "the file is not byte for byte as it was issued (RFC 8785)")),
    (DOCUMENT.replace(b'"version":3', b'"version":3.5'), KEY, None, ("canonical", "float has no canonical form here")),
    (DOCUMENT, b"{}", None, ("key", "there is no Ed25519 key")),
    (canonical_json({"receipt": {}, "signature": "x"}), KEY, None,
     ("signature_form", "a detached signature is a header, two dots and a signature")),
    (DOCUMENT, json.dumps(JwsSigner(bytes(32)).key.members).encode(), None,
     ("wrong_key", "it is signed by a key that was not given")),
    (canonical_json({"receipt": RECEIPT, "signature": SIGNER.sign(canonical_json(RECEIPT), {"typ": "letter"})}), KEY, None,
     ("signature_form", "the signature is for something else than a receipt")),
    (canonical_json({"receipt": RECEIPT, "signature": SIGNER.sign(b"x", {"typ": "consent-receipt"})}), KEY, None,
     ("signature", "the signature does not hold")),
    (changed(language="fr", record_id="x"), KEY, None, ("altered", "changed since it was signed: language, record_id")),
    (sign_receipt(SIGNER, {"schema_version": "1"}), KEY, None, ("schema", "receipt lacks receipt_id")),
    (sign_receipt(SIGNER, RECEIPT | {"parties": []}), KEY, None, ("schema", "receipt lacks parties")),
    (sign_receipt(SIGNER, RECEIPT | {"parties": [1]}), KEY, None, ("schema", "parties lacks party_id")),
    (sign_receipt(SIGNER, RECEIPT | {"processing": [RECEIPT["processing"][0] | {"pii_information": [{"x": 1}]}]}), KEY, None,
     ("schema", "pii_information lacks pii_type")),
    (sign_receipt(SIGNER, {}), KEY, None, ("schema", "receipt lacks version")),
    (sign_receipt(SIGNER, {"version": "1"}), KEY, None, ("schema", "receipt lacks jurisdiction")),
    (sign_receipt(SIGNER, KANTARA | {"policyUrl": {}}), KEY, None, ("schema", "receipt lacks policyUrl")),
    (DOCUMENT, KEY, b"{}", ("log", "the entry has no such commitment")),
    (DOCUMENT, KEY, b"[]", ("log", "the entry has no such commitment")),
    (DOCUMENT, KEY, an_entry(RECEIPT).replace(b'"subject"', b'"other"'), ("log", "the entry has no such commitment")),
    (bare(), KEY, an_entry(RECEIPT), ("log", "the receipt names no entry of a log")),
    (bare(log={"entry": UID.hex(), "salt": "xx"}), KEY, an_entry(RECEIPT), ("log", "the entry has no such commitment")),
    (DOCUMENT, KEY, an_entry(RECEIPT, b"v" * 16), ("log", "the receipt names another entry")),
    (DOCUMENT, KEY, an_entry(RECEIPT | {"language": "fr"}), ("log", "the entry commits to another receipt")),
])  # fmt: skip
def test_what_does_not_hold_is_told_to_the_letter(
    document: bytes, key: bytes, entry: bytes | None, found: tuple[str, str]
) -> None:
    code_, words = found
    assert verify_document(document, key, entry) == Finding(ok=False, code=code_, message=words)


def test_what_holds_names_the_receipt_and_its_key() -> None:
    kid = SIGNER.key.kid
    for document, name in ((DOCUMENT, "urn:uuid:1"), (sign_receipt(SIGNER, KANTARA), "k-1")):
        assert verify_document(document, KEY) == Finding(ok=True, code="ok", message=f"receipt {name}, key {kid}")
    signed = json.loads(DOCUMENT)["signature"]
    header = json.loads(jws.from_base64url(signed.partition(".")[0]))
    assert header["typ"] == "consent-receipt"
    assert header["digests"] == {
        name: sha256(canonical_json(value)).hexdigest()[:16] for name, value in RECEIPT.items()
    }


def test_a_document_of_four_million_bytes_is_read() -> None:
    room = 4_000_000 - len(DOCUMENT) - len(canonical_json({"extra": ""})) + 1
    large = sign_receipt(SIGNER, RECEIPT | {"extra": "x" * (room - 100)})
    assert 3_900_000 < len(large) <= 4_000_000
    assert verify_document(large, KEY).ok


def test_the_payload_is_the_digest_of_the_receipt() -> None:
    assert json.loads(receipt_payload(RECEIPT)) == {"receipt_sha256": sha256(canonical_json(RECEIPT)).hexdigest()}


def test_the_single_file_says_the_same(tmp_path: Path) -> None:
    script = tmp_path / "verify.py"
    script.write_text(build_single_file())
    files = {"good": DOCUMENT, "bad": changed(language="fr"), "keys": KEY, "entry": an_entry(RECEIPT)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def run(*names: str) -> tuple[int, str]:
        command = [sys.executable, "-I", str(script), "consent", *(str(tmp_path / n) for n in names)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert run("good", "keys", "entry")[0] == 0
    assert run("bad", "keys") == (1, "FAIL altered: changed since it was signed: language\n")
    assert run("good", "missing")[0] == 1


def test_a_planted_hole_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that forgets the signature lets an altered receipt pass, and the tests above go red."""
    monkeypatch.setattr(jws.Jwk, "verifies", lambda *_: True)
    with pytest.raises(AssertionError):
        test_every_changed_byte_is_found()


def test_a_second_spelling_of_the_signature_is_refused() -> None:
    """The last character of 64 bytes in base64url has four bits that mean nothing."""
    held = json.loads(DOCUMENT)
    text = held["signature"]
    assert to_base64url(bytes(64))[-1] == "A"
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        if last != text[-1]:
            assert not verify_document(canonical_json(held | {"signature": text[:-1] + last}), KEY).ok
