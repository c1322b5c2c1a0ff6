"""The record of processing activities, made out of the registers, with what is missing in it.

One activity is one purpose (GDPR Art 30(1)(b)): of whom and which data (c), who gets them (d) and in which third
country under which safeguard (e), until when (f), where the security measures are described (g). It answers too
PIPL Art 55-56 (what an impact assessment starts from) and Civ. 1798.100(a), 1798.110(c) (what has to be disclosed).

A gap is no error: it is a finding, so that a record is never silent about what nobody has registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel, Purpose, PurposeTree, Recipient, RecipientKind, Source
from consent_gateway.domain.records.parties import Address, Controller, Processing, processing_of
from consent_gateway.domain.records.terms import legal_bases

LAWS = ("gdpr", "uk", "pipl", "ccpa")
_OTHERS = frozenset(RecipientKind) - {RecipientKind.SELF, RecipientKind.PROCESSOR}


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Who gets the data of an activity, how they are reached, and whether they sit in a third country."""

    recipient: Recipient
    address: Address
    third_country: bool


@dataclass(frozen=True, slots=True)
class Activity:
    """One purpose with everything that the record says about it; `processing` is None where nothing is registered."""

    purpose: Purpose
    bases: tuple[str, ...]
    channels: tuple[Channel, ...]
    sources: tuple[Source, ...]
    processing: Processing | None
    disclosures: tuple[Disclosure, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One gap: a stable code, and the controller, purpose, source or recipient that it is about."""

    code: str
    where: str


@dataclass(frozen=True, slots=True)
class ActivityRecord:
    """The whole record at one instant (seconds)."""

    at: int
    controller: Controller | None
    activities: tuple[Activity, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """The registers that a record is made of.

    `disclosed` are the purpose and recipient of every audience that was resolved; `is_third` tells whether a country is
    a third one, seen from the controller.
    """

    controller: Controller | None
    purposes: PurposeTree
    slots: AbstractSet[tuple[PurposeId, Channel]]
    sources: Sequence[Source]
    recipients: Mapping[RecipientId, Recipient]
    processing: Mapping[PurposeId, Processing]
    parties: Mapping[RecipientId, Address]
    disclosed: AbstractSet[tuple[PurposeId, RecipientId]]
    is_third: Callable[[str], bool]


def record(known: Known, at: int) -> ActivityRecord:
    """Return the record; the same registers give the same record, in the order of the names."""
    purposes = known.purposes.purposes.values()
    activities = tuple(_activity(known, p) for p in sorted(purposes, key=lambda p: p.id))
    findings = [*_of_controller(known), *_of_activities(known, activities), *_of_sources(known), *_of_recipients(known)]
    return ActivityRecord(at, known.controller, activities, tuple(findings))


# -- the parts -----------------------------------------------------------------------------------------------------


def _activity(known: Known, purpose: Purpose) -> Activity:
    processing = processing_of(purpose.id, known.purposes, known.processing)
    declared = processing.recipients if processing else ()
    wider = set(known.purposes.ancestors(purpose.id))
    return Activity(
        purpose=purpose,
        bases=tuple(legal_bases(purpose.basis, LAWS)),
        channels=tuple(sorted(c for p, c in known.slots if p == purpose.id)),
        sources=tuple(s for s in known.sources if wider.intersection(s.purposes)),
        processing=processing,
        disclosures=tuple(_disclosure(known, known.recipients[r]) for r in declared),
    )


def _disclosure(known: Known, recipient: Recipient) -> Disclosure:
    return Disclosure(recipient, known.parties.get(recipient.id, Address()), known.is_third(recipient.country))


def _of_controller(known: Known) -> Iterator[Finding]:
    controller = known.controller
    if controller is None:
        yield Finding("controller_missing", "controller")
        return
    if not (controller.address.address and controller.address.contact):
        yield Finding("controller_without_contact", "controller")
    if not controller.measures:
        yield Finding("measures_missing", "controller")


def _of_activities(known: Known, activities: Iterable[Activity]) -> Iterator[Finding]:
    for activity in activities:
        name = activity.purpose.id
        processing = activity.processing
        if processing is None:
            yield Finding("purpose_without_processing", name)
        else:
            yield from (Finding(code, name) for code, held in _wanted(processing).items() if not held)
            yield from _of_sensitive_data(activity.purpose, processing)
        declared = {d.recipient.id for d in activity.disclosures}
        undeclared = sorted(r for p, r in known.disclosed if p == name and r not in declared)
        yield from (Finding("recipient_undeclared", f"{name}: {recipient}") for recipient in undeclared)


def _of_sensitive_data(purpose: Purpose, processing: Processing) -> Iterator[Finding]:
    """Decisions follow what the purpose declares (`Purpose.sensitive`), the record what the processing lists."""
    held = any(c.special or c.sensitive for c in processing.data_categories)
    if held and not purpose.sensitive:
        yield Finding("sensitive_data_undeclared", purpose.id)
    if purpose.sensitive and not held:
        yield Finding("sensitive_data_unlisted", purpose.id)


def _wanted(processing: Processing) -> dict[str, object]:
    """Return what Art 30(1) asks for about an activity, by the code of its absence."""
    return {
        "purpose_without_data_categories": processing.data_categories,
        "purpose_without_subject_categories": processing.subject_categories,
        "purpose_without_retention": processing.retention_period,
        "purpose_without_recipients": processing.recipients,
        "purpose_without_storage_locations": processing.storage_locations,
    }


def _of_sources(known: Known) -> Iterator[Finding]:
    for source in known.sources:
        if source.notice is None:
            yield Finding("source_without_notice", source.id)  # GDPR Art 13, 14; PIPL Art 17
        if not source.purposes:
            yield Finding("source_without_purposes", source.id)


def _of_recipients(known: Known) -> Iterator[Finding]:
    for recipient in sorted(known.recipients.values(), key=lambda r: r.id):
        if known.is_third(recipient.country) and recipient.transfer_mechanism == "none":
            yield Finding("third_country_without_mechanism", recipient.id)  # GDPR Art 44, PIPL Art 38
        if recipient.kind is RecipientKind.PROCESSOR and not recipient.contract:
            yield Finding("processor_without_contract", recipient.id)  # GDPR Art 28(3), PIPL Art 21
        if recipient.kind in _OTHERS and not known.parties.get(recipient.id, Address()).contact:
            yield Finding("third_party_without_contact", recipient.id)  # PIPL Art 23
