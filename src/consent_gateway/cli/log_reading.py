"""Commands that read the log out: export it to a directory, prove who was in an audience, search it, watch it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.ocsf import ocsf_event
from consent_gateway.cli.opening import open_gateway
from consent_gateway.cli.options import emit, json_option, store_option
from consent_gateway.db.engine import Store
from consent_gateway.db.migrate import upgrade
from consent_gateway.errors import AuditError, FieldProblem, InputError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.identity.people import PSEUDONYM
from consent_gateway.services.log import log_exports, log_moves, log_search, manifests
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_directories import open_directory
from consent_gateway.services.log.log_search import Query
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.settings import Settings

_POLL_SECONDS = 1.0
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]


@click.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--append-only",
    is_flag=True,
    help="Never replace, move or remove a file: for write-once media. Checkpoints are checkpoint.SIZE.",
)
@click.option("--quick", is_flag=True, help="Compare tiles with what is there, and trust the bundles below them.")
@click.option("--map", "with_map", is_flag=True, help="Also the chains of the newest published map, as maps/NUMBER.")
@store_option
@json_option
def export(
    directory: Path, store: Path | None, *, append_only: bool, quick: bool, with_map: bool, as_json: bool
) -> None:
    """Write the log as a C2SP tlog-tiles directory; a second run writes what is new.

    What is there is compared first. A directory that is not a prefix of this log is refused (status 2), with the first
    entry that differs, and nothing is written.
    """
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    into = open_directory(directory, append_only=append_only)
    with _entries_bar() as progress:
        done = log_exports.export(gateway, into, progress, quick=quick)
    chains = log_exports.export_map(gateway, into) if with_map else None
    value = {
        "directory": str(directory),
        "origin": gateway.signer.key.name,
        "size": done.size,
        "root": done.root.hex(),
        "before": done.before,
        "files": done.files,
        "map": chains,
    }
    text = (
        f"{done.size - done.before} new entries, {done.size} in all, in {directory}\n"
        f"verify with: consent-gateway audit verify tree VKEY {directory}"
    )
    emit(value, as_json=as_json, show=lambda _: click.echo(text))


@click.command("prove")
@click.argument("audience")
@click.argument("pseudonym")
@store_option
def prove(audience: str, pseudonym: str, store: Path | None) -> None:
    """Print the proof that somebody is in an audience, or is not, as JSON; `audit verify membership` checks it.

    The audience must not have expired. The reading is recorded.
    """
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    with gateway.work() as work:
        row = audiences.find(work, audience)
        proof = manifests.prove(work, row, pseudonym)
        audiences.record_reading(work, row, 1)
    Sequencer(gateway).drain()
    click.echo(json.dumps(proof, indent=2))


@click.command("search")
@click.option(
    "--kind", type=click.Choice([kind.value for kind in EntryKind]), metavar="KIND", help="Such as key.issued."
)
@click.option("--actor", help="Who acted: the name of a key.")
@click.option("--purpose", help="The purpose that the entry names.")
@click.option("--action", help="The action that the entry names.")
@click.option("--from", "since", type=click.DateTime(_TIMES), help="From this instant on (UTC).")
@click.option("--to", "until", type=click.DateTime(_TIMES), help="Up to before this instant (UTC).")
@click.option("--subject", help="A person: pseudonym, email=…, phone=…, member_no=…; recorded.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="At most so many.")
@store_option
def search(store: Path | None, subject: str | None, limit: int, since: datetime | None, until: datetime | None,
           **named: str | None) -> None:  # fmt: skip
    """Print entries that match, newest first, one JSON object a line: {"index":…,"entry":…}."""
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    kind = named.pop("kind")
    query = Query(None if kind is None else EntryKind(kind), since=_millis(since), until=_millis(until), **named)
    below: int | None = None
    while limit > 0:
        size = min(limit, log_search.MAX_PAGE)
        if subject is None:
            with gateway.look() as work:
                page = log_search.search(work.session, query, below, size)
        else:
            with gateway.work() as work:
                page = log_search.search_about(work, _ref(subject), query, below, size)
        for index, entry in page.entries:
            click.echo(b'{"index":%d,"entry":%b}' % (index, entry))
        limit, below = limit - len(page.entries), page.next
        if below is None:
            break
    Sequencer(gateway).drain()


@click.command("index")
@click.option("--rebuild", is_flag=True, help="Forget what is there and make it again out of the log.")
@store_option
@json_option
def index(store: Path | None, *, rebuild: bool, as_json: bool) -> None:
    """Bring the index of the log up to date, as the worker does; searches are complete without it, and slower."""
    gateway = open_gateway(store)
    made = log_search.rebuild(gateway) if rebuild else log_search.catch_up(gateway)
    emit({"blocks": made}, as_json=as_json, show=lambda console: console.print(f"{made} blocks of 256 entries indexed"))


@click.command("ocsf")
@click.option(
    "--since", type=click.IntRange(0), metavar="INDEX", help="Begin at this entry (default: the cursor, or 0)."
)
@click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps the next entry's index: a later run goes on from there.",
)
@click.option("--follow", is_flag=True, help="Wait for more entries, until interrupted.")
@store_option
def ocsf(store: Path | None, since: int | None, cursor: Path | None, *, follow: bool) -> None:
    """Print entries as OCSF 1.3.0 events, one JSON object a line, oldest first: for a SIEM (docs/ocsf.md).

    The cursor moves after the lines were written, so that a run which dies repeats some and loses none.
    """
    gateway = open_gateway(store)
    origin, waiting = gateway.signer.key.name, Event()
    at = since if since is not None else _read_cursor(cursor)
    Sequencer(gateway).drain()
    while True:
        rows = log_search.entries_from(gateway, at)
        for index, entry in rows:
            click.echo(json.dumps(_event(index, entry, origin), ensure_ascii=False, separators=(",", ":")))
        if rows:
            at += len(rows)
            _write_cursor(cursor, at)
        elif not follow:
            return
        else:
            waiting.wait(_POLL_SECONDS)


@click.command("copy")
@click.option("--from-store", "store", type=click.Path(file_okay=False, path_type=Path), help="As `--store` elsewhere.")
@click.option("--to-store", type=click.Path(file_okay=False, path_type=Path), help="Directory of a SQLite store.")
@click.option(
    "--to-database",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the address of a PostgreSQL database.",
)
@json_option
def copy(store: Path | None, to_store: Path | None, to_database: Path | None, *, as_json: bool) -> None:
    """Copy the log to another store, SQLite or PostgreSQL: the same bytes under the same checkpoint.

    Entries, tiles, chains, maps, epochs and the head; people and registers are no part of it. A second run copies what
    is new. A target that is not a prefix of this log is refused (status 2).
    """
    if (to_store is None) == (to_database is None):
        raise click.UsageError("give one of --to-store and --to-database")
    gateway = open_gateway(store)
    Sequencer(gateway).drain()
    target = _target(to_store, to_database)
    try:
        upgrade(target)
        with _entries_bar() as progress:
            done = log_moves.move_log(gateway.store, target, progress)
    finally:
        target.dispose()
    value = {"size": done.size, "root": done.root.hex(), "before": done.before}
    text = f"{done.size - done.before} entries copied, {done.size} in all, root {done.root.hex()}"
    emit(value, as_json=as_json, show=lambda _: click.echo(text))


def _target(directory: Path | None, database: Path | None) -> Store:
    if directory is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Store(Settings.from_environment({}, store_directory=directory).database())
    address = (database or Path()).read_text(encoding="utf-8").strip()
    return Store(Settings.from_environment({}, database_url=address).database())


def _event(index: int, entry: bytes, origin: str) -> dict[str, Any]:
    try:
        return ocsf_event(index, entry, origin)
    except ValueError:
        raise AuditError(f"entry {index} is not as it was logged; run consent-gateway audit verify") from None


def _read_cursor(cursor: Path | None) -> int:
    """Return where the last run ended; InputError for a file that no run has written."""
    if cursor is None or not cursor.exists():
        return 0
    text = cursor.read_text(encoding="ascii", errors="replace").strip()
    if not text.isdecimal():
        raise InputError(fields=(FieldProblem("--cursor", "not_an_index", "the file does not hold an index"),))
    return int(text)


def _write_cursor(cursor: Path | None, at: int) -> None:
    sys.stdout.flush()
    if cursor is not None:
        temporary = cursor.with_name(cursor.name + ".part")
        temporary.write_text(f"{at}\n", encoding="ascii")
        temporary.replace(cursor)


def _ref(text: str) -> SubjectRef:
    """Return who is meant: KIND=VALUE, or a pseudonym."""
    kind, equals, value = text.partition("=")
    return SubjectRef(kind, value) if equals else SubjectRef(PSEUDONYM, text)


def _millis(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.replace(tzinfo=UTC).timestamp() * 1000)


@contextmanager
def _entries_bar() -> Iterator[log_exports.Progress]:
    """Show how many entries are done, on standard error."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("entries", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@click.command("vkey")
@store_option
def vkey(store: Path | None) -> None:
    """Print the log's verifier key; auditors pin it."""
    click.echo(open_gateway(store).signer.vkey)
