"""Registering what records and receipts have to say: the controller, how parties are reached, the processing.

No decision depends on any of it, so registering again simply replaces. The log records that it happened, not the
words: a contact person's name is nobody else's business.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import records
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.records import Address, Controller, Processing
from consent_gateway.errors import ConflictError, FieldProblem, InputError
from consent_gateway.services.work.gateway import Work


def put_controller(work: Work, controller: Controller) -> None:
    """Register the controller (GDPR Art 13(1)(a), 30(1)(a)); ConflictError if the settings name another country.

    Which law binds depends on the country that the settings name: a record must not say another one.
    """
    decided = work.gateway.rules.controller_country
    if decided is not None and decided != controller.country:
        raise ConflictError("the setting controller_country names another country, and decisions follow it")
    records.put_controller(work.session, controller, work.now)
    work.record(EntryKind.CONTROLLER_REGISTERED, {"country": controller.country})


def put_party(work: Work, recipient: RecipientId, address: Address) -> None:
    """Register how a recipient is reached; goes with the registration of the recipient and its entry."""
    records.put_party(work.session, recipient, address)


def put_processing(work: Work, purpose: PurposeId, processing: Processing) -> None:
    """Register what is done with data for a purpose (GDPR Art 30(1)); InputError for an unknown recipient."""
    if any(r not in work.registers.recipients for r in processing.recipients):
        problem = FieldProblem("$.processing.recipients", "unknown_recipient", "a recipient is not registered")
        raise InputError(fields=(problem,))
    records.put_processing(work.session, purpose, processing)
    work.record(
        EntryKind.PROCESSING_REGISTERED,
        {"purpose": purpose, "data": [c.type for c in processing.data_categories], "retention": processing.retention},
    )
