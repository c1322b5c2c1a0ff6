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

Invariants: resolving answers an id or None; a forged, foreign, expired or malformed text all give the same None, and
each costs one decryption and one comparison in constant time. Names move to another epoch by decrypting and encrypting
their blocks; nothing else of a person is needed for that.
"""

from __future__ import annotations

import hmac
import re
import struct
from array import array
from collections.abc import Container, Iterator, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

from consent_gateway.vault.custody import Custody, custody_of
from consent_gateway.vault.keyring import Keyring

BLOCK_BYTES = 16
MAX_CHARS = 44  # of a pseudonym as text
_ZEROS = bytes(8)
_MAX_EPOCH, _MAX_ID = (1 << 32) - 1, (1 << 63) - 1
_MAX_CIPHERS = 1024
_NO_EPOCH, _NO_BLOCK = 0, bytes(BLOCK_BYTES)
_PLAIN = struct.Struct(">8sQ")
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
        epoch, sealed = _parse(text)
        counts = sealed is not None and (epochs is None or epoch in epochs)
        # What does not count is decrypted all the same, under a key that is at hand: one way for every text.
        cipher = self._cipher(recipient, epoch if counts else _NO_EPOCH)
        block = cipher.decryptor().update(sealed or _NO_BLOCK)
        subject_id = int.from_bytes(block[8:], "big")
        genuine = hmac.compare_digest(block[:8], _ZEROS) and subject_id <= _MAX_ID
        return subject_id if genuine and counts else None

    def resolve_all(self, texts: Sequence[str], recipient: str, epochs: Container[int]) -> list[int | None]:
        """Return what `resolve` says of each of many texts, by one cipher call for each epoch that occurs."""
        places: dict[int, list[int]] = {}
        blocks: dict[int, bytearray] = {}
        for place, text in enumerate(texts):
            epoch, sealed = _parse(text)
            if sealed is not None and epoch in epochs:
                places.setdefault(epoch, []).append(place)
                blocks.setdefault(epoch, bytearray()).extend(sealed)
        found: list[int | None] = [None] * len(texts)
        for epoch, sealed_blocks in blocks.items():
            plain = self._cipher(recipient, epoch).decryptor().update(bytes(sealed_blocks))
            for place, subject_id in zip(places[epoch], _ids(plain), strict=True):
                found[place] = subject_id
        return found

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


def _parse(text: str) -> tuple[int, bytes | None]:
    """Return the epoch and the block of a text in the one spelling that counts; no block for any other text."""
    found = _TEXT.fullmatch(text)
    if found is None or (epoch := int(found[1])) > _MAX_EPOCH:
        return _NO_EPOCH, None
    return epoch, bytes.fromhex(found[2])


def _ids(plain: bytes) -> Iterator[int | None]:
    """Yield the id in each decrypted block, None where the redundancy says that the block was made up."""
    for zeros, subject_id in _PLAIN.iter_unpack(plain):
        yield subject_id if hmac.compare_digest(zeros, _ZEROS) and subject_id <= _MAX_ID else None


def _blocks(subject_ids: Sequence[int]) -> bytes:
    """Return the plaintext blocks: eight zero bytes and the id, big-endian; `ValueError` if out of range."""
    try:
        ids = struct.pack(f">{len(subject_ids)}q", *subject_ids)
    except struct.error:
        raise ValueError("subject id out of range") from None
    if min(subject_ids, default=0) < 0:
        raise ValueError("subject id out of range")
    blocks = array("q", bytes(BLOCK_BYTES * len(subject_ids)))
    blocks[1::2] = array("q", ids)  # bytes are copied as they are, whatever the order of this machine
    return blocks.tobytes()
