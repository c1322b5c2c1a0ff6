"""What the registers declare about a use reaches the law: alone, in a batch and in an audience."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from builders import (
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_gateway,
    a_person,
    a_recipient,
    answer_for,
    choose,
    ref,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.domain.consents import ConsentProperty
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.ids import PurposeId, RecipientId, TraitId
from consent_gateway.domain.purposes import Basis, Channel, Destination, Mark, PurposeKind, RecipientKind
from consent_gateway.domain.registers import Exports
from consent_gateway.domain.segments import Everyone, Segment, TraitOrigin, TraitType, parse_text
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import InputError
from consent_gateway.services.deciding.questions import Message, Use
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.disclosing.decisions import decide_batch
from consent_gateway.services.disclosing.exports import declare_exports
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway

PLAIN = ConsentProperty.AFFIRMATIVE | ConsentProperty.EVIDENCE
TO_MAILER = replace(EMAIL_MARKETING, recipient=RecipientId("mailer"))


def declare(gateway: Gateway, purpose: str, channels: tuple[Channel, ...] = (), **changes: Any) -> None:
    """Register a purpose again with something else declared."""
    with gateway.work() as work:
        held = work.registers.purposes.purposes[PurposeId(purpose)]
        registers.put_purpose(work, replace(held, **changes), channels)


def same_three_ways(gateway: Gateway, use: Use, segment: Segment | None = None) -> Answer:
    """Ask about person 1 alone, in a batch and as an audience; the answer, if they agree."""
    alone = answer_for(gateway, ref(1), use)
    with gateway.work() as work:
        (together,), _ = decide_batch(work, use, [ref(1)])
        found = audiences.resolve(work, segment or Everyone(), use)
    assert (alone.outcome, alone.reason_code) == (together.outcome, together.reason_code)
    if segment is None:
        assert found.row.size == int(alone.permitted)
    return alone


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    with_source(gateway)
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("mailer"))
    return gateway


def test_sensitive_data_of_a_purpose_needs_explicit_consent(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    take(crm, [a_consent(ref(1), properties=PLAIN)])
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "consent_valid"
    declare(crm, "direct_marketing", sensitive=("health",))
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "sensitive_needs_explicit"


def test_a_category_that_no_law_lists_is_sensitive_everywhere(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    take(crm, [a_consent(ref(1), properties=PLAIN)])
    declare(crm, "direct_marketing", sensitive=("aura",))
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "sensitive_needs_explicit"


def test_choosing_people_by_a_sensitive_trait_is_using_it(crm: Gateway) -> None:
    with crm.work() as work:
        registers.put_trait(
            work, TraitId("patient"), TraitType.BOOLEAN, TraitOrigin.DECLARED, None, "", sensitive="health"
        )
    take(crm, [a_person(1, traits={"patient": True})])
    take(crm, [a_consent(ref(1), properties=PLAIN)])
    sensitive = parse_text("patient == true")
    with crm.work() as work:
        assert audiences.resolve(work, Everyone(), EMAIL_MARKETING).row.size == 1
        refused = audiences.resolve(work, sensitive, EMAIL_MARKETING)
    assert refused.row.size == 0
    assert {r for loss in refused.waterfall.losses for r in loss.reasons} == {"sensitive_needs_explicit"}
    take(crm, [a_consent(ref(1), properties=PLAIN | ConsentProperty.EXPLICIT, at=NOW_S)])
    with crm.work() as work:
        assert audiences.resolve(work, sensitive, EMAIL_MARKETING).row.size == 1


def test_a_trait_that_becomes_sensitive_closes_the_stream_of_an_audience_that_was_served(crm: Gateway) -> None:
    with crm.work() as work:
        registers.put_trait(work, TraitId("patient"), TraitType.BOOLEAN, TraitOrigin.DECLARED, None, "")
    take(crm, [a_person(1, traits={"patient": True})])
    take(crm, [a_consent(ref(1), properties=PLAIN)])
    with crm.work() as work:
        found = audiences.resolve(work, parse_text("patient == true"), EMAIL_MARKETING)
    assert [len(chunk) for chunk in audiences.stream_members(crm, found.row.id)] == [1]
    with crm.work() as work:
        registers.put_trait(
            work, TraitId("patient"), TraitType.BOOLEAN, TraitOrigin.DECLARED, None, "", sensitive="health"
        )
    assert [len(chunk) for chunk in audiences.stream_members(crm, found.row.id)] == [0]


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        (set(), "no_non_personalised_option"),
        ({Mark.NON_PERSONALISED_OPTION}, "consent_valid"),
        ({Mark.REFUSAL_MECHANISM}, "consent_valid"),
        ({Mark.REFUSAL_MECHANISM, Mark.UNREASONABLE_PRICE}, "unreasonable_price_treatment"),
        ({Mark.NON_PERSONALISED_OPTION, Mark.AUTOMATED, Mark.SIGNIFICANT}, "solely_automated_significant"),
    ],
)
def test_marks_of_a_purpose_reach_the_law_of_china(crm: Gateway, marks: set[Mark], reason: str) -> None:
    take(crm, [a_person(1, country="CN")])
    take(crm, [a_consent(ref(1), purpose="personalised_marketing", properties=PLAIN)])
    declare(crm, "personalised_marketing", marks=frozenset(marks))
    use = Use(PurposeId("personalised_marketing"), Channel.EMAIL, RecipientId("self"))
    assert same_three_ways(crm, use).reason_code == reason


def test_a_service_for_children_needs_the_age(crm: Gateway) -> None:
    take(crm, [a_person(1, birth_date=None)])
    take(crm, [a_consent(ref(1), properties=PLAIN)])
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "consent_valid"
    declare(crm, "direct_marketing", marks=frozenset({Mark.CHILD_DIRECTED}))
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "age_unknown"


def test_only_a_declared_basis_can_be_asked_about(crm: Gateway) -> None:
    take(crm, [a_person(1)])
    soft = replace(EMAIL_MARKETING, basis=Basis.SOFT_OPT_IN)
    with crm.work() as work, pytest.raises(InputError) as refused:
        decide_batch(work, soft, [ref(1)])
    assert [f.code for f in refused.value.fields] == ["basis_not_declared"]
    declare(crm, "direct_marketing", bases=(Basis.SOFT_OPT_IN,))
    assert same_three_ways(crm, soft).reason_code == "soft_opt_in_failed"
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "no_prior_consent"


def test_a_request_for_consent_names_a_registered_purpose(crm: Gateway) -> None:
    asking = replace(
        _purpose(crm, "direct_marketing"), id=PurposeId("ask"), kind=PurposeKind.CONSENT_REQUEST, parent=None
    )
    for wrong, code in (
        (replace(asking, requested=PurposeId("nowhere")), "unknown_purpose"),
        (replace(asking, kind=PurposeKind.STORAGE, requested=PurposeId("direct_marketing")), "mismatch"),
    ):
        with crm.work() as work, pytest.raises(InputError) as refused:
            registers.put_purpose(work, wrong, [])
        assert [f.code for f in refused.value.fields] == [code]


def _purpose(gateway: Gateway, name: str) -> Any:
    with gateway.look() as work:
        return work.registers.purposes.purposes[PurposeId(name)]


def test_an_upload_to_a_social_network_is_no_service(crm: Gateway) -> None:
    use = Use(PurposeId("third_party_audience_sharing"), Channel.ONLINE_ADS, RecipientId("mailer"))
    take(crm, [a_person(1, country="US-CA")])
    assert same_three_ways(crm, use).permitted
    choose(crm, ref(1), Choice.SALE_SHARE_OPT_OUT)
    assert same_three_ways(crm, use).reason_code == "cross_context_ads_not_service"  # nothing declared: ads are ads
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("mailer", destination=Destination.SERVICE))
    assert same_three_ways(crm, use).permitted


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (None, "transfer_no_mechanism"),
        (40_000, "transfer_exempt_volume"),
        (250_000, "transfer_no_mechanism"),
    ],
)
def test_exports_from_china_are_counted_by_the_operator(crm: Gateway, declared: int | None, reason: str) -> None:
    take(crm, [a_person(1, country="CN")])
    take(crm, [a_consent(ref(1), properties=PLAIN | ConsentProperty.SEPARATE)])
    if declared is not None:
        with crm.work() as work:
            declare_exports(work, Exports(2026, declared, 0))
    assert same_three_ways(crm, TO_MAILER).reason_code == reason


def test_what_was_declared_for_last_year_is_unknown_in_this_one(crm: Gateway, clock: FixedClock) -> None:
    """The year begins in China: eight hours before it does in UTC."""
    take(crm, [a_person(1, country="CN")])
    take(crm, [a_consent(ref(1), properties=PLAIN | ConsentProperty.SEPARATE)])
    with crm.work() as work:
        declare_exports(work, Exports(2026, 1, 0))
    clock.instant = datetime(2026, 12, 31, 15, 59, tzinfo=UTC)
    assert answer_for(crm, ref(1), TO_MAILER).permitted
    clock.instant = datetime(2026, 12, 31, 16, 0, tzinfo=UTC)
    assert answer_for(crm, ref(1), TO_MAILER).reason_code == "transfer_no_mechanism"


def test_ourselves_abroad_are_a_place_where_data_goes(crm: Gateway) -> None:
    take(crm, [a_person(1, country="CN")])
    take(crm, [a_consent(ref(1), properties=PLAIN | ConsentProperty.SEPARATE)])
    assert same_three_ways(crm, EMAIL_MARKETING).permitted
    with crm.work() as work:
        ourselves = work.registers.recipients[RecipientId("self")]
        registers.put_recipient(work, replace(ourselves, country="DE"))
    assert same_three_ways(crm, EMAIL_MARKETING).reason_code == "transfer_no_mechanism"


def test_the_opt_out_in_the_message_is_the_way_to_unsubscribe(crm: Gateway) -> None:
    """Nobody says it twice: without a way to refuse, soft opt-in fails as well."""
    take(crm, [a_person(1)])
    declare(crm, "direct_marketing", basis=Basis.SOFT_OPT_IN)
    without = answer_for(crm, ref(1), replace(EMAIL_MARKETING, message=Message(unsubscribe=False)))
    assert {"soft_opt_in_failed", "message_defect"} <= {r.code for r in without.reasons}


def test_a_third_party_is_not_who_collected(crm: Gateway) -> None:
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
        asked = work.gateway.decider.ask(
            replace(EMAIL_MARKETING, recipient=RecipientId("partner")), work.registers, Rules(), work.now
        )
        own = work.gateway.decider.ask(EMAIL_MARKETING, work.registers, Rules(), work.now)
    assert (asked.question.same_legal_entity, own.question.same_legal_entity) == (False, True)


def test_a_charity_is_a_charity_by_its_settings(crm: Gateway) -> None:
    charity = a_gateway(crm.store, keyring=crm.vault.provider.keyring, rules=Rules(k_floor=1, sender_type="charity"))
    with charity.look() as work:
        asked = charity.decider.ask(EMAIL_MARKETING, work.registers, charity.rules, work.now)
    assert asked.question.sender_type == "charity"
