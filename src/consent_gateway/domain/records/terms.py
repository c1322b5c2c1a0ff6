"""The words of records and receipts: W3C DPV 2.3, and IRIs of our own where it has none.

DPV covers the states of consent, the bases of the GDPR and its rights. It has no extension for the PIPL and none that
fits the CCPA or the UK GDPR, so their articles are named under `urn:consent-gateway:` (docs/receipts.md lists them;
the namespace is ours and not registered).
"""

from __future__ import annotations

from collections.abc import Iterable

from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.dpv import DPV, STATUS_OF_KIND, STATUS_OF_STATE
from consent_gateway.domain.purposes import Basis, RecipientKind

DPV_PD = "https://w3id.org/dpv/pd#"
DPV_GDPR = "https://w3id.org/dpv/legal/eu/gdpr#"
OURS = "urn:consent-gateway:"

CONTROLLER_ROLE = f"{DPV}DataController"
ROLE = {
    RecipientKind.SELF: CONTROLLER_ROLE,
    RecipientKind.PROCESSOR: f"{DPV}DataProcessor",
    RecipientKind.THIRD_PARTY: f"{DPV}ThirdParty",
    RecipientKind.AD_PLATFORM: f"{DPV}ThirdParty",
    RecipientKind.JOINT_CONTROLLER: f"{DPV}JointDataControllers",
    RecipientKind.PUBLIC_AUTHORITY: f"{DPV}Authority",
}

EVENT_STATE = STATUS_OF_KIND
RENEWED = STATUS_OF_KIND[ConsentKind.RENEWED]
EXPIRED = STATUS_OF_KIND[ConsentKind.EXPIRED]
STATE = STATUS_OF_STATE

_GENERAL = {
    Basis.CONSENT: f"{DPV}Consent",
    Basis.SOFT_OPT_IN: f"{DPV}LegitimateInterestOfController",
    Basis.LEGITIMATE_INTEREST: f"{DPV}LegitimateInterestOfController",
    Basis.CONTRACT: f"{DPV}Contract",
    Basis.LEGAL_OBLIGATION: f"{DPV}LegalObligation",
    Basis.NONE: f"{DPV}LegalBasis",
    Basis.RECOGNISED_LEGITIMATE_INTEREST: f"{DPV}LegitimateInterest",
}
# By law, the article that a basis is under it; a law that knows no such basis has no line.
_ARTICLE = {
    "gdpr": {
        Basis.CONSENT: f"{DPV_GDPR}A6-1-a",
        Basis.SOFT_OPT_IN: f"{DPV_GDPR}A6-1-f",  # ePD Art 13(2) besides
        Basis.LEGITIMATE_INTEREST: f"{DPV_GDPR}A6-1-f",
        Basis.CONTRACT: f"{DPV_GDPR}A6-1-b",
        Basis.LEGAL_OBLIGATION: f"{DPV_GDPR}A6-1-c",
    },
    "uk": {
        Basis.CONSENT: f"{OURS}uk-gdpr:6-1-a",
        Basis.SOFT_OPT_IN: f"{OURS}uk-gdpr:6-1-f",  # PECR reg 22(3) besides
        Basis.LEGITIMATE_INTEREST: f"{OURS}uk-gdpr:6-1-f",
        Basis.CONTRACT: f"{OURS}uk-gdpr:6-1-b",
        Basis.LEGAL_OBLIGATION: f"{OURS}uk-gdpr:6-1-c",
        Basis.RECOGNISED_LEGITIMATE_INTEREST: f"{OURS}uk-gdpr:6-1-ea",
    },
    "pipl": {
        Basis.CONSENT: f"{OURS}pipl:13-1-1",
        Basis.CONTRACT: f"{OURS}pipl:13-1-2",
        Basis.LEGAL_OBLIGATION: f"{OURS}pipl:13-1-3",
    },
    # The CCPA asks for no basis: consent where it wants an opt-in, otherwise purposes that were disclosed.
    "ccpa": {Basis.CONSENT: f"{OURS}ccpa:1798.140-h"}
    | dict.fromkeys(set(Basis) - {Basis.CONSENT}, f"{OURS}ccpa:1798.100-c"),
}
_RIGHTS = {
    "gdpr": [f"{DPV_GDPR}A{article}" for article in ("7-3", "15", "16", "17", "18", "20", "21", "77")],
    "uk": [f"{OURS}uk-gdpr:{article}" for article in ("7-3", "15", "16", "17", "18", "20", "21", "77")],
    "pipl": [f"{OURS}pipl:{article}" for article in ("15", "44", "45", "46", "47", "48")],
    "ccpa": [f"{OURS}ccpa:1798.{section}" for section in ("105", "106", "110", "115", "120", "121")],
}


def legal_bases(basis: Basis, laws: Iterable[str]) -> list[str]:
    """Return what a basis is called in general, and by its article under each of `laws` that knows it."""
    articles = [_ARTICLE[law][basis] for law in laws if basis in _ARTICLE.get(law, {})]
    return [_GENERAL[basis], *articles]


def rights(laws: Iterable[str]) -> list[str]:
    """Return the rights that a person has under `laws`."""
    return [right for law in laws for right in _RIGHTS.get(law, [])]


def event_type(basis: Basis, properties: ConsentProperty) -> str:
    """Return the basis that an event is about; for consent, how it was expressed (GDPR Art 4(11), 9(2)(a))."""
    if basis is not Basis.CONSENT:
        return _GENERAL[basis]
    if ConsentProperty.EXPLICIT in properties:
        return f"{DPV}ExplicitlyExpressedConsent"
    return f"{DPV}ExpressedConsent" if ConsentProperty.AFFIRMATIVE in properties else f"{DPV}Consent"


def data_category(name: str) -> str:
    """Return the IRI of a category of personal data."""
    return DPV_PD + name
