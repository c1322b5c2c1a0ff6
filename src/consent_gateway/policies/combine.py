"""Join what the laws say into one answer.

1. A pack that binds denies if a deny rule fires, or if no permit rule does and it does not abstain.
2. The packs of one jurisdiction are one voice: it permits if none of them denies.
3. Across jurisdictions and product policy denial overrides; no jurisdiction at all is a denial (LAW part 2.3-2.4),
   and so is a set of laws of which none permits because all abstain (promise P1).
4. Every fired rule is a reason; denials come first, each group by rank and then by rule id, so that the order
   of packs and rules in their files changes nothing. The first reason leads.
5. Two readings of the set lead in their own right: `strictest_of_set` where jurisdictions disagree about the basis
   (whether consent is needed, and of what kind), `strictest_profile_satisfied` where several permit marketing.
6. Obligations are united: those of permit rules if the answer permits, those of oblige rules always, but for those
   that concern a message alone (`when_permitted`).

Reasons are prepared once per pack set and numbered in their final order, so that joining is sorting small
integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consent_gateway.domain.decisions import Answer, Effect, Outcome, Reason, Stage
from consent_gateway.policies.rules import POLICY, Pack, PackSet

_EFFECTS = {Effect.DENY: 0, Effect.PERMIT: 1, Effect.OBLIGE: 2}
DEFAULT = "default"  # the suffix of the id under which a pack's default denial is cited
ENGINE = "engine"
# Reasons of the stage "law" that say what the stage "consent" says: there is no basis under that law.
_BASES = frozenset({"basis_not_available", "no_legal_basis", "jurisdiction_unknown"})


class Verdict(NamedTuple):
    """What one binding pack says: the numbers of its fired reasons. A tuple, because one is made per decision."""

    name: str
    jurisdiction: str
    denies: bool
    fired: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Reasons:
    """All reasons of a pack set in their final order, with the number of each rule and of each pack's default."""

    ordered: tuple[Reason, ...]
    obligations: tuple[tuple[str, ...], ...]
    number: dict[str, int]
    first_permit: int  # numbers below deny
    first_duty: int  # numbers from here on only oblige
    standing: frozenset[int]  # of those, the duties that a denial brings too
    catalogue: PackSet

    @classmethod
    def of(cls, packs: PackSet) -> Reasons:
        """Prepare the reasons of `packs`."""
        entries = [entry for pack in packs.packs for entry in _entries(packs, pack)]
        entries.sort(key=lambda entry: _place(packs, entry[0]))
        reasons = tuple(reason for reason, _ in entries)
        number = {reason.rule_id: place for place, reason in enumerate(reasons)}
        effects = [reason.effect for reason in reasons]
        denials, duties = effects.count(Effect.DENY), effects.count(Effect.OBLIGE)
        obligations = tuple(found for _, found in entries)
        first_duty = len(effects) - duties
        idle = {number[rule.id] for pack in packs.packs for rule in pack.rules if rule.when_permitted}
        standing = frozenset(range(first_duty, len(effects))) - idle
        return cls(reasons, obligations, number, denials, first_duty, standing, packs)

    def synthetic(self, code: str, rule: str, citation: str, stage: Stage | None = None) -> Reason:
        """Return a reason that no rule of a pack gives, such as an error's."""
        text = self.catalogue.reasons.get(code)
        effect = Effect.PERMIT if text is not None and text.stage is None else Effect.DENY
        texts = (text.en, text.zh) if text else (code, code)
        found = stage if stage is not None else (text.stage if text else Stage.LAW)
        return Reason(code, f"{ENGINE}.{rule}", POLICY, citation, *texts, found, effect)


def _entries(packs: PackSet, pack: Pack) -> Iterable[tuple[Reason, tuple[str, ...]]]:
    for rule in pack.rules:
        text = packs.reasons[rule.reason]
        stage = text.stage if rule.effect is Effect.DENY else None
        reason = Reason(text.code, rule.id, rule.law, rule.cites, text.en, text.zh, stage, rule.effect)
        yield reason, rule.obligations
    if pack.default_reason is not None:
        text = packs.reasons[pack.default_reason]
        rule_id, cites = f"{pack.id}.{DEFAULT}", f"{pack.title}: no rule permits this"
        yield Reason(text.code, rule_id, pack.id, cites, text.en, text.zh, text.stage, Effect.DENY), ()


