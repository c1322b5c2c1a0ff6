"""How the roots of a keyring are sealed before they touch a disk.

A protector turns the payload (the encoded roots) into a `Sealing` and back. `PassphraseProtector` stretches a
passphrase with Argon2id (RFC 9106, second recommended option by default); `SecretFileProtector` reads a mounted
32-byte secret. Both seal with AES-256-SIV (RFC 5297) under a key that is fresh for each write, because its salt
is; the file's header is the AAD, so neither the format nor the cost parameters can be edited unnoticed.
`UnsafeUnsealedKeyring` writes the roots in the clear, for development only, and warns each time.

Invariant: a sealing is opened only by the protector of its kind. A keyring that was swapped for an unsealed one is
refused by every sealed protector. Every wrong or damaged secret ends in the one message of `SEALED_SHUT`.
"""

from __future__ import annotations

import os
import secrets
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import derive
from consent_gateway.vault.keyring_file import read_up_to

SEALED_SHUT = "The keyring does not open with this secret, or the file is damaged"

MIN_PASSPHRASE_BYTES = 12
SECRET_BYTES = 32
_SALT_BYTES = 16
_SIV_KEY_BYTES = 64
_SIV_TAG_BYTES = 16

# Upper bounds on what a keyring file may ask of us: a planted file must not exhaust the machine.
_MAX_MEMORY_KIB = 1 << 20
_MAX_ITERATIONS = 64
_MAX_LANES = 64


@dataclass(frozen=True, slots=True)
class Sealing:
    """A sealed payload: public `header` (kind, salt in hex, costs) and `body` bytes."""

    header: Mapping[str, str | int]
    body: bytes = field(repr=False)


class Protector(Protocol):
    """Seals and opens the payload of a keyring file."""

    @property
    def kind(self) -> str:
        """The word that the file's header carries for this protector."""

    def seal(self, payload: bytes, aad: bytes, /) -> Sealing:
        """Seal `payload`, bound to `aad` and to the sealing's own header."""

    def open(self, sealing: Sealing, aad: bytes, /) -> bytes:
        """Return the payload; raises `KeyringError` with `SEALED_SHUT` if it cannot."""


class InsecureKeyringWarning(UserWarning):
    """The keyring rests unsealed on disk: whoever reads the file reads every person's data."""


@dataclass(frozen=True, slots=True)
class PassphraseProtector:
    """Seals under a passphrase of at least 12 bytes by Argon2id; `memory_kib`, `iterations`, `lanes` are its costs.

    The costs are those of new sealings; an existing one is opened with the costs in its header.
    """

    passphrase: bytes = field(repr=False)
    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4
    kind: str = field(default="argon2id", init=False)

    def __post_init__(self) -> None:
        if len(self.passphrase) < MIN_PASSPHRASE_BYTES:
            raise KeyringError(f"The passphrase has fewer than {MIN_PASSPHRASE_BYTES} bytes")

    def seal(self, payload: bytes, aad: bytes) -> Sealing:
        """Seal under a fresh salt with this protector's costs."""
        header: dict[str, str | int] = {
            "kind": self.kind,
            "salt": secrets.token_hex(_SALT_BYTES),
            "memory_kib": self.memory_kib,
            "iterations": self.iterations,
            "lanes": self.lanes,
        }
        return Sealing(header, _encrypt(self._key(header), payload, aad, header))

    def open(self, sealing: Sealing, aad: bytes) -> bytes:
        """Return the payload; any failure is `KeyringError(SEALED_SHUT)`."""
        _require_kind(self.kind, sealing)
        return _decrypt(self._key(sealing.header), sealing, aad)

    def _key(self, header: Mapping[str, str | int]) -> bytes:
        memory = _bounded(header, "memory_kib", _MAX_MEMORY_KIB)
        iterations = _bounded(header, "iterations", _MAX_ITERATIONS)
        lanes = _bounded(header, "lanes", _MAX_LANES)
        try:
            kdf = Argon2id(
                salt=_salt(header),
                length=_SIV_KEY_BYTES,
                iterations=iterations,
                lanes=lanes,
                memory_cost=memory,
            )
        except ValueError:
            raise KeyringError(SEALED_SHUT) from None
        return kdf.derive(self.passphrase)


