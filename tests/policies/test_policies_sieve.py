"""The sieve answers as the rules read, over the whole space and for packs that nobody wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies_builders import a_pack, a_question, a_rule, consenting, near_permits, some_packs

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.decisions import Answer, Effect
from consent_gateway.policies import sieve
from consent_gateway.policies.combine import Reasons, Verdict, combine
from consent_gateway.policies.compile import Program, program, specialise
from consent_gateway.policies.engine import decide_by_reading
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import Condition, Mark, Pack, PackSet, Rule
from consent_gateway.policies.sieve import Row, Sieve, Table
from consent_gateway.policies.vocabulary import BY_NAME, FACTS, FIELD, field_mask

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


# -- bit for bit -----------------------------------------------------------------------------------------------------

WORLD = ("purpose", "channel", "consent", "age", "objection", "basis", "suppressed", "hours_8_20", "transfer_mechanism")
HERE = [Condition.of({name: ["yes"]}) for name in ("at_eu", "at_uk", "at_cn")]
IN_PART = Condition.of({"at_us": ["yes"], "channel": ["email", "sms"]})
WRITTEN = Condition.of({"channel": ["email", "sms", "post"]})  # the question alone settles it
TERRITORIES = [
    (HERE[0],),
    (HERE[1],),
    (HERE[0], HERE[2]),
    (IN_PART, HERE[1], HERE[2]),
    (HERE[2], WRITTEN),
    (Condition.of({}),),
]
FIXED = {name: FIELD[name] for name in ("purpose", "channel")}
INDEX = sum(FIXED.values())


def worlds(label: str, count: int, territories: Sequence[tuple[Condition, ...]] = TERRITORIES) -> Iterator[PackSet]:
    dice = Dice(label)
    return (some_packs(dice, WORLD, territories) for _ in range(count))


def whole(packs: PackSet) -> Sieve:
    """All rules in one sieve, whatever the question."""
    compiled = Program(packs)
    return Sieve(compiled.reasons, compiled.tables, marketing=True)


def test_the_fired_set_is_bit_for_bit_what_holds() -> None:
    dice = Dice("fired")
    for packs in worlds("fired", 90):
        found = whole(packs)
        for facts in (anywhere(dice) for _ in range(4)):
            binding = [pack.binds(facts) for pack in packs.packs]
            holding = [b and r.holds(facts) for b, p in zip(binding, packs.packs, strict=True) for r in p.rules]
            assert found.fired(facts.bits) == sum(1 << n for n, holds in enumerate(holding + binding) if holds)
            assert found.answer(facts.bits) == replace(_by_reading(packs, facts), facts_digest="")


def _by_reading(packs: PackSet, facts: Facts) -> Answer:
    """The answer for a purpose of marketing, whichever it is: that is what `whole` was made for."""
    reasons, verdicts = Reasons.of(packs), []
    for pack in packs.packs:
        if pack.binds(facts):
            fired = [rule for rule in pack.rules if rule.holds(facts)]
            numbers = [reasons.number[rule.id] for rule in fired]
            effects = {rule.effect for rule in fired}
            idle = effects <= {Effect.OBLIGE} and pack.default_reason is not None
            if idle:
                numbers.append(reasons.number[f"{pack.id}.default"])
            verdicts.append(Verdict(pack.name, pack.jurisdiction, idle or Effect.DENY in effects, numbers))
    return combine(reasons, verdicts, "", marketing=True)


def test_what_denies_and_what_permits_is_known_by_its_place() -> None:
    for packs in worlds("places", 30):
        found, place = whole(packs), 0
        rules = [rule for pack in packs.packs for rule in pack.rules]
        assert found.denying == sum(1 << n for n, rule in enumerate(rules) if rule.effect is Effect.DENY)
        assert [table for table, _, _ in found.permitting] == list(found.tables)
        for number, (pack, (_, permitting, binds)) in enumerate(zip(packs.packs, found.permitting, strict=True)):
            own = range(place, place + len(pack.rules))
            assert permitting == sum(1 << n for n in own if rules[n].effect is Effect.PERMIT)
            assert binds == 1 << len(rules) + number
            place = own.stop


def test_facts_that_are_read_are_gathered_in_order_into_groups_that_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 36  # consent, objection and suppression have exactly so many combinations
    monkeypatch.setattr(sieve, "GROUP_LIMIT", limit)
    for packs in worlds("groups", 40):
        conditions = [c for p in packs.packs for r in p.rules for c in (r.when, *r.unless)]
        names = {n for c in (*conditions, *(c for p in packs.packs for c in p.territory)) for n in c.allowed}
        gathered: list[list[str]] = [[]]
        for fact in FACTS:
            if fact.name in names:
                if prod(len(BY_NAME[name].values) for name in (*gathered[-1], fact.name)) > limit:
                    gathered.append([])
                gathered[-1].append(fact.name)
        found = whole(packs)
        assert found.read == field_mask(names)
        # A fact that alone has more values than fit has a group of its own, and nothing an empty one.
        assert [mask for mask, _ in found._groups if mask] == [field_mask(group) for group in gathered if group]
        assert all(mask for mask, _ in found._groups)


def test_a_residual_keeps_what_the_fixed_facts_leave_open() -> None:
    dice = Dice("residual")
    for packs in worlds("residual", 60):
        facts = anywhere(dice)
        for pack, table in zip(packs.packs, Program(packs).tables, strict=True):
            left = table.residual(facts.bits & INDEX, INDEX)
            territory = [_rest(c) for c in pack.territory if _open(c, facts)]
            if not territory:
                assert left is None
                continue
            assert left is not None
            assert left.territory == ((0,) if 0 in territory else tuple(territory))
            rows = zip(table.rows, pack.rules, strict=True)
            assert left.rows == tuple(
                Row(_rest(rule.when), tuple(_rest(c) for c in rule.unless if _open(c, facts)), row.number)
                for row, rule in rows
                if _open(rule.when, facts) and not any(_open(c, facts) and not _rest(c) for c in rule.unless)
            )
            assert replace(left, territory=table.territory, rows=table.rows) == table


def _open(condition: Condition, facts: Facts) -> bool:
    return all(facts[name] in condition.allowed.get(name, facts[name]) for name in FIXED)


def _rest(condition: Condition) -> int:
    return Condition.of({n: v for n, v in condition.allowed.items() if n not in FIXED}).blocked


@pytest.mark.parametrize(
    ("default", "fired", "denies", "told"),
    [
        (9, [], True, [9]),
        (9, [7], True, [7, 9]),
        (9, [6, 7], True, [6, 7, 9]),
        (9, [5], False, [5]),
        (9, [5, 7], False, [5, 7]),
        (9, [2, 5], True, [2, 5]),
        (None, [], False, []),
        (None, [6], False, [6]),
        (None, [3, 6], False, [3, 6]),
        (None, [2], True, [2]),
        (0, [], True, [0]),
    ],
)
def test_the_verdict_of_a_law_by_the_numbers_of_what_fired(
    default: int | None,
    fired: list[int],
    denies: bool,  # noqa: FBT001 - a parameter of the test
    told: list[int],
) -> None:
    """Numbers below 3 deny, those from 6 on only oblige."""
    table = Table("law@1", "EU", (0,), default, 3, 6, ())
    assert table.verdict(fired) == Verdict("law@1", "EU", denies, told)


def test_no_laws_at_all_bind_nobody() -> None:
    found = Sieve(Reasons.of(PACKS), (), marketing=True)
    answer = found.answer(consenting()[0].bits)
    assert (found.fired(consenting()[0].bits), found.read, found.denying, found.permitting) == (0, 0, 0, ())
    assert (answer.permitted, answer.reason_code, answer.packs) == (False, "jurisdiction_unknown", ())


def test_several_laws_that_permit_marketing_are_said_to_and_of_other_uses_they_are_not() -> None:
    yes = [a_pack(name, None, a_rule(f"{name}.yes", Effect.PERMIT, HERE[0])) for name in "ab"]
    compiled, bits = Program(PackSet(tuple(yes), PACKS.reasons)), consenting()[0].bits
    said = [Sieve(compiled.reasons, compiled.tables, marketing=m).answer(bits).reason_code for m in (True, False)]
    assert said == ["strictest_profile_satisfied", "consent_valid"]
