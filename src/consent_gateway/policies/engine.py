"""Decide and explain: the two questions that the rest of the gateway asks of the law.

`decide` is a pure function of packs and facts: deny by default, denial wins, an error denies. It runs the compiled
program; `decide_by_reading` evaluates the same rules one fact at a time, slowly and plainly, and is what the
program is tested against.

`explain` adds the counterfactual: the smallest change of facts that would turn a denial into a permit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from consent_gateway.domain.decisions import Answer, Effect, Outcome, Stage
from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.policies.combine import DEFAULT, Reasons, Verdict, combine, denial
from consent_gateway.policies.compile import program
from consent_gateway.policies.counterfactual import smallest_change
from consent_gateway.policies.facts import Question, Situation, build
from consent_gateway.policies.rules import MARKETING, Pack, PackSet, ReasonText
from consent_gateway.policies.vocabulary import Facts, UnknownFactError

RIGHTS: frozenset[PurposeKind] = frozenset({PurposeKind.ERASURE_SUPPRESSION_CHECK, PurposeKind.REQUEST_RECORD_KEEPING})


_WITHOUT_PACKS = {
    "policy_unavailable": ReasonText(
        "policy_unavailable",
        0,
        Stage.LAW,
        "The policy packs are not available; the use is denied.",
        "策略包不可用,拒绝使用。",
    ),
    "rights_fail_open": ReasonText(
        "rights_fail_open",
        1,
        None,
        "What serves a person's rights goes on without packs.",
        "策略包不可用时仍受理权利请求。",
    ),
}


def decide(packs: PackSet, facts: Facts) -> Answer:
    """Answer by the compiled packs; the same facts and packs give the same answer and reasons."""
    return program(packs).decide(facts)


def decide_for(packs: PackSet, question: Question, situation: Situation) -> Answer:
    """Build the facts and decide; a value outside of its domain denies with `facts_unknown` (promise P1)."""
    try:
        facts = build(question, situation)
    except UnknownFactError as error:
        return deny_unknown(packs, error.detail)
    return decide(packs, facts)


def decide_values(packs: PackSet, values: Mapping[str, str]) -> Answer:
    """Decide from plain names and values; an unknown name or value, or a missing fact, denies."""
    try:
        facts = Facts.of(values)
    except UnknownFactError as error:
        return deny_unknown(packs, error.detail)
    return decide(packs, facts)


def deny_unknown(packs: PackSet, problem: str) -> Answer:
    """Deny because a fact is outside of its domain; `problem` names the fact and not its value."""
    return denial(program(packs).reasons, "facts_unknown", problem, "")


def decide_without_packs(purpose: PurposeKind) -> Answer:
    """Answer while no packs can be had: closed for every use, open for what serves a person's rights (LAW 2.6)."""
    reasons = Reasons.of(PackSet((), _WITHOUT_PACKS))
    if purpose not in RIGHTS:
        return denial(reasons, "policy_unavailable", "promise P1: no packs, no use", "")
    permit = reasons.synthetic("rights_fail_open", "rights", "policy: rights fail open")
    return Answer(Outcome.PERMIT, permit.code, (permit,), (), (), "")


def decide_by_reading(packs: PackSet, facts: Facts) -> Answer:
    """Answer by reading each rule fact by fact: the reference for `decide`."""
    reasons = Reasons.of(packs)
    verdicts = [_read(pack, reasons, facts) for pack in packs.packs if pack.binds(facts)]
    marketing = facts["purpose"] in MARKETING
    return combine(reasons, verdicts, facts.digest(), marketing=marketing)


def _read(pack: Pack, reasons: Reasons, facts: Facts) -> Verdict:
    fired = [rule for rule in pack.rules if rule.holds(facts)]
    effects = {rule.effect for rule in fired}
    numbers = [reasons.number[rule.id] for rule in fired]
    denies = Effect.DENY in effects
    if pack.default_reason is not None and not denies and Effect.PERMIT not in effects:
        denies = True
        numbers.append(reasons.number[f"{pack.id}.{DEFAULT}"])
    return Verdict(pack.name, pack.jurisdiction, denies, numbers)


def explain(packs: PackSet, facts: Facts) -> Answer:
    """Decide, and add to a denial the smallest change of at most three facts that would permit, if there is one."""
    answer = decide(packs, facts)
    if answer.permitted:
        return answer
    return replace(answer, changes=smallest_change(packs, facts))


def explain_for(packs: PackSet, question: Question, situation: Situation) -> Answer:
    """Build the facts and explain; a value outside of its domain denies with `facts_unknown` (promise P1)."""
    try:
        facts = build(question, situation)
    except UnknownFactError as error:
        return deny_unknown(packs, error.detail)
    return explain(packs, facts)
