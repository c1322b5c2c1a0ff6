"""Purposes, channels, recipients and sources: what data is used for, how, by whom, and where it came from.

Purposes form a hierarchy: a withdrawal goes down the tree, a grant does not (a general yes is not a specific
one, GDPR recital 43). Each purpose has a *kind*, which is what the law distinguishes, and an IRI of the W3C
Data Privacy Vocabulary. Names of the kinds are those of the decision cases that compliance officers exchange.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SourceId


class Channel(StrEnum):
    """How a person is reached; `none` for uses that reach nobody (segmentation, storage)."""

    EMAIL = "email"
    SMS = "sms"
    CALL = "call"
    POST = "post"
    PUSH = "push"
    IN_APP = "in_app"
    ONLINE_ADS = "online_ads"
    NONE = "none"


class PurposeKind(StrEnum):
    """What the law distinguishes about a purpose; a closed list, because every rule must know them all."""

    DIRECT_MARKETING = "direct_marketing"
    PERSONALISED_MARKETING = "personalised_marketing"
    THIRD_PARTY_AUDIENCE_SHARING = "third_party_audience_sharing"
    SEGMENTATION_FOR_MARKETING = "segmentation_for_marketing"
    ANALYTICS_SEGMENTATION = "analytics_segmentation"
    AUTOMATED_INDIVIDUAL_DECISION = "automated_individual_decision"
    CONSENT_REQUEST = "consent_request"
    SERVICE_MESSAGE = "service_message"
    SERVICE_DELIVERY = "service_delivery"
    STORAGE = "storage"
    ERASURE_SUPPRESSION_CHECK = "erasure_suppression_check"
    REQUEST_RECORD_KEEPING = "request_record_keeping"
    OPT_OUT_CONFIRMATION = "opt_out_confirmation"
    LOYALTY_PROGRAMME_SHARING = "loyalty_programme_sharing"


class Basis(StrEnum):
    """The legal basis a purpose is declared to rest on (GDPR Art 6(1), PIPL Art 13; the last: UK Annex 1)."""

    CONSENT = "consent"
    SOFT_OPT_IN = "soft_opt_in"
    LEGITIMATE_INTEREST = "legitimate_interest"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    NONE = "none"
    RECOGNISED_LEGITIMATE_INTEREST = "recognised_legitimate_interest"


class RecipientKind(StrEnum):
    """Who gets the data: ourselves, a processor under contract, another controller, a cross-context ad platform,

    a controller with whom we decide together (GDPR Art 26, PIPL Art 20), or a public authority (GDPR Art 48).
    """

    SELF = "self"
    PROCESSOR = "processor"
    THIRD_PARTY = "third_party"
    AD_PLATFORM = "ad_platform"
    JOINT_CONTROLLER = "joint_controller"
    PUBLIC_AUTHORITY = "public_authority"


OWN = RecipientId("self")  # ourselves: registered in every store, and the recipient of our own keys


class Destination(StrEnum):
    """Where data ends up with a recipient: in a service for us, or in ads across contexts (11 CCR 7050)."""

    SERVICE = "service"
    SOCIAL_CUSTOM_AUDIENCE = "social_custom_audience"
    AD_NETWORK = "ad_network"


class Mark(StrEnum):
    """What else the law asks about a purpose; declared in its register, never by who asks. Undeclared means no."""

    AUTOMATED = "automated"  # GDPR Art 22, PIPL Art 24; calls: 47 CFR 64.1200(a)(2)
    SIGNIFICANT = "significant"  # legal or similarly significant effects on the person
    UNREASONABLE_PRICE = "unreasonable_price"  # PIPL Art 24(1)
    NON_PERSONALISED_OPTION = "non_personalised_option"  # PIPL Art 24(2)
    REFUSAL_MECHANISM = "refusal_mechanism"  # PIPL Art 24(2)
    CHILD_DIRECTED = "child_directed"  # GDPR Art 8, Civ. Code 1798.120(c), PIPL Art 31
    SIMILAR_PRODUCTS = "similar_products"  # ePD Art 13(2): our own similar products and nothing else
    CHARITABLE = "charitable"  # DUAA 2025 s.114: charitable purposes and nothing else
    SENSITIVE_FIELDS = "sensitive_fields"  # may list fields that tell much: GDPR Art 5(1)(c), PIPL Art 28


class Party(StrEnum):
    """Whose data a source brings: collected by us, by a partner for us, or bought."""

    FIRST = "first"
    SECOND = "second"
    THIRD = "third"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What data is used for; `parent` is the wider purpose it belongs to.

    `sensitive` are the categories of sensitive data that the use involves ("health"), `bases` those it may rest on
    besides `basis` where a question says so, `requested` what a request for consent asks consent for, `reveals` the
    fields of the vault that may be given back for it.
    """

    id: PurposeId
    kind: PurposeKind
    title: str
    title_zh: str
    dpv_iri: str
    basis: Basis
    parent: PurposeId | None = None
    marks: frozenset[Mark] = frozenset()
    sensitive: tuple[str, ...] = ()
    bases: tuple[Basis, ...] = ()
    requested: PurposeId | None = None
    reveals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who gets data; `sector` groups systems that share one pseudonym space (OIDC sector identifier).

    `country` of ourselves is "" where data stays in the place where it is collected.
    """

    id: RecipientId
    name: str
    kind: RecipientKind
    country: str
    contract: bool
    transfer_mechanism: str
    sector: str
    scope_bit: int | None = None
    destination: Destination | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where data comes from, under which notice, and what it may be used for."""

    id: SourceId
    name: str
    channel: str
    party: Party
    notice: NoticeId | None
    purposes: tuple[PurposeId, ...]
    retention: str = ""  # ISO 8601 duration after which nothing of this source is kept; empty: as its purposes need


@dataclass(frozen=True, slots=True)
class PurposeTree:
    """All registered purposes with their hierarchy; cycles and unknown parents cannot be registered."""

    purposes: Mapping[PurposeId, Purpose]

    def ancestors(self, purpose: PurposeId) -> Iterator[PurposeId]:
        """Yield `purpose` itself and then every wider purpose up to the root."""
        current: PurposeId | None = purpose
        while current is not None:
            yield current
            found = self.purposes.get(current)
            current = found.parent if found else None

    def descendants(self, purpose: PurposeId) -> Iterator[PurposeId]:
        """Yield `purpose` itself and every narrower purpose below it."""
        yield purpose
        for child in self.purposes.values():
            if child.parent == purpose:
                yield from self.descendants(child.id)
