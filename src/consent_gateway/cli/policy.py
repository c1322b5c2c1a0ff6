"""Commands for officers: list and show packs, run case files, explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.options import emit, json_option
from consent_gateway.clock import system_clock
from consent_gateway.errors import InputError
from consent_gateway.policies.cases import CaseResult, run_cases
from consent_gateway.policies.choices import AS_SHIPPED, Choices, parse_choices, read_choices
from consent_gateway.policies.documents import document
from consent_gateway.policies.packs import load_builtin
from consent_gateway.policies.render import pack_as_text
from consent_gateway.policies.rules import PackSet

_DIFFERS = 1
_BINDING = ("statute", "regulation")
choices_option = click.option(
    "--choices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="CONSENT_GATEWAY_LAW_CHOICES_PATH",
    help="File with the operator's choices where the law is open.",
)


@click.group()
def policy() -> None:
    """The law as decision tables: list, show, test."""


@policy.command("list")
@choices_option
@json_option
def list_packs(choices: Path | None, *, as_json: bool) -> None:
    """List the packs in force today with version, rules, review date and the choices that are not the shipped ones."""
    packs = _today(choices)
    rows = [
        {
            "id": p.id,
            "version": p.version,
            "rules": len(p.rules),
            "effective_from": str(p.effective_from),
            "review_by": str(p.review_by),
            "choices": ", ".join(f"{s.id}={s.value}" for s in p.settings if s.value != s.shipped),
        }
        for p in packs.packs
    ]

    def show(console: Console) -> None:
        table = Table("pack", "version", "rules", "in force from", "review by", "choices")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)
        for fault in packs.faults:
            console.print(f"[red]{fault}[/red]")

    emit(rows, as_json=as_json, show=show)


@policy.command("show")
@click.argument("pack_id")
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@choices_option
def show_pack(pack_id: str, language: str, choices: Path | None) -> None:
    """Print a pack as a lawyer reads it: settings, and every rule with its article and text."""
    packs = _today(choices)
    pack = packs.pack(pack_id)
    if pack is None:
        raise click.UsageError("packs are: " + ", ".join(p.id for p in packs.packs))
    click.echo(pack_as_text(packs, pack, language))


@policy.command("test")
@click.argument("cases", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@choices_option
@json_option
def test_cases(cases: Path, choices: Path | None, *, as_json: bool) -> None:
    """Run a case file (JSON or YAML) and print every case; status 1 if a statute or regulation case does not hold.

    A file may name under `choices` the settings that it is about.
    """
    given, today = _document(cases), system_clock().date()
    named = parse_choices(cases.name, json.dumps(given["choices"])) if "choices" in given else AS_SHIPPED
    chosen = named if choices is None else read_choices(choices)
    results = run_cases(load_builtin(choices=chosen).standing(today), given, today)
    emit([_row(r) for r in results], as_json=as_json, show=lambda console: _show(console, results))
    if any(not r.holds and r.basis_kind in _BINDING for r in results):
        raise click.exceptions.Exit(_DIFFERS)


def _document(path: Path) -> dict[str, Any]:
    _, data = document(path.name, path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise InputError(f"{path.name}: a case file is an object with a list `cases`")
    return data


def _today(choices: Path | None) -> PackSet:
    return load_builtin(system_clock().date(), _chosen(choices))


def _chosen(path: Path | None) -> Choices:
    return AS_SHIPPED if path is None else read_choices(path)


def _row(result: CaseResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "holds": result.holds,
        "expected": result.expected,
        "got": result.got,
        "reason_expected": result.reason_expected,
        "reason_got": result.reason_got,
        "basis_kind": result.basis_kind,
        "citation": result.citation,
    }


def _show(console: Console, results: list[CaseResult]) -> None:
    table = Table("case", "holds", "expected", "got", "basis", "citation")
    for r in results:
        mark = "[green]yes[/green]" if r.holds else "[bold red]NO[/bold red]"
        table.add_row(
            r.id,
            mark,
            f"{r.expected} {r.reason_expected}",
            f"{r.got} {r.reason_got}",
            r.basis_kind,
            r.citation,
        )
    console.print(table)
    held = sum(r.holds for r in results)
    console.print(f"{held} of {len(results)} cases hold")
