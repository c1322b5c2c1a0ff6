"""Salted commitments: the log says *that* something was recorded, the side table says *what*.

    commitment = SHA-256("consent-gateway/commitment/v1" ‖ 0x00 ‖ salt ‖ payload)
    salt       = HMAC-SHA256(subject_key, uid ‖ name)

The tree keeps only the commitment. The salt is 32 bytes nobody can guess, so the commitment of a guessable
payload ("withdrew from e-mail") reveals nothing, and two entries with equal payloads look unrelated. Destroying
the one 32-byte subject key destroys every salt of that person at once, while every hash, proof and receipt stays
valid. Whoever was handed a salt before the erasure (the person's own bundle) can still prove the payload.

Stand-alone: only the standard library, nothing of this package.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

COMMITMENT_TAG = b"consent-gateway/commitment/v1\x00"
KEY_BYTES = 32
UID_BYTES = 16
COMMITMENT_BYTES = 32
NO_DETAILS = b"{}"
"""The payload where there is nothing to say but whom an entry is about: that, the salt says alone."""

_NAME_TAG = b"consent-gateway/payload-name/v1\x00"
_NAME_BYTES = 16


def opening_salt(subject_key: bytes, uid: bytes, name: str) -> bytes:
    """Return the 32-byte salt of the commitment `name` in the entry `uid`.

    `subject_key` is 32 bytes, `uid` 16. Disclose the salt only to the person or to whom they ask: with the
    payload it opens this one commitment and no other. Raises ValueError for other lengths.
    """
    if len(subject_key) != KEY_BYTES or len(uid) != UID_BYTES:
        raise ValueError("a commitment needs a 32-byte key and a 16-byte uid")
    # uid is of fixed length, so uid ‖ name has one reading only
    return hmac.digest(subject_key, uid + name.encode(), "sha256")


def payload_name(subject_key: bytes, kind: str, number: int) -> str:
    """Return by what a payload names a thing of ours that concerns the person: 32 hex digits, meaningless elsewhere.

    A payload leaves with the person's bundle, so that an internal number in it would tell how many came before, and
    would be the same in the bundles of everybody whom it concerns. Under the person's key it is theirs alone; whoever
    has the key and the number can show that it is that one.
    """
    said = _NAME_TAG + kind.encode() + b"\x00" + number.to_bytes(8, "big")
    return hmac.digest(subject_key, said, "sha256")[:_NAME_BYTES].hex()


def commit(subject_key: bytes, uid: bytes, name: str, payload: bytes) -> bytes:
    """Return the 32-byte commitment to `payload` (normally canonical JSON) under the salt of `opening_salt`."""
    return sha256(COMMITMENT_TAG + opening_salt(subject_key, uid, name) + payload).digest()


def verify_opening(commitment: bytes, salt: bytes, payload: bytes) -> bool:
    """Tell whether `salt` (32 bytes) and `payload` open `commitment`; needs no key and no server."""
    if len(salt) != KEY_BYTES:  # salt ‖ payload would have several readings otherwise
        return False
    return hmac.compare_digest(sha256(COMMITMENT_TAG + salt + payload).digest(), commitment)
