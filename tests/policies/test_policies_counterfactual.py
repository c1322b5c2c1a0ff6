"""The search for the smallest change against a slow one, which knows rules by their words and tries sets in order.

The two must agree on more than the answer: every point that the search asks about is one whose moves meet all
demands, in the promised order, and none of these is left out before the first that permits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import pytest
from policies_builders import a_pack, a_rule, consenting, some_packs

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.decisions import Change, Effect
from consent_gateway.errors import PolicyError
from consent_gateway.policies import counterfactual
from consent_gateway.policies.compile import Program
from consent_gateway.policies.counterfactual import MAX_CHANGES, MOVES, Move, Ways, smallest_change, ways
from consent_gateway.policies.engine import decide_by_reading
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import MARKETING, Condition, PackSet, Rule
from consent_gateway.policies.sieve import Sieve
from consent_gateway.policies.vocabulary import BY_NAME, FACTS

PACKS = load_builtin()
GERMAN = consenting()[0]
FIXED = ("purpose", "channel")  # what a sieve is made for
Moves = frozenset[Move]


class Recording(Sieve):
    """A sieve that notes the points it is asked about; asking twice in a row is asking once."""

    def fired(self, bits: int) -> int:
        asked: list[int] = self.__dict__.setdefault("asked", [])
        if asked[-1:] != [bits]:
            asked.append(bits)
        return super().fired(bits)


def recording(packs: PackSet, facts: Facts) -> Recording:
    compiled = Program(packs)
    tables = compiled.sieve(facts.bits).tables
    return Recording(compiled.reasons, tables, marketing=facts["purpose"] in MARKETING)


# -- the reference -------------------------------------------------------------------------------------------------


def excludes(condition: Condition, name: str, value: str) -> bool:
    return name in condition.allowed and value not in condition.allowed[name]


def possible(condition: Condition, facts: Facts) -> bool:
    """Tell whether purpose and channel leave a condition open."""
    return not any(excludes(condition, name, facts[name]) for name in FIXED)


def reads(condition: Condition) -> set[str]:
    """The facts that can make a difference to a condition, but for the fixed ones."""
    decisive = {n for n, values in condition.allowed.items() if values != frozenset(BY_NAME[n].values)}
    return decisive - set(FIXED)


@dataclass
class Reference:
    """The rules that are in play at a point, and the moves that are open there."""

    packs: PackSet
    facts: Facts
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    open: Moves = frozenset()

    def __post_init__(self) -> None:
        for pack in self.packs.packs:
            self.rules[pack.id] = [r for r in pack.rules if possible(r.when, self.facts) and not self._lifted(r)]
        read = {
            name
            for rules in self.rules.values()
            for r in rules
            for c in (r.when, *self._unless(r))
            for name in reads(c)
        }
        read |= {name for pack in self.packs.packs for c in pack.territory for name in reads(c)}
        self.open = frozenset(m for m in MOVES if read & set(m.settles()) and self.facts[m.fact] != m.need)

    def _unless(self, rule: Rule) -> list[Condition]:
        return [c for c in rule.unless if possible(c, self.facts)]

    def _lifted(self, rule: Rule) -> bool:
        """Purpose and channel alone lift it."""
        return any(not reads(c) for c in self._unless(rule))

    def demands(self) -> set[Moves]:
        """What a combination has to touch before the point can be permitted."""
        found = set()
        for pack in self.packs.packs:
            if not pack.binds(self.facts):
                continue
            fired = [rule for rule in self.rules[pack.id] if rule.holds(self.facts)]
            found |= {self._breaking(rule) for rule in fired if rule.effect is Effect.DENY}
            if pack.default_reason is not None and all(rule.effect is not Effect.PERMIT for rule in fired):
                permits = [rule for rule in self.rules[pack.id] if rule.effect is Effect.PERMIT]
                found.add(frozenset(move for rule in permits for move in self._opening(rule)))
        return found

    def _breaking(self, rule: Rule) -> Moves:
        may_lift = {name for condition in self._unless(rule) for name in reads(condition)}
        return frozenset(
            move
            for move in self.open
            if any(excludes(rule.when, n, v) for n, v in move.settles().items()) or may_lift & set(move.settles())
        )

    def _opening(self, rule: Rule) -> Moves:
        against = {name for name in rule.when.allowed if excludes(rule.when, name, self.facts[name])}
        touching = {name: frozenset(m for m in self.open if name in m.settles()) for name in self.facts}
        if not against:
            lifting = {name for condition in self._unless(rule) for name in reads(condition)}
            return frozenset().union(*(touching[name] for name in lifting))
        if not all(touching[name] for name in against):
            return frozenset()
        return frozenset().union(*(touching[name] for name in against))

    def tried(self) -> Iterator[tuple[tuple[Move, ...], Facts]]:
        """Yield the combinations that meet all demands, the smaller first, in the order of the moves."""
        demands = self.demands()
        if frozenset() in demands:
            return
        in_order = [move for move in MOVES if move in self.open]
        for size in range(1, MAX_CHANGES + 1):
            for moves in combinations(in_order, size):
                if len({m.fact for m in moves}) == size and all(demand.intersection(moves) for demand in demands):
                    yield moves, applied(self.facts, moves)


def applied(facts: Facts, moves: tuple[Move, ...]) -> Facts:
    for move in moves:
        facts = facts.replace(**move.settles())
    return facts


def check(packs: PackSet, facts: Facts) -> int:
    """Compare the search at a denied point; returns how many moves it takes."""
    plain, recorded = Program(packs), recording(packs, facts)
    expected: tuple[Move, ...] = ()
    asked = [facts.bits]
    for moves, there in Reference(packs, facts).tried():
        asked.append(there.bits)
        if plain.evaluate(there.bits).permitted:
            expected = moves
            break
    found = Ways(recorded).search(facts.bits)
    assert tuple(MOVES[place] for place in found) == expected
    assert recorded.__dict__["asked"] == [bits for n, bits in enumerate(asked) if not n or bits != asked[n - 1]]
    return len(expected)


# -- worlds --------------------------------------------------------------------------------------------------------

FEW = ("objection", "capped", "consent", "affirmative", "transfer_mechanism", "basis", "suppressed", "hours_8_21")
MANY = tuple(dict.fromkeys(name for move in MOVES for name in move.settles()))


def a_point(dice: Dice) -> Facts:
    drawn = {fact.name: dice.pick(fact.values) for fact in FACTS}
    return Facts.of({**drawn, "at_eu": "yes", "purpose": "direct_marketing", "channel": "email"})


@pytest.mark.parametrize("names", [FEW, MANY])
def test_the_search_asks_about_what_meets_all_demands_in_order_and_nothing_else(names: tuple[str, ...]) -> None:
    dice, sizes = Dice(f"worlds of {len(names)}"), []
    for _ in range(90):
        packs, facts = some_packs(dice, names), a_point(dice)
        if not Program(packs).evaluate(facts.bits).permitted:
            sizes.append(check(packs, facts))
    assert set(sizes) >= {0, 1, 2}


def test_the_search_over_the_laws_in_force_asks_in_order_too() -> None:
    hindrances: list[dict[str, str]] = [{"capped": "yes"}, {"consent": "none"}, {"objection": "yes"}, {"age": "13"}]
    for facts in (GERMAN, consenting()[5], consenting()[30]):
        for changes in hindrances:
            check(PACKS, facts.replace(suppressed="all", evidence="no", **changes))


def only(*rules: Rule, default: str | None = "no_legal_basis") -> PackSet:
    return PackSet((a_pack("a", default, *rules),), PACKS.reasons)


def found(packs: PackSet, facts: Facts) -> list[tuple[str, str]]:
    assert not decide_by_reading(packs, facts).permitted
    return [(change.fact, change.need) for change in smallest_change(packs, facts)]


def condition(**allowed: str) -> Condition:
    return Condition.of({name: values.split() for name, values in allowed.items()})


PERMIT = a_rule("a.yes", Effect.PERMIT, condition(at_eu="yes"))


def test_of_moves_of_one_fact_a_later_one_may_be_what_is_needed() -> None:
    """The first of them sets the fact to a value that is refused as well, and no second move may set it again."""
    unfit = a_rule("a.unfit", Effect.DENY, condition(transfer_mechanism="none scc cn_standard_contract"))
    full = a_rule("a.full", Effect.DENY, condition(capped="yes"))
    packs, facts = only(PERMIT, unfit, full), GERMAN.replace(capped="yes", transfer_mechanism="none")
    assert found(packs, facts) == [("transfer_mechanism", "cn_security_assessment"), ("capped", "no")]


def test_a_permit_that_is_lifted_is_opened_by_what_lifts_it() -> None:
    lifted = a_rule("a.yes", Effect.PERMIT, condition(at_eu="yes"), condition(objection="yes"), condition(capped="yes"))
    assert found(only(lifted), GERMAN.replace(objection="yes")) == [("objection", "no")]
    assert found(only(lifted), GERMAN.replace(objection="yes", capped="yes")) == [("capped", "no"), ("objection", "no")]


def test_a_permit_with_an_obstacle_that_nobody_moves_offers_nothing() -> None:
    grown = a_rule("a.grown", Effect.PERMIT, condition(age="adult", consent="given"))
    asked = a_rule("a.asked", Effect.PERMIT, condition(written="yes", separate="yes"))
    facts = GERMAN.replace(age="13", consent="none", written="no", separate="no")
    assert found(only(grown), facts) == []
    assert found(only(grown, asked), facts) == [("separate", "yes"), ("written", "yes")]


def test_no_more_than_three_moves_are_proposed() -> None:
    names = ("capped", "objection", "restriction", "limit_sensitive")
    packs = only(PERMIT, *(a_rule(f"a.{name}", Effect.DENY, Condition.of({name: ["yes"]})) for name in names))
    three = GERMAN.replace(**dict.fromkeys(names[:3], "yes"))
    assert len(found(packs, three)) == MAX_CHANGES == 3
    assert found(packs, three.replace(limit_sensitive="yes")) == []


def test_a_denial_that_no_demand_explains_is_searched_and_not_permitted() -> None:
    """Every law abstains: nothing denies, so nothing has to be met, and still nothing permits."""
    packs = only(a_rule("a.yes", Effect.PERMIT, condition(age="under_13", capped="no")), default=None)
    assert found(packs, GERMAN.replace(capped="yes")) == []


def test_the_demands_are_told_hardest_first_and_one_that_nothing_meets_ends_the_search() -> None:
    easy = a_rule("a.easy", Effect.DENY, condition(capped="yes", objection="yes", restriction="yes"))
    hard = a_rule("a.hard", Effect.DENY, condition(suppressed="all"))
    facts = GERMAN.replace(capped="yes", objection="yes", restriction="yes", suppressed="all")
    packs = only(PERMIT, easy, hard)
    search = Ways(Program(packs).sieve(facts.bits))
    everything = (1 << len(MOVES)) - 1
    demands = search._demands(facts.bits, everything)
    assert demands is not None
    places = [[place for place in range(len(MOVES)) if demand >> place & 1] for demand in demands]
    assert [{MOVES[n].fact for n in one} for one in places] == [{"suppressed"}, {"capped", "objection", "restriction"}]
    assert search._demands(facts.bits, everything ^ 1 << places[0][0]) is None


def test_what_was_found_is_remembered_by_what_is_read_and_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = only(PERMIT, *(a_rule(f"a.{n}", Effect.DENY, Condition.of({n: ["yes"]})) for n in ("capped", "objection")))
    facts = GERMAN.replace(capped="yes")
    recorded = recording(packs, facts)
    search = Ways(recorded)
    first = search.smallest(facts.bits)
    asked = len(recorded.__dict__["asked"])
    assert search.smallest(facts.replace(written="no", loyalty="asked").bits) is first  # nothing reads these
    assert len(recorded.__dict__["asked"]) == asked
    monkeypatch.setattr(counterfactual, "INTERNED", 2)
    points = [facts, facts.replace(objection="yes"), GERMAN.replace(objection="yes"), facts]
    assert [search.smallest(p.bits) for p in points] == [Ways(recorded).search(p.bits) for p in points]
    assert len(search._found) == 2
    assert ways(recorded) is ways(recorded)


def test_a_change_is_told_in_both_languages_to_the_letter() -> None:
    packs = only(PERMIT, a_rule("a.full", Effect.DENY, condition(capped="yes")))
    assert smallest_change(packs, GERMAN.replace(capped="yes")) == (
        Change(
            "capped",
            "yes",
            "no",
            "frequency cap reached: yes → no. Wait until the cap has room.",
            "达到频次上限: yes → no。等待频次上限释放。",
        ),
    )


def test_a_consent_settles_how_it_was_given_too() -> None:
    move = next(move for move in MOVES if move.fact == "consent")
    names = ("affirmative", "evidence", "notice", "scope_purpose", "scope_channel", "scope_recipient")
    assert move.settles() == {"consent": "given", **dict.fromkeys(names, "yes")}
    assert replace(move, also=()).settles() == {"consent": "given"}


@pytest.mark.parametrize("name", ["consent", "evidence"])
def test_laws_whose_territory_a_move_changes_are_refused_in_these_words(name: str) -> None:
    moved = replace(a_pack("a", None, PERMIT), territory=(condition(at_eu="yes"), Condition.of({name: [GERMAN[name]]})))
    told = "a move changes where a law binds; the search for a smallest change would not be exact"
    with pytest.raises(PolicyError, match=f"^{told}$"):
        Ways(Program(PackSet((moved,), PACKS.reasons)).sieve(GERMAN.bits))
