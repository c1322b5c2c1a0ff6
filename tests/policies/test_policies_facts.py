from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies_builders import a_person, a_question, near_permits, values_of

from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.purposes import Basis, Channel, PurposeKind, RecipientKind
from consent_gateway.policies import facts
from consent_gateway.policies.classes import months_between
from consent_gateway.policies.facts import Facts, Question, Situation, Suppressed, UnknownFactError, build
from consent_gateway.policies.regions import (
    CHILD_AGE,
    EEA,
    UK,
    Places,
    child_class,
    establishment,
    places,
    recipient_place,
    sensitivity,
)
from consent_gateway.policies.vocabulary import FACTS, FIELD, well_formed

quick = settings(derandomize=True, deadline=None, max_examples=100)


def facts_of(**changes: object) -> Facts:
    return build(a_question(), a_person(**changes))


@quick
@given(near_permits(20))
def test_facts_round_trip(facts: Facts) -> None:
    assert Facts.of(values_of(facts)) == facts
    assert Facts.from_hex(facts.hex()) == facts
    assert hash(Facts(facts.bits)) == hash(facts)
    assert list(facts) == [fact.name for fact in FACTS]
    assert well_formed(facts.bits)


@quick
@given(near_permits(), near_permits())
def test_digests_are_equal_exactly_for_equal_facts(one: Facts, two: Facts) -> None:
    assert (one.digest() == two.digest()) == (one == two)
    assert len(one.digest()) == 64


def slow_well_formed(bits: int) -> bool:
    parts = [(bits & field).bit_count() for field in FIELD.values()]
    return bits >= 0 and not bits & ~sum(FIELD.values()) and parts == [1] * len(FACTS)


@quick
@given(near_permits(), st.lists(st.integers(0, 330), min_size=1, max_size=3))
def test_any_flipped_bits_are_noticed(facts: Facts, places: list[int]) -> None:
    bits = facts.bits
    for place in places:
        bits ^= 1 << place
    assert well_formed(bits) == slow_well_formed(bits)


def test_names_and_values_outside_of_the_vocabulary_raise_without_the_value() -> None:
    for bad in ({"age": "sixty"}, {"secret": "x"}):
        with pytest.raises(UnknownFactError) as caught:
            facts_of().replace(**bad)
        assert "sixty" not in str(caught.value)
    for text in ("zz", "0", "-1", "ffff"):
        with pytest.raises(UnknownFactError):
            Facts.from_hex(text)
    with pytest.raises(KeyError):
        facts_of()["secret"]


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (None, "unknown"),
        (0, "under_13"),
        (12, "under_13"),
        (13, "13"),
        (15, "15"),
        (16, "16_17"),
        (17, "16_17"),
        (18, "adult"),
        (99, "adult"),
    ],
)
def test_ages(age: int | None, band: str) -> None:
    assert facts_of(age=age)["age"] == band
    with pytest.raises(UnknownFactError):
        facts_of(age=-1)


@pytest.mark.parametrize(("state", "threshold"), sorted(CHILD_AGE.items()))
def test_ages_of_digital_consent(state: str, threshold: int) -> None:
    at, below = (facts_of(regions=(state,), age=age)["eu_child"] for age in (threshold, threshold - 1))
    assert at == {"SI": "si_15"}.get(state, "no")
    assert below == {"DK": "dk_13_14"}.get(state, "yes")


def test_the_highest_age_of_the_candidates_counts() -> None:
    assert [child_class(age, ("BE", "DE"), None) for age in (15, 16)] == ["yes", "no"]
    assert [child_class(age, ("US-CA",), "BE") for age in (12, 13)] == ["yes", "no"]
    assert [child_class(age, ("US-CA",), None) for age in (15, 16)] == ["yes", "no"]
    assert [child_class(age, ("DK", "BE"), None) for age in (12, 13, 14, 15)] == ["yes", "dk_13_14", "dk_13_14", "no"]
    assert [child_class(age, ("DK", "SI"), None) for age in (14, 15, 16)] == ["yes", "si_15", "no"]
    assert facts_of(regions=("DE",), age=None)["eu_child"] == "unknown"


