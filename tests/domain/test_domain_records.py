"""Consent records: every past state is told, in words that exist, with every field that the standards ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.domain.consents import ConsentEvent, ConsentKind, ConsentProperty, ConsentState
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, PurposeTree, RecipientKind
from consent_gateway.domain.records import (
    Address,
    Controller,
    DataCategory,
    Party,
    Processing,
    iso27560,
    kantara,
    terms,
)
from consent_gateway.domain.records.consent import (
    ConsentRecord,
    Current,
    LedgerEvent,
    LogPlace,
    Notice,
    concerning,
    missing,
    moments,
    notice_of,
)
from edge import SHARED

STANDARDS = SHARED / "vectors" / "standards"
NOW = 1_800_000_000
DAY = 86_400
MARKETING, DIRECT = PurposeId("marketing"), PurposeId("direct_marketing")
PURPOSE = Purpose(DIRECT, PurposeKind.DIRECT_MARKETING, "Direct marketing", "直接营销", f"{terms.DPV}DirectMarketing", Basis.CONSENT, MARKETING)  # fmt: skip
TREE = PurposeTree({MARKETING: replace(PURPOSE, id=MARKETING, parent=None), DIRECT: PURPOSE})
ADDRESS = Address("Street 1", "Ada", "privacy@acme.example", "+49 30 1", "https://acme.example")
CONTROLLER = Controller("Acme", "DE", ADDRESS, "https://acme.example/privacy", authority="BlnBDI")
PROCESSING = Processing(
    data_categories=(DataCategory("EmailAddress"), DataCategory("HealthRecord", special=True)),
    subject_categories=("Customer",),
    retention="P2Y",
    withdrawal_method="the link in every message",
    storage_locations=("DE",),
    recipients=(RecipientId("self"),),
    service="Shop",
)
OWN_PARTY = Party("self", "Acme", terms.CONTROLLER_ROLE, "controller", "DE", ADDRESS)
PARTNER = Party("partner", "Partner", terms.ROLE[RecipientKind.THIRD_PARTY], "third_party", "FR", ADDRESS)
NOTICE = Notice("privacy", 3, "en", "Privacy", "ab" * 32, NOW - 90 * DAY)


def standard(name: str) -> Any:
    path = STANDARDS / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the project, so what it asks for is not checked")
    return json.loads(path.read_text())


def said(kind: ConsentKind, days_ago: int, **more: Any) -> LedgerEvent:
    """What somebody said so many days ago, on the web, under a notice."""
    outer = {n: more.pop(n) for n in ("notice_version", "language", "method", "received_at") if n in more}
    at = NOW - days_ago * DAY
    values: dict[str, Any] = {"channel": Channel.EMAIL, "properties": ConsentProperty.AFFIRMATIVE}
    event = ConsentEvent(SubjectId(7), kind=kind, at=at, **({"purpose": DIRECT} | values | more))
    return LedgerEvent(
        event, outer.get("notice_version"), outer.get("language"), outer.get("method"), outer.get("received_at", at)
    )


def a_record(*events: LedgerEvent, **changes: Any) -> ConsentRecord:
    values: dict[str, Any] = {
        "receipt_id": "urn:uuid:r",
        "record_id": "urn:uuid:c",
        "principal_id": "p1-00",
        "issued_at": NOW,
        "purpose": PURPOSE,
        "processing": PROCESSING,
        "controller": CONTROLLER,
        "parties": (OWN_PARTY,),
        "recipients": (RecipientId("self"),),
        "jurisdictions": ("DE",),
        "laws": ("gdpr",),
        "notice": NOTICE,
        "moments": tuple(moments(events or (said(ConsentKind.GIVEN, 1, method="form"),), Basis.CONSENT, NOW)),
        "current": (Current(Channel.EMAIL, None, ConsentState.GIVEN, None),),
        "log": LogPlace("test", "0" * 32, "0" * 64),
    }
    return ConsentRecord(**(values | changes))


# -- words -------------------------------------------------------------------------------------------------------


def iris(value: Any) -> Iterator[str]:
    """Every IRI of DPV in a document, its context aside."""
    if isinstance(value, str) and value.startswith("https://w3id.org/dpv"):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from iris(inner)


def known_iris() -> set[str]:
    return {term["iri"] for group in standard("dpv_2_3_terms.json")["terms"].values() for term in group}


def test_every_kind_and_state_has_a_word() -> None:
    assert set(terms.EVENT_STATE) == set(ConsentKind)
    assert set(terms.STATE) == set(ConsentState)
    assert set(terms.ROLE) == set(RecipientKind)


def test_states_types_bases_and_rights_exist_in_the_vocabulary() -> None:
    known = known_iris()
    used = {*terms.EVENT_STATE.values(), *terms.STATE.values(), terms.RENEWED, terms.EXPIRED}
    laws = ("gdpr", "uk", "ccpa", "pipl")
    for basis in Basis:
        used |= set(terms.legal_bases(basis, laws))
        used |= {terms.event_type(basis, p) for p in (ConsentProperty(0), *ConsentProperty)}
    used |= set(terms.rights(laws))
    ours = {iri for iri in used if iri.startswith(terms.OURS)}
    assert used - ours <= known
    assert len(ours) > 10
    assert f"{terms.DPV}ConsentGranted" not in known  # a word that does not exist would be seen


def test_event_states_are_states_and_types_are_bases() -> None:
    groups = standard("dpv_2_3_terms.json")["terms"]
    states = {t["iri"] for t in groups["consent_status"]}
    types = {t["iri"] for g in ("consent_types", "legal_basis") for t in groups[g]}
    for moment in a_record(*(said(kind, n) for n, kind in enumerate(ConsentKind, 1))).moments:
        assert moment.state in states
        assert moment.type in types


def test_each_law_names_its_own_article() -> None:
    assert terms.legal_bases(Basis.CONSENT, ["gdpr"])[1].endswith("gdpr#A6-1-a")
    assert terms.legal_bases(Basis.CONSENT, ["pipl", "ccpa"])[1:] == [
        "urn:consent-gateway:pipl:13-1-1",
        "urn:consent-gateway:ccpa:1798.140-h",
    ]
    assert terms.legal_bases(Basis.LEGITIMATE_INTEREST, ["pipl"]) == [f"{terms.DPV}LegitimateInterestOfController"]


# -- the ledger as moments ---------------------------------------------------------------------------------------

GIVEN, REFUSED, WITHDRAWN, PENDING = (
    ConsentKind.GIVEN, ConsentKind.REFUSED, ConsentKind.WITHDRAWN, ConsentKind.PENDING,
)  # fmt: skip


def states(*events: LedgerEvent) -> list[str]:
    return [m.state.removeprefix(terms.DPV) for m in moments(events, Basis.CONSENT, NOW)]


def test_every_past_state_is_kept_in_order() -> None:
    events = [said(GIVEN, 1), said(PENDING, 9), said(REFUSED, 5), said(WITHDRAWN, 0)]
    assert states(*events) == ["ConsentRequested", "ConsentRefused", "ConsentGiven", "ConsentWithdrawn"]


@given(st.lists(st.tuples(st.sampled_from(list(ConsentKind)), st.integers(0, 99)), max_size=20))
def test_no_event_is_lost(said_things: list[tuple[ConsentKind, int]]) -> None:
    events = [said(kind, days) for kind, days in said_things]
    told = moments(events, Basis.CONSENT, NOW)
    assert sorted(m.at for m in told) == sorted(e.event.at for e in events)
    assert [m.at for m in told] == sorted(m.at for m in told)


def test_a_second_yes_renews_the_first_one_and_a_yes_after_a_no_does_not() -> None:
    assert states(said(GIVEN, 9), said(PENDING, 8), said(GIVEN, 7)) == [
        "ConsentGiven", "ConsentRequested", "RenewedConsentGiven",
    ]  # fmt: skip
    assert states(said(GIVEN, 9), said(WITHDRAWN, 8), said(GIVEN, 7))[-1] == "ConsentGiven"
    assert states(said(GIVEN, 9), said(GIVEN, 7, channel=Channel.SMS))[-1] == "ConsentGiven"


def test_the_end_of_a_grant_is_told_although_nobody_recorded_it() -> None:
    ended = said(GIVEN, 9, valid_until=NOW - 3 * DAY)
    assert states(ended) == ["ConsentGiven", "ConsentExpired"]
    told = moments([ended, said(GIVEN, 1)], Basis.CONSENT, NOW)
    assert [(m.derived, m.by_person) for m in told] == [(False, True), (True, False), (False, True)]
    assert states(said(GIVEN, 9, valid_until=NOW + DAY)) == ["ConsentGiven"]
    assert states(ended, said(WITHDRAWN, 5)) == ["ConsentGiven", "ConsentWithdrawn"]


def test_addresses_are_numbered_within_the_record_and_shown_nowhere() -> None:
    events = [
        said(GIVEN, 3, contact_point=9911),
        said(GIVEN, 2, contact_point=7755),
        said(WITHDRAWN, 1, contact_point=9911),
    ]
    receipt = iso27560.receipt(a_record(*events))
    assert [e["contact_point"] for e in receipt["events"]] == [1, 2, 1]
    assert not any(secret in json.dumps(receipt) for secret in ("9911", "7755"))


def test_a_record_is_about_its_purpose_and_every_wider_no() -> None:
    events = [
        said(GIVEN, 9), said(GIVEN, 8, purpose=MARKETING), said(WITHDRAWN, 7, purpose=MARKETING),
        said(GIVEN, 6, channel=Channel.SMS), said(REFUSED, 5, channel=None), said(GIVEN, 4, purpose=PurposeId("other")),
    ]  # fmt: skip
    assert concerning(events, DIRECT, None, TREE) == [events[0], events[2], events[3], events[4]]
    assert concerning(events, DIRECT, Channel.EMAIL, TREE) == [events[0], events[2], events[4]]


# -- the notice ----------------------------------------------------------------------------------------------------


def test_the_notice_is_the_version_and_language_that_was_shown() -> None:
    german, older = replace(NOTICE, language="de"), replace(NOTICE, version=2)
    shown = said(GIVEN, 9, notice=NoticeId("privacy"), notice_version=2, language="en")
    assert notice_of([shown, said(WITHDRAWN, 1)], [german, NOTICE, older], None) == older
    in_german = replace(shown, notice_version=3, language="de")
    assert notice_of([in_german], [german, NOTICE, older], None) == german


def test_without_a_notice_the_source_answers_with_what_was_published_by_then() -> None:
    later = replace(NOTICE, version=4, published_at=NOW - DAY)
    assert notice_of([said(GIVEN, 9)], [NOTICE, later], "privacy") == NOTICE
    assert notice_of([said(GIVEN, 0)], [NOTICE, later], "privacy") == later
    assert notice_of([said(GIVEN, 0)], [NOTICE, later], None) is None
    assert notice_of([said(GIVEN, 0)], [], "privacy") is None


# -- ISO/IEC TS 27560 ----------------------------------------------------------------------------------------------


def places(receipt: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Where the sections of the standard stand in our receipts."""
    return {
        "metadata": [receipt],
        "processing": receipt["processing"],
        "personal data": [i for p in receipt["processing"] for i in p["pii_information"]],
        "party": receipt["parties"],
        "event": receipt["events"],
    }


