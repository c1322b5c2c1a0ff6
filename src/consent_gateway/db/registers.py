"""The registers as rows: purposes, slots, recipients, notices, sources, traits, principals, segments."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.sql import Select

from consent_gateway.db import deferrals, key_epochs, policies
from consent_gateway.db.dialects import insert_ignoring, upsert
from consent_gateway.db.engine import Session, asked
from consent_gateway.db.generations import load as load_generations
from consent_gateway.db.notices import notice_book
from consent_gateway.db.tables import (
    NUMBER_SLOTS,
    TEXT_SLOTS,
    exports,
    principals,
    pseudonym_epochs,
    purposes,
    recipients,
    registry_state,
    segments,
    slots,
    sources,
    traits,
    vault_fields,
)
from consent_gateway.domain.epochs import Epochs
from consent_gateway.domain.fields import Category, FieldDefinition
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SourceId, TraitId
from consent_gateway.domain.purposes import (
    Basis,
    Channel,
    Destination,
    Mark,
    Party,
    Purpose,
    PurposeKind,
    PurposeTree,
    Recipient,
    RecipientKind,
    Source,
)
from consent_gateway.domain.registers import Exports, Principal, Registers
from consent_gateway.domain.segments import TraitDefinition, TraitOrigin, TraitType

_VERSION = "SELECT version FROM registry_state"


def version(session: Session) -> int:
    """Return the version of the registers; it grows with every change."""
    row = asked(session, _VERSION)
    return row[0] if row else 0


def hold(session: Session) -> None:
    """Keep every register from changing until the transaction ends; any number may hold them at once."""
    session.execute(select(registry_state.c.version).with_for_update(read=True))


def bump(session: Session) -> None:
    """Say that a register changed; every cached snapshot is stale from the commit on.

    The row stays locked until then: whoever bumps, or holds the version, waits.
    """
    raised = update(registry_state).values(version=registry_state.c.version + 1)
    if session.execute(raised).rowcount == 0:
        insert_ignoring(session, registry_state, [{"id": 1, "version": 0}], registry_state.c.id)
        session.execute(raised)


def load(session: Session) -> Registers:
    """Read one consistent snapshot of every register."""
    return Registers(
        version=version(session),
        purposes=PurposeTree({p.id: p for p in map(_purpose, _rows(session, select(purposes)))}),
        slots={(PurposeId(r.purpose), Channel(r.channel)): r.slot for r in _rows(session, select(slots))},
        recipients={r.id: r for r in map(_recipient, _rows(session, select(recipients)))},
        sources={s.id: s for s in map(_source, _rows(session, select(sources)))},
        traits={t.id: t for t in map(_trait, _rows(session, select(traits).order_by(traits.c.id)))},
        principals={p.key: p for p in map(_principal, _rows(session, _live_principals()))},
        policies=policies.load(session),
        exports={e.year: e for e in map(_exports, _rows(session, select(exports)))},
        notices=notice_book(session),
        epochs=_epochs(_rows(session, select(pseudonym_epochs).order_by(pseudonym_epochs.c.epoch))),
        fields={f.id: f for f in map(_field, _rows(session, select(vault_fields)))},
        index=load_generations(session),
        least_epoch=key_epochs.least(session),
        doomed_epoch=key_epochs.doomed(session),
        deferred=deferrals.any_waiting(session),
    )


def put_purpose(session: Session, purpose: Purpose) -> None:
    """Write one purpose."""
    row = {c.name: getattr(purpose, c.name) for c in purposes.columns}
    lists = {name: json.dumps(sorted(row[name])) for name in ("marks", "sensitive", "bases", "reveals")}
    upsert(session, purposes, [row | lists])


def add_slot(session: Session, purpose: PurposeId, channel: Channel, slot: int) -> None:
    """Give a purpose x channel pair its place in the audience row, for good."""
    session.execute(insert(slots), [{"slot": slot, "purpose": purpose, "channel": channel}])


def put_recipient(session: Session, recipient: Recipient) -> None:
    """Write one recipient."""
    upsert(session, recipients, [{c.name: getattr(recipient, c.name) for c in recipients.columns}])


def put_epochs(session: Session, sector: str, epochs: Epochs, at: int) -> None:
    """Write the epochs of a sector after a roll at the instant `at`; when earlier ones began stays as it was."""
    former = [{"sector": sector, "epoch": e, "counts_until": until} for e, until in epochs.former.items()]
    upsert(session, pseudonym_epochs, former)
    upsert(
        session, pseudonym_epochs, [{"sector": sector, "epoch": epochs.current, "begun_at": at, "counts_until": None}]
    )


def put_source(session: Session, source: Source) -> None:
    """Write one source."""
    row = {
        "id": source.id,
        "name": source.name,
        "channel": source.channel,
        "party": source.party,
        "notice": source.notice,
        "purposes": json.dumps(list(source.purposes)),
        "retention": source.retention,
    }
    upsert(session, sources, [row])


def put_field(session: Session, field: FieldDefinition) -> None:
    """Write what is registered about one field."""
    row = {c.name: getattr(field, c.name) for c in vault_fields.columns}
    upsert(session, vault_fields, [row | {"purposes": json.dumps(list(field.purposes))}])


def add_trait(session: Session, trait: TraitDefinition, description: str) -> None:
    """Write one trait with its slot, for good."""
    row = {
        "id": trait.id,
        "type": trait.type,
        "origin": trait.origin,
        "event_type": trait.event_type,
        "slot": trait.slot,
        "description": description,
        "sensitive": trait.sensitive,
    }
    session.execute(insert(traits), [row])


def set_sensitive(session: Session, trait: TraitId, category: str | None) -> None:
    """Say of which sensitive category a trait is."""
    session.execute(update(traits).where(traits.c.id == trait).values(sensitive=category))


def put_exports(session: Session, declared: Exports, at: int) -> None:
    """Write how many people's data left China in a year, in place of what was declared before."""
    row = {"year": declared.year, "people": declared.people, "sensitive_people": declared.sensitive_people}
    upsert(session, exports, [row | {"declared_at": at}])


