"""Consent receipts: what the ledger has about one person and one purpose, signed, for the person to keep.

The receipt names its own entry in the log and carries the salt of that entry's commitment, so that whoever holds it can
show for good, also after the person is erased here, that it was issued and not changed since. It holds no identifier:
the person is a pseudonym of a space that no recipient can have, because its name is not a slug.

Issuing changes nothing about the person; it locks them, so that an erasure that is under way is waited for.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.commitments import opening_salt
from consent_gateway.audit.consent_receipts import RECEIPT_COMMITMENT, receipt_payload, sign_receipt
from consent_gateway.audit.entries import EntryKind, new_uid
from consent_gateway.audit.jws import Jwk, JwsSigner
from consent_gateway.db import records as rows
from consent_gateway.domain.consents import FOREVER, ConsentState, Standing, fold
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.merges import Clusters
from consent_gateway.domain.purposes import OWN, Channel, Purpose
from consent_gateway.domain.records import Address, Controller, Party, Processing, iso27560, kantara
from consent_gateway.domain.records.consent import (
    ConsentRecord,
    Current,
    Form,
    LedgerEvent,
    LogPlace,
    Notice,
    concerning,
    missing,
    moments,
    notice_of,
)
from consent_gateway.domain.records.parties import processing_of
from consent_gateway.domain.records.terms import CONTROLLER_ROLE, ROLE
from consent_gateway.domain.subjects import split_regions
from consent_gateway.errors import ConflictError, FieldProblem, IncompleteError, InputError, NotFoundError
from consent_gateway.policies.regions import places
from consent_gateway.services.identity.audience_rows import points_of
from consent_gateway.services.identity.clusters import points_of_people, profiles_of_people
from consent_gateway.services.identity.people import UNKNOWN, Resolver, lock_people
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.vault.envelope import derive_audit_key

_SPACE = "record:principal"  # no slug, so no recipient can register it and share it
_NOWHERE = Address()
_RECEIPT_VERSION, _RECORD_VERSION = 4, 8  # RFC 9562: random, and derived in a way of our own


@dataclass(frozen=True, slots=True)
class _Registered:
    """What the registers say about the purpose; complete, or it was refused."""

    controller: Controller
    processing: Processing
    parties: tuple[Party, ...]
    recipients: tuple[RecipientId, ...]
    notice: Notice


def keys(gateway: Gateway) -> list[Jwk]:
    """Return the public keys that receipts are signed with."""
    return [_signer(gateway).key]


def issue(work: Work, ref: SubjectRef, purpose_id: str, channel: Channel | None, form: Form) -> bytes:
    """Return a signed receipt as canonical JSON (GDPR Art 7(1); ISO/IEC TS 27560, Kantara 1.1).

    NotFoundError for nobody, and where nothing was ever said about the purpose; IncompleteError where a mandatory field
    is not registered; ConflictError for a Kantara receipt of consent that does not hold.
    """
    purpose = work.registers.purposes.purposes.get(PurposeId(purpose_id))
    if purpose is None:
        raise InputError(fields=(FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered"),))
    person = _person(work, ref)
    subject_id, members = next(iter(person.items()))
    events = concerning(rows.history(work.session, members), purpose.id, channel, work.registers.purposes)
    if not events:
        raise NotFoundError("nothing is recorded about this purpose")
    registered = _registered(work, purpose, events, form)
    audit_key = derive_audit_key(work.gateway.vault.keys(work.session, [subject_id])[subject_id])
    uid = new_uid(work.now_ms)
    salt = opening_salt(audit_key, uid, RECEIPT_COMMITMENT)
    log = LogPlace(work.gateway.signer.key.name, uid.hex(), salt.hex())
    receipt = _written(_record(work, person, purpose, channel, events, registered, log), form)
    fields: dict[str, object] = {"purpose": purpose.id, "form": form.value}
    payload = receipt_payload(receipt)
    work.record_about(EntryKind.RECEIPT_ISSUED, fields, subject_id, audit_key, payload, uid=uid)
    return sign_receipt(_signer(work.gateway), receipt)


# -- the parts -----------------------------------------------------------------------------------------------------


def _signer(gateway: Gateway) -> JwsSigner:
    return JwsSigner(gateway.vault.provider.keyring.receipt_signing_seed())


def _person(work: Work, ref: SubjectRef) -> Clusters:
    """Return the one person who is meant, with every subject that was merged into them, all locked."""
    found = Resolver(work, [ref]).resolve(ref)
    if isinstance(found, FieldProblem) and found is not UNKNOWN:
        raise InputError(fields=(found,))
    members = None if isinstance(found, FieldProblem) else lock_people(work, [found]).get(found)
    if members is None:
        raise NotFoundError
    return {members[0]: members}


def _written(record: ConsentRecord, form: Form) -> dict[str, object]:
    if form is Form.ISO27560:
        return iso27560.receipt(record)
    grant = kantara.grant_of(record)
    if grant is None:
        raise ConflictError("a Kantara receipt can only say yes, and no consent holds: ask for iso27560")
    return kantara.receipt(record, grant)


def _registered(work: Work, purpose: Purpose, events: Sequence[LedgerEvent], form: Form) -> _Registered:
    controller = rows.find_controller(work.session)
    processing = processing_of(purpose.id, work.registers.purposes, rows.processing(work.session))
    named = {e.event.recipient for e in events if e.event.recipient is not None}
    recipients = tuple(dict.fromkeys([*(processing.recipients if processing else ()), *sorted(named)])) or (OWN,)
    parties = tuple(_parties(work, controller, recipients))
    notice = notice_of(events, rows.published(work.session), _notice_of_source(work, events))
    problems = missing(controller, processing, parties)
    if controller is not None and form is Form.KANTARA:
        problems += kantara.lacking(controller)
    if notice is None:
        problems.append(FieldProblem("$.notice", "not_registered", "no event names a notice, nor does its source"))
    if controller is None or processing is None or notice is None or problems:
        raise IncompleteError(fields=tuple(problems))
    return _Registered(controller, processing, parties, recipients, notice)


def _parties(work: Work, controller: Controller | None, recipients: Sequence[RecipientId]) -> Iterator[Party]:
    if controller is not None:
        yield Party(OWN, controller.name, CONTROLLER_ROLE, "controller", controller.country, controller.address)
    reached = rows.parties(work.session)
    for recipient in recipients:
        found = work.registers.recipients[recipient]
        if recipient != OWN:
            address = reached.get(recipient, _NOWHERE)
            yield Party(found.id, found.name, ROLE[found.kind], found.kind.value, found.country, address)


def _notice_of_source(work: Work, events: Sequence[LedgerEvent]) -> str | None:
    """Return the notice under which the source of the newest event collects."""
    newest = max(events, key=lambda e: e.event.at).event
    source = None if newest.source is None else work.registers.sources.get(newest.source)
    return None if source is None else source.notice


def _record(
    work: Work,
    person: Clusters,
    purpose: Purpose,
    channel: Channel | None,
    events: Sequence[LedgerEvent],
    registered: _Registered,
    log: LogPlace,
) -> ConsentRecord:
    ((subject_id, (regions, _)),) = profiles_of_people(work, person).items()
    found = [region for region in split_regions(regions) if region is not None]
    return ConsentRecord(
        receipt_id=_urn(secrets.token_bytes(16), _RECEIPT_VERSION),
        record_id=_record_id(work, subject_id, purpose, channel),
        principal_id=work.gateway.vault.pseudonymiser.pseudonym(subject_id, _SPACE, 1),
        issued_at=work.now,
        purpose=purpose,
        processing=registered.processing,
        controller=registered.controller,
        parties=registered.parties,
        recipients=registered.recipients,
        jurisdictions=tuple(found) or (registered.controller.country,),
        laws=tuple(_laws(found)),
        notice=registered.notice,
        moments=tuple(moments(events, purpose.basis, work.now)),
        current=tuple(_current(work, person, purpose, channel, events)),
        log=log,
    )


def _laws(regions: Sequence[str]) -> Iterator[str]:
    at = places(regions)
    held = {"gdpr": at.at_eu, "uk": at.at_uk, "ccpa": at.at_ca, "pipl": at.at_cn}
    return (law for law, binds in held.items() if binds)


def _current(
    work: Work, person: Clusters, purpose: Purpose, channel: Channel | None, events: Sequence[LedgerEvent]
) -> Iterator[Current]:
    """Yield what a decision would read now, by the same fold: on the channels that were asked for or spoken of."""
    (points,) = points_of_people(work, person).values()
    enabled = {c for p, c in work.registers.slots if p == purpose.id}
    said = {e.event.channel for e in events if e.event.channel is not None}
    wanted = {channel} if channel is not None else (enabled | said or {Channel.NONE})
    ledger = [e.event for e in events]
    for one in sorted(wanted):
        reached = points_of(one, points)
        standings = fold(ledger, purpose.id, one, work.registers.purposes, reached, work.registers.notices)
        yield _now(work, one, None, standings.own)
        for recipient, standing in sorted(standings.named.items()):
            yield _now(work, one, recipient, standing)


def _now(work: Work, channel: Channel, recipient: RecipientId | None, standing: Standing) -> Current:
    state = standing.state(work.now)
    limited = state is ConsentState.GIVEN and standing.until < FOREVER
    kind = None if standing.event is None else standing.event.kind
    return Current(channel, recipient, state, standing.until if limited else None, kind, standing.outdated)


def _record_id(work: Work, subject_id: SubjectId, purpose: Purpose, channel: Channel | None) -> str:
    """Return the name of the record: the same for every receipt about it, and meaningless to everyone else."""
    subject = canonical_json({"subject_id": subject_id, "purpose": purpose.id, "channel": channel and channel.value})
    return _urn(work.gateway.vault.digest(b"consent-record/v1\0" + subject)[:16], _RECORD_VERSION)


def _urn(raw: bytes, version: int) -> str:
    """Return 16 bytes as a UUID of `version` (RFC 9562)."""
    fields = bytearray(raw)
    fields[6] = fields[6] & 0x0F | version << 4
    fields[8] = fields[8] & 0x3F | 0x80
    return f"urn:uuid:{UUID(bytes=bytes(fields))}"
