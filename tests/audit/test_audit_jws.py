"""Detached signatures: the vectors of RFC 8037, what a stranger's library would compute, and one spelling only."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.jws import Jwk, JwsSigner, from_base64url, parse_jwks, parse_jws, to_base64url

# RFC 8037 appendix A: the key of A.1 and A.2, its thumbprint of A.3, the signature of A.4.
SEED = from_base64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC_INPUT = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
RFC_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
SIGNER = JwsSigner(SEED)


def test_the_key_and_its_thumbprint_are_those_of_the_rfc() -> None:
    assert SIGNER.key.members == {
        "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": THUMBPRINT, "alg": "EdDSA", "use": "sig",
    }  # fmt: skip


def test_the_signature_of_the_rfc_verifies_under_our_key() -> None:
    Ed25519PublicKey.from_public_bytes(SIGNER.key.public).verify(from_base64url(RFC_SIGNATURE), RFC_INPUT)


def test_what_is_signed_is_what_rfc_7797_says() -> None:
    """Recomputed with nothing of ours: ASCII(BASE64URL(header)) || '.' || payload, payload as it is."""
    payload = '{"a":"ü.$"}'.encode()
    protected, empty, signature = SIGNER.sign(payload, {"typ": "x"}).split(".")
    assert empty == ""
    header = json.loads(base64.urlsafe_b64decode(protected + "=="))
    assert header == {"alg": "EdDSA", "b64": False, "crit": ["b64"], "kid": THUMBPRINT, "typ": "x"}
    raw = base64.urlsafe_b64decode(signature + "==")
    key = Ed25519PublicKey.from_public_bytes(SIGNER.key.public)
    key.verify(raw, protected.encode() + b"." + payload)
    with pytest.raises(InvalidSignature):
        key.verify(raw, protected.encode() + b"." + base64.urlsafe_b64encode(payload).rstrip(b"="))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signature_holds_for_its_payload_alone(payload: bytes, other: bytes) -> None:
    jws = parse_jws(SIGNER.sign(payload, {}))
    assert SIGNER.key.verifies(jws, payload)
    assert SIGNER.key.verifies(jws, other) == (payload == other)
    assert not JwsSigner(bytes(32)).key.verifies(jws, payload)


@given(st.binary(max_size=80))
def test_bytes_have_one_spelling(data: bytes) -> None:
    assert from_base64url(to_base64url(data)) == data


@pytest.mark.parametrize("text", ["A", "AB==", "A+A", "AAB", "A A", "é", "AA\n"])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_base64url(text)


def forged(header: object, signature: str = to_base64url(bytes(64))) -> str:
    return f"{to_base64url(canonical_json(header))}..{signature}"


GOOD = {"alg": "EdDSA", "b64": False, "crit": ["b64"], "kid": THUMBPRINT}


@pytest.mark.parametrize(
    "text",
    [
        "", "a.b", "..", "a.b.c", forged(GOOD).replace("..", ".e30."), forged([]), forged(GOOD, "AA"),
        forged(GOOD | {"alg": "none"}), forged(GOOD | {"alg": "HS256"}), forged(GOOD | {"b64": True}),
        forged(GOOD | {"crit": ["b64", "x"]}), forged({k: v for k, v in GOOD.items() if k != "crit"}),
        f"{to_base64url(json.dumps(GOOD).encode())}..{to_base64url(bytes(64))}", "x" * 200_000,
    ],
)  # fmt: skip
def test_signatures_of_another_form_are_refused(text: str) -> None:
    """Among them another algorithm, an encoded payload, and critical members nobody here understands."""
    assert parse_jws(forged(GOOD)).header == GOOD
    with pytest.raises(ValueError):
        parse_jws(text)


def test_a_set_of_keys_gives_those_that_can_be_used() -> None:
    other = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
    found = parse_jwks(json.dumps({"keys": [other, SIGNER.key.members]}).encode())
    assert found == {THUMBPRINT: SIGNER.key}
    assert parse_jwks(json.dumps(SIGNER.key.members).encode()) == found


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"{}", b'{"keys":1}', b'{"keys":[1]}', b"\xff",
        json.dumps(SIGNER.key.members | {"x": "AA"}).encode(),
        json.dumps(SIGNER.key.members | {"kid": "mine"}).encode(),
        json.dumps(SIGNER.key.members | {"kty": "EC"}).encode(),
    ],
)  # fmt: skip
def test_files_without_a_usable_key_are_refused(document: bytes) -> None:
    with pytest.raises(ValueError):
        parse_jwks(document)


def test_the_seed_shows_nowhere() -> None:
    assert SEED.hex() not in repr(SIGNER)
    assert not hasattr(SIGNER, "__dict__")
    assert Jwk(SIGNER.key.public) == SIGNER.key
