"""Prove a claim about all answers, or give a point at which it fails.

The claim's negation is a formula over the fact space (`formulas`); the search for a point that satisfies it is
complete, so finding none is a proof for every well-formed point, whether or not a person can be in it. A point that
is found is as close to a neutral person as the search left it free to be, and is put to the engine: if the engine does
not fail the claim there, the search and the engine disagree, and that is an error and never a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.purposes import Channel, PurposeKind
from consent_gateway.errors import InputError, PolicyError
from consent_gateway.policies.engine import explain
from consent_gateway.policies.facts import Facts, Question, Situation, build
from consent_gateway.policies.proof import formulas
from consent_gateway.policies.proof.claims import SETS, Claim, Sets, Verb, formula_of, parse_claim, reads
from consent_gateway.policies.proof.formulas import Formula, OutOfTimeError, every, negated, satisfy
from consent_gateway.policies.rules import PackSet
from consent_gateway.policies.vocabulary import FIELD

NEUTRAL = build(Question(purpose_kind=PurposeKind.DIRECT_MARKETING, channel=Channel.EMAIL), Situation())
_SHOWN = frozenset({"purpose", "channel"})


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of a claim: proven, or a point at which it fails with the answer there, or neither in time."""

    claim: Claim
    facts: Facts | None = None
    answer: Answer | None = None
    finished: bool = True

    @property
    def proved(self) -> bool:
        """Tell whether the claim holds at every point."""
        return self.finished and self.facts is None

    def differing(self) -> dict[str, str]:
        """Return the facts of the counterexample that are not neutral, and its purpose and channel."""
        facts = self.facts or NEUTRAL
        return {name: value for name, value in facts.items() if value != NEUTRAL[name] or name in _SHOWN}


def prove(packs: PackSet, claim: Claim) -> Proof:
    """Prove `claim` for `packs`; raises `InputError` if it names a pack, duty or reason that they do not have.

    Within `formulas.watched` the time may end: then it is neither proven nor refuted.
    """
    packs = _named(packs, claim)
    try:
        box = satisfy(_failing(packs, claim))
    except OutOfTimeError:
        return Proof(claim, finished=False)
    if box is None:
        return Proof(claim)
    facts = nearest(box)
    answer = explain(packs, facts)
    if not fails(claim, facts, answer):
        raise PolicyError("the search found a counterexample that the engine does not confirm")
    return Proof(claim, facts, answer)


def nearest(box: int) -> Facts:
    """Return the point of a box that takes the neutral value wherever it is open."""
    bits = 0
    for field in FIELD.values():
        values = box & field
        neutral = values & NEUTRAL.bits
        bits |= neutral or values & -values
    return Facts(bits)


def fails(claim: Claim, facts: Facts, answer: Answer) -> bool:
    """Tell whether an answer goes against a claim; read fact by fact, for what the search finds is checked with it."""
    if not reads(claim.where, facts):
        return False
    if claim.verb in {Verb.ALWAYS_OBLIGE, Verb.NEVER_OBLIGE}:
        carried = claim.name in answer.obligations
        return carried if claim.verb is Verb.NEVER_OBLIGE else answer.permitted and not carried
    if claim.verb in {Verb.ALWAYS_CITE, Verb.NEVER_CITE}:
        cited = claim.name in {reason.code for reason in answer.reasons}
        return cited if claim.verb is Verb.NEVER_CITE else not cited
    if claim.verb in {Verb.PERMIT_IMPLIES, Verb.DENY_IMPLIES}:
        return answer.permitted is (claim.verb is Verb.PERMIT_IMPLIES) and not reads(claim.implied, facts)
    return answer.permitted is (claim.verb is Verb.NEVER_PERMIT)


def _failing(packs: PackSet, claim: Claim) -> Formula:
    """Return the formula of the points at which a claim fails."""
    where, permits = formula_of(claim.where), formulas.permits(packs)
    if claim.pack:
        where = every(where, formulas.binds(packs.packs[0]))
    if claim.verb is Verb.NEVER_PERMIT:
        return every(where, permits)
    if claim.verb is Verb.ALWAYS_PERMIT:
        return every(where, negated(permits))
    if claim.verb is Verb.PERMIT_IMPLIES:
        return every(where, negated(formula_of(claim.implied)), permits)
    if claim.verb is Verb.DENY_IMPLIES:
        return every(where, negated(formula_of(claim.implied)), negated(permits))
    return every(where, _naming(packs, claim, permits))


def _naming(packs: PackSet, claim: Claim, permits: Formula) -> Formula:
    if claim.verb is Verb.ALWAYS_CITE:
        return negated(formulas.cites(packs, claim.name))
    if claim.verb is Verb.NEVER_CITE:
        return formulas.cites(packs, claim.name)
    if claim.verb is Verb.ALWAYS_OBLIGE:
        return every(permits, negated(formulas.brings(packs, claim.name, permitted=True)))
    told = every(permits, formulas.brings(packs, claim.name, permitted=True))
    return formulas.some((told, formulas.brings(packs, claim.name, permitted=False)))


def _named(packs: PackSet, claim: Claim) -> PackSet:
    """Return the packs that a claim is about; raises `InputError` for names that none of them has."""
    if claim.pack:
        pack = packs.pack(claim.pack)
        if pack is None:
            raise InputError(f"claim: there is no pack {claim.pack!r}")
        packs = replace(packs, packs=(pack,))
    rules = [rule for pack in packs.packs for rule in pack.rules]
    if claim.verb in {Verb.ALWAYS_OBLIGE, Verb.NEVER_OBLIGE}:
        if not any(claim.name in rule.obligations for rule in rules):
            raise InputError(f"claim: no rule brings the duty {claim.name!r}")
    elif claim.name and claim.name not in {rule.reason for rule in rules} | {p.default_reason for p in packs.packs}:
        raise InputError(f"claim: no rule gives the reason {claim.name!r}")
    return packs


@dataclass(frozen=True, slots=True)
class NamedClaim:
    """A claim of a file: its id, what it says in words, and the law it stands for."""

    id: str
    says: str
    cites: str
    claim: Claim


def read_claims(document: Mapping[str, Any]) -> list[NamedClaim]:
    """Read a file of claims (`sets`, `claims` with `id`, `says`, `cites`, `claim`); raises `InputError` with the id."""
    sets: Sets = {
        **SETS,
        **{name: frozenset(map(str, values)) for name, values in (document.get("sets") or {}).items()},
    }
    entries = document.get("claims")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("a file of claims is an object with a list `claims` of objects")
    found = [_read(place, entry, sets) for place, entry in enumerate(entries, 1)]
    repeated = next((each.id for n, each in enumerate(found) if each.id in {other.id for other in found[:n]}), None)
    if repeated is not None:
        raise InputError(f"claim {repeated}: the id is repeated")
    return found


def _read(place: int, entry: Mapping[str, Any], sets: Sets) -> NamedClaim:
    name = entry.get("id")
    missing = next((key for key in ("id", "claim") if not isinstance(entry.get(key), str)), None)
    if missing is not None:
        raise InputError(f"claim {name or place}: `{missing}` must be text")
    try:
        claim = parse_claim(entry["claim"], sets)
    except InputError as error:
        raise InputError(f"claim {name}: {error.detail}") from None
    return NamedClaim(str(name), str(entry.get("says", "")), str(entry.get("cites", "")), claim)