def test_places_unite_candidates_and_unknown_is_strict() -> None:
    assert places(("US-CA", "FR"))[:4] == (True, False, True, True)
    assert places(()).at_unknown
    assert places(("BR",)).at_unknown
    assert places((None, "DE")).at_unknown
    assert places((None, "DE")).at_eu
    assert not places(("us-ca",)).us_other
    assert not places(("DE-BY", "GB-SCT", "CN")).at_unknown
    assert all(places(("US",))[2:8])  # the state is not known, so every state is a candidate
    assert places(("US-TX",)).us_signal_state
    assert not places(("US-TX",)).us_hours_state


@pytest.mark.parametrize(
    ("region", "where"),
    [
        ("DE", "at_eu"),
        ("EU", "at_eu"),
        ("IS", "at_eu"),
        (" de ", "at_eu"),
        ("FR-IDF", "at_eu"),
        ("GB", "at_uk"),
        ("UK", "at_uk"),
        ("US-CA", "at_ca at_us"),
        ("us-ca", "at_ca at_us"),
        ("US-NY", "at_us us_other"),
        ("US-TX", "at_us us_other us_signal_state"),
        ("US-WA", "at_us us_other us_hours_state"),
        ("US-FL", "at_us us_other us_hours_state us_cap_state"),
        ("US", "at_ca at_us us_other us_signal_state us_hours_state us_cap_state"),
        ("CN", "at_cn"),
        ("CN-SH", "at_cn"),
        ("BR", "at_unknown"),
        ("USA", "at_unknown"),
        (None, "at_unknown"),
        ("", "at_unknown"),
    ],
)
def test_each_region_is_where_it_is_and_nowhere_else(region: str | None, where: str) -> None:
    assert {name for name, here in places((region,))._asdict().items() if here} == set(where.split())
    bits = build(a_question(), a_person(regions=(region,)))
    assert {name for name in Places._fields if bits[name] == "yes"} == set(where.split())


def test_all_covered_places_at_once_are_still_covered() -> None:
    everywhere = (*EEA, *UK, "CN", "US-CA")
    assert not places(everywhere).at_unknown
    assert places((*everywhere, "BR")).at_unknown


@pytest.mark.parametrize(
    ("country", "controller", "recipient"),
    [
        ("DE", "eu", "eea"),
        ("GB", "uk", "uk"),
        ("UK", "uk", "uk"),
        ("CN", "cn", "cn"),
        ("JP", "other", "adequate"),
        ("US", "other", "other"),
        ("US-CA", "other", "other"),
        ("ZZ", "other", "other"),
        (None, "other", "none"),
    ],
)
def test_where_the_controller_and_the_recipient_are(country: str | None, controller: str, recipient: str) -> None:
    assert (establishment(country), recipient_place(country)) == (controller, recipient)
    facts = build(a_question(controller_country=country, recipient_country=country), a_person())
    assert (facts["controller"], facts["recipient_place"]) == (controller, recipient)


def test_the_controllers_state_counts_only_where_the_persons_does_not() -> None:
    assert [child_class(age, ("US-CA",), "AT") for age in (13, 14)] == ["yes", "no"]
    assert [child_class(age, ("US-CA",), "BR") for age in (15, 16)] == ["yes", "no"]
    assert [child_class(age, ("BE",), "DE") for age in (12, 13)] == ["yes", "no"]
    assert [child_class(age, (None, "SI"), "BE") for age in (14, 15, 16)] == ["yes", "si_15", "no"]


