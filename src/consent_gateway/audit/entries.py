"""The entry envelope: what one leaf of the log says, as canonical JSON bytes.

::

    {"actor":"key:ops","at":1700000000000,"commitments":{"payload":"<hex>"},"fields":{…},
     "kind":"consent.recorded","uid":"<32 hex digits>","v":1}

Kinds are a closed list: an auditor who knows it has read every sentence the log can say. `fields` are
non-personal JSON (counts, versions, codes, digests); whatever concerns a person stands behind a salted commitment
(`commitments`). The bytes are what is hashed, stored and served; nothing ever re-creates them from columns.

Invariants: one entry has one byte string, at most 65,535 bytes (the length field of an entry bundle, C2SP
tlog-tiles); `parse_entry` accepts exactly the strings that `entry_bytes` writes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from consent_gateway.audit.canonical import MAX_SAFE_INTEGER, canonical_json
from consent_gateway.audit.commitments import COMMITMENT_BYTES, UID_BYTES

ENTRY_VERSION = 1
MAX_ENTRY_BYTES = 65_535
_DRAWN_BYTES = 10
_LOW_BITS = 62
_LOW_MASK, _HIGH_MASK, _TIME_MASK = (1 << _LOW_BITS) - 1, (1 << 12) - 1, (1 << 48) - 1
_MEMBERS = frozenset({"actor", "at", "commitments", "fields", "kind", "uid", "v"})
_NO_COMMITMENTS: Mapping[str, bytes] = {}


class EntryKind(StrEnum):
    """Everything that the log can record; a kind is never renamed, reused or removed."""

    CONSENT_RECORDED = "consent.recorded"
    DECISION_MADE = "decision.made"
    DECISIONS_BATCH = "decisions.batch"
    AUDIENCE_RESOLVED = "audience.resolved"
    SUBJECT_IMPORTED = "subject.imported"
    EVENTS_IMPORTED = "events.imported"
    CONTACTS_RECORDED = "contacts.recorded"
    SUBJECT_ERASED = "subject.erased"
    RIGHT_EXERCISED = "right.exercised"
    REVEAL_MADE = "reveal.made"
    SOURCE_REGISTERED = "source.registered"
    PURPOSE_REGISTERED = "purpose.registered"
    NOTICE_PUBLISHED = "notice.published"
    RECIPIENT_REGISTERED = "recipient.registered"
    SEGMENT_SAVED = "segment.saved"
    POLICY_PROPOSED = "policy.proposed"
    POLICY_SHADOWED = "policy.shadowed"
    POLICY_ACTIVATED = "policy.activated"
    DECISION_REPLAYED = "decision.replayed"
    KEY_ISSUED = "key.issued"
    KEY_REVOKED = "key.revoked"
    KEK_CREATED = "kek.created"
    KEY_JOB_STARTED = "key_job.started"
    KEY_JOB_FINISHED = "key_job.finished"
    KEK_DESTROYING = "kek.destroying"
    KEK_DESTROYED = "kek.destroyed"
    DEK_ROTATED = "dek.rotated"
    PAIRWISE_EPOCH_CREATED = "pairwise_epoch.created"
    LOG_CREATED = "log.created"
    MAP_PUBLISHED = "map.published"
    ACCESS_DENIED = "access.denied"
    RECONCILE_RUN = "reconcile.run"
    LEDGER_READ = "ledger.read"
    NOTICE_SHOWN = "notice.shown"
    ADMIN_ACTION = "admin.action"
    SUBJECTS_MERGED = "subjects.merged"
    SUBJECTS_UNMERGED = "subjects.unmerged"
    CONTROLLER_REGISTERED = "controller.registered"
    PROCESSING_REGISTERED = "processing.registered"
    RECEIPT_ISSUED = "receipt.issued"
    SIGNAL_RECEIVED = "signal.received"
    SIGNAL_MAPPED = "signal.mapped"
    APPROVAL_PROPOSED = "approval.proposed"
    APPROVAL_GIVEN = "approval.given"
    APPROVAL_ENDED = "approval.ended"
    QUOTA_SET = "quota.set"
    CANARY_PLANTED = "canary.planted"
    CANARY_READ = "canary.read"
    MEMBERS_READ = "members.read"
    LOG_SEARCHED = "log.searched"
    PSEUDONYM_READ = "pseudonym.read"
    ERASURE_REPLAYED = "erasure.replayed"
    TOMBSTONES_REPLAYED = "tombstones.replayed"
    PSEUDONYMS_CONVERTED = "pseudonyms.converted"
    IDENTIFIERS_DISCLOSED = "identifiers.disclosed"
    HOLD_PLACED = "hold.placed"
    HOLD_ENDED = "hold.ended"
    ERASURE_DEFERRED = "erasure.deferred"
    RECOVERY_SET = "recovery.set"
    RECOVERY_DRILLED = "recovery.drilled"
    KEYRING_RECOVERED = "keyring.recovered"
    INDEX_MOVED = "index.moved"
    RETENTION_RUN = "retention.run"
    SENSITIVE_RECORDED = "sensitive.recorded"
    TOMBSTONE_LIFTED = "tombstone.lifted"
    INTAKE_DEFERRED = "intake.deferred"
    INTAKE_SETTLED = "intake.settled"
    KEYRING_RESEALED = "keyring.resealed"
    FIELDS_DELETED = "fields.deleted"
    LOG_EPOCH_OPENED = "log.epoch_opened"
    OWN_KEY_RENEWED = "own_key.renewed"
    BUNDLE_DISCLOSED = "bundle.disclosed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    `at` is epoch milliseconds, `actor` a principal's public name, `uid` 16 bytes unique to the entry, `fields`
    canonical-JSON values without personal data, `commitments` 32-byte values of `commitments.commit` by name.
    """

    kind: EntryKind
    at: int
    actor: str
    uid: bytes
    fields: Mapping[str, object] = field(default_factory=dict)
    commitments: Mapping[str, bytes] = field(default_factory=dict)


