"""The letterbox: what is sealed while no key may be used, and opened when the keys are back.

Sealing needs the public half of an X25519 key alone, which is no secret; the private half derives from the root of a
key epoch. So a letter can be put in after the keys' time is over, nobody reads it until a key service opens the keyring
again, and it dies with its epoch in every copy, as everything of a person does. A letter is

    version (1 byte) | epoch (4, big-endian) | HPKE encapsulated key (32) and ciphertext with tag (n + 16)

by RFC 9180 in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM. Header and context are its
`info`, so that it opens in the place that it was put into and nowhere else; each has a key of its own, and no nonce can
repeat. Base mode names no sender: who can write into the store can put a letter in, which can only say no.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import Keyring

VERSION = 1
_DOMAIN = b"consent-gateway/letterbox"
_HEADER = struct.Struct(">BI")
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
OVERHEAD = _HEADER.size + 32 + 16


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The public half (32 bytes) of the key of one epoch."""

    epoch: int
    public: bytes

    @classmethod
    def of(cls, keyring: Keyring) -> Letterbox:
        """Return the letterbox of a keyring's current epoch."""
        epoch = keyring.current_epoch
        private = X25519PrivateKey.from_private_bytes(keyring.letterbox_key(epoch))
        return cls(epoch, private.public_key().public_bytes_raw())

    def seal(self, context: bytes, content: bytes) -> bytes:
        """Return `content` sealed and bound to `context`, `OVERHEAD` bytes longer."""
        header = _HEADER.pack(VERSION, self.epoch)
        return header + _SUITE.encrypt(content, X25519PublicKey.from_public_bytes(self.public), _info(header, context))


def open_letter(keyring: Keyring, context: bytes, sealed: bytes) -> bytes:
    """Return what was sealed for `context`; `VaultError` for any other bytes, place or epoch."""
    header = sealed[: _HEADER.size]
    if len(sealed) < OVERHEAD or header[0] != VERSION:
        raise VaultError
    try:
        private = X25519PrivateKey.from_private_bytes(keyring.letterbox_key(letter_epoch(sealed)))
        return _SUITE.decrypt(sealed[_HEADER.size :], private, _info(header, context))
    except (InvalidTag, KeyringError, ValueError):  # ValueError: a planted point of low order (RFC 7748 section 6.1)
        raise VaultError from None


def letter_epoch(sealed: bytes) -> int:
    """Return the epoch in a letter's header, which is authentic once the letter was opened."""
    return int.from_bytes(sealed[1 : _HEADER.size], "big")


def _info(header: bytes, context: bytes) -> bytes:
    return frame(_DOMAIN, header, context)
