"""Canaries: made-up people in the vault. Nobody has a reason to read one, so whoever does is looking around.

A canary is taken in like a customer, and answered like one: only the log, the operating log and a metric tell. It says
no to nothing and yes to nothing, so it is in no audience that needs a consent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import canaries
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.errors import ForbiddenError, InputError
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.rows.intake import Incoming
from consent_gateway.services.work import quotas
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectItem, SubjectRef


@dataclass(frozen=True, slots=True)
class Canary:
    """The pseudonym of a canary for our own keys, and the uid of its entry."""

    pseudonym: str
    uid: bytes


def alarm(work: Work, people: Collection[SubjectId], purpose: str, recipient: str) -> int:
    """Record the canaries among those whom somebody asked for, and suspend the key, if that is set; returns how many.

    The caller must not learn it: whoever carries the call out tells the operating log.
    """
    touched = len(canaries.among(work.session, set(people)))
    if touched:
        work.record(EntryKind.CANARY_READ, {"purpose": purpose, "recipient": recipient, "canaries": touched})
        if work.gateway.rules.canary_suspends:
            quotas.suspend(work, work.actor.id, QuotaKind.REVEAL)
    return touched


def plant(work: Work, source: str, person: SubjectItem, content_sha256: str) -> Canary:
    """Take in a made-up person and mark them; InputError with what is wrong with the row.

    A person who is known already is refused: a customer is no canary.
    """
    if work.actor.recipient != OWN:
        raise ForbiddenError("only a key of our own plants a canary")
    taken = import_subjects(work, source, [Incoming(1, b"{}", person)], content_sha256)
    if taken.created != 1:
        reasons = taken.rejections[0].reasons if taken.rejections else ()
        raise InputError("This is no new person, so no canary was planted.", fields=reasons)
    kind, value = next(iter(person.identifiers.items()))
    found = Resolver(work, [ref := SubjectRef(kind, value, person.country)]).point(ref)
    subject_id = found.subject_id  # type: ignore[union-attr]
    canaries.plant(work.session, subject_id, work.now)
    uid = work.record(EntryKind.CANARY_PLANTED, {"source": source})
    return Canary(work.gateway.vault.pseudonym(subject_id, OWN, work.registers), uid)
