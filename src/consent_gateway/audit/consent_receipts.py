"""Consent receipts as documents: sign one, and check one with nothing but the file and the public key.

A document is `{"receipt": {...}, "signature": "header..signature"}` as canonical JSON (RFC 8785), and the detached
signature covers the canonical bytes of `receipt`. The header also names a short digest of each member of the receipt:
they prove nothing by themselves, but where the signature does not hold they say which part was altered.

A check says the first thing that is wrong, by a stable code:

- `schema`         not a document of this form, or a mandatory member of the receipt is absent or empty
- `canonical`      not byte for byte as it was issued: other white space, order, spelling, or a doubled name
- `signature_form` the signature is not one of the form that is written here
- `key`            the key file holds no key that can be used
- `wrong_key`      signed by a key that is not among those given
- `altered`        members of the receipt that were changed since
- `signature`      the signature does not hold, and the members are those that its header names
- `log`            the entry of the log is another one, or commits to another receipt

Stand-alone like `verifier`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TypeVar

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.commitments import verify_opening
from consent_gateway.audit.jws import DetachedJws, Jwk, JwsSigner, parse_jwks, parse_jws
from consent_gateway.audit.verifier.findings import Finding

_Read = TypeVar("_Read")
RECEIPT_COMMITMENT = "subject"  # the name of the commitment in the entry `receipt.issued`
_MAX_DOCUMENT = 4_000_000
_DIGEST_BYTES = 8
_TYPE = "consent-receipt"
_ISO_PROCESSING = [
    "privacy_notice",
    "language",
    "purpose",
    "pii_information",
    "pii_controllers",
    "storage_locations",
    "retention_period",
    "jurisdiction",
    "recipient_third_parties",
    "withdrawal_method",
]
_ISO_PARTS = {
    "processing": _ISO_PROCESSING,
    "parties": ["party_id", "party_name", "party_address", "party_contact", "party_type"],
    "events": ["event_time", "validity_duration", "entity_id", "event_type", "event_state"],
}
_ISO_TOP = ["receipt_id", "record_id", "pii_principal_id", *_ISO_PARTS]
_KANTARA_TOP = [
    "jurisdiction",
    "consentTimestamp",
    "collectionMethod",
    "consentReceiptID",
    "piiPrincipalId",
    "piiControllers",
    "services",
    "policyUrl",
]


def sign_receipt(signer: JwsSigner, receipt: Mapping[str, object]) -> bytes:
    """Return the document of a receipt as canonical JSON; ValueError if the receipt has no canonical form."""
    header = {"typ": _TYPE, "digests": _digests(receipt)}
    signature = signer.sign(canonical_json(receipt), header)
    return canonical_json({"receipt": receipt, "signature": signature})


def receipt_payload(receipt: Mapping[str, object]) -> bytes:
    """Return what the log's entry commits to: the SHA-256 of the receipt, as canonical JSON."""
    return canonical_json({"receipt_sha256": sha256(canonical_json(receipt)).hexdigest()})


def verify_document(document: bytes, key: bytes, entry: bytes | None = None) -> Finding:
    """Check a receipt with a JWK or JWK set and, if it is given, with the bytes of its entry in the log.

    That the log holds the entry is for `verifier.verify_receipt`.
    """
    try:
        receipt, jws_text = _parts_of(document)
        jws = _as_finding("signature_form", lambda: parse_jws(jws_text))
        keys = _as_finding("key", lambda: parse_jwks(key))
        _check_signature(receipt, jws, keys)
        _check_schema(receipt)
        if entry is not None:
            _check_entry(receipt, entry)
    except _WrongError as found:
        return Finding(ok=False, code=found.code, message=str(found))
    name = receipt.get("receipt_id", receipt.get("consentReceiptID"))
    return Finding(ok=True, code="ok", message=f"receipt {name}, key {jws.header['kid']}")


class _WrongError(Exception):
    """Carries the first thing that is wrong; never leaves this module."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _as_finding(code: str, read: Callable[[], _Read]) -> _Read:
    """Return what `read` returns, its ValueError turned into a finding."""
    try:
        return read()
    except ValueError as error:
        raise _WrongError(code, str(error)) from None


def _parts_of(document: bytes) -> tuple[dict[str, object], str]:
    """Return the receipt and the text of its signature; the document is exactly as `sign_receipt` writes it."""
    try:
        found = json.loads(document.decode()) if len(document) <= _MAX_DOCUMENT else None
    except (ValueError, RecursionError):
        raise _WrongError("schema", "the file is not JSON in UTF-8") from None
    match found:
        case {"receipt": dict(receipt), "signature": str(signature), **more} if not more:
            pass
        case _:
            raise _WrongError("schema", "a document has a receipt and a signature, and nothing else")
    if _as_finding("canonical", lambda: canonical_json(found)) != document:
        raise _WrongError("canonical", "the file is not byte for byte as it was issued (RFC 8785)")
    return receipt, signature


def _check_signature(receipt: Mapping[str, object], jws: DetachedJws, keys: Mapping[str, Jwk]) -> None:
    held = keys.get(str(jws.header.get("kid")))
    if held is None:
        raise _WrongError("wrong_key", "it is signed by a key that was not given")
    if held.verifies(jws, canonical_json(receipt)):
        if jws.header.get("typ") != _TYPE:
            raise _WrongError("signature_form", "the signature is for something else than a receipt")
        return
    named = jws.header.get("digests")
    digests = _digests(receipt)
    if isinstance(named, dict) and (altered := sorted(n for n in {*named, *digests} if named.get(n) != digests.get(n))):
        raise _WrongError("altered", f"changed since it was signed: {', '.join(altered)}")
    raise _WrongError("signature", "the signature does not hold")


def _check_schema(receipt: Mapping[str, object]) -> None:
    """Raise at the first mandatory member that is absent or empty (ISO/IEC TS 27560, or Kantara 1.1)."""
    if "schema_version" not in receipt:
        _require(receipt, ["version", *_KANTARA_TOP], "receipt")
        return
    _require(receipt, _ISO_TOP, "receipt")
    for part, names in _ISO_PARTS.items():
        items = receipt[part]
        for item in items if isinstance(items, list) else []:
            _require(item, names, part)
    for processing in _objects(receipt["processing"]):
        for item in _objects(processing["pii_information"]):
            _require(item, ["pii_type"], "pii_information")


def _require(item: object, names: list[str], where: str) -> None:
    for name in names:
        if not isinstance(item, Mapping) or item.get(name) in (None, "", [], {}):
            raise _WrongError("schema", f"{where} lacks {name}")


def _objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _check_entry(receipt: Mapping[str, object], entry: bytes) -> None:
    try:
        said = json.loads(entry.decode())
        commitment = bytes.fromhex(said["commitments"][RECEIPT_COMMITMENT])
        match receipt.get("log"):
            case {"entry": str(uid), "salt": str(salt)}:
                opening = bytes.fromhex(salt)
            case _:
                raise _WrongError("log", "the receipt names no entry of a log")
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _WrongError("log", "the entry has no such commitment") from None
    if said.get("uid") != uid:
        raise _WrongError("log", "the receipt names another entry")
    if not verify_opening(commitment, opening, receipt_payload(receipt)):
        raise _WrongError("log", "the entry commits to another receipt")


def _digests(receipt: Mapping[str, object]) -> dict[str, str]:
    """Return a short digest of each member."""
    return {n: sha256(canonical_json(value)).digest()[:_DIGEST_BYTES].hex() for n, value in receipt.items()}
