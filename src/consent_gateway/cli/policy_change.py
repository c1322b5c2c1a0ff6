"""Commands that change the law with four eyes, compare two laws, and compute a past decision again.

Whoever proposes or activates names their own API key in a file: four eyes are those of two keys, also here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.opening import as_principal, open_gateway
from consent_gateway.cli.options import emit, json_option, key_option, store_option
from consent_gateway.services.deciding import shadows
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.policy import policies
from consent_gateway.services.policy.policies import Text
from consent_gateway.services.work.gateway import Work

_DIFFERS = 1
_KEY = key_option("policy")


@click.command("propose")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_KEY
@store_option
@json_option
def propose(file: Path, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Propose a pack; it is checked in full and decides nothing until somebody else activates it."""
    text = file.read_text(encoding="utf-8")
    _act(store, key_file, lambda work: policies.propose(work, text, file.name), as_json=as_json)


@click.command("propose-again")
@click.argument("name")
@_KEY
@store_option
@json_option
def propose_again(name: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Propose ID@VERSION of the store as it is: the first half of a roll back."""
    pack_id, version = _named(name)
    _act(store, key_file, lambda work: policies.propose_again(work, pack_id, version), as_json=as_json)


@click.command("shadow")
@click.argument("name")
@click.argument("switch", type=click.Choice(["on", "off"]))
@_KEY
@store_option
@json_option
def shadow(name: str, switch: str, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Begin or stop to watch the candidate ID@VERSION beside the law in force."""
    pack_id, version = _named(name)
    _act(store, key_file, lambda w: policies.set_shadow(w, pack_id, version, on=switch == "on"), as_json=as_json)


@click.command("shadow-report")
@click.argument("name")
@store_option
@json_option
def shadow_report(name: str, store: Path | None, *, as_json: bool) -> None:
    """Say what the candidate ID@VERSION would have answered to the questions that were really asked."""
    pack_id, version = _named(name)
    with open_gateway(store).look() as work:
        sha256 = policies.find(work, pack_id, version).row["sha256"]
        lines = shadows.report(work.session, work.gateway.tally, sha256, work.gateway.rules.k_floor)
    data = shadows.as_data(lines)

    def show(console: Console) -> None:
        for change, count in data["changes"].items():
            share = data["shares"][change]
            console.print(f"{change}: {'few' if count is None else count}{f' ({share:.1%})' if share else ''}")
        table = Table("use", "change", "questions", "answer", "candidate's")
        for line in lines:
            seen, questions = line.seen, "few" if line.questions is None else f"{line.questions:,}"
            use = f"{seen.purpose} {seen.channel} {seen.recipient}"
            table.add_row(use, seen.change, questions, seen.reason, seen.would_be)
        console.print(table)

    emit(data, as_json=as_json, show=show)


@click.command("activate")
@click.argument("name")
@click.option("--at", "at", type=int, help="Seconds since 1970, a whole minute that lies ahead; default: now.")
@_KEY
@store_option
@json_option
def activate(name: str, at: int | None, key_file: Path, store: Path | None, *, as_json: bool) -> None:
    """Put the candidate ID@VERSION in force; only somebody else than who proposed it may."""
    pack_id, version = _named(name)
    _act(store, key_file, lambda work: policies.activate(work, pack_id, version, at), as_json=as_json)


@click.command("texts")
@store_option
@json_option
def texts(store: Path | None, *, as_json: bool) -> None:
    """List every text of the store with its state."""
    with open_gateway(store).look() as work:
        found = [_text(text) for text in policies.listing(work)]

    def show(console: Console) -> None:
        table = Table(*found[0])
        for row in found:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)

    emit(found, as_json=as_json, show=show if found else lambda console: console.print("no text is recorded yet"))


# -- the parts ---------------------------------------------------------------------------------------------------


def _act(store: Path | None, key_file: Path, act: Callable[[Work], Text], *, as_json: bool) -> None:
    gateway = open_gateway(store)
    with gateway.work(as_principal(gateway, key_file, "policy")) as work:
        found = _text(act(work))
    Sequencer(gateway).drain()
    line = f"{found['id']}@{found['version']}: {found['state']}"
    emit(found, as_json=as_json, show=lambda console: console.print(line, markup=False))


def _named(name: str) -> tuple[str, int]:
    pack_id, _, version = name.partition("@")
    if not (version.isascii() and version.isdecimal()):
        raise click.UsageError("a text is named ID@VERSION, such as gdpr@2")
    return pack_id, int(version)


def _text(text: Text) -> dict[str, Any]:
    row = text.row
    return {
        "id": row["name"],
        "version": row["version"],
        "state": text.state.value,
        "sha256": row["sha256"],
        "proposed_by": row["proposed_by"] or (text.activation and text.activation.proposed_by),
        "approved_by": text.activation and text.activation.approved_by,
        "problem": text.problem or None,
    }
