"""Facts and strategies for the tests of the law: people for whom something is permitted, and ways to vary them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.consents import ConsentProperty, ConsentState
from consent_gateway.domain.decisions import Effect
from consent_gateway.domain.purposes import Basis, Channel, PurposeKind, RecipientKind
from consent_gateway.policies.facts import Facts, Question, Situation, build
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import Condition, Mark, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME, FACTS

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "law_cases.json"
P = ConsentProperty
FULL = P.AFFIRMATIVE | P.EVIDENCE | P.SEPARATE | P.EXPLICIT | P.WRITTEN | P.TWO_STEP
NOON = (720,)
TERRITORIES = ("at_eu", "at_uk", "at_ca", "at_us", "us_other", "at_cn", "at_unknown")


@lru_cache(maxsize=1)
def law_cases() -> dict[str, Any]:
    if not CASES.exists():
        pytest.skip(f"the shared decision cases are missing: {CASES}")
    found: dict[str, Any] = json.loads(CASES.read_text(encoding="utf-8"))
    return found


def a_question(**changes: Any) -> Question:
    return Question(**{"purpose_kind": PurposeKind.DIRECT_MARKETING, "channel": Channel.EMAIL, **changes})


def a_person(**changes: Any) -> Situation:
    """A consenting adult at noon, whose residency must be said."""
    given = {"age": 30, "consent": ConsentState.GIVEN, "properties": FULL, "local_minutes": NOON}
    return Situation(**{**given, **changes})


def consenting() -> list[Facts]:
    """Points that are permitted under some law or set of laws, over many purposes and channels."""
    regions = [("DE",), ("GB",), ("US-CA",), ("US-FL",), ("US",), ("CN",), (None,), ("US-CA", "FR"), ("CN", "DE", None)]
    questions = [
        a_question(),
        a_question(channel=Channel.SMS),
        a_question(channel=Channel.PUSH, purpose_kind=PurposeKind.PERSONALISED_MARKETING, non_personalised_option=True),
        a_question(
            channel=Channel.ONLINE_ADS,
            purpose_kind=PurposeKind.THIRD_PARTY_AUDIENCE_SHARING,
            recipient_kind=RecipientKind.THIRD_PARTY,
        ),
        a_question(channel=Channel.NONE, purpose_kind=PurposeKind.SEGMENTATION_FOR_MARKETING),
        a_question(purpose_kind=PurposeKind.SERVICE_MESSAGE, basis=Basis.CONTRACT),
        a_question(channel=Channel.IN_APP, purpose_kind=PurposeKind.CONSENT_REQUEST),
    ]
    person = [a_person(regions=r, scope_recipient=True) for r in regions]
    return [build(q, s) for q in questions for s in person]


def values_of(facts: Facts) -> dict[str, str]:
    return dict(facts.items())


def some_changes(limit: int) -> st.SearchStrategy[dict[str, str]]:
    one = st.sampled_from(FACTS).flatmap(lambda f: st.tuples(st.just(f.name), st.sampled_from(f.values)))
    return st.lists(one, max_size=limit).map(dict)


def near_permits(limit: int = 6) -> st.SearchStrategy[Facts]:
    """Points a few facts away from a permitted one: both answers are common, so properties are not vacuous."""
    return st.builds(lambda base, changes: base.replace(**changes), st.sampled_from(consenting()), some_changes(limit))


# -- laws that nobody wrote ----------------------------------------------------------------------------------------

_REASONS = {Effect.DENY: "restriction", Effect.PERMIT: "consent_valid", Effect.OBLIGE: "duty"}
EUROPE = Condition.of({"at_eu": ["yes"]})


def a_rule(rule_id: str, effect: Effect, when: Condition, *unless: Condition) -> Rule:
    return Rule(rule_id, "L", "Art 1", Mark.K, effect, when, _REASONS[effect], unless)


def a_pack(pack_id: str, default: str | None, *rules: Rule, territory: tuple[Condition, ...] = (EUROPE,)) -> Pack:
    day = date(2026, 1, 1)
    return Pack(pack_id, 1, pack_id, pack_id, pack_id, day, None, date.max, "", territory, default, rules)


def some_condition(dice: Dice, names: Sequence[str], most: int) -> Condition:
    """Up to `most` memberships, none of which always holds or never."""
    return Condition.of(
        {name: _some_of(dice, name) for name in [dice.pick(names) for _ in range(1 + dice.below(most))]}
    )


def _some_of(dice: Dice, name: str) -> list[str]:
    values = BY_NAME[name].values
    return [v for v in values if dice.chance(50)][: len(values) - 1] or [dice.pick(values)]


def some_packs(
    dice: Dice, names: Sequence[str], territories: Sequence[tuple[Condition, ...]] = ((EUROPE,),)
) -> PackSet:
    """One or two laws of a few rules, each lifted by up to two conditions; most deny by default."""
    packs = []
    for pack_id in ("a", "b")[: 1 + dice.below(2)]:
        effects = [dice.pick([Effect.DENY, Effect.DENY, Effect.PERMIT]) for _ in range(2 + dice.below(4))]
        rules = [
            a_rule(f"{pack_id}.r{n}", effect, some_condition(dice, names, 3), *_lifting(dice, names))
            for n, effect in enumerate(effects)
        ]
        default = dice.pick([None, "no_legal_basis", "no_legal_basis"])
        packs.append(a_pack(pack_id, default, *rules, territory=dice.pick(territories)))
    return PackSet(tuple(packs), load_builtin().reasons)


def _lifting(dice: Dice, names: Sequence[str]) -> list[Condition]:
    return [some_condition(dice, names, 2) for _ in range(dice.below(5) // 2)]
