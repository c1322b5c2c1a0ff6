"""What belongs to nobody yet, sealed under the gateway's own data key: refused rows, strangers' signals, kept replies.

One person's key seals a handful of groups; this one serves all rows of that kind for as long as the store lives. So
that nobody has to count its messages it seals by XAES-256-GCM, whose nonces are random and 192 bits long:

    version (1 byte) | algorithm 2 (1) | key id (8) | nonce (24) | ciphertext and tag (n + 16)

Key, key id and AAD are made as in `envelope`, with another label for the key. What was sealed by algorithm 1 before
still opens; the header says which it is, and the AAD holds the header.
"""

from __future__ import annotations

import hmac
import secrets

from cryptography.exceptions import InvalidTag

from consent_gateway.vault.derivation import expand
from consent_gateway.vault.envelope import KEY_ID_BYTES, VERSION, DataKey, SealContext, aad_of
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.xaes import KEY_BYTES, NONCE_BYTES, TAG_BYTES, XaesGcm

ALGORITHM_XAES_256_GCM = 2
_PREFIX = bytes((VERSION, ALGORITHM_XAES_256_GCM))
_KEY_ID_AT = len(_PREFIX)
_NONCE_AT = _KEY_ID_AT + KEY_ID_BYTES
_BODY_AT = _NONCE_AT + NONCE_BYTES
OVERHEAD = _BODY_AT + TAG_BYTES


class SharedKey:
    """One DEK, expanded once, under which any number of pieces may be sealed."""

    __slots__ = ("_cipher", "_former")

    def __init__(self, dek: bytes) -> None:
        self._former = DataKey(dek)
        self._cipher = XaesGcm(expand(dek, b"consent-gateway/shared")[:KEY_BYTES])

    def seal(self, context: SealContext, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed to `context`; `OVERHEAD` bytes longer."""
        nonce, key_id = secrets.token_bytes(NONCE_BYTES), self._former.key_id
        body = self._cipher.encrypt(nonce, plaintext, aad_of(_PREFIX, key_id, context))
        return b"".join((_PREFIX, key_id, nonce, body))

    def open(self, context: SealContext, sealed: bytes) -> bytes:
        """Return the plaintext; `VaultError` unless `sealed` was made for this context under this DEK."""
        if sealed[:_KEY_ID_AT] != _PREFIX:
            return self._former.open(context, sealed)
        key_id = sealed[_KEY_ID_AT:_NONCE_AT]
        if len(sealed) < OVERHEAD or not hmac.compare_digest(key_id, self._former.key_id):
            raise VaultError
        aad = aad_of(_PREFIX, key_id, context)
        try:
            return self._cipher.decrypt(sealed[_NONCE_AT:_BODY_AT], sealed[_BODY_AT:], aad)
        except InvalidTag:
            raise VaultError from None