@pytest.mark.parametrize(
    ("category", "found"),
    [
        ("health", (True, True, True)),
        ("union_membership", (True, True, False)),
        ("political_opinion", (True, False, False)),
        ("neural", (False, True, False)),
        ("ssn", (False, True, True)),
        ("whereabouts", (False, False, True)),
        ("unheard_of", (True, True, True)),
    ],
)
def test_what_is_sensitive_depends_on_the_law(category: str, found: tuple[bool, bool, bool]) -> None:
    assert sensitivity([category]) == found
    facts = facts_of(sensitive=(category,))
    assert tuple(facts[n] == "yes" for n in ("special_category", "sensitive_us", "sensitive_cn")) == found


def test_recipients_and_sensitive_categories() -> None:
    assert [recipient_place(c) for c in (None, "DE", "UK", "JP", "CN", "US")] == [
        "none",
        "eea",
        "uk",
        "adequate",
        "cn",
        "other",
    ]
    assert sensitivity(["health"]) == (True, True, True)
    assert sensitivity(["financial_account"]) == (False, True, True)
    assert sensitivity(["political"]) == (True, False, False)
    assert sensitivity(["something_new"]) == (True, True, True)  # unlisted is sensitive everywhere
    assert sensitivity([]) == (False, False, False)


def test_categories_add_up() -> None:
    assert sensitivity(["political", "whereabouts"]) == (True, False, True)


def test_consent_names_us_and_our_processors_unless_said_otherwise() -> None:
    person = a_person()
    named = {k: build(a_question(recipient_kind=k), person)["scope_recipient"] for k in RecipientKind}
    assert named == {k: "yes" if k in ("self", "processor") else "no" for k in RecipientKind}


def test_a_situation_of_which_nothing_is_known_denies_by_being_unknown() -> None:
    facts = build(a_question(), Situation())
    wanted = {
        "at_unknown": "yes",
        "age": "unknown",
        "consent": "none",
        "affirmative": "no",
        "hours_8_20": "unknown",
        "objection": "no",
    }
    assert {name: facts[name] for name in wanted} == wanted


def test_properties_flags_and_lists() -> None:
    facts = facts_of(
        properties=ConsentProperty.GUARDIAN | ConsentProperty.TWO_STEP,
        suppressed=Suppressed.ALL,
        gpc_seen_before=True,
        corporate=True,
    )
    names = ("guardian", "two_step", "affirmative", "suppressed", "gpc", "subscriber")
    assert [facts[n] for n in names] == ["yes", "yes", "no", "all", "seen_before", "corporate"]


@pytest.mark.parametrize(
    ("minutes", "eight_to_20", "eight_to_21"),
    [
        ((), "unknown", "unknown"),
        ((480,), "inside", "inside"),
        ((1200,), "outside", "inside"),
        ((1230, 1290), "outside", "mixed"),
    ],
)
def test_hours(minutes: tuple[int, ...], eight_to_20: str, eight_to_21: str) -> None:
    facts = facts_of(local_minutes=minutes)
    assert (facts["hours_8_20"], facts["hours_8_21"]) == (eight_to_20, eight_to_21)


DAY = date(2026, 11, 18)


@pytest.mark.parametrize(
    ("opted_out", "refused", "today", "classes"),
    [
        (None, None, DAY, ("none", "none")),
        (date(2025, 11, 18), date(2026, 5, 18), DAY, ("over_12m", "6m_to_12m")),
        (date(2025, 11, 19), date(2026, 5, 19), DAY, ("under_12m", "under_6m")),
        (date(2020, 1, 1), date(2020, 1, 1), None, ("under_12m", "under_6m")),  # no clock, no leave to ask
        (date(2020, 1, 1), date(2020, 1, 1), DAY, ("over_12m", "over_12m")),
    ],
)
def test_dates(opted_out: date | None, refused: date | None, today: date | None, classes: tuple[str, str]) -> None:
    facts = facts_of(opted_out_on=opted_out, refused_on=refused, today=today)
    assert (facts["opt_out_age"], facts["refusal_age"]) == classes


