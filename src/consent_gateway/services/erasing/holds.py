"""Legal holds: place and lift them, and erase whoever waited as soon as nothing holds them any more.

A hold on any subject of a person holds the whole person. While it is in force nothing of them is erased, neither on
request nor because a period is over, and processing is restricted (`domain.holds`). An erasure that is asked for
meanwhile is kept and carried out by `carry_out_due`, a job that any number of processes may run.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import holds, merges, subjects
from consent_gateway.db.holds import Waiting
from consent_gateway.domain.holds import Hold, HoldEnd, HoldReason
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import FieldProblem, HeldError, InputError, NotFoundError
from consent_gateway.services.erasing import erasure
from consent_gateway.services.identity import people
from consent_gateway.services.identity.audience_rows import refresh_choices
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.vault.envelope import derive_audit_key

_PAGE = 100


def place(work: Work, subject_id: SubjectId, reason: HoldReason, until: int | None) -> tuple[Hold, bytes]:
    """Hold a person (GDPR Art 17(3), PIPL Art 47(2), Civ. 1798.105(d)); returns the hold and the uid of its entry.

    NotFoundError for nobody; InputError for an `until` (seconds) that is not in the future.
    """
    if until is not None and until <= work.now:
        raise InputError(fields=(FieldProblem("$.until", "not_in_the_future", "a hold ends in the future"),))
    members = _lock(work, subject_id)
    number = holds.place(work.session, subject_id, reason, until, work.actor.id, work.now)
    uid = _record(work, EntryKind.HOLD_PLACED, subject_id, {"hold": number, "reason": reason.value, "until": until})
    refresh_choices(work, members)
    return Hold(number, subject_id, reason, until, work.now, work.actor.id), uid


def lift(work: Work, subject_id: SubjectId, hold: int, reason: HoldEnd) -> bytes:
    """End a hold on a person; returns the uid of its entry. NotFoundError unless it is in force on this person.

    An erasure that waited is carried out by the job, within seconds of the last hold's end.
    """
    members = _lock(work, subject_id)
    held = next((h for h in holds.of_subjects(work.session, members) if h.id == hold), None)
    if held is None:
        raise NotFoundError
    return _end(work, held, members, reason)


def listing(work: Work, subject_id: SubjectId) -> tuple[list[Hold], Waiting | None]:
    """Return every hold on a person, ended ones too, and the erasure that waits; NotFoundError for nobody."""
    members = merges.clusters(work.session, subjects.profiles(work.session, [subject_id]))
    found = [i for held in members.values() for i in held]
    if not found:
        raise NotFoundError
    return holds.of_subjects(work.session, found, in_force=False), holds.waiting_of(work.session, found)


def carry_out_due(gateway: Gateway) -> int:
    """End the holds whose day has come, and erase everyone who waited and is held no more; returns how many."""
    _end_due(gateway)
    erased = after = 0
    while True:
        with gateway.store.reading() as session:
            page = holds.waiting_after(session, after, _PAGE)
        if not page:
            return erased
        after = page[-1].subject_id
        erased += sum(_carry_out(gateway, waiting) for waiting in page)


def _end_due(gateway: Gateway) -> None:
    with gateway.store.reading() as session:
        found = holds.due(session, int(gateway.clock().timestamp()), _PAGE)
    for hold in found:
        with gateway.work() as work:
            members = people.lock_people(work, [hold.subject_id]).get(hold.subject_id, [])
            if any(h.id == hold.id for h in holds.of_subjects(work.session, members)):
                _end(work, hold, members, HoldEnd.EXPIRED)


def _carry_out(gateway: Gateway, waiting: Waiting) -> bool:
    """Erase somebody who waited, unless they are held (again); whoever is gone already is no error."""
    try:
        with gateway.work() as work:
            erasure.erase(work, waiting.subject_id, waiting.reason)
    except (NotFoundError, HeldError):
        return False
    return True


def _lock(work: Work, subject_id: SubjectId) -> Sequence[SubjectId]:
    members = people.lock_people(work, [subject_id]).get(subject_id)
    if members is None:
        raise NotFoundError
    return members


def _end(work: Work, hold: Hold, members: Sequence[SubjectId], reason: HoldEnd) -> bytes:
    holds.end(work.session, hold.id, work.now, work.actor.id, reason)
    uid = _record(work, EntryKind.HOLD_ENDED, hold.subject_id, {"hold": hold.id, "reason": reason.value})
    refresh_choices(work, members)
    return uid


def _record(work: Work, kind: EntryKind, subject_id: SubjectId, fields: dict[str, object]) -> bytes:
    dek = work.gateway.vault.keys(work.session, [subject_id])[subject_id]
    return work.record_about(kind, fields, subject_id, derive_audit_key(dek), NO_DETAILS)
