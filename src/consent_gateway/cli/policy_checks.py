"""Commands that ask about packs as a whole: `policy lint`, `policy prove`, `policy export`."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consent_gateway.cli.options import emit, json_option
from consent_gateway.cli.policy_cases import answer_row
from consent_gateway.cli.policy_packs import packs_option, packs_today, written_packs
from consent_gateway.clock import system_clock
from consent_gateway.policies.cases.runner import parse_cases
from consent_gateway.policies.cedar import cedar_schema, to_cedar
from consent_gateway.policies.proof.claims import parse_claim
from consent_gateway.policies.proof.formulas import OutOfTimeError, watched
from consent_gateway.policies.proof.lint import UNFINISHED, Finding, Level, lint
from consent_gateway.policies.proof.prove import NamedClaim, Proof, prove, read_claims
from consent_gateway.policies.render import answer_as_text

_FOUND, _UNFINISHED = 1, 3
_COLOURS = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.INFO: "dim"}
_MARKS = {
    (True, True): "[green]PROVED[/green]",
    (False, True): "[bold red]FALSE[/bold red]",
    (False, False): "[yellow]UNFINISHED[/yellow]",
}
_WIDE = 150


timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0), default=300.0, show_default=True, help="Seconds to search for at most."
)


def _time(seconds: float) -> AbstractContextManager[None]:
    """Let searches run for `seconds` from now: what a text asks for may take longer than anybody waits."""
    end = monotonic() + seconds

    def tick() -> None:
        if monotonic() >= end:
            raise OutOfTimeError

    return watched(tick)


@click.command("lint")
@click.option("--review-days", type=click.IntRange(min=0), default=90, show_default=True, help="Reviews due within.")
@click.option("--all", "everything", is_flag=True, help="Show what is merely worth knowing too.")
@timeout_option
@packs_option
@json_option
def lint_packs(
    review_days: int, *, timeout: float, everything: bool, folder: Path | None, choices: Path | None, as_json: bool
) -> None:
    """Look for dead, contradicted, shadowed and implied rules, missing texts and due reviews; exact over all facts.

    Status 1 if there is an error, 0 if there are only warnings; 3 if the time ended first, with what was not finished.
    """
    today = system_clock().date()
    packs = written_packs(folder, choices).in_force(today)
    with _time(timeout):
        found = lint(packs, today, review_days)
    emit([_finding(f) for f in found], as_json=as_json, show=lambda console: _findings(console, found, everything))
    if any(finding.kind == UNFINISHED for finding in found):
        raise click.exceptions.Exit(_UNFINISHED)
    if any(finding.level is Level.ERROR for finding in found):
        raise click.exceptions.Exit(_FOUND)


@click.command("prove")
@click.argument("claims", metavar="[CLAIM]...", nargs=-1)
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File of named claims."
)
@timeout_option
@packs_option
@json_option
def prove_claims(
    claims: tuple[str, ...],
    path: Path | None,
    *,
    timeout: float,
    folder: Path | None,
    choices: Path | None,
    as_json: bool,
) -> None:
    """Prove claims over all facts, or show facts at which they fail; without any, the claims that ship.

    A claim is one argument, such as "never permit when at_cn = yes and channel = email and consent != given". Status
    0: all are proven; 1: one is false; 2: one cannot be read; 3: none is false, and the time ended before all were
    proven.
    """
    packs = packs_today(folder, choices)
    named = [NamedClaim(f"claim {n}", "", "", parse_claim(text)) for n, text in enumerate(claims, 1)]
    if path is not None:
        named += read_claims(parse_cases(path.name, path.read_text(encoding="utf-8")))
    with _time(timeout):
        proofs = [(each, prove(packs, each.claim)) for each in named or shipped_claims()]
    emit([_proof(*each) for each in proofs], as_json=as_json, show=lambda console: _proofs(console, proofs))
    if any(proof.facts is not None for _, proof in proofs):
        raise click.exceptions.Exit(_FOUND)
    if not all(proof.finished for _, proof in proofs):
        raise click.exceptions.Exit(_UNFINISHED)


@click.command("export")
@click.argument("pack_id", required=False)
@click.option("--cedar", "form", flag_value="cedar", help="The pack's permit and deny rules as Cedar policies.")
@click.option("--cedar-schema", "form", flag_value="schema", help="The schema of all packs in Cedar's syntax.")
@packs_option
def export_pack(pack_id: str | None, form: str | None, *, folder: Path | None, choices: Path | None) -> None:
    """Print a pack for another engine: `--cedar PACK` its policies, `--cedar-schema` what they are valid under."""
    if form is None:
        raise click.UsageError("say --cedar PACK or --cedar-schema")
    if form == "schema":
        click.echo(cedar_schema(), nl=False)
        return
    packs = packs_today(folder, choices)
    pack = packs.pack(pack_id or "")
    if pack is None:
        raise click.UsageError("packs are: " + ", ".join(p.id for p in packs.packs))
    click.echo(to_cedar(pack), nl=False)


def shipped_claims() -> list[NamedClaim]:
    """Return the claims that ship with the packs."""
    file = resources.files("consent_gateway.policies.proof") / "claims.yaml"
    return read_claims(parse_cases(file.name, file.read_text(encoding="utf-8")))


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "kind": finding.kind,
        "level": str(finding.level),
        "pack": finding.pack,
        "rule": finding.rule,
        "message": finding.message,
    }


def _findings(console: Console, found: list[Finding], everything: bool) -> None:  # noqa: FBT001 - a flag handed on
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    table = Table("level", "finding", "where", "what")
    for f in (f for f in found if everything or f.level is not Level.INFO):
        table.add_row(f"[{_COLOURS[f.level]}]{f.level}[/]", f.kind, f.rule or f.pack, escape(f.message))
    if table.row_count:
        console.print(table)
    counts = Counter(finding.level for finding in found)
    console.print(", ".join(f"{counts[level]} {level}" for level in Level))


def _proof(named: NamedClaim, proof: Proof) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": named.id,
        "says": named.says,
        "cites": named.cites,
        "claim": proof.claim.text,
        "proved": proof.proved,
        "finished": proof.finished,
    }
    if proof.answer is not None:
        row["counterexample"] = {"facts": proof.differing(), "answer": answer_row(proof.answer)}
    return row


def _proofs(console: Console, proofs: list[tuple[NamedClaim, Proof]]) -> None:
    for named, proof in proofs:
        mark = _MARKS[proof.proved, proof.finished]
        console.print(f"{mark} {escape(named.id)}: {escape(named.says or proof.claim.text)}", soft_wrap=True)
        if proof.answer is not None:
            facts = ", ".join(f"{name} = {value}" for name, value in proof.differing().items())
            console.print(f"  claim: {proof.claim.text}\n  facts: {facts}", markup=False, soft_wrap=True)
            console.print(answer_as_text(proof.answer), markup=False, soft_wrap=True)
    console.print(f"{sum(proof.proved for _, proof in proofs)} of {len(proofs)} claims are proven")
    if unfinished := sum(not proof.finished for _, proof in proofs):
        console.print(f"the time ended before {unfinished} were proven or refuted")
