"""How the demo shows what it found: every check as it is made, tables, and `report.json` for programs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from consent_gateway.cli.demo.decisions import PERMIT, leading_reason
from consent_gateway.cli.demo.tour import Check, Tour

COUNTS = ("received", "created", "updated", "joined", "duplicates", "rejected")


def heading(console: Console, number: int, title: str) -> None:
    """Print the title of a step."""
    console.print()
    console.rule(f"[bold]{number}  {escape(title)}", align="left")


def show_check(console: Console, check: Check) -> None:
    """Print one check: a tick, or what should be and is not, in red."""
    detail = f"  [dim]{escape(check.detail)}[/dim]" if check.detail else ""
    mark, colour = ("[green]✓[/green]", "default") if check.holds else ("[bold red]✗[/bold red]", "bold red")
    line = Table.grid(padding=(0, 1))  # what does not fit into a line goes on below its beginning
    line.add_row(" ", mark, f"[{colour}]{escape(check.claim)}[/]{detail}")
    console.print(line)


def show_imports(tour: Tour) -> None:
    """Print what came of every file, and why rows were refused."""
    columns = (Column("file", no_wrap=True), *COUNTS, "refused because")
    table = Table(*columns, title="What came of the rows", title_justify="left")
    for row in tour.facts["imports"]:
        counts = [f"{row.get(name, 0):,}" for name in COUNTS]
        table.add_row(row["file"], *counts, _listed(row["reasons"], "\n"))
    tour.console.print(table)


def show_audiences(tour: Tour) -> None:
    """Print the waterfalls side by side: who remains after every stage, and why the others were lost."""
    for recipient, answer in tour.facts["audiences"].items():
        title = f"{recipient}: {_count(answer['size'])} members, packs {', '.join(map(str, answer['packs']))}"
        table = Table("stage", "lost", "remaining", "because", title=title, title_justify="left")
        for row in answer["waterfall"]:
            table.add_row(
                row["stage"], _count(row["lost"]), _count(row["remaining"]), _listed(row.get("reasons") or {})
            )
        tour.console.print(table)


def show_decisions(tour: Tour) -> None:
    """Print each question with the article that decided, in English and Chinese, and the way out."""
    table = Table("who, what", "answer", "the article, and what would change it", show_lines=True)
    for answer in tour.facts["decisions"]:
        colour = "green" if answer["outcome"] == PERMIT else "red"
        outcome = f"[{colour}]{answer['outcome']}[/{colour}]\n{answer['reason_code']}"
        table.add_row(f"{escape(answer['about'])}\n[dim]{answer['question']}[/dim]", outcome, escape(_why(answer)))
    tour.console.print(table)


def _why(answer: dict[str, Any]) -> str:
    reason = leading_reason(answer)
    lines = [str(reason.get("citation", "")), str(reason.get("text", "")), str(reason.get("text_zh", ""))]
    for change in answer["changes"][:2]:
        lines += [f"→ {change['text']}", f"→ {change['text_zh']}"]
    return "\n".join(line for line in lines if line)


def _listed(reasons: dict[str, Any], between: str = ", ") -> str:
    return between.join(f"{_count(n)} {code}" for code, n in sorted(reasons.items()))


def _count(number: int | None) -> str:
    """Show a count; the gateway withholds those below the floor, and those that would give one away."""
    return "hidden" if number is None else f"{number:,}"


def write_report(tour: Tour) -> None:
    """Write everything that was found to `report.json`; it names no person."""
    content = {
        "holds": not tour.failures,
        "at": tour.now.isoformat(),
        "seconds": {name: round(seconds, 2) for name, seconds in tour.seconds.items()},
        "checks": [{"step": c.step, "claim": c.claim, "holds": c.holds, "detail": c.detail} for c in tour.checks],
        **tour.facts,
    }
    tour.places.report.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def show_end(tour: Tour) -> None:
    """Print the totals, what failed, and how to look around."""
    console, out = tour.console, tour.places.out
    console.print()
    console.rule("[bold]in short", align="left")
    spent = " + ".join(f"{name} {seconds:.1f}" for name, seconds in tour.seconds.items())
    console.print(f"  {sum(tour.seconds.values()):.1f} s: {spent}", highlight=False)
    for check in tour.failures:
        console.print(f"  [bold red]✗ {escape(check.step)}: {escape(check.claim)}[/bold red]  {escape(check.detail)}")
    verdict = "[bold red]does not hold" if tour.failures else "[bold green]everything holds"
    console.print(f"  {verdict}[/]: {len(tour.checks) - len(tour.failures)} of {len(tour.checks)} checks")
    console.print(
        f"""
  Look around:
    consent-gateway serve --store {tour.places.store}      then open http://127.0.0.1:8080/docs
    curl -H "Authorization: Bearer $(cat {tour.places.key})" http://127.0.0.1:8080/v1/segments
    python -I {tour.places.verifier} receipt "$(cat {tour.places.vkey})" {tour.places.receipt} {tour.places.entry}
    python -I {tour.places.verifier} tree "$(cat {tour.places.vkey})" {tour.places.log}
    consent-gateway receipts verify {tour.places.consent_receipt} --key {tour.places.receipt_keys}
  All figures: {out / "report.json"}""",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
