"""Key derivation and unambiguous framing, shared by every part of the vault.

Invariant: two different tuples of parts never frame to the same bytes, because each part carries its length.
Hence a derivation path, an AAD or a MAC domain that is framed can never be read as another one.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def frame(*parts: bytes) -> bytes:
    """Join `parts`, each behind its length as 4 bytes big-endian; injective over tuples of byte strings."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def derive(root: bytes, length: int, *info: bytes) -> bytes:
    """Derive `length` bytes from `root` by HKDF-SHA256 (RFC 5869), empty salt, info = `frame(*info)`."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=frame(*info)).derive(root)


def expand(key: bytes, label: bytes) -> bytes:
    """Expand a uniformly random `key` to 64 bytes: T(1) of HKDF-Expand with SHA-512 (RFC 5869 section 2.3)."""
    return hmac.digest(key, label + b"\x01", "sha512")
