"""The keyring: the roots of all secrets of one gateway, outside its database, and every key derived from them.

The roots are described in `roots`: `kek` by epoch, over which sixteen shards each wrap data keys; `index` by
generation, under the blind indexes; and four that last for the gateway's life.

Destroying an epoch makes every data key wrapped under it, and every earlier one, unreadable wherever a copy lies:
that is how an erasure reaches backups. With a key service that keeps a key for each root, that key is destroyed with
it, so that old copies of the keyring's file become useless too. Numbers only grow and are never given twice; the
current epoch and generation are the highest ones and cannot be removed.

A `Keyring` is a frozen value, safe to read from several threads; a change returns a new one after the file is
durable. Changes re-read the file under a lock, so that two writers cannot lose each other's key. The file is
described in `keyring_document`, its sealing in `keyring_sealing`, its access rules in `keyring_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.derivation import derive, frame
from consent_gateway.vault.keyring_document import Document, render
from consent_gateway.vault.keyring_file import FileStamp, locked, read_private, stamp_of, sweep, write_private
from consent_gateway.vault.keyring_sealing import Opened, open_file, prove, recover_file, seal, with_recovery
from consent_gateway.vault.kms.port import Kms
from consent_gateway.vault.protectors import UnsafeUnsealedKeyring
from consent_gateway.vault.recovery import RecoveryKey
from consent_gateway.vault.roots import MAX_NUMBER, Roots, draw

SHARDS = 16
_MAX_DERIVED = 4096  # a bound, not a tuning knob: epochs x shards + fields x generations + recipients stay below


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a keyring rests: its path, what seals it, the version of the file that was read, and its document."""

    path: Path
    kms: Kms
    stamp: FileStamp
    document: Document | None


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys of one gateway. Make one with `create`, `open` or, without a file, `in_memory`."""

    roots: Roots = field(repr=False)
    _home: _Home | None = field(default=None, repr=False)
    _derived: dict[tuple[object, ...], bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def create(cls, path: Path, kms: Kms) -> Keyring:
        """Draw fresh roots and write them at `path`, sealed by `kms`; `KeyringError` if anything is there already."""
        return cls._write_new(path, Roots.fresh(), kms)

    @classmethod
    def open(cls, path: Path, kms: Kms) -> Keyring:
        """Read the keyring at `path`.

        Raises `KeyringError`: one message for a wrong secret and for a damaged file, others for a missing file, a
        link, a wrong owner or mode, and an unknown version; `KeyServiceError` if `kms` is away.
        """
        content, stamp = read_private(path)
        opened = open_file(content, kms)
        return cls(opened.roots, _Home(path, kms, stamp, opened.document))

    @classmethod
    def recover(cls, path: Path, private: bytes) -> Keyring:
        """Read the keyring at `path` by its private recovery key; it has no home until `copy_to` gives it one.

        Raises `KeyringError` if the key is not the file's, or the file is damaged.
        """
        content, _ = read_private(path)
        return cls(recover_file(content, private).roots)

    @classmethod
    def _write_new(cls, path: Path, roots: Roots, kms: Kms) -> Keyring:
        document = seal(None, roots, kms)
        stamp = write_private(path, render(document, roots), replace=False)
        return cls(roots, _Home(path, kms, stamp, document))

    def copy_to(self, path: Path, kms: Kms) -> Keyring:
        """Write these roots as a new keyring at `path`, sealed by `kms`, and return it; errors as for `create`."""
        return self._write_new(path, self.roots, kms)

    @classmethod
    def in_memory(cls) -> Keyring:
        """Return fresh roots that no file holds: gone with the process, and so is all data under them."""
        return cls(Roots.fresh())

    @property
    def is_sealed(self) -> bool:
        """False if the roots rest in the clear; a production start refuses that."""
        return self._home is not None and not isinstance(self._home.kms, UnsafeUnsealedKeyring)

    @property
    def sealed_by(self) -> str:
        """The word for what seals the file (`argon2id`, `secret-file`, `transit`, ...); `memory` without a file."""
        return self._home.kms.kind if self._home else "memory"

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

    def letterbox_key(self, epoch: int) -> bytes:
        """Return the 32-byte private X25519 key of the letterbox of an epoch; `KeyringError` if there is none."""
        if epoch not in self.roots.kek:
            raise KeyringError("The keyring holds no such key epoch")
        return self._key(self.roots.kek[epoch], 32, b"letterbox", _number(epoch))

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

    def stranger_key(self, field_name: str) -> bytes:
        """Return the 32-byte HMAC key of tokens that are kept of people nobody knows; it outlives every generation."""
        return self._key(self.roots.tombstone, 32, b"stranger", field_name.encode())

    def audit_commitment_key(self) -> bytes:
        """Return the 32-byte key of commitments in the audit log that belong to no single person."""
        return self._key(self.roots.audit_commitment, 32, b"audit-commitment")

    def log_signing_seed(self) -> bytes:
        """Return the 32-byte Ed25519 seed (RFC 8032) of the audit log; independent of every erasable key."""
        return self.roots.log_signing_seed

    def log_epoch_seed(self, epoch: int) -> bytes:
        """Return the 32-byte Ed25519 seed of a later epoch of the audit log (from 2 on); see `audit.epochs`."""
        return self._key(self.roots.log_signing_seed, 32, b"log-epoch", _number(epoch))

    def receipt_signing_seed(self) -> bytes:
        """Return the 32-byte Ed25519 seed of consent receipts; not that of the log, so that neither speaks for both."""
        return self._key(self.roots.log_signing_seed, 32, b"receipt-signing")

    def fingerprint(self) -> str:
        """Return 32 hex digits that name this keyring for its whole life and reveal nothing of it.

        Compared at start with the one in the store, and with the one of an escrowed copy.
        """
        return derive(frame(*self.roots.lasting()), 16, b"fingerprint").hex()

    def key_fingerprints(self) -> dict[str, str]:
        """Return a fingerprint for each epoch (`kek/1`) and generation (`index/1`), to compare with escrow."""
        held = {"kek": self.roots.kek, "index": self.roots.index}
        return {
            f"{use}/{number}": derive(roots[number], 16, b"fingerprint", use.encode(), _number(number)).hex()
            for use, roots in held.items()
            for number in sorted(roots)
        }

    def new_kek_epoch(self, number: int | None = None) -> Keyring:
        """Add the next key epoch, or that of a `number`, and return the keyring in which it is the current one.

        One of that number that the file has by now is taken as it is, so that of two who add it one does. Raises
        `KeyringError` for a number that is past.
        """
        return self._change(lambda roots: replace(roots, kek=_with_next(roots.kek, number)))

    def destroy_kek_epoch(self, epoch: int) -> Keyring:
        """Destroy one past epoch; what is still wrapped under it is lost for ever, here and in every backup.

        Re-wrap all live data keys first. Raises `KeyringError` for the current epoch and for an unknown one. The root
        leaves the file first. Its key at the service, if it has one, is destroyed next; a service that is away owes
        that, see `destructions`.
        """
        return self._destroyed(lambda roots: replace(roots, kek=_without(roots.kek, epoch)))

    def new_index_generation(self) -> Keyring:
        """Add the next index generation and return the keyring in which it is the current one."""
        return self._change(lambda roots: replace(roots, index=_with_next(roots.index)))

    def destroy_index_generation(self, generation: int) -> Keyring:
        """Destroy one past index generation; errors and the service's part as for `destroy_kek_epoch`."""
        return self._destroyed(lambda roots: replace(roots, index=_without(roots.index, generation)))

    @property
    def destructions(self) -> Mapping[str, datetime | None]:
        """Keys of destroyed roots that still exist at the service: by when each is gone, None while that is owed."""
        return self._home.document.doomed if self._home and self._home.document else {}

    @property
    def key_names(self) -> frozenset[str]:
        """The names of the keys that seal the roots in the file."""
        document = self._home.document if self._home else None
        return frozenset(entry.key for entry in document.entries.values()) if document else frozenset()

    @property
    def has_own_keys(self) -> bool:
        """Whether a service keeps the keys that seal the file."""
        return self._home is not None and self._home.kms.has_own_keys

    @property
    def destruction_seconds(self) -> int:
        """How long the service takes to destroy the key of a root that left the file; 0 without such a service."""
        return self._home.kms.destruction_seconds if self._home else 0

    def settle_destructions(self, now: datetime | None = None) -> Keyring:
        """Ask the service again for every destruction that it owes, and forget those that are done at `now`.

        Raises `KeyServiceError` if the service is away.
        """
        if not any(by is None or (now and by <= now) for by in self.destructions.values()):
            return self
        return self._rewrite(lambda held, kms: _settled(held, kms, now))

    def reseal(self, kms: Kms) -> Keyring:
        """Seal the file under another secret or service and return the keyring; the roots stay. In memory: no effect.

        Keys at a service that is left behind are the operator's to destroy: old copies of the file open with them.
        Raises `KeyringError` while that service owes a destruction.
        """
        return self._rewrite(lambda held, _: seal(held, held.roots, kms, anew=True), kms)

    @property
    def recovery(self) -> RecoveryKey | None:
        """The key to which every root is sealed beside its own wrap, or None."""
        return self._home.document.recovery if self._home and self._home.document else None

    def use_recovery(self, recovery: RecoveryKey | None) -> Keyring:
        """Seal every root, now and from now on, to a recovery key as well, or to none. In memory: no effect."""
        return self._rewrite(lambda held, kms: with_recovery(seal(held, held.roots, kms), held.roots, recovery))

    def is_stale(self) -> bool:
        """Tell whether the file was replaced since this keyring was read (one `lstat`)."""
        return self._home is not None and stamp_of(self._home.path) != self._home.stamp

    def reload(self) -> Keyring:
        """Return the keyring as the file holds it now; this one if nothing changed. Asks `kms` for new roots alone."""
        home = self._home
        if home is None or not self.is_stale():
            return self
        content, stamp = read_private(home.path)
        opened = open_file(content, home.kms, self._opened)
        return Keyring(opened.roots, _Home(home.path, home.kms, stamp, opened.document))

    def reopen(self) -> Keyring:
        """Read the file and open every root in it anew, as proof that `kms` still does; this one if nothing changed."""
        if self._home is None:
            return self
        found = Keyring.open(self._home.path, self._home.kms)
        return self if found.roots == self.roots and not self.is_stale() else found

    @property
    def _opened(self) -> Opened:
        return Opened(self._home.document if self._home else None, self.roots)

    def _change(self, change: Callable[[Roots], Roots]) -> Keyring:
        return self._rewrite(lambda held, kms: seal(held, held.roots, kms), change=change)

    def _destroyed(self, change: Callable[[Roots], Roots]) -> Keyring:
        changed = self._change(change)
        try:
            return changed.settle_destructions()
        except KeyServiceError:
            return changed  # owed: the root is out of the file, and its key is asked for again

    def _rewrite(
        self,
        successor: Callable[[Opened, Kms], Document],
        kms: Kms | None = None,
        change: Callable[[Roots], Roots] = lambda roots: roots,
    ) -> Keyring:
        """Replace the file by the successor of what it holds now, under the writers' lock."""
        home = self._home
        if home is None:
            return Keyring(change(self.roots))
        with locked(home.path.parent):
            sweep(home.path)
            content, _ = read_private(home.path)
            held = open_file(content, home.kms, self._opened)
            changed = Opened(held.document, change(held.roots))
            document = successor(changed, home.kms)
            stamp = write_private(home.path, render(document, changed.roots), replace=True)
        return Keyring(changed.roots, _Home(home.path, kms or home.kms, stamp, document))

    def _key(self, root: bytes, length: int, *path: bytes) -> bytes:
        key = self._derived.get(path)
        if key is None:
            key = derive(root, length, *path)
            if len(self._derived) >= _MAX_DERIVED:
                self._derived.clear()
            self._derived[path] = key
        return key


def _number(value: int) -> bytes:
    if not 0 <= value <= MAX_NUMBER:
        raise KeyringError("The keyring holds no key of such a number")
    return value.to_bytes(4, "big")


def _with_next(roots: Mapping[int, bytes], number: int | None = None) -> Mapping[int, bytes]:
    wanted = max(roots) + 1 if number is None else number
    if wanted < max(roots):
        raise KeyringError("A key of a past number is never made")
    return roots if wanted in roots else {**roots, wanted: draw()}


def _without(roots: Mapping[int, bytes], number: int) -> Mapping[int, bytes]:
    if number not in roots or number == max(roots):
        raise KeyringError("Only a past key that exists can be destroyed, never the current one")
    return {held: root for held, root in roots.items() if held != number}


def _settled(held: Opened, kms: Kms, now: datetime | None) -> Document:
    document = seal(held, held.roots, kms)
    if None in document.doomed.values():
        prove(document, held.roots, kms)
    done = {key: kms.schedule_destroy(key).by for key, by in document.doomed.items() if by is None}
    left = {key: by for key, by in {**document.doomed, **done}.items() if by and not (now and by <= now)}
    return replace(document, doomed=left)
