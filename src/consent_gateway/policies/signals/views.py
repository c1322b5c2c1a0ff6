"""Decoded signals as JSON values, with the names and forms that the reference libraries print.

`tcf_view` has the form of @iabtcf/core (lists of numbers), `section_view` that of the GPP reference (lists of booleans
for TCF sections). The reference prints segments that are absent as if they were there and empty; so does this module,
and `gpp_view` says besides which were absent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from consent_gateway.policies.signals.detect import Signal
from consent_gateway.policies.signals.gpc import GpcSignal
from consent_gateway.policies.signals.gpp import GppString, Section
from consent_gateway.policies.signals.id_sets import NOBODY, IdSet
from consent_gateway.policies.signals.sections import LAYOUTS, NAMES, USNAT, Sub
from consent_gateway.policies.signals.tc_strings import (
    FEATURES,
    PURPOSES,
    CaString,
    Prompt,
    PublisherPurposes,
    Restriction,
    TcString,
)
from consent_gateway.policies.signals.us import Undecoded, UspString, UsSection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = PublisherPurposes()
_HAVE_GPC = frozenset({USNAT, *(n for n, layout in LAYOUTS.items() if layout.sub is Sub.GPC)})
_SENSITIVE_APART = frozenset(n for n, layout in LAYOUTS.items() if layout.sub is Sub.SENSITIVE)


def instant_view(tenths: int) -> str:
    """Return an instant of a string (tenths of a second) as ISO 8601 with milliseconds, UTC."""
    at = _EPOCH + timedelta(milliseconds=100 * tenths)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def tcf_view(tc: TcString) -> dict[str, Any]:
    """Return a TC string as @iabtcf/core prints it."""
    publisher = tc.publisher or _NOTHING
    return {
        "version": 2,
        "created": instant_view(tc.prompt.created),
        "lastUpdated": instant_view(tc.prompt.updated),
        "cmpId": tc.prompt.cmp_id,
        "cmpVersion": tc.prompt.cmp_version,
        "consentScreen": tc.prompt.screen,
        "consentLanguage": tc.prompt.language,
        "vendorListVersion": tc.prompt.vendor_list,
        "policyVersion": tc.prompt.policy,
        "isServiceSpecific": tc.service_specific,
        "useNonStandardTexts": tc.own_texts,
        "purposeOneTreatment": tc.purpose_one_treatment,
        "publisherCountryCode": tc.country,
        "specialFeatureOptins": list(tc.features),
        "purposeConsents": list(tc.consents),
        "purposeLegitimateInterests": list(tc.legitimate_interests),
        "vendorConsents": list(tc.vendor_consents),
        "vendorLegitimateInterests": list(tc.vendor_interests),
        "vendorsDisclosed": list(tc.disclosed or NOBODY),
        "publisherConsents": list(publisher.consents),
        "publisherLegitimateInterests": list(publisher.legitimate_interests),
        "numCustomPurposes": publisher.custom,
        "publisherCustomConsents": list(publisher.custom_consents),
        "publisherCustomLegitimateInterests": list(publisher.custom_legitimate_interests),
        "publisherRestrictions": [
            {"purposeId": r.purpose, "restrictionType": int(r.type), "vendors": list(r.vendors)}
            for r in tc.restrictions
        ],
    }


def _flags(numbers: tuple[int, ...], width: int) -> list[bool]:
    return [n in numbers for n in range(1, width + 1)]


def _ids(found: IdSet | None) -> list[int]:
    return list(found or NOBODY)


def _asked(prompt: Prompt) -> dict[str, Any]:
    return {
        "Created": instant_view(prompt.created),
        "LastUpdated": instant_view(prompt.updated),
        "CmpId": prompt.cmp_id,
        "CmpVersion": prompt.cmp_version,
        "ConsentScreen": prompt.screen,
        "ConsentLanguage": prompt.language,
        "VendorListVersion": prompt.vendor_list,
    }


def _restricted(restrictions: tuple[Restriction, ...]) -> list[dict[str, Any]]:
    return [{"key": r.purpose, "type": int(r.type), "ids": list(r.vendors)} for r in restrictions]


def _eu_view(tc: TcString) -> dict[str, Any]:
    publisher = tc.publisher or _NOTHING
    return {
        "Version": 2,
        **_asked(tc.prompt),
        "PolicyVersion": tc.prompt.policy,
        "IsServiceSpecific": tc.service_specific,
        "UseNonStandardStacks": tc.own_texts,
        "SpecialFeatureOptins": _flags(tc.features, FEATURES),
        "PurposeConsents": _flags(tc.consents, PURPOSES),
        "PurposeLegitimateInterests": _flags(tc.legitimate_interests, PURPOSES),
        "PurposeOneTreatment": tc.purpose_one_treatment,
        "PublisherCountryCode": tc.country,
        "VendorConsents": _ids(tc.vendor_consents),
        "VendorLegitimateInterests": _ids(tc.vendor_interests),
        "PublisherRestrictions": _restricted(tc.restrictions),
        "PublisherPurposesSegmentType": 3,
        "PublisherConsents": _flags(publisher.consents, PURPOSES),
        "PublisherLegitimateInterests": _flags(publisher.legitimate_interests, PURPOSES),
        "NumCustomPurposes": publisher.custom,
        "PublisherCustomConsents": _flags(publisher.custom_consents, publisher.custom),
        "PublisherCustomLegitimateInterests": _flags(publisher.custom_legitimate_interests, publisher.custom),
        "VendorsAllowedSegmentType": 2,
        "VendorsAllowed": _ids(tc.allowed),
        "VendorsDisclosedSegmentType": 1,
        "VendorsDisclosed": _ids(tc.disclosed),
    }


def _ca_view(ca: CaString) -> dict[str, Any]:
    publisher = ca.publisher or _NOTHING
    return {
        "Version": 1,
        **_asked(ca.prompt),
        "TcfPolicyVersion": ca.prompt.policy,
        "UseNonStandardStacks": ca.own_texts,
        "SpecialFeatureExpressConsent": _flags(ca.features, FEATURES),
        "PurposesExpressConsent": _flags(ca.express, PURPOSES),
        "PurposesImpliedConsent": _flags(ca.implied, PURPOSES),
        "VendorExpressConsent": _ids(ca.vendor_express),
        "VendorImpliedConsent": _ids(ca.vendor_implied),
        "PubRestrictions": _restricted(ca.restrictions),
        "PubPurposesSegmentType": 3,
        "PubPurposesExpressConsent": _flags(publisher.consents, PURPOSES),
        "PubPurposesImpliedConsent": _flags(publisher.legitimate_interests, PURPOSES),
        "NumCustomPurposes": publisher.custom,
        "CustomPurposesExpressConsent": _flags(publisher.custom_consents, publisher.custom),
        "CustomPurposesImpliedConsent": _flags(publisher.custom_legitimate_interests, publisher.custom),
        "DisclosedVendorsSegmentType": 1,
        "DisclosedVendors": _ids(ca.disclosed),
    }


def _us_view(us: UsSection) -> dict[str, Any]:
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in us.values.items()}
    view: dict[str, Any] = {us.version_field: us.version, **values}
    if us.id in _HAVE_GPC:
        view |= {"GpcSegmentType": 1, "Gpc": bool(us.gpc)}
    elif us.id in _SENSITIVE_APART:  # absent is printed as not applicable
        view.setdefault("SensitiveDataProcessing", [0] * 8)
    return view


def usp_view(usp: UspString) -> dict[str, Any]:
    """Return a US Privacy string as the GPP reference prints it."""
    return {"Version": 1, "Notice": usp.notice, "OptOutSale": usp.opt_out_sale, "LspaCovered": usp.lspa_covered}


def section_view(section: Section) -> dict[str, Any]:
    """Return a section as the GPP reference prints it; an undecoded one says why."""
    match section:
        case TcString():
            return _eu_view(section)
        case CaString():
            return _ca_view(section)
        case UsSection():
            return _us_view(section)
        case UspString():
            return usp_view(section)
        case Undecoded():
            return {"undecoded": section.reason}


def sections_view(gpp: GppString) -> dict[str, Any]:
    """Return every section under its name, or its number where it has none."""
    named = zip(gpp.ids, gpp.sections, strict=True)
    return {NAMES.get(n, str(n)): section_view(section) for n, section in named}


def _absent(section: Section) -> list[str]:
    parts: dict[str, object]
    match section:
        case TcString():
            parts = {"disclosed": section.disclosed, "allowed": section.allowed, "publisher": section.publisher}
        case CaString():
            parts = {"disclosed": section.disclosed, "publisher": section.publisher}
        case UsSection():
            parts = {"gpc": section.gpc} if section.id in _HAVE_GPC else {}
        case _:
            parts = {}
    return [name for name, part in parts.items() if part is None]


def view(signal: Signal) -> dict[str, Any]:
    """Return any signal as a JSON object: its kind, what it says, and what of it may not be relied on."""
    match signal:
        case TcString():
            return {
                "kind": "tcf",
                "violations": list(signal.violations),
                "absent": _absent(signal),
                "decoded": tcf_view(signal),
            }
        case GppString():
            named = [(NAMES.get(n, str(n)), s) for n, s in zip(signal.ids, signal.sections, strict=True)]
            return {
                "kind": "gpp",
                "section_ids": list(signal.ids),
                "violations": {name: list(s.violations) for name, s in named if isinstance(s, TcString)},
                "undecoded": {name: s.reason for name, s in named if isinstance(s, Undecoded)},
                "absent": {name: parts for name, s in named if (parts := _absent(s))},
                "sections": sections_view(signal),
            }
        case UspString():
            return {"kind": "usp", "decoded": usp_view(signal)}
        case GpcSignal():
            return {"kind": "gpc", "decoded": {"gpc": signal.on}}
