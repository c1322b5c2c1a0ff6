"""Moving the blind index to another key, or to newer normalisers, while everything goes on (VAULT 3.5).

A move is a job over all keys (`services.keys.key_jobs`); which generation counts is its truth, and each page does what
that asks for:

1. `start`: a new generation in the keyring, and in the store as the one that is moving. From here on, whoever writes an
   identifier writes it under both; until the end, the former generation alone says whom an identifier belongs to.
2. Filling: the contact groups of people are opened and their identifiers get rows under the new one.
3. The switch, in one transaction that waits for every writer: none is missing, and the new generation begins to count.
   It holds no lock on anybody by then, or it and a writer could wait for each other.
4. After a grace for readers that began before, the former rows go. The former key is destroyed by another act, with
   four eyes (`services.keys.index_destruction`), once no row of anybody needs it.

A pass that leaves somebody without a row is followed by another; if all of them are collisions, identifiers of
different people that are one by newer rules, the job rests until they are merged, and looks again every minute.

A process whose keyring lacks the new key works on until the switch, and refuses after it (`KeyringError`) rather than
to miss somebody: it looks at the keyring's file first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import generations as rows
from consent_gateway.domain.generations import Generation, Generations
from consent_gateway.domain.key_jobs import START, JobKind, KeyJob
from consent_gateway.errors import KeyringError
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.keys import key_jobs
from consent_gateway.services.keys.index_filling import fill, rename_quarantined
from consent_gateway.services.keys.key_jobs import Step
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.normalisers import VERSIONS

GRACE_SECONDS = 60  # a reader's transaction lasts no longer
BLOCKED_SECONDS = 60  # between two looks for collisions that somebody has to merge
_PAGE = 500  # people of one transaction: their groups are opened


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a move stands: the generations, contact points without a row, rows and noes of strangers under the old key.

    `outdated`: kinds whose normaliser has a newer version than the generation that counts; a move brings it.
    """

    counts: int
    moving: int | None
    leaving: int | None
    missing: int
    left: int
    strangers: Mapping[str, int]
    outdated: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def progress(work: Work) -> Progress:
    """Return where the index stands."""
    index, session = work.registers.index, work.session
    missing = rows.count_missing(session, index.counts.number, index.moving.number) if index.moving else 0
    return Progress(
        index.counts.number,
        index.moving.number if index.moving else None,
        index.leaving.number if index.leaving else None,
        missing,
        rows.count(session, index.leaving.number) if index.leaving else 0,
        rows.strangers(session, lasting_names.FORMERLY.number),
        tuple(sorted(kind for kind, newest in VERSIONS.items() if index.counts.version(kind) != newest)),
    )


def start(work: Work, rate: int | None = None) -> KeyJob:
    """Begin to move to a new generation, or return the move that is not finished yet; `rate`: see `key_jobs.begin`.

    One that waits for a merge looks again at once. The key is in the keyring before the store names it; one that a
    crash left there unused is taken.
    """
    work.changed_registers()  # alone from here on
    if work.registers.index.moving is None and work.registers.index.leaving is None:
        _begin(work)
    former, new = _ends(work.registers.index)
    total = 2 * rows.count(work.session, former)  # each row is written once and dropped once
    job, _ = key_jobs.begin(work, JobKind.INDEX_GENERATION, total, former, new, rate=rate)
    return key_jobs.wake(work, job) if is_blocked(job) else job


def page(work: Work, job: KeyJob, limit: int) -> Step:
    """Do the next part of the move; KeyringError, with nothing done, if this process cannot get the new key."""
    work.catch_up()  # another process may have switched before this one got the job
    index = work.registers.index
    if index.moving is not None:
        return _fill(work, job, index.moving, min(limit, _PAGE))
    if index.leaving is not None:
        return _drop(work, job, index.leaving, limit)
    return Step(job.position, finished=True)


def is_blocked(job: KeyJob) -> bool:
    """Tell whether a move rests because identifiers of different people are one by the newer rules."""
    waits = job.position == START and job.rests_until is not None and job.failed > 0
    return job.kind is JobKind.INDEX_GENERATION and waits


# -- the parts ---------------------------------------------------------------------------------------------------------


def _ends(index: Generations) -> tuple[int, int]:
    """Return the numbers that the move under way goes from and to."""
    if index.moving is not None:
        return index.counts.number, index.moving.number
    return (index.leaving or index.counts).number, index.counts.number


def _begin(work: Work) -> None:
    counts, custody = work.registers.index.counts, work.gateway.vault.custody
    custody.require_sound()
    custody.follow()
    if custody.keyring.current_generation == counts.number:
        custody.use(custody.keyring.new_index_generation())
    number = custody.keyring.current_generation
    rows.begin(work.session, counts, number, VERSIONS, work.now)
    work.changed_registers()
    work.record(EntryKind.INDEX_MOVED, {"step": "started", "from": counts.number, "to": number})


def _fill(work: Work, job: KeyJob, moving: Generation, limit: int) -> Step:
    if not work.gateway.vault.holds(moving):
        raise KeyringError("The keyring lacks the generation that the index moves to: bring the newest one")
    if job.position == START:
        rename_quarantined(work)
    filled = fill(work, moving, max(job.position, 0), limit)
    if filled.last is not None:
        return Step(filled.last, filled.written, filled.collisions)
    return Step(0) if job.position == START else _end_of_pass(work, job)


def _end_of_pass(work: Work, job: KeyJob) -> Step:
    work.changed_registers()  # waits for every writer, and lets none begin
    index = work.registers.index
    if index.moving is None:
        return Step(job.position)
    missing = rows.count_missing(work.session, index.counts.number, index.moving.number)
    if missing:
        return Step(START, rests_until=work.now + BLOCKED_SECONDS if missing <= job.failed else None)
    rows.switch(work.session, work.now)
    work.changed_registers()
    fields = {"step": "switched", "from": index.counts.number, "to": index.moving.number}
    work.record(EntryKind.INDEX_MOVED, fields)
    return Step(job.position, rests_until=work.now + GRACE_SECONDS)


def _drop(work: Work, job: KeyJob, leaving: Generation, limit: int) -> Step:
    ready = leaving.at + GRACE_SECONDS
    if work.now < ready:
        return Step(job.position, rests_until=ready)
    gone = rows.drop(work.session, leaving.number, limit)
    if gone:
        return Step(job.position, gone)
    rows.end(work.session, leaving.number)
    work.changed_registers()
    work.record(EntryKind.INDEX_MOVED, {"step": "dropped", "from": leaving.number})
    return Step(job.position, finished=True)
