"""Commands that read packs: list them, show one as a lawyer reads it."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.options import emit, json_option
from consent_gateway.cli.policy_packs import packs_option, packs_today
from consent_gateway.policies.render import pack_as_text


@click.command("list")
@packs_option
@json_option
def list_packs(*, folder: Path | None, choices: Path | None, as_json: bool) -> None:
    """List the packs in force today with version, rules, review date and the choices that are not the shipped ones."""
    packs = packs_today(folder, choices)
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
            console.print(fault, style="red", markup=False, soft_wrap=True)

    emit(rows, as_json=as_json, show=show)


@click.command("show")
@click.argument("pack_id")
@click.option("--language", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@packs_option
def show_pack(pack_id: str, language: str, *, folder: Path | None, choices: Path | None) -> None:
    """Print a pack as a lawyer reads it: settings, and every rule with its article and text."""
    packs = packs_today(folder, choices)
    pack = packs.pack(pack_id)
    if pack is None:
        raise click.UsageError("packs are: " + ", ".join(p.id for p in packs.packs))
    click.echo(pack_as_text(packs, pack, language))
