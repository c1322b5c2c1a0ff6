"""The vocabulary of an answer: may this person's data be used for this, in this way, now, and why.

An `Answer` is a value. It carries every rule that fired (denials first, then permits, then duties), the packs
that were asked with their versions, and a digest of the facts, so that a past answer can be replayed and
compared. `Stage` orders the denials the way an audience loses people: an audience's waterfall attributes a
loss to the first stage that blocks, which is not always the stage of the leading reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The two answers; there is no third."""

    PERMIT = "permit"
    DENY = "deny"


class Effect(StrEnum):
    """What a fired rule does: it permits, it denies (and wins), or it only adds obligations."""

    PERMIT = "permit"
    DENY = "deny"
    OBLIGE = "oblige"


class Stage(StrEnum):
    """Where a denial stands in the waterfall; declared in the order in which losses are attributed."""

    CONSENT = "consent"
    LAW = "law"
    SUPPRESSION = "suppression"
    CAP = "cap"
    QUIET_HOURS = "quiet_hours"


@dataclass(frozen=True, slots=True)
class Reason:
    """One fired rule: its code, stable id, law, article and text; `stage` is None unless it denies."""

    code: str
    rule_id: str
    law: str
    citation: str
    text_en: str
    text_zh: str
    stage: Stage | None
    effect: Effect


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a counterfactual: the fact would have to be `need` instead of `have`."""

    fact: str
    have: str
    need: str
    text_en: str
    text_zh: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision: `reason_code` is the leading reason's, `packs` are "id@version", `changes` only if explained."""

    outcome: Outcome
    reason_code: str
    reasons: tuple[Reason, ...]
    obligations: tuple[str, ...]
    packs: tuple[str, ...]
    facts_digest: str
    changes: tuple[Change, ...] = ()

    @property
    def permitted(self) -> bool:
        """Tell whether the answer is a permit."""
        return self.outcome is Outcome.PERMIT

    @property
    def leading(self) -> Reason:
        """Return the reason that gives the answer its code."""
        return self.reasons[0]

    def denials(self) -> Iterator[Reason]:
        """Yield the reasons that deny, the leading one first."""
        return (reason for reason in self.reasons if reason.effect is Effect.DENY)


_ORDER = {stage: place for place, stage in enumerate(Stage)}


def stage_of(answer: Answer) -> Stage | None:
    """Return the first stage, in waterfall order, at which the answer is blocked; None for a permit."""
    stages = [r.stage for r in answer.denials() if r.stage is not None]
    return min(stages, key=_ORDER.__getitem__) if stages else None


def blocking(answer: Answer) -> Reason | None:
    """Return the reason that a waterfall shows: the highest-ranked denial of the stage that blocks, or None."""
    stage = stage_of(answer)
    return next((r for r in answer.denials() if r.stage is stage), None)


def deny_by_default(code: str, en: str, zh: str) -> Answer:
    """Return a denial that no pack gives: the gateway lacks what it would need to ask one (promise P1)."""
    reason = Reason(code, f"gateway.{code}", "policy", "promise P1: deny by default", en, zh, Stage.LAW, Effect.DENY)
    return Answer(Outcome.DENY, code, (reason,), (), (), "")
