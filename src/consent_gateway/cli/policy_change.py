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

from consent_gateway.cli.options import emit, json_option, open_gateway, store_option
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, ForbiddenError, PolicyError
from consent_gateway.policies import diff as diffs
from consent_gateway.policies.packs import load, load_builtin
from consent_gateway.policies.rules import PackSet
from consent_gateway.services import policies, policy_diffs, replays, shadows
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.gateway import Gateway, Work
from consent_gateway.services.law import day_of
from consent_gateway.services.policies import Text
from consent_gateway.services.principals import digest

_DIFFERS = 1
_KEY = click.option(
    "--key-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with your own API key (scope policy).",
)


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


# -- the parts ---------------------------------------------------------------------------------------------------


def _act(store: Path | None, key_file: Path, act: Callable[[Work], Text], *, as_json: bool) -> None:
    gateway = open_gateway(store)
    with gateway.work(_principal(gateway, key_file)) as work:
        found = _text(act(work))
    Sequencer(gateway).drain()
    line = f"{found['id']}@{found['version']}: {found['state']}"
    emit(found, as_json=as_json, show=lambda console: console.print(line, markup=False))


def _principal(gateway: Gateway, key_file: Path) -> Principal:
    with gateway.look() as work:
        found = work.registers.principals.get(digest(key_file.read_text(encoding="utf-8").strip()))
    if found is None:
        raise AuthenticationError
    if not {"policy", "admin"} & found.scopes:
        raise ForbiddenError("this needs a key with the scope policy")
    return found


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


COMMANDS = (propose, propose_again, shadow, shadow_report, activate, texts, diff, replay)
