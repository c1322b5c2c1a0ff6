"""What holds for the whole fact space, proven by z3, and agreement with another engine (Cedar)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cedarpy
import pytest
import z3
from hypothesis import given, settings
from policies_builders import near_permits, values_of

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.cedar import to_cedar
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import Condition, Pack, Rule
from consent_gateway.policies.vocabulary import BY_NAME, FACTS

PACKS = load_builtin()
LAWS = [p for p in PACKS.packs if p.default_reason is not None]
VARS = {fact.name: z3.Int(fact.name) for fact in FACTS}
DOMAIN = z3.And([z3.And(VARS[f.name] >= 0, VARS[f.name] < len(f.values)) for f in FACTS])


def value(name: str, text: str) -> int:
    return BY_NAME[name].values.index(text)


def member(name: str, values: Iterable[str]) -> Any:
    return z3.Or([VARS[name] == value(name, v) for v in values])


def formula(condition: Condition) -> Any:
    return z3.And([member(name, values) for name, values in condition.allowed.items()])


def fires(rule: Rule) -> Any:
    return z3.And(formula(rule.when), *[z3.Not(formula(lifted)) for lifted in rule.unless])


def some(pack: Pack, effect: Effect) -> Any:
    return z3.Or([fires(rule) for rule in pack.rules if rule.effect is effect])


def permits(pack: Pack) -> Any:
    return z3.And(some(pack, Effect.PERMIT), z3.Not(some(pack, Effect.DENY)))


def counterexample(*claims: Any) -> dict[str, str] | None:
    solver = z3.Solver()
    solver.add(DOMAIN, *claims)
    if solver.check() == z3.unsat:
        return None
    model = solver.model()
    return {name: str(model.eval(variable, model_completion=True)) for name, variable in VARS.items()}


def pack(pack_id: str) -> Pack:
    found = PACKS.pack(pack_id)
    assert found is not None
    return found


def sends_email(*purposes: str) -> Any:
    return z3.And(
        member("purpose", purposes or ("direct_marketing", "personalised_marketing")), member("channel", ["email"])
    )


def test_no_combination_without_opt_in_permits_email_marketing_under_pipl() -> None:
    assert counterexample(permits(pack("pipl")), sends_email(), z3.Not(member("consent", ["given"]))) is None


def test_the_proof_is_not_vacuous_and_goes_red_under_gdpr() -> None:
    assert counterexample(permits(pack("pipl")), sends_email()) is not None
    found = counterexample(permits(pack("gdpr")), sends_email(), z3.Not(member("consent", ["given"])))
    assert found is not None  # the false claim has the soft opt-in as its counterexample
    assert found["basis"] == str(value("basis", "soft_opt_in"))


def test_the_proof_goes_red_for_a_planted_permit() -> None:
    hole = Rule(
        "pipl.hole",
        "x",
        "x",
        pack("pipl").rules[0].mark,
        Effect.PERMIT,
        Condition.of({"basis": ["contract"]}),
        "consent_valid",
    )
    kept = tuple(r for r in pack("pipl").rules if r.id != "pipl.no_consent")
    planted = replace(pack("pipl"), rules=(*kept, hole))
    assert counterexample(permits(planted), sends_email(), z3.Not(member("consent", ["given"]))) is not None


@pytest.mark.parametrize("law", ["gdpr", "uk", "pipl", "strict"])
def test_valid_consent_is_affirmative_and_evidenced_in_every_opt_in_law(law: str) -> None:
    weak = z3.And(z3.Not(member("affirmative", ["yes"])), member("basis", ["consent"]))
    claims = [permits(pack(law)), sends_email("personalised_marketing"), weak, member("subscriber", ["individual"])]
    assert counterexample(*claims) is None


@pytest.mark.parametrize("law", [p.id for p in LAWS])
@pytest.mark.parametrize(
    ("fact", "restricted"),
    [
        ("objection", "yes"),
        ("restriction", "yes"),
        ("sale_share_opt_out", "yes"),
        ("limit_sensitive", "yes"),
        ("gpc", "yes"),
        ("gpc", "seen_before"),
        ("personalisation_refused", "yes"),
        ("do_not_call", "yes"),
        ("suppressed", "all"),
        ("capped", "yes"),
    ],
)
def test_no_restriction_opens_a_law(law: str, fact: str, restricted: str) -> None:
    """For every point: if the law permits with the restriction, it permits without (LAW part 3)."""
    before = z3.substitute(permits(pack(law)), (VARS[fact], z3.IntVal(0)))
    after = z3.substitute(permits(pack(law)), (VARS[fact], z3.IntVal(value(fact, restricted))))
    assert counterexample(after, z3.Not(before)) is None


@pytest.mark.parametrize("law", [p.id for p in PACKS.packs])
def test_no_rule_is_dead(law: str) -> None:
    """Every rule can fire where its pack binds, and every permit rule can carry a permit."""
    binding = z3.Or([formula(t) for t in pack(law).territory])
    denied = some(pack(law), Effect.DENY)
    for rule in pack(law).rules:
        assert counterexample(fires(rule), binding) is not None, rule.id
        if rule.effect is Effect.PERMIT:
            assert counterexample(fires(rule), binding, z3.Not(denied)) is not None, rule.id


@pytest.mark.parametrize("law", [p.id for p in LAWS])
def test_product_policy_closes_every_law_after_an_objection_or_a_withdrawal(law: str) -> None:
    uses = ["direct_marketing", "personalised_marketing", "third_party_audience_sharing", "segmentation_for_marketing"]
    silent = z3.Not(some(pack("baseline"), Effect.DENY))
    closed = z3.Or(member("objection", ["yes"]), member("consent", ["withdrawn", "refused"]))
    assert counterexample(permits(pack(law)), silent, closed, member("purpose", uses)) is None


@lru_cache(maxsize=16)
def cedar_policies(pack_id: str) -> Any:
    return cedarpy.PolicySet.from_str(to_cedar(pack(pack_id)))


def cedar_permits(pack_id: str, facts: Facts) -> bool:
    request = {
        "principal": 'User::"p"',
        "action": 'Action::"use"',
        "resource": 'Data::"d"',
        "context": values_of(facts),
    }
    result = cedarpy.is_authorized(request, cedar_policies(pack_id), [])
    assert result.diagnostics.errors == []
    return bool(result.allowed)


def ours_permits(found: Pack, facts: Facts) -> bool:
    effects = {rule.effect for rule in found.rules if rule.holds(facts)}
    return Effect.PERMIT in effects and Effect.DENY not in effects


@settings(derandomize=True, deadline=None, max_examples=60)
@given(near_permits(5))
def test_cedar_agrees_on_every_law(facts: Facts) -> None:
    for law in LAWS:
        assert cedar_permits(law.id, facts) == ours_permits(law, facts), law.id


def test_cedar_text_carries_ids_and_articles() -> None:
    text = to_cedar(pack("gdpr"))
    assert '@id("gdpr.objection")' in text
    assert "GDPR Art 21(2)-(3)" in text
    assert text.count("permit (") == sum(r.effect is Effect.PERMIT for r in pack("gdpr").rules)
    assert text.count("forbid (") == sum(r.effect is Effect.DENY for r in pack("gdpr").rules)