def test_a_refusal_without_a_date_is_recent() -> None:
    assert facts_of(consent=ConsentState.REFUSED, today=DAY)["refusal_age"] == "under_6m"


@quick
@given(st.dates(date(2000, 1, 1), date(2040, 1, 1)), st.integers(0, 400))
def test_months_grow_with_time(since: date, days: int) -> None:
    later = date.fromordinal(since.toordinal() + days)
    assert 0 <= months_between(since, later) <= days // 28
    assert months_between(later, since) <= 0


@pytest.mark.parametrize(
    ("changes", "fact", "expected"),
    [
        ({"minutes_since_revocation": 5}, "confirmation", "due"),
        ({"minutes_since_revocation": 6}, "confirmation", "late"),
        ({"minutes_since_revocation": 1, "confirmation_sent": True}, "confirmation", "sent"),
        ({"contacts_24h": 2}, "contacts_24h", "under_3"),
        ({"contacts_24h": 3}, "contacts_24h", "3_or_more"),
        ({"collected_on": date(2026, 2, 4)}, "collected", "before_2026_02_05"),
        ({"collected_on": date(2026, 2, 5)}, "collected", "since_2026_02_05"),
        ({"notice_given": False, "notice_outdated": True}, "notice", "no"),
        ({"notice_outdated": True}, "notice", "outdated"),
        ({}, "notice", "yes"),
    ],
)
def test_classes(changes: dict[str, object], fact: str, expected: str) -> None:
    assert facts_of(**changes)[fact] == expected


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        (None, "unknown"),
        (-1, "unknown"),
        (99_999, "under_100k"),
        (100_000, "100k_to_1m"),
        (999_999, "100k_to_1m"),
        (1_000_000, "over_1m"),
    ],
)
def test_export_volumes(people: int | None, expected: str) -> None:
    facts = build(a_question(exported_people=people, exported_sensitive=people), a_person())
    assert facts["exported_people"] == expected
    assert facts["exported_sensitive"] == ("unknown" if expected == "unknown" else "over_10k")


# -- each part sets its own fact, and no other ---------------------------------------------------------------------