@dataclass(frozen=True, slots=True)
class SecretFileProtector:
    """Seals under a mounted file of exactly 32 random bytes.

    The file may be a symbolic link and readable by its group (orchestrators mount secrets so), but it must belong
    to root or to this process' user, and others may neither read nor write it.
    """

    path: Path
    kind: str = field(default="secret-file", init=False)

    def seal(self, payload: bytes, aad: bytes) -> Sealing:
        """Seal under a key derived from the secret and a fresh salt."""
        header: dict[str, str | int] = {"kind": self.kind, "salt": secrets.token_hex(_SALT_BYTES)}
        return Sealing(header, _encrypt(self._key(header), payload, aad, header))

    def open(self, sealing: Sealing, aad: bytes) -> bytes:
        """Return the payload; `KeyringError` if the secret is missing, exposed, or not the right one."""
        _require_kind(self.kind, sealing)
        return _decrypt(self._key(sealing.header), sealing, aad)

    def _key(self, header: Mapping[str, str | int]) -> bytes:
        return derive(_read_secret(self.path), _SIV_KEY_BYTES, b"keyring-secret-file", _salt(header))


@dataclass(frozen=True, slots=True)
class UnsafeUnsealedKeyring:
    """Seals nothing: the roots lie readable in the file. For development and demonstrations only."""

    kind: str = field(default="unsafe-unsealed", init=False)

    def seal(self, payload: bytes, _aad: bytes, /) -> Sealing:
        """Return `payload` itself, and warn."""
        warnings.warn("the keyring is written without a seal", InsecureKeyringWarning, stacklevel=2)
        return Sealing({"kind": self.kind}, payload)

    def open(self, sealing: Sealing, _aad: bytes, /) -> bytes:
        """Return the body itself, and warn; `KeyringError` if the keyring is sealed after all."""
        _require_kind(self.kind, sealing)
        warnings.warn("the keyring rests without a seal", InsecureKeyringWarning, stacklevel=2)
        return sealing.body


def _require_kind(kind: str, sealing: Sealing) -> None:
    if sealing.header.get("kind") != kind:
        raise KeyringError(SEALED_SHUT)


def _bounded(header: Mapping[str, str | int], name: str, limit: int) -> int:
    value = header.get(name)
    if type(value) is not int or not 1 <= value <= limit:
        raise KeyringError(SEALED_SHUT)
    return value


def _salt(header: Mapping[str, str | int]) -> bytes:
    try:
        salt = bytes.fromhex(str(header["salt"]))
    except (KeyError, ValueError):
        raise KeyringError(SEALED_SHUT) from None
    if len(salt) != _SALT_BYTES:
        raise KeyringError(SEALED_SHUT)
    return salt


def _header_bytes(header: Mapping[str, str | int]) -> bytes:
    return "\n".join(f"{name}={header[name]}" for name in sorted(header)).encode()


def _encrypt(key: bytes, payload: bytes, aad: bytes, header: Mapping[str, str | int]) -> bytes:
    return AESSIV(key).encrypt(payload, [aad, _header_bytes(header)])


def _decrypt(key: bytes, sealing: Sealing, aad: bytes) -> bytes:
    if len(sealing.body) < _SIV_TAG_BYTES:
        raise KeyringError(SEALED_SHUT)
    try:
        return AESSIV(key).decrypt(sealing.body, [aad, _header_bytes(sealing.header)])
    except InvalidTag:
        raise KeyringError(SEALED_SHUT) from None


def _read_secret(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise KeyringError("The mounted secret cannot be read") from None
    try:
        _require_unexposed(os.fstat(descriptor))
        secret = read_up_to(descriptor, SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(secret) != SECRET_BYTES:
        raise KeyringError(f"The mounted secret is not exactly {SECRET_BYTES} bytes long")
    return secret


def _require_unexposed(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyringError("The mounted secret is not a regular file")
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        raise KeyringError("The mounted secret is exposed: others may touch it, or its owner is wrong")
