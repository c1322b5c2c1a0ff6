"""Receipts on the command line: verified without a store, keys printed from one, and one word for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent_gateway.audit.consent_receipts import sign_receipt
from consent_gateway.audit.jws import JwsSigner, parse_jwks
from consent_gateway.cli.main import cli
from consent_gateway.domain.records import kantara

SIGNER = JwsSigner(b"s" * 32)
KEY = json.dumps(SIGNER.key.members)
RECEIPT = {
    "version": kantara.VERSION,
    "jurisdiction": "DE",
    "consentTimestamp": 1,
    "collectionMethod": "form",
    "consentReceiptID": "urn:uuid:1",
    "piiPrincipalId": "p1-00",
    "piiControllers": [{"piiController": "Acme"}],
    "services": [{"service": "Shop", "purposes": []}],
    "policyUrl": "https://acme.example/privacy",
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_bytes(sign_receipt(SIGNER, RECEIPT))
    return path


def test_a_receipt_holds_with_a_key_file_and_with_the_key_itself(document: Path) -> None:
    file = document.with_name("keys.json")
    file.write_text(json.dumps({"keys": [SIGNER.key.members]}))
    for key in (file, KEY):
        done = run("receipts", "verify", document, "--key", key)
        assert (done.exit_code, done.output) == (0, f"ok receipt urn:uuid:1, key {SIGNER.key.kid}\n")


def test_what_is_wrong_is_said_in_one_line_and_to_programs(document: Path) -> None:
    document.write_bytes(document.read_bytes().replace(b'"DE"', b'"FR"'))
    done = run("receipts", "verify", document, "--key", KEY)
    assert (done.exit_code, done.output) == (1, "FAIL altered: changed since it was signed: jurisdiction\n")
    told = run("receipts", "verify", document, "--key", KEY, "--json")
    assert told.exit_code == 1
    assert json.loads(told.output) == {
        "ok": False,
        "code": "altered",
        "message": "changed since it was signed: jurisdiction",
    }


def test_another_key_and_no_key_are_told_apart(document: Path) -> None:
    other = json.dumps(JwsSigner(bytes(32)).key.members)
    assert "wrong_key" in run("receipts", "verify", document, "--key", other).output
    assert run("receipts", "verify", document, "--key", "nowhere").exit_code == 2
    assert run("receipts", "verify", document).exit_code == 2


def test_the_keys_of_a_store_are_printed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert run("init", "--store", store).exit_code == 0
    done = run("receipts", "keys", "--store", store)
    assert done.exit_code == 0
    assert len(parse_jwks(done.output.encode())) == 1
