"""The ledger: record what people said, fold it, and keep the audience row true, all in one transaction.

A withdrawal, refusal or objection by somebody nobody knows is not an error: the contact point they named is put on
the suppression list, because opt-outs fail open (promise P1) and must hold when the person turns up later.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.commitments import payload_name
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import confirmations, consents
from consent_gateway.db.merges import clusters
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.domain.consents import NO
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.purposes import OWN, Channel
from consent_gateway.errors import FieldProblem
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.audience_rows import refresh_standings
from consent_gateway.services.identity.circumstances import refresh_recency
from consent_gateway.services.identity.people import BEFORE_ERASURE, UNKNOWN, UNKNOWN_POINT, Resolver
from consent_gateway.services.ledger.choices import hear_signal
from consent_gateway.services.ledger.consent_checks import (
    can_write,
    grant_problem,
    guardian_of,
    is_third_party,
    notice_problem,
    point_of,
    register_problem,
)
from consent_gateway.services.ledger.opt_outs import keep_for_stranger, settled_instant
from consent_gateway.services.rows.intake import (
    Confirmation,
    Incoming,
    Intake,
    Refusals,
    keep_counts,
    require_size,
    require_source,
)
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ConsentItem, SubjectRef
from consent_gateway.services.work.vault import seal_bytes
from consent_gateway.vault.envelope import derive_audit_key

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Accepted:
    """A fact that will be stored, with the people it is about as the gateway knows them."""

    item: ConsentItem
    subject_id: SubjectId
    point: int | None = None
    guardian: SubjectId | None = None
    row: int = 0  # its number in the batch


def record_consents(
    work: Work, source: str, rows: Sequence[Incoming[ConsentItem]], content_sha256: str, *, gpc: bool = False
) -> Intake:
    """Append consent facts; each has its own entry in the log. `gpc`: the call carried `Sec-GPC: 1`."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("consents", source_id, len(rows))
    readable = refusals.readable(rows)
    resolver = Resolver(work, _refs(item for _, item in readable), writing=True)
    back = lasting_names.returned(work, resolver.forms(*_refs(item for _, item in readable)))
    accepted: list[Accepted] = []
    for row, item in readable:
        found = _check(work, resolver, item)
        if item.kind not in NO and lasting_names.is_before_erasure(back, resolver.forms(*_refs([item])), item.at):
            found = BEFORE_ERASURE  # a no from before is harmless, and is never refused
        if isinstance(found, FieldProblem):
            if item.kind not in NO or not _keep(work, resolver, source_id, found, item):
                refusals.refuse(row, found)
                continue
            intake.suppressed += 1
        else:
            accepted.append(replace(found, row=row.row))
        intake.accepted += 1
    accepted = _nothing_lies_ahead(work, accepted)
    intake.entries = _append(work, source_id, accepted)
    intake.confirmations = _ask_to_confirm(work, source_id, [a for a in accepted if a.item.confirm])
    people = sorted({a.subject_id for a in accepted})
    if gpc:
        intake.entries += hear_signal(work, source_id, resolver, [item.subject for _, item in readable], people)
    refresh_recency(work, sorted({a.subject_id for a in accepted if a.item.kind in NO}))
    refresh_standings(work, people, {PurposeId(a.item.purpose) for a in accepted})
    intake.created = len(accepted)
    intake.rejections = refusals.quarantine(work, "consents", source_id)
    keep_counts(work, intake, content_sha256)
    return intake


# -- checking ----------------------------------------------------------------------------------------------------


def _refs(items: Iterable[ConsentItem]) -> list[SubjectRef]:
    named = [(item.subject, item.contact_point, item.guardian) for item in items]
    return [ref for refs in named for ref in refs if ref is not None]


def _check(work: Work, resolver: Resolver, item: ConsentItem) -> Accepted | FieldProblem:
    """Return the fact with the person and contact point it is about, or the first thing that is wrong with it."""
    if item.kind in NO:
        return _check_no(work, resolver, item)
    at = settled_instant(work, item.at, opting_out=False)
    if isinstance(at, FieldProblem):
        return at
    wrong = register_problem(work, item) or grant_problem(work, item, at)
    if wrong is not None:
        return wrong
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        return found
    return _placed(work, resolver, _settled(item, at), found)


