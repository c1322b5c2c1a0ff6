"""Detached JSON Web Signatures by Ed25519, and the keys that check them (RFC 7515, 7517, 7638, 7797, 8037).

A signature is the compact form `header..signature` with the payload left out (RFC 7515 appendix F) and not encoded
(`"b64": false`, RFC 7797), so that what is signed is what is kept: the bytes of the document themselves. One algorithm
is written and read, EdDSA with Ed25519; the header's own claim about it is compared, never obeyed (RFC 8725 3.1).

Reading is strict: unpadded base64url with one spelling for each value, a canonical header without unknown critical
members. Everything malformed is a `ValueError`; whether a signature holds is a truth value.

Stand-alone: standard library, `cryptography` and `canonical` beside it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from consent_gateway.audit.canonical import canonical_json

JWS_ALGORITHM = "EdDSA"
_CURVE = "Ed25519"
_PUBLIC_BYTES, _SIGNATURE_BYTES = 32, 64
_MAX_JWS = 100_000
_JWS_PARTS = 3


@dataclass(frozen=True, slots=True)
class Jwk:
    """A public Ed25519 key; its name is its thumbprint, so that nobody can claim another one's."""

    public: bytes

    @property
    def kid(self) -> str:
        """The thumbprint (RFC 7638; for OKP keys RFC 8037 section 2)."""
        members = {"crv": _CURVE, "kty": "OKP", "x": to_base64url(self.public)}
        return to_base64url(sha256(canonical_json(members)).digest())

    @property
    def members(self) -> dict[str, str]:
        """The key as JSON (RFC 8037 section 2)."""
        return {
            "alg": JWS_ALGORITHM,
            "crv": _CURVE,
            "kid": self.kid,
            "kty": "OKP",
            "use": "sig",
            "x": to_base64url(self.public),
        }

    def verifies(self, jws: DetachedJws, payload: bytes) -> bool:
        """Tell whether this key has signed `payload` under the header of `jws`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(
                jws.signature, _signing_input(jws.protected, payload)
            )
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class DetachedJws:
    """A signature as it was read: the protected header, as bytes of base64url and as values."""

    protected: str
    header: Mapping[str, object]
    signature: bytes


class JwsSigner:
    """A signing key (32-byte seed, RFC 8032), which never shows in a repr."""

    __slots__ = ("_private", "key")

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = Jwk(self._private.public_key().public_bytes_raw())

    def sign(self, payload: bytes, header: Mapping[str, object]) -> str:
        """Return the detached signature of `payload`; `header` are more members of the protected header."""
        members = {**header, "alg": JWS_ALGORITHM, "b64": False, "crit": ["b64"], "kid": self.key.kid}
        protected = to_base64url(canonical_json(members))
        return f"{protected}..{to_base64url(self._private.sign(_signing_input(protected, payload)))}"


def parse_jws(text: str) -> DetachedJws:
    """Return the detached signature in `text`; raises ValueError unless it is one of the form that is written here."""
    parts = text.split(".") if len(text) <= _MAX_JWS else []
    if len(parts) != _JWS_PARTS or parts[1]:
        raise ValueError("a detached signature is a header, two dots and a signature")
    raw, signature = from_base64url(parts[0]), from_base64url(parts[2])
    header = _json_object(raw)
    if canonical_json(header) != raw:
        raise ValueError("the header of the signature is not in canonical form")
    if header.get("alg") != JWS_ALGORITHM or header.get("b64") is not False or header.get("crit") != ["b64"]:
        raise ValueError("the signature is not EdDSA over an unencoded payload")
    if len(signature) != _SIGNATURE_BYTES:
        raise ValueError("the signature has a wrong length")
    return DetachedJws(parts[0], header, signature)


def parse_jwks(data: bytes) -> dict[str, Jwk]:
    """Return the keys of a JWK, or of a JWK set, by thumbprint; raises ValueError if there is none that is Ed25519.

    Keys of other kinds in a set are passed over (RFC 7517 section 5); a `kid` that is not the thumbprint is refused.
    """
    document = _json_object(data)
    held = document.get("keys", [document])
    members = [m for m in held if isinstance(m, dict)] if isinstance(held, list) else []
    keys = [_jwk_of(m) for m in members if m.get("kty") == "OKP" and m.get("crv") == _CURVE]
    if not keys:
        raise ValueError("there is no Ed25519 key")
    return {key.kid: key for key in keys}


def to_base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return the decoded bytes; raises ValueError unless `text` is exactly what `to_base64url` writes."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError("not base64url") from None
    if to_base64url(data) != text:  # also other alphabets, and padding bits that are not zero
        raise ValueError("not canonical base64url")
    return data


def _signing_input(protected: str, payload: bytes) -> bytes:
    """Return what is signed (RFC 7797 section 3)."""
    return protected.encode("ascii") + b"." + payload


def _json_object(data: bytes) -> dict[str, object]:
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None  # the original error quotes the data
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error type for refusals
    return found


def _jwk_of(members: dict[str, object]) -> Jwk:
    x = members.get("x")
    public = from_base64url(x) if isinstance(x, str) else b""
    if len(public) != _PUBLIC_BYTES:
        raise ValueError("an Ed25519 key has 32 bytes")
    key = Jwk(public)
    if members.get("kid", key.kid) != key.kid:
        raise ValueError("the name of the key is not its thumbprint")
    return key
