"""The entry envelope and its commitments."""

from __future__ import annotations

import hmac
import json
from functools import reduce
from hashlib import sha256
from operator import and_, or_
from uuid import RFC_4122, UUID

import pytest
from audit_fakes import flip
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.commitments import commit, opening_salt, payload_name, verify_opening
from consent_gateway.audit.entries import (
    MAX_ENTRY_BYTES,
    Entry,
    EntryKind,
    EntryWriter,
    entry_bytes,
    new_uid,
    parse_entry,
)

KEY = bytes(range(32))
UID = bytes(range(16))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(EntryKind),
    at=st.integers(0, 2**53 - 1),
    actor=TEXT.filter(bool),
    uid=st.binary(min_size=16, max_size=16),
    fields=st.dictionaries(TEXT, TEXT | st.integers(-9, 9) | st.booleans() | st.none(), max_size=4),
    commitments=st.dictionaries(TEXT, st.binary(min_size=32, max_size=32), max_size=3),
)


def example(**changes: object) -> Entry:
    facts: dict[str, object] = {
        "kind": EntryKind.CONSENT_RECORDED,
        "at": 1_700_000_000_000,
        "actor": "key:crm",
        "uid": UID,
        "fields": {"purpose": "marketing", "action": "given"},
        "commitments": {"payload": bytes(32)},
    }
    return Entry(**{**facts, **changes})  # type: ignore[arg-type]


def test_the_bytes_of_an_entry_are_fixed() -> None:
    assert entry_bytes(example()) == (
        b'{"actor":"key:crm","at":1700000000000,"commitments":{"payload":"' + b"00" * 32 + b'"},'
        b'"fields":{"action":"given","purpose":"marketing"},"kind":"consent.recorded",'
        b'"uid":"000102030405060708090a0b0c0d0e0f","v":1}'
    )


def test_kinds_are_the_closed_list() -> None:
    assert {kind.value for kind in EntryKind} == {
        "consent.recorded", "decision.made", "decisions.batch", "audience.resolved", "subject.imported",
        "events.imported", "contacts.recorded", "subject.erased", "right.exercised", "reveal.made",
        "source.registered", "purpose.registered", "notice.published", "recipient.registered", "segment.saved",
        "policy.proposed", "policy.shadowed", "policy.activated", "decision.replayed", "key.issued", "key.revoked",
        "key_job.started", "key_job.finished", "kek.destroying", "kek.destroyed", "dek.rotated",
        "kek.created", "pairwise_epoch.created", "log.created", "map.published", "access.denied", "ledger.read", "notice.shown", "reconcile.run",
        "admin.action", "controller.registered", "processing.registered", "receipt.issued",
        "signal.received", "signal.mapped", "subjects.merged", "subjects.unmerged",
        "approval.proposed", "approval.given", "approval.ended",
        "quota.set", "canary.planted", "canary.read", "members.read", "log.searched", "pseudonym.read",
        "erasure.replayed", "tombstones.replayed",
        "pseudonyms.converted", "identifiers.disclosed",
        "hold.placed", "hold.ended", "erasure.deferred", "retention.run", "intake.deferred", "intake.settled", "keyring.resealed",
        "recovery.set", "recovery.drilled", "keyring.recovered",
        "index.moved", "sensitive.recorded", "tombstone.lifted", "fields.deleted",
        "log.epoch_opened", "own_key.renewed", "bundle.disclosed",
    }  # fmt: skip


@settings(derandomize=True, deadline=None)
@given(ENTRIES)
def test_parsing_gives_the_entry_back(entry: Entry) -> None:
    assert parse_entry(entry_bytes(entry)) == entry


@settings(derandomize=True, deadline=None)
@given(ENTRIES)
def test_the_writer_and_the_general_encoder_agree(entry: Entry) -> None:
    written = EntryWriter(entry.kind, entry.actor).write(entry.at, entry.uid, entry.fields, entry.commitments)
    assert written == entry_bytes(entry)
    members = json.loads(written)
    assert list(members) == sorted(members)


@pytest.mark.parametrize(
    "changes",
    [
        {"at": -1},
        {"at": 2**53},
        {"actor": ""},
        {"actor": "\ud800"},
        {"uid": bytes(15)},
        {"commitments": {"payload": bytes(31)}},
        {"fields": {"amount": 1.5}},
        {"fields": {"text": "x" * MAX_ENTRY_BYTES}},
    ],
)
def test_an_impossible_entry_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        entry_bytes(example(**changes))


