"""Shares: one 32-byte secret held by `n` custodians, of whom any `k` together have it and fewer have nothing.

Shamir's scheme over GF(2^8) with the AES polynomial 0x11b: each byte of the secret is the value at 0 of a random
polynomial of degree k - 1, and share i holds the values at i (1 to 255). Fewer than k shares are independent of the
secret, whatever computing power there is.

A share is 45 bytes: version (1) | set (5) | threshold (1) | count (1) | index (1) | values (32) | checksum (4). As
text: `cgs1-` and 72 characters of base 32 (RFC 4648) in groups of four; case, spaces and line breaks do not count.

The set names the secret's recovery key, so that shares of two sets are never mixed. The checksum (SHA-256 over the
rest) finds slips of the pen, not malice: a forged share shows when the combined key is not the one of the set.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from consent_gateway.errors import InputError
from consent_gateway.vault.recovery import KEY_BYTES, MAX_SHARES, public_of

VERSION = 1
SET_BYTES = 5
PREFIX = "cgs1"
_CHECK_BYTES = 4
_HEAD = 1 + SET_BYTES + 3
_WHOLE = _HEAD + KEY_BYTES + _CHECK_BYTES
_LOW = 0x1B  # x^8 = x^4 + x^3 + x + 1 in AES's field (FIPS 197 section 4.2)


@dataclass(frozen=True, slots=True)
class Share:
    """One custodian's part: which set it is of, how many are needed of how many, its index, its values."""

    set_id: bytes
    threshold: int
    count: int
    index: int
    values: bytes = field(repr=False)

    def text(self) -> str:
        """Return the share to print: `cgs1-XXXX-XXXX-...`, 95 characters."""
        head = bytes((VERSION, *self.set_id, self.threshold, self.count, self.index))
        letters = base64.b32encode(head + self.values + _checksum(head + self.values)).decode()
        return "-".join((PREFIX, *(letters[at : at + 4] for at in range(0, len(letters), 4))))

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read a printed share; `InputError` that never quotes it if it is none, or has a slip."""
        letters = re.sub(r"[\s-]", "", text).upper()
        try:
            raw = base64.b32decode(letters.removeprefix(PREFIX.upper()).encode("ascii"))
        except ValueError:
            raise InputError("A share is not readable: it has characters that shares do not have") from None
        body = raw[:-_CHECK_BYTES]
        if not letters.startswith(PREFIX.upper()) or len(raw) != _WHOLE or raw[-_CHECK_BYTES:] != _checksum(body):
            raise InputError("A share is damaged, incomplete or miscopied: its checksum does not fit")
        share = cls(body[1 : 1 + SET_BYTES], body[6], body[7], body[8], body[_HEAD:])
        if body[0] != VERSION or not 2 <= share.threshold <= share.count or not 1 <= share.index <= share.count:  # noqa: PLR2004 - one share is no sharing
            raise InputError("A share is of a form that this release does not know")
        return share


def set_of(public: bytes) -> bytes:
    """Return the 5 bytes that name the set of shares of a recovery key."""
    return hashlib.sha256(b"consent-gateway/shares" + public).digest()[:SET_BYTES]


def split(private: bytes, threshold: int, count: int) -> tuple[Share, ...]:
    """Split a private recovery key (32 bytes) into `count` shares, `threshold` of them needed; `InputError` if odd."""
    if not 2 <= threshold <= count <= MAX_SHARES:  # noqa: PLR2004 - one share is no sharing
        raise InputError(
            f"The threshold must be 2 or more, and at most the number of shares, which is at most {MAX_SHARES}"
        )
    # coefficients[d][b] is the coefficient of x^d for byte b; that of x^0 is the secret
    coefficients = [private, *(secrets.token_bytes(KEY_BYTES) for _ in range(threshold - 1))]
    set_id = set_of(public_of(private))
    return tuple(
        Share(set_id, threshold, count, index, _values_at(index, coefficients)) for index in range(1, count + 1)
    )


def combine(shares: Sequence[Share]) -> bytes:
    """Return the private recovery key; `InputError` for too few, for two sets, for contradictions and for a forgery."""
    first = next(iter(shares), None)
    if first is None:
        raise InputError("There is no share")
    if len({(share.set_id, share.threshold, share.count) for share in shares}) != 1:
        raise InputError("The shares are of different sets")
    by_index = {share.index: share.values for share in shares}
    if len(set(shares)) != len(by_index):
        raise InputError("Two shares with one number contradict each other")
    if len(by_index) < first.threshold:
        raise InputError(f"{len(by_index)} different shares are too few: {first.threshold} are needed")
    private = _interpolate(dict(sorted(by_index.items())[: first.threshold]))
    if set_of(public_of(private)) != first.set_id:
        raise InputError("The shares do not make the key of their set: one of them is forged or wrongly copied")
    return private


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"consent-gateway/share" + body).digest()[:_CHECK_BYTES]


def _values_at(point: int, coefficients: Sequence[bytes]) -> bytes:
    """Evaluate all polynomials at `point` (Horner)."""
    values = bytes(KEY_BYTES)
    for coefficient in reversed(coefficients):
        values = bytes(_times(value, point) ^ added for value, added in zip(values, coefficient, strict=True))
    return values


def _interpolate(points: dict[int, bytes]) -> bytes:
    """Return the values at 0 of the polynomials through `points` (Lagrange)."""
    secret = bytes(KEY_BYTES)
    for index, values in points.items():
        weight = 1
        for other in points.keys() - {index}:
            weight = _times(weight, _times(other, _inverse(index ^ other)))
        secret = bytes(held ^ _times(value, weight) for held, value in zip(secret, values, strict=True))
    return secret


def _times(left: int, right: int) -> int:
    """Multiply in GF(2^8), without tables or branches on secrets."""
    product = 0
    for _ in range(8):
        product ^= left * (right & 1)
        left = ((left << 1) & 0xFF) ^ (_LOW * (left >> 7))
        right >>= 1
    return product


def _inverse(value: int) -> int:
    """Return value^254, the inverse of a value other than 0 (Fermat)."""
    power = 1
    for _ in range(254):
        power = _times(power, value)
    return power
