"""Facts of a person on their way from intake to the answer: how an address was obtained, registers, past noes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    ALL_PROPERTIES,
    DAY,
    EMAIL_MARKETING,
    NOW,
    NOW_S,
    a_consent,
    a_person,
    a_source,
    answer_for,
    by,
    choose,
    may_write,
    ref,
    take,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import audience_rows
from consent_gateway.domain.circumstances import COLLECTION, MEDIA, PointFact, Subscriber, Told, day_number
from consent_gateway.domain.consents import ConsentKind, ConsentState
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import Basis, Channel, Mark, Party, PurposeKind
from consent_gateway.domain.subjects import Choice, Flag
from consent_gateway.policies.engine import decide_for
from consent_gateway.policies.facts import Question, Situation
from consent_gateway.policies.packs import load_builtin
from consent_gateway.services.deciding.questions import Use, choices_read, facts_read
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ContactItem, SubjectItem

SALE = Told(in_sale=True, opt_out_offered=True)
SOFT = replace(EMAIL_MARKETING, purpose=PurposeId("post_sale"))
ASK = Use(PurposeId("ask"), Channel.IN_APP, RecipientId("self"))
CONFIRM = Use(PurposeId("confirm"), Channel.SMS, RecipientId("self"))


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    with_source(gateway)
    with_source(gateway, "shop")
    with gateway.work() as work:
        registers.put_source(work, replace(a_source("partner"), party=Party.SECOND))
        held = work.registers.purposes.purposes[PurposeId("direct_marketing")]
        for purpose, channels in (
            (
                replace(held, id=SOFT.purpose, basis=Basis.SOFT_OPT_IN, marks=frozenset({Mark.SIMILAR_PRODUCTS})),
                [Channel.EMAIL],
            ),
            (
                replace(
                    held,
                    id=ASK.purpose,
                    kind=PurposeKind.CONSENT_REQUEST,
                    parent=None,
                    basis=Basis.NONE,
                    requested=PurposeId("third_party_audience_sharing"),
                ),
                [Channel.IN_APP],
            ),
            (replace(held, id=CONFIRM.purpose, kind=PurposeKind.OPT_OUT_CONFIRMATION, parent=None), []),
        ):
            registers.put_purpose(work, purpose, channels)
    return gateway


def row_of(gateway: Gateway) -> dict[str, Any]:
    with gateway.work() as work:
        return audience_rows.rows(work.session, [SubjectId(1)])[SubjectId(1)]


def test_an_address_obtained_in_a_sale_may_be_written_to_until_they_refuse(crm: Gateway) -> None:
    assert take(crm, [a_person(1)]).created == 1
    assert answer_for(crm, ref(1), SOFT).reason_code == "soft_opt_in_failed"
    again = take(crm, [a_person(1, told=SALE)])
    assert (again.updated, again.duplicates, again.accepted) == (1, 0, 1)
    assert answer_for(crm, ref(1), SOFT).reason_code == "soft_opt_in"
    assert not may_write(crm, ref(1))  # the other purpose rests on consent
    take(crm, [a_consent(ref(1), purpose="post_sale", kind=ConsentKind.REFUSED)])
    assert answer_for(crm, ref(1), SOFT).reason_code == "consent_refused"
    assert reconcile(crm).clean


def test_told_again_nothing_changes(crm: Gateway) -> None:
    take(crm, [a_person(1, told=SALE)])
    again = take(crm, [a_person(1, told=SALE)])
    assert (again.duplicates, again.updated) == (1, 0)


@pytest.mark.parametrize("source", ["partner", "shop"])
def test_only_our_own_sale_counts_and_another_source_may_deny_it(crm: Gateway, source: str) -> None:
    take(crm, [a_person(1, told=SALE)], "partner")
    assert answer_for(crm, ref(1), SOFT).reason_code == "soft_opt_in_failed"
    take(crm, [a_person(1, told=SALE)])
    assert answer_for(crm, ref(1), SOFT).permitted
    take(crm, [a_person(1, told=Told(in_sale=False))], source)
    assert answer_for(crm, ref(1), SOFT).reason_code == "soft_opt_in_failed"


def test_one_more_address_of_which_nothing_is_known_closes_soft_opt_in(crm: Gateway) -> None:
    take(crm, [a_person(1, told=SALE)])
    take(crm, [SubjectItem({"member_no": "M00001", "email": "second@example.org"})])
    assert answer_for(crm, ref(1), SOFT).reason_code == "soft_opt_in_failed"
    take(crm, [SubjectItem({"email": "second@example.org"}, told=SALE)])
    assert answer_for(crm, ref(1), SOFT).permitted


def test_a_source_that_turns_out_to_be_another_s_takes_its_sales_with_it(crm: Gateway) -> None:
    take(crm, [a_person(1, told=SALE)], "shop")
    assert answer_for(crm, ref(1), SOFT).permitted
    with crm.work() as work:
        registers.put_source(work, replace(a_source("shop"), party=Party.THIRD))
    assert not answer_for(crm, ref(1), SOFT).permitted
    assert reconcile(crm).clean


def test_a_company_s_mailbox_in_the_uk(crm: Gateway) -> None:
    take(crm, [a_person(1, country="GB", told=Told(Subscriber.CORPORATE))])
    with crm.work() as work:
        held = work.registers.purposes.purposes[PurposeId("direct_marketing")]
        registers.put_purpose(work, replace(held, basis=Basis.LEGITIMATE_INTEREST), [])
    assert answer_for(crm, ref(1)).reason_code == "corporate_subscriber"
    take(crm, [a_person(1, country="GB", told=Told(Subscriber.INDIVIDUAL))], "shop")
    assert answer_for(crm, ref(1)).reason_code == "no_prior_consent"


@pytest.mark.parametrize("day", [date(1989, 12, 31), NOW.date() + timedelta(days=2)])
def test_an_impossible_day_of_collection_is_refused(crm: Gateway, day: date) -> None:
    taken = take(crm, [a_person(1, told=Told(collected_day=day_number(day)))])
    assert [r.reasons[0].code for r in taken.rejections] == ["impossible_date"]


# -- registers and regulators --------------------------------------------------------------------------------------


def test_a_number_on_a_do_not_call_register(crm: Gateway) -> None:
    call = replace(EMAIL_MARKETING, channel=Channel.CALL)
    take(crm, [SubjectItem({"member_no": "M00001", "phone": "+442079460018"}, country="GB")])
    with crm.work() as work:
        held = work.registers.purposes.purposes[PurposeId("direct_marketing")]
        registers.put_purpose(work, replace(held, basis=Basis.LEGITIMATE_INTEREST), [])
    assert answer_for(crm, ref(1), call).reason_code == "opt_out_regime"
    choose(crm, ref(1), Choice.DO_NOT_CALL, at=NOW_S - 1)
    assert answer_for(crm, ref(1), call).reason_code == "do_not_call_registered"
    choose(crm, ref(1), Choice.DO_NOT_CALL, active=False)
    assert answer_for(crm, ref(1), call).permitted


def test_a_register_s_number_of_nobody_waits_without_closing_what_was_agreed_to(crm: Gateway) -> None:
    number = by("phone", "+442079460018")
    assert choose(crm, number, Choice.DO_NOT_CALL).suppressed == 1
    take(crm, [SubjectItem({"member_no": "M00001", "phone": "+442079460018"}, country="GB")])
    flags = Flag(row_of(crm)["flags"])
    assert flags & Flag.DO_NOT_CALL
    assert not flags & Flag.SUPPRESSED_PHONE


def test_no_contact_binds_service_messages_too(crm: Gateway) -> None:
    service = Use(PurposeId("service_message"), Channel.EMAIL, RecipientId("self"))
    take(crm, [a_person(1)])
    assert answer_for(crm, ref(1), service).permitted
    choose(crm, ref(1), Choice.NO_CONTACT)
    assert answer_for(crm, ref(1), service).reason_code == "suppressed"


def test_what_cannot_be_deleted_yet_is_stored_and_nothing_more(crm: Gateway) -> None:
    take(crm, [a_person(1, country="CN")])
    take(crm, [a_consent(ref(1))])
    choose(crm, ref(1), Choice.DELETION_PENDING)
    assert answer_for(crm, ref(1)).reason_code == "storage_only"


def test_taking_part_in_a_programme_is_no_opt_out(crm: Gateway) -> None:
    """A stranger's participation is refused like any row about nobody; their noes are kept."""
    taken = choose(crm, by("email", "nobody@example.org"), Choice.LOYALTY_AFFIRMED)
    assert (taken.suppressed, [r.reasons[0].code for r in taken.rejections]) == (0, ["unknown_subject"])