def add_principal(session: Session, principal: Principal, key_sha256: bytes, at: int) -> bool:
    """Write one principal, False if the name is taken; the key itself is never stored."""
    row = {
        "id": principal.id,
        "recipient": principal.recipient,
        "scopes": json.dumps(sorted(principal.scopes)),
        "key_sha256": key_sha256,
        "created_at": at,
        "revoked_at": None,
    }
    return bool(insert_ignoring(session, principals, [row], principals.c.id))


def revoke_principal(session: Session, principal_id: str, at: int) -> bool:
    """Mark a principal's key as revoked; False if there is no such live principal."""
    statement = update(principals).where(principals.c.id == principal_id, principals.c.revoked_at.is_(None))
    return session.execute(statement.values(revoked_at=at)).rowcount > 0


def list_principals(session: Session) -> list[dict[str, Any]]:
    """Return every principal without its key."""
    columns = (principals.c.id, principals.c.recipient, principals.c.scopes, principals.c.created_at)
    statement = select(*columns, principals.c.revoked_at).order_by(principals.c.id)
    return [dict(row) for row in session.execute(statement).mappings()]


def free_trait_slot(session: Session, *, text: bool) -> str | None:
    """Return a slot that no trait holds yet, None when all are taken."""
    taken = set(session.execute(select(traits.c.slot)).scalars())
    names = [f"s{i}" for i in range(TEXT_SLOTS)] if text else [f"n{i}" for i in range(NUMBER_SLOTS)]
    return next((name for name in names if name not in taken), None)


def put_segment(session: Session, segment_id: str, expression: str, description: str, at: int) -> None:
    """Write one saved segment (canonical JSON)."""
    row = {"id": segment_id, "expression": expression, "description": description, "saved_at": at}
    upsert(session, segments, [row])


def segment_rows(session: Session, segment_id: str | None = None) -> list[dict[str, Any]]:
    """Return all saved segments, or the one that is named."""
    statement = select(segments).order_by(segments.c.id)
    if segment_id is not None:
        statement = statement.where(segments.c.id == segment_id)
    return [dict(row) for row in session.execute(statement).mappings()]


def _rows(session: Session, statement: Select[Any]) -> list[Any]:
    return list(session.execute(statement))


def _live_principals() -> Select[Any]:
    return select(principals).where(principals.c.revoked_at.is_(None))


def _purpose(row: Any) -> Purpose:
    return Purpose(
        id=PurposeId(row.id),
        kind=PurposeKind(row.kind),
        title=row.title,
        title_zh=row.title_zh,
        dpv_iri=row.dpv_iri,
        basis=Basis(row.basis),
        parent=PurposeId(row.parent) if row.parent else None,
        marks=frozenset(Mark(name) for name in json.loads(row.marks)),
        sensitive=tuple(json.loads(row.sensitive)),
        bases=tuple(Basis(name) for name in json.loads(row.bases)),
        requested=PurposeId(row.requested) if row.requested else None,
        reveals=tuple(json.loads(row.reveals)),
    )


def _recipient(row: Any) -> Recipient:
    return Recipient(
        id=RecipientId(row.id),
        name=row.name,
        kind=RecipientKind(row.kind),
        country=row.country,
        contract=row.contract,
        transfer_mechanism=row.transfer_mechanism,
        sector=row.sector,
        scope_bit=row.scope_bit,
        destination=Destination(row.destination) if row.destination else None,
    )


def _source(row: Any) -> Source:
    return Source(
        id=SourceId(row.id),
        name=row.name,
        channel=row.channel,
        party=Party(row.party),
        notice=NoticeId(row.notice) if row.notice else None,
        purposes=tuple(PurposeId(p) for p in json.loads(row.purposes)),
        retention=row.retention,
    )


def _field(row: Any) -> FieldDefinition:
    return FieldDefinition(
        row.id,
        None if row.category is None else Category(row.category),
        tuple(PurposeId(p) for p in json.loads(row.purposes)),
        row.retention,
        row.description,
    )


def _trait(row: Any) -> TraitDefinition:
    return TraitDefinition(
        id=TraitId(row.id),
        type=TraitType(row.type),
        slot=row.slot,
        origin=TraitOrigin(row.origin),
        event_type=row.event_type,
        sensitive=row.sensitive,
    )


def _epochs(rows: list[Any]) -> dict[str, Epochs]:
    """Return the epochs of each sector; the current one is that without an end."""
    current = {row.sector: row.epoch for row in rows if row.counts_until is None}
    former: dict[str, dict[int, int]] = {}
    for row in rows:
        if row.counts_until is not None:
            former.setdefault(row.sector, {})[row.epoch] = row.counts_until
    return {sector: Epochs(epoch, former.get(sector, {})) for sector, epoch in current.items()}


def _exports(row: Any) -> Exports:
    return Exports(row.year, row.people, row.sensitive_people)


def _principal(row: Any) -> Principal:
    return Principal(row.id, RecipientId(row.recipient), frozenset(json.loads(row.scopes)), bytes(row.key_sha256))
