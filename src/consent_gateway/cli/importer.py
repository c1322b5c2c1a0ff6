"""`consent-gateway import`: bring a file to a running gateway in batches, with progress and every rejection.

The same file again changes nothing: each call carries a key made of what it says, so the gateway answers it from
memory. Only rows that were refused are judged once more, because what they lacked may be there by now (`_deliver`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from consent_gateway.cli.import_files import LIMITS, Batch, Limits, batches
from consent_gateway.cli.options import emit, json_option
from consent_gateway.errors import InputError, UnavailableError

KINDS = ("subjects", "consents", "choices", "events", "contacts", "signals", "sensitive")
_COUNTS = ("received", "accepted", "created", "updated", "joined", "duplicates", "suppressed", "rejected")
_REJECTED = 1


@dataclass(slots=True)
class Total:
    """What became of a file: counts summed over its batches, and every rejection with its row in the file."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_COUNTS, 0)))
    reasons: Counter[str] = field(default_factory=Counter)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    replayed: int = 0
    judged_again: int = 0

    def add(self, answer: dict[str, Any], batch: Batch) -> None:
        """Add the last answer for a batch."""
        self._count(answer)
        for rejection, record in zip(answer["rejections"], batch.refused(answer), strict=True):
            self.rejections.append({**rejection, "row": record.row})
            self.reasons.update(reason["code"] for reason in rejection["reasons"])

    def add_settled(self, answer: dict[str, Any]) -> None:
        """Add an answer without the rows that it refused: those get another answer."""
        self._count(answer)
        open_rows = len(answer["rejections"])
        self.counts.subtract({"received": open_rows, "rejected": open_rows})

    def _count(self, answer: dict[str, Any]) -> None:
        self.counts.update({name: answer.get(name, 0) for name in _COUNTS})