NEUTRAL = Question(purpose_kind=PurposeKind.SERVICE_MESSAGE)
UNTOUCHED = values_of(build(NEUTRAL, Situation()))
ASKED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"purpose_kind": PurposeKind.STORAGE}, {"purpose": "storage"}),
    ({"purpose_kind": PurposeKind.DIRECT_MARKETING}, {"purpose": "direct_marketing"}),
    ({"purpose_kind": PurposeKind.AUTOMATED_INDIVIDUAL_DECISION}, {"purpose": "*", "automated": "yes"}),
    ({"channel": Channel.SMS}, {"channel": "sms"}),
    ({"recipient_kind": RecipientKind.AD_PLATFORM}, {"recipient": "ad_platform", "scope_recipient": "no"}),
    ({"recipient_kind": RecipientKind.THIRD_PARTY}, {"recipient": "third_party", "scope_recipient": "no"}),
    ({"recipient_kind": RecipientKind.PROCESSOR}, {"recipient": "processor"}),
    ({"recipient_known": False}, {"recipient_known": "no"}),
    ({"recipient_country": "CN"}, {"recipient_place": "cn"}),
    ({"recipient_country": "JP"}, {"recipient_place": "adequate"}),
    ({"contract": False}, {"contract": "no"}),
    ({"transfer_mechanism": "scc"}, {"transfer_mechanism": "scc"}),
    ({"exported_people": 5}, {"exported_people": "under_100k"}),
    ({"exported_sensitive": 5}, {"exported_sensitive": "under_10k"}),
    ({"destination_kind": "ad_network"}, {"destination": "ad_network"}),
    ({"basis": Basis.CONTRACT}, {"basis": "contract"}),
    ({"sender_type": "charity"}, {"sender": "charity"}),
    ({"automated": True}, {"automated": "yes"}),
    ({"significant": True}, {"significant": "yes"}),
    ({"unreasonable_price": True}, {"unreasonable_price": "yes"}),
    ({"non_personalised_option": True}, {"non_personalised_option": "yes"}),
    ({"refusal_mechanism": True}, {"refusal_mechanism": "yes"}),
    ({"unsubscribe": False}, {"msg_unsubscribe": "no"}),
    ({"sender_identity": False}, {"msg_sender": "no"}),
    ({"postal_address": False}, {"msg_postal": "no"}),
    ({"ad_label": False}, {"msg_ad_label": "no"}),
    ({"information_society_service": True}, {"iss": "yes"}),
    ({"child_directed": True}, {"child_directed": "yes"}),
    ({"controller_country": "FR"}, {"controller": "eu"}),
    ({"controller_country": "DE"}, {"controller": "eu"}),
    ({"requested_purpose": PurposeKind.THIRD_PARTY_AUDIENCE_SHARING}, {"requested": "share"}),
    ({"requested_purpose": PurposeKind.LOYALTY_PROGRAMME_SHARING}, {"requested": "share"}),
    ({"requested_purpose": PurposeKind.DIRECT_MARKETING}, {"requested": "other"}),
    ({"requested_purpose": PurposeKind.STORAGE}, {"requested": "other"}),
    ({"same_legal_entity": True}, {"same_entity": "yes"}),
    ({"similar_products": True}, {"similar_products": "yes"}),
    ({"charitable_purpose_only": True}, {"charitable_purpose": "yes"}),
    ({"opt_out_in_message": True}, {"opt_out_in_message": "yes"}),
]
DAY = date(2026, 11, 18)
LIVED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"regions": ("DE",)}, {"at_unknown": "no", "at_eu": "yes"}),
    ({"regions": ("CN",)}, {"at_cn": "yes", "at_unknown": "no"}),
    ({"age": 40}, {"age": "adult", "eu_child": "no"}),
    ({"age": 15}, {"age": "15", "eu_child": "yes"}),
    ({"consent": ConsentState.GIVEN}, {"consent": "given"}),
    *(({"properties": flag}, {str(flag.name).lower(): "yes"}) for flag in ConsentProperty),
    ({"scope_purpose": False}, {"scope_purpose": "no"}),
    ({"scope_channel": False}, {"scope_channel": "no"}),
    ({"scope_recipient": False}, {"scope_recipient": "no"}),
    ({"scope_recipient": True}, {}),
    ({"notice_given": False}, {"notice": "no"}),
    ({"notice_outdated": True}, {"notice": "outdated"}),
    ({"notice_given": False, "notice_outdated": True}, {"notice": "no"}),
    ({"objection": True}, {"objection": "yes"}),
    ({"restriction": True}, {"restriction": "yes"}),
    ({"sale_share_opt_out": True}, {"sale_share_opt_out": "yes"}),
    ({"limit_sensitive": True}, {"limit_sensitive": "yes"}),
    ({"gpc": True}, {"gpc": "yes"}),
    ({"gpc_seen_before": True}, {"gpc": "seen_before"}),
    ({"gpc": True, "gpc_seen_before": True}, {"gpc": "yes"}),
    ({"personalisation_refused": True}, {"personalisation_refused": "yes"}),
    ({"sensitive": ("political_opinion",)}, {"special_category": "yes"}),
    ({"sensitive": ("neural",)}, {"sensitive_us": "yes"}),
    ({"corporate": True}, {"subscriber": "corporate"}),
    ({"do_not_call": True}, {"do_not_call": "yes"}),
    ({"suppressed": Suppressed.MARKETING}, {"suppressed": "marketing"}),
    ({"suppressed": Suppressed.ALL}, {"suppressed": "all"}),
    ({"capped": True}, {"capped": "yes"}),
    ({"contacts_24h": 3}, {"contacts_24h": "3_or_more"}),
    ({"local_minutes": (720,)}, {"hours_8_20": "inside", "hours_8_21": "inside"}),
    ({"local_minutes": (1230,)}, {"hours_8_20": "outside", "hours_8_21": "inside"}),
    ({"deletion": "completed"}, {"deletion": "completed"}),
    ({"opted_out_on": DAY, "today": DAY}, {"opt_out_age": "under_12m"}),
    ({"refused_on": DAY, "today": DAY}, {"refusal_age": "under_6m"}),
    ({"opted_out_on": DAY}, {"opt_out_age": "under_12m"}),
    ({"refused_on": DAY}, {"refusal_age": "under_6m"}),
    (
        {"refused_on": DAY, "opted_out_on": DAY, "today": date(2028, 1, 1)},
        {"refusal_age": "over_12m", "opt_out_age": "over_12m"},
    ),
    ({"today": DAY}, {}),
    ({"consent": ConsentState.REFUSED}, {"consent": "refused", "refusal_age": "under_6m"}),
    ({"minutes_since_revocation": 2}, {"confirmation": "due"}),
    ({"minutes_since_revocation": 2, "confirmation_sent": True}, {"confirmation": "sent"}),
    ({"minutes_since_revocation": 5}, {"confirmation": "due"}),
    ({"minutes_since_revocation": 5, "confirmation_sent": True}, {"confirmation": "sent"}),
    ({"confirmation_sent": True}, {}),
    ({"loyalty": "asked"}, {"loyalty": "asked"}),
    ({"collected_in_sale": True}, {"collected_in_sale": "yes"}),
    ({"opt_out_offered": True}, {"opt_out_offered": "yes"}),
    ({"expressed_interest": True}, {"expressed_interest": "yes"}),
    ({"collected_on": DAY}, {"collected": "since_2026_02_05"}),
    ({"revoked_elsewhere": True}, {"revoked_elsewhere": "yes"}),
]


