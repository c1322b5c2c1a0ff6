"""An audience: a segment resolved for a purpose, channel and recipient at an instant, with the losses explained.

People are decided by *class*: everything a decision can depend on is quantised into a `ClassKey`, so that a million
people are a few hundred decisions, and one person asked alone is decided by exactly the same key (promise P10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from consent_gateway.domain.consents import FOREVER, NEVER, ConsentState, state_of
from consent_gateway.domain.decisions import Answer, blocking, stage_of

# Ages at which some law treats people differently: GDPR Art 8 with member states (13-16), PIPL Art 31 (14),
# 11 CCR 7070-7072 (13, 16), and majority.
AGE_BANDS = (0, 13, 14, 15, 16, 18)
UNKNOWN_AGE = -1
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

    `age` is the lower bound of the band or -1, `consent` a code of `CODE_STATES`, `properties` the property column
    masked to what the question can use (0 unless consent is given), `caps` bits of `CAPPED` and `THREE_IN_24H`.
    """

    regions: str
    age: int
    flags: int
    consent: int
    properties: int
    caps: int


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


@dataclass(frozen=True, slots=True)
class ClassMask:
    """Which bits of a row one question can use; what is masked away cannot split a class."""

    flags: int
    properties: int


@lru_cache(maxsize=8192)
def age_band(birth_month: int | None, month: int) -> int:
    """Return the band of `AGE_BANDS` that is certainly reached in `month`, -1 if the birth date is unknown."""
    if birth_month is None:
        return UNKNOWN_AGE
    return max((band for band in AGE_BANDS if birth_month <= latest_birth_month(band, month)), default=0)


def latest_birth_month(age: int, month: int) -> int:
    """Return the latest month of birth at which `age` is certainly reached in `month`; see `subjects.age_in_month`."""
    return month - 1 - 12 * age


def consent_code(until: int, now: int) -> int:
    """Return the code of a standing at `now`."""
    return _STATE_CODES[state_of(until, now)]


def until_of(code: int, now: int) -> int:
    """Return some valid-until that has this code at `now`; for tests and simulations."""
    return {0: NEVER, 1: FOREVER, 2: now}.get(code, code)


def loss(answer: Answer, *, reachable: bool) -> tuple[LossStage | None, str]:
    """Return where a class is lost and the code to show for it; (None, "") if it remains."""
    reason = blocking(answer)
    if reason is not None:
        return LossStage((stage_of(answer) or LossStage.LAW).value), reason.code
    if not answer.permitted:
        return LossStage.LAW, answer.reason_code
    return (None, "") if reachable else (LossStage.REACHABLE, "no_contact_point")


def waterfall(population: int, classes: Iterable[tuple[int, LossStage | None, str]], k_floor: int) -> tuple[Loss, ...]:
    """Return the losses stage by stage for `(count, stage lost at, reason code)` of every class in the segment.

    Counts of one to `k_floor - 1` people are withheld, and so is what would give them away by subtraction.
    """
    lost: dict[LossStage, Counter[str]] = {stage: Counter() for stage in LossStage}
    inside = 0
    for count, stage, code in classes:
        inside += count
        if stage is not None:
            lost[stage][code] += count
    lost[LossStage.SEGMENT]["not_in_segment"] = population - inside
    return _with_floor(population, lost, k_floor)


def _with_floor(population: int, lost: Mapping[LossStage, Counter[str]], k_floor: int) -> tuple[Loss, ...]:
    remaining = population
    losses = []
    for stage in LossStage:
        total = sum(lost[stage].values())
        remaining -= total
        reasons = {code: floor(count, k_floor) for code, count in sorted(lost[stage].items()) if count}
        withheld = any(count is None for count in reasons.values())
        if withheld and sum(count is None for count in reasons.values()) == 1 and len(reasons) > 1:
            # One hidden addend is the total less the others: hide the total of the stage as well.
            losses.append(Loss(stage, None, floor(remaining, k_floor), reasons))
            continue
        losses.append(Loss(stage, floor(total, k_floor), floor(remaining, k_floor), reasons))
    return tuple(losses)


def floor(count: int, k_floor: int) -> int | None:
    """Return `count`, or None where it stands for fewer than `k_floor` people (but not for nobody)."""
    return None if 0 < count < k_floor else count
