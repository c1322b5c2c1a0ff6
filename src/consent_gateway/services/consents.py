"""The ledger: record what people said, fold it, and keep the audience row true, all in one transaction.

A withdrawal, refusal or objection by somebody nobody knows is not an error: the contact point they named is put on
the suppression list, because opt-outs fail open (promise P1) and must hold when the person turns up later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import consents
from consent_gateway.db import registers as register_rows
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import OWN, Channel, RecipientKind
from consent_gateway.domain.subjects import REACHED_BY
from consent_gateway.errors import FieldProblem
from consent_gateway.services.audience_rows import refresh_standings
from consent_gateway.services.choices import record_signal
from consent_gateway.services.gateway import Work
from consent_gateway.services.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.items import ConsentItem, SubjectRef
from consent_gateway.services.opt_outs import keep_for_stranger, settled_instant
from consent_gateway.services.people import UNKNOWN, UNKNOWN_POINT, Resolver
from consent_gateway.services.vault import seal_bytes
from consent_gateway.vault.envelope import derive_audit_key

_Accepted = tuple[ConsentItem, SubjectId, int | None]
_REVOKING = frozenset({ConsentKind.WITHDRAWN, ConsentKind.REFUSED})


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
    accepted: list[_Accepted] = []
    for row, item in readable:
        found = _check(work, resolver, item)
        if isinstance(found, FieldProblem):
            if item.kind not in _REVOKING or not _keep(work, resolver, source_id, found, item):
                refusals.refuse(row, found)
                continue
            intake.suppressed += 1
        else:
            accepted.append(found)
        intake.accepted += 1
    intake.entries = _append(work, source_id, accepted)
    people = sorted({subject_id for _, subject_id, _ in accepted})
    if gpc:
        intake.entries += record_signal(work, source_id, people)
    refresh_standings(work, people, {PurposeId(item.purpose) for item, _, _ in accepted})
    intake.created = len(accepted)
    intake.rejections = refusals.quarantine(work, "consents", source_id)
    keep_counts(work, intake, content_sha256)
    return intake


# -- checking ----------------------------------------------------------------------------------------------------


def _refs(items: Iterable[ConsentItem]) -> list[SubjectRef]:
    refs = []
    for item in items:
        refs.append(item.subject)
        if item.contact_point is not None:
            refs.append(item.contact_point)
    return refs


def _check(work: Work, resolver: Resolver, item: ConsentItem) -> _Accepted | FieldProblem:
    """Return the fact with the person and contact point it is about, or the first thing that is wrong with it."""
    if item.kind in _REVOKING:
        return _check_no(work, resolver, item)
    at = settled_instant(work, item.at, opting_out=False)
    if isinstance(at, FieldProblem):
        return at
    wrong = _register_problem(work, item) or _grant_problem(work, item, at)
    if wrong is not None:
        return wrong
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        return found
    point = None if item.contact_point is None else _point(resolver, item, found)
    if isinstance(point, FieldProblem):
        return point
    # What is said about an address stays with the subject that has it, also when they were merged.
    return (_settled(item, at), found, None) if point is None else (_settled(item, at), point.subject_id, point.id)


def _check_no(work: Work, resolver: Resolver, item: ConsentItem) -> _Accepted | FieldProblem:
    """Take a no as widely as it can be read: what does not fit about it narrows nothing."""
    at = settled_instant(work, item.at, opting_out=True)
    if item.purpose not in work.registers.purposes.purposes:
        return FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered")
    known = item.notice is None or _notice_known(work, item.notice, item.notice_version)
    recipient = item.recipient if _is_third_party(work, item.recipient) else None
    channel = item.channel if item.channel in set(Channel) else None
    no = replace(item, channel=channel, valid_until=None, recipient=recipient, notice=item.notice if known else None)
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        named = None if item.contact_point is None else resolver.point(item.contact_point)
        if isinstance(named, ContactPoint):
            return _settled(no, at), named.subject_id, _if_writable(no, named)
        return found
    point = None if item.contact_point is None else resolver.point(item.contact_point)
    if point is UNKNOWN:
        return UNKNOWN_POINT
    if isinstance(point, ContactPoint) and resolver.same_person(point.subject_id, found) and _if_writable(no, point):
        return _settled(no, at), point.subject_id, point.id
    return _settled(no, at), found, None


def _settled(item: ConsentItem, at: int | FieldProblem) -> ConsentItem:
    recipient = None if item.recipient == OWN else item.recipient
    return replace(item, at=at if isinstance(at, int) else item.at, recipient=recipient)


def _if_writable(item: ConsentItem, point: ContactPoint | FieldProblem | None) -> int | None:
    """Return a contact point that the channel can write to; a no about any other one is about the whole channel."""
    if not isinstance(point, ContactPoint) or not _can_write(item.channel, point.kind):
        return None
    return point.id


def _can_write(channel: str | None, kind: str) -> bool:
    if channel is None:
        return kind in {reached.value for reached, _ in REACHED_BY.values()}
    reached_by = REACHED_BY.get(Channel(channel))
    return reached_by is not None and reached_by[0].value == kind


def _is_third_party(work: Work, recipient: str | None) -> bool:
    found = work.registers.recipients.get(RecipientId(recipient)) if recipient else None
    return found is not None and found.kind not in (RecipientKind.SELF, RecipientKind.PROCESSOR)


def _grant_problem(work: Work, item: ConsentItem, at: int) -> FieldProblem | None:
    if item.valid_until is not None and item.valid_until <= at:
        return FieldProblem("$.valid_until", "impossible_date", "valid_until must be after at")
    if item.recipient not in (None, OWN) and not _is_third_party(work, item.recipient):
        message = "name no recipient: a processor acts for us"
        return FieldProblem("$.recipient", "recipient_is_processor", message)
    return None


def _point(resolver: Resolver, item: ConsentItem, subject_id: SubjectId) -> ContactPoint | FieldProblem:
    """Return the contact point that a grant names, which must be the person's own and one the channel writes to."""
    point = UNKNOWN_POINT if item.contact_point is None else resolver.point(item.contact_point)
    if isinstance(point, FieldProblem):
        return UNKNOWN_POINT if point is UNKNOWN else point
    if not resolver.same_person(point.subject_id, subject_id):
        return FieldProblem("$.contact_point", "unknown_contact_point", "the person has no such contact point")
    if not _can_write(item.channel, point.kind):
        return FieldProblem("$.contact_point", "wrong_contact_point", "the channel cannot write to it")
    return point


