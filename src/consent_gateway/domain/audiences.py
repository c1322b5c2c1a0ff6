"""An audience: a segment resolved for a purpose, channel and recipient at an instant, with the losses explained.

People are decided by *class*: everything a decision can depend on is quantised into a `ClassKey`, so that a million
people are a few hundred decisions, and one person asked alone is decided by exactly the same key (promise P10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar

from consent_gateway.domain.consents import ConsentState
from consent_gateway.domain.decisions import Answer, blocking, stage_of

Name = TypeVar("Name", bound=str)

# Ages at which some law treats people differently: GDPR Art 8 with member states (13-16), PIPL Art 31 (14),
# 11 CCR 7070-7072 (13, 16), and majority.
AGE_BANDS = (0, 13, 14, 15, 16, 18)
UNKNOWN_AGE = -1
COVERED = 128  # beside the properties: the consent covers the recipient that is asked about
OUTDATED_NOTICE = 256  # beside the properties: it was given under a notice that was replaced since
CAPPED = 1  # the policy's own cap on the channel is reached
THREE_IN_24H = 2  # Fla. Stat. 501.616(6)(b) and its like

_STATE_CODES = {
    ConsentState.NONE: 0,
    ConsentState.WITHDRAWN: -1,
    ConsentState.REFUSED: -2,
    ConsentState.PENDING: -3,
    ConsentState.GIVEN: 1,
    ConsentState.EXPIRED: 2,
}
CODE_STATES = {code: state for state, code in _STATE_CODES.items()}


class ClassKey(NamedTuple):
    """Everything about a person that a decision can depend on, quantised; plain values, so that SQL can group by it.

    `age` is the lower bound of the band or -1, `consent` a code of `CODE_STATES`, `properties` those of the consent
    with `COVERED` and `OUTDATED_NOTICE` (0 unless consent is given), `caps` bits of `CAPPED` and `THREE_IN_24H`,
    `facts` bits of `circumstances.PointFact`, `recency` a code of `circumstances.recency_code`.
    """

    regions: str
    age: int
    flags: int
    consent: int
    properties: int
    caps: int
    facts: int = 0
    recency: int = 0


class LossStage(StrEnum):
    """Where people are lost, in this order."""

    SEGMENT = "segment"
    CONSENT = "consent"
    LAW = "law"
    SUPPRESSION = "suppression"
    CAP = "cap"
    QUIET_HOURS = "quiet_hours"
    REACHABLE = "reachable"


@dataclass(frozen=True, slots=True)
class Loss:
    """How many were lost at a stage, for which reasons, and how many remain after it; None: below the k-floor."""

    stage: LossStage
    lost: int | None
    remaining: int | None
    reasons: Mapping[str, int | None]


@lru_cache(maxsize=8192)
def age_band(birth_month: int | None, month: int) -> int:
    """Return the band of `AGE_BANDS` that is certainly reached in `month`, -1 if the birth date is unknown."""
    if birth_month is None:
        return UNKNOWN_AGE
    return max((band for band in AGE_BANDS if birth_month <= latest_birth_month(band, month)), default=0)


def latest_birth_month(age: int, month: int) -> int:
    """Return the latest month of birth at which `age` is certainly reached in `month`; see `subjects.age_in_month`."""
    return month - 1 - 12 * age


def consent_code(state: ConsentState) -> int:
    """Return the code of a state."""
    return _STATE_CODES[state]


def loss(answer: Answer, *, reachable: bool) -> tuple[LossStage | None, str]:
    """Return where a class is lost and the code to show for it; (None, "") if it remains."""
    reason = blocking(answer)
    if reason is not None:
        return LossStage((stage_of(answer) or LossStage.LAW).value), reason.code
    if not answer.permitted:
        return LossStage.LAW, answer.reason_code
    return (None, "") if reachable else (LossStage.REACHABLE, "no_contact_point")


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The losses stage by stage as they may be shown; `population` is None where it would give a small count away."""

    population: int | None
    losses: tuple[Loss, ...]


