"""Opening and sealing the roots of a keyring file through a key service.

What changes is sealed and nothing else: a new epoch costs a new key and one wrap, not one per root. What did not
change is not opened again either, so that following another process' change asks for the new roots alone.

Before a file with a new root is written, the service must give back what it was just given, and a root that it was
given long ago. A service that was wiped, or answers for another keyring, takes new secrets gladly; without this a data
key could come to rest under a key that nobody can use again. So a change that needs a new key fails closed.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault import keyring_document, keyring_v1
from consent_gateway.vault.keyring_document import ID_BYTES, Document, Entry
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Kms
from consent_gateway.vault.protectors import Protector
from consent_gateway.vault.recovery import NOT_RECOVERED, RecoveryKey, public_of, unseal
from consent_gateway.vault.roots import LASTING, Roots

_PROBE = "tombstone"


@dataclass(frozen=True, slots=True)
class Opened:
    """A file's document (None for one of format 1) and its roots."""

    document: Document | None
    roots: Roots = field(repr=False)


def open_file(content: bytes, kms: Kms, known: Opened | None = None) -> Opened:
    """Open a file of either format; roots whose entries equal those in `known` are taken from there.

    Raises `KeyringError` (`NOT_OPENED`, or an unknown version) and what `kms` raises.
    """
    held, version = keyring_document.version_of(content)
    if version == keyring_v1.VERSION and isinstance(kms, Protector):
        return Opened(None, keyring_v1.decode(held, kms))
    if version not in {keyring_v1.VERSION, keyring_document.VERSION}:
        raise KeyringError("The keyring's format version is not known to this release")
    document, manifest = keyring_document.parse(held)
    if document.kind != kms.kind:
        raise KeyringError(NOT_OPENED)
    return _checked(document, _open_entries(document, kms, known), manifest)


def recover_file(content: bytes, private: bytes) -> Opened:
    """Open a file by its recovery key; `KeyringError` if it has none, has another, or is damaged."""
    held, version = keyring_document.version_of(content)
    if version != keyring_document.VERSION:
        raise KeyringError("The keyring has no recovery key: it was written by an earlier release")
    document, manifest = keyring_document.parse(held)
    if document.recovery is None:
        raise KeyringError("The keyring has no recovery key: shares were never made for it")
    if document.recovery.public != public_of(private):
        raise KeyringError(NOT_RECOVERED)
    named = {
        name: unseal(private, entry.recovery or b"", document.context(name)) for name, entry in document.entries.items()
    }
    return _checked(document, named, manifest)


def seal(held: Opened | None, roots: Roots, kms: Kms, *, anew: bool = False) -> Document:
    """Return the document for `roots`: entries of `held` stay where their roots do, all others are sealed.

    `anew` seals every root, under another provider or other keys. Raises `KeyServiceError` if the service cannot, or
    does not give back what it was given; `KeyringError` if it gives something else.
    """
    former = held.document if held else None
    document = former or Document(secrets.token_bytes(ID_BYTES), kms.kind, {})
    kept = {} if anew else {name: entry for name, entry in document.entries.items() if name in roots.by_name()}
    fresh = {name: root for name, root in roots.by_name().items() if name not in kept}
    entries = kept | (_seal_entries(document, kms, fresh, _probe(kept, roots)) if fresh else {})
    if anew and None in document.doomed.values():  # of the same kind it may be another one all the same
        raise KeyringError("The key service that is left still owes the destruction of keys")
    doomed = dict(document.doomed) if document.kind == kms.kind else {}
    if kms.has_own_keys and not anew:
        gone = {entry.key for entry in document.entries.values()} - {entry.key for entry in entries.values()}
        doomed |= dict.fromkeys(sorted(gone))
    document = replace(document, kind=kms.kind, entries=entries, doomed=doomed)
    return with_recovery(document, roots, document.recovery)