def absent(receipt: dict[str, Any]) -> set[str]:
    """Mandatory fields of the standard that are missing or empty somewhere."""
    found = set()
    sections = places(receipt)
    for field in standard("iso27560_fields.json")["fields"]:
        if field["iso_required"] == "Mandatory":
            items = sections[field["section"]]
            assert items
            found |= {field["iso_field"] for i in items if i.get(field["iso_field"]) in (None, "", [], {})}
    return found


def test_every_mandatory_field_is_there_and_not_empty() -> None:
    everything = [said(kind, n, recipient=RecipientId("partner")) for n, kind in enumerate(ConsentKind, 1)]
    ended = said(GIVEN, 9, valid_until=NOW - DAY)
    for record in (a_record(), a_record(*everything, ended, parties=(OWN_PARTY, PARTNER))):
        assert absent(iso27560.receipt(record)) == set()


@pytest.mark.parametrize("field", ["retention_period", "withdrawal_method", "storage_locations"])
def test_a_planted_gap_is_seen(field: str) -> None:
    receipt = iso27560.receipt(a_record())
    receipt["processing"][0][field] = ""
    assert absent(receipt) == {field}


def test_optional_fields_are_told_where_they_are_known() -> None:
    optional = {f["iso_field"] for f in standard("iso27560_fields.json")["fields"] if f["iso_required"] == "Optional"}
    told = {name for items in places(iso27560.receipt(a_record())).values() for item in items for name in item}
    assert told >= {
        "purpose_type", "lawful_basis", "collection_method", "processing_location", "service", "privacy_rights",
        "authority_party", "pii_optional", "sensitive_pii_category", "special_pii_category", "party_email",
        "party_phone", "party_url", "party_role",
    }  # fmt: skip
    assert "impact_assessment" in optional - told