def test_a_signal_that_was_on_once_stays_seen(crm: Gateway) -> None:
    share = Use(PurposeId("third_party_audience_sharing"), Channel.ONLINE_ADS, RecipientId("self"))
    take(crm, [a_person(1, country="US-CO")])
    choose(crm, ref(1), Choice.GPC, at=NOW_S - 10)
    choose(crm, ref(1), Choice.GPC, active=False, at=NOW_S - 5)
    row = Flag(row_of(crm)["flags"])
    assert row & Flag.GPC_SEEN
    assert not row & Flag.GPC
    with crm.work() as work:
        asked = crm.decider.ask(share, work.registers, crm.rules, work.now)
        assert asked.reading.flags & Flag.GPC_SEEN


# -- past noes -----------------------------------------------------------------------------------------------------


def test_nobody_is_asked_again_within_twelve_months_of_an_opt_out(crm: Gateway, clock: FixedClock) -> None:
    take(crm, [a_person(1, country="US-CA")])
    choose(crm, ref(1), Choice.SALE_SHARE_OPT_OUT, at=NOW_S - 365 * DAY)
    clock.instant = datetime(2026, 11, 17, 23, 59, tzinfo=UTC)
    assert answer_for(crm, ref(1), ASK).reason_code == "reask_too_early"
    clock.instant = datetime(2026, 11, 18, 0, 0, tzinfo=UTC)
    assert answer_for(crm, ref(1), ASK).permitted


