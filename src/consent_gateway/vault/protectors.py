"""Local key services: how the roots of a keyring are sealed where there is no key management system.

`PassphraseProtector` stretches a passphrase with Argon2id (RFC 9106, second recommended option by default);
`SecretFileProtector` reads a mounted 32-byte secret. Both wrap with AES-256-SIV (RFC 5297), whose safety needs no
nonce, under one key per keyring. The name of that key says how to get it: kind, costs and salt. The name is part of
the AAD, so neither the kind nor the costs can be edited unnoticed. `UnsafeUnsealedKeyring` leaves the roots in the
clear, for development only, and warns each time.

Invariant: a wrap is opened only by the protector of its kind. A keyring that was swapped for an unsealed one is
refused by every sealed protector. Every wrong or damaged secret ends in the one message of `NOT_OPENED`.

Keyrings of format 1 were sealed as a whole under a header of the same facts; `open_whole` still opens those.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import derive, frame
from consent_gateway.vault.keyring_file import read_up_to
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Destruction, Kms

MIN_PASSPHRASE_BYTES = 12
SECRET_BYTES = 32
_LINE_BYTES = 4096
_SALT_BYTES = 16
_SIV_KEY_BYTES = 64
_SIV_TAG_BYTES = 16
_DOMAIN = b"consent-gateway/keyring-root"

# Upper bounds on what a keyring file may ask of us: a planted file must not exhaust the machine.
_MAX_MEMORY_KIB = 1 << 20
_MAX_ITERATIONS = 64
_MAX_LANES = 64
_ARGON2_NAME = re.compile(r"argon2id:([1-9][0-9]{0,6}):([1-9][0-9]?):([1-9][0-9]?):([0-9a-f]{32})", re.ASCII)
_SECRET_NAME = re.compile(r"secret-file:([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sealing:
    """The payload of a keyring of format 1: public `header` (kind, salt in hex, costs) and `body` bytes."""

    header: Mapping[str, str | int]
    body: bytes = field(repr=False)


@runtime_checkable
class Protector(Kms, Protocol):
    """A local key service, which can open keyrings of format 1 too."""

    def open_whole(self, sealing: Sealing, aad: bytes, /) -> bytes:
        """Return the payload of a format 1 keyring; raises `KeyringError` with `NOT_OPENED` if it cannot."""


class InsecureKeyringWarning(UserWarning):
    """The keyring rests unsealed on disk: whoever reads the file reads every person's data."""


class _Local:
    """What the protectors share: one key for the whole keyring, nothing to ask and nothing to destroy apart."""

    __slots__ = ()
    has_own_keys = False
    destruction_seconds = 0

    def schedule_destroy(self, _key: str) -> Destruction:
        """Destroy nothing: the key is that of the whole file, and leaves it with the root."""
        return Destruction()

    def check(self) -> None:
        """Return: there is nobody to ask."""


@dataclass(frozen=True, slots=True)
class PassphraseProtector(_Local):
    """Seals under a passphrase of at least 12 bytes by Argon2id; `memory_kib`, `iterations`, `lanes` are its costs.

    The costs are those of new keyrings; an existing one is opened with the costs in its key's name.
    """

    passphrase: bytes = field(repr=False)
    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4
    kind: str = field(default="argon2id", init=False)

    def __post_init__(self) -> None:
        if len(self.passphrase) < MIN_PASSPHRASE_BYTES:
            raise KeyringError(f"The passphrase has fewer than {MIN_PASSPHRASE_BYTES} bytes")

    def create_key(self, _label: str) -> str:
        """Return the name of a key with a fresh salt and this protector's costs."""
        return f"{self.kind}:{self.memory_kib}:{self.iterations}:{self.lanes}:{secrets.token_hex(_SALT_BYTES)}"

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Wrap under the stretched passphrase, stretched once; all under one key."""
        return _wrap(self._cipher(_one_key(secrets)), secrets)

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Open all; any failure is `KeyringError(NOT_OPENED)`."""
        return _unwrap(self._cipher(_one_key(wraps)), wraps)

    def open_whole(self, sealing: Sealing, aad: bytes) -> bytes:
        """Return the payload of a format 1 keyring; any failure is `KeyringError(NOT_OPENED)`."""
        _require_kind(self.kind, sealing)
        header = sealing.header
        costs = [_count(header, name) for name in ("memory_kib", "iterations", "lanes")]
        return _decrypt_whole(self._stretch(costs[0], costs[1], costs[2], _salt(header)), sealing, aad)

    def _cipher(self, key: str) -> AESSIV:
        found = _ARGON2_NAME.fullmatch(key)
        if found is None:
            raise KeyringError(NOT_OPENED)
        return AESSIV(self._stretch(int(found[1]), int(found[2]), int(found[3]), bytes.fromhex(found[4])))

    def _stretch(self, memory: int, iterations: int, lanes: int, salt: bytes) -> bytes:
        if memory > _MAX_MEMORY_KIB or iterations > _MAX_ITERATIONS or lanes > _MAX_LANES:
            raise KeyringError(NOT_OPENED)
        try:
            kdf = Argon2id(
                salt=salt, length=_SIV_KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory
            )  # fmt: skip
        except ValueError:
            raise KeyringError(NOT_OPENED) from None
        return kdf.derive(self.passphrase)