def _keep(work: Work, resolver: Resolver, source: str, found: FieldProblem, item: ConsentItem) -> bool:
    """Keep a no of somebody, or of an address, that nobody knows."""
    refs = (item.contact_point,) if found is UNKNOWN_POINT else (item.subject, item.contact_point)
    recipient = item.recipient if _is_third_party(work, item.recipient) else None
    fact = {
        "purpose": item.purpose,
        "channel": item.channel if item.channel in set(Channel) else None,
        "recipient": recipient,
        "kind": item.kind.value,
        "at": settled_instant(work, item.at, opting_out=True),
        "source": source,
    }
    return keep_for_stranger(work, found, resolver.forms(*refs), fact)


def _register_problem(work: Work, item: ConsentItem) -> FieldProblem | None:
    registers = work.registers
    if item.purpose not in registers.purposes.purposes:
        return FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered")
    if item.channel is not None and item.channel not in set(Channel):
        return FieldProblem("$.channel", "unknown_channel", "no such channel")
    if item.recipient is not None and item.recipient not in registers.recipients:
        return FieldProblem("$.recipient", "unknown_recipient", "no such recipient is registered")
    if item.notice is not None and not _notice_known(work, item.notice, item.notice_version):
        return FieldProblem("$.notice", "unknown_notice", "no such notice version was published")
    return None


def _notice_known(work: Work, notice: str, version: int | None) -> bool:
    return register_rows.notice_exists(work.session, NoticeId(notice), version)


# -- writing -----------------------------------------------------------------------------------------------------


def _append(work: Work, source: str, accepted: Sequence[_Accepted]) -> list[bytes]:
    deks = work.gateway.vault.keys(work.session, sorted({subject_id for _, subject_id, _ in accepted}))
    rows, entries = [], []
    for item, subject_id, point in accepted:
        evidence = seal_bytes(deks[subject_id], subject_id, item.evidence) if item.evidence else None
        rows.append(_row(item, subject_id, point, source, evidence, work.now))
        fields = _entry_fields(item, source)
        payload = canonical_json({"subject_id": subject_id, "contact_point": point})
        audit_key = derive_audit_key(deks[subject_id])
        entries.append(work.record_about(EntryKind.CONSENT_RECORDED, fields, subject_id, audit_key, payload))
    consents.append(work.session, rows)
    return entries


def _row(
    item: ConsentItem, subject_id: SubjectId, point: int | None, source: str, evidence: bytes | None, now: int
) -> dict[str, Any]:
    return {
        "subject_id": subject_id,
        "purpose": item.purpose,
        "channel": item.channel,
        "contact_point": point,
        "recipient": item.recipient,
        "kind": item.kind,
        "at": item.at,
        "valid_until": item.valid_until,
        "properties": int(item.properties),
        "imported": item.imported,
        "notice": item.notice,
        "notice_version": item.notice_version,
        "source": source,
        "language": item.language,
        "method": item.method,
        "evidence": evidence,
        "received_at": now,
    }


def _entry_fields(item: ConsentItem, source: str) -> dict[str, object]:
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
