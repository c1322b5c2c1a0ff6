"""The audit log: entries a second through the whole path, and how soon a receipt can be had.

The whole path is: recorded in the action's transaction, pending, taken by the sequencer, in the tree, in tiles, under
a signed checkpoint, and all of it durable. The limit is one durable insert of the same bytes, without a tree; the log
must write each entry twice (pending and integrated).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter

from consent_gateway.audit.entries import EntryKind, EntryWriter
from consent_gateway.cli.bench.job import Job
from consent_gateway.cli.bench.loading import put
from consent_gateway.cli.bench.raw import Raw
from consent_gateway.cli.bench.site import USE, Site, twin
from consent_gateway.cli.bench.stats import Figure, Limit, milliseconds, percentile, spread
from consent_gateway.db import log_store
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway, Work

AIM_RECEIPT_MS = AIM_SIGNED_MS = 100.0
CALLERS = (1, 64)
_PACKS = "ccpa@3 gdpr@3 pipl@3 uk@3"
FIELDS = {**USE, "outcome": "permit", "reason": "consented", "packs": _PACKS, "policy": "0" * 64}
_PAYLOAD = b'{"facts":"' + b"0" * 64 + b'"}'  # as a decision's
_TABLE = "CREATE TABLE IF NOT EXISTS bench_entries (id INTEGER PRIMARY KEY, uid {bytes}, entry {bytes})"


def measure(site: Site) -> list[Figure]:
    """Measure appends one by one and 64 at a time, the same about people, then receipts over HTTP."""
    appended = (figure for callers in CALLERS for figure in _appends(site, callers, f"{callers} a commit", _nobody))
    return [*appended, *_appends(site, CALLERS[-1], "of people", _about(site.plan.people)), *_receipts(site)]


def _nobody(work: Work, _number: int) -> None:
    """Record an entry about nobody in particular."""
    work.record(EntryKind.DECISION_MADE, FIELDS)


def _about(people: int) -> Callable[[Work, int], None]:
    """Return what records an entry about one of many people: committed to, linked into their chain, with an opening."""

    def record(work: Work, number: int) -> None:
        subject = SubjectId(1 + number % people)
        audit_key = sha256(subject.to_bytes(8, "big")).digest()
        work.record_about(EntryKind.DECISION_MADE, FIELDS, subject, audit_key, _PAYLOAD)

    return record


def _appends(site: Site, callers: int, name: str, record: Callable[[Work, int], None]) -> list[Figure]:
    whole, bare, lags = [], [], []
    with twin(site) as raw:
        _make_table(raw)
        for n in range(site.plan.rounds):
            appended = append_for(site.gateway, callers, site.plan.seconds, record)
            whole.append(appended.rate)
            lags.append(percentile(appended.lags_ms, 0.99))
            bare.append(_insert_for(raw, callers, site.plan.seconds, n))
    return [
        Figure(f"log entries, {name}", spread(whole), "entries/s", (Limit("bare durable inserts", spread(bare)),)),
        Figure(f"signed after, {name}, p99", spread(lags), "ms", aim=AIM_SIGNED_MS),
    ]


@dataclass(frozen=True, slots=True)
class Appended:
    """Entries published a second, and how long each commit waited from its return to a signed head that covers it."""

    rate: float
    lags_ms: list[float]


def append_for(
    gateway: Gateway, callers: int, seconds: float, record: Callable[[Work, int], None] = _nobody
) -> Appended:
    """Record entries for a while, `callers` in each transaction, until all of them are *published*."""
    errors: list[Exception] = []
    worker = Worker(gateway, errors.append)
    before, begun = _size(gateway), perf_counter()
    commits: list[tuple[float, int]] = []
    heads: list[tuple[float, int]] = []
    gateway.on_recorded = worker.wake
    gateway.on_published = lambda: heads.append((perf_counter(), gateway.published.size if gateway.published else 0))
    worker.start()
    while perf_counter() - begun < seconds:
        with gateway.work() as work:
            for number in range(callers):
                record(work, callers * len(commits) + number)
        commits.append((perf_counter(), before + callers * (len(commits) + 1)))
    worker.stop()  # integrates what is left
    took = perf_counter() - begun
    gateway.on_recorded = gateway.on_published = lambda: None
    if errors:
        raise errors[0]
    return Appended((_size(gateway) - before) / took, _lags(commits, heads))


def _lags(commits: Sequence[tuple[float, int]], heads: Sequence[tuple[float, int]]) -> list[float]:
    """Return for each commit (instant, size it needs) the time until the first head (instant, size) that has it."""
    sizes = [size for _, size in heads]
    waited = ((at, heads[bisect_left(sizes, needed)][0]) for at, needed in commits)
    # integrated before the caller was told, when the other thread was faster: no wait at all
    return [max(0.0, signed - at) * 1000 for at, signed in waited]


def _size(gateway: Gateway) -> int:
    with gateway.store.reading() as session:
        return (log_store.checkpoint(session) or (0, b""))[0]


def _make_table(raw: Raw) -> None:
    with raw.transaction() as cursor:
        cursor.execute(_TABLE.replace("{bytes}", "BLOB" if raw.is_sqlite else "BYTEA"))


def _insert_for(raw: Raw, callers: int, seconds: float, run: int) -> float:
    uid = bytes(16)
    entry = EntryWriter(EntryKind.DECISION_MADE, "system").write(0, uid, FIELDS)
    number, begun = run << 24, perf_counter()
    while perf_counter() - begun < seconds:
        with raw.transaction() as cursor:
            rows = [(number + n, uid, entry) for n in range(callers)]
            raw.insert(cursor, "bench_entries", ("id", "uid", "entry"), rows)
        number += callers
    return (number - (run << 24)) / (perf_counter() - begun)


def _receipts(site: Site) -> list[Figure]:
    with site.serving() as server:
        job = Job("receipts", server.port, site.questions(), count=site.plan.receipts, key=site.key)
        runs = [put(job, server.pid)[0].latencies_us for _ in range(site.plan.rounds)]
    note = f"{site.plan.receipts} receipts a run"
    return [
        _receipt("p50", [milliseconds(run, 0.5) for run in runs], note),
        _receipt("p99", [milliseconds(run, 0.99) for run in runs], note),
    ]


def _receipt(label: str, values: list[float], note: str) -> Figure:
    return Figure(f"receipt after the answer, {label}", spread(values), "ms", aim=AIM_RECEIPT_MS, note=note)