def _placed(work: Work, resolver: Resolver, item: ConsentItem, found: SubjectId) -> Accepted | FieldProblem:
    point = point_of(resolver, item, found)
    if isinstance(point, FieldProblem):
        return point
    guardian = guardian_of(work, resolver, item, found)
    if isinstance(guardian, FieldProblem):
        return guardian
    # What is said about an address stays with the subject that has it, also when they were merged.
    owner, number = (found, None) if point is None else (point.subject_id, point.id)
    return Accepted(item, owner, number, guardian)


def _check_no(work: Work, resolver: Resolver, item: ConsentItem) -> Accepted | FieldProblem:
    """Take a no as widely as it can be read: what does not fit about it narrows nothing."""
    at = settled_instant(work, item.at, opting_out=True)
    if item.purpose not in work.registers.purposes.purposes:
        return FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered")
    no = _settled(_widened(work, item), at)
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        named = None if item.contact_point is None else resolver.point(item.contact_point)
        if isinstance(named, ContactPoint):
            return Accepted(no, named.subject_id, _if_writable(no, named))
        return found
    point = None if item.contact_point is None else resolver.point(item.contact_point)
    if point is UNKNOWN:
        return UNKNOWN_POINT
    guardian = _guardian_if_known(work, resolver, item, found)
    if isinstance(point, ContactPoint) and resolver.same_person(point.subject_id, found) and _if_writable(no, point):
        return Accepted(no, point.subject_id, point.id, guardian)
    return Accepted(no, found, None, guardian)


def _widened(work: Work, item: ConsentItem) -> ConsentItem:
    published = notice_problem(work, item) is None
    return replace(
        item,
        channel=item.channel if item.channel in set(Channel) else None,
        valid_until=None,
        recipient=item.recipient if is_third_party(work, item.recipient) else None,
        notice=item.notice if published else None,
        notice_version=item.notice_version if published else None,
    )


def _guardian_if_known(work: Work, resolver: Resolver, item: ConsentItem, child: SubjectId) -> SubjectId | None:
    found = guardian_of(work, resolver, item, child)
    return None if isinstance(found, FieldProblem) else found


def _settled(item: ConsentItem, at: int | FieldProblem) -> ConsentItem:
    recipient = None if item.recipient == OWN else item.recipient
    return replace(item, at=at if isinstance(at, int) else item.at, recipient=recipient)


def _if_writable(item: ConsentItem, point: ContactPoint | FieldProblem | None) -> int | None:
    """Return a contact point that the channel can write to; a no about any other one is about the whole channel."""
    if not isinstance(point, ContactPoint) or not can_write(item.channel, point.kind):
        return None
    return point.id


def _keep(work: Work, resolver: Resolver, source: str, found: FieldProblem, item: ConsentItem) -> bool:
    """Keep a no of somebody, or of an address, that nobody knows."""
    refs = (item.contact_point,) if found is UNKNOWN_POINT else (item.subject, item.contact_point)
    recipient = item.recipient if is_third_party(work, item.recipient) else None
    fact = {
        "purpose": item.purpose,
        "channel": item.channel if item.channel in set(Channel) else None,
        "recipient": recipient,
        "kind": item.kind.value,
        "at": settled_instant(work, item.at, opting_out=True),
        "source": source,
    }
    return keep_for_stranger(work, found, resolver.forms(*refs), fact)


def _nothing_lies_ahead(work: Work, accepted: Sequence[Accepted]) -> list[Accepted]:
    """Put a no after what lies ahead of now: only a clock of ours that ran fast and was set back put it there.

    By its own instant the no would be the earlier one, and not hold (promise P1, LAW part 3).
    """
    people = clusters(work.session, sorted({a.subject_id for a in accepted if a.item.kind in NO}))
    ahead = consents.ahead_of(work.session, [i for members in people.values() for i in members], work.now)
    if not ahead:
        return list(accepted)
    least = {i: max(ahead.get(m, 0) for m in members) for members in people.values() for i in members}
    return [
        replace(a, item=replace(a.item, at=max(a.item.at, least[a.subject_id]))) if a.item.kind in NO else a
        for a in accepted
    ]


