"""A long log: what a receipt costs, how fast it is written out and verified, and that its length costs nothing.

And the map of as many chains as the log has entries, all of which grew since the map before: made up as rows, for only
how many there are matters here.

The log of the site grows to as many entries as the plan says, by the sequencer's own path. Then a receipt is made for
entries picked all over it, all of it is exported as files, and the auditor's verifier hashes those again. The limit of
the verifier is SHA-256 over the same leaves in a loop, without a file and without a tree.
"""

from __future__ import annotations

import resource
import shutil
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from time import perf_counter

from sqlalchemy import update

from consent_gateway.audit.entries import EntryKind, EntryWriter
from consent_gateway.audit.verifier import verify_directory
from consent_gateway.cli.bench.log import FIELDS
from consent_gateway.cli.bench.site import Site
from consent_gateway.cli.bench.stats import Figure, Limit, percentile, spread
from consent_gateway.cli.demo.dice import Dice
from consent_gateway.db import log_store
from consent_gateway.db.bulk import upsert_many
from consent_gateway.db.tables import audit_chains, audit_map_attempts
from consent_gateway.errors import UnavailableError
from consent_gateway.services.log import audit_log, maps
from consent_gateway.services.log.log_directories import PlainDirectory
from consent_gateway.services.log.log_exports import export

AIM_RECEIPT_MS = 5.0
AIM_VERIFIED = 300_000.0
_KIB = 1024
_MILLION = 1_000_000


def measure(site: Site) -> list[Figure]:
    """Let the log grow, then measure what its length could cost."""
    return [*_growth(site), *_receipts(site), *_outside(site), *_map(site)]


def _growth(site: Site) -> list[Figure]:
    """Fill the log in four parts; the memory of the process must not grow with what is in it."""
    part = site.plan.entries // 4
    rates, peaks = [], []
    sequencer = audit_log.Sequencer(site.gateway)
    for number in range(4):
        begun = perf_counter()
        _append(site, sequencer, number * part, part)
        rates.append(part / (perf_counter() - begun))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB)
    grown = (peaks[-1] - peaks[0]) * _MILLION / (3 * part)
    note = f"to {site.plan.entries:,} entries"
    return [
        Figure("log entries, 2,048 a commit", spread(rates), "entries/s", note=note),
        Figure("memory, a million entries on", spread([max(grown, 0.01)]), "MiB", note="at the peak"),
    ]


def _append(site: Site, sequencer: audit_log.Sequencer, first: int, count: int) -> None:
    writer = EntryWriter(EntryKind.DECISION_MADE, "system")
    for start in range(first, first + count, audit_log.BATCH):
        uids = [number.to_bytes(16, "big") for number in range(start, min(first + count, start + audit_log.BATCH))]
        with site.gateway.store.transaction() as session:
            log_store.append(session, [(uid, writer.write(0, uid, FIELDS), None) for uid in uids])
        sequencer.drain()


def _receipts(site: Site) -> list[Figure]:
    dice = Dice("receipts of a long log")
    uids = [dice.between(0, site.plan.entries // 4 * 4 - 1).to_bytes(16, "big") for _ in range(site.plan.receipts)]
    times = []
    for uid in uids:
        begun = perf_counter()
        with site.gateway.store.reading() as session:
            audit_log.receipt(session, uid)
        times.append((perf_counter() - begun) * 1000)
    note = f"one of {site.plan.entries:,}, in process"
    return [
        Figure(
            f"receipt from a long log, {name}", spread([percentile(times, share)]), "ms", aim=AIM_RECEIPT_MS, note=note
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _outside(site: Site) -> list[Figure]:
    """Write the log out and verify it as an auditor does."""
    directory = site.place.directory.parent / "exported"
    begun = perf_counter()
    size = export(site.gateway, PlainDirectory(directory)).size
    written = size / (perf_counter() - begun)
    verified = [_verified(site, directory, size, 1) for _ in range(site.plan.rounds)]
    shared = [_verified(site, directory, size, 2) for _ in range(site.plan.rounds)]
    shutil.rmtree(directory)
    limit = Limit("bare SHA-256", spread([_hashed(size) for _ in range(site.plan.rounds)]))
    note = f"{size:,} entries"
    return [
        Figure("log exported as files", spread([written]), "entries/s", note=note),
        Figure("log verified", spread(verified), "entries/s", (limit,), AIM_VERIFIED, note=note),
        Figure("log verified, two processes", spread(shared), "entries/s", (limit,), AIM_VERIFIED, note=note),
    ]


def _map(site: Site) -> list[Figure]:
    """Publish the map of many chains, and look how long one step of it takes, which is the most a writer waits."""
    dice, count = Dice("chains"), site.plan.entries
    keys = (b"".join(dice.below(1 << 64).to_bytes(8, "big") for _ in range(4)) for _ in range(count))
    with site.gateway.store.transaction() as session:
        upsert_many(session, audit_chains, ("chain_key", "count", "link"), [(key, 1, bytes(32)) for key in keys])
        session.execute(update(audit_map_attempts).values(moved_at=0))  # a server that has ended may have begun one
    begun = perf_counter()
    ends = [perf_counter() for _ in maps.publishing(site.gateway)]  # the first is that of reading what grew
    longest = max((after - before for before, after in pairwise(ends)), default=ends[-1] - begun) * 1000
    note = f"{count:,} chains, all of which grew"
    return [
        Figure("chains in a map, published", spread([count / (ends[-1] - begun)]), "chains/s", note=note),
        Figure("the longest step that writes", spread([longest]), "ms", note=note),
    ]


def _verified(site: Site, directory: Path, size: int, jobs: int) -> float:
    begun = perf_counter()
    finding = verify_directory(site.gateway.signer.vkey, directory, jobs=jobs)
    if not finding.ok:
        raise UnavailableError(f"the log of the benchmark does not verify: {finding}")
    return size / (perf_counter() - begun)


def _hashed(size: int) -> float:
    entry = b"\x00" + EntryWriter(EntryKind.DECISION_MADE, "system").write(0, bytes(16), FIELDS)
    begun = perf_counter()
    for _ in range(size):
        sha256(entry).digest()
    return size / (perf_counter() - begun)
