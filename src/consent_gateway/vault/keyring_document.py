"""A keyring file, format 2: every root sealed on its own, and a manifest over all of it.

::

    {"format": "consent-gateway-keyring", "version": 2, "id": 16 bytes, "kind": the provider's word,
     "roots": {"kek/1": {"key": its key's name, "sealed": wrap, "recovery": wrap or absent}, ...},
     "recovery": {"public": 32 bytes, "threshold": k, "count": n} or null,
     "doomed": {a key's name: null while its destruction is owed, else the second by which it is destroyed},
     "manifest": 32 bytes}                                                   bytes are in hexadecimal

A root is bound to `context`: format, version, the keyring's id, use and number, each with its length. So neither a
root of another keyring nor another root of this one passes for it. The manifest is an HMAC-SHA256, under a key derived
from the four lasting roots, over everything else in the file and over the roots themselves. Hence nobody without the
keys can take a root out, put one back that was destroyed, turn the recovery key into one of their own, or make a
service that answers with another key's plaintext go unnoticed. An older file as a whole stays a valid file: that it
opens no more is what destroying its keys is for.

Pure: bytes in, values out. Whatever is wrong with a file ends in the one message of `NOT_OPENED`, except for a version
that a later release may know.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from consent_gateway.errors import KeyringError
from consent_gateway.vault.derivation import derive, frame
from consent_gateway.vault.kms.port import NOT_OPENED
from consent_gateway.vault.recovery import RecoveryKey
from consent_gateway.vault.roots import Roots, split

FORMAT = "consent-gateway-keyring"
VERSION = 2
ID_BYTES = 16
_MANIFEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """One sealed root: the name of its key, its wrap, and its wrap to the recovery key if there is one."""

    key: str
    sealed: bytes
    recovery: bytes | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """All of a file but its manifest; `doomed` names keys to be destroyed, and by when they are (None: owed)."""

    id: bytes
    kind: str
    entries: Mapping[str, Entry]
    recovery: RecoveryKey | None = None
    doomed: Mapping[str, datetime | None] = field(default_factory=dict)

    def context(self, name: str) -> bytes:
        """Return what the root of this name is bound to."""
        use, number = split(name)
        return frame(FORMAT.encode(), VERSION.to_bytes(4, "big"), self.id, use.encode(), number.to_bytes(4, "big"))


def render(document: Document, roots: Roots) -> bytes:
    """Return the file."""
    plain = _plain(document)
    manifest = _manifest(plain, roots)
    return json.dumps({**plain, "manifest": manifest.hex()}, indent=1).encode() + b"\n"


def version_of(content: bytes) -> tuple[dict[str, Any], int]:
    """Return the file as JSON and its version; `KeyringError` if it is no keyring."""
    try:
        held = json.loads(content)
        version = held["version"] if held["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyringError(NOT_OPENED) from None
    if type(version) is not int:
        raise KeyringError(NOT_OPENED)
    return held, version


def parse(held: Mapping[str, Any]) -> tuple[Document, bytes]:
    """Return the document and its manifest, of which nothing is checked yet but its form."""
    try:
        entries = {str(name): _entry(entry) for name, entry in held["roots"].items()}
        document = Document(
            bytes.fromhex(held["id"]),
            str(held["kind"]),
            entries,
            _recovery(held["recovery"]),
            {str(key): _instant(by) for key, by in held["doomed"].items()},
        )
        for name in entries:
            split(name)
        manifest = bytes.fromhex(held["manifest"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise KeyringError(NOT_OPENED) from None
    if len(document.id) != ID_BYTES or len(manifest) != _MANIFEST_BYTES:
        raise KeyringError(NOT_OPENED)
    return document, manifest


def check(document: Document, roots: Roots, manifest: bytes) -> None:
    """Raise `KeyringError` unless the manifest was made for this document and these roots."""
    if not hmac.compare_digest(_manifest(_plain(document), roots), manifest):
        raise KeyringError(NOT_OPENED)


def _manifest(plain: Mapping[str, Any], roots: Roots) -> bytes:
    key = derive(frame(*roots.lasting()), 32, b"keyring-manifest")
    listed = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(key, frame(listed, *roots.by_name().values()), "sha256")


def _plain(document: Document) -> dict[str, Any]:
    recovery = document.recovery
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": document.id.hex(),
        "kind": document.kind,
        "roots": {name: _plain_entry(document.entries[name]) for name in sorted(document.entries)},
        "recovery": None
        if recovery is None
        else {"public": recovery.public.hex(), "threshold": recovery.threshold, "count": recovery.count},
        "doomed": {key: None if by is None else int(by.timestamp()) for key, by in document.doomed.items()},
    }


def _plain_entry(entry: Entry) -> dict[str, str]:
    plain = {"key": entry.key, "sealed": entry.sealed.hex()}
    return plain if entry.recovery is None else {**plain, "recovery": entry.recovery.hex()}


def _entry(held: Mapping[str, str]) -> Entry:
    recovery = held.get("recovery")
    return Entry(str(held["key"]), bytes.fromhex(held["sealed"]), None if recovery is None else bytes.fromhex(recovery))


def _recovery(held: Mapping[str, Any] | None) -> RecoveryKey | None:
    if held is None:
        return None
    return RecoveryKey(bytes.fromhex(held["public"]), int(held["threshold"]), int(held["count"]))


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