def test_every_word_of_a_receipt_exists() -> None:
    known = known_iris()
    receipt = iso27560.receipt(a_record(*(said(kind, n) for n, kind in enumerate(ConsentKind, 1))))
    del receipt["@context"]
    roles = set(terms.ROLE.values())
    used = {iri for iri in iris(receipt) if not iri.startswith(terms.DPV_PD)} - roles
    assert used <= known


def test_a_receipt_has_a_canonical_form_and_says_what_it_maps_to() -> None:
    receipt = iso27560.receipt(a_record())
    assert json.loads(canonical_json(receipt)) == receipt
    assert receipt["@context"]["event_state"] == {"@id": "dpv:hasConsentStatus", "@type": "@id"}
    assert receipt["schema_version"] == "ISO/IEC TS 27560:2023"


def test_how_long_an_event_holds() -> None:
    receipt = iso27560.receipt(
        a_record(said(GIVEN, 9, valid_until=NOW - 9 * DAY + 60), said(REFUSED, 5), said(GIVEN, 1))
    )
    assert [e["validity_duration"] for e in receipt["events"]] == [
        "PT60S", "until changed", "until changed", "until withdrawn",
    ]  # fmt: skip


def test_the_way_it_was_given_is_told() -> None:
    """PIPL Art 23 wants a separate consent, GDPR Art 9 an explicit one: a receipt that is silent proves neither."""
    way = ConsentProperty.SEPARATE | ConsentProperty.EXPLICIT | ConsentProperty.AFFIRMATIVE
    events = iso27560.receipt(
        a_record(said(GIVEN, 2, properties=way), said(WITHDRAWN, 1, properties=ConsentProperty(0)))
    )["events"]
    assert events[0]["properties"] == ["affirmative", "explicit", "separate"]
    assert "properties" not in events[1]


