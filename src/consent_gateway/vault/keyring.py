"""The keyring: the roots of all secrets of one gateway, outside its database, and every key derived from them.

Roots are independent random 32-byte values, one per use, because the holder of one must not get another's use
(EDPB Guidelines 01/2025 sections 85-86: pseudonymisation secrets are kept apart):

- `kek`: one root per epoch number, the key-encryption keys over data keys; sixteen shards are derived of each;
- `index`: one root per generation, under the blind indexes;
- `pseudonym`, `audit_commitment`, `tombstone`, `log_signing_seed`: one each, for the gateway's life.

Destroying an epoch makes every data key wrapped under it, and every earlier one, unreadable wherever a copy lies:
that is how an erasure reaches backups. Numbers only grow and are never given twice; the current epoch and
generation are the highest ones and cannot be removed.

A `Keyring` is a frozen value, safe to read from several threads; a change returns a new one after the file is
durable. Changes re-read the file under a lock, so that two writers cannot lose each other's key. The file is
described in `_encode_file`; its protection in `protectors`, its access rules in `keyring_file`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import derive, frame
from consent_gateway.vault.keyring_file import FileStamp, locked, read_private, stamp_of, write_private
from consent_gateway.vault.protectors import SEALED_SHUT, Protector, Sealing, UnsafeUnsealedKeyring

FORMAT = "consent-gateway-keyring"
VERSION = 1
SHARDS = 16
ROOT_BYTES = 32
_MAX_NUMBER = (1 << 32) - 1
_MAX_DERIVED = 4096  # a bound, not a tuning knob: epochs x shards + fields x generations + recipients stay below
_SINGLE_ROOTS = ("pseudonym", "audit_commitment", "tombstone", "log_signing_seed")


@dataclass(frozen=True, slots=True)
class Roots:
    """The secrets themselves, each 32 bytes; `kek` by epoch and `index` by generation, both from 1 upwards."""

    kek: Mapping[int, bytes] = field(repr=False)
    index: Mapping[int, bytes] = field(repr=False)
    pseudonym: bytes = field(repr=False)
    audit_commitment: bytes = field(repr=False)
    tombstone: bytes = field(repr=False)
    log_signing_seed: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Roots:
        """Draw new roots: epoch 1, generation 1."""
        return cls({1: _fresh()}, {1: _fresh()}, _fresh(), _fresh(), _fresh(), _fresh())


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a keyring rests: its path, what seals it, and the version of the file that was read."""

    path: Path
    protector: Protector
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys of one gateway. Make one with `create`, `open` or, without a file, `in_memory`."""

    roots: Roots = field(repr=False)
    _home: _Home | None = field(default=None, repr=False)
    _derived: dict[tuple[object, ...], bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def create(cls, path: Path, protector: Protector) -> Keyring:
        """Draw fresh roots and write them at `path`; `KeyringError` if anything is there already."""
        roots = Roots.fresh()
        stamp = write_private(path, _encode_file(roots, protector), replace=False)
        return cls(roots, _Home(path, protector, stamp))

    @classmethod
    def open(cls, path: Path, protector: Protector) -> Keyring:
        """Read the keyring at `path`.

        Raises `KeyringError`: one message for a wrong secret and for a damaged file, others for a missing file, a
        link, a wrong owner or mode, and an unknown version.
        """
        content, stamp = read_private(path)
        return cls(_decode_file(content, protector), _Home(path, protector, stamp))

    @classmethod
    def in_memory(cls) -> Keyring:
        """Return fresh roots that no file holds: gone with the process, and so is all data under them."""
        return cls(Roots.fresh())

    @property
    def is_sealed(self) -> bool:
        """False if the roots rest in the clear; a production start refuses that."""
        return self._home is not None and not isinstance(self._home.protector, UnsafeUnsealedKeyring)

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epoch numbers whose key still exists, ascending."""
        return tuple(sorted(self.roots.kek))

    @property
    def current_epoch(self) -> int:
        """The epoch under which new data keys are wrapped."""
        return max(self.roots.kek)

    @property
    def generations(self) -> tuple[int, ...]:
        """Index generations whose key still exists, ascending."""
        return tuple(sorted(self.roots.index))

    @property
    def current_generation(self) -> int:
        """The generation under which new index rows are written."""
        return max(self.roots.index)

    def kek(self, epoch: int, shard: int) -> bytes:
        """Return the 64-byte AES-256-SIV key of `shard` (0-15) in `epoch`; `KeyringError` if there is none."""
        if epoch not in self.roots.kek or not 0 <= shard < SHARDS:
            raise KeyringError("The keyring holds no such key epoch")
        return self._key(self.roots.kek[epoch], 64, b"kek", _number(epoch), _number(shard))

    def index_key(self, field_name: str, generation: int) -> bytes:
        """Return the 32-byte HMAC key of one field's blind index; `KeyringError` if the generation is gone."""
        if generation not in self.roots.index:
            raise KeyringError("The keyring holds no such index generation")
        return self._key(self.roots.index[generation], 32, b"index", field_name.encode(), _number(generation))

    def pseudonym_key(self, recipient_sector: str, epoch: int) -> bytes:
        """Return the 32-byte AES key of one recipient's pseudonyms in one epoch (0 to 2^32-1)."""
        return self._key(self.roots.pseudonym, 32, b"pseudonym", recipient_sector.encode(), _number(epoch))

    def tombstone_key(self, field_name: str) -> bytes:
        """Return the 32-byte HMAC key of one field's tombstones; it outlives every index generation."""
        return self._key(self.roots.tombstone, 32, b"tombstone", field_name.encode())

    def audit_commitment_key(self) -> bytes:
        """Return the 32-byte key of commitments in the audit log that belong to no single person."""
        return self._key(self.roots.audit_commitment, 32, b"audit-commitment")

    def log_signing_seed(self) -> bytes:
        """Return the 32-byte Ed25519 seed (RFC 8032) of the audit log; independent of every erasable key."""
        return self.roots.log_signing_seed

    def receipt_signing_seed(self) -> bytes:
        """Return the 32-byte Ed25519 seed of consent receipts; not that of the log, so that neither speaks for both."""
        return self._key(self.roots.log_signing_seed, 32, b"receipt-signing")

    def fingerprint(self) -> str:
        """Return 32 hex digits that name this keyring for its whole life and reveal nothing of it.

        Compared at start with the one in the store, and with the one of an escrowed copy.
        """
        lasting = frame(*(getattr(self.roots, name) for name in _SINGLE_ROOTS))
        return derive(lasting, 16, b"fingerprint").hex()

    def key_fingerprints(self) -> dict[str, str]:
        """Return a fingerprint for each epoch (`kek/1`) and generation (`index/1`), to compare with escrow."""
        held = {"kek": self.roots.kek, "index": self.roots.index}
        return {
            f"{use}/{number}": derive(roots[number], 16, b"fingerprint", use.encode(), _number(number)).hex()
            for use, roots in held.items()
            for number in sorted(roots)
        }

    def new_kek_epoch(self) -> Keyring:
        """Add the next key epoch and return the keyring in which it is the current one."""
        return self._change(lambda roots: replace(roots, kek=_with_next(roots.kek)))

    def destroy_kek_epoch(self, epoch: int) -> Keyring:
        """Destroy one past epoch; what is still wrapped under it is lost for ever, here and in every backup.

        Re-wrap all live data keys first. Raises `KeyringError` for the current epoch and for an unknown one.
        """
        return self._change(lambda roots: replace(roots, kek=_without(roots.kek, epoch)))

    def new_index_generation(self) -> Keyring:
        """Add the next index generation and return the keyring in which it is the current one."""
        return self._change(lambda roots: replace(roots, index=_with_next(roots.index)))

    def destroy_index_generation(self, generation: int) -> Keyring:
        """Destroy one past index generation; `KeyringError` for the current one and for an unknown one."""
        return self._change(lambda roots: replace(roots, index=_without(roots.index, generation)))

    def reseal(self, protector: Protector) -> Keyring:
        """Seal the file under another secret and return the keyring; the roots stay. In memory: no effect."""
        return self._change(lambda roots: roots, protector)

    def is_stale(self) -> bool:
        """Tell whether the file was replaced since this keyring was read (one `lstat`)."""
        return self._home is not None and stamp_of(self._home.path) != self._home.stamp

    def reload(self) -> Keyring:
        """Return the keyring as the file holds it now; this one if nothing changed."""
        if self._home is None or not self.is_stale():
            return self
        return Keyring.open(self._home.path, self._home.protector)

    def _change(self, change: Callable[[Roots], Roots], protector: Protector | None = None) -> Keyring:
        home = self._home
        if home is None:
            return Keyring(change(self.roots))
        with locked(home.path.parent):
            content, _ = read_private(home.path)
            roots = change(_decode_file(content, home.protector))
            seal = protector or home.protector
            stamp = write_private(home.path, _encode_file(roots, seal), replace=True)
        return Keyring(roots, _Home(home.path, seal, stamp))

    def _key(self, root: bytes, length: int, *path: bytes) -> bytes:
        key = self._derived.get(path)
        if key is None:
            key = derive(root, length, *path)
            if len(self._derived) >= _MAX_DERIVED:
                self._derived.clear()
            self._derived[path] = key
        return key


