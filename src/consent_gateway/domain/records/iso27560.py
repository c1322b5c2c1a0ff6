"""A consent record as a receipt of ISO/IEC TS 27560:2023, readable as JSON-LD in the terms of W3C DPV 2.3.

Field names are those of the standard (as W3C's guide "consent-27560" lists them; the standard itself is sold). Every
mandatory field is there and is not empty: `consent.missing` refuses a record that could not say so. The context is
inline, so that nobody has to fetch anything to read a receipt.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consent_gateway.domain.dpv import DPV, status_of
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.records.consent import ConsentRecord, Current, Moment, Notice
from consent_gateway.domain.records.parties import DataCategory, Party
from consent_gateway.domain.records.terms import OURS, data_category, legal_bases, rights

SCHEMA_VERSION = "ISO/IEC TS 27560:2023"
_GRANTED = (f"{DPV}ConsentGiven", f"{DPV}RenewedConsentGiven")
_IRI = {"@type": "@id"}
CONTEXT: dict[str, Any] = {
    "@vocab": OURS,
    "dct": "http://purl.org/dc/terms/",
    "dpv": DPV,
    "schema_version": "dct:conformsTo",
    "receipt_id": "dct:identifier",
    "record_id": "dpv:hasIdentifier",
    "pii_principal_id": "dpv:hasDataSubject",
    "processing": "dpv:hasProcessing",
    "privacy_notice": "dpv:hasNotice",
    "language": "dct:language",
    "purpose": {"@id": "dpv:hasPurpose", **_IRI},
    "lawful_basis": {"@id": "dpv:hasLegalBasis", **_IRI},
    "pii_information": "dpv:hasPersonalData",
    "pii_type": _IRI,
    "pii_controllers": "dpv:hasDataController",
    "storage_locations": "dpv:hasLocation",
    "retention_period": "dpv:hasDuration",
    "jurisdiction": "dpv:hasJurisdiction",
    "recipient_third_parties": "dpv:hasRecipient",
    "withdrawal_method": "dpv:hasConsentControl",
    "privacy_rights": {"@id": "dpv:hasRight", **_IRI},
    "authority_party": "dpv:hasAuthority",
    "party_id": "dct:identifier",
    "party_name": "dpv:hasName",
    "party_address": "dpv:hasAddress",
    "party_contact": "dpv:hasContact",
    "party_role": _IRI,
    "event_time": "dct:date",
    "validity_duration": "dct:valid",
    "entity_id": "dpv:isImplementedByEntity",
    "event_type": {"@id": "dpv:hasLegalBasis", **_IRI},
    "event_state": {"@id": "dpv:hasConsentStatus", **_IRI},
}


def receipt(record: ConsentRecord) -> dict[str, Any]:
    """Return the receipt as plain JSON values (text, whole numbers, truth values, lists, objects)."""
    return {
        "@context": CONTEXT,
        "schema_version": SCHEMA_VERSION,
        "receipt_id": record.receipt_id,
        "record_id": record.record_id,
        "pii_principal_id": record.principal_id,
        "issued_at": instant(record.issued_at),
        "processing": [_processing(record)],
        "parties": [_party(p) for p in record.parties],
        "events": [_event(record, m) for m in record.moments],
        "current": [_current(c) for c in record.current],
        "log": {"origin": record.log.origin, "entry": record.log.entry, "salt": record.log.salt},
    }


def instant(at: int) -> str:
    """Return an instant as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _processing(record: ConsentRecord) -> dict[str, Any]:
    purpose, processing = record.purpose, record.processing
    return _filled(
        privacy_notice=_notice(record.notice, record.controller.policy_url),
        language=record.notice.language,
        purpose=purpose.dpv_iri or f"{OURS}purpose:{purpose.id}",
        purpose_id=purpose.id,
        purpose_title={"en": purpose.title, "zh": purpose.title_zh},
        purpose_type=purpose.kind.value,
        lawful_basis=legal_bases(purpose.basis, record.laws),
        pii_information=[_category(c) for c in processing.data_categories],
        pii_controllers=[OWN],
        processing_method=sorted(purpose.marks),
        collection_method=sorted({m.method for m in record.moments if m.method}),
        storage_locations=list(processing.storage_locations),
        retention_period=processing.retention_period,
        processing_location=list(processing.storage_locations),
        service=processing.service,
        jurisdiction=list(record.jurisdictions),
        recipient_third_parties=list(record.recipients),
        withdrawal_method=processing.withdrawal_method,
        privacy_rights=rights(record.laws),
        authority_party=record.controller.authority,
    )


def _filled(**fields: Any) -> dict[str, Any]:
    """Leave out the optional fields about which nothing is known."""
    return {name: value for name, value in fields.items() if value not in ("", [], None)}


def _notice(notice: Notice, policy_url: str) -> dict[str, Any]:
    return _filled(
        id=notice.id,
        version=notice.version,
        language=notice.language,
        title=notice.title,
        text_sha256=notice.text_sha256,
        published_at=instant(notice.published_at),
        url=policy_url,
    )


def _category(category: DataCategory) -> dict[str, Any]:
    return {
        "pii_type": data_category(category.type),
        "pii_optional": category.optional,
        "sensitive_pii_category": category.sensitive,
        "special_pii_category": category.special,
    }


def _party(party: Party) -> dict[str, Any]:
    address = party.address
    return _filled(
        party_id=party.id,
        party_name=party.name,
        party_address=address.address,
        party_country=party.country,
        party_contact=address.contact,
        party_email=address.email,
        party_phone=address.phone,
        party_url=address.url,
        party_role=party.role,
        party_type=party.type,
    )


def _event(record: ConsentRecord, moment: Moment) -> dict[str, Any]:
    return _filled(
        event_time=instant(moment.at),
        validity_duration=_validity(moment),
        entity_id=record.principal_id if moment.by_person else OWN,
        event_type=moment.type,
        event_state=moment.state,
        purpose_id=moment.purpose,
        channel=moment.channel,
        contact_point=moment.contact_point,
        recipient=moment.recipient,
        valid_until=None if moment.valid_until is None else instant(moment.valid_until),
        notice=moment.notice,
        notice_version=moment.notice_version,
        language=moment.language,
        collection_method=moment.method,
        source=moment.source,
        recorded_at=None if moment.received_at is None else instant(moment.received_at),
        derived=moment.derived or None,
        properties=list(moment.properties),
    )


def _validity(moment: Moment) -> str:
    """Return how long an event holds: an ISO 8601 duration, or until the person says otherwise."""
    if moment.valid_until is not None:
        return f"PT{moment.valid_until - moment.at}S"
    return "until withdrawn" if moment.state in _GRANTED else "until changed"


def _current(current: Current) -> dict[str, Any]:
    return _filled(
        channel=current.channel.value,
        recipient=current.recipient or OWN,
        event_state=status_of(current.state, current.decided_by),
        valid_until=None if current.valid_until is None else instant(current.valid_until),
        outdated=current.outdated or None,
    )