def append_facts(work: Work, source: str, facts: Sequence[tuple[ConsentItem, SubjectId]]) -> list[bytes]:
    """Append facts about known people that were settled elsewhere, and fold anew; returns their entries."""
    entries = _append(work, source, [Accepted(item, subject_id) for item, subject_id in facts])
    people = sorted({subject_id for _, subject_id in facts})
    refresh_recency(work, sorted({subject_id for item, subject_id in facts if item.kind in NO}))
    refresh_standings(work, people, {PurposeId(item.purpose) for item, _ in facts})
    return entries


# -- writing -----------------------------------------------------------------------------------------------------


def _append(work: Work, source: str, accepted: Sequence[Accepted]) -> list[bytes]:
    deks = work.gateway.vault.keys(work.session, sorted({a.subject_id for a in accepted}))
    entries = [record_fact(work, source, fact, deks[fact.subject_id]) for fact in accepted]
    plain = [fact for fact in accepted if not fact.item.confirm]
    consents.append(work.session, [fact_row(work, source, fact, deks[fact.subject_id]) for fact in plain])
    return entries


def _ask_to_confirm(work: Work, source: str, pending: Sequence[Accepted]) -> list[Confirmation]:
    """Append facts that wait for a second step, each with a token of 256 random bits, of which a hash is kept."""
    deks = work.gateway.vault.keys(work.session, sorted({fact.subject_id for fact in pending}))
    asked = []
    for fact in pending:
        number = consents.append_one(work.session, fact_row(work, source, fact, deks[fact.subject_id]))
        token, until = secrets.token_urlsafe(_TOKEN_BYTES), work.now + work.gateway.rules.confirmation_seconds
        row = {"token_hash": confirmations.digest(token), "subject_id": fact.subject_id, "event_id": number}
        confirmations.put(work.session, row | {"expires_at": until})
        asked.append(Confirmation(fact.row, token, until))
    return asked


def fact_row(work: Work, source: str | None, fact: Accepted, dek: bytes) -> dict[str, Any]:
    """Return a fact as a row of the ledger, its evidence sealed under the person's data key."""
    item = fact.item
    named = ("purpose", "channel", "recipient", "kind", "at", "valid_until", "imported")
    shown = ("notice", "notice_version", "language", "method", "place")
    return {name: getattr(item, name) for name in (*named, *shown)} | {
        "subject_id": fact.subject_id,
        "contact_point": fact.point,
        "guardian": fact.guardian,
        "properties": int(item.properties),
        "source": source,
        "evidence": seal_bytes(dek, fact.subject_id, item.evidence) if item.evidence else None,
        "received_at": work.now,
    }


def record_fact(work: Work, source: str | None, fact: Accepted, dek: bytes) -> bytes:
    """Record a fact in the log: who it is about stands behind a commitment; returns the entry's uid."""
    key = derive_audit_key(dek)
    concerned = {"contact_point": fact.point, "guardian": fact.guardian}
    payload = {name: payload_name(key, name, number) for name, number in concerned.items() if number is not None}
    fields = _entry_fields(fact.item, source)
    return work.record_about(EntryKind.CONSENT_RECORDED, fields, fact.subject_id, key, canonical_json(payload))


def _entry_fields(item: ConsentItem, source: str | None) -> dict[str, object]:
    fields = {
        "source": source,
        "purpose": item.purpose,
        "channel": item.channel,
        "recipient": item.recipient,
        "kind": item.kind.value,
        "given_at": item.at,
        "valid_until": item.valid_until,
        "properties": sorted(p.name.lower() for p in item.properties if p.name),
        "notice": item.notice,
        "notice_version": item.notice_version,
    }
    return {name: value for name, value in fields.items() if value is not None}
