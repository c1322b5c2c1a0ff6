"""Run the decision cases that compliance officers exchange (`law_cases.json`): facts in, answers compared.

A case file is an object, as JSON or as YAML: `defaults` (what a case leaves out) and `cases`, each with `id`, `given`,
`expected` (permit or deny) and `reason_code`; optional are `obligations`, `basis_kind`, `citation`. A value that the
vocabulary does not know denies, as it would in service (promise P1). A field that no translation reads, or a value of
another type, is a problem of the case: it is named and the case does not hold, so that nobody takes half a case for
a whole one. A case is answered by the rules in force on its own day, `now`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from consent_gateway.domain.decisions import Answer, Effect, Outcome, Reason
from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.errors import InputError, PolicyError
from consent_gateway.policies.cases.fields import problems_of
from consent_gateway.policies.cases.translation import DEFAULTS, Given, question_of, situation_of, unread_fields
from consent_gateway.policies.documents import document
from consent_gateway.policies.engine import decide_for, decide_without_packs, deny_unknown, explain_for
from consent_gateway.policies.rules import PackSet

BINDING = frozenset({"statute", "regulation"})
_OUTCOMES = frozenset(Outcome)
MAX_CASE_NODES = 1_000_000  # some ten thousand cases


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
    problems: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Tell whether the case is answered as expected."""
        same = (self.expected, self.reason_expected) == (self.got, self.reason_got)
        return same and not self.missing_obligations and not self.problems

    @property
    def binding(self) -> bool:
        """Tell whether the case states what the law says, rather than a regulator's view or a shipped default."""
        return self.basis_kind in BINDING

    @property
    def deciding(self) -> tuple[Reason, ...]:
        """Return the reasons that made the answer: the denials of a denial, the permits of a permit."""
        effect = Effect.PERMIT if self.answer.permitted else Effect.DENY
        return tuple(reason for reason in self.answer.reasons if reason.effect is effect)


def parse_cases(name: str, text: str) -> Mapping[str, Any]:
    """Read a file that holds an object; JSON where the name ends so, else YAML. Raises `InputError` that names it."""
    found = _json(name, text) if name.endswith(".json") else _yaml(name, text)
    if not isinstance(found, dict):
        raise InputError(f"{name}: the file must hold an object")
    return found


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}, line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{name}: the text nests too deeply") from None


def _yaml(name: str, text: str) -> Any:
    """Read YAML as strictly as a pack: of a key that is given twice half a case would be lost in silence."""
    try:
        return _plain(document(name, text, MAX_CASE_NODES)[1])
    except PolicyError as error:
        raise InputError(error.detail) from None


def _plain(value: Any) -> Any:
    """Undo what YAML makes of bare dates, so that both forms of a file give the same case."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def run_cases(packs: PackSet, file: Mapping[str, Any], today: date | None = None) -> list[CaseResult]:
    """Answer every case of `file`; raises `InputError` if the file is not of the format.

    A case without a day of its own is answered by the rules in force `today`, or without it by all rules.
    """
    cases = file.get("cases")
    if not isinstance(cases, list):
        raise InputError("a case file is an object with a list `cases`")
    given = file.get("defaults") or {}
    if not isinstance(given, dict):
        raise InputError("`defaults` must be an object")
    if problems := problems_of(given):
        raise InputError(f"defaults: {'; '.join(problems)}")
    defaults, seen = {**DEFAULTS, **given}, set[str]()
    current = packs if today is None else packs.in_force(today)
    shaped = [_shaped(place, case) for place, case in enumerate(cases)]
    results = [_run(packs if "now" in {**defaults, **case["given"]} else current, case, defaults) for case in shaped]
    for result in results:
        if result.id in seen:
            raise InputError(f"case {result.id}: the id is repeated")
        seen.add(result.id)
    return results


def _shaped(place: int, case: object) -> Mapping[str, Any]:
    """Return a case of the right shape; raises `InputError` that names the case and the member."""
    if not isinstance(case, dict) or not isinstance(case.get("id"), str) or not case["id"]:
        raise InputError(f"case {place + 1} of the list: it must be an object with a text `id`")
    at = f"case {case['id']}"
    if not isinstance(case.get("given"), dict):
        raise InputError(f"{at}: `given` must be an object")
    if case.get("expected") not in _OUTCOMES:
        raise InputError(f"{at}: `expected` must be permit or deny")
    if not isinstance(case.get("reason_code"), str):
        raise InputError(f"{at}: `reason_code` must be text")
    return case


def _run(packs: PackSet, case: Mapping[str, Any], defaults: Given) -> CaseResult:
    given, problems = case["given"], problems_of(case["given"])
    answer = deny_unknown(packs, "; ".join(problems)) if problems else None
    if answer is None:
        try:
            answer = answer_case(packs, given, defaults)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"case {case['id']}: {type(error).__name__}: {error}") from None
    return CaseResult(
        id=case["id"],
        expected=case["expected"],
        got="error" if problems else str(answer.outcome),
        reason_expected=case["reason_code"],
        reason_got=answer.reason_code,
        missing_obligations=_missing(case.get("obligations") or (), answer),
        basis_kind=str(case.get("basis_kind", "")),
        citation=str(case.get("citation", "")),
        answer=answer,
        unread=unread_fields(given),
        problems=problems,
    )


def _missing(expected: Iterable[str], answer: Answer) -> tuple[str, ...]:
    """Return the expected duties that the answer lacks; a citation in brackets behind a duty's code does not count."""
    found = {_duty(duty) for duty in answer.obligations}
    return tuple(duty for duty in expected if _duty(duty) not in found)


def _duty(text: str) -> str:
    return text.partition(" (")[0]


def answer_case(packs: PackSet, given: Given, defaults: Given = DEFAULTS, *, explained: bool = False) -> Answer:
    """Answer the facts of one case; a value outside of the vocabulary denies, a field of a wrong type raises.

    `explained` adds to a denial the smallest change that would permit.
    """
    facts = {**DEFAULTS, **defaults, **given}
    facts["message"] = {**(defaults.get("message") or {}), **(given.get("message") or {})}
    try:
        if not facts["policy_available"]:
            return decide_without_packs(PurposeKind(facts["purpose"]))
        question, situation = question_of(facts), situation_of(facts)
    except ValueError as error:
        return deny_unknown(packs, str(error))
    return (explain_for if explained else decide_for)(_rules_of(packs, situation.today), question, situation)


@lru_cache(maxsize=64)
def _rules_of(packs: PackSet, day: date | None) -> PackSet:
    """Return the packs with the rules that are in force on the day that a case speaks of."""
    return packs if day is None else packs.in_force(day)
