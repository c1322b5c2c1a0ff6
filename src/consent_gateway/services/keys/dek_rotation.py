"""A new data key for a person whose old one may have leaked, or for everyone: all that lies under it is sealed anew.

One person is one transaction with the lock that everyone takes who writes about them: groups, evidence, signals and the
wrap change together, and a reader sees all of the old or all of the new. The old key is kept nowhere.

The log. The key of a person's commitments derives from the data key, and entries cannot be written anew. So that they
stay openable for the person, the old commitment key goes into `retired_audit_keys`, sealed under the new data key: it
opens entries from before, makes no new ones, and dies with the person's data key as the others do. It is the derived
key alone: from it follows nothing about what was sealed. A person has one chain of entries for each audit key; the
entry of the change belongs to both, the one it follows and the one it begins.

Subject 0 is the gateway itself: refused rows, signals of nobody known, replies with tokens. It has no row to lock, so
its writers are held off by the registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db import resealing as rows
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db.subjects import SealedGroup
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.key_jobs import JobKind, KeyJob
from consent_gateway.errors import NotFoundError, RaceError
from consent_gateway.services.identity.people import lock_people
from consent_gateway.services.keys import key_jobs
from consent_gateway.services.keys.key_jobs import Step
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.vault import (
    GATEWAY_ITSELF,
    SEALED_REPLY,
    open_bytes,
    open_retired,
    reseal_group,
    seal_bytes,
    seal_retired,
)
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.failures import VaultError

_BY_JOB = "everyone"
_PAGE = 100  # people of one transaction: each of them has several ciphertexts


@dataclass(frozen=True, slots=True)
class _Resealed:
    """What a person's rows hold under the new key."""

    subject_id: SubjectId
    old: bytes = field(repr=False)
    dek: bytes = field(repr=False)
    wrapped: bytes
    groups: list[SealedGroup]
    free: dict[str, list[rows.Free]]
    retired: list[rows.RetiredKey]
    replies: list[tuple[str, str, bytes]]


def rotate(work: Work, subject_id: SubjectId, reason: str) -> int:
    """Give a person a new data key, every subject of theirs; returns how many subjects they are.

    NotFoundError for nobody. VaultError if anything of theirs does not open: then nothing is changed.
    """
    work.hold_registers()
    work.gateway.vault.provider.refresh()
    members = lock_people(work, [subject_id]).get(subject_id)
    if members is None:
        raise NotFoundError
    for member, wrapped in rows.lock_keys(work.session, members).items():
        done = _opened(work, member, wrapped)
        _write(work, done, wrapped)
        _record(work, done, reason)
    return len(members)


def start(work: Work, rate: int | None = None) -> KeyJob:
    """Begin to give everyone a new data key, or return the job that is not finished yet; `rate`: see `begin`."""
    total = sum(job_rows.wraps_by_epoch(work.session).values())
    return key_jobs.begin(work, JobKind.DEK, total, rate=rate)[0]


def page(work: Work, job: KeyJob, limit: int) -> Step:
    """Give the next people new keys; one of whom anything does not open is counted and left."""
    work.gateway.vault.provider.refresh()
    found = [i for i, _ in job_rows.wraps_after(work.session, job.position, min(limit, _PAGE))]
    if not found:
        return Step(job.position, finished=True)
    if GATEWAY_ITSELF in found:
        work.changed_registers()  # who writes under its key holds the registers, and is waited for
    else:
        work.hold_registers()  # who decides that an epoch goes waits for this, or is seen by it
    work.gateway.vault.require_epoch(work.registers.least_epoch)
    live = [*subject_rows.lock_all(work.session, found), GATEWAY_ITSELF]
    wraps = rows.lock_keys(work.session, set(live) & set(found))
    done = failed = 0
    for subject_id, wrapped in wraps.items():
        try:
            resealed = _opened(work, subject_id, wrapped)
        except VaultError:
            failed += 1
            continue
        _write(work, resealed, wrapped)
        if subject_id != GATEWAY_ITSELF:
            _record(work, resealed, _BY_JOB)
        done += 1
    return Step(found[-1], done, failed)


# -- the parts ---------------------------------------------------------------------------------------------------


def _opened(work: Work, subject_id: SubjectId, wrapped: bytes) -> _Resealed:
    """Open all of a person under the old key and seal it under a new one; nothing is written yet."""
    vault, session = work.gateway.vault, work.session
    old = vault.unwrap(subject_id, wrapped)
    dek, fresh = vault.new_key(subject_id, work.registers.least_epoch)

    def anew(found: Sequence[rows.Free]) -> list[rows.Free]:
        return [(i, seal_bytes(dek, subject_id, open_bytes(old, subject_id, sealed))) for i, sealed in found]

    groups = [reseal_group(old, dek, group) for group in rows.groups_of(session, subject_id)]
    if subject_id == GATEWAY_ITSELF:
        free = {place: anew(rows.own_of(session, place)) for place in ("quarantine", "signal")}
        return _Resealed(subject_id, old, dek, fresh, groups, free, [], _replies(work, old, dek))
    free = {place: anew(rows.free_of(session, place, subject_id)) for place in ("evidence", "signal")}
    held = [(n, open_retired(old, subject_id, n, sealed)) for n, sealed in rows.retired_keys(session, subject_id)]
    held.append((max((n for n, _ in held), default=0) + 1, derive_audit_key(old)))
    retired = [(n, seal_retired(dek, subject_id, n, key)) for n, key in held]
    return _Resealed(subject_id, old, dek, fresh, groups, free, retired, [])


def _write(work: Work, done: _Resealed, wrapped: bytes) -> None:
    subject_rows.put_sealed(work.session, done.groups)
    for place, found in done.free.items():
        rows.put_free(work.session, place, found)
    if done.subject_id != GATEWAY_ITSELF:
        rows.put_retired(work.session, done.subject_id, done.retired)
    for principal, key, content in done.replies:
        rows.put_reply(work.session, principal, key, content)
    if job_rows.swap_wraps(work.session, [(done.wrapped, done.subject_id, wrapped)]) != 1:
        raise RaceError


def _record(work: Work, done: _Resealed, reason: str) -> None:
    """Record it about the person: the entry ends one chain of theirs and begins the next."""
    new, former = derive_audit_key(done.dek), derive_audit_key(done.old)
    payload = NO_DETAILS
    work.record_about(EntryKind.DEK_ROTATED, {"reason": reason}, done.subject_id, new, payload, former=former)


def _replies(work: Work, old: bytes, dek: bytes) -> list[tuple[str, str, bytes]]:
    """Return the kept replies that are sealed, sealed anew."""
    found = []
    for principal, key, kept in rows.replies(work.session, SEALED_REPLY):
        if kept == SEALED_REPLY:
            continue  # given up with a lost key
        content = open_bytes(old, GATEWAY_ITSELF, kept.removeprefix(SEALED_REPLY))
        found.append((principal, key, SEALED_REPLY + seal_bytes(dek, GATEWAY_ITSELF, content)))
    return found