def _fresh() -> bytes:
    return secrets.token_bytes(ROOT_BYTES)


def _number(value: int) -> bytes:
    if not 0 <= value <= _MAX_NUMBER:
        raise KeyringError("The keyring holds no key of such a number")
    return value.to_bytes(4, "big")


def _with_next(roots: Mapping[int, bytes]) -> Mapping[int, bytes]:
    return {**roots, max(roots) + 1: _fresh()}


def _without(roots: Mapping[int, bytes], number: int) -> Mapping[int, bytes]:
    if number not in roots or number == max(roots):
        raise KeyringError("Only a past key that exists can be destroyed, never the current one")
    return {held: root for held, root in roots.items() if held != number}


def _encode_file(roots: Roots, protector: Protector) -> bytes:
    """Return the file: `{format, version, protection: {kind, ...}, body: hex}`, the body sealed to the rest."""
    payload = json.dumps(
        {
            "kek": {str(number): root.hex() for number, root in roots.kek.items()},
            "index": {str(number): root.hex() for number, root in roots.index.items()},
            **{name: getattr(roots, name).hex() for name in _SINGLE_ROOTS},
        }
    ).encode()
    sealing = protector.seal(payload, _aad(VERSION))
    document = {
        "format": FORMAT,
        "version": VERSION,
        "protection": dict(sealing.header),
        "body": sealing.body.hex(),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _decode_file(content: bytes, protector: Protector) -> Roots:
    try:
        document = json.loads(content)
        version = document["version"] if document["format"] == FORMAT else None
        sealing = Sealing(dict(document["protection"]), bytes.fromhex(document["body"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyringError(SEALED_SHUT) from None
    if version != VERSION:
        raise KeyringError("The keyring's format version is not known to this release")
    return _decode_roots(protector.open(sealing, _aad(VERSION)))


def _decode_roots(payload: bytes) -> Roots:
    try:
        held = json.loads(payload)
        kek = {int(number): bytes.fromhex(root) for number, root in held["kek"].items()}
        index = {int(number): bytes.fromhex(root) for number, root in held["index"].items()}
        single = {name: bytes.fromhex(held[name]) for name in _SINGLE_ROOTS}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyringError(SEALED_SHUT) from None
    every = [*kek.values(), *index.values(), *single.values()]
    if not kek or not index or any(len(root) != ROOT_BYTES for root in every):
        raise KeyringError(SEALED_SHUT)
    return Roots(kek, index, **single)


def _aad(version: int) -> bytes:
    return frame(FORMAT.encode(), _number(version))
