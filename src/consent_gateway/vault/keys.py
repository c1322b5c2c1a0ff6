"""Data keys (DEKs) and their wrapping under key-encryption keys.

Each subject has one random 32-byte DEK, stored only wrapped. `KeyProvider` is the port to whatever holds the
key-encryption keys; `LocalKeyProvider` is the one over the keyring. A wrapped DEK is

    version (1 byte) | algorithm (1) | epoch (4, big-endian) | shard (1) | AES-256-SIV of the DEK (16 + 32)

AES-SIV (RFC 5297) needs no nonce, so that neither the number of wraps per key nor a cloned virtual machine matters
(SP 800-38D allows 2^32 random GCM nonces per key). The header and the caller's context are its AAD: a wrapped DEK
that is moved to another row does not open. The key is chosen by the header and never by trial, because AEADs do
not commit to their key. Any refusal is the one `VaultError`.
"""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NewType, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from consent_gateway.errors import KeyringError
from consent_gateway.vault.custody import Custody, custody_of
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import SHARDS, Keyring

WrappedDek = NewType("WrappedDek", bytes)

DEK_BYTES = 32
VERSION = 1
ALGORITHM_AES_256_SIV = 1
_HEADER = struct.Struct(">BBIB")
WRAPPED_BYTES = _HEADER.size + 16 + DEK_BYTES
_DOMAIN = b"consent-gateway/dek-wrap"
_OF_SUBJECT = frame(b"subject-dek", bytes(8))[:-8]


class KeyProvider(Protocol):
    """Holds the key-encryption keys. `context` is AAD by contract: a wrap opens in its own context only."""

    def new_dek(self, context: bytes) -> tuple[bytes, WrappedDek]:
        """Return a fresh random 32-byte DEK and its wrapping."""

    def wrap(self, dek: bytes, context: bytes) -> WrappedDek:
        """Wrap `dek` (32 bytes) under the current epoch."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the DEK; `VaultError` if the wrap is damaged, from another context or of a destroyed epoch."""

    def rewrap(self, wrapped: bytes, context: bytes) -> WrappedDek:
        """Move a wrap to the current epoch, its context unchanged; idempotent; `VaultError` as for `unwrap`."""


def dek_context(subject_id: int) -> bytes:
    """Return the context of a subject's DEK; one subject's wrap never opens as another's."""
    return _OF_SUBJECT + subject_id.to_bytes(8, "big")  # the frame of both parts


def wrapped_epoch(wrapped: bytes) -> int:
    """Return the epoch in a wrap's header (not authenticated: for paging and counting only); `VaultError` if bad."""
    return _parse(wrapped)[0]


class _Generation:
    """One keyring and the ciphers made of it; replaced as a whole, so that no cipher outlives its epoch."""

    __slots__ = ("ciphers", "keyring")

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.ciphers: dict[tuple[int, int], AESSIV] = {}

    def cipher(self, epoch: int, shard: int) -> AESSIV:
        """Return the cipher of one shard; `VaultError` if the epoch does not exist (any more)."""
        cipher = self.ciphers.get((epoch, shard))
        if cipher is None:
            try:
                cipher = AESSIV(self.keyring.kek(epoch, shard))
            except KeyringError:
                raise VaultError from None
            self.ciphers[epoch, shard] = cipher
        return cipher

    def shards(self) -> list[tuple[bytes, Callable[[bytes, list[bytes]], bytes]]]:
        """Return what wraps under the current epoch, by shard: the header, and the cipher's `encrypt`."""
        epoch = self.keyring.current_epoch
        return [
            (_HEADER.pack(VERSION, ALGORITHM_AES_256_SIV, epoch, shard), self.cipher(epoch, shard).encrypt)
            for shard in range(SHARDS)
        ]