def test_what_no_register_says_is_named() -> None:
    assert missing(CONTROLLER, PROCESSING, [OWN_PARTY, PARTNER]) == []
    bare = replace(PARTNER, address=Address())
    found = missing(None, Processing(), [bare])
    assert {f.path for f in found} == {
        "$.controller", "$.purpose.processing.data_categories", "$.purpose.processing.retention_period",
        "$.purpose.processing.withdrawal_method", "$.purpose.processing.storage_locations",
        "$.partner.party.address", "$.partner.party.contact",
    }  # fmt: skip
    assert [f.path for f in missing(CONTROLLER, None, [])] == ["$.purpose.processing"]
    assert missing(CONTROLLER, replace(PROCESSING, retention="", retention_criteria="until you leave"), []) == []


# -- Kantara 1.1 -----------------------------------------------------------------------------------------------------

_KNOWN = {"$schema", "type", "properties", "items", "required", "enum", "minimum", "oneOf"}
_TYPES = {"string": str, "object": dict, "array": list, "boolean": bool, "integer": int}


def faults(schema: dict[str, Any], value: Any, at: str = "$") -> list[str]:
    """A validator of the keywords that the published schema (draft-04) uses; it refuses to see others."""
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        return [f"{at}: not a {kind}"]
    found = [f"{at}: not one of the list"] if "enum" in schema and value not in schema["enum"] else []
    found += [f"{at}: too small"] if "minimum" in schema and value < schema["minimum"] else []
    if "oneOf" in schema and sum(not faults(inner, value, at) for inner in schema["oneOf"]) != 1:
        found.append(f"{at}: not exactly one form")
    if isinstance(value, dict):
        found += [f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value]
        for name, inner in schema.get("properties", {}).items():
            found += faults(inner, value[name], f"{at}.{name}") if name in value else []
    if isinstance(value, list) and "items" in schema:
        for n, item in enumerate(value):
            found += faults(schema["items"], item, f"{at}[{n}]")
    return found


