"""Ways in which a no could get lost, each of which once did: every acknowledged no holds for what it was about (P2)."""

from __future__ import annotations

import pytest

from builders import (
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    answer_for,
    by,
    choose,
    may_write,
    ref,
    take,
    with_source,
)
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel, RecipientKind
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SubjectItem

TEXAS = "US-TX"  # an opt-out regime: where nothing is known, direct marketing is permitted
NO, YES, ASKED = ConsentKind.WITHDRAWN, ConsentKind.GIVEN, ConsentKind.PENDING
SHARING = "third_party_audience_sharing"


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with gateway.work() as work:
        for name in ("partner", "other"):
            registers.put_recipient(work, a_recipient(name, kind=RecipientKind.THIRD_PARTY))
        registers.put_recipient(work, a_recipient("mailer"))
    return with_source(gateway)


def told(gateway: Gateway, purpose: str, channel: str, recipient: str = "self") -> str:
    use = Use(PurposeId(purpose), Channel(channel), RecipientId(recipient))
    answer = answer_for(gateway, ref(1), use)
    return f"{answer.outcome.value} {answer.reason_code}"


def test_a_use_whose_answers_nothing_remembers_is_not_permitted(shop: Gateway) -> None:
    take(shop, [a_person(1, country=TEXAS)])
    assert told(shop, "direct_marketing", "email") == "permit opt_out_regime"
    take(shop, [a_consent(ref(1), purpose="marketing", channel=None, kind=NO)])
    for purpose, channel in (("direct_marketing", "email"), ("marketing", "email"), ("direct_marketing", "in_app")):
        assert told(shop, purpose, channel).startswith("deny"), (purpose, channel)
    assert told(shop, "marketing", "email") == "deny channel_not_enabled"


@pytest.mark.parametrize("recipient", ["self", "mailer", "nobody_known"])
def test_a_no_that_names_us_or_a_processor_is_a_no_to_us(shop: Gateway, recipient: str) -> None:
    take(shop, [a_person(1)])
    take(shop, [a_consent(ref(1))])
    assert told(shop, "direct_marketing", "email", "mailer").startswith("permit")
    assert take(shop, [a_consent(ref(1), kind=NO, recipient=recipient, at=NOW_S)]).accepted == 1
    assert told(shop, "direct_marketing", "email") == "deny consent_withdrawn"
    assert told(shop, "direct_marketing", "email", "mailer") == "deny consent_withdrawn"


def test_a_no_to_a_third_party_is_remembered_for_it_alone(shop: Gateway) -> None:
    take(shop, [a_person(1, country=TEXAS)])
    take(shop, [a_consent(ref(1), purpose=SHARING, kind=NO, recipient="partner")])
    assert told(shop, SHARING, "email", "partner").startswith("deny")
    assert told(shop, SHARING, "email", "other") == "permit opt_out_regime"
    assert told(shop, "direct_marketing", "email") == "permit opt_out_regime"


@pytest.mark.parametrize(
    "later",
    [
        {"kind": ASKED},
        {"kind": YES, "recipient": "partner"},
        {"kind": YES, "valid_until": NOW_S - 10},
    ],
    ids=["asked again", "a yes to somebody else", "a yes that has ended"],
)
@pytest.mark.parametrize("no", [NO, ConsentKind.REFUSED])
def test_what_comes_later_does_not_cover_a_no(shop: Gateway, no: ConsentKind, later: dict[str, object]) -> None:
    take(shop, [a_person(1, country=TEXAS)])
    take(shop, [a_consent(ref(1), kind=no, at=NOW_S - 100)])
    before = told(shop, "direct_marketing", "email")
    assert before.startswith("deny")
    take(shop, [a_consent(ref(1), at=NOW_S - 50, **later)])
    assert told(shop, "direct_marketing", "email").startswith("deny")


def test_an_ended_yes_to_a_partner_leaves_our_own_alone(shop: Gateway) -> None:
    take(shop, [a_person(1)])
    take(shop, [a_consent(ref(1)), a_consent(ref(1), recipient="partner", valid_until=NOW_S - 10)])
    assert told(shop, "direct_marketing", "email") == "permit consent_valid"


@pytest.mark.parametrize(("channel", "point"), [("email", ref(1)), ("post", by("email", "person1@example.org"))])
def test_a_no_about_what_the_channel_cannot_write_to_is_about_the_channel(
    shop: Gateway, channel: str, point: object
) -> None:
    take(shop, [a_person(1)])
    take(shop, [a_consent(ref(1), channel=channel)])
    take(shop, [a_consent(ref(1), channel=channel, kind=NO, contact_point=point, at=NOW_S)])
    assert told(shop, "direct_marketing", channel) == "deny consent_withdrawn"
    refused = take(shop, [a_consent(ref(1), channel=channel, contact_point=point, at=NOW_S)])
    assert [r.reasons[0].code for r in refused.rejections] == ["wrong_contact_point"]


def test_the_whole_no_of_a_stranger_waits_for_them(shop: Gateway) -> None:
    address = by("email", "person2@example.org")
    assert choose(shop, address, Choice.OBJECTION).suppressed == 1
    take(shop, [SubjectItem({"member_no": "M00001", "email": "person2@example.org", "phone": "+4915112345678"}, "DE")])
    take(shop, [a_consent(ref(1), channel=channel, at=NOW_S - 9000) for channel in ("email", "sms", "post")])
    for channel in ("email", "sms", "post"):
        assert told(shop, "direct_marketing", channel).startswith("deny"), channel


def test_a_further_address_does_not_open_what_was_closed(shop: Gateway) -> None:
    take(shop, [a_person(1, country=TEXAS)])
    take(shop, [a_consent(ref(1), kind=NO, contact_point=by("email", "person1@example.org"))])
    assert not may_write(shop, ref(1))
    take(shop, [a_person(1, country=TEXAS, identifiers={"member_no": "M00001", "email": "second@example.org"})])
    assert not may_write(shop, ref(1))


def test_a_clock_that_runs_fast_does_not_win(shop: Gateway) -> None:
    take(shop, [a_person(1)])
    take(shop, [a_consent(ref(1), at=NOW_S + 299)])
    take(shop, [a_consent(ref(1), kind=NO, at=NOW_S)])
    assert not may_write(shop, ref(1))


@pytest.mark.parametrize(
    "odd",
    [
        {"notice": "never_published"},
        {"valid_until": NOW_S - 90_000},
        {"channel": "pigeon"},
        {"contact_point": by("email", "person2@example.org")},
    ],
    ids=["notice", "valid_until", "channel", "somebody else's address"],
)
def test_what_does_not_fit_about_a_no_narrows_nothing(shop: Gateway, odd: dict[str, object]) -> None:
    take(shop, [a_person(1), a_person(2)])
    take(shop, [a_consent(ref(1))])
    assert take(shop, [a_consent(ref(1), kind=NO, at=NOW_S, **odd)]).accepted == 1
    assert not may_write(shop, ref(1))
