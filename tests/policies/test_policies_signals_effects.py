"""What a signal is taken to say: which choices it switches on, and each yes and no under an operator's mapping."""

from __future__ import annotations

import pytest

from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.subjects import Choice
from consent_gateway.policies.signals.detect import SignalKind, decode
from consent_gateway.policies.signals.effects import Effects, PurposeRule, Statement, TcfMapping, effects_of
from consent_gateway.policies.signals.sections import LAYOUTS
from signals_encoder import US_FIELDS, WITH_GPC, Tc, gpp, text_of, us

ADS, NEWS = PurposeId("ads"), PurposeId("news")
ACME, BOLT = RecipientId("acme"), RecipientId("bolt")
NOTHING = TcfMapping()
SALE, LIMIT, GPC = Choice.SALE_SHARE_OPT_OUT, Choice.LIMIT_SENSITIVE, Choice.GPC
OPT_OUTS = ("SaleOptOut", "SharingOptOut", "TargetedAdvertisingOptOut")
UPDATED = 1_700_000_000


def choices(text: str) -> tuple[Choice, ...]:
    return effects_of(decode(text), NOTHING).choices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", (GPC,)),
        ("0, 1", (GPC,)),
        ("0", ()),
        ("1YYN", (SALE,)),
        ("1YNY", ()),
        ("1N-Y", ()),
        ("DBABTA~1YYY", (SALE,)),
    ],
)
def test_what_short_signals_switch_on(text: str, expected: tuple[Choice, ...]) -> None:
    assert effects_of(decode(text), NOTHING) == Effects(choices=expected)


@pytest.mark.parametrize("section", sorted(US_FIELDS))
def test_each_field_of_a_us_section_switches_on_what_it_names_and_no_other(section: int) -> None:
    at = 0
    for name, length in LAYOUTS[section].fields:
        for value in (0, 1, 2):
            values = [0] * US_FIELDS[section]
            values[at] = value
            expected = {SALE} if name in OPT_OUTS else {LIMIT} if name == "SensitiveDataProcessing" else set()
            assert set(choices(gpp({section: us(values)}))) == (expected if value == 1 else set()), (name, value)
        at += length or 1
    if section in WITH_GPC:
        assert choices(gpp({section: us([0] * US_FIELDS[section], gpc=True)})) == (GPC,)
        assert choices(gpp({section: us([0] * US_FIELDS[section], gpc=False)})) == ()


def test_choices_of_several_sections_are_named_once_in_order() -> None:
    everything = gpp({6: "1YYN", 7: us([1] * 27, gpc=True), 8: us([1] * 20, gpc=True)})
    assert choices(everything) == (SALE, LIMIT, GPC)
    apart = us([0] * 9) + "." + text_of("00" * 7 + "01")
    assert choices(gpp({25: apart})) == (LIMIT,)


RULES = TcfMapping(
    (PurposeRule((3, 4), ADS, Channel.EMAIL), PurposeRule((1,), NEWS)), {10: ACME, 11: BOLT, 12: None}
)  # fmt: skip


def say(purpose: PurposeId, recipient: RecipientId | None, *, given: bool) -> Statement:
    return Statement(purpose, Channel.EMAIL if purpose == ADS else None, recipient, given)


def test_each_vendor_that_was_shown_gets_a_yes_or_a_no_for_each_purpose() -> None:
    tc = Tc(consents={1, 3}, vendors={10, 12}, disclosed={10, 11})
    assert effects_of(decode(tc.text()), RULES) == Effects(
        statements=(
            say(ADS, ACME, given=False),  # 4 is missing
            say(ADS, BOLT, given=False),
            say(NEWS, ACME, given=True),
            say(NEWS, BOLT, given=False),
        ),
        updated=UPDATED,
    )


def test_a_yes_needs_every_purpose_of_the_rule_and_what_the_publisher_lets() -> None:
    tc = Tc(consents={3, 4}, vendors={10, 11}, disclosed={10, 11, 12}, restrictions={(4, 0): {11}})
    found = effects_of(decode(tc.text()), TcfMapping(RULES.purposes[:1], RULES.vendors))
    assert found.statements == (say(ADS, ACME, given=True), say(ADS, BOLT, given=False), say(ADS, None, given=False))
    assert found.denials == found.statements[1:]


def test_the_publishers_own_purposes_speak_for_the_operator() -> None:
    found = effects_of(decode(Tc(publisher={3, 4, 5}).text()), TcfMapping(RULES.purposes))
    assert found.statements == (say(ADS, None, given=True), say(NEWS, None, given=False))
    assert effects_of(decode(Tc(publisher=None).text()), TcfMapping(RULES.purposes)).statements == ()


@pytest.mark.parametrize(
    "broken", [{"policy": 3}, {"service_specific": False}, {"interests": {4}}, {"disclosed": None}]
)
def test_a_string_that_breaks_a_rule_says_no_and_never_yes(broken: dict[str, object]) -> None:
    tc = Tc(**{"consents": {1}, "vendors": {10}, "disclosed": {10, 11}, "publisher": {1}, **broken})  # type: ignore[arg-type]
    found = effects_of(decode(tc.text()), TcfMapping(RULES.purposes[1:], RULES.vendors))
    last = (say(NEWS, None, given=False),) if "disclosed" in broken else ()  # never shown: 12 is asked about too
    assert found.statements == (say(NEWS, BOLT, given=False), *last)
    assert len(found.violations) == 1


def test_a_tc_string_in_a_gpp_string_says_the_same_and_what_is_silent_is_named() -> None:
    tc = Tc(consents={1}, vendors={10}, disclosed={10}, policy=3, updated=UPDATED * 10 + 9)
    alone = effects_of(decode(tc.text()), RULES)
    assert (alone.violations, alone.updated) == (("policy_version_lt_4",), UPDATED)
    canadian = text_of("000001" + "0" * 193 + "0" * 17 * 2 + "0" * 12)
    together = gpp({2: tc.text(), 3: "AAAA", 5: canadian, 6: "1YYN", 8: us([0] * 20, version=2), 99: "B"})
    found = effects_of(decode(together), RULES)
    assert (found.statements, found.violations, found.updated) == (alone.statements, alone.violations, UPDATED)
    assert (found.choices, found.undecoded) == ((SALE,), ("3", "usca", "99", "tcfcav1"))
    assert effects_of(decode("DBABTA~1YYN"), RULES) == Effects(choices=(SALE,))
    assert effects_of(decode("2", SignalKind.GPC), RULES) == Effects()
