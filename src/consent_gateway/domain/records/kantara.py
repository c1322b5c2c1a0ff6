"""A consent record as a Kantara Consent Receipt 1.1, which older systems read.

It can only say yes: a record without a grant has none. Categories are our own words: the lists of the specification's
appendix are not required by it.
"""

from __future__ import annotations

from typing import Any

from consent_gateway.domain.consents import ConsentState
from consent_gateway.domain.dpv import DPV
from consent_gateway.domain.purposes import RecipientKind
from consent_gateway.domain.records.consent import ConsentRecord, Moment
from consent_gateway.domain.records.parties import Controller
from consent_gateway.domain.records.terms import RENEWED
from consent_gateway.errors import FieldProblem

VERSION = "KI-CR-v1.1.0"
_GRANTED = frozenset({f"{DPV}ConsentGiven", RENEWED})
_OURS = frozenset({"controller", RecipientKind.SELF.value, RecipientKind.PROCESSOR.value})


def grant_of(record: ConsentRecord) -> Moment | None:
    """Return the newest yes of the record, if the person's consent holds on any channel at the record's instant."""
    if all(current.state is not ConsentState.GIVEN for current in record.current):
        return None
    return next((m for m in reversed(record.moments) if m.state in _GRANTED), None)


def lacking(controller: Controller) -> list[FieldProblem]:
    """Return the fields of the controller that this form wants and the other does not."""
    values = {"party.email": controller.address.email, "party.phone": controller.address.phone}
    values["policy_url"] = controller.policy_url
    message = "this form of receipt must say it, and it is not registered"
    return [FieldProblem(f"$.controller.{n}", "not_registered", message) for n, value in values.items() if not value]


def receipt(record: ConsentRecord, grant: Moment) -> dict[str, Any]:
    """Return the receipt of `grant` as plain JSON values."""
    sensitive = [c.type for c in record.processing.data_categories if c.sensitive or c.special]
    return {
        "version": VERSION,
        "jurisdiction": " ".join(record.jurisdictions),
        "consentTimestamp": grant.at,
        "collectionMethod": grant.method or grant.source or "unknown",
        "consentReceiptID": record.receipt_id,
        "language": record.notice.language,
        "piiPrincipalId": record.principal_id,
        "piiControllers": [_controller(record.controller)],
        "policyUrl": record.controller.policy_url,
        "services": [
            {"service": record.processing.service or record.purpose.title, "purposes": [_purpose(record, grant)]}
        ],
        "sensitive": bool(sensitive),
        "spiCat": sensitive,
        "log": {"origin": record.log.origin, "entry": record.log.entry, "salt": record.log.salt},
    }


def _controller(controller: Controller) -> dict[str, Any]:
    address = controller.address
    return {
        "piiController": controller.name,
        "onBehalf": False,
        "contact": address.contact,
        "address": {"streetAddress": address.address, "addressCountry": controller.country},
        "email": address.email,
        "phone": address.phone,
        **({"piiControllerUrl": address.url} if address.url else {}),
    }


def _purpose(record: ConsentRecord, grant: Moment) -> dict[str, Any]:
    others = [p.name for p in record.parties if p.type not in _OURS]
    return {
        "purpose": record.purpose.title,
        "purposeCategory": [record.purpose.dpv_iri or record.purpose.kind.value],
        "consentType": "EXPLICIT" if grant.type.endswith("ExpressedConsent") else "IMPLICIT",
        "piiCategory": [c.type for c in record.processing.data_categories],
        "primaryPurpose": True,
        "termination": record.processing.retention_period,
        "thirdPartyDisclosure": bool(others),
        **({"thirdPartyName": ", ".join(others)} if others else {}),
    }