def test_nobody_is_asked_again_soon_after_they_refused_in_china(crm: Gateway, clock: FixedClock) -> None:
    take(crm, [a_person(1, country="CN")])
    take(crm, [a_consent(ref(1), kind=ConsentKind.REFUSED, at=NOW_S - 184 * DAY)])
    clock.instant = datetime(2026, 11, 17, 23, 59, tzinfo=UTC)
    assert answer_for(crm, ref(1), ASK).reason_code == "reask_too_often"
    clock.instant = datetime(2026, 11, 18, 0, 0, tzinfo=UTC)
    assert answer_for(crm, ref(1), ASK).reason_code == "reask_allowed"


def test_one_confirmation_of_a_stop_within_five_minutes(crm: Gateway, clock: FixedClock) -> None:
    take(crm, [SubjectItem({"member_no": "M00001", "phone": "+12125550123"}, country="US-TX")])
    assert answer_for(crm, ref(1), CONFIRM).reason_code != "revocation_confirmation"  # nothing was revoked
    take(crm, [a_consent(ref(1), channel="sms", kind=ConsentKind.WITHDRAWN, at=NOW_S)])
    clock.instant = NOW + timedelta(minutes=5)
    assert answer_for(crm, ref(1), CONFIRM).reason_code == "revocation_confirmation"
    clock.instant = NOW + timedelta(minutes=5, seconds=1)
    assert answer_for(crm, ref(1), CONFIRM).reason_code == "confirmation_too_late"
    clock.instant = NOW + timedelta(minutes=2)
    take(crm, [ContactItem(ref(1), "sms", NOW_S + 60, "bye", "k1", "confirm")])
    assert answer_for(crm, ref(1), CONFIRM).reason_code == "confirmation_already_sent"
    assert reconcile(crm).clean


def test_a_stop_by_text_is_not_confirmed_because_of_an_unsubscribed_newsletter(crm: Gateway) -> None:
    take(
        crm, [SubjectItem({"member_no": "M00001", "phone": "+12125550123", "email": "a@example.org"}, country="US-TX")]
    )
    withdraw(crm, ref(1))
    assert not answer_for(crm, ref(1), CONFIRM).permitted


