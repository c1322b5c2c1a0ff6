"""Receipts out of the ledger: complete or refused, about nobody by name, in the log, and good after an erasure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    a_source,
    by,
    dump,
    id_of,
    incoming,
    ref,
    take,
    twin,
    withdraw,
)
from consent_gateway.audit.consent_receipts import receipt_payload, verify_document
from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.audit.verifier import verify_payload
from consent_gateway.clock import FixedClock
from consent_gateway.db import audience_rows, merges, tables
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SourceId
from consent_gateway.domain.purposes import Channel, Party, RecipientKind, Source
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing
from consent_gateway.domain.records.consent import Form
from consent_gateway.domain.records.terms import EVENT_STATE, RENEWED
from consent_gateway.errors import ConflictError, IncompleteError, InputError, NotFoundError, StoreError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.ledger import notices, receipts
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.registry import records, registers
from consent_gateway.services.work.gateway import Gateway
from replicas import a_replica, impatient

ADDRESS = Address("Street 1, Berlin", "Ada", "privacy@acme.example", "+49 30 1", "https://acme.example")
CONTROLLER = Controller("Acme GmbH", "DE", ADDRESS, "https://acme.example/privacy")
PROCESSING = Processing(
    data_categories=(DataCategory("EmailAddress"),),
    subject_categories=("Customer",),
    retention="P2Y",
    withdrawal_method="the link in every message",
    storage_locations=("DE",),
    recipients=(RecipientId("self"), RecipientId("house")),
)
MARKETING, DIRECT = PurposeId("marketing"), PurposeId("direct_marketing")


@pytest.fixture
def complete(gateway: Gateway) -> Gateway:
    """A gateway whose registers hold everything that a receipt says, and person 1 who said yes under a notice."""
    with gateway.work() as work:
        registers.put_source(work, a_source())
        notices.put_notice(work, NoticeId("privacy"), 3, "en", "Privacy", "We write to you.")
        registers.put_recipient(work, a_recipient("house"))
        records.put_party(work, RecipientId("house"), ADDRESS)
        records.put_controller(work, CONTROLLER)
        records.put_processing(work, MARKETING, PROCESSING)
    take(gateway, [a_person(1)])
    take(gateway, [a_consent(ref(1), notice="privacy", notice_version=3, language="en", method="form")])
    return gateway


def issue(gateway: Gateway, number: int = 1, **changes: Any) -> bytes:
    values: dict[str, Any] = {"purpose_id": "direct_marketing", "channel": Channel.EMAIL, "form": Form.ISO27560}
    with gateway.work() as work:
        return receipts.issue(work, ref(number), **(values | changes))


def content(document: bytes) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads(document)["receipt"]
    return receipt


def jwks(gateway: Gateway) -> bytes:
    return json.dumps({"keys": [key.members for key in receipts.keys(gateway)]}).encode()


def pending(gateway: Gateway) -> list[tuple[bytes, Entry]]:
    with gateway.store.reading() as session:
        raw = [bytes(e) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    return [(e, parse_entry(e)) for e in raw]


def entry_of(gateway: Gateway) -> bytes:
    (found,) = (raw for raw, entry in pending(gateway) if entry.kind is EntryKind.RECEIPT_ISSUED)
    return found


# -- what it says ------------------------------------------------------------------------------------------------


def test_a_receipt_tells_the_whole_story(complete: Gateway) -> None:
    withdraw(complete, ref(1))
    found = content(issue(complete))
    states = [e["event_state"].rpartition("#")[2] for e in found["events"]]
    assert states == ["ConsentGiven", "ConsentWithdrawn"]
    assert [c["event_state"].rpartition("#")[2] for c in found["current"]] == ["ConsentWithdrawn"]
    (processing,) = found["processing"]
    assert processing["privacy_notice"]["version"] == 3
    assert len(processing["privacy_notice"]["text_sha256"]) == 64
    assert processing["lawful_basis"][1].endswith("gdpr#A6-1-a")
    assert processing["jurisdiction"] == ["DE"]
    assert processing["retention_period"] == "P2Y"  # from the wider purpose
    assert processing["recipient_third_parties"] == ["self", "house"]
    assert [p["party_id"] for p in found["parties"]] == ["self", "house"]


def test_a_named_third_party_is_a_party_of_the_receipt(complete: Gateway) -> None:
    with complete.work() as work:
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
        records.put_party(work, RecipientId("partner"), ADDRESS)
    take(complete, [a_consent(ref(1), recipient="partner")])
    found = content(issue(complete))
    assert found["processing"][0]["recipient_third_parties"] == ["self", "house", "partner"]
    assert [(c["recipient"], c["event_state"].rpartition("#")[2]) for c in found["current"]] == [
        ("self", "ConsentGiven"), ("partner", "ConsentGiven"),
    ]  # fmt: skip


def test_without_a_channel_every_channel_is_told(complete: Gateway) -> None:
    found = content(issue(complete, channel=None))
    now = {c["channel"]: c["event_state"].rpartition("#")[2] for c in found["current"]}
    assert now == {
        "call": "ConsentUnknown", "email": "ConsentGiven", "post": "ConsentUnknown", "push": "ConsentUnknown",
        "sms": "ConsentUnknown",
    }  # fmt: skip


def test_a_grant_that_ended_is_told_as_ended(complete: Gateway) -> None:
    take(complete, [a_consent(ref(1), valid_until=NOW_S + 60)])
    assert content(issue(complete))["current"][0]["valid_until"] == "2026-11-18T12:01:00Z"
    later = twin(complete)
    later.clock = FixedClock(complete.clock() + timedelta(seconds=61))
    found = content(issue(later))
    assert found["current"][0]["event_state"].endswith("ConsentExpired")
    assert found["events"][-1]["derived"] is True


def test_a_yes_under_a_notice_that_was_replaced_is_told_as_outdated(complete: Gateway) -> None:
    assert "outdated" not in content(issue(complete))["current"][0]
    with complete.work() as work:
        notices.put_notice(work, NoticeId("privacy"), 4, "en", "Privacy", "We also call you.", material=True)
    found = content(issue(complete))
    assert found["current"][0]["outdated"] is True
    assert found["processing"][0]["privacy_notice"]["version"] == 3  # what was agreed to, not what came later


@pytest.mark.parametrize("kind", list(ConsentKind))
def test_every_kind_of_fact_is_told(complete: Gateway, kind: ConsentKind) -> None:
    take(complete, [a_consent(ref(1), kind=kind, at=NOW_S - 60, notice="privacy", notice_version=3)])
    found = content(issue(complete))
    assert found["events"][-1]["event_state"] in {EVENT_STATE[kind], RENEWED}
    assert verify_document(issue(complete), jwks(complete)).ok


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("CN", ["urn:consent-gateway:pipl:13-1-1"]),
        ("US-CA", ["urn:consent-gateway:ccpa:1798.140-h"]),
        ("GB", ["urn:consent-gateway:uk-gdpr:6-1-a"]),
        (None, []),
    ],
)
def test_each_jurisdiction_has_its_own_basis(complete: Gateway, region: str | None, words: list[str]) -> None:
    take(complete, [a_person(2, country=region)])
    take(complete, [a_consent(ref(2), notice="privacy", notice_version=3)])
    (processing,) = content(issue(complete, 2))["processing"]
    assert processing["lawful_basis"][1:] == words
    assert processing["jurisdiction"] == [region or "DE"]  # unknown: where the controller is


def test_the_notice_of_the_source_answers_where_no_event_names_one(complete: Gateway) -> None:
    with complete.work() as work:
        source = Source(SourceId("crm"), "crm", "web", Party.FIRST, NoticeId("privacy"), ())
        registers.put_source(work, source)
    take(complete, [a_person(2)])
    take(complete, [a_consent(ref(2))])
    assert content(issue(complete, 2))["processing"][0]["privacy_notice"]["id"] == "privacy"


def test_a_receipt_says_yes_exactly_where_a_decision_reads_a_yes(complete: Gateway) -> None:
    """Every pair of facts, one after the other: the receipt folds the ledger, decisions read the audience row."""
    pairs = list(product(ConsentKind, repeat=2))
    people = range(10, 10 + len(pairs))
    take(complete, [a_person(n) for n in people])
    way = {"notice": "privacy", "notice_version": 3}
    said = [
        a_consent(ref(n), kind=kind, at=NOW_S - 600 + 60 * turn, **way)
        for n, pair in zip(people, pairs, strict=True)
        for turn, kind in enumerate(pair)
    ]
    assert take(complete, said).rejected == 0
    with complete.look() as work:
        column = f"c{work.registers.slots[DIRECT, Channel.EMAIL]}"
    told, read = {}, {}
    for n, pair in zip(people, pairs, strict=True):
        state = content(issue(complete, n))["current"][0]["event_state"]
        told[pair] = state in (EVENT_STATE[ConsentKind.GIVEN], RENEWED)
        subject_id = id_of(complete, ref(n))
        with complete.work() as work:
            read[pair] = audience_rows.rows(work.session, [subject_id], [column])[subject_id][column] > NOW_S
    assert told == read
    assert {True, False} <= set(told.values())


# -- whom it names -------------------------------------------------------------------------------------------------


def test_it_holds_no_identifier_and_no_number_of_ours(complete: Gateway) -> None:
    take(
        complete,
        [a_consent(ref(1), contact_point=by("email", "person1@example.org"), evidence=b'{"guardian":"203.0.113.9"}')],
    )
    text = issue(complete).decode()
    for secret in ("person1", "example.org", "M00001", "203.0.113.9"):
        assert secret not in text
    subject_id = id_of(complete, ref(1))
    assert subject_id not in {v for v in walk(content(text.encode())) if isinstance(v, int)} - {1, 3}


def walk(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (
        [value, *(v for i in inner for v in walk(i))]
        if not isinstance(value, (dict, list))
        else [v for i in inner for v in walk(i)]
    )


def test_the_pseudonym_is_of_a_space_that_no_recipient_has(complete: Gateway) -> None:
    first, again = content(issue(complete)), content(issue(complete))
    assert first["pii_principal_id"] == again["pii_principal_id"]
    assert (first["record_id"], first["receipt_id"]) != (again["record_id"], again["receipt_id"])
    assert first["record_id"] == again["record_id"]
    with complete.look() as work:
        for recipient in work.registers.recipients:
            assert work.gateway.vault.resolve(first["pii_principal_id"], recipient, work.registers, work.now) is None
    for name in ("record:principal", "record_principal"):
        with complete.work() as work:
            if ":" in name:
                with pytest.raises(InputError):
                    registers.put_recipient(work, a_recipient(name))
                continue
            registers.put_recipient(work, a_recipient(name))
            assert (
                work.gateway.vault.resolve(first["pii_principal_id"], RecipientId(name), work.registers, work.now)
                is None
            )


def test_somebody_who_was_merged_gets_one_receipt_of_everything(complete: Gateway) -> None:
    take(complete, [a_person(2, country="CN")])
    withdraw(complete, ref(2), notice="privacy", notice_version=3)
    first, second = id_of(complete, ref(1)), id_of(complete, ref(2))
    alone = content(issue(complete))
    with complete.work() as work:
        merges.relink(work.session, {first: [first, second]})
    one, other = content(issue(complete)), content(issue(complete, 2))
    assert one["pii_principal_id"] == other["pii_principal_id"] == alone["pii_principal_id"]
    assert [e["event_state"].rpartition("#")[2] for e in one["events"]] == ["ConsentGiven", "ConsentWithdrawn"]
    assert one["current"][0]["event_state"].endswith("ConsentWithdrawn")
    assert one["processing"][0]["jurisdiction"] == ["CN", "DE"]
    assert (one["events"], one["current"]) == (other["events"], other["current"])


def ways(gateway: Gateway) -> dict[str, Any]:
    """What can happen to a person while somebody asks for a receipt."""
    return {
        "withdrawal": lambda work: record_consents(
            work, "crm", incoming([a_consent(ref(1), kind=ConsentKind.WITHDRAWN, at=NOW_S)]), "0" * 64
        ),
        "erasure": lambda work: erase(work, id_of(gateway, ref(1)), "request"),
    }


@pytest.mark.postgres
@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("what", ["withdrawal", "erasure"])
def test_a_receipt_waits_for_what_is_under_way(complete: Gateway, what: str) -> None:
    """Else it would say yes after the no was acknowledged, or name somebody who is gone."""
    act = ways(complete)[what]
    with a_replica(complete) as replica:
        with complete.work() as work:
            act(work)
            with pytest.raises(StoreError), replica.work() as other:
                receipts.issue(impatient(other), ref(1), "direct_marketing", Channel.EMAIL, Form.ISO27560)
        if what == "erasure":
            with pytest.raises(NotFoundError):
                issue(replica)
        else:
            assert content(issue(replica))["current"][0]["event_state"].endswith("ConsentWithdrawn")


# -- what is not whole is not issued -------------------------------------------------------------------------------


def test_what_is_not_registered_is_named_and_nothing_is_issued(gateway: Gateway) -> None:
    with gateway.work() as work:
        registers.put_source(work, a_source())
    take(gateway, [a_person(1)])
    take(gateway, [a_consent(ref(1))])
    before = dump(gateway.store)
    with pytest.raises(IncompleteError) as refused:
        issue(gateway)
    assert {f.path for f in refused.value.fields} == {"$.controller", "$.purpose.processing", "$.notice"}
    assert dump(gateway.store) == before


@pytest.mark.parametrize("field", ["retention", "withdrawal_method", "storage_locations", "data_categories"])
def test_each_mandatory_field_is_asked_for(complete: Gateway, field: str) -> None:
    with complete.work() as work:
        records.put_processing(work, MARKETING, replace(PROCESSING, **{field: type(getattr(PROCESSING, field))()}))
    with pytest.raises(IncompleteError) as refused:
        issue(complete)
    assert [f.path.rpartition(".")[2].removesuffix("_period") for f in refused.value.fields] == [field]


def test_nobody_nothing_and_unknown_purposes(complete: Gateway) -> None:
    take(complete, [a_person(2)])
    for number in (2, 99):
        with pytest.raises(NotFoundError):
            issue(complete, number)
    with pytest.raises(NotFoundError):
        issue(complete, channel=Channel.SMS)
    with pytest.raises(InputError):
        issue(complete, purpose_id="nothing")


def test_a_kantara_receipt_says_yes_or_is_not_issued(complete: Gateway) -> None:
    document = issue(complete, form=Form.KANTARA)
    assert content(document)["consentTimestamp"] == NOW_S - 3600
    assert verify_document(document, jwks(complete)).ok
    withdraw(complete, ref(1))
    with pytest.raises(ConflictError, match="only say yes"):
        issue(complete, form=Form.KANTARA)
    with complete.work() as work:
        records.put_controller(work, replace(CONTROLLER, policy_url=""))
    with pytest.raises(IncompleteError):
        issue(complete, form=Form.KANTARA)
    assert verify_document(issue(complete), jwks(complete)).ok


# -- proof -----------------------------------------------------------------------------------------------------------


def test_the_log_commits_to_the_receipt(complete: Gateway) -> None:
    document = issue(complete)
    raw = entry_of(complete)
    entry, log = parse_entry(raw), content(document)["log"]
    assert dict(entry.fields) == {"purpose": "direct_marketing", "form": "iso27560"}
    assert entry.uid.hex() == log["entry"]
    assert verify_document(document, jwks(complete), raw).ok
    payload = receipt_payload(content(document))
    assert verify_payload(raw, "subject", bytes.fromhex(log["salt"]), payload).ok  # an auditor's own tool says so too


def test_another_receipt_is_not_what_the_entry_commits_to(complete: Gateway) -> None:
    issue(complete)
    raw = entry_of(complete)
    assert verify_document(issue(complete), jwks(complete), raw).code == "log"


def test_the_receipt_of_an_erased_person_still_proves_itself(complete: Gateway) -> None:
    document, keys = issue(complete), jwks(complete)
    raw = entry_of(complete)
    with complete.work() as work:
        erase(work, id_of(complete, ref(1)), "request")
    assert verify_document(document, keys, raw).ok
    assert verify_document(document, jwks(twin(complete)), raw).ok
    with pytest.raises(NotFoundError):
        issue(complete)
    left = repr(dump(complete.store))
    assert content(document)["pii_principal_id"] not in left
    assert content(document)["receipt_id"] not in left


def test_the_key_of_receipts_is_not_the_key_of_the_log(complete: Gateway) -> None:
    (key,) = receipts.keys(complete)
    assert key.public != complete.signer.key.public_key
    assert receipts.keys(twin(complete)) == [key]


def test_a_no_is_receipted_too(complete: Gateway) -> None:
    take(complete, [a_person(3)])
    take(complete, [a_consent(ref(3), kind=ConsentKind.REFUSED, notice="privacy", notice_version=3)])
    found = content(issue(complete, 3))
    assert found["current"][0]["event_state"].endswith("ConsentRefused")
    assert found["events"][0]["entity_id"] == found["pii_principal_id"]