def waterfall(population: int, classes: Iterable[tuple[int, LossStage | None, str]], k_floor: int) -> Waterfall:
    """Return the losses for `(count, stage lost at, reason code)` of every class in the segment.

    A count of one to `k_floor - 1` people is withheld, and so is what would give it away by subtraction: the size of
    the audience is known, so withheld losses are at least two and stand for at least `k_floor` people together
    (complementary suppression), and a remainder is shown only where it follows from what is shown.
    """
    lost: dict[LossStage, Counter[str]] = {stage: Counter() for stage in LossStage}
    inside = 0
    for count, stage, code in classes:
        inside += count
        if stage is not None:
            lost[stage][code] += count
    lost[LossStage.SEGMENT]["not_in_segment"] = population - inside
    totals = {stage: sum(codes.values()) for stage, codes in lost.items()}
    parts = {stage: sum(count > 0 for count in codes.values()) for stage, codes in lost.items()}
    # A stage whose reasons stay plain even if all are withheld (each is one person) must not show its total either.
    bare = {s for s, codes in lost.items() if not is_ambiguous(codes, withhold(codes, k_floor), k_floor)}
    withheld = withhold(totals, k_floor, parts, bare)
    safe = is_ambiguous(totals, withheld, k_floor, parts)
    remaining = _remaining(population, totals, withheld, from_start=safe)
    return Waterfall(
        population if safe else None,
        tuple(_loss(stage, lost[stage], remaining[stage], k_floor, hidden=stage in withheld) for stage in LossStage),
    )


def withhold(
    counts: Mapping[Name, int],
    k_floor: int,
    parts: Mapping[Name, int] | None = None,
    bare: Collection[Name] = (),
) -> set[Name]:
    """Return which counts to withhold: the small and the `bare` ones, and the next smallest until all is ambiguous.

    `parts` says how many reasons each count is the sum of (1 by default).
    """
    chosen = {name for name, count in counts.items() if 0 < count < k_floor} | set(bare)
    others = sorted((count, str(name), name) for name, count in counts.items() if count > 0 and name not in chosen)
    while chosen and others and not is_ambiguous(counts, chosen, k_floor, parts):
        chosen.add(others.pop(0)[2])
    return chosen


def is_ambiguous(
    counts: Mapping[Name, int], withheld: Collection[Name], k_floor: int, parts: Mapping[Name, int] | None = None
) -> bool:
    """Tell whether the sum of the withheld counts, which subtraction gives, leaves each of them open.

    They are at least two, stand for at least `k_floor` people, and for more people than reasons: otherwise every
    reason would be one person.
    """
    if not withheld:
        return True
    total = sum(counts[name] for name in withheld)
    reasons = len(withheld) if parts is None else sum(parts[name] for name in withheld)
    return len(withheld) > 1 and total >= k_floor and total > reasons


def _remaining(
    population: int, totals: Mapping[LossStage, int], withheld: set[LossStage], *, from_start: bool
) -> dict[LossStage, int | None]:
    stages = list(LossStage)
    shown: dict[LossStage, int | None] = {}
    left = population
    for place, stage in enumerate(stages):
        left -= totals[stage]
        follows_start = from_start and withheld.isdisjoint(stages[: place + 1])
        follows_end = withheld.isdisjoint(stages[place + 1 :])
        shown[stage] = left if follows_start or follows_end else None
    return shown


def _loss(stage: LossStage, codes: Counter[str], remaining: int | None, k_floor: int, *, hidden: bool) -> Loss:
    counts = {code: count for code, count in sorted(codes.items()) if count}
    if hidden:
        return Loss(stage, None, remaining, dict.fromkeys(counts))
    closed = withhold(counts, k_floor)
    return Loss(
        stage,
        sum(counts.values()),
        remaining,
        {code: None if code in closed else count for code, count in counts.items()},
    )