def test_a_contact_for_a_purpose_that_nobody_registered_is_refused(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    taken = take(crm, [ContactItem(ref(1), "email", NOW_S, "c", "k", "nothing")])
    assert [r.reasons[0].code for r in taken.rejections] == ["unknown_purpose"]


def test_a_no_of_a_stranger_counts_from_when_it_was_said(crm: Gateway) -> None:
    choose(crm, by("email", "person1@example.org"), Choice.SALE_SHARE_OPT_OUT, at=NOW_S - 30 * DAY)
    take(crm, [a_person(1, country="US-CA")])
    assert row_of(crm)["opted_out_at"] == NOW_S - 30 * DAY
    assert reconcile(crm).clean


# -- what is not read ----------------------------------------------------------------------------------------------

PACKS = load_builtin()
questions = st.builds(
    Question,
    purpose_kind=st.sampled_from(PurposeKind),
    channel=st.sampled_from(Channel),
    basis=st.sampled_from(Basis),
    similar_products=st.booleans(),
    same_legal_entity=st.just(True),  # noqa: FBT003 - a value
    opt_out_in_message=st.just(True),  # noqa: FBT003 - a value
    charitable_purpose_only=st.booleans(),
    sender_type=st.sampled_from(["commercial", "charity"]),
)
people = st.builds(
    Situation,
    regions=st.sampled_from([("DE",), ("GB",), ("US-CA",), ("US-TX",), ("US-FL",), ("CN",), (None,), ("FR", "US-CA")]),
    age=st.sampled_from([None, 14, 30]),
    consent=st.sampled_from(ConsentState),
    properties=st.sampled_from([ALL_PROPERTIES, ALL_PROPERTIES & ~ALL_PROPERTIES]),
    local_minutes=st.just((720,)),
    gpc=st.booleans(),
)
unread = st.fixed_dictionaries(
    {
        "corporate": st.booleans(),
        "collected_in_sale": st.booleans(),
        "opt_out_offered": st.booleans(),
        "expressed_interest": st.booleans(),
        "collected_on": st.sampled_from([None, date(2024, 1, 1), date(2026, 3, 1)]),
        "loyalty": st.sampled_from(["none", "participant", "asked", "affirmed"]),
        "do_not_call": st.booleans(),
        "opted_out_on": st.sampled_from([None, NOW.date(), date(2025, 1, 1)]),
        "refused_on": st.sampled_from([None, NOW.date(), date(2026, 3, 1), date(2025, 1, 1)]),
        "minutes_since_revocation": st.sampled_from([None, 1, 9]),
        "today": st.just(NOW.date()),
    }
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(questions, people, unread)
def test_what_a_question_does_not_read_changes_no_answer(q: Question, who: Situation, more: dict[str, Any]) -> None:
    """The reading masks what cannot matter; here the law itself says that it does not."""
    read = _read(q)
    hidden = {name: value for name, value in more.items() if name not in read}
    plain = decide_for(PACKS, q, replace(who, today=NOW.date(), refused_on=None))
    full = decide_for(PACKS, q, replace(who, **{"today": NOW.date(), **hidden}))
    assert (plain.outcome, plain.reason_code) == (full.outcome, full.reason_code)


def _read(q: Question) -> set[str]:
    """The facts that `services.deciding.questions` lets a question read, by the same choice of columns and bits."""
    from_decider = _readings(q)
    names: set[str] = set()
    if from_decider[0] & PointFact.CORPORATE:
        names.add("corporate")
    if from_decider[0] & COLLECTION:
        names |= {"collected_in_sale", "opt_out_offered", "expressed_interest", "collected_on"}
    if from_decider[1] & Flag.LOYALTY_AFFIRMED:
        names.add("loyalty")
    if from_decider[1] & Flag.DO_NOT_CALL:
        names.add("do_not_call")
    return names | from_decider[2]


def _readings(q: Question) -> tuple[PointFact, Flag, set[str]]:
    recency = {
        PurposeKind.CONSENT_REQUEST: {"opted_out_on", "refused_on"},
        PurposeKind.OPT_OUT_CONFIRMATION: {"minutes_since_revocation"} if q.channel in MEDIA else set(),
    }.get(q.purpose_kind, set())
    return facts_read(q.basis, q.channel), choices_read(q.purpose_kind, q.channel), recency
