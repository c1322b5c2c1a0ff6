"""How several laws are joined into one answer, with verdicts given by hand: order, voices, duties."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from consent_gateway.domain.decisions import Answer, Change, Effect, Outcome, Reason, Stage
from consent_gateway.policies.combine import Reasons, Verdict, combine, denial, with_digest
from consent_gateway.policies.rules import ALWAYS, POLICY, Mark, Pack, PackSet, ReasonText, Rule

CODES: list[tuple[str, Stage | None]] = [
    ("late", Stage.QUIET_HOURS),
    ("no_consent", Stage.CONSENT),
    ("no_legal_basis", Stage.LAW),
    ("jurisdiction_unknown", Stage.LAW),
    ("no_transfer", Stage.LAW),
    ("strictest_of_set", Stage.LAW),
    ("rule_error", Stage.LAW),
    ("every_law", None),
    ("strictest_profile_satisfied", None),
    ("consent_valid", None),
    ("legitimate_interest", None),
    ("duty", None),
]
CATALOGUE = {code: ReasonText(code, rank, stage, f"{code}.", f"{code}。") for rank, (code, stage) in enumerate(CODES)}


def rule(
    rule_id: str, effect: Effect, code: str, *obligations: str, law: str = "L", when_permitted: bool = False
) -> Rule:
    return Rule(
        rule_id,
        law,
        f"Art {rule_id}",
        Mark.K,
        effect,
        ALWAYS,
        code,
        (),
        (),
        obligations,
        (),
        None,
        None,
        when_permitted,
    )


def pack(pack_id: str, jurisdiction: str, *rules: Rule, default: str | None = None) -> Pack:
    day = date(2026, 1, 1)
    return Pack(pack_id, 1, f"The {pack_id}", "法", jurisdiction, day, None, date.max, "", (ALWAYS,), default, rules)


D, P, O = Effect.DENY, Effect.PERMIT, Effect.OBLIGE  # noqa: E741 - the three effects, side by side
PACKS = PackSet(
    (
        pack("aa", POLICY, rule("aa.no", D, "no_consent", law=POLICY), rule("aa.yes", P, "consent_valid", "z")),
        pack(
            "eu",
            "EU",
            rule("eu.told", O, "duty", "on_send", "always_b", when_permitted=True),
            rule("eu.keep", O, "duty", "always_a", "always_b"),
            rule("eu.yes", P, "consent_valid", "if_yes", "always_a"),
            rule("eu.other", P, "legitimate_interest", "weigh"),
            rule("eu.no", D, "no_consent"),
            rule("eu.late", D, "late"),
            rule("eu.far", D, "no_transfer"),
            default="no_legal_basis",
        ),
        pack("eu_more", "EU", rule("eu_more.no", D, "no_consent")),
        pack("us", "US", rule("us.yes", P, "consent_valid", "if_yes", "if_us"), rule("us.no", D, "no_consent")),
    ),
    CATALOGUE,
)
REASONS = Reasons.of(PACKS)
ORDER = [
    "eu.late", "eu.no", "eu_more.no", "us.no", "aa.no", "eu.default", "eu.far",
    "aa.yes", "eu.yes", "us.yes", "eu.other",
    "eu.keep", "eu.told",
]  # fmt: skip


def test_reasons_stand_in_one_order_whatever_the_order_of_the_packs() -> None:
    assert [reason.rule_id for reason in REASONS.ordered] == ORDER
    assert REASONS.number == {rule_id: place for place, rule_id in enumerate(ORDER)}
    assert (REASONS.first_permit, REASONS.first_duty) == (7, 11)
    assert REASONS.standing == {11}
    shuffled = tuple(replace(p, rules=p.rules[::-1]) for p in PACKS.packs[::-1])
    again = Reasons.of(PackSet(shuffled, CATALOGUE))
    assert again.ordered == REASONS.ordered
    assert (again.first_permit, again.first_duty, again.standing) == (7, 11, {11})
    assert [REASONS.obligations[REASONS.number[name]] for name in ("eu.keep", "eu.no", "us.yes")] == [
        ("always_a", "always_b"),
        (),
        ("if_yes", "if_us"),
    ]


def test_a_reason_tells_rule_law_article_and_stage() -> None:
    found = {reason.rule_id: reason for reason in REASONS.ordered}
    no = Reason("no_consent", "eu.no", "L", "Art eu.no", "no_consent.", "no_consent。", Stage.CONSENT, D)
    yes = Reason("consent_valid", "eu.yes", "L", "Art eu.yes", "consent_valid.", "consent_valid。", None, P)
    assert (found["eu.no"], found["eu.yes"]) == (no, yes)
    default = ("eu.default", "eu", "The eu: no rule permits this", "no_legal_basis.", "no_legal_basis。")
    assert found["eu.default"] == Reason("no_legal_basis", *default, Stage.LAW, D)


def verdict(pack_id: str, *fired: str) -> Verdict:
    """What a pack says where these of its rules fire."""
    found = next(pack for pack in PACKS.packs if pack.id == pack_id)
    numbers = [REASONS.number[f"{pack_id}.{name}"] for name in fired]
    denies = any(number < REASONS.first_permit for number in numbers)
    return Verdict(found.name, found.jurisdiction, denies, numbers)


def joined(*verdicts: Verdict, marketing: bool = False) -> Answer:
    return combine(REASONS, verdicts, "d", marketing=marketing)


def seen(answer: Answer) -> tuple[str, str, list[str], tuple[str, ...]]:
    return str(answer.outcome), answer.reason_code, [r.rule_id for r in answer.reasons], answer.obligations


@pytest.mark.parametrize(
    ("verdicts", "outcome", "code", "rules", "duties"),
    [
        # one law
        ([("eu", "yes")], "permit", "consent_valid", ["eu.yes"], ("if_yes", "always_a")),
        ([("eu", "no", "yes")], "deny", "no_consent", ["eu.no", "eu.yes"], ()),
        ([("eu", "default")], "deny", "no_legal_basis", ["eu.default"], ()),
        # denials, permits, duties; each by rank
        (
            [("eu", "told", "keep", "other", "yes")],
            "permit",
            "consent_valid",
            ["eu.yes", "eu.other", "eu.keep", "eu.told"],
            ("if_yes", "always_a", "weigh", "always_b", "on_send"),
        ),
        # a denial brings only the duties that stand without a message
        (
            [("eu", "told", "keep", "yes", "far", "late")],
            "deny",
            "late",
            ["eu.late", "eu.far", "eu.yes", "eu.keep", "eu.told"],
            ("always_a", "always_b"),
        ),
        # two laws agree
        ([("eu", "yes"), ("us", "yes")], "permit", "consent_valid", ["eu.yes", "us.yes"], ("if_yes", "always_a", "if_us")),
        ([("eu", "no"), ("us", "no")], "deny", "no_consent", ["eu.no", "us.no"], ()),
        # they disagree about the basis, and the first reason says so
        ([("eu", "no"), ("us", "yes")], "deny", "strictest_of_set", ["engine.strictest_of_set", "eu.no", "us.yes"], ()),
        ([("eu", "yes"), ("us", "no")], "deny", "strictest_of_set", ["engine.strictest_of_set", "us.no", "eu.yes"], ()),
        ([("eu", "default"), ("us", "yes")], "deny", "strictest_of_set", ["engine.strictest_of_set", "eu.default", "us.yes"], ()),
        # an hour or a transfer is no disagreement
        ([("eu", "late"), ("us", "yes")], "deny", "late", ["eu.late", "us.yes"], ()),
        ([("eu", "far"), ("us", "yes")], "deny", "no_transfer", ["eu.far", "us.yes"], ()),
        # nor where product policy denies
        ([("aa", "no"), ("eu", "no"), ("us", "yes")], "deny", "no_consent", ["eu.no", "aa.no", "us.yes"], ()),
        ([("aa", "no"), ("eu", "yes")], "deny", "no_consent", ["aa.no", "eu.yes"], ()),
        # packs of one place are one voice
        ([("eu", "yes"), ("eu_more", "no")], "deny", "no_consent", ["eu_more.no", "eu.yes"], ()),
        ([("eu_more", "no"), ("eu", "yes")], "deny", "no_consent", ["eu_more.no", "eu.yes"], ()),
        # no law applies
        ([], "deny", "jurisdiction_unknown", ["engine.no_law"], ()),
        ([("aa", "yes")], "deny", "jurisdiction_unknown", ["engine.no_law", "aa.yes"], ()),
        ([("aa", "no", "yes")], "deny", "no_consent", ["aa.no", "engine.no_law", "aa.yes"], ()),
        # all that apply abstain
        ([("eu",), ("us",)], "deny", "no_legal_basis", ["engine.no_permit"], ()),
        ([("aa", "yes"), ("eu", "keep")], "deny", "no_legal_basis", ["engine.no_permit", "aa.yes", "eu.keep"], ("always_a", "always_b")),
        ([("aa", "yes"), ("eu", "yes")], "permit", "consent_valid", ["aa.yes", "eu.yes"], ("z", "if_yes", "always_a")),
        ([("eu", "other"), ("us",)], "permit", "legitimate_interest", ["eu.other"], ("weigh",)),
    ],
)  # fmt: skip
def test_laws_are_joined(
    verdicts: list[tuple[str, ...]], outcome: str, code: str, rules: list[str], duties: tuple[str, ...]
) -> None:
    answer = joined(*(verdict(*parts) for parts in verdicts))
    assert seen(answer) == (outcome, code, rules, duties)
    assert answer.packs == tuple(f"{parts[0]}@1" for parts in verdicts)
    assert (answer.facts_digest, answer.changes) == ("d", ())


def test_that_several_laws_permit_marketing_is_said_first() -> None:
    both = verdict("eu", "yes"), verdict("us", "yes")
    answer = joined(*both, marketing=True)
    assert seen(answer)[1:3] == ("strictest_profile_satisfied", ["engine.every_law", "eu.yes", "us.yes"])
    assert answer.leading == Reason(
        "strictest_profile_satisfied",
        "engine.every_law",
        POLICY,
        "policy: every law that may apply permits",
        "strictest_profile_satisfied.",
        "strictest_profile_satisfied。",
        None,
        P,
    )
    assert joined(both[0], marketing=True).reason_code == "consent_valid"
    assert joined(both[0], verdict("eu_more"), verdict("aa", "yes"), marketing=True).reason_code == "consent_valid"


@pytest.mark.parametrize(
    ("verdicts", "rule_id", "code", "citation", "stage"),
    [
        ([("aa", "yes")], "no_law", "jurisdiction_unknown", "policy: no covered law applies", Stage.LAW),
        ([("eu",)], "no_permit", "no_legal_basis", "policy: every law that applies abstains", Stage.LAW),
        ([("eu", "no"), ("us", "yes")], "strictest_of_set", "strictest_of_set", "GDPR Art 3(1); policy", Stage.CONSENT),
        ([("eu", "default"), ("us", "yes")], "strictest_of_set", "strictest_of_set", "GDPR Art 3(1); policy", Stage.LAW),
    ],
)  # fmt: skip
def test_reasons_of_the_set_say_where_they_come_from(
    verdicts: list[tuple[str, ...]], rule_id: str, code: str, citation: str, stage: Stage
) -> None:
    leading = joined(*(verdict(*parts) for parts in verdicts)).leading
    assert leading == Reason(code, f"engine.{rule_id}", POLICY, citation, f"{code}.", f"{code}。", stage, D)


def test_a_denial_without_a_rule_and_the_digest_of_an_answer() -> None:
    error = Reason("rule_error", "engine.rule_error", POLICY, "why", "rule_error.", "rule_error。", Stage.LAW, D)
    found = denial(REASONS, "rule_error", "why", "d")
    assert found == Answer(Outcome.DENY, "rule_error", (error,), (), (), "d")
    assert with_digest(found, "e") == replace(found, facts_digest="e")
    whole = joined(verdict("eu", "yes", "keep"))
    assert with_digest(replace(whole, facts_digest=""), "d") == whole


def test_another_digest_is_all_that_changes() -> None:
    reason = Reason("late", "a.late", "L", "Art 1", "Late.", "晚。", Stage.QUIET_HOURS, Effect.DENY)
    change = Change("capped", "yes", "no", "Wait.", "等待。")
    answer = Answer(Outcome.DENY, "late", (reason,), ("tell",), ("a@1",), "one", (change,))
    assert with_digest(answer, "two") == replace(answer, facts_digest="two")
    assert with_digest(answer, "two").changes == (change,)


@pytest.mark.parametrize("order", [1, -1])
def test_one_law_that_denies_is_the_voice_of_its_jurisdiction_wherever_it_stands(order: int) -> None:
    europe = [verdict("eu", "yes"), verdict("eu_more", "no")][::order]
    for verdicts in ([*europe, verdict("us", "yes")], [verdict("us", "yes"), *europe]):
        assert joined(*verdicts).reason_code == "strictest_of_set"


def test_a_code_that_the_catalogue_does_not_know_is_told_as_it_is() -> None:
    (reason,) = denial(REASONS, "unheard_of", "why", "").reasons
    assert (reason.text_en, reason.text_zh, reason.stage, reason.effect) == ("unheard_of", "unheard_of", Stage.LAW, D)


def test_only_a_denial_has_a_stage() -> None:
    odd = Reasons.of(PackSet((pack("xx", "EU", rule("xx.yes", P, "late"), rule("xx.no", D, "late")),), CATALOGUE))
    assert [(reason.rule_id, reason.stage) for reason in odd.ordered] == [
        ("xx.no", Stage.QUIET_HOURS),
        ("xx.yes", None),
    ]
