"""The case format, field by field: what each field says about the question or the person, and that nothing else moves.

A row states the whole effect of its fields, by comparison with the plain case: a field that is read under another
name, with another default, or into another fact, is seen.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.purposes import Basis, Channel, PurposeKind, RecipientKind
from consent_gateway.policies.cases import names
from consent_gateway.policies.cases.translation import question_of, situation_of, unread_fields
from consent_gateway.policies.facts import Question, Situation, Suppressed

P = ConsentProperty
PLAIN = {"purpose": "direct_marketing", "channel": "email"}
QUESTION = Question(purpose_kind=PurposeKind.DIRECT_MARKETING, channel=Channel.EMAIL)
PERSON = Situation(scope_recipient=True, properties=P.AFFIRMATIVE | P.EVIDENCE)
SCOPE = {"purposes": ["direct_marketing"], "channels": ["email"], "recipients": ["self"]}
DAY = date(2026, 11, 18)


def test_a_plain_case_says_nothing_more_than_its_purpose_and_channel() -> None:
    assert question_of(PLAIN) == QUESTION
    assert situation_of(PLAIN) == PERSON
    assert question_of({"purpose": "storage"}) == Question(purpose_kind=PurposeKind.STORAGE)


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"purpose": "storage"}, {"purpose_kind": PurposeKind.STORAGE}),
        ({"channel": None}, {"channel": Channel.NONE}),
        ({"channel": "mms"}, {"channel": Channel.SMS}),
        ({"channel": "telephone"}, {"channel": Channel.CALL}),
        ({"channel": "robocall"}, {"channel": Channel.CALL, "automated": True}),
        ({"channel": "prerecorded_call"}, {"channel": Channel.CALL, "automated": True}),
        ({"recipient_type": "processor"}, {"recipient_kind": RecipientKind.PROCESSOR}),
        ({"recipient_type": "contractor"}, {"recipient_kind": RecipientKind.PROCESSOR}),
        ({"recipient_type": "partner"}, {"recipient_kind": RecipientKind.THIRD_PARTY}),
        ({"recipient_type": None}, {"recipient_kind": RecipientKind.SELF}),
        (
            {"recipient_type": "partner", "foreign_authority_request": True},
            {"recipient_kind": RecipientKind.PUBLIC_AUTHORITY},
        ),
        ({"recipient_registered": False}, {"recipient_known": False}),
        ({"recipient_registered": True}, {}),
        ({"recipient_location": "US"}, {"recipient_country": "US"}),
        ({"processing_location": "CN"}, {"recipient_country": "CN"}),
        ({"recipient_location": "US", "processing_location": "CN"}, {"recipient_country": "US"}),
        ({"cross_border": True}, {"recipient_country": "ZZ"}),
        ({"cross_border": True, "recipient_location": "JP"}, {"recipient_country": "JP"}),
        ({"cross_border": False}, {}),
        ({"processor_contract": False}, {"contract": False}),
        ({"contract": False}, {"contract": False}),
        ({"joint_arrangement": False}, {"contract": False}),
        ({"contract": True, "processor_contract": True, "joint_arrangement": False}, {"contract": False}),
        ({"contract": True}, {}),
        ({"contract": None}, {"contract": False}),
        ({"recipient_registered": None}, {"recipient_known": False}),
        ({"transfer_mechanism": "bcr"}, {"transfer_mechanism": "bcr"}),
        ({"transfer_mechanism": "eu_scc"}, {"transfer_mechanism": "scc"}),
        ({"transfer_mechanism": None}, {}),
        ({"exported_non_sensitive_individuals_this_year": 7}, {"exported_people": 7}),
        ({"exported_sensitive_individuals_this_year": 8}, {"exported_sensitive": 8}),
        ({"ciio": True}, {"exported_people": 1_000_000}),
        ({"critical_infrastructure_operator": True}, {"exported_people": 1_000_000}),
        ({"ciio": False, "exported_non_sensitive_individuals_this_year": 0}, {"exported_people": 0}),
        ({"ciio": True, "exported_non_sensitive_individuals_this_year": 5}, {"exported_people": 1_000_000}),
        ({"ciio": True, "exported_non_sensitive_individuals_this_year": 2_000_000}, {"exported_people": 2_000_000}),
        ({"destination_kind": "service"}, {"destination_kind": "service"}),
        ({"destination_kind": "ad_platform"}, {"destination_kind": "ad_network"}),
        ({"destination_kind": None}, {}),
        ({"legal_basis": "consent"}, {"basis": Basis.CONSENT}),
        ({"legal_basis": None}, {}),
        ({"sender_type": "charity"}, {"sender_type": "charity"}),
        ({"sender_type": None}, {}),
        ({"automated_decision": True}, {"automated": True}),
        ({"significant_effect": True}, {"significant": True}),
        ({"unreasonable_difference": True}, {"unreasonable_price": True}),
        ({"non_personalised_option": True}, {"non_personalised_option": True}),
        ({"refusal_mechanism": True}, {"refusal_mechanism": True}),
        ({"message": {"unsubscribe": False}}, {"unsubscribe": False}),
        ({"message": {"sender_identity": False}}, {"sender_identity": False}),
        ({"message": {"postal_address": False}}, {"postal_address": False}),
        ({"message": {"ad_label": False}}, {"ad_label": False}),
        ({"message": None}, {}),
        ({"information_society_service": True}, {"information_society_service": True}),
        ({"child_directed": True}, {"child_directed": True}),
        ({"controller_location": "DE"}, {"controller_country": "DE"}),
        ({"requested_purpose": "storage"}, {"requested_purpose": PurposeKind.STORAGE}),
        ({"requested_purpose": None}, {}),
        ({"soft_opt_in_conditions": None}, {}),
        ({"soft_opt_in_conditions": {"same_legal_entity": True}}, {"same_legal_entity": True}),
        ({"soft_opt_in_conditions": {"similar_products": True}}, {"similar_products": True}),
        ({"soft_opt_in_conditions": {"charitable_purpose_only": True}}, {"charitable_purpose_only": True}),
        ({"soft_opt_in_conditions": {"opt_out_in_message": True}}, {"opt_out_in_message": True}),
    ],
)
def test_fields_of_the_question(given: dict[str, Any], changes: dict[str, Any]) -> None:
    assert question_of({**PLAIN, **given}) == replace(QUESTION, **changes)


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"age": 12}, {"age": 12}),
        ({"notice_given": False}, {"notice_given": False}),
        ({"notice_given": True}, {}),
        ({"notice_given": None}, {"notice_given": False}),
        ({"restriction": True}, {"restriction": True}),
        ({"sale_share_opt_out": True}, {"sale_share_opt_out": True}),
        ({"limit_sensitive_use": True}, {"limit_sensitive": True}),
        ({"gpc": True}, {"gpc": True}),
        ({"gpc_previously_seen": True}, {"gpc_seen_before": True}),
        ({"personalisation_refused": True}, {"personalisation_refused": True}),
        ({"sensitive": ["health", "ssn"]}, {"sensitive": ("health", "ssn")}),
        ({"sensitive": None}, {}),
        ({"subscriber_type": "corporate"}, {"corporate": True}),
        ({"subscriber_type": "individual"}, {}),
        ({"suppressed": True}, {"suppressed": Suppressed.MARKETING}),
        ({"suppressed": "all"}, {"suppressed": Suppressed.ALL}),
        ({"suppressed": "no"}, {}),
        ({"suppressed": False}, {}),
        ({"sends_same_subject_24h": 3}, {"contacts_24h": 3}),
        ({"sends_same_subject_24h": None}, {}),
        ({"deletion_completed": True}, {"deletion": "completed"}),
        ({"deletion_pending_technical": True}, {"deletion": "pending_technical"}),
        ({"deletion_pending_technical": True, "deletion_completed": True}, {"deletion": "pending_technical"}),
        ({"last_opt_out_at": "2026-11-18"}, {"opted_out_on": DAY}),
        ({"refused_at": "2026-11-18T23:59:00Z"}, {"refused_on": DAY}),
        ({"now": "2026-11-18T12:00:00Z"}, {"today": DAY}),
        ({"collected_at": "2026-11-18"}, {"collected_on": DAY}),
        ({"now": None}, {}),
        ({"minutes_since_revocation": 4}, {"minutes_since_revocation": 4}),
        ({"confirmation_already_sent": True}, {"confirmation_sent": True}),
        ({"soft_opt_in_conditions": {"collected_in_sale": True}}, {"collected_in_sale": True}),
        ({"soft_opt_in_conditions": {"opt_out_offered_at_collection": True}}, {"opt_out_offered": True}),
        ({"soft_opt_in_conditions": {"expressed_interest_or_support": True}}, {"expressed_interest": True}),
        ({"soft_opt_in_conditions": None}, {}),
    ],
)
def test_fields_of_the_person(given: dict[str, Any], changes: dict[str, Any]) -> None:
    assert situation_of({**PLAIN, **given}) == replace(PERSON, **changes)


@pytest.mark.parametrize(
    ("aliases", "fact"),
    [
        ("notice_outdated notice_version_outdated purpose_changed method_changed data_kind_changed", "notice_outdated"),
        ("objection objected_at opted_out opted_out_at email_opt_out marketing_opt_out unsubscribed", "objection"),
        ("unsubscribed_at", "objection"),
        ("do_not_call dnc_listed dnc_registered dnc_registry tps_registered tps_listed", "do_not_call"),
        ("ctps_registered ctps_listed", "do_not_call"),
        ("revoked_other_topic revoked_elsewhere", "revoked_elsewhere"),
    ],
)
def test_any_of_the_names_of_a_restriction_restricts(aliases: str, fact: str) -> None:
    for name in aliases.split():
        assert situation_of({**PLAIN, name: True}) == replace(PERSON, **{fact: True})
        assert situation_of({**PLAIN, name: False}) == PERSON


@pytest.mark.parametrize(
    ("given", "regions"),
    [
        ({}, (None,)),
        ({"residency": "DE"}, ("DE",)),
        ({"residency": None}, (None,)),
        ({"residency_candidates": ["AT", "DE"]}, ("AT", "DE")),
        ({"residency_candidates": ["AT"], "residency": "DE"}, ("AT", "DE")),
        ({"residency_candidates": ["AT"], "residency": None}, ("AT",)),
        ({"residency_candidates": None}, (None,)),
        ({"residency": "DE", "market_targeted": "CN"}, ("DE", "CN")),
        ({"residency": "DE", "market_targeted": ["CN", "US"]}, ("DE", "CN", "US")),
        ({"residency": "DE", "market_targeted": None}, ("DE",)),
        ({"residency": "DE", "processing_location": "CN"}, ("DE", "CN")),
        ({"residency": "DE", "processing_location": "US"}, ("DE",)),
        ({"residency": "DE", "market_targeted": ["DE", "US"]}, ("DE", "US")),
        ({"residency": "DE", "citizenship": "CN"}, ("DE",)),
        *(({"residency": "DE", place: "GB"}, ("DE", "GB")) for place in names.ELSEWHERE),
        *(({"residency": "DE", place: None}, ("DE",)) for place in names.ELSEWHERE),
    ],
)
def test_every_place_that_a_case_names_is_a_candidate(given: dict[str, Any], regions: tuple[str | None, ...]) -> None:
    assert situation_of({**PLAIN, **given}).regions == regions


@pytest.mark.parametrize(
    ("scope", "changes"),
    [
        (None, {}),
        (SCOPE, {}),
        ({}, {"scope_purpose": False, "scope_channel": False, "scope_recipient": False}),
        ({**SCOPE, "purposes": ["storage"]}, {"scope_purpose": False}),
        ({**SCOPE, "channels": ["sms"]}, {"scope_channel": False}),
        ({**SCOPE, "recipients": ["partner_a"]}, {"scope_recipient": False}),
    ],
)
def test_a_scope_names_purpose_channel_and_recipient(scope: dict[str, Any] | None, changes: dict[str, Any]) -> None:
    assert situation_of({**PLAIN, "consent_scope": scope}) == replace(PERSON, **changes)


@pytest.mark.parametrize(
    ("asked", "named", "covered"),
    [
        ("mms", ["sms"], True),
        ("sms", ["mms"], True),
        (None, ["none"], True),
        (None, [], False),
        ("call", ["phone_call"], True),
        ("call", ["robocall"], False),  # consent to a machine is none to a person, nor the other way
        ("call", ["robocall", "telephone"], True),
        ("robocall", ["call"], False),
        ("robocall", ["automated_call"], True),
    ],
)
def test_a_scope_knows_a_channel_by_any_name(asked: str | None, named: list[str], *, covered: bool) -> None:
    case = {"purpose": "direct_marketing", "channel": asked, "consent_scope": {**SCOPE, "channels": named}}
    assert situation_of(case).scope_channel is covered


@pytest.mark.parametrize(
    ("kind", "name", "named", "covered"),
    [
        (None, None, ["self"], True),
        ("processor", None, ["self"], True),
        ("service_provider", "mailer", ["self"], True),
        ("processor", "mailer", ["mailer"], True),
        ("processor", "mailer", ["processor"], True),
        ("processor", "mailer", ["other"], False),
        ("third_party", "partner_a", ["partner_a"], True),
        ("third_party", "partner_a", ["third_party"], False),
        ("third_party", "partner_a", ["self"], False),
        ("third_party", None, ["third_party"], True),
        ("third_party", None, ["self"], False),
        ("partner", None, ["partner"], True),
    ],
)
def test_a_scope_names_a_recipient_by_id_or_else_by_kind(
    kind: str | None, name: str | None, named: list[str], *, covered: bool
) -> None:
    case = {**PLAIN, "recipient_type": kind, "recipient_id": name, "consent_scope": {**SCOPE, "recipients": named}}
    assert situation_of(case).scope_recipient is covered


@pytest.mark.parametrize(
    ("given", "properties"),
    [
        ({"consent_kind": "separate"}, P.SEPARATE),
        ({"consent_kind": ["separate", "written"]}, P.SEPARATE | P.WRITTEN),
        ({"consent_kind": ["parental", "explicit", "general"]}, P.GUARDIAN | P.EXPLICIT),
        ({"consent_kind": "double_opt_in"}, P.TWO_STEP),
        ({"consent_kind": None}, P(0)),
        ({"consent_given_by": "parent"}, P.GUARDIAN),
        ({"consent_given_by": "subject"}, P(0)),
        ({"consent_kind": "separate", "consent_given_by": "guardian"}, P.SEPARATE | P.GUARDIAN),
    ],
)
def test_kinds_of_consent_add_up(given: dict[str, Any], properties: ConsentProperty) -> None:
    assert situation_of({**PLAIN, **given}).properties == P.AFFIRMATIVE | P.EVIDENCE | properties


@pytest.mark.parametrize(
    ("given", "properties"),
    [
        ({"consent_method": "pre_ticked_box"}, P.EVIDENCE),
        ({"consent_method": "signature"}, P.AFFIRMATIVE | P.EVIDENCE),
        ({"consent_evidence": "none"}, P.AFFIRMATIVE),
        ({"consent_evidence": "partial"}, P.AFFIRMATIVE),
        ({"consent_method": "silence", "consent_evidence": "none"}, P(0)),
        ({"consent_method": None, "consent_evidence": None}, P(0)),
    ],
)
def test_a_clear_act_and_evidence_are_taken_for_granted_until_something_else_is_said(
    given: dict[str, Any], properties: ConsentProperty
) -> None:
    assert situation_of({**PLAIN, **given}).properties == properties


NOW = "2026-11-18T12:00:00Z"


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"consent_state": "given"}, ConsentState.GIVEN),
        ({"consent_state": "refused"}, ConsentState.REFUSED),
        ({"consent_state": None}, ConsentState.NONE),
        # an end that is not after now
        ({"consent_state": "given", "now": NOW, "consent_valid_until": "2026-11-18T12:00:00Z"}, ConsentState.EXPIRED),
        ({"consent_state": "given", "now": NOW, "consent_valid_until": "2026-11-18T12:00:01Z"}, ConsentState.GIVEN),
        ({"consent_state": "given", "now": NOW, "consent_valid_until": "2026-11-18"}, ConsentState.EXPIRED),
        ({"consent_state": "given", "now": NOW, "consent_valid_until": "2026-11-18T13:00:00+02:00"}, ConsentState.EXPIRED),
        ({"consent_state": "given", "consent_valid_until": "2020-01-01"}, ConsentState.GIVEN),  # no clock
        ({"consent_state": "given", "now": NOW}, ConsentState.GIVEN),
        ({"consent_state": "pending", "now": NOW, "consent_valid_until": "2020-01-01"}, ConsentState.PENDING),
        # words of revocation, and withdrawals under any name
        ({"consent_state": "given", "revocation_text": "no more please"}, ConsentState.WITHDRAWN),
        ({"consent_state": "given", "revocation_text": ""}, ConsentState.GIVEN),
        ({"consent_state": "refused", "revocation_text": "stop"}, ConsentState.REFUSED),
        ({"consent_state": "given", "withdrawn_at": "2026-01-01"}, ConsentState.WITHDRAWN),
        ({"consent_state": "given", "consent_withdrawn_at": "2026-01-01"}, ConsentState.WITHDRAWN),
        ({"consent_state": "given", "revoked_at": "2026-01-01"}, ConsentState.WITHDRAWN),
        ({"consent_state": "given", "revoked_at": None}, ConsentState.GIVEN),
        # of a consent and a withdrawal the later counts, and at one instant the no
        ({"consent_state": "given", "revoked_at": "2026-01-01", "consent_given_at": "2026-01-01"}, ConsentState.WITHDRAWN),
        ({"consent_state": "given", "revoked_at": "2026-01-01", "consent_given_at": "2026-01-02"}, ConsentState.GIVEN),
        ({"consent_state": "given", "consent_given_at": "2026-01-02"}, ConsentState.GIVEN),
        (
            {
                "consent_state": "given",
                "withdrawn_at": "2026-01-01",
                "revoked_at": "2026-01-03",
                "consent_given_at": "2026-01-02",
            },
            ConsentState.WITHDRAWN,
        ),
    ],
)  # fmt: skip
def test_a_consent_that_ended_is_none_whatever_the_case_calls_it(given: dict[str, Any], state: ConsentState) -> None:
    assert situation_of({**PLAIN, **given}).consent is state


@pytest.mark.parametrize(
    ("given", "minutes"),
    [
        ({}, ()),
        ({"local_time": None}, ()),
        ({"local_time": "00:00"}, (0,)),
        ({"local_time": "07:59"}, (479,)),
        ({"local_time": "23:59"}, (1439,)),
        ({"local_time": "14:00", "local_time_candidates": ["08:00", "21:30"]}, (480, 1290)),
        ({"local_time": "14:00", "local_time_candidates": []}, (840,)),
    ],
)
def test_hours_are_minutes_of_the_day_in_every_zone_that_may_be(
    given: dict[str, Any], minutes: tuple[int, ...]
) -> None:
    assert situation_of({**PLAIN, **given}).local_minutes == minutes


@pytest.mark.parametrize(
    ("frequency", "capped"),
    [
        (None, False),
        ({"sent_in_window": 2, "cap": 3}, False),
        ({"sent_in_window": 3, "cap": 3}, True),
        ({"sent_in_window": 4, "cap": 3, "window_hours": 24}, True),
    ],
)
def test_a_cap_is_reached_when_as_many_were_sent(frequency: dict[str, int] | None, *, capped: bool) -> None:
    assert situation_of({**PLAIN, "frequency": frequency}).capped is capped


@pytest.mark.parametrize(
    ("incentive", "loyalty"),
    [
        (None, "none"),
        ({}, "none"),
        ({"asked_to_confirm": True, "affirmed": True}, "none"),
        ({"participant": True}, "participant"),
        ({"participant": True, "affirmed": True}, "participant"),  # 11 CCR 7025(c)(4): only after being asked
        ({"participant": True, "asked_to_confirm": True}, "asked"),
        ({"participant": True, "asked_to_confirm": True, "affirmed": True}, "affirmed"),
    ],
)
def test_an_affirmation_counts_after_the_question(incentive: dict[str, bool] | None, loyalty: str) -> None:
    assert situation_of({**PLAIN, "financial_incentive": incentive}).loyalty == loyalty


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"consent_kind": "implied"}, "the consent is of an unknown kind"),
        ({"consent_kind": ["separate", "implied"]}, "the consent is of an unknown kind"),
        ({"suppressed": "somewhat"}, "somewhat"),
        ({"consent_state": "perhaps"}, "perhaps"),
        ({"local_time": "25:00"}, "25:00"),
        ({"now": "yesterday"}, "yesterday"),
    ],
)
def test_a_value_that_nobody_knows_raises(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        situation_of({**PLAIN, **given})
    assert message != "the consent is of an unknown kind" or str(caught.value) == message


@pytest.mark.parametrize("field", ["purpose", "channel", "recipient_type", "legal_basis", "requested_purpose"])
def test_a_word_outside_of_the_vocabulary_raises(field: str) -> None:
    with pytest.raises(ValueError, match="unheard_of"):
        question_of({**PLAIN, field: "unheard_of"})


def test_unread_fields_are_those_that_neither_ask_nor_tell() -> None:
    told = dict.fromkeys([*names.FIELDS, *names.NARRATIVE], None)
    assert unread_fields(told) == ()
    assert unread_fields({**told, "zodiac": 1, "moon": 2}) == ("moon", "zodiac")