class EntryWriter:
    """Write many entries of one kind by one actor: the constant parts are encoded once.

    This is the hot path of decisions. `EntryWriter(kind, actor).write(...)` and `entry_bytes` give the same
    bytes. Raises ValueError when `actor` is empty or holds a lone surrogate.
    """

    __slots__ = ("_head", "_tail")

    def __init__(self, kind: EntryKind, actor: str) -> None:
        if not actor:
            raise ValueError("an entry needs an actor")
        # members in canonical order: actor, at, commitments, fields, kind, uid, v
        self._head = b'{"actor":%b,"at":' % canonical_json(actor)
        self._tail = b',"kind":%b,"uid":"' % canonical_json(kind.value)

    def write(
        self,
        at: int,
        uid: bytes,
        fields: Mapping[str, object],
        commitments: Mapping[str, bytes] = _NO_COMMITMENTS,
    ) -> bytes:
        """Return the bytes of one entry; see `Entry` for the arguments, `entry_bytes` for the errors."""
        encoded = canonical_json(fields if type(fields) is dict else dict(fields))
        return self.write_encoded(at, uid, encoded, _commitments_json(commitments) if commitments else b"{}")

    def write_encoded(self, at: int, uid: bytes, fields: bytes, commitments: bytes) -> bytes:
        """Return the bytes of one entry whose `fields` and `commitments` are canonical JSON already.

        Decisions repeat the same few fields many thousand times a second: they are encoded once. ValueError as for
        `write`; what is not canonical JSON gives an entry that `parse_entry` refuses.
        """
        if len(uid) != UID_BYTES or not 0 <= at <= MAX_SAFE_INTEGER:
            raise ValueError("an entry needs a 16-byte uid and a time in epoch milliseconds")
        data = b'%b%d,"commitments":%b,"fields":%b%b%b","v":%d}' % (
            self._head,
            at,
            commitments,
            fields,
            self._tail,
            uid.hex().encode(),
            ENTRY_VERSION,
        )
        if len(data) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry is at most {MAX_ENTRY_BYTES} bytes")
        return data


@lru_cache(maxsize=1024)
def entry_writer(kind: EntryKind, actor: str) -> EntryWriter:
    """Return the writer of these entries; who acts once acts again."""
    return EntryWriter(kind, actor)


def new_uid(at: int) -> bytes:
    """Return a fresh uid for an entry of that time (epoch milliseconds): a UUIDv7 (RFC 9562, 5.7), 74 bits random.

    Entries of one time lie together wherever a store keeps them by uid, so that a commit writes few pages instead of
    one for each entry. It tells nothing that `at` does not tell.
    """
    drawn = int.from_bytes(secrets.token_bytes(_DRAWN_BYTES), "big")
    high, low = drawn >> _LOW_BITS & _HIGH_MASK, drawn & _LOW_MASK
    return ((at & _TIME_MASK) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low).to_bytes(UID_BYTES, "big")


def entry_bytes(entry: Entry) -> bytes:
    """Return the canonical bytes of `entry`, the input of its leaf hash.

    Raises ValueError when a part has the wrong length, a field has no canonical form, or the whole is longer than
    65,535 bytes.
    """
    return EntryWriter(entry.kind, entry.actor).write(entry.at, entry.uid, entry.fields, entry.commitments)


def parse_entry(data: bytes) -> Entry:
    """Return the entry that `data` holds; raises ValueError unless `data` is exactly its canonical form.

    Unknown members, kinds or versions, duplicate keys, blanks, floats and other spellings are all refused:
    writing the entry again must give `data` back.
    """
    entry = _entry_of(_load(data))
    if entry_bytes(entry) != data:
        raise ValueError("the entry is not in canonical form")
    return entry


def _commitments_json(commitments: Mapping[str, bytes]) -> bytes:
    """Return the JSON object of names and hex values."""
    for value in commitments.values():
        if len(value) != COMMITMENT_BYTES:
            raise ValueError("a commitment has 32 bytes")
    return canonical_json({name: value.hex() for name, value in commitments.items()})


def _load(data: bytes) -> dict[str, object]:
    """Return the JSON object in `data` with exactly the members of an entry."""
    if len(data) > MAX_ENTRY_BYTES:
        raise ValueError(f"an entry is at most {MAX_ENTRY_BYTES} bytes")
    try:
        raw = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise ValueError("the entry is not JSON") from None  # the original error quotes the data
    if not isinstance(raw, dict) or raw.keys() != _MEMBERS:
        raise ValueError("the entry has missing or unknown members")
    return raw


def _entry_of(raw: dict[str, object]) -> Entry:
    """Return the entry with these members, each of its type; the caller compares the spelling."""
    match raw:
        case {
            "actor": str(actor),
            "at": int(at),
            "commitments": dict(commitments),
            "fields": dict(fields),
            "kind": str(kind),
            "uid": str(uid),
        }:
            opened = {name: bytes.fromhex(str(value)) for name, value in commitments.items()}
            return Entry(EntryKind(kind), at, actor, bytes.fromhex(uid), fields, opened)
        case _:
            raise ValueError("a member of the entry has the wrong type")