def _place(packs: PackSet, reason: Reason) -> tuple[int, int, bool, str]:
    """Denials, permits, duties; then the catalogue's rank; a law before product policy; then the id."""
    rank = packs.reasons[reason.code].rank
    return _EFFECTS[reason.effect], rank, reason.law == POLICY, reason.rule_id


def combine(reasons: Reasons, verdicts: Sequence[Verdict], digest: str, *, marketing: bool) -> Answer:
    """Return the answer; `marketing` tells whether the purpose is one that is denied by default everywhere."""
    fired = [reasons.ordered[n] for n in sorted([n for verdict in verdicts for n in verdict.fired])]
    voices = _voices(verdicts)
    names = tuple(verdict.name for verdict in verdicts)
    if not voices:
        denials = sum(reason.effect is Effect.DENY for reason in fired)
        fired.insert(denials, reasons.synthetic("jurisdiction_unknown", "no_law", "policy: no covered law applies"))
    elif not any(verdict.denies for verdict in verdicts) and not _some_law_permits(reasons, verdicts):
        fired.insert(0, reasons.synthetic("no_legal_basis", "no_permit", "policy: every law that applies abstains"))
    elif not any(verdict.denies for verdict in verdicts):
        return _permit(reasons, verdicts, fired, names, digest, several=marketing and len(voices) > 1)
    if _disagreement(verdicts, voices, fired[0]):
        stage = fired[0].stage
        fired.insert(0, reasons.synthetic("strictest_of_set", "strictest_of_set", "GDPR Art 3(1); policy", stage))
    duties = _united(reasons, verdicts, permits=False)
    return Answer(Outcome.DENY, fired[0].code, tuple(fired), duties, names, digest)


def _some_law_permits(reasons: Reasons, verdicts: Iterable[Verdict]) -> bool:
    """Tell whether a permit rule of a law fired: laws that all abstain permit nothing (promise P1)."""
    permits = range(reasons.first_permit, reasons.first_duty)
    return any(n in permits for verdict in verdicts if verdict.jurisdiction != POLICY for n in verdict.fired)


def _voices(verdicts: Iterable[Verdict]) -> dict[str, bool]:
    """Return what each jurisdiction says: True if it permits."""
    voices: dict[str, bool] = {}
    for verdict in verdicts:
        if verdict.jurisdiction != POLICY:
            voices[verdict.jurisdiction] = voices.get(verdict.jurisdiction, True) and not verdict.denies
    return voices


def _disagreement(verdicts: Sequence[Verdict], voices: dict[str, bool], first: Reason) -> bool:
    """Laws disagree only if product policy is silent, and only about the basis: an hour or a transfer is just that."""
    policy_denies = any(v.denies for v in verdicts if v.jurisdiction == POLICY)
    about_basis = first.stage is Stage.CONSENT or first.code in _BASES
    return not policy_denies and len(set(voices.values())) > 1 and about_basis


def _permit(
    reasons: Reasons,
    verdicts: Sequence[Verdict],
    fired: list[Reason],
    names: tuple[str, ...],
    digest: str,
    *,
    several: bool,
) -> Answer:
    if several:
        fired.insert(
            0, reasons.synthetic("strictest_profile_satisfied", "every_law", "policy: every law that may apply permits")
        )
    duties = _united(reasons, verdicts, permits=True)
    return Answer(Outcome.PERMIT, fired[0].code, tuple(fired), duties, names, digest)


def _united(reasons: Reasons, verdicts: Iterable[Verdict], *, permits: bool) -> tuple[str, ...]:
    """Unite the obligations, each once, in the order of the reasons that bring them."""
    fired = [n for verdict in verdicts for n in verdict.fired]
    numbers = sorted(fired if permits else [n for n in fired if n in reasons.standing])
    return tuple(dict.fromkeys([duty for n in numbers for duty in reasons.obligations[n]]))


def denial(reasons: Reasons, code: str, citation: str, digest: str) -> Answer:
    """Return a denial for which no rule is responsible: an error, unknown facts, no packs (promise P1)."""
    reason = reasons.synthetic(code, code, citation)
    return Answer(Outcome.DENY, code, (reason,), (), (), digest)


def with_digest(answer: Answer, digest: str) -> Answer:
    """Return the same answer for facts that differ only where no rule looks."""
    # Spelt out: `dataclasses.replace` takes three times as long, and this is made for every decision.
    a = answer
    return Answer(a.outcome, a.reason_code, a.reasons, a.obligations, a.packs, digest, a.changes)