@dataclass(frozen=True, slots=True)
class SecretFileProtector(_Local):
    """Seals under a mounted file of exactly 32 random bytes.

    The file may be a symbolic link and readable by its group (orchestrators mount secrets so), but it must belong
    to root or to this process' user, and others may neither read nor write it.
    """

    path: Path
    kind: str = field(default="secret-file", init=False)

    def create_key(self, _label: str) -> str:
        """Return the name of a key with a fresh salt."""
        return f"{self.kind}:{secrets.token_hex(_SALT_BYTES)}"

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Wrap under the key derived from the secret; all under one key."""
        return _wrap(self._cipher(_one_key(secrets)), secrets)

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Open all; `KeyringError` if the secret is missing, exposed, or not the right one."""
        return _unwrap(self._cipher(_one_key(wraps)), wraps)

    def open_whole(self, sealing: Sealing, aad: bytes) -> bytes:
        """Return the payload of a format 1 keyring; errors as for `unwrap`."""
        _require_kind(self.kind, sealing)
        return _decrypt_whole(self._key(_salt(sealing.header)), sealing, aad)

    def _cipher(self, key: str) -> AESSIV:
        found = _SECRET_NAME.fullmatch(key)
        if found is None:
            raise KeyringError(NOT_OPENED)
        return AESSIV(self._key(bytes.fromhex(found[1])))

    def _key(self, salt: bytes) -> bytes:
        return derive(read_secret(self.path, SECRET_BYTES), _SIV_KEY_BYTES, b"keyring-secret-file", salt)


@dataclass(frozen=True, slots=True)
class UnsafeUnsealedKeyring(_Local):
    """Seals nothing: the roots lie readable in the file. For development and demonstrations only."""

    kind: str = field(default="unsafe-unsealed", init=False)

    def create_key(self, _label: str) -> str:
        """Return the name of no key."""
        return self.kind

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """Return the secrets themselves, and warn."""
        _warn()
        return [secret.content for secret in secrets]

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """Return the bytes themselves, and warn; `KeyringError` if the keyring is sealed after all."""
        if _one_key(wraps) != self.kind:
            raise KeyringError(NOT_OPENED)
        _warn()
        return [wrap.content for wrap in wraps]

    def open_whole(self, sealing: Sealing, _aad: bytes, /) -> bytes:
        """Return the body of a format 1 keyring itself, and warn; errors as for `unwrap`."""
        _require_kind(self.kind, sealing)
        _warn()
        return sealing.body


def read_secret(path: Path, size: int | None = None) -> bytes:
    """Return the mounted secret at `path`: exactly `size` bytes, or one line of at most 4 KiB.

    Raises `KeyringError` if it is missing, not a regular file, exposed to others, of another owner than root and
    this process' user, or of another size.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise KeyringError("The mounted secret cannot be read") from None
    try:
        _require_unexposed(os.fstat(descriptor))
        secret = read_up_to(descriptor, (size or _LINE_BYTES) + 1)
    finally:
        os.close(descriptor)
    if size is None:
        return _line(secret)
    if len(secret) != size:
        raise KeyringError(f"The mounted secret is not exactly {size} bytes long")
    return secret


def _line(secret: bytes) -> bytes:
    line = secret.strip()
    if not line or len(line) > _LINE_BYTES or b"\n" in line:
        raise KeyringError("The mounted secret is not one line of text")
    return line


def _one_key(items: Sequence[Bound]) -> str:
    """Return the one key of all items: a file that named many would have us stretch many times."""
    keys = {item.key for item in items}
    if len(keys) != 1:
        raise KeyringError(NOT_OPENED)
    return keys.pop()


def _wrap(cipher: AESSIV, items: Sequence[Bound]) -> list[bytes]:
    return [cipher.encrypt(item.content, _aad(item)) for item in items]


def _unwrap(cipher: AESSIV, items: Sequence[Bound]) -> list[bytes]:
    return [_decrypt(cipher, item.content, _aad(item)) for item in items]


def _aad(item: Bound) -> list[bytes]:
    return [frame(_DOMAIN, item.key.encode()), item.context]


def _decrypt(cipher: AESSIV, content: bytes, aad: list[bytes]) -> bytes:
    if len(content) < _SIV_TAG_BYTES:
        raise KeyringError(NOT_OPENED)
    try:
        return cipher.decrypt(content, aad)
    except InvalidTag:
        raise KeyringError(NOT_OPENED) from None


def _warn() -> None:
    warnings.warn("the keyring rests without a seal", InsecureKeyringWarning, stacklevel=4)


def _require_kind(kind: str, sealing: Sealing) -> None:
    if sealing.header.get("kind") != kind:
        raise KeyringError(NOT_OPENED)


def _count(header: Mapping[str, str | int], name: str) -> int:
    value = header.get(name)
    if type(value) is not int or value < 1:
        raise KeyringError(NOT_OPENED)
    return value


def _salt(header: Mapping[str, str | int]) -> bytes:
    try:
        salt = bytes.fromhex(str(header["salt"]))
    except (KeyError, ValueError):
        raise KeyringError(NOT_OPENED) from None
    if len(salt) != _SALT_BYTES:
        raise KeyringError(NOT_OPENED)
    return salt


def _decrypt_whole(key: bytes, sealing: Sealing, aad: bytes) -> bytes:
    header = "\n".join(f"{name}={sealing.header[name]}" for name in sorted(sealing.header)).encode()
    return _decrypt(AESSIV(key), sealing.body, [aad, header])


def _require_unexposed(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyringError("The mounted secret is not a regular file")
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        raise KeyringError("The mounted secret is exposed: others may touch it, or its owner is wrong")
