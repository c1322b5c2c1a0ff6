"""The ledger: record what people said, fold it, and keep the audience row true, all in one transaction.

A withdrawal, refusal or objection by somebody nobody knows is not an error: the contact point they named is put on
the suppression list, because opt-outs fail open (promise P1) and must hold when the person turns up later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, consents, subjects
from consent_gateway.db import registers as register_rows
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.domain.consents import ConsentEvent, ConsentKind, Standing, fold
from consent_gateway.domain.ids import NoticeId, PurposeId, SubjectId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.subjects import CHOICE_FLAG, REACHED_BY, Choice, Flag
from consent_gateway.errors import FieldProblem
from consent_gateway.services.gateway import Work
from consent_gateway.services.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.items import ChoiceItem, ConsentItem, SubjectRef
from consent_gateway.services.people import UNKNOWN, Resolver
from consent_gateway.services.vault import seal_bytes
from consent_gateway.vault.envelope import derive_audit_key

_REVOKING = frozenset({ConsentKind.WITHDRAWN, ConsentKind.REFUSED})
_OPT_OUTS = frozenset({Choice.OBJECTION, Choice.RESTRICTION, Choice.SALE_SHARE_OPT_OUT, Choice.GPC})
_CONTACT_KINDS = frozenset({"email", "phone"})
_EARLIEST = 631_152_000  # 1990-01-01: an older consent is a typing error
_CHOICE_MASK = sum(CHOICE_FLAG.values())


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
    accepted: list[tuple[ConsentItem, SubjectId, int | None]] = []
    for row, item in readable:
        found = _check(work, resolver, item)
        if isinstance(found, FieldProblem):
            meant = item.contact_point if found is _UNKNOWN_POINT and item.contact_point else item.subject
            if not _suppress_unknown(work, resolver, found, meant, opting_out=item.kind in _REVOKING):
                refusals.refuse(row, found, tokens=resolver.tokens(item.subject, item.contact_point))
                continue
            intake.suppressed += 1
        else:
            accepted.append((item, *found))
        intake.accepted += 1
    intake.entries = _append(work, source_id, accepted)
    people = sorted({subject_id for _, subject_id, _ in accepted})
    if gpc:
        _append_choices(
            work, source_id, [(ChoiceItem(_NOBODY, Choice.GPC, active=True, at=work.now), i) for i in people]
        )
    refresh_standings(work, people, {PurposeId(item.purpose) for item, _, _ in accepted})
    intake.created = len(accepted)
    intake.rejections = refusals.quarantine(work, "consents", source_id)
    keep_counts(work, intake, content_sha256)
    return intake


def record_choices(
    work: Work, source: str, rows: Sequence[Incoming[ChoiceItem]], content_sha256: str, *, gpc: bool = False
) -> Intake:
    """Append choices (objection, restriction, opt-outs, GPC, …); each has its own entry in the log."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("choices", source_id, len(rows))
    readable = refusals.readable(rows)
    resolver = Resolver(work, [item.subject for _, item in readable], writing=True)
    accepted: list[tuple[ChoiceItem, SubjectId]] = []
    for row, item in readable:
        found = _instant_problem(work, item.at, "$.at") or resolver.resolve(item.subject)
        if isinstance(found, FieldProblem):
            opting_out = item.active and item.choice in _OPT_OUTS
            if not _suppress_unknown(work, resolver, found, item.subject, opting_out=opting_out):
                refusals.refuse(row, found, tokens=resolver.tokens(item.subject))
                continue
            intake.suppressed += 1
        else:
            accepted.append((item, found))
        intake.accepted += 1
    intake.created = len(accepted)
    if gpc:
        accepted += [
            (ChoiceItem(_NOBODY, Choice.GPC, active=True, at=work.now), i) for i in sorted({i for _, i in accepted})
        ]
    intake.entries = _append_choices(work, source_id, accepted)
    intake.rejections = refusals.quarantine(work, "choices", source_id)
    keep_counts(work, intake, content_sha256)
    return intake


_NOBODY = SubjectRef("pseudonym", "")
_UNKNOWN_POINT = FieldProblem("$.contact_point", "unknown_contact_point", "nobody has this contact point")


# -- checking ----------------------------------------------------------------------------------------------------


def _refs(items: Iterable[ConsentItem]) -> list[SubjectRef]:
    refs = []
    for item in items:
        refs.append(item.subject)
        if item.contact_point is not None:
            refs.append(item.contact_point)
    return refs


def _check(work: Work, resolver: Resolver, item: ConsentItem) -> tuple[SubjectId, int | None] | FieldProblem:
    """Return the person and the contact point that a fact is about, or the first thing that is wrong with it."""
    wrong = _register_problem(work, item) or _instant_problem(work, item.at, "$.at")
    if wrong is not None:
        return wrong
    if item.valid_until is not None and item.valid_until <= item.at:
        return FieldProblem("$.valid_until", "impossible_date", "valid_until must be after at")
    found = resolver.resolve(item.subject)
    if isinstance(found, FieldProblem):
        return found
    point = None if item.contact_point is None else _point(resolver, item.contact_point, found)
    return point if isinstance(point, FieldProblem) else (found, point)


