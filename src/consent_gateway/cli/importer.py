"""`consent-gateway import`: bring a file to a running gateway in batches, with progress and every rejection."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consent_gateway.cli.options import emit, json_option
from consent_gateway.errors import InputError, UnavailableError

BATCH_ROWS = 1000
MAX_BATCH_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 20
KINDS = ("subjects", "consents", "choices", "events", "contacts")
_REJECTED = 1


@dataclass(slots=True)
class Total:
    """What became of a file: counts summed over its batches, and every rejection with its row in the file."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    replayed: int = 0

    def add(self, answer: dict[str, Any], first_row: int, *, replayed: bool) -> None:
        """Add the answer for one batch that began at row `first_row` of the file."""
        self.counts.update({k: v for k, v in answer.items() if isinstance(v, int)})
        self.replayed += replayed
        for rejection in answer["rejections"]:
            self.rejections.append({**rejection, "row": first_row + rejection["row"] - 1})
            self.reasons.update(reason["code"] for reason in rejection["reasons"])


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

    The same file twice changes nothing: its batches carry keys that the gateway recognises.
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


def import_file(client: httpx.Client, path: Path, kind: str, source: str, on_progress: Callable[[int], None]) -> Total:
    """Send a file in batches, in order; raises InputError or UnavailableError with what the gateway said."""
    total = Total()
    is_csv = path.suffix.lower() == ".csv"
    name = hashlib.sha256(f"{kind} {source} {path.name}".encode()).hexdigest()[:16]
    for first_row, body, size in _batches(path, is_csv=is_csv):
        digest = hashlib.sha256(body).hexdigest()[:32]
        answer = _send(client, kind, source, body, f"{name}-{digest}", is_csv=is_csv)
        total.add(answer.json(), first_row, replayed="idempotent-replayed" in answer.headers)
        on_progress(size)
    return total


def _send(client: httpx.Client, kind: str, source: str, body: bytes, key: str, *, is_csv: bool) -> httpx.Response:
    media = "text/csv" if is_csv else "application/x-ndjson"
    headers = {"content-type": media, "idempotency-key": key}
    try:
        answer = client.post(f"/v1/imports/{kind}", params={"source": source}, content=body, headers=headers)
    except httpx.TransportError as error:
        raise UnavailableError(f"the gateway does not answer ({type(error).__name__}); is it running?") from None
    if answer.is_success:
        return answer
    refused = InputError if answer.is_client_error else UnavailableError
    raise refused(_complaint(answer))


def _complaint(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return f"the gateway answered {answer.status_code}"
    fields = "; ".join(f"{e['path']}: {e['message']}" for e in problem.get("errors", []))
    return f"{problem.get('title', '')}: {problem.get('detail', '')} {fields}".strip()


def _batches(path: Path, *, is_csv: bool) -> Iterator[tuple[int, bytes, int]]:
    """Yield `(first row, body, bytes of the file)`; a CSV record with line breaks inside quotes stays whole."""
    with path.open("rb") as file:
        header = file.readline(MAX_LINE_BYTES) if is_csv else b""
        batch, rows, size, first = [header] if is_csv else [], 0, len(header), 1
        for record in _records(file, is_csv=is_csv):
            batch.append(record)
            rows, size = rows + 1, size + len(record)
            if rows == BATCH_ROWS or size >= MAX_BATCH_BYTES:
                yield first, b"".join(batch), size
                first, batch, rows, size = first + rows, [header] if is_csv else [], 0, 0
        if rows:
            yield first, b"".join(batch), size


def _records(file: Any, *, is_csv: bool) -> Iterator[bytes]:
    pending = b""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"a line is longer than {MAX_LINE_BYTES} bytes; is this the right file?")
        pending += line
        if is_csv and pending.count(b'"') % 2 and len(pending) <= MAX_LINE_BYTES:
            continue  # inside quotes: the record goes on
        if pending.strip():
            yield pending
        pending = b""
    if pending:
        yield pending


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
    for code, count in total.reasons.most_common():
        console.print(f"  {code}: {count}")
    for rejection in total.rejections[:20]:
        where = "; ".join(f"{r['path']} {r['message']}" for r in rejection["reasons"])
        console.print(f"  row {rejection['row']}: {where}", markup=False)
    if len(total.rejections) > 20:  # noqa: PLR2004 - a screenful
        console.print(f"  … all {len(total.rejections)} with --json, or GET /v1/quarantine")
