"""Commands over decision cases: `policy test` compares a file's answers, `policy explain` answers one set of facts.

`policy test` ends with 0 if every case holds, with 1 if one is answered otherwise than expected, and with 2 if a file
or a field of a case cannot be read. As shipped, the cases of guidance and of product defaults hold too, so they
count; an operator whose settings differ asks for `--binding-only`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consent_gateway.cli.junit import deciding, difference, junit
from consent_gateway.cli.options import emit, json_option
from consent_gateway.cli.policy_packs import packs_option, written_packs
from consent_gateway.clock import system_clock
from consent_gateway.domain.decisions import Answer
from consent_gateway.errors import InputError
from consent_gateway.policies.cases.fields import problems_of
from consent_gateway.policies.cases.runner import CaseResult, answer_case, parse_cases, run_cases
from consent_gateway.policies.cases.translation import DEFAULTS
from consent_gateway.policies.choices import AS_SHIPPED, Choices, parse_choices
from consent_gateway.policies.render import answer_as_text
from consent_gateway.policies.rules import PackSet

_DIFFERS, _UNREADABLE = 1, 2
_SUFFIXES = (".json", ".yaml", ".yml")
_WIDE = 150

Results = dict[str, list[CaseResult]]


@click.command("test")
@click.argument("paths", metavar="CASES...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--binding-only", is_flag=True, help="Let only cases of statute and regulation decide the status.")
@click.option("--junit", "report", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML there.")
@packs_option
@json_option
def test_cases(
    paths: tuple[Path, ...],
    *,
    binding_only: bool,
    report: Path | None,
    folder: Path | None,
    choices: Path | None,
    as_json: bool,
) -> None:
    """Run case files (JSON, YAML or folders of them) and print every case.

    Status 0: every case holds; 1: one is answered otherwise than expected; 2: a file or a field cannot be read.
    """
    results = {str(path): run_file(path, folder, choices) for path in _files(paths)}
    if report:
        report.write_text(junit(results), encoding="utf-8")
    rows = [_row(path, result) for path, found in results.items() for result in found]
    emit(rows, as_json=as_json, show=lambda console: _show(console, results))
    status = status_of([r for found in results.values() for r in found], binding_only=binding_only)
    if status:
        raise click.exceptions.Exit(status)


@click.command("explain")
@click.argument("path", metavar="FACTS", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@packs_option
@json_option
def explain_facts(path: Path, language: str, *, folder: Path | None, choices: Path | None, as_json: bool) -> None:
    """Answer the facts of one case (an object of fields, or a case with `given`) with all reasons and duties.

    A denial comes with the smallest change that would permit.
    """
    document = parse_cases(path.name, _text(path))
    given, defaults = document.get("given", document), document.get("defaults") or {}
    for part in (given, defaults):
        if not isinstance(part, dict) or (problems := problems_of(part)):
            raise InputError(f"{path}: {'; '.join(problems) if isinstance(part, dict) else 'not an object'}")
    if "purpose" not in {**defaults, **given}:
        raise InputError(f"{path}: purpose: the field is missing")
    answer = answer_case(_standing(folder, choices), given, {**DEFAULTS, **defaults}, explained=True)
    emit(answer_row(answer), as_json=as_json, show=lambda _: click.echo(answer_as_text(answer, language), nl=False))


def _standing(folder: Path | None, choices: Path | None, named: Choices = AS_SHIPPED) -> PackSet:
    """Return the packs that count today; which of their rules are in force is up to the day of each case."""
    return written_packs(folder, choices, named).standing(system_clock().date())


def run_file(path: Path, folder: Path | None, choices: Path | None) -> list[CaseResult]:
    """Run one file; raises `InputError` that names it. It may name under `choices` the settings that it is about."""
    try:
        document = parse_cases(path.name, _text(path))
        named = parse_choices(path.name, json.dumps(document["choices"])) if "choices" in document else AS_SHIPPED
        return run_cases(_standing(folder, choices, named), document, system_clock().date())
    except InputError as error:
        detail = error.detail if error.detail.startswith(path.name) else f"{path.name}: {error.detail}"
        raise InputError(detail) from None


def status_of(results: Sequence[CaseResult], *, binding_only: bool) -> int:
    """Return the exit status: unreadable fields before differences."""
    if any(result.problems for result in results):
        return _UNREADABLE
    counted = (result for result in results if result.binding or not binding_only)
    return 0 if all(result.holds for result in counted) else _DIFFERS


def answer_row(answer: Answer) -> dict[str, Any]:
    """Return an answer for programs."""
    return {
        "outcome": str(answer.outcome),
        "reason_code": answer.reason_code,
        "reasons": [
            {
                "code": r.code,
                "rule_id": r.rule_id,
                "law": r.law,
                "citation": r.citation,
                "effect": str(r.effect),
                "stage": r.stage and str(r.stage),
                "text_en": r.text_en,
                "text_zh": r.text_zh,
            }
            for r in answer.reasons
        ],
        "obligations": list(answer.obligations),
        "changes": [
            {"fact": c.fact, "have": c.have, "need": c.need, "text_en": c.text_en, "text_zh": c.text_zh}
            for c in answer.changes
        ],
        "packs": list(answer.packs),
        "facts_digest": answer.facts_digest,
    }


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: there is no case file (*.json, *.yaml, *.yml)")
        yield from found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {type(error).__name__}") from None


def _row(path: str, result: CaseResult) -> dict[str, Any]:
    return {
        "file": path,
        "id": result.id,
        "holds": result.holds,
        "expected": result.expected,
        "got": result.got,
        "reason_expected": result.reason_expected,
        "reason_got": result.reason_got,
        "missing_obligations": list(result.missing_obligations),
        "problems": list(result.problems),
        "deciding": deciding(result),
        "basis_kind": result.basis_kind,
        "citation": result.citation,
    }


def _show(console: Console, results: Results) -> None:
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    for path, found in results.items():
        console.print(_table(path, found))
        for result in found:
            if not result.holds:
                _show_difference(console, result)
    every = [result for found in results.values() for result in found]
    console.print(f"{sum(result.holds for result in every)} of {len(every)} cases hold")


def _table(path: str, results: Sequence[CaseResult]) -> Table:
    table = Table("case", "holds", "answer", "basis", "citation", title=escape(path), title_justify="left")
    for r in results:
        mark = "[green]yes[/green]" if r.holds else "[bold red]NO[/bold red]"
        table.add_row(escape(r.id), mark, f"{r.got} {r.reason_got}", escape(r.basis_kind), escape(r.citation))
    return table


def _show_difference(console: Console, result: CaseResult) -> None:
    console.print(f"[bold red]{escape(result.id)}[/bold red] ({escape(result.basis_kind)}: {escape(result.citation)})")
    lines = result.problems or (difference(result), *(f"decided by {line}" for line in deciding(result)))
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)
