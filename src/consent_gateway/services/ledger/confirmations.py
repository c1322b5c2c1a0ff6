"""The second step of an opt-in: a token that is sent to the person, and whoever brings it back confirms.

The first step is a `pending` fact with `confirm`. Its token is 256 random bits, shown once in the answer of the intake,
stored as a hash, and tied to that one fact: its person, purpose, channel, contact point and recipient. Nothing about it
follows from an address. Invariants:

- looking never changes anything (mail scanners open links: promise of `THREATS` 27); confirming does, exactly once;
- a token that is wrong, malformed or of somebody who was erased is nothing, answered alike and after the same look-up;
- a no after the request ends it (11 CCR 7028(a): the second step is a separate confirmation of a living request).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.db import confirmations, consents
from consent_gateway.db.confirmations import Waiting
from consent_gateway.db.merges import clusters
from consent_gateway.domain.consents import NO, ConsentEvent, ConsentKind, ConsentProperty
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AlreadyConfirmedError, ConfirmationExpiredError, NotFoundError, OvertakenError
from consent_gateway.services.identity.audience_rows import refresh_standings
from consent_gateway.services.identity.clusters import ledgers_of_people
from consent_gateway.services.identity.people import lock_people
from consent_gateway.services.ledger.consents import Accepted, fact_row, record_fact
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ConsentItem, SubjectRef
from consent_gateway.services.work.vault import open_bytes

CONFIRMER = Principal("confirmation", OWN, frozenset())  # whoever holds a token: no key, and nothing but this
_SHOWN = ("notice", "notice_version", "language", "method", "place")


@dataclass(frozen=True, slots=True)
class Request:
    """What a token confirms, as it may be shown to whoever holds it: nothing of the person."""

    purpose: PurposeId
    channel: str | None
    recipient: str | None
    notice: str | None
    notice_version: int | None
    language: str | None
    expires_at: int


def look(work: Work, token: str) -> Request:
    """Return what a token would confirm; see `confirm` for the errors. Nothing changes."""
    waiting = _living(work, confirmations.find(work.session, confirmations.digest(token)))
    fact = waiting.fact
    shown = (fact.notice, fact.notice_version, fact.language)
    return Request(PurposeId(fact.purpose), fact.channel, fact.recipient, *shown, waiting.expires_at)


def confirm(work: Work, token: str, circumstances: Mapping[str, str]) -> bytes:
    """Turn the pending fact into a yes in two steps, now; returns the entry's uid.

    The yes has the properties and the proof of the first step and, sealed beside it, the `circumstances` of the second.
    NotFoundError for no such token, AlreadyConfirmedError, ConfirmationExpiredError, OvertakenError after a no.
    """
    work.hold_registers()
    found = confirmations.find(work.session, confirmations.digest(token))
    if found is not None:  # from here on nobody says no, erases or merges in between
        lock_people(work, [SubjectId(found.fact.subject_id)])
        found = confirmations.find(work.session, confirmations.digest(token))
    waiting = _living(work, found)
    if not confirmations.take(work.session, confirmations.digest(token), work.now):
        raise AlreadyConfirmedError
    subject_id = SubjectId(waiting.fact.subject_id)
    dek = work.gateway.vault.keys(work.session, [subject_id])[subject_id]
    fact = _confirmed(work, waiting.fact, dek, circumstances)
    consents.append(work.session, [fact_row(work, waiting.fact.source, fact, dek)])
    uid = record_fact(work, waiting.fact.source, fact, dek)
    refresh_standings(work, [subject_id], {PurposeId(waiting.fact.purpose)})
    return uid


def _living(work: Work, waiting: Waiting | None) -> Waiting:
    if waiting is None:
        raise NotFoundError("there is no such request")
    if waiting.confirmed_at is not None:
        raise AlreadyConfirmedError
    until = waiting.fact.valid_until
    if waiting.expires_at <= work.now or (until is not None and until <= work.now):
        raise ConfirmationExpiredError
    if any(_overtakes(work, event, waiting.fact) for event in _said_by(work, SubjectId(waiting.fact.subject_id))):
        raise OvertakenError
    return waiting


def _said_by(work: Work, subject_id: SubjectId) -> list[ConsentEvent]:
    ((_, ledger),) = ledgers_of_people(work, clusters(work.session, [subject_id])).items()
    return ledger


def _overtakes(work: Work, event: ConsentEvent, pending: Any) -> bool:
    """Tell whether a no came after the request (by its own instant, or by arrival) and concerns what it asked for."""
    later = event.event_id > pending.id or event.at >= pending.at
    concerns = (
        event.purpose in set(work.registers.purposes.ancestors(PurposeId(pending.purpose)))
        and (event.channel is None or pending.channel in (None, event.channel))
        and event.recipient in (None, pending.recipient)
        and (event.contact_point is None or pending.contact_point in (None, event.contact_point))
    )
    return event.kind in NO and later and concerns


def _confirmed(work: Work, pending: Any, dek: bytes, circumstances: Mapping[str, str]) -> Accepted:
    subject_id = SubjectId(pending.subject_id)
    first = json.loads(open_bytes(dek, subject_id, pending.evidence)) if pending.evidence else None
    evidence: dict[str, object] = {"confirmation": dict(circumstances)}
    if first is not None:
        evidence["request"] = first
    nobody = SubjectRef("pseudonym", "")
    item = ConsentItem(
        subject=nobody,
        purpose=pending.purpose,
        kind=ConsentKind.GIVEN,
        at=work.now,
        channel=pending.channel,
        valid_until=pending.valid_until,
        properties=ConsentProperty(pending.properties) | ConsentProperty.TWO_STEP,
        recipient=RecipientId(pending.recipient) if pending.recipient else None,
        evidence=canonical_json(evidence),
    )
    shown = {name: getattr(pending, name) for name in _SHOWN}
    guardian = None if pending.guardian is None else SubjectId(pending.guardian)
    return Accepted(replace(item, **shown), subject_id, pending.contact_point, guardian)