@click.command("import")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kind", type=click.Choice(KINDS), default="subjects", show_default=True)
@click.option("--source", required=True, help="A registered source.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, envvar="CONSENT_GATEWAY_CLIENT_URL")
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with the API key.")
@click.option("--key", envvar="CONSENT_GATEWAY_CLIENT_KEY", help="API key; better from a file or the environment.")
@json_option
def import_command(
    path: Path, kind: str, source: str, url: str, key_file: Path | None, key: str | None, *, as_json: bool
) -> None:
    """Import a CSV (subjects) or NDJSON file through the API; status 1 if rows were refused.

    The same file twice changes nothing: its batches carry keys that the gateway recognises. Rows that were refused
    are judged once more, so a file whose people came later can simply be imported again.
    """
    secret = key_file.read_text(encoding="utf-8").strip() if key_file is not None else key
    if not secret:
        raise click.UsageError("give --key-file, or --key, or CONSENT_GATEWAY_CLIENT_KEY")
    headers = {"authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client, _progress() as progress:
        task = progress.add_task(f"{kind} from {path.name}", total=path.stat().st_size)
        total = import_file(client, path, kind, source, lambda size: progress.advance(task, size))
    value = {**total.counts, "reasons": dict(total.reasons), "rejections": total.rejections}
    emit(value, as_json=as_json, show=lambda console: _show(console, total))
    if total.rejections:
        raise click.exceptions.Exit(_REJECTED)


def import_file(
    client: httpx.Client,
    path: Path,
    kind: str,
    source: str,
    on_progress: Callable[[int], None],
    limits: Limits = LIMITS,
) -> Total:
    """Send a file in batches, in order, and return what became of it; `on_progress` gets bytes of the file.

    Raises InputError for a file that cannot be read as what it claims to be, or that has bytes and no record, and
    InputError or UnavailableError with what the gateway said. Batches before the one at fault have been taken in.
    """
    call = _Call(client, path, kind, source)
    total, done, size = Total(), 0, path.stat().st_size
    for batch in batches(path, is_csv=call.is_csv, limits=limits):
        _deliver(call, batch, total)
        on_progress(batch.position - done)
        done = batch.position
    if size and not done:
        raise InputError(f"the file has {size} bytes and no record: CSV needs a header and records, NDJSON objects")
    on_progress(size - done)
    return total


def _deliver(call: _Call, batch: Batch, total: Total) -> None:
    """Send one batch until every row of it has an answer of today, and add the answers to `total`.

    A remembered answer that refuses rows is no answer of today for them: they, and only they, are sent once more.
    That call has a key of its own, made of its number and of what it says; so whatever one import had taken in, the
    next one finds remembered, and no row is ever applied twice. It ends because the gateway remembers as many calls
    as were made.
    """
    for number in itertools.count():
        answer = call.send(batch.body(), number)
        said, replayed = answer.json(), "idempotent-replayed" in answer.headers
        total.replayed += replayed and not number
        if not replayed or not said["rejections"]:
            break
        total.add_settled(said)
        batch = replace(batch, records=batch.refused(said))
    total.add(said, batch)
    total.judged_again += len(batch.records) if number and not replayed else 0


@dataclass(frozen=True, slots=True)
class _Call:
    """Where the batches of one file go, and as what."""

    client: httpx.Client
    path: Path
    kind: str
    source: str

    @property
    def is_csv(self) -> bool:
        return self.path.suffix.lower() == ".csv"

    def send(self, body: bytes, number: int) -> httpx.Response:
        """Return the gateway's answer, a success; `number` counts the calls for one batch from 0."""
        media = "text/csv" if self.is_csv else "application/x-ndjson"
        headers = {"content-type": media, "idempotency-key": self._key(body, number)}
        try:
            answer = self.client.post(
                f"/v1/imports/{self.kind}", params={"source": self.source}, content=body, headers=headers
            )
        except httpx.TransportError as error:
            raise UnavailableError(f"the gateway does not answer ({type(error).__name__}); is it running?") from None
        if answer.is_success:
            return answer
        refused = InputError if answer.is_client_error else UnavailableError
        raise refused(complaint(answer))

    def _key(self, body: bytes, number: int) -> str:
        """Return a key of 49 characters, and a few more from the second call on (the gateway takes 64)."""
        name = hashlib.sha256(f"{self.kind} {self.source} {self.path.name}".encode()).hexdigest()[:16]
        key = f"{name}-{hashlib.sha256(body).hexdigest()[:32]}"
        return f"{key}-{number}" if number else key


def complaint(answer: httpx.Response) -> str:
    """Return what a problem (RFC 9457) says, in one line."""
    try:
        problem = answer.json()
    except ValueError:
        return f"the gateway answered {answer.status_code}"
    fields = "; ".join(f"{e['path']}: {e['message']}" for e in problem.get("errors", []))
    return f"{problem.get('title', '')}: {problem.get('detail', '')} {fields}".strip()


# -- showing -----------------------------------------------------------------------------------------------------


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _show(console: Console, total: Total) -> None:
    counts = total.counts
    console.print(
        f"received {counts['received']}: accepted {counts['accepted']} "
        f"(new {counts['created']}, updated {counts['updated']}, joined {counts['joined']}), "
        f"known already {counts['duplicates']}, refused {counts['rejected']}"
    )
    if total.replayed:
        console.print(f"{total.replayed} batches had been sent before and changed nothing")
    if total.judged_again:
        console.print(f"{total.judged_again} rows had been refused before and were judged once more")
    for code, count in total.reasons.most_common():
        console.print(f"  {code}: {count}")
    for rejection in total.rejections[:20]:
        where = "; ".join(f"{r['path']} {r['message']}" for r in rejection["reasons"])
        console.print(f"  row {rejection['row']}: {where}", markup=False)
    if len(total.rejections) > 20:  # noqa: PLR2004 - a screenful
        console.print(f"  … all {len(total.rejections)} with --json, or GET /v1/quarantine")
