"""Packs as formulas of z3, written from the rules and from nothing that the prover under test uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import z3

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.proof.claims import All, Claim, Either, Is, Not, Verb, Where
from consent_gateway.policies.rules import POLICY, Condition, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME, FACTS

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


def binding(pack: Pack) -> Any:
    return z3.Or([formula(territory) for territory in pack.territory])


def some(pack: Pack, effect: Effect) -> Any:
    return z3.Or([fires(rule) for rule in pack.rules if rule.effect is effect])


def permits(pack: Pack) -> Any:
    return z3.And(some(pack, Effect.PERMIT), z3.Not(some(pack, Effect.DENY)))


def denies(pack: Pack) -> Any:
    silent = z3.BoolVal(False) if pack.default_reason is None else z3.Not(some(pack, Effect.PERMIT))  # noqa: FBT003
    return z3.And(binding(pack), z3.Or(some(pack, Effect.DENY), silent))


def answer_permits(packs: PackSet) -> Any:
    laws = [pack for pack in packs.packs if pack.jurisdiction != POLICY]
    permitting = z3.Or([z3.And(binding(law), some(law, Effect.PERMIT)) for law in laws])
    return z3.And(permitting, *[z3.Not(denies(pack)) for pack in packs.packs])


def where(condition: Where) -> Any:
    if isinstance(condition, Is):
        return member(condition.fact, condition.values)
    if isinstance(condition, Not):
        return z3.Not(where(condition.part))
    parts = [where(part) for part in condition.parts]
    assert isinstance(condition, All | Either)
    return z3.And(parts) if isinstance(condition, All) else z3.Or(parts)


def failing(packs: PackSet, claim: Claim) -> Any:
    """The points at which a claim about outcomes or reasons fails."""
    permitted = answer_permits(packs)
    told = {
        Verb.NEVER_PERMIT: lambda: permitted,
        Verb.ALWAYS_PERMIT: lambda: z3.Not(permitted),
        Verb.PERMIT_IMPLIES: lambda: z3.And(permitted, z3.Not(where(claim.implied))),
        Verb.DENY_IMPLIES: lambda: z3.And(z3.Not(permitted), z3.Not(where(claim.implied))),
        Verb.ALWAYS_CITE: lambda: z3.Not(citing(packs, claim.name)),
        Verb.NEVER_CITE: lambda: citing(packs, claim.name),
        Verb.ALWAYS_OBLIGE: lambda: z3.And(permitted, z3.Not(obliging(packs, claim.name))),
    }
    return z3.And(where(claim.where), told[claim.verb]())


def citing(packs: PackSet, code: str) -> Any:
    return z3.Or([z3.And(binding(p), fires(r)) for p in packs.packs for r in p.rules if r.reason == code])


def obliging(packs: PackSet, duty: str) -> Any:
    carriers = [(p, r) for p in packs.packs for r in p.rules if duty in r.obligations]
    return z3.Or([z3.And(binding(p), fires(r)) for p, r in carriers])


def counterexample(*claims: Any) -> dict[str, str] | None:
    solver = z3.Solver()
    solver.add(DOMAIN, *claims)
    if solver.check() == z3.unsat:
        return None
    model = solver.model()
    return {name: str(model.eval(variable, model_completion=True)) for name, variable in VARS.items()}
