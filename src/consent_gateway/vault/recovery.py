"""Sealing to a recovery key: how a keyring is opened when its passphrase, secret or key service is lost.

The recovery key is an X25519 key (RFC 7748). Its private half exists only in shares (see `shares`); the keyring file
holds the public half and, beside each root's own wrap, one to the recovery key, so that new roots are covered without
asking the custodians. A wrap is

    ephemeral public key (32 bytes) | AES-256-SIV of the secret (16 + n)

under HKDF-SHA256(X25519(ephemeral, recovery), info = frame(domain, ephemeral, recovery), 64). Each has a key of its
own, and the context is its AAD. The sender is not authenticated by it: the keyring's manifest does that.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import derive

KEY_BYTES = 32
MAX_SHARES = 255
_DOMAIN = b"consent-gateway/recovery"
_TAG_BYTES = 16
NOT_RECOVERED = "These shares do not open this keyring"


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """The public half (32 bytes), and into how many shares the other half was split, of which how many are needed."""

    public: bytes
    threshold: int
    count: int

    def __post_init__(self) -> None:
        if len(self.public) != KEY_BYTES or not 2 <= self.threshold <= self.count <= MAX_SHARES:  # noqa: PLR2004 - one share is no sharing
            raise ValueError("not a recovery key")

    def seal(self, secret: bytes, context: bytes) -> bytes:
        """Return `secret` sealed to this key and bound to `context`."""
        ephemeral = X25519PrivateKey.generate()
        sender = ephemeral.public_key().public_bytes_raw()
        return sender + _cipher(ephemeral, self.public, sender, self.public).encrypt(secret, [_DOMAIN, context])


def public_of(private: bytes) -> bytes:
    """Return the public half of a private recovery key (32 bytes)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def unseal(private: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return what was sealed to the key for `context`; `KeyringError` for another key or context, or damage."""
    if len(sealed) < KEY_BYTES + _TAG_BYTES:
        raise KeyringError(NOT_RECOVERED)
    sender, body = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    own = X25519PrivateKey.from_private_bytes(private)
    try:
        cipher = _cipher(own, sender, sender, own.public_key().public_bytes_raw())
        return cipher.decrypt(body, [_DOMAIN, context])
    except (InvalidTag, ValueError):  # ValueError: a planted point of low order (RFC 7748 section 6.1)
        raise KeyringError(NOT_RECOVERED) from None


def _cipher(own: X25519PrivateKey, other: bytes, sender: bytes, recipient: bytes) -> AESSIV:
    shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    return AESSIV(derive(shared, 64, _DOMAIN, sender, recipient))