def prove(document: Document, roots: Roots, kms: Kms) -> None:
    """Raise `KeyServiceError` unless the service gives back a root that it was given long ago.

    One that lost its keys, or another one at the same address, says of every key that it is gone.
    """
    asked = [_bound(document, _PROBE)]
    try:
        same = hmac.compare_digest(_each(kms.unwrap(asked), asked)[0], roots.tombstone)
    except KeyringError:
        same = False
    if not same:
        raise KeyServiceError("The key service is not the one that sealed the keyring; it destroyed nothing")


def with_recovery(document: Document, roots: Roots, recovery: RecoveryKey | None) -> Document:
    """Return the document with every root sealed to `recovery` as well, or to nobody if that is None."""
    same = recovery == document.recovery

    def covered(name: str, entry: Entry) -> Entry:
        if recovery is None:
            return replace(entry, recovery=None)
        if same and entry.recovery is not None:
            return entry
        return replace(entry, recovery=recovery.seal(named[name], document.context(name)))

    named = roots.by_name()
    entries = {name: covered(name, entry) for name, entry in document.entries.items()}
    return replace(document, entries=entries, recovery=recovery)


def _open_entries(document: Document, kms: Kms, known: Opened | None) -> dict[str, bytes]:
    named = _known(document, known)
    missing = [name for name in document.entries if name not in named]
    if missing:
        wraps = [_bound(document, name) for name in missing]
        named |= dict(zip(missing, _each(kms.unwrap(wraps), wraps), strict=True))
    return named


def _known(document: Document, known: Opened | None) -> dict[str, bytes]:
    if known is None or known.document is None or known.document.id != document.id:
        return {}
    roots, entries = known.roots.by_name(), known.document.entries
    return {
        name: roots[name]
        for name, entry in document.entries.items()
        if name in entries and (entries[name].key, entries[name].sealed) == (entry.key, entry.sealed)
    }


def _checked(document: Document, named: Mapping[str, bytes], manifest: bytes) -> Opened:
    try:
        roots = Roots.from_names(named)
    except ValueError:
        raise KeyringError(NOT_OPENED) from None
    keyring_document.check(document, roots, manifest)
    return Opened(document, roots)


def _probe(kept: Mapping[str, Entry], roots: Roots) -> tuple[Entry, bytes] | None:
    return (kept[_PROBE], roots.tombstone) if _PROBE in kept else None


def _seal_entries(
    document: Document, kms: Kms, fresh: Mapping[str, bytes], probe: tuple[Entry, bytes] | None
) -> dict[str, Entry]:
    lasting = probe[0].key if probe else kms.create_key(f"{_label(document)}-lasting")
    keys = {name: _key(document, kms, name, lasting) for name in fresh}
    bound = [Bound(keys[name], document.context(name), root) for name, root in fresh.items()]
    wraps = _each(kms.wrap(bound), bound)
    entries = {name: Entry(keys[name], wrap) for name, wrap in zip(fresh, wraps, strict=True)}
    written = replace(document, entries=entries)
    asked, expected = [_bound(written, name) for name in entries], list(fresh.values())
    if probe:
        asked.append(Bound(probe[0].key, document.context(_PROBE), probe[0].sealed))
        expected.append(probe[1])
    if not all(map(hmac.compare_digest, _each(kms.unwrap(asked), asked), expected)):
        raise KeyServiceError("The key service does not give back what it was given; nothing was changed")
    return entries


def _each(answers: list[bytes], asked: Sequence[Bound]) -> list[bytes]:
    """Return the answers, one for each that was asked: a missing one would let the rest pass unproven."""
    if len(answers) != len(asked):
        raise KeyServiceError("The key service does not answer for each key that it was asked about")
    return answers


def _key(document: Document, kms: Kms, name: str, lasting: str) -> str:
    """Return the name of a root's key: one of its own where a root can be destroyed with it, else the common one."""
    if name in LASTING or not kms.has_own_keys:
        return lasting
    return kms.create_key(f"{_label(document)}-{name.replace('/', '-')}")


def _label(document: Document) -> str:
    return document.id[:4].hex()


def _bound(document: Document, name: str) -> Bound:
    entry = document.entries[name]
    return Bound(entry.key, document.context(name), entry.sealed)
