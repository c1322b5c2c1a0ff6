"""Another engine reads our packs: Cedar validates them against the schema and gives the same answers."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import cedarpy
import pytest
from policies_builders import consenting

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.cedar import ACTION, PRINCIPAL, RESOURCE, cedar_context, cedar_schema, to_cedar
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import Pack
from consent_gateway.policies.vocabulary import FACTS

PACKS = load_builtin()
POINTS = 1200


@lru_cache(maxsize=1)
def points() -> list[Facts]:
    """Points near permits and points from anywhere, the same in every run."""
    dice, bases = Dice("cedar"), consenting()
    found = []
    for n in range(POINTS):
        names = [dice.pick(FACTS) for _ in range(dice.below(6) if n % 4 else len(FACTS))]
        found.append(dice.pick(bases).replace(**{fact.name: dice.pick(fact.values) for fact in names}))
    return found


@lru_cache(maxsize=1)
def requests() -> list[dict[str, Any]]:
    who = {"principal": f'{PRINCIPAL}::"r"', "action": f'Action::"{ACTION}"', "resource": f'{RESOURCE}::"d"'}
    return [{**who, "context": cedar_context(facts)} for facts in points()]


def disagreements(pack: Pack, policies: str) -> int:
    """Count the points at which Cedar and the rules of a pack, read one by one, give different answers."""
    results = cedarpy.is_authorized_batch(
        requests(), cedarpy.PolicySet.from_str(policies), [], cedarpy.Schema.from_str(cedar_schema())
    )
    assert all(result.diagnostics.errors == [] for result in results)
    return sum(bool(r.allowed) != ours(pack, facts) for r, facts in zip(results, points(), strict=True))


def ours(pack: Pack, facts: Facts) -> bool:
    effects = {rule.effect for rule in pack.rules if rule.holds(facts)}
    return Effect.PERMIT in effects and Effect.DENY not in effects


@pytest.mark.parametrize("pack", PACKS.packs, ids=lambda pack: pack.id)
def test_cedar_validates_and_agrees_on_every_pack(pack: Pack) -> None:
    found = cedarpy.validate_policies(to_cedar(pack), cedar_schema())
    assert (found.validation_passed, found.errors) == (True, [])
    assert disagreements(pack, to_cedar(pack)) == 0


def test_a_planted_disagreement_is_seen() -> None:
    gdpr = PACKS.pack("gdpr")
    assert gdpr is not None
    without = replace(gdpr, rules=tuple(rule for rule in gdpr.rules if rule.id != "gdpr.objection"))
    assert disagreements(gdpr, to_cedar(without)) > 0
    turned = to_cedar(gdpr).replace("forbid (principal", "permit (principal", 1)
    assert disagreements(gdpr, turned) > 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('context.restriction == Flag::"yes"', 'context.restriction == Flag::"maybe"'),  # a value outside of its domain
        ('context.restriction == Flag::"yes"', 'context.restrictoin == Flag::"yes"'),  # no such fact
        ('context.restriction == Flag::"yes"', "context.restriction == true"),  # another type
    ],
)
def test_the_schema_closes_the_domains(right: str, wrong: str) -> None:
    policy = f"forbid (principal, action, resource) when {{ {right} }};"
    assert cedarpy.validate_policies(policy, cedar_schema()).validation_passed
    assert not cedarpy.validate_policies(policy.replace(right, wrong), cedar_schema()).validation_passed


def test_cedar_text_carries_ids_and_articles() -> None:
    gdpr = PACKS.pack("gdpr")
    assert gdpr is not None
    text = to_cedar(gdpr)
    assert '@id("gdpr.objection")' in text
    assert "GDPR Art 21(2)-(3)" in text
    assert text.count("permit (") == sum(r.effect is Effect.PERMIT for r in gdpr.rules)
    assert text.count("forbid (") == sum(r.effect is Effect.DENY for r in gdpr.rules)
