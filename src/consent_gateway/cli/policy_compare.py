"""Commands that compare: two laws over people, several over cases, a past decision with the one computed again.

A law is named as a pack file, a directory of packs, `active`, `shipped`, or a text of the store as ID@VERSION.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.domain.purposes import Channel
from consent_gateway.errors import PolicyError
from consent_gateway.policies import diff as diffs
from consent_gateway.policies.cases.runner import run_cases
from consent_gateway.policies.packs import load, load_builtin
from consent_gateway.policies.rules import PackSet
from consent_gateway.services.deciding.law import day_of
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.policy import policies, policy_diffs, replays
from consent_gateway.services.work.gateway import Work

_DIFFERS = 1


@click.command("diff")
@click.argument("old")
@click.argument("new")
@click.option("--purpose", "purposes", multiple=True, help="Only these purposes.")
@click.option("--channel", "channels", multiple=True, type=click.Choice([c.value for c in Channel]))
@click.option("--recipient", "recipients", multiple=True, help="These recipients; default: one of each kind.")
@store_option
@json_option
def diff(
    old: str,
    new: str,
    purposes: tuple[str, ...],
    channels: tuple[str, ...],
    recipients: tuple[str, ...],
    store: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compare two laws over today's people, by class; status 1 if anything changes.

    OLD and NEW are a pack file, a directory of packs, `active`, `shipped`, or a text of the store as ID@VERSION.
    Without a store (`--store`), two files, directories or `shipped` are compared as texts.
    """
    if store is None:
        found = policy_diffs.texts_alone(_without_store(old), _without_store(new))
    else:
        wanted = policy_diffs.Wanted(purposes, [Channel(c) for c in channels], recipients)
        with open_gateway(store).look() as work:
            found = policy_diffs.compare(work, _side(work, old), _side(work, new), wanted)
    emit(policy_diffs.as_data(found), as_json=as_json, show=lambda console: _show_diff(console, found))
    if not found.same:
        raise click.exceptions.Exit(_DIFFERS)


@click.command("replay")
@click.argument("uid")
@click.option("--against", type=click.Choice(["active"]), help="Also ask today's packs about the same facts.")
@store_option
@json_option
def replay(uid: str, against: str | None, store: Path | None, *, as_json: bool) -> None:
    """Compute the decision of a log entry again, with the packs of that time; status 1 unless it is the same."""
    try:
        raw = bytes.fromhex(uid)
    except ValueError:
        raise click.UsageError("UID is the 32 hexadecimal digits of an entry") from None
    gateway = open_gateway(store)
    with gateway.work() as work:
        done = replays.replay(work, raw, against_active=against is not None)
    Sequencer(gateway).drain()
    data = replays.as_data(done)

    def show(console: Console) -> None:
        console.print(f"{data['state']}: {data['logged']['outcome']} ({data['logged']['reason_code']}), {data['at']}")
        for name in ("computed", "against"):
            if data[name] is not None:
                console.print(f"{name}: {data[name]['outcome']} ({data[name]['reason_code']})")
        for difference in data["differences"]:
            console.print(f"[red]not the same: {difference}[/red]")

    emit(data, as_json=as_json, show=show)
    if done.state is not replays.ReplayState.SAME:
        raise click.exceptions.Exit(_DIFFERS)


