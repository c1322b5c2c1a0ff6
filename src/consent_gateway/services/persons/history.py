"""Reading one person's ledger: everything that was said, and what it amounts to now.

Both values of a state are told (FEATURES 3.4): *raw* is what the person said, folded; *effective* is what the law makes
of it now, with suppression, objection, caps and hours: the very answer that a decision would give. Reading somebody is
recorded in the log, for whoever reads a person's choices must be able to account for it (GDPR Art 5(2)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, consents, notices
from consent_gateway.db.merges import clusters
from consent_gateway.domain.consents import Standing, fold
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.merges import Clusters
from consent_gateway.domain.purposes import OWN, Channel
from consent_gateway.errors import FieldProblem, ForbiddenError, InputError, NotFoundError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.identity.audience_rows import points_of
from consent_gateway.services.identity.clusters import ledgers_of_people, points_of_people
from consent_gateway.services.identity.people import UNKNOWN, Resolver
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.vault.envelope import derive_audit_key


@dataclass(frozen=True, slots=True)
class State:
    """What holds for one purpose, channel and recipient (None: ourselves): the standing, and the law's answer."""

    purpose: PurposeId
    channel: Channel
    recipient: RecipientId | None
    standing: Standing
    why: str
    answer: Answer


def history(work: Work, ref: SubjectRef, after: int, limit: int) -> tuple[list[Any], Mapping[Any, str], bytes]:
    """Return a page of a person's consent rows in the order of arrival, the hashes of the texts, and the entry's uid.

    The hashes go by `(notice, version, language)`. ForbiddenError for another recipient's key; NotFoundError.
    """
    people = _person(work, ref)
    rows = consents.rows_after(work.session, next(iter(people.values())), after, limit)
    texts = {(n["id"], n["version"], n["language"]): n["text_sha256"] for n in notices.notice_rows(work.session)}
    return rows, texts, _record(work, people, "history")


def shown(work: Work, ref: SubjectRef) -> list[dict[str, Any]]:
    """Return which notices a person was shown, in the order of arrival; for the errors see `history`."""
    return notices.views(work.session, next(iter(_person(work, ref).values())))


def states(work: Work, ref: SubjectRef) -> tuple[list[State], bytes]:
    """Return what holds now for every enabled pair, towards us and each named recipient, and the entry's uid."""
    people = _person(work, ref)
    ((head, _),) = people.items()
    ledger = ledgers_of_people(work, people)[head]
    points = points_of_people(work, people)[head]
    registers = work.registers
    found: list[State] = []
    for purpose, channel in sorted(registers.slots):
        reached = points_of(channel, points)
        standings = fold(ledger, purpose, channel, registers.purposes, reached, registers.notices)
        sides: list[tuple[RecipientId | None, Standing]] = [(None, standings.own), *sorted(standings.named.items())]
        found += [_state(work, head, purpose, channel, recipient, told) for recipient, told in sides]
    return found, _record(work, people, "state")


def _state(
    work: Work, head: SubjectId, purpose: PurposeId, channel: Channel, recipient: RecipientId | None, told: Standing
) -> State:
    use = Use(purpose, channel, recipient or OWN)
    asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
    person = audience_rows.read_people(work.session, asked.reading, [head], work.now).get(head)
    if person is None:  # erased meanwhile, see `_record`
        raise NotFoundError
    answer = work.gateway.decider.answer(asked, person.key, work.now)
    return State(purpose, channel, recipient, told, _why(told, purpose, recipient, work.now), answer)


def _why(told: Standing, purpose: PurposeId, recipient: RecipientId | None, now: int) -> str:
    """Return the rule of `domain.consents` by which the event decided."""
    event = told.event
    if event is None:
        return "nothing_was_said"
    if told.until > 0 and told.until <= now and not told.ended:
        return "no_behind_an_ended_grant" if told.after_no else "its_time_is_over"
    marks = {
        "a_wider_no": event.purpose != purpose,
        "a_general_no": event.recipient != recipient,
        "only_imports_are_known": event.imported and told.until > 0,
        "said_for_one_contact_point": event.contact_point is not None,
    }
    return next((why for why, holds in marks.items() if holds), "the_latest_said")


def _person(work: Work, ref: SubjectRef) -> Clusters:
    if work.actor.recipient != OWN:
        raise ForbiddenError("only a key of our own reads a person's ledger")
    found = Resolver(work, [ref]).resolve(ref)
    if isinstance(found, FieldProblem) and found is not UNKNOWN:
        raise InputError(fields=(found,))
    people = {} if isinstance(found, FieldProblem) else clusters(work.session, [found])
    if not people or not audience_rows.rows(work.session, list(people), []):
        raise NotFoundError
    return people


def _record(work: Work, people: Clusters, what: str) -> bytes:
    head = next(iter(people))
    dek = work.gateway.vault.keys(work.session, [head]).get(head)
    if dek is None:  # nobody is locked for reading: they were erased while they were read
        raise NotFoundError
    key = derive_audit_key(dek)
    payload = NO_DETAILS
    return work.record_about(EntryKind.LEDGER_READ, {"what": what}, head, key, payload)