class LocalKeyProvider:
    """`KeyProvider` over the keyring in custody; wraps and unwraps in microseconds, without IO.

    An epoch that this process does not know may have been begun by another one: the provider then looks at the
    file's stamp and, only if that changed, reads the keyring again. A destroyed epoch stays usable here until
    `refresh`, `use` or the custody's next look at the file, about a second; whoever destroys one lets every process
    look before calling it done. All methods raise `KeyServiceError` when the custody's time is over, and those that
    wrap also while its last refresh failed.
    """

    def __init__(self, held: Keyring | Custody) -> None:
        self.custody = custody_of(held)
        self._made = _Generation(self.custody.keyring)

    @property
    def keyring(self) -> Keyring:
        """The keyring in use now."""
        return self.custody.keyring

    def use(self, keyring: Keyring) -> None:
        """Go on with `keyring` (after a rotation); everything made of the former one is dropped."""
        self.custody.use(keyring)

    def refresh(self) -> bool:
        """Read the keyring again if its file changed, and tell whether it did; raises `KeyringError`."""
        return self.custody.follow()

    @property
    def _held(self) -> _Generation:
        keyring, made = self.custody.keyring, self._made
        if made.keyring is not keyring:
            made = self._made = _Generation(keyring)
        return made

    def new_dek(self, context: bytes) -> tuple[bytes, WrappedDek]:
        """Return a fresh random 32-byte DEK and its wrapping."""
        dek = secrets.token_bytes(DEK_BYTES)
        return dek, self.wrap(dek, context)

    def new_deks(self, contexts: Sequence[bytes]) -> list[tuple[bytes, WrappedDek]]:
        """Return a fresh DEK and its wrapping for each context, as `new_dek` does: what is drawn is drawn at once."""
        self.custody.require_sound()
        shards = self._held.shards()
        drawn = secrets.token_bytes(DEK_BYTES * len(contexts))
        made = []
        for number, context in enumerate(contexts):
            dek = drawn[number * DEK_BYTES : (number + 1) * DEK_BYTES]
            header, encrypt = shards[zlib.crc32(context) % SHARDS]
            made.append((dek, WrappedDek(header + encrypt(dek, [_DOMAIN, header, context]))))
        return made

    def wrap(self, dek: bytes, context: bytes) -> WrappedDek:
        """Wrap `dek` under the current epoch, in the shard that the context falls into."""
        if len(dek) != DEK_BYTES:
            raise VaultError
        self.custody.require_sound()
        held = self._held
        epoch, shard = held.keyring.current_epoch, zlib.crc32(context) % SHARDS
        header = _HEADER.pack(VERSION, ALGORITHM_AES_256_SIV, epoch, shard)
        sealed = held.cipher(epoch, shard).encrypt(dek, [_DOMAIN, header, context])
        return WrappedDek(header + sealed)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the DEK; any refusal is `VaultError`, a keyring that cannot be read again is `KeyringError`."""
        epoch, shard = _parse(wrapped)
        if epoch not in self.custody.keyring.roots.kek:
            self.refresh()
        header, sealed = wrapped[: _HEADER.size], wrapped[_HEADER.size :]
        try:
            return self._held.cipher(epoch, shard).decrypt(sealed, [_DOMAIN, header, context])
        except InvalidTag:
            raise VaultError from None

    def rewrap(self, wrapped: bytes, context: bytes) -> WrappedDek:
        """Move a wrap to the current epoch; the DEK and its context stay."""
        return self.wrap(self.unwrap(wrapped, context), context)

    def rewrap_many(self, wraps: Iterable[tuple[bytes, bytes]]) -> list[WrappedDek | None]:
        """Move wraps, each with its context, to the current epoch: in the same order, None for one that does not open.

        One that is under the current epoch is returned as it is, the same object. Raises `KeyringError` as `unwrap`
        and `KeyServiceError` as `wrap`.
        """
        self.custody.require_sound()
        wraps = list(wraps)
        if {wrapped[2:6] for wrapped, _ in wraps} - {epoch.to_bytes(4, "big") for epoch in self.keyring.epochs}:
            self.refresh()
        held = self._held
        epoch = held.keyring.current_epoch
        shards = held.shards()
        moved: list[WrappedDek | None] = []
        for wrapped, context in wraps:
            try:
                was, shard = _parse(wrapped)
                if was == epoch:
                    moved.append(WrappedDek(wrapped))
                    continue
                aad = [_DOMAIN, wrapped[: _HEADER.size], context]
                dek = held.cipher(was, shard).decrypt(wrapped[_HEADER.size :], aad)
            except (InvalidTag, VaultError):
                moved.append(None)
                continue
            header, encrypt = shards[zlib.crc32(context) % SHARDS]
            moved.append(WrappedDek(header + encrypt(dek, [_DOMAIN, header, context])))
        return moved


def _parse(wrapped: bytes) -> tuple[int, int]:
    if len(wrapped) != WRAPPED_BYTES:
        raise VaultError
    version, algorithm, epoch, shard = _HEADER.unpack_from(wrapped)
    if version != VERSION or algorithm != ALGORITHM_AES_256_SIV or shard >= SHARDS:
        raise VaultError
    return epoch, shard
