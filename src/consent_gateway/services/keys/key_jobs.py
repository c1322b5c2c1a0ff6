"""Jobs over all keys: begun once, done page by page, taken up by whoever comes, and seen while they run.

A page is one transaction: the job's row is locked, the page is done from its position on, and the position is written
with it. So a job that dies at any statement goes on from its last page, and what that page did is there or is not.
Jobs of a kind come one at a time: to begin one that is not finished is to get it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import key_jobs as rows
from consent_gateway.domain.key_jobs import LEASE_SECONDS, START, JobKind, KeyJob
from consent_gateway.errors import ConflictError, NotFoundError, RaceError
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work

PAGE = 1_000  # beside a server: writers wait for some milliseconds
BULK_PAGE = 4_000  # where a command does nothing else: fewer flushes
PACED_PAGE = 100  # at a rate: no kind of page is smaller, or rows that it does not take would be waited for
_WATCH_SECONDS = 1.0


class HeldError(ConflictError):
    """Another process is at the job."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one page did: where it ended, how many rows it changed and could not read; `finished` with nothing left.

    A `position` of `START` begins a new pass. `outside` is done after the transaction, and then the page anew: it asks
    somebody who may be slow, while nobody who writes waits. `rests_until`: an instant (seconds) before which there is
    nothing to do.
    """

    position: int
    done: int = 0
    failed: int = 0
    finished: bool = False
    outside: Callable[[], None] | None = None
    rests_until: int | None = None


PageOf = Callable[[Work, KeyJob, int], Step]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job may go: rows in a transaction, and rows a second (None: as fast as it can)."""

    rows: int = PAGE
    per_second: float | None = None
    sleep: Callable[[float], None] = time.sleep
    timer: Callable[[], float] = time.perf_counter

    @classmethod
    def of(cls, job: KeyJob) -> Pace:
        """Return the pace of a command that does nothing else, at most at the job's rate."""
        return cls(BULK_PAGE if job.rate is None else min(PACED_PAGE, job.rate), job.rate)

    def rest(self, begun: float) -> None:
        """Wait for as long as a page that began at `begun` still has to last."""
        if self.per_second is not None:
            left = self.rows / self.per_second - (self.timer() - begun)
            if left > 0:
                self.sleep(left)


@dataclass(frozen=True, slots=True)
class Runner:
    """One process that does pages: `pages` says how for each kind, `holder` is its name in a lease."""

    gateway: Gateway
    pages: Mapping[JobKind, PageOf]
    holder: str = field(default_factory=lambda: secrets.token_hex(16))

    def page(self, job_id: int, limit: int = PAGE) -> KeyJob:
        """Do the next page and return the job; ConflictError while another process is at it."""
        job, step = self._page(job_id, limit)
        while step is not None and step.outside is not None:
            step.outside()
            job, step = self._page(job_id, limit)
        return job

    def _page(self, job_id: int, limit: int) -> tuple[KeyJob, Step | None]:
        with self.gateway.work(SYSTEM) as work:
            job = _claimed(work, job_id, self.holder)
            if job.finished_at is not None or job.rests(work.now):
                return job, None
            step = self.pages[job.kind](work, job, limit)
            return _advanced(work, job, step), step

    def run(self, job_id: int, pace: Pace | None = None, told: Callable[[KeyJob], None] = lambda _: None) -> KeyJob:
        """Do pages until the job is finished, telling of each; while another process is at it, watch it."""
        pace = pace or Pace()
        while True:
            begun = pace.timer()
            try:
                job = self.page(job_id, pace.rows)
            except RaceError:
                continue  # another writer was in the way, and nothing was done
            except HeldError:
                pace.sleep(_WATCH_SECONDS)
                with self.gateway.look() as work:
                    told(find(work, job_id))
                continue
            told(job)
            if job.finished_at is not None:
                return job
            pace.rest(begun)
            if rests := job.rests(int(self.gateway.clock().timestamp())):
                pace.sleep(rests)


def begin(
    work: Work,
    kind: JobKind,
    total: int,
    from_number: int | None = None,
    to_number: int | None = None,
    *,
    rate: int | None = None,
) -> tuple[KeyJob, bool]:
    """Begin a job and return it, with True; or the unfinished one of that kind, with False.

    `rate`: most rows a second, whoever does it; a job that is under way gets it from its next page on, unless None.
    """
    work.changed_registers()  # one at a time: of two who begin, the second gets the first one's
    for job in rows.unfinished(work.session, kind):
        if rate is not None:
            rows.change(work.session, job.id, rate=rate)
        return find(work, job.id), False
    numbers = {"from_number": from_number, "to_number": to_number}
    counts = {"position": START, "done": 0, "failed": 0, "total": total}
    begun = {"started_at": work.now, "started_by": work.actor.id}
    job_id = rows.add(work.session, kind=kind.value, rate=rate, **numbers, **counts, **begun)
    job = find(work, job_id)
    work.record(EntryKind.KEY_JOB_STARTED, _named(job) | {"total": total})
    return job, True


def wake(work: Work, job: KeyJob) -> KeyJob:
    """Let a job that rests go on at once, and return it."""
    rows.change(work.session, job.id, rests_until=None)
    return find(work, job.id)


def find(work: Work, job_id: int) -> KeyJob:
    """Return a job; NotFoundError if there is none."""
    found = rows.find(work.session, job_id)
    if found is None:
        raise NotFoundError("there is no such job")
    return found


def _claimed(work: Work, job_id: int, holder: str) -> KeyJob:
    job = rows.find(work.session, job_id, lock=True)
    if job is None:
        raise NotFoundError("there is no such job")
    if job.finished_at is None and job.held(work.now, holder):
        raise HeldError(f"another process is at this job; if it died, try again in {LEASE_SECONDS} seconds")
    rows.change(work.session, job_id, lease_holder=holder, lease_until=work.now + LEASE_SECONDS)
    return job


def _advanced(work: Work, job: KeyJob, step: Step) -> KeyJob:
    failed = 0 if job.position == START else job.failed  # of this pass; the last one's are seen until it begins
    changes: dict[str, int | str | None] = {
        "position": step.position,
        "done": job.done + step.done,
        "failed": failed + step.failed,
        "rests_until": step.rests_until,
    }
    if step.finished:
        changes |= {"finished_at": work.now, "lease_holder": None, "lease_until": None}
    rows.change(work.session, job.id, **changes)
    done = find(work, job.id)
    if step.finished:
        work.record(EntryKind.KEY_JOB_FINISHED, _named(done) | {"done": done.done, "failed": done.failed})
    return done


def _named(job: KeyJob) -> dict[str, object]:
    return {"job": job.id, "kind": job.kind.value, "from": job.from_number, "to": job.to_number}
