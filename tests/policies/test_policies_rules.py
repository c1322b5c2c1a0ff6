"""Rules, packs and sets of packs as values: when they count, what they are called, what is senseless about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from policies_builders import consenting

from consent_gateway.domain.decisions import Effect, Stage
from consent_gateway.policies.rules import (
    ALWAYS,
    MARKETING,
    POLICY,
    Condition,
    Mark,
    Pack,
    PackSet,
    ReasonText,
    Rule,
    Setting,
    broken_pack,
    key_of,
    no_marketing,
)
from consent_gateway.policies.soundness import clash, compatible, implies, rule_problem
from consent_gateway.policies.vocabulary import BY_NAME, UnknownFactError

DAY = date(2026, 5, 1)
NEXT, BEFORE = DAY + timedelta(1), DAY - timedelta(1)
FACTS = consenting()[0]
EU = Condition.of({"at_eu": ["yes"]})
REASONS = {"restriction": ReasonText("restriction", 0, Stage.LAW, "No.", "否。")}


def a_rule(rule_id: str = "demo.a", when: Condition = EU, **changes: object) -> Rule:
    rule = Rule(rule_id, "L", "Art 1", Mark.K, Effect.DENY, when, "restriction")
    return replace(rule, **changes)  # type: ignore[arg-type]


def a_pack(pack_id: str = "demo", **changes: object) -> Pack:
    pack = Pack(pack_id, 1, "Demo", "演示", "EU", DAY, None, date.max, "me", (EU,), None, (a_rule(),))
    return replace(pack, **changes)  # type: ignore[arg-type]


def a_set(*packs: Pack, **changes: object) -> PackSet:
    return replace(PackSet(packs, REASONS), **changes)  # type: ignore[arg-type]


def test_a_condition_is_made_of_the_vocabulary_and_blocks_all_else() -> None:
    for wrong in ({"moon": ["yes"]}, {"age": ["13", "old"]}):
        with pytest.raises(UnknownFactError):
            Condition.of(wrong)
    some = Condition.of({"age": ["13", "14"], "at_eu": ["yes"]})
    for age in BY_NAME["age"].values:
        for place in ("yes", "no"):
            facts = FACTS.replace(age=age, at_eu=place)
            assert some.holds(facts) is (age in {"13", "14"} and place == "yes")
            assert some.holds(facts) is not bool(some.blocked & facts.bits)
    assert ALWAYS.holds(FACTS)
    assert ALWAYS.blocked == 0


@pytest.mark.parametrize(
    ("begins", "ends", "days"),
    [
        (None, None, (True, True, True)),
        (DAY, None, (False, True, True)),
        (None, DAY, (True, True, False)),
        (DAY, DAY, (False, True, False)),
    ],
)
def test_a_rule_is_in_force_on_its_first_and_its_last_day(
    begins: date | None, ends: date | None, days: tuple[bool, ...]
) -> None:
    rule = a_rule(effective_from=begins, effective_until=ends)
    assert tuple(rule.in_force(day) for day in (BEFORE, DAY, NEXT)) == days
    pack, other = a_pack(rules=(a_rule("demo.kept"), rule)), a_pack("other")
    packs = a_set(pack, other)
    for day, counts in zip((BEFORE, DAY, NEXT), days, strict=True):
        found = packs.in_force(day)
        assert (found is packs) is counts
        assert [rule.id for rule in found.packs[0].rules] == ["demo.kept", *(["demo.a"] if counts else [])]
        assert found.packs[1] is other
        assert found.reasons is packs.reasons


def test_a_rule_fires_unless_it_is_lifted_and_exists_under_its_choices() -> None:
    lifted = a_rule(unless=(Condition.of({"gpc": ["yes"]}), Condition.of({"objection": ["yes"]})))
    assert lifted.holds(FACTS)
    assert not lifted.holds(FACTS.replace(at_eu="no"))
    for change in ({"gpc": "yes"}, {"objection": "yes"}):
        assert not lifted.holds(FACTS.replace(**change))
    chosen = a_rule(settings=(("calls", "no"), ("hours", "late")))
    assert chosen.chosen({"calls": "no", "hours": "late", "more": "x"})
    assert not chosen.chosen({"calls": "no", "hours": "early"})
    assert not chosen.chosen({"calls": "yes", "hours": "late"})


def a_setting(name: str, value: str) -> Setting:
    return Setting(name, value, "no", ("no", "yes"), "Art 9", Mark.K, "en", "zh")


def test_a_pack_is_named_by_version_and_by_every_other_than_the_shipped_choice() -> None:
    assert a_pack().name == "demo@1"
    assert a_pack(settings=(a_setting("b", "no"),)).name == "demo@1"
    several = (a_setting("b", "yes"), a_setting("c", "no"), a_setting("a", "yes"))
    assert a_pack(version=3, settings=several).name == "demo@3+a=yes,b=yes"


def test_a_pack_binds_where_one_of_its_territories_is() -> None:
    pack = a_pack(territory=(EU, Condition.of({"at_cn": ["yes"]})))
    assert pack.binds(FACTS)
    assert pack.binds(FACTS.replace(at_eu="no", at_cn="yes"))
    assert not pack.binds(FACTS.replace(at_eu="no"))
    assert a_set(pack, a_pack("other")).pack("other") == a_pack("other")
    assert a_set(pack).pack("other") is None


def the_only(packs: PackSet) -> Pack:
    (pack,) = packs.packs
    return pack


def test_a_pack_counts_from_the_day_it_begins_until_its_end_and_its_review() -> None:
    pack = a_pack(effective_until=NEXT + timedelta(1), review_by=NEXT)
    packs = a_set(pack, others=(), faults=("f",))
    assert packs.standing(BEFORE).packs == ()
    assert packs.standing(DAY).packs == packs.standing(NEXT).packs == (pack,)
    late, over = the_only(packs.standing(NEXT + timedelta(1))), the_only(packs.standing(NEXT + timedelta(2)))
    assert late.rules == (a_rule(), no_marketing("demo", "pack_review_overdue", "to be reviewed by 2026-05-02"))
    assert over.rules == (a_rule(), no_marketing("demo", "pack_not_in_force", "in force until 2026-05-03"))
    assert (late.name, packs.standing(DAY).faults) == ("demo@1", ("f",))
    assert replace(late, rules=pack.rules) == pack
    last_day = a_pack(effective_until=NEXT)
    assert a_set(last_day).standing(NEXT).packs == (last_day,)


def test_of_several_versions_the_one_counts_that_began_last() -> None:
    old, new = a_pack(effective_until=DAY), a_pack(version=2, effective_from=NEXT)
    other = a_pack("other")
    for packs in (a_set(new, other, others=(old,)), a_set(old, other, others=(new,))):
        assert packs.standing(DAY).packs == (old, other)
        assert packs.standing(NEXT).packs == (new, other)
        assert packs.standing(NEXT).others == ()
        assert packs.as_of(BEFORE).packs == ()
    dated = replace(old, rules=(a_rule(effective_from=NEXT), a_rule("demo.b")))
    assert the_only(a_set(dated).as_of(DAY)).rules == (a_rule("demo.b"),)
    assert the_only(a_set(replace(dated, effective_until=None)).as_of(NEXT)).rules == dated.rules


def test_what_may_not_be_trusted_permits_no_marketing() -> None:
    rule = no_marketing("demo", "pack_invalid", "why")
    when = Condition.of({"purpose": MARKETING})
    assert rule == Rule("demo.pack_invalid", POLICY, "why", Mark.POLICY, Effect.DENY, when, "pack_invalid")
    broken = broken_pack("demo", "why")
    always = date(1970, 1, 1)
    assert broken == Pack("demo", 0, "demo", "demo", POLICY, always, None, date.max, "", (ALWAYS,), None, (rule,))
    assert (key_of(broken), key_of(a_pack())) == (("demo", True), ("demo", False))


# -- soundness -----------------------------------------------------------------------------------------------------

YOUNG, OLDER = (Condition.of({"age": ages}) for ages in (["13"], ["13", "14"]))
ADULT_EU = Condition.of({"age": ["adult"], "at_eu": ["yes"]})
NOWHERE = Condition.of({"age": []})


def test_conditions_imply_and_exclude_each_other() -> None:
    assert implies(YOUNG, OLDER)
    assert not implies(OLDER, YOUNG)
    assert implies(YOUNG, YOUNG)
    assert implies(YOUNG, ALWAYS)
    assert not implies(ALWAYS, YOUNG)
    assert implies(ADULT_EU, EU)
    assert not implies(EU, ADULT_EU)
    assert compatible(YOUNG, OLDER)
    assert compatible(YOUNG, EU)
    assert compatible(ALWAYS, ALWAYS)
    assert not compatible(OLDER, ADULT_EU)
    assert not compatible(NOWHERE, ALWAYS)
    assert not compatible(ALWAYS, NOWHERE)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (a_rule(when=ADULT_EU), None),
        (a_rule(when=NOWHERE), "its condition can never hold, because no value of 'age' is left"),
        (
            a_rule(when=YOUNG, unless=(EU, OLDER)),
            "an `unless` holds whenever its `when` does, so that it never fires",
        ),
        (a_rule(when=OLDER, unless=(EU, YOUNG)), None),
        (a_rule(when=Condition.of({"at_eu": ["no"]})), "it can never fire where the pack binds"),
    ],
)
def test_a_rule_that_can_never_fire_is_a_problem(rule: Rule, problem: str | None) -> None:
    assert rule_problem(rule, [EU]) == problem
    elsewhere = [Condition.of({"at_cn": ["yes"]}), EU, Condition.of({"at_eu": ["no"]})]
    assert rule_problem(rule, elsewhere) == (None if problem and "binds" in problem else problem)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (a_pack(), a_pack("other"), None),
        (a_pack(), broken_pack("demo", "why"), None),
        (broken_pack("demo", "why"), a_pack(), None),
        (a_pack(version=2), a_pack(version=2), ("version", "version 2 of the pack 'demo' is given twice")),
        (a_pack(version=2), a_pack(), ("effective_from", "demo@2 and demo@1 would both be in force on 2026-05-01")),
        (a_pack(effective_until=DAY), a_pack(version=2, effective_from=NEXT), None),
        (a_pack(version=2, effective_from=NEXT), a_pack(effective_until=DAY), None),
        (
            a_pack(effective_until=NEXT),
            a_pack(version=2, effective_from=NEXT),
            ("effective_from", "demo@1 and demo@2 would both be in force on 2026-05-02"),
        ),
        (
            a_pack(version=2, effective_from=NEXT, effective_until=NEXT),
            a_pack(),
            ("effective_from", "demo@2 and demo@1 would both be in force on 2026-05-02"),
        ),
    ],
)
def test_versions_of_a_pack_follow_each_other(one: Pack, other: Pack, found: tuple[str, str] | None) -> None:
    assert clash(one, other) == found
