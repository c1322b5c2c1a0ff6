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
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import NoticeId, PurposeId, SubjectId
from consent_gateway.domain.purposes import Channel
from consent_gateway.errors import FieldProblem
from consent_gateway.services.audience_rows import refresh_standings
from consent_gateway.services.choices import record_signal
from consent_gateway.services.gateway import Work
from consent_gateway.services.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.items import ConsentItem, SubjectRef
from consent_gateway.services.opt_outs import settled_instant, suppress_unknown
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
            meant = item.contact_point if found is UNKNOWN_POINT and item.contact_point else item.subject
            if not suppress_unknown(work, resolver, found, meant, opting_out=item.kind in _REVOKING):
                refusals.refuse(row, found, tokens=resolver.tokens(item.subject, item.contact_point))
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
    wrong = _register_problem(work, item)
    at = wrong or settled_instant(work, item.at, opting_out=item.kind in _REVOKING)
    if isinstance(at, FieldProblem):
        return at
    if item.valid_until is not None and item.valid_until <= at:
        return FieldProblem("$.valid_until", "impossible_date", "valid_until must be after at")
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        return found
    point = None if item.contact_point is None else _point(resolver, item.contact_point, found)
    return point if isinstance(point, FieldProblem) else (replace(item, at=at), found, point)


def _point(resolver: Resolver, ref: SubjectRef, subject_id: SubjectId) -> int | FieldProblem:
    """Return the contact point that is named, which must be the person's own."""
    point = resolver.point(ref)
    if point is UNKNOWN:
        return UNKNOWN_POINT
    if isinstance(point, FieldProblem) or point.subject_id != subject_id:
        return FieldProblem("$.contact_point", "unknown_contact_point", "the person has no such contact point")
    return point.id


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
