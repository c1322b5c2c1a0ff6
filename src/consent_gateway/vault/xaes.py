"""XAES-256-GCM: AES-256-GCM with nonces of 192 bits, for a key under which more is sealed than random 96 bits allow.

Random nonces of 96 bits end at 2^32 messages per key (SP 800-38D section 8.3). With 192 bits the odds of a repeat after
2^80 messages are 2^-32, so that nothing has to be counted. Half of the nonce derives a key for each message, by two
blocks of CMAC (SP 800-108r1 in counter mode); the other half is the nonce of AES-GCM under it. Source: C2SP,
XAES-256-GCM. Like GCM it does not commit to its key: choose the key by an id, never by trial.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16
_HALF = 12
_BLOCK = 16
_TOP_BIT = 1 << 127
_BLOCK_MASK = (1 << 128) - 1
_POLYNOMIAL = 0x87  # of CMAC's subkeys: x^128 + x^7 + x^2 + x + 1 (SP 800-38B section 5.3)


class XaesGcm:
    """One key of 32 bytes; seals with nonces of 24 bytes. `ValueError` for any other size."""

    __slots__ = ("_blocks", "_subkey")

    def __init__(self, key: bytes) -> None:
        self._blocks = Cipher(AES256(key), ECB())  # noqa: S305 - the block cipher under CMAC, two blocks a message
        zero = int.from_bytes(self._blocks.encryptor().update(bytes(_BLOCK)), "big")
        self._subkey = ((zero << 1) & _BLOCK_MASK) ^ (_POLYNOMIAL if zero & _TOP_BIT else 0)

    def encrypt(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Return ciphertext and tag, 16 bytes longer than `plaintext`."""
        return AESGCM(self.derive(nonce)).encrypt(nonce[_HALF:], plaintext, aad)

    def decrypt(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        """Return the plaintext; `cryptography.exceptions.InvalidTag` unless all of it is genuine."""
        return AESGCM(self.derive(nonce)).decrypt(nonce[_HALF:], sealed, aad)

    def derive(self, nonce: bytes) -> bytes:
        """Return the AES-256 key of the messages whose nonce begins with the first 12 bytes of `nonce`."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError("the nonce must have 24 bytes")
        return self._blocks.encryptor().update(b"".join(self._input(n, nonce[:_HALF]) for n in (1, 2)))

    def _input(self, number: int, half: bytes) -> bytes:
        block = number.to_bytes(2, "big") + b"X\x00" + half
        return (int.from_bytes(block, "big") ^ self._subkey).to_bytes(_BLOCK, "big")
