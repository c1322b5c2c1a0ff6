"""What records and receipts are made of, as rows: controller, parties, processing, notices, and a person's history."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import select

from consent_gateway.db.consents import event_of
from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.db.tables import (
    audiences,
    consent_events,
    controller,
    notices,
    purpose_processing,
    recipient_parties,
)
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing
from consent_gateway.domain.records.consent import LedgerEvent, Notice

_THE_ONE = 1


def put_controller(session: Session, found: Controller, at: int) -> None:
    """Write the controller, in place of the one before."""
    values = {name: getattr(found, name) for name in ("name", "country", "policy_url", "representative", "officer")}
    more = {"authority": found.authority, "measures": found.measures, "registered_at": at}
    upsert(session, controller, [{"id": _THE_ONE, **values, **more, **asdict(found.address)}])


def find_controller(session: Session) -> Controller | None:
    """Return the controller; None until one is registered."""
    row = session.execute(select(controller)).first()
    if row is None:
        return None
    return Controller(
        name=row.name,
        country=row.country,
        address=_address(row),
        policy_url=row.policy_url,
        representative=row.representative,
        officer=row.officer,
        authority=row.authority,
        measures=row.measures,
    )


def put_party(session: Session, recipient: RecipientId, address: Address) -> None:
    """Write how a recipient is reached."""
    upsert(session, recipient_parties, [{"recipient": recipient, **asdict(address)}])


def parties(session: Session) -> dict[RecipientId, Address]:
    """Return how each recipient is reached of whom it is registered."""
    return {RecipientId(row.recipient): _address(row) for row in session.execute(select(recipient_parties))}


def put_processing(session: Session, purpose: PurposeId, found: Processing) -> None:
    """Write what is done with data for a purpose."""
    row = asdict(found)
    for name in ("data_categories", "subject_categories", "storage_locations", "recipients"):
        row[name] = json.dumps(row[name])
    upsert(session, purpose_processing, [{"purpose": purpose, **row}])


def processing(session: Session) -> dict[PurposeId, Processing]:
    """Return what is registered about the processing for each purpose."""
    return {PurposeId(row.purpose): _processing(row) for row in session.execute(select(purpose_processing))}


def history(session: Session, members: Collection[SubjectId]) -> list[LedgerEvent]:
    """Return every consent event of a person, all their subjects, with how it came, in the order of arrival."""
    statement = select(consent_events).where(consent_events.c.subject_id.in_(members)).order_by(consent_events.c.id)
    return [
        LedgerEvent(event_of(row), row.notice_version, row.language, row.method, row.received_at)
        for row in session.execute(statement)
    ]


def published(session: Session) -> list[Notice]:
    """Return every version of every notice, without its text."""
    wanted = (notices.c[name] for name in ("id", "version", "language", "title", "text_sha256", "published_at"))
    statement = select(*wanted).order_by(notices.c.id, notices.c.version, notices.c.language)
    return [Notice(*row) for row in session.execute(statement)]


def disclosed(session: Session) -> frozenset[tuple[PurposeId, RecipientId]]:
    """Return for which purpose which recipient was ever served an audience."""
    statement = select(audiences.c.purpose, audiences.c.recipient).distinct()
    return frozenset((PurposeId(r.purpose), RecipientId(r.recipient)) for r in session.execute(statement))


def _address(row: Any) -> Address:
    return Address(row.address, row.contact, row.email, row.phone, row.url)


def _processing(row: Any) -> Processing:
    return Processing(
        data_categories=tuple(DataCategory(**category) for category in json.loads(row.data_categories)),
        subject_categories=tuple(json.loads(row.subject_categories)),
        retention=row.retention,
        retention_criteria=row.retention_criteria,
        withdrawal_method=row.withdrawal_method,
        storage_locations=tuple(json.loads(row.storage_locations)),
        recipients=tuple(RecipientId(r) for r in json.loads(row.recipients)),
        service=row.service,
    )
