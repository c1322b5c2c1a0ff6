"""Rolling the key epoch: a new key-encryption key, and every data key re-wrapped under it, while all goes on.

Order (VAULT 4.11): add the epoch to the keyring, durably; every process picks it up, at the latest when it meets a wrap
under it; re-wrap page by page; verify that no wrap is left under an older epoch. Destroying the older ones is another
act, with other eyes.

A page is a compare-and-swap: a data key that was deleted meanwhile (an erasure) or replaced stays as it is. A wrap that
does not open is counted and left: the epoch that it is under can then not be destroyed without somebody looking.
A process that has not read the new keyring yet may still write under the old epoch, behind the position: a pass that
ends with any such wrap left is followed by another.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import key_jobs as rows
from consent_gateway.domain.key_jobs import START, JobKind, KeyJob
from consent_gateway.services.keys import key_jobs
from consent_gateway.services.keys.key_jobs import Step
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.keys import LocalKeyProvider, dek_context


def start(work: Work, rate: int | None = None, *, over_lost: bool = False) -> KeyJob:
    """Begin to roll the epoch, or return the roll that is not finished yet; `rate`: see `key_jobs.begin`.

    KeyringError for a keyring older than the store: the epoch that it lacks would be given a second time, with another
    key. `over_lost`: it is lost for good, and its number is passed over.
    """
    provider = work.gateway.vault.provider
    work.changed_registers()  # one at a time from here on
    provider.refresh()
    if not over_lost:
        work.gateway.vault.require_epoch(work.registers.least_epoch)
    current = max(provider.keyring.current_epoch, work.registers.least_epoch)
    total = sum(rows.wraps_by_epoch(work.session).values())
    job, begun = key_jobs.begin(work, JobKind.EPOCH_ROLL, total, current, current + 1, rate=rate)
    if begun:
        work.record(EntryKind.KEK_CREATED, {"epoch": job.to_number, "job": job.id})
    return job


def page(work: Work, job: KeyJob, limit: int) -> Step:
    """Re-wrap the next `limit` data keys."""
    provider, epoch = work.gateway.vault.provider, job.to_number or 0
    if provider.keyring.current_epoch < epoch:
        return Step(job.position, outside=lambda: _promote(provider, epoch))
    found = rows.wraps_after(work.session, job.position, limit)
    if not found:
        return _end_of_pass(work, job)
    wraps = provider.rewrap_many([(wrapped, dek_context(subject_id)) for subject_id, wrapped in found])
    swaps = [
        (new, subject_id, old)
        for (subject_id, old), new in zip(found, wraps, strict=True)
        if new is not None and new is not old
    ]
    return Step(found[-1][0], rows.swap_wraps(work.session, swaps), wraps.count(None))


def left_under(work: Work, epoch: int) -> int:
    """Return how many wraps are under `epoch` or an older one."""
    return sum(count for held, count in rows.wraps_by_epoch(work.session).items() if held <= epoch)


def _promote(provider: LocalKeyProvider, epoch: int) -> None:
    """Have the epoch in the keyring, written durably by whoever is first; a crash before leaves it to the next page.

    Outside of a transaction: a key service is asked for it, and may be slow.
    """
    provider.refresh()
    if provider.keyring.current_epoch < epoch:
        provider.use(provider.keyring.new_kek_epoch(epoch))


def _end_of_pass(work: Work, job: KeyJob) -> Step:
    left = left_under(work, (job.to_number or 0) - 1)
    return Step(job.position, finished=True) if left <= job.failed else Step(START)
