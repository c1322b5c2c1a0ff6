"""The sieve answers as the rules read, over the whole space and for packs that nobody wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies_builders import a_question, consenting, near_permits

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.decisions import Effect
from consent_gateway.policies import sieve
from consent_gateway.policies.compile import Program, program, specialise
from consent_gateway.policies.engine import decide_by_reading
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import Condition, Mark, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME, FACTS

PACKS = load_builtin()
NAMES = ("purpose", "channel", "consent", "age", "at_eu", "objection", "basis", "hours_8_20")
thorough = settings(derandomize=True, deadline=None, max_examples=80)


def anywhere(dice: Dice) -> Facts:
    return Facts.of({fact.name: dice.pick(fact.values) for fact in FACTS})


def test_points_from_anywhere_in_the_space_are_answered_as_the_rules_read() -> None:
    dice, compiled = Dice("anywhere"), Program(PACKS)
    for _ in range(400):
        facts = anywhere(dice)
        assert compiled.evaluate(facts.bits) == decide_by_reading(PACKS, facts)


def conditions(at_least: int = 0) -> st.SearchStrategy[Condition]:
    def of(name: str) -> st.SearchStrategy[tuple[str, frozenset[str]]]:
        values = st.frozensets(st.sampled_from(BY_NAME[name].values), min_size=1)
        return st.tuples(st.just(name), values)

    return st.lists(st.sampled_from(NAMES).flatmap(of), min_size=at_least, max_size=3).map(
        lambda p: Condition.of(dict(p))
    )


def rule(pack_id: str, place: int, effect: Effect, when: Condition, unless: list[Condition]) -> Rule:
    reason = {Effect.DENY: "restriction", Effect.PERMIT: "consent_valid", Effect.OBLIGE: "duty"}[effect]
    duties = (f"duty_{place}",) if effect is not Effect.DENY else ()
    return Rule(f"{pack_id}.r{place}", "L", "Art 1", Mark.K, effect, when, reason, tuple(unless), (), duties)


@st.composite
def pack_sets(draw: st.DrawFn) -> PackSet:
    packs = []
    for pack_id in draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3)):
        drawn = draw(
            st.lists(st.tuples(st.sampled_from(Effect), conditions(), st.lists(conditions(1), max_size=3)), max_size=5)
        )
        rules = tuple(rule(pack_id, n, *parts) for n, parts in enumerate(drawn))
        territory = tuple(draw(st.lists(conditions(), min_size=1, max_size=3)))
        default = draw(st.sampled_from([None, "no_legal_basis"]))
        place = draw(st.sampled_from(["EU", "US", "policy"]))
        day = date(2026, 1, 1)
        packs.append(Pack(pack_id, 1, pack_id, pack_id, place, day, None, date.max, "", territory, default, rules))
    return PackSet(tuple(packs), PACKS.reasons)


@thorough
@given(pack_sets(), st.integers(0, 2**32))
def test_any_packs_are_answered_as_they_read(packs: PackSet, seed: int) -> None:
    dice, compiled = Dice(str(seed)), Program(packs)
    for _ in range(12):
        facts = anywhere(dice)
        assert compiled.evaluate(facts.bits) == decide_by_reading(packs, facts)


def test_laws_that_all_abstain_permit_nothing() -> None:
    gdpr, facts = PACKS.pack("gdpr"), consenting()[0]
    assert gdpr is not None
    duty = rule("gdpr", 0, Effect.OBLIGE, Condition.of({"at_eu": ["yes"]}), [])
    for rules in ((), (duty,)):
        packs = PackSet((replace(gdpr, default_reason=None, rules=rules),), PACKS.reasons)
        answer = decide_by_reading(packs, facts)
        assert (answer.permitted, answer.reason_code) == (False, "no_legal_basis")
        assert Program(packs).evaluate(facts.bits) == answer


def test_that_property_goes_red_when_an_unless_is_lost() -> None:
    when, lifted = Condition.of({"at_eu": ["yes"]}), Condition.of({"consent": ["given"]})
    whole = PACKS.pack("gdpr")
    assert whole is not None
    pack = replace(whole, rules=(rule("gdpr", 0, Effect.DENY, when, [lifted]),))
    packs, facts = PackSet((pack,), PACKS.reasons), consenting()[0]
    broken = Program(packs)
    assert broken.evaluate(facts.bits) == decide_by_reading(packs, facts)
    broken._by_index.clear()
    broken.tables = tuple(replace(t, rows=tuple(r._replace(lifted=()) for r in t.rows)) for t in broken.tables)
    assert broken.evaluate(facts.bits) != decide_by_reading(packs, facts)


@thorough
@given(near_permits())
def test_the_fired_set_names_the_rules_that_hold(facts: Facts) -> None:
    compiled = program(PACKS)
    found = compiled.sieve(facts.bits)
    fired = found.fired(facts.bits)
    ids = {compiled.reasons.ordered[row.number].rule_id for n, row in enumerate(found.rows) if fired >> n & 1}
    assert ids == {r.id for p in PACKS.packs if p.binds(facts) for r in p.rules if r.holds(facts)}


def test_equal_reasons_share_one_answer_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    special = specialise(PACKS, a_question())
    first = consenting()[0]
    assert special.rule_on(first) is special.rule_on(first.replace(loyalty="asked"))
    monkeypatch.setattr(sieve, "INTERNED", 2)
    for change in ({}, {"objection": "yes"}, {"restriction": "yes"}, {"consent": "none"}, {"capped": "yes"}):
        facts = first.replace(**change)
        assert special.decide(facts) == decide_by_reading(PACKS, facts)
        assert len(special._sieve._answers) <= 2
    for mask, group in special._sieve._groups:
        assert len(group) <= sieve.GROUP_LIMIT
        assert mask
