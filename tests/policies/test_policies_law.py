"""The law as cases: every row of the rule matrix is answered from the packs, and every rule decides one alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.domain.decisions import Answer
from consent_gateway.policies.cases.runner import CaseResult, run_cases
from consent_gateway.policies.choices import AS_SHIPPED, parse_choices
from consent_gateway.policies.documents import document
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.rules import Mark, PackSet, Rule

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "tests" / "cases").glob("*/*.yaml"))
SHIPPED = load_builtin()
OWN_POLICY = {"baseline", "strict"}  # packs that are product policy as a whole


@dataclass(frozen=True)
class Run:
    """One file of cases with the packs that it is about, and its results."""

    packs: PackSet
    document: dict[str, Any]
    results: list[CaseResult]


@lru_cache(maxsize=64)
def run(path: Path) -> Run:
    _, data = document(path.name, path.read_text(encoding="utf-8"))
    chosen = parse_choices(path.name, json.dumps(data["choices"])) if "choices" in data else AS_SHIPPED
    packs = load_builtin(choices=chosen)
    return Run(packs, data, run_cases(packs, data))


def every_rule() -> dict[str, Rule]:
    return {rule.id: rule for pack in SHIPPED.packs for rule in (*pack.rules, *pack.unchosen)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_case_is_answered_with_its_reason_and_duties(path: Path) -> None:
    wrong = [(r.id, r.expected, r.reason_expected, r.got, r.reason_got) for r in run(path).results if not r.holds]
    assert wrong == []
    assert [(r.id, r.unread) for r in run(path).results if r.unread] == []


def test_the_cases_are_many_and_told_apart() -> None:
    results = [r for path in FILES for r in run(path).results]
    assert len(results) > 600
    assert len({r.id for r in results}) == len(results)
    assert {r.got for r in results} == {"permit", "deny"}


def seen(answer: Answer) -> tuple[object, ...]:
    """Return what a person is told first: outcome, leading reason with its source, duties."""
    return answer.outcome, answer.reason_code, answer.leading.rule_id, answer.leading.citation, answer.obligations


def without(packs: PackSet, rule_id: str) -> PackSet:
    kept = (replace(p, rules=tuple(r for r in p.rules if r.id != rule_id)) for p in packs.packs)
    return PackSet(tuple(kept), packs.reasons)


def fired() -> dict[str, list[tuple[Run, str]]]:
    """Return, per rule, the cases in which it fired."""
    found: dict[str, list[tuple[Run, str]]] = {}
    for path in FILES:
        for result in run(path).results:
            for reason in result.answer.reasons:
                found.setdefault(reason.rule_id, []).append((run(path), result.id))
    return found


def decided_alone(rule_id: str, told: list[tuple[Run, str]], removed: str | None = None) -> bool:
    """Tell whether some case is answered otherwise once the rule (or `removed` in its place) is taken out."""
    for on, case_id in told:
        case = next(case for case in on.document["cases"] if case["id"] == case_id)
        before = next(r.answer for r in on.results if r.id == case_id)
        left = without(on.packs, removed or rule_id)
        (after,) = run_cases(left, {**on.document, "cases": [case]})
        if seen(after.answer) != seen(before):
            return True
    return False


def test_each_rule_alone_decides_some_case() -> None:
    """A rule without such a case is dead: nobody could tell whether it is there."""
    told = fired()
    assert [rule_id for rule_id in every_rule() if not decided_alone(rule_id, told.get(rule_id, []))] == []


def test_that_goes_red_for_a_rule_that_changes_nothing() -> None:
    told = fired()
    assert not decided_alone("gdpr.objection", told["gdpr.objection"][:3], removed="pipl.contract")


def test_every_row_that_is_not_verified_is_a_choice() -> None:
    """LAW: unverified must be configurable. Policy of our own within a law is a choice too."""
    loose = [
        rule.id
        for pack in SHIPPED.packs
        for rule in (*pack.rules, *pack.unchosen)
        if not rule.settings
        and (rule.mark is Mark.UNVERIFIED or (rule.mark is Mark.POLICY and pack.id not in OWN_POLICY))
    ]
    assert loose == []


def offered() -> Iterator[tuple[str, str, str]]:
    for pack in SHIPPED.packs:
        for setting in pack.settings:
            yield from ((pack.id, setting.id, value) for value in setting.choices if value != setting.shipped)


@pytest.mark.parametrize(("pack", "setting", "value"), list(offered()))
def test_every_choice_changes_some_answer_and_is_cited(pack: str, setting: str, value: str) -> None:
    other = load_builtin(choices=parse_choices("c", json.dumps({pack: {setting: value}})))
    changed: list[Answer] = []
    for path in FILES:
        if path.parent.name != pack:
            continue
        after = run_cases(other, run(path).document)
        pairs = zip(run(path).results, after, strict=True)
        changed += [b.answer for a, b in pairs if seen(a.answer) != seen(b.answer)]
    assert changed
    assert any(f"+{setting}={value}" in name for answer in changed for name in answer.packs)


DOC = (ROOT / "docs" / "law.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_]+\.[a-z0-9_]+)`", DOC))


def test_the_coverage_table_names_every_rule_and_setting_and_no_other() -> None:
    settings = {f"{pack.id}.{setting.id}" for pack in SHIPPED.packs for setting in pack.settings}
    assert sorted(every_rule().keys() - NAMED) == []
    assert sorted(settings - NAMED) == []
    assert sorted(NAMED - every_rule().keys() - settings) == []


def test_the_coverage_table_names_every_duty() -> None:
    duties = {duty for rule in every_rule().values() for duty in rule.obligations}
    assert sorted(duty for duty in duties if f"`{duty}`" not in DOC) == []
