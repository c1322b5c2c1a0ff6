"""Registering what the gateway decides about: purposes, sources, recipients, traits, segments.

Registering the same thing again with the same content changes nothing; a name that is taken by something else is a
conflict where answers that were given would change their meaning (kind of a purpose, slot of a trait).

Who registers begins with `Work.changed_registers`: it locks the version of the registers until the transaction ends,
so that what is checked here is still so when it is written, and whoever holds the version (intake does, from its
beginning) is not overlooked when everyone's rows are computed for a new slot. Notices: `services.ledger.notices`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import registers as register_rows
from consent_gateway.db import subjects
from consent_gateway.db.tables import CONSENT_SLOTS
from consent_gateway.domain.fields import SENSITIVE_FIELDS, RevealField
from consent_gateway.domain.ids import PurposeId, RecipientId, SegmentId, SubjectId, TraitId, is_slug
from consent_gateway.domain.purposes import Basis, Channel, Mark, Purpose, PurposeKind, Recipient, RecipientKind, Source
from consent_gateway.domain.scopes import SCOPE_BITS
from consent_gateway.domain.segments import Segment, TraitDefinition, TraitOrigin, TraitType, check, to_json
from consent_gateway.errors import ConflictError, FieldProblem, InputError
from consent_gateway.services.identity.audience_rows import rebuild_traits, refresh_standings
from consent_gateway.services.identity.circumstances import refresh_circumstances
from consent_gateway.services.work.gateway import Work

_PAGE = 1000
_DPV = "https://w3id.org/dpv#"
_SEED = (
    ("marketing", PurposeKind.DIRECT_MARKETING, "Marketing", "营销", "Marketing", Basis.CONSENT, None, ()),
    (
        "direct_marketing",
        PurposeKind.DIRECT_MARKETING,
        "Direct marketing",
        "直接营销",
        "DirectMarketing",
        Basis.CONSENT,
        "marketing",
        (Channel.EMAIL, Channel.SMS, Channel.CALL, Channel.POST, Channel.PUSH),
    ),
    (
        "personalised_marketing",
        PurposeKind.PERSONALISED_MARKETING,
        "Personalised marketing",
        "个性化营销",
        "PersonalisedAdvertising",
        Basis.CONSENT,
        "marketing",
        (Channel.EMAIL, Channel.PUSH),
    ),
    (
        "third_party_audience_sharing",
        PurposeKind.THIRD_PARTY_AUDIENCE_SHARING,
        "Sharing with third parties for their marketing",
        "向第三方提供受众",
        "TargetedAdvertising",
        Basis.CONSENT,
        "marketing",
        (Channel.ONLINE_ADS, Channel.EMAIL),
    ),
    (
        "segmentation_for_marketing",
        PurposeKind.SEGMENTATION_FOR_MARKETING,
        "Segmentation for marketing",
        "营销分群",
        "Personalisation",
        Basis.CONSENT,
        "marketing",
        (Channel.NONE,),
    ),
    (
        "service_message",
        PurposeKind.SERVICE_MESSAGE,
        "Service messages",
        "服务消息",
        "CommunicationManagement",
        Basis.CONTRACT,
        None,
        (),
    ),
    (
        "service_delivery",
        PurposeKind.SERVICE_DELIVERY,
        "Delivery of the service",
        "提供服务",
        "ServiceProvision",
        Basis.CONTRACT,
        None,
        (),
    ),
)


def seed(work: Work) -> None:
    """Register what every deployment needs: the standard purposes with their slots, and ourselves as recipient."""
    for name, kind, title, title_zh, iri, basis, parent, channels in _SEED:
        purpose = Purpose(
            PurposeId(name), kind, title, title_zh, _DPV + iri, basis, PurposeId(parent) if parent else None
        )
        put_purpose(work, purpose, channels)
    put_recipient(
        work,
        Recipient(
            RecipientId("self"),
            "Ourselves",
            RecipientKind.SELF,
            "",
            contract=True,
            transfer_mechanism="none",
            sector="self",
        ),
    )


def put_purpose(work: Work, purpose: Purpose, channels: Sequence[Channel]) -> None:
    """Register a purpose and give each purpose x channel pair its slot in the audience row."""
    require_slug(purpose.id, "$.id")
    work.changed_registers()  # one at a time from here on: slots and kinds are given out once
    known = work.registers.purposes.purposes
    if purpose.parent is not None and purpose.parent not in known:
        raise InputError(fields=(FieldProblem("$.parent", "unknown_purpose", "the wider purpose is not registered"),))
    _check_requested(known, purpose)
    _check_reveals(work, purpose)
    held = known.get(purpose.id)
    if held is not None and (held.kind, held.parent) != (purpose.kind, purpose.parent):
        raise ConflictError("a purpose keeps its kind and its place: answers that were given depend on them")
    register_rows.put_purpose(work.session, purpose)
    work.changed_registers()
    fresh = [c for c in channels if (purpose.id, c) not in work.registers.slots]
    for channel in fresh:
        _give_slot(work, purpose.id, channel)
    if fresh:
        _refold_everyone(work, purpose.id)
    work.record(
        EntryKind.PURPOSE_REGISTERED,
        {
            "purpose": purpose.id,
            "kind": purpose.kind.value,
            "channels": [c.value for c in channels],
            "basis": purpose.basis.value,
            **_declared(purpose),
        },
    )


def put_recipient(work: Work, recipient: Recipient) -> None:
    """Register a recipient; a third party gets the bit that consent uses to name it."""
    require_slug(recipient.id, "$.id")
    work.changed_registers()  # one at a time from here on: a bit names one recipient
    held = work.registers.recipients.get(recipient.id)
    if held is not None and (held.kind, held.sector) != (recipient.kind, recipient.sector):
        raise ConflictError("a recipient keeps its kind and sector: pseudonyms that were given depend on them")
    bit = held.scope_bit if held is not None else _free_bit(work, recipient.kind)
    stored = Recipient(
        recipient.id,
        recipient.name,
        recipient.kind,
        recipient.country,
        recipient.contract,
        recipient.transfer_mechanism,
        recipient.sector,
        bit,
        recipient.destination,
    )
    register_rows.put_recipient(work.session, stored)
    work.changed_registers()
    work.record(
        EntryKind.RECIPIENT_REGISTERED,
        {
            "recipient": recipient.id,
            "kind": recipient.kind.value,
            "country": recipient.country,
            **({} if recipient.destination is None else {"destination": recipient.destination.value}),
        },
    )


def put_source(work: Work, source: Source) -> None:
    """Register a source; its purposes and notice must be known."""
    require_slug(source.id, "$.id")
    work.changed_registers()
    unknown = [p for p in source.purposes if p not in work.registers.purposes.purposes]
    if unknown:
        raise InputError(fields=(FieldProblem("$.purposes", "unknown_purpose", "a purpose is not registered"),))
    if source.notice is not None and work.registers.notices.find(source.notice, None) is None:
        raise InputError(fields=(FieldProblem("$.notice", "unknown_notice", "the notice was not published"),))
    held = work.registers.sources.get(source.id)
    register_rows.put_source(work.session, source)
    work.changed_registers()
    if held is not None and held.party is not source.party:
        for_everyone(work, lambda ids: refresh_circumstances(work, ids))
    work.record(EntryKind.SOURCE_REGISTERED, {"source": source.id, "party": source.party.value})


def put_trait(
    work: Work,
    trait_id: TraitId,
    kind: TraitType,
    origin: TraitOrigin,
    event_type: str | None,
    description: str,
    sensitive: str | None = None,
) -> TraitDefinition:
    """Declare a trait; event-derived ones are computed at once for everyone.

    Declared again, only its category of sensitive data changes: it counts from the next question on.
    """
    require_slug(trait_id, "$.id")
    if (origin == TraitOrigin.DECLARED) != (event_type is None):
        raise InputError(fields=(FieldProblem("$.event_type", "mismatch", "needed exactly for event-derived traits"),))
    work.changed_registers()  # one at a time from here on: a trait is declared once, and a slot holds one trait
    if trait_id in work.registers.fields:
        raise ConflictError("a field of the vault has this name: it is no trait")
    held = work.registers.traits.get(trait_id)
    if held is not None:
        if (held.type, held.origin, held.event_type) != (kind, origin, event_type):
            raise ConflictError("a trait keeps its type and origin")
        return held if held.sensitive == sensitive else _reclassify(work, held, sensitive)
    slot = register_rows.free_trait_slot(work.session, text=kind == TraitType.TEXT)
    if slot is None:
        raise ConflictError("every trait slot of the audience row is taken")
    trait = TraitDefinition(
        id=trait_id, type=kind, slot=slot, origin=origin, event_type=event_type, sensitive=sensitive
    )
    register_rows.add_trait(work.session, trait, description)
    work.changed_registers()
    for_everyone(work, lambda ids: rebuild_traits(work, ids))
    _record_trait(work, trait)
    return trait


def save_segment(work: Work, segment_id: SegmentId, segment: Segment, description: str) -> None:
    """Save a segment under a name, after checking it against the declared traits; the last one saved counts."""
    require_slug(segment_id, "$.id")
    check(segment, work.registers.traits)
    expression = canonical_json(to_json(segment)).decode()
    register_rows.put_segment(work.session, segment_id, expression, description, work.now)
    work.record(EntryKind.SEGMENT_SAVED, {"segment": segment_id, "expression": json.loads(expression)})


# -- the parts ---------------------------------------------------------------------------------------------------


def require_slug(name: str, path: str) -> None:
    """Refuse a name that is not a lower-case word; InputError names the field."""
    if not is_slug(name):
        message = "a lower-case letter, then up to 62 of a-z, 0-9 and _"
        raise InputError(fields=(FieldProblem(path, "invalid_name", message),))


def _check_requested(known: Mapping[PurposeId, Purpose], purpose: Purpose) -> None:
    if purpose.requested is None:
        return
    if purpose.kind is not PurposeKind.CONSENT_REQUEST:
        message = "only a request for consent asks for consent to something"
        raise InputError(fields=(FieldProblem("$.requested", "mismatch", message),))
    if purpose.requested not in known:
        raise InputError(fields=(FieldProblem("$.requested", "unknown_purpose", "no such purpose is registered"),))


def _check_reveals(work: Work, purpose: Purpose) -> None:
    declared = {f.id for f in work.registers.fields.values() if f.category is not None}
    if any(f not in set(RevealField) and f not in declared for f in purpose.reveals):
        raise InputError(fields=(FieldProblem("$.reveals", "unknown_field", "a field is not declared"),))
    if Mark.SENSITIVE_FIELDS not in purpose.marks and not (SENSITIVE_FIELDS | declared).isdisjoint(purpose.reveals):
        message = "birth_date, device_id and every field that was declared sensitive need the mark sensitive_fields"
        raise InputError(fields=(FieldProblem("$.reveals", "mark_missing", message),))


def _declared(purpose: Purpose) -> dict[str, object]:
    """Return what the register says about a purpose beyond its kind, as far as it says anything."""
    said: dict[str, object] = {
        "marks": sorted(m.value for m in purpose.marks),
        "sensitive": sorted(purpose.sensitive),
        "bases": sorted(b.value for b in purpose.bases),
        "requested": purpose.requested,
        "reveals": sorted(str(f) for f in purpose.reveals),
    }
    return {name: value for name, value in said.items() if value}


def _reclassify(work: Work, held: TraitDefinition, sensitive: str | None) -> TraitDefinition:
    register_rows.set_sensitive(work.session, held.id, sensitive)
    work.changed_registers()
    trait = replace(held, sensitive=sensitive)
    _record_trait(work, trait)
    return trait


def _record_trait(work: Work, trait: TraitDefinition) -> None:
    fields = {"action": "trait_declared", "trait": trait.id, "origin": trait.origin.value}
    work.record(EntryKind.ADMIN_ACTION, fields | ({"sensitive": trait.sensitive} if trait.sensitive else {}))


def _give_slot(work: Work, purpose: PurposeId, channel: Channel) -> None:
    taken = set(work.registers.slots.values())
    free = next((n for n in range(CONSENT_SLOTS) if n not in taken), None)
    if free is None:
        raise ConflictError(f"all {CONSENT_SLOTS} purpose x channel slots of the audience row are taken")
    register_rows.add_slot(work.session, purpose, channel, free)
    work.changed_registers()


def _free_bit(work: Work, kind: RecipientKind) -> int | None:
    if kind in (RecipientKind.SELF, RecipientKind.PROCESSOR):
        return None
    taken = {r.scope_bit for r in work.registers.recipients.values()}
    free = next((n for n in range(SCOPE_BITS) if n not in taken), None)
    if free is None:
        raise ConflictError(f"at most {SCOPE_BITS} third parties can be named by consent")
    return free


def _refold_everyone(work: Work, purpose: PurposeId) -> None:
    for_everyone(work, lambda ids: refresh_standings(work, ids, {purpose}))


def for_everyone(work: Work, act: Callable[[list[SubjectId]], None]) -> None:
    """Run `act` over all people, page by page."""
    after = 0
    while ids := subjects.ids_after(work.session, after, _PAGE):
        act(ids)
        after = ids[-1]