def changed(facts: Facts) -> dict[str, str]:
    return {name: value for name, value in facts.items() if UNTOUCHED[name] != value}


@pytest.mark.parametrize(("changes", "expected"), ASKED)
def test_each_part_of_a_question_sets_its_own_fact(changes: dict[str, Any], expected: dict[str, str]) -> None:
    wanted = {name: changes["purpose_kind"] if value == "*" else value for name, value in expected.items()}
    assert changed(build(replace(NEUTRAL, **changes), Situation())) == wanted


@pytest.mark.parametrize(("changes", "expected"), LIVED)
def test_each_part_of_a_situation_sets_its_own_fact(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert changed(build(NEUTRAL, Situation(**changes))) == expected


def test_no_part_is_left_out() -> None:
    for shape, table in ((Question, ASKED), (Situation, LIVED)):
        assert {part.name for part in fields(shape)} == {name for changes, _ in table for name in changes}


def test_a_child_of_nowhere_is_one_by_the_law_of_the_controller() -> None:
    child = Situation(age=15, regions=(None,))
    by_state = {c: build(replace(NEUTRAL, controller_country=c), child)["eu_child"] for c in ("FR", "DE", "ES", None)}
    assert by_state == {"FR": "no", "DE": "yes", "ES": "no", None: "yes"}
    asked = replace(NEUTRAL, controller_country="AT")
    assert build(asked, Situation(age=13))["eu_child"] == "yes"
    assert build(asked, Situation(age=14))["eu_child"] == "no"


def test_flags_and_their_names_must_be_as_many() -> None:
    """One more or one less would shift each later fact to its neighbour's value."""
    for names, values in (
        (("capped", "objection"), (True,)),
        (("capped",), (True, False)),
        (["automated", "significant"], [True]),
    ):
        with pytest.raises(ValueError, match=r"zip\(\)"):
            facts._flags(names, values)
