"""`consent-gateway policy record`: the record of processing activities, for people, spreadsheets and checks."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.domain.records.activities import ActivityRecord
from consent_gateway.domain.records.rendering import Language, as_csv, as_markdown, finding_text, table
from consent_gateway.domain.records.rendering import as_json as json_of
from consent_gateway.services.registry.activities import activity_record

_DIFFERS = 1
_ON_SCREEN = (0, 3, 5, 10, 11, 12)  # purpose, basis, data, recipients, transfers, retention


@click.command("record")
@store_option
@json_option
@click.option("--csv", "as_table", is_flag=True, help="Print the activities as CSV (RFC 4180).")
@click.option("--markdown", "as_text", is_flag=True, help="Print the record as Markdown.")
@click.option("--language", type=click.Choice([one.value for one in Language]), default="en", show_default=True)
@click.option("--check", is_flag=True, help="End with status 1 if there is any gap.")
def record(store: Path | None, language: str, *, as_json: bool, as_table: bool, as_text: bool, check: bool) -> None:
    """Print the record of processing activities (GDPR Art 30), made out of the registers, with its gaps."""
    if as_json + as_table + as_text > 1:
        raise click.UsageError("choose one of --json, --csv and --markdown")
    with open_gateway(store).look() as work:
        found = activity_record(work)
    _print(found, Language(language), as_json=as_json, as_table=as_table, as_text=as_text)
    if check and found.findings:
        raise click.exceptions.Exit(_DIFFERS)


def _print(found: ActivityRecord, language: Language, *, as_json: bool, as_table: bool, as_text: bool) -> None:
    if as_table:
        click.echo(as_csv(found, language), nl=False)
    elif as_text:
        click.echo(as_markdown(found, language), nl=False)
    else:
        emit(json_of(found, language), as_json=as_json, show=lambda console: _show(console, found, language))


def _show(console: Console, found: ActivityRecord, language: Language) -> None:
    header, rows = table(found, language)
    shown = Table(*(header[n] for n in _ON_SCREEN))
    for row in rows:
        shown.add_row(*(escape(row[n]) for n in _ON_SCREEN))
    console.print(shown)
    for finding in found.findings:
        console.print(f"[red]{escape(finding_text(finding, language))}[/red]", soft_wrap=True)
    console.print(f"{len(rows)} activities, {len(found.findings)} gaps")
