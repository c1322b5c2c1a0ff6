"""Sealed groups: a subject's personal data at rest.

A group (contact, profile, sensitive, evidence) is sealed as a whole under the subject's DEK:

    version (1 byte) | algorithm (1) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag (n + 16)

The AES key and the key id are both expanded from the DEK (64 bytes of HKDF-Expand, SHA-512), so that the DEK itself
keys nothing but derivations. The AAD holds, length-prefixed: format, version and algorithm, subject, key id, schema
version, row version, group. Hence a blob opens only in its own row, column, schema and version, under its own key:
swapping two rows or two groups and putting an older blob under a newer version all fail, with the one `VaultError`. A
whole row that is put back with its own version opens: what was true then is then read as if it still were.

A nonce is random (96 bits). One DEK seals a handful of groups a few thousand times in a person's life, far below the
2^32 of SP 800-38D section 8.3; the row version counts them. The gateway's own key seals much more: see `shared_key`.
The key id is checked before decryption: GCM does not commit to its key.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent_gateway.vault.derivation import expand
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keys import DEK_BYTES

GROUPS = frozenset({"contact", "profile", "sensitive", "evidence", "audit_key"})
VERSION = 1
ALGORITHM_AES_256_GCM = 1
KEY_ID_BYTES = 8
NONCE_BYTES = 12
OVERHEAD = 2 + KEY_ID_BYTES + NONCE_BYTES + 16

_PREFIX = bytes((VERSION, ALGORITHM_AES_256_GCM))
_FORMAT = b"consent-gateway/sealed-group"
_NONCE_AT = len(_PREFIX) + KEY_ID_BYTES
_BODY_AT = _NONCE_AT + NONCE_BYTES
# `frame(_FORMAT, prefix, subject, key id, schema version, row version, group)`, laid out for one `pack`
_AAD = struct.Struct(f">I{len(_FORMAT)}s I2s IQ I8s II IQ I".replace(" ", ""))


@dataclass(frozen=True, slots=True)
class SealContext:
    """Where a sealed group belongs: subject (0 to 2^63-1), group, schema version (u32), row version (u64).

    `row_version` grows with each write of the row.
    Raises `ValueError` on construction if a part is out of its range.
    """

    subject_id: int
    group: str
    schema_version: int
    row_version: int

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError("unknown group")
        if not (0 <= self.subject_id < 1 << 63 and 0 <= self.schema_version < 1 << 32):
            raise ValueError("subject or schema version out of range")
        if not 0 <= self.row_version < 1 << 64:
            raise ValueError("row version out of range")


class DataKey:
    """One DEK, expanded once: seals and opens any number of its subject's groups. Do not keep it beyond the use."""

    __slots__ = ("_cipher", "key_id")

    def __init__(self, dek: bytes) -> None:
        if len(dek) != DEK_BYTES:
            raise VaultError
        material = expand(dek, b"consent-gateway/envelope")
        self.key_id = material[32 : 32 + KEY_ID_BYTES]
        self._cipher = AESGCM(material[:32])

    def seal(self, context: SealContext, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed to `context`; `OVERHEAD` bytes longer."""
        return self._seal(secrets.token_bytes(NONCE_BYTES), context, plaintext)

    @classmethod
    def seal_all(cls, people: Sequence[tuple[bytes, Sequence[tuple[SealContext, bytes]]]]) -> list[list[bytes]]:
        """Seal groups of many people, given by DEK and by context and plaintext; their nonces are drawn at once."""
        drawn = secrets.token_bytes(NONCE_BYTES * sum(len(groups) for _, groups in people))
        at, found = 0, []
        for dek, groups in people:
            seal, sealed = cls(dek)._seal, []  # noqa: SLF001 - our own
            for context, plaintext in groups:
                sealed.append(seal(drawn[at : at + NONCE_BYTES], context, plaintext))
                at += NONCE_BYTES
            found.append(sealed)
        return found

    def _seal(self, nonce: bytes, context: SealContext, plaintext: bytes) -> bytes:
        body = self._cipher.encrypt(nonce, plaintext, _aad(self.key_id, context))
        return b"".join((_PREFIX, self.key_id, nonce, body))

    def open(self, context: SealContext, sealed: bytes) -> bytes:
        """Return the plaintext; `VaultError` unless `sealed` was made for this context under this DEK."""
        key_id = sealed[len(_PREFIX) : _NONCE_AT]
        if len(sealed) < OVERHEAD or sealed[: len(_PREFIX)] != _PREFIX:
            raise VaultError
        if not hmac.compare_digest(key_id, self.key_id):
            raise VaultError
        try:
            return self._cipher.decrypt(sealed[_NONCE_AT:_BODY_AT], sealed[_BODY_AT:], _aad(key_id, context))
        except InvalidTag:
            raise VaultError from None


def seal(dek: bytes, context: SealContext, plaintext: bytes) -> bytes:
    """Seal one group under `dek` (32 bytes); for several groups of a subject make one `DataKey`."""
    return DataKey(dek).seal(context, plaintext)


def open_sealed(dek: bytes, context: SealContext, sealed: bytes) -> bytes:
    """Open one group; `VaultError` unless it was sealed for this context under this DEK."""
    return DataKey(dek).open(context, sealed)


def derive_audit_key(dek: bytes) -> bytes:
    """Return the 32-byte key of this subject's commitments in the audit log.

    It dies with the DEK, or, when that is replaced by another, lives on sealed under the other as one that opens former
    entries: after an erasure the commitments stay verifiable as bytes and can never be opened.
    """
    return expand(dek, b"consent-gateway/audit-commitment")[:32]


def _aad(key_id: bytes, context: SealContext) -> bytes:
    return aad_of(_PREFIX, key_id, context)


def aad_of(prefix: bytes, key_id: bytes, context: SealContext) -> bytes:
    """Return the AAD of a sealing that begins with `prefix` (version and algorithm) and `key_id`."""
    group = context.group.encode()
    fixed = _AAD.pack(
        len(_FORMAT), _FORMAT,
        2, prefix,
        8, context.subject_id,
        KEY_ID_BYTES, key_id,
        4, context.schema_version,
        8, context.row_version,
        len(group),
    )  # fmt: skip
    return fixed + group
