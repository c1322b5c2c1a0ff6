"""Translate the fields of a decision case to a question and a situation.

The vocabulary is that of the case file's `field_notes`. Two readings where the file leaves room: consent that is
given without a scope covers what is asked, and a scope that names `self` covers our processors too. Several names
are read for one thing where officers use several; a name that only some use is read only where it restricts. The
translation knows fields, never cases; a value that it does not know raises ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from time import strptime
from typing import Any

from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.purposes import Basis, Channel, PurposeKind, RecipientKind
from consent_gateway.policies.cases import names
from consent_gateway.policies.facts import Question, Situation, Suppressed

Given = Mapping[str, Any]

DEFAULTS: Given = {"age": 30, "local_time": "14:00", "policy_available": True}


def unread_fields(given: Given) -> tuple[str, ...]:
    """Return the fields of a case that no translation reads, sorted."""
    return tuple(sorted(set(given) - names.FIELDS - names.NARRATIVE))


def question_of(facts: Given) -> Question:
    """Translate the fields that belong to the question."""
    soft, message = facts.get("soft_opt_in_conditions") or {}, facts.get("message") or {}
    requested = facts.get("requested_purpose")
    return Question(
        purpose_kind=PurposeKind(facts["purpose"]),
        channel=Channel(_channel(facts.get("channel"))),
        recipient_kind=_recipient(facts),
        recipient_known=bool(facts.get("recipient_registered", True)),
        recipient_country=_recipient_country(facts),
        contract=all(bool(facts.get(name, True)) for name in names.CONTRACTS),
        transfer_mechanism=_known(names.MECHANISMS, facts.get("transfer_mechanism")),
        exported_people=_exported(facts),
        exported_sensitive=facts.get("exported_sensitive_individuals_this_year"),
        destination_kind=_known(names.DESTINATIONS, facts.get("destination_kind")),
        basis=Basis(facts.get("legal_basis") or "none"),
        sender_type=str(facts.get("sender_type") or "commercial"),
        automated=bool(facts.get("automated_decision")) or facts.get("channel") in names.MACHINES,
        significant=bool(facts.get("significant_effect")),
        unreasonable_price=bool(facts.get("unreasonable_difference")),
        non_personalised_option=bool(facts.get("non_personalised_option")),
        refusal_mechanism=bool(facts.get("refusal_mechanism")),
        unsubscribe=bool(message.get("unsubscribe", True)),
        sender_identity=bool(message.get("sender_identity", True)),
        postal_address=bool(message.get("postal_address", True)),
        ad_label=bool(message.get("ad_label", True)),
        information_society_service=bool(facts.get("information_society_service")),
        child_directed=bool(facts.get("child_directed")),
        controller_country=facts.get("controller_location"),
        requested_purpose=PurposeKind(requested) if requested else None,
        same_legal_entity=bool(soft.get("same_legal_entity")),
        similar_products=bool(soft.get("similar_products")),
        charitable_purpose_only=bool(soft.get("charitable_purpose_only")),
        opt_out_in_message=bool(soft.get("opt_out_in_message")),
    )


def situation_of(facts: Given) -> Situation:
    """Translate the fields that belong to the person."""
    soft, scope = facts.get("soft_opt_in_conditions") or {}, facts.get("consent_scope")
    return Situation(
        regions=_regions(facts),
        age=facts.get("age"),
        consent=_consent(facts),
        properties=_properties(facts),
        scope_purpose=scope is None or facts["purpose"] in scope.get("purposes", ()),
        scope_channel=scope is None or _names_channel(scope.get("channels", ()), facts.get("channel")),
        scope_recipient=scope is None or _names_recipient(scope.get("recipients", ()), facts),
        notice_given=bool(facts.get("notice_given", True)),
        notice_outdated=_any(facts, names.CHANGES),
        objection=_any(facts, names.OBJECTIONS),
        restriction=bool(facts.get("restriction")),
        sale_share_opt_out=bool(facts.get("sale_share_opt_out")),
        limit_sensitive=bool(facts.get("limit_sensitive_use")),
        gpc=bool(facts.get("gpc")),
        gpc_seen_before=bool(facts.get("gpc_previously_seen")),
        personalisation_refused=bool(facts.get("personalisation_refused")),
        sensitive=tuple(facts.get("sensitive") or ()),
        corporate=facts.get("subscriber_type") == "corporate",
        do_not_call=_any(facts, names.REGISTERS),
        suppressed=_suppressed(facts.get("suppressed")),
        capped=_capped(facts.get("frequency")),
        contacts_24h=int(facts.get("sends_same_subject_24h") or 0),
        local_minutes=_local_minutes(facts),
        deletion=_deletion(facts),
        opted_out_on=_day(facts.get("last_opt_out_at")),
        refused_on=_day(facts.get("refused_at")),
        today=_day(facts.get("now")),
        minutes_since_revocation=facts.get("minutes_since_revocation"),
        confirmation_sent=bool(facts.get("confirmation_already_sent")),
        loyalty=_loyalty(facts.get("financial_incentive")),
        collected_in_sale=bool(soft.get("collected_in_sale")),
        opt_out_offered=bool(soft.get("opt_out_offered_at_collection")),
        expressed_interest=bool(soft.get("expressed_interest_or_support")),
        collected_on=_day(facts.get("collected_at")),
        revoked_elsewhere=_any(facts, names.REVOKED),
    )


def _known(table: Mapping[str, str], value: str | None) -> str:
    return table.get(value, value) if value else "none"


def _regions(facts: Given) -> tuple[str | None, ...]:
    """Unite residency, candidates, other signs of a place and targeted market (LAW part 2.1); citizenship is none."""
    candidates = list(facts.get("residency_candidates") or ())
    residency = facts.get("residency")
    if residency is not None or not candidates:
        candidates.append(residency)
    markets = facts.get("market_targeted") or ()
    candidates += [markets] if isinstance(markets, str) else list(markets)
    candidates += [facts[name] for name in names.ELSEWHERE if facts.get(name)]
    # PIPL Art 3(1): what is done in China is subject to it, whoever the person is.
    candidates += ["CN"] if facts.get("processing_location") == "CN" else []
    return tuple(dict.fromkeys(candidates))


def _any(facts: Given, fields: Iterable[str]) -> bool:
    return any(bool(facts.get(field)) for field in fields)


def _recipient(facts: Given) -> RecipientKind:
    named = facts.get("recipient_type") or "self"
    if facts.get("foreign_authority_request"):
        return RecipientKind.PUBLIC_AUTHORITY
    return RecipientKind(names.RECIPIENTS.get(named, named))


def _exported(facts: Given) -> int | None:
    """Return the people exported this year; an operator of critical infrastructure has no lower tier (PIPL Art 40)."""
    people = facts.get("exported_non_sensitive_individuals_this_year")
    if not _any(facts, names.INFRASTRUCTURE):
        return people
    return _TOP_TIER if people is None else max(people, _TOP_TIER)


_TOP_TIER = 1_000_000


def _suppressed(value: object) -> Suppressed:
    """Read yes or no, or the list by its name; a list of an unknown name raises ValueError."""
    if isinstance(value, str):
        return Suppressed(value)
    return Suppressed.MARKETING if value else Suppressed.NO


def _recipient_country(facts: Given) -> str | None:
    """Say where the data goes: a cross-border use without a named country goes to an unlisted one."""
    named = facts.get("recipient_location") or facts.get("processing_location")
    return named or ("ZZ" if facts.get("cross_border") else None)


def _consent(facts: Given) -> ConsentState:
    """Return the state; a consent whose end is not after `now` has expired, whatever the case calls it.

    Words of revocation end it, whatever they are: any reasonable means counts (47 CFR 64.1200(a)(10)).
    """
    state = ConsentState(facts.get("consent_state") or "none")
    if state is ConsentState.GIVEN and (facts.get("revocation_text") or _ended(facts)):
        return ConsentState.WITHDRAWN
    until, now = facts.get("consent_valid_until"), facts.get("now")
    over = until is not None and now is not None and _instant(until) <= _instant(now)
    return ConsentState.EXPIRED if state is ConsentState.GIVEN and over else state


def _ended(facts: Given) -> bool:
    """Tell whether a withdrawal is not older than the consent: of two at one instant the no wins (LAW part 3)."""
    given = facts.get("consent_given_at")
    ends = [_instant(facts[name]) for name in names.WITHDRAWALS if facts.get(name)]
    return bool(ends) and (given is None or _instant(given) <= max(ends))


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _properties(facts: Given) -> ConsentProperty:
    kinds = facts.get("consent_kind") or ()
    found = ConsentProperty(0)
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        found |= _kind(kind)
    if facts.get("consent_given_by") in names.PARENTS:
        found |= ConsentProperty.GUARDIAN
    if facts.get("consent_method", "affirmative") in names.CLEAR_ACTS:
        found |= ConsentProperty.AFFIRMATIVE
    if facts.get("consent_evidence", "full") == "full":
        found |= ConsentProperty.EVIDENCE
    return found


def _kind(name: str) -> ConsentProperty:
    if name not in names.KINDS:
        raise ValueError("the consent is of an unknown kind")
    return names.KINDS[name]


def _channel(name: str | None) -> str:
    return names.CHANNELS.get(name, name) if name else "none"


def _names_channel(named: Iterable[str], asked: str | None) -> bool:
    """Match the channel under any of its names; consent to a call by a person is none to one by a machine."""
    if asked in names.MACHINES:
        return not names.MACHINES.isdisjoint(named)
    return _channel(asked) in {_channel(name) for name in named if name not in names.MACHINES}


def _names_recipient(named: Iterable[str], facts: Given) -> bool:
    """Match the recipient by its id, or by its kind where it has no id; we and our processors are `self`."""
    kind, name = facts.get("recipient_type") or "self", facts.get("recipient_id")
    if names.RECIPIENTS.get(kind, kind) in _OWN:
        return not {"self", kind, name}.isdisjoint(named)
    return (name or kind) in set(named)


_OWN = frozenset({"self", "processor"})


def _capped(frequency: Mapping[str, int] | None) -> bool:
    return frequency is not None and frequency["sent_in_window"] >= frequency["cap"]


def _local_minutes(facts: Given) -> tuple[int, ...]:
    times = facts.get("local_time_candidates") or [facts.get("local_time")]
    return tuple(_minute(text) for text in times if text)


def _minute(text: str) -> int:
    moment = strptime(text, "%H:%M")
    return moment.tm_hour * 60 + moment.tm_min


def _deletion(facts: Given) -> str:
    if facts.get("deletion_pending_technical"):
        return "pending_technical"
    return "completed" if facts.get("deletion_completed") else "none"


def _day(text: str | None) -> date | None:
    return datetime.fromisoformat(text).date() if text else None


def _loyalty(incentive: Mapping[str, bool] | None) -> str:
    """Count an affirmation only after the person was asked (11 CCR 7025(c)(4))."""
    if not incentive or not incentive.get("participant"):
        return "none"
    if not incentive.get("asked_to_confirm"):
        return "participant"
    return "affirmed" if incentive.get("affirmed") else "asked"