@click.command("simulate")
@click.argument("cases", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("laws", nargs=-1, required=True)
@click.option("--case", "wanted", multiple=True, help="Only the cases of these ids.")
@store_option
@json_option
def simulate(cases: Path, laws: tuple[str, ...], wanted: tuple[str, ...], store: Path | None, *, as_json: bool) -> None:
    """Answer the cases of a file under several LAWS side by side; status 1 if they do not all agree."""
    document = json.loads(cases.read_text(encoding="utf-8"))
    if wanted:
        document["cases"] = [case for case in document.get("cases", []) if case.get("id") in wanted]
    with _opened(store) as work:
        sides = {law: _without_store(law) if work is None else _side(work, law) for law in laws}
    found = _simulated(sides, document)

    def show(console: Console) -> None:
        table = Table("case", *laws)
        for row in found:
            cells = [f"{answer['outcome']} {answer['reason_code']}" for answer in row["answers"].values()]
            table.add_row(row["case"], *cells, style=None if row["agree"] else "bold")
        console.print(table)
        console.print(f"{sum(not row['agree'] for row in found)} of {len(found)} cases are answered differently")

    emit(found, as_json=as_json, show=show)
    if not all(row["agree"] for row in found):
        raise click.exceptions.Exit(_DIFFERS)


# -- the parts ---------------------------------------------------------------------------------------------------


def _simulated(sides: dict[str, PackSet], document: dict[str, Any]) -> list[dict[str, Any]]:
    answers = {law: {r.id: r.answer for r in run_cases(packs, document)} for law, packs in sides.items()}
    found = []
    for case in next(iter(answers.values())):
        shown = {
            law: {"outcome": by_case[case].outcome.value, "reason_code": by_case[case].reason_code}
            for law, by_case in answers.items()
        }
        first = next(iter(shown.values()))
        found.append({"case": case, "agree": all(answer == first for answer in shown.values()), "answers": shown})
    return found


@contextmanager
def _opened(store: Path | None) -> Iterator[Work | None]:
    if store is None:
        yield None
        return
    with open_gateway(store).look() as work:
        yield work


def _without_store(name: str) -> PackSet:
    if name == policy_diffs.SHIPPED:
        return load_builtin()
    path, shipped = Path(name), load_builtin().texts
    if path.is_dir():
        return _strict(load({"reasons": shipped["reasons"], **_files(path)}))
    if not path.is_file():
        raise click.UsageError(f"{name}: without --store, name a pack file, a directory or `shipped`")
    text = path.read_text(encoding="utf-8")
    return _strict(load({**shipped, _pack_id(text, path.name, load_builtin()): text}))


def _side(work: Work, name: str) -> PackSet:
    path = Path(name)
    if path.is_dir():
        texts = {"reasons": work.law.packs.texts["reasons"], **_files(path)}
        return _strict(load(texts)).as_of(day_of(work.now))
    if path.is_file():
        return policy_diffs.side_of_text(work, path.read_text(encoding="utf-8"), path.name)
    return policy_diffs.side(work, name)


def _files(path: Path) -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(path.glob("*.yaml"))}


def _pack_id(text: str, label: str, packs: PackSet) -> str:
    return policies.parse(label, text, packs).id


def _strict(packs: PackSet) -> PackSet:
    if packs.faults:
        raise PolicyError("; ".join(packs.faults))
    return packs


def _show_diff(console: Console, found: policy_diffs.PolicyDiff) -> None:
    for edited in (*found.packs, *found.rules):
        console.print(f"{edited.edit.value} {edited.id}: {', '.join(edited.fields)}", markup=False)
    table = Table("use", "change", "people", "because of", "who")
    for use in found.uses:
        name = f"{use.use.purpose} {use.use.channel.value} {use.use.recipient}"
        for group in use.groups:
            people = "few" if group.people is None else f"{group.people:,}"
            change = f"{group.change.value}: {group.reason} -> {group.would_be}"
            table.add_row(name, change, people, "\n".join(group.rules), group.who or "few people")
    if table.row_count:
        console.print(table)
    changes = [change for change in diffs.Change if change is not diffs.Change.SAME]
    totals = {change: [use.total(change) for use in found.uses] for change in changes}
    for change, parts in totals.items():
        if any(part is None or part for part in parts):
            hidden = " and some that are few" if None in parts else ""
            console.print(f"{change.value}: {sum(part or 0 for part in parts):,} answers{hidden}")
    if found.same:
        console.print("nothing changes")
