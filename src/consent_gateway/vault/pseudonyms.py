"""Pairwise pseudonyms: what one recipient sees of a subject in one epoch.

A pseudonym is one AES-256 block: eight zero bytes, then the subject id as 8 bytes big-endian, encrypted under

    HKDF-SHA256(pseudonym root, salt empty, info = frame("pseudonym", recipient, epoch as 4 bytes big-endian), 32)

where `frame` puts a 4-byte big-endian length before each part. As text: `p`, the epoch in decimal, `-`, and the
block in 32 lower-case hex digits. To decode: derive the key from recipient and epoch, decrypt the block, require
the eight zero bytes, read the id. `tests/vectors/pseudonyms.json` has worked examples.

Why a permutation: pseudonyms of two recipients cannot be joined without the root, none has to be stored, a million
take one call, and two subjects never collide. The eight zero bytes are the redundancy that refuses forgeries: a
made-up block passes with odds of 2^-64, and must then hit a live subject. One block is the whole message, so the
usual objection to ECB (equal blocks show) is the very property wanted: equal subjects, equal pseudonyms.

Invariant: resolving answers an id or None; a forged, foreign, expired or malformed text all give the same None.
"""

from __future__ import annotations

import hmac
import re
import sys
from array import array
from collections.abc import Container, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

from consent_gateway.vault.custody import Custody, custody_of
from consent_gateway.vault.keyring import Keyring

BLOCK_BYTES = 16
_ZEROS = bytes(8)
_MAX_EPOCH = (1 << 32) - 1
_MAX_CIPHERS = 1024
_TEXT = re.compile(r"p(0|[1-9][0-9]{0,9})-([0-9a-f]{32})", re.ASCII)


class Pseudonymiser:
    """Turns subject ids (0 to 2^63-1) into pseudonyms for a recipient, and back, under the keyring in custody."""

    def __init__(self, held: Keyring | Custody) -> None:
        self._custody = custody_of(held)
        self._made: tuple[Keyring, dict[tuple[str, int], Cipher[ECB]]] = (self._custody.keyring, {})

    def pseudonym(self, subject_id: int, recipient: str, epoch: int) -> str:
        """Return the pseudonym of one subject; `ValueError` if the id or the epoch is out of range."""
        return self.bulk((subject_id,), recipient, epoch)[0]

    def bulk(self, subject_ids: Sequence[int], recipient: str, epoch: int) -> list[str]:
        """Return the pseudonyms of many subjects in their order, by one cipher call; errors as `pseudonym`."""
        if not subject_ids:
            return []
        blocks = self.bulk_bytes(subject_ids, recipient, epoch)
        prefix = f"p{epoch}-"
        return (prefix + blocks.hex("\n", BLOCK_BYTES).replace("\n", f"\n{prefix}")).split("\n")

    def bulk_bytes(self, subject_ids: Sequence[int], recipient: str, epoch: int) -> bytes:
        """Return the blocks of many subjects, 16 bytes each, concatenated in their order; errors as `pseudonym`."""
        encryptor = self._cipher(recipient, epoch).encryptor()
        return encryptor.update(_blocks(subject_ids))

    def resolve(self, text: str, recipient: str, epochs: Container[int] | None = None) -> int | None:
        """Return the subject behind `text` if it is a pseudonym made for `recipient`, else None.

        `epochs` limits which ones still count; without it the text's own epoch does.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        epoch = int(found[1])
        if epoch > _MAX_EPOCH or (epochs is not None and epoch not in epochs):
            return None
        block = self._cipher(recipient, epoch).decryptor().update(bytes.fromhex(found[2]))
        subject_id = int.from_bytes(block[8:], "big")
        genuine = hmac.compare_digest(block[:8], _ZEROS) and subject_id < 1 << 63
        return subject_id if genuine else None

    def _cipher(self, recipient: str, epoch: int) -> Cipher[ECB]:
        if not 0 <= epoch <= _MAX_EPOCH:
            raise ValueError("epoch out of range")
        keyring = self._custody.keyring
        made = self._made
        if made[0] is not keyring:  # ciphers go with their keyring, as one value
            made = self._made = (keyring, {})
        ciphers = made[1]
        cipher = ciphers.get((recipient, epoch))
        if cipher is None:
            if len(ciphers) >= _MAX_CIPHERS:
                ciphers.clear()
            key = keyring.pseudonym_key(recipient, epoch)
            cipher = Cipher(AES256(key), ECB())  # noqa: S305 - one block is the whole message, see above
            ciphers[recipient, epoch] = cipher
        return cipher


def _blocks(subject_ids: Sequence[int]) -> bytes:
    """Return the plaintext blocks: eight zero bytes and the id, big-endian; `ValueError` if out of range."""
    try:
        ids = array("q", subject_ids)
    except OverflowError:
        raise ValueError("subject id out of range") from None
    if ids and min(ids) < 0:
        raise ValueError("subject id out of range")
    blocks = array("q", bytes(BLOCK_BYTES * len(ids)))
    blocks[1::2] = ids
    if sys.byteorder == "little":
        blocks.byteswap()
    return blocks.tobytes()
