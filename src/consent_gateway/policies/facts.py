"""From a question and a person's situation to one point of the fact space.

A `Question` is what is constant for one decision request or one audience: purpose, channel, recipient, basis and
the message. A `Situation` is what is true of one class of people at one instant. `build` quantises both: ages to
the bands at which some law changes its mind, local minutes to their place in the windows that some law knows,
dates to classes. It invents nothing: what is not known maps to a value that says so, and what lies outside of a
domain raises `UnknownFactError`, which the engine turns into a denial.

Defaults are neutral for facts that restrict when true (no objection, no opt-out). They are *absent* for facts
that permit (no consent, no soft opt-in condition, no region, no known local time), so that forgetting one denies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache

from consent_gateway.domain.caps import FROM_8_TO_20, FROM_8_TO_21
from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.purposes import Basis, Channel, PurposeKind, RecipientKind
from consent_gateway.policies.classes import (
    age_band,
    collected_class,
    confirmation_class,
    contacts_class,
    export_class,
    opt_out_class,
    refusal_class,
    sensitive_export_class,
)
from consent_gateway.policies.regions import (
    child_class,
    establishment,
    places,
    recipient_place,
    sensitivity,
)
from consent_gateway.policies.vocabulary import FACTS, FIELD, Facts, UnknownFactError, bit, words

__all__ = ["Facts", "Question", "Situation", "Suppressed", "UnknownFactError", "build"]

NO_PROPERTIES = ConsentProperty(0)


class Suppressed(StrEnum):
    """What the suppression list says: nothing, no marketing, or nothing at all (bounce, erased, regulator)."""

    NO = "no"
    MARKETING = "marketing"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, constant over an audience. Countries are ISO 3166-1; counts are people per calendar year.

    `recipient_country` None: the data does not leave the place where it is. `contract` concerns processors.
    """

    purpose_kind: PurposeKind
    channel: Channel = Channel.NONE
    recipient_kind: RecipientKind = RecipientKind.SELF
    recipient_known: bool = True
    recipient_country: str | None = None
    contract: bool = True
    transfer_mechanism: str = "none"
    exported_people: int | None = None
    exported_sensitive: int | None = None
    destination_kind: str = "none"
    basis: Basis = Basis.NONE
    sender_type: str = "commercial"
    automated: bool = False
    significant: bool = False
    unreasonable_price: bool = False
    non_personalised_option: bool = False
    refusal_mechanism: bool = False
    unsubscribe: bool = True
    sender_identity: bool = True
    postal_address: bool = True
    ad_label: bool = True
    information_society_service: bool = False
    child_directed: bool = False
    controller_country: str | None = None
    requested_purpose: PurposeKind | None = None
    same_legal_entity: bool = False
    similar_products: bool = False
    charitable_purpose_only: bool = False
    opt_out_in_message: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is true of one class of people at one instant.

    `regions` are all candidate residencies ("DE", "US-CA"; None is unknown). `local_minutes` are the minutes of
    the day (0-1439) in every zone they might be in, () if no zone is known. `scope_recipient` None: consent given
    to us names us and our processors, and nobody else. `contacts_24h` counts contacts on the same subject matter.
    `revoked_elsewhere`: the person revoked on this channel for another topic (47 CFR 64.1200(a)(10)).
    `notice_outdated`: the consent was given under a version of the notice that a later material version replaced.
    """

    regions: tuple[str | None, ...] = (None,)
    age: int | None = None
    consent: ConsentState = ConsentState.NONE
    properties: ConsentProperty = NO_PROPERTIES
    scope_purpose: bool = True
    scope_channel: bool = True
    scope_recipient: bool | None = None
    notice_given: bool = True
    notice_outdated: bool = False
    objection: bool = False
    restriction: bool = False
    sale_share_opt_out: bool = False
    limit_sensitive: bool = False
    gpc: bool = False
    gpc_seen_before: bool = False
    personalisation_refused: bool = False
    sensitive: tuple[str, ...] = ()
    corporate: bool = False
    do_not_call: bool = False
    suppressed: Suppressed = Suppressed.NO
    capped: bool = False
    contacts_24h: int = 0
    local_minutes: tuple[int, ...] = ()
    deletion: str = "none"
    opted_out_on: date | None = None
    refused_on: date | None = None
    today: date | None = None
    minutes_since_revocation: int | None = None
    confirmation_sent: bool = False
    loyalty: str = "none"
    collected_in_sale: bool = False
    opt_out_offered: bool = False
    expressed_interest: bool = False
    collected_on: date | None = None
    revoked_elsewhere: bool = False


def build(question: Question, situation: Situation) -> Facts:
    """Quantise to a point of the fact space; raises `UnknownFactError` for a value outside of its domain."""
    return Facts(_question_bits(question) | _situation_bits(question, situation))


@lru_cache(maxsize=256)  # constant over an audience
def _question_bits(q: Question) -> int:
    bits = bit("purpose", q.purpose_kind) | bit("channel", q.channel) | bit("recipient", q.recipient_kind)
    bits |= bit("recipient_place", recipient_place(q.recipient_country))
    bits |= bit("transfer_mechanism", q.transfer_mechanism) | bit("destination", q.destination_kind)
    bits |= bit("exported_people", export_class(q.exported_people))
    bits |= bit("exported_sensitive", sensitive_export_class(q.exported_sensitive))
    bits |= bit("basis", q.basis) | bit("sender", q.sender_type)
    bits |= bit("controller", establishment(q.controller_country))
    bits |= bit("requested", _requested(q.requested_purpose))
    return bits | _flags(_QUESTION_FLAGS, _question_flags(q))


# In the order of `_question_flags`: a dictionary per question would be slower and no clearer.
_QUESTION_FLAGS = words(
    "recipient_known contract automated significant unreasonable_price non_personalised_option refusal_mechanism "
    "msg_unsubscribe msg_sender msg_postal msg_ad_label iss child_directed same_entity similar_products "
    "charitable_purpose opt_out_in_message"
)


def _question_flags(q: Question) -> tuple[bool, ...]:
    return (
        q.recipient_known,
        q.contract,
        q.automated or q.purpose_kind is PurposeKind.AUTOMATED_INDIVIDUAL_DECISION,
        q.significant,
        q.unreasonable_price,
        q.non_personalised_option,
        q.refusal_mechanism,
        q.unsubscribe,
        q.sender_identity,
        q.postal_address,
        q.ad_label,
        q.information_society_service,
        q.child_directed,
        q.same_legal_entity,
        q.similar_products,
        q.charitable_purpose_only,
        q.opt_out_in_message,
    )


_TABLES: dict[str, tuple[int, int]] = {
    f.name: (bit(f.name, "no"), bit(f.name, "yes")) for f in FACTS if f.values == ("no", "yes")
}


def _flags(names: Iterable[str], values: Iterable[bool]) -> int:
    return sum(_TABLES[name][bool(value)] for name, value in zip(names, values, strict=True))


def _situation_bits(q: Question, s: Situation) -> int:
    bits = _places_bits(s.regions) | _properties_bits(s.properties) | _sensitivity_bits(s.sensitive)
    bits |= (
        bit("age", age_band(s.age))
        | bit("eu_child", child_class(s.age, s.regions, q.controller_country))
        | bit("consent", s.consent)
    )
    bits |= bit("gpc", "yes" if s.gpc else "seen_before" if s.gpc_seen_before else "no")
    bits |= bit("notice", _notice(s))
    bits |= bit("subscriber", "corporate" if s.corporate else "individual")
    bits |= bit("suppressed", s.suppressed) | bit("deletion", s.deletion) | bit("loyalty", s.loyalty)
    bits |= bit("contacts_24h", contacts_class(s.contacts_24h))
    bits |= _time_bits(s)
    return bits | _flags(_SITUATION_FLAGS, _situation_flags(q, s))


_SITUATION_FLAGS = words(
    "scope_purpose scope_channel scope_recipient objection restriction sale_share_opt_out limit_sensitive "
    "personalisation_refused do_not_call capped collected_in_sale opt_out_offered expressed_interest "
    "revoked_elsewhere"
)


def _situation_flags(q: Question, s: Situation) -> tuple[bool, ...]:
    return (
        s.scope_purpose,
        s.scope_channel,
        _names_recipient(q.recipient_kind) if s.scope_recipient is None else s.scope_recipient,
        s.objection,
        s.restriction,
        s.sale_share_opt_out,
        s.limit_sensitive,
        s.personalisation_refused,
        s.do_not_call,
        s.capped,
        s.collected_in_sale,
        s.opt_out_offered,
        s.expressed_interest,
        s.revoked_elsewhere,
    )


def _names_recipient(kind: RecipientKind) -> bool:
    return kind in {RecipientKind.SELF, RecipientKind.PROCESSOR}


@lru_cache(maxsize=4096)
def _places_bits(regions: tuple[str | None, ...]) -> int:
    found = places(regions)
    return _flags(found._fields, found)


@lru_cache(maxsize=1024)
def _sensitivity_bits(categories: tuple[str, ...]) -> int:
    found = sensitivity(categories)
    return _flags(found._fields, found)


@lru_cache(maxsize=256)
def _properties_bits(properties: ConsentProperty) -> int:
    names = [str(flag.name).lower() for flag in ConsentProperty]
    return _flags(names, (flag in properties for flag in ConsentProperty))


def _time_bits(s: Situation) -> int:
    bits = bit("hours_8_20", FROM_8_TO_20.hours(s.local_minutes))
    bits |= bit("hours_8_21", FROM_8_TO_21.hours(s.local_minutes))
    bits |= bit("opt_out_age", opt_out_class(s.opted_out_on, s.today))
    bits |= bit("refusal_age", refusal_class(s.refused_on, s.today, refused=s.consent is ConsentState.REFUSED))
    bits |= bit("confirmation", confirmation_class(s.minutes_since_revocation, sent=s.confirmation_sent))
    return bits | bit("collected", collected_class(s.collected_on))


def _notice(s: Situation) -> str:
    if not s.notice_given:
        return "no"
    return "outdated" if s.notice_outdated else "yes"


_SHARING = {
    PurposeKind.THIRD_PARTY_AUDIENCE_SHARING,
    PurposeKind.LOYALTY_PROGRAMME_SHARING,
}


def _requested(purpose: PurposeKind | None) -> str:
    if purpose is None:
        return "unknown"
    return "share" if purpose in _SHARING else "other"


QUESTION_MASK = sum(FIELD[fact.name] for fact in FACTS if fact.of_question)
