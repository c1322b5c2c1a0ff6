"""What the fields of a decision case may look like: names and types, checked before anything is translated.

Half a case must not pass for a whole one, so a field that nothing reads is a problem, as is a value of another type;
both are named by case and field, never by value. A *value* outside of the vocabulary is no problem of the case: it is
a fact that denies, as it would in service (promise P1). `null` stands for "not said"; where
leaving a field out is taken for a yes (a contract, a notice, evidence), `null` is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consent_gateway.policies.cases.translation import Given, unread_fields
from consent_gateway.policies.vocabulary import words

_WANTED: Mapping[str, tuple[type, ...]] = {
    "true or false": (bool,),
    "a whole number": (int,),
    "text": (str,),
    "a list of texts": (list,),
    "text or a list of texts": (str, list),
    "an object": (dict,),
}
_TYPES: dict[str, str] = {
    **dict.fromkeys(
        words(
            "processor_contract contract cross_border automated_decision significant_effect affects_price "
            "unreasonable_difference non_personalised_option refusal_mechanism information_society_service "
            "child_directed notice_given notice_outdated objection restriction sale_share_opt_out "
            "limit_sensitive_use gpc gpc_subject_known gpc_previously_seen personalisation_refused do_not_call "
            "dnc_listed dnc_registered dnc_registry "
            "recipient_registered joint_arrangement "
            "opted_out unsubscribed tps_registered tps_listed deletion_completed deletion_pending_technical "
            "confirmation_already_sent policy_available"
        ),
        "true or false",
    ),
    **dict.fromkeys(
        words(
            "age sends_same_subject_24h minutes_since_revocation exported_non_sensitive_individuals_this_year "
            "exported_sensitive_individuals_this_year"
        ),
        "a whole number",
    ),
    **dict.fromkeys(
        words(
            "purpose channel recipient_type recipient_id recipient_location residency current_location "
            "location present_in travelling_in ip_country ip_location phone_country sign_in_country "
            "recent_sign_in_country "
            "controller_location processing_location transfer_mechanism destination_kind legal_basis sender_type "
            "requested_purpose consent_state consent_given_by consent_method consent_evidence subscriber_type "
            "local_time last_opt_out_at refused_at now collected_at consent_valid_until"
        ),
        "text",
    ),
    **dict.fromkeys(words("sensitive local_time_candidates residency_candidates"), "a list of texts"),
    **dict.fromkeys(words("market_targeted consent_kind"), "text or a list of texts"),
    **dict.fromkeys(words("message soft_opt_in_conditions consent_scope frequency financial_incentive"), "an object"),
}
_INNER: dict[str, tuple[str, tuple[str, ...]]] = {
    "message": ("true or false", words("unsubscribe sender_identity postal_address ad_label")),
    "soft_opt_in_conditions": (
        "true or false",
        words(
            "same_legal_entity similar_products charitable_purpose_only opt_out_in_message collected_in_sale "
            "opt_out_offered_at_collection expressed_interest_or_support"
        ),
    ),
    "consent_scope": ("a list of texts", words("purposes channels recipients")),
    "frequency": ("a whole number", words("sent_in_window cap window_hours")),
    "financial_incentive": ("true or false", words("participant asked_to_confirm affirmed")),
}


def problems_of(given: Given) -> tuple[str, ...]:
    """Return what is wrong with the fields of a case, each as "field: what"; () if nothing is."""
    return tuple(_problems(given))


def _problems(given: Given) -> Iterator[str]:
    for name in unread_fields(given):
        yield f"{name}: no such field"
    for name, value in given.items():
        yield from _typed(name, value, _TYPES.get(name))
        if name in _INNER and isinstance(value, dict):
            yield from _inner(name, value)


def _inner(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    wanted, known = _INNER[name]
    for key, part in value.items():
        if key not in known:
            yield f"{name}.{key}: no such field"
        yield from _typed(f"{name}.{key}", part, wanted if key in known else None)


def _typed(name: str, value: object, wanted: str | None) -> Iterator[str]:
    if wanted is None or value is None:
        return
    kinds = _WANTED[wanted]
    fits = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
    if not fits or (isinstance(value, list) and not all(item is None or isinstance(item, str) for item in value)):
        yield f"{name}: must be {wanted}"