def _point(resolver: Resolver, ref: SubjectRef, subject_id: SubjectId) -> int | FieldProblem:
    """Return the contact point that is named, which must be the person's own."""
    point = resolver.point(ref)
    if point is UNKNOWN:
        return _UNKNOWN_POINT
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


def _instant_problem(work: Work, at: int, path: str) -> FieldProblem | None:
    if at > work.now + work.gateway.rules.max_future_seconds:
        return FieldProblem(path, "future_date", "the instant lies in the future")
    if at < _EARLIEST:
        return FieldProblem(path, "impossible_date", "the instant is before 1990")
    return None


def _suppress_unknown(
    work: Work, resolver: Resolver, found: FieldProblem, ref: SubjectRef, *, opting_out: bool
) -> bool:
    """Put the contact point of an unknown person on the suppression list if they opt out; tell whether it was."""
    unknown = found is UNKNOWN or found is _UNKNOWN_POINT
    token = resolver.token(ref) if unknown and opting_out and ref.kind in _CONTACT_KINDS else None
    if token is None:
        return False
    row = {"token": token.value, "kind": token.kind, "reason": "unsubscribe", "at": work.now}
    subjects.suppress(work.session, [row])
    work.record(EntryKind.RIGHT_EXERCISED, {"right": "opt_out", "effect": "suppressed", "kind": token.kind})
    return True


# -- writing -----------------------------------------------------------------------------------------------------


def _append(work: Work, source: str, accepted: Sequence[tuple[ConsentItem, SubjectId, int | None]]) -> list[bytes]:
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


def _append_choices(work: Work, source: str, accepted: Sequence[tuple[ChoiceItem, SubjectId]]) -> list[bytes]:
    people = sorted({subject_id for _, subject_id in accepted})
    deks = work.gateway.vault.keys(work.session, people)
    rows, entries = [], []
    for item, subject_id in accepted:
        rows.append(
            {
                "subject_id": subject_id,
                "choice": item.choice,
                "active": item.active,
                "at": item.at,
                "source": source,
                "received_at": work.now,
            }
        )
        fields = {"right": item.choice.value, "active": item.active, "source": source}
        audit_key = derive_audit_key(deks[subject_id])
        payload = canonical_json({"subject_id": subject_id})
        entries.append(work.record_about(EntryKind.RIGHT_EXERCISED, fields, subject_id, audit_key, payload))
    consents.append_choices(work.session, rows)
    refresh_choices(work, people)
    return entries


# -- keeping the audience row true ---------------------------------------------------------------------------------


def refresh_choices(work: Work, ids: Sequence[SubjectId]) -> None:
    """Recompute the choice bits of people from their choices."""
    if not ids:
        return
    fresh = consents.choice_flags(work.session, ids)
    stored = audience_rows.rows(work.session, ids, ["flags"])
    changes = {i: {"flags": (row["flags"] & ~_CHOICE_MASK) | int(fresh.get(i, Flag(0)))} for i, row in stored.items()}
    audience_rows.update_rows(work.session, changes)


def refresh_standings(work: Work, ids: Sequence[SubjectId], purposes: Iterable[PurposeId]) -> None:
    """Fold the ledgers of people again for every slot that an event about `purposes` can change."""
    if not ids:
        return
    audience_rows.rows(work.session, sorted(ids), [])  # locked, in the order of their ids, before the fold
    work.catch_up()
    slots = {slot for purpose in purposes for slot in work.registers.slots_of(purpose)}
    if not slots:
        return
    ledgers = consents.ledger(work.session, ids)
    points = subjects.contact_points(work.session, ids)
    changes = {i: standing_columns(work.registers, ledgers.get(i, []), points.get(i, []), sorted(slots)) for i in ids}
    audience_rows.update_rows(work.session, changes)


def standing_columns(
    registers: Registers,
    ledger: Sequence[ConsentEvent],
    points: Sequence[ContactPoint],
    slots: Iterable[tuple[PurposeId, Channel, int]],
) -> dict[str, int]:
    """Return the consent columns of one person's audience row for the given slots."""
    columns: dict[str, int] = {}
    for purpose, channel, slot in slots:
        standing = fold(ledger, purpose, channel, registers.purposes, points_of(channel, points))
        until, properties = registers.encode(standing) if ledger else registers.encode(Standing())
        columns[f"c{slot}"], columns[f"p{slot}"] = until, properties
    return columns


def points_of(channel: Channel, points: Sequence[ContactPoint]) -> list[int]:
    """Return the contact points that a channel can write to."""
    reached = REACHED_BY.get(channel)
    return [p.id for p in points if reached is not None and p.kind == reached[0].value]