def test_the_longest_entry_is_65535_bytes() -> None:
    room = MAX_ENTRY_BYTES - len(entry_bytes(example(fields={"t": ""})))
    assert len(entry_bytes(example(fields={"t": "x" * room}))) == MAX_ENTRY_BYTES
    with pytest.raises(ValueError, match="65535"):
        entry_bytes(example(fields={"t": "x" * (room + 1)}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":1.0'),
        (b'"v":1', b'"v":true'),
        (b'"v":1', b'"v":1,"w":1'),
        (b'"v":1', b'"v":1,"v":1'),
        (b',"v":1', b""),
        (b'"at":17', b'"at": 17'),
        (b'"at":17', b'"at":0.17e2'),
        (b'"at":1700000000000', b'"at":"1700000000000"'),
        (b'"at":1700000000000', b'"at":true'),
        (b"consent.recorded", b"consent.removed"),
        (b"key:crm", b"key:\\u0063rm"),
        (b"0c0d0e0f", b"0C0D0E0F"),
        (b"0c0d0e0f", b"0c0d0e"),
        (b'"00000000', b'" 0000000'),
        (b'{"action"', b'{"z":0,"action"'),
        (b'"key:crm"', b"7"),
    ],
)
def test_any_other_spelling_is_refused(old: bytes, new: bytes) -> None:
    data = entry_bytes(example())
    changed = data.replace(old, new, 1)
    assert changed != data
    with pytest.raises(ValueError):
        parse_entry(changed)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"[" * 60_000, b"1" * 60_000, b"x" * 70_000])
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_entry(data)


def test_a_commitment_is_the_documented_hash() -> None:
    salt = hmac.new(KEY, UID + b"payload", "sha256").digest()
    assert opening_salt(KEY, UID, "payload") == salt
    want = sha256(b"consent-gateway/commitment/v1" + b"\x00" + salt + b'{"a":1}').digest()
    assert commit(KEY, UID, "payload", b'{"a":1}') == want


def test_equal_payloads_look_unrelated() -> None:
    values = {
        commit(key, uid, name, b"same") for key in (KEY, bytes(32)) for uid in (UID, bytes(16)) for name in ("a", "b")
    }
    assert len(values) == 8


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=40), st.data())
def test_an_opening_holds_for_its_own_payload_only(payload: bytes, data: st.DataObject) -> None:
    salt, commitment = opening_salt(KEY, UID, "payload"), commit(KEY, UID, "payload", payload)
    assert verify_opening(commitment, salt, payload)
    bit = data.draw(st.integers(0, 255))
    assert not verify_opening(flip(commitment, bit), salt, payload)
    assert not verify_opening(commitment, flip(salt, bit), payload)
    assert not verify_opening(commitment, salt, payload + b"\0")
    # a salt that takes bytes of the payload along must not open it
    assert not verify_opening(commitment, salt + payload[:1], payload[1:]) or not payload
    assert not verify_opening(b"", salt, payload)


def test_what_a_payload_calls_a_thing_of_ours_is_the_persons_alone() -> None:
    tag = b"consent-gateway/payload-name/v1\0"
    named = hmac.new(KEY, tag + b"guardian\0" + (7).to_bytes(8, "big"), "sha256").digest()[:16].hex()
    assert payload_name(KEY, "guardian", 7) == named
    others = {payload_name(key, kind, n) for key in (KEY, bytes(32)) for kind in ("guardian", "merge") for n in (7, 8)}
    assert len(others) == 8


@pytest.mark.parametrize(("key", "uid"), [(b"", UID), (KEY[:31], UID), (KEY, UID[:15])])
def test_short_keys_and_uids_are_refused(key: bytes, uid: bytes) -> None:
    with pytest.raises(ValueError):
        commit(key, uid, "payload", b"")


@given(at=st.integers(0, 2**48 - 1))
def test_a_new_uid_is_a_uuid_of_its_time(at: int) -> None:
    """RFC 9562, 5.7: 48 bits of milliseconds, version 7, variant 10."""
    uid = UUID(bytes=new_uid(at))
    assert (uid.int >> 80, uid.version, uid.variant) == (at, 7, RFC_4122)


def test_new_uids_of_one_time_differ_in_every_bit_that_is_drawn() -> None:
    drawn = [int.from_bytes(new_uid(0), "big") for _ in range(400)]
    assert len(set(drawn)) == 400
    ones, zeros = reduce(or_, drawn), reduce(and_, drawn)
    assert ones == (0x7FFF << 64) | (0xBFFFFFFFFFFFFFFF)
    assert zeros == (0x7000 << 64) | (0x8000000000000000)


def test_a_time_beyond_the_uuid_still_gives_sixteen_bytes() -> None:
    assert len(new_uid(2**53 - 1)) == 16
