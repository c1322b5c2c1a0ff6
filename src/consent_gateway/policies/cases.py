"""Run the decision cases that compliance officers exchange (`law_cases.json`): facts in, answers compared.

What a case leaves out comes from the file's `defaults`. A value that the vocabulary does not know denies, as it
would in service (promise P1), and a field that no translation reads is reported beside the result, so that nobody
takes half a case for a whole one. A case is answered by the rules in force on its own day, `now`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.errors import InputError
from consent_gateway.policies.engine import decide_for, decide_without_packs, deny_unknown
from consent_gateway.policies.rules import PackSet
from consent_gateway.policies.translation import DEFAULTS, Given, question_of, situation_of, unread_fields


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case compared: it holds if outcome and reason are as expected and no expected obligation is missing."""

    id: str
    expected: str
    got: str
    reason_expected: str
    reason_got: str
    missing_obligations: tuple[str, ...]
    basis_kind: str
    citation: str
    answer: Answer
    unread: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Tell whether the case is answered as expected."""
        same = (self.expected, self.reason_expected) == (self.got, self.reason_got)
        return same and not self.missing_obligations


def run_cases(packs: PackSet, document: Mapping[str, Any], today: date | None = None) -> list[CaseResult]:
    """Answer every case of `document`; raises `InputError` if the file is not of the format.

    A case without a day of its own is answered by the rules in force `today`, or without it by all rules.
    """
    cases = document.get("cases")
    if not isinstance(cases, list):
        raise InputError("a case file is an object with a list `cases`")
    defaults = {**DEFAULTS, **document.get("defaults", {})}
    current = packs if today is None else packs.in_force(today)
    return [_run(packs if "now" in {**defaults, **_given(case)} else current, case, defaults) for case in cases]


def _given(case: Mapping[str, Any]) -> Given:
    found = case.get("given") if isinstance(case, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _run(packs: PackSet, case: Mapping[str, Any], defaults: Given) -> CaseResult:
    try:
        given, expected = case["given"], [str(case[name]) for name in ("id", "expected", "reason_code")]
        answer = answer_case(packs, given, defaults)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"case {case.get('id', '?')}: {type(error).__name__}: {error}") from None
    return CaseResult(
        id=expected[0],
        expected=expected[1],
        got=str(answer.outcome),
        reason_expected=expected[2],
        reason_got=answer.reason_code,
        missing_obligations=tuple(d for d in case.get("obligations") or () if d not in answer.obligations),
        basis_kind=str(case.get("basis_kind", "")),
        citation=str(case.get("citation", "")),
        answer=answer,
        unread=unread_fields(given),
    )


def answer_case(packs: PackSet, given: Given, defaults: Given = DEFAULTS) -> Answer:
    """Answer the facts of one case; a value outside of the vocabulary denies, a field of a wrong type raises."""
    facts = {**DEFAULTS, **defaults, **given}
    facts["message"] = {**defaults.get("message", {}), **given.get("message", {})}
    try:
        if not facts["policy_available"]:
            return decide_without_packs(PurposeKind(facts["purpose"]))
        question, situation = question_of(facts), situation_of(facts)
    except ValueError as error:
        return deny_unknown(packs, str(error))
    return decide_for(_rules_of(packs, situation.today), question, situation)


@lru_cache(maxsize=64)
def _rules_of(packs: PackSet, day: date | None) -> PackSet:
    """Return the packs with the rules that are in force on the day that a case speaks of."""
    return packs if day is None else packs.in_force(day)