def a_kantara(record: ConsentRecord) -> dict[str, Any]:
    grant = kantara.grant_of(record)
    assert grant is not None
    return kantara.receipt(record, grant)


def test_kantara_receipts_fit_the_published_schema() -> None:
    schema = standard("kantara-consent-receipt-v1_1-schema.json")
    assert faults(schema, standard("kantara-consent-receipt-v1_1-example.json")) == []
    for record in (
        a_record(),
        a_record(parties=(OWN_PARTY, PARTNER)),
        a_record(laws=(), jurisdictions=("US-CA", "CN")),
    ):
        assert faults(schema, a_kantara(record)) == []


def test_the_schema_check_can_say_no() -> None:
    schema = standard("kantara-consent-receipt-v1_1-schema.json")
    good = a_kantara(a_record())
    for name in schema["required"]:
        assert faults(schema, {k: v for k, v in good.items() if k != name}) == [f"$.{name}: missing"]
    assert faults(schema, good | {"consentTimestamp": True}) == ["$.consentTimestamp: not a integer"]
    purpose = good["services"][0]["purposes"][0] | {"thirdPartyDisclosure": True}
    broken = good | {"services": [{"service": "x", "purposes": [purpose]}]}
    assert faults(schema, broken) == ["$.services[0].purposes[0]: not exactly one form"]


def test_a_kantara_receipt_names_third_parties_and_special_data() -> None:
    found = a_kantara(a_record(parties=(OWN_PARTY, PARTNER)))
    purpose = found["services"][0]["purposes"][0]
    assert (purpose["thirdPartyDisclosure"], purpose["thirdPartyName"]) == (True, "Partner")
    assert (found["sensitive"], found["spiCat"]) == (True, ["HealthRecord"])
    assert purpose["consentType"] == "EXPLICIT"


def test_there_is_no_kantara_receipt_of_a_no() -> None:
    no = (Current(Channel.EMAIL, None, ConsentState.WITHDRAWN, None),)
    assert kantara.grant_of(a_record(said(GIVEN, 9), said(WITHDRAWN, 1), current=no)) is None
    assert kantara.grant_of(a_record(said(GIVEN, 9))) is not None


def test_what_kantara_wants_besides_is_named() -> None:
    assert kantara.lacking(CONTROLLER) == []
    bare = replace(CONTROLLER, address=Address("x", "y"), policy_url="")
    assert [f.path for f in kantara.lacking(bare)] == [
        "$.controller.party.email", "$.controller.party.phone", "$.controller.policy_url",
    ]  # fmt: skip
