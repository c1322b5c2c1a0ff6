"""The one write path that keeps the audience row true: each writer recomputes what one kind of truth decides.

Every use case that changes a person's identifiers, ledger, choices, events or traits calls the writer for it in its own
transaction. Rows are locked in the order of their ids before the truth is read, so that two writers cannot overlook
each other; `services.reconcile` is the independent second computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consent_gateway.db import audience_rows, consents, events, subjects
from consent_gateway.db.subjects import ContactPoint, Token
from consent_gateway.domain.consents import ConsentEvent, fold
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.segments import TraitDefinition, TraitOrigin
from consent_gateway.domain.subjects import CHOICE_FLAG, REACHED_BY, SUPPRESSED_BY, Flag
from consent_gateway.services.gateway import Work

_PRESENT = {"email": Flag.HAS_EMAIL, "phone": Flag.HAS_PHONE, "device_id": Flag.HAS_DEVICE}
_CHOICE_MASK = sum(CHOICE_FLAG.values())
_AGGREGATE = {TraitOrigin.EVENT_COUNT: 0, TraitOrigin.EVENT_FIRST: 1, TraitOrigin.EVENT_LAST: 2}


def refresh_flags(work: Work, ids: Sequence[SubjectId]) -> None:
    """Recompute the contact-point bits of people from their identifiers and the suppression list."""
    if not ids:
        return
    points = subjects.contact_points(work.session, ids)
    drafts = {i: [Token(p.kind, p.token) for p in points.get(i, [])] for i in ids}
    fresh = contact_flags(work, drafts)
    keep = ~(sum(_PRESENT.values()) | sum(SUPPRESSED_BY.values()))
    stored = audience_rows.rows(work.session, ids, ["flags"])
    changes = {i: {"flags": (row["flags"] & keep) | int(fresh[i])} for i, row in stored.items()}
    audience_rows.update_rows(work.session, changes)


def contact_flags(work: Work, tokens: Mapping[SubjectId, Sequence[Token]]) -> dict[SubjectId, Flag]:
    """Return which contact points each person has, and which kinds are suppressed.

    One suppressed address closes its kind: an answer does not say which address may be written to.
    """
    blocked: set[Token] = set()
    if subjects.any_suppressed(work.session):
        blocked = subjects.suppressed(work.session, {t for ts in tokens.values() for t in ts})
    return {i: _flags_of(held, blocked) for i, held in tokens.items()}


def _flags_of(tokens: Sequence[Token], blocked: set[Token]) -> Flag:
    flags = Flag(0)
    for token in tokens:
        flags |= _PRESENT.get(token.kind, Flag(0))
    for kind, flag in SUPPRESSED_BY.items():
        of_kind = [t for t in tokens if t.kind == kind]
        if of_kind and any(t in blocked for t in of_kind):
            flags |= flag
    return flags


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
        packed = registers.pack(fold(ledger, purpose, channel, registers.purposes, points_of(channel, points)))
        columns |= {f"c{slot}": packed.until, f"r{slot}": packed.named, f"p{slot}": packed.scope}
    return columns


def points_of(channel: Channel, points: Sequence[ContactPoint]) -> list[int]:
    """Return the contact points that a channel can write to."""
    reached = REACHED_BY.get(channel)
    return [p.id for p in points if reached is not None and p.kind == reached[0].value]


def rebuild_traits(work: Work, ids: Sequence[SubjectId]) -> None:
    """Write the trait columns of people from their events and declared values."""
    audience_rows.rows(work.session, ids, [])  # locks the rows, in the order of their ids, before the truth is read
    summaries = events.summaries(work.session, ids)
    declared = events.declared_traits(work.session, ids)
    changes = {i: trait_columns(work.registers, i, summaries, declared.get(i, {})) for i in ids}
    audience_rows.update_rows(work.session, changes)


def trait_columns(
    registers: Registers,
    subject_id: SubjectId,
    summaries: Mapping[tuple[SubjectId, str], tuple[int, int, int]],
    declared: Mapping[str, int | str | None],
) -> dict[str, int | str | None]:
    """Return the trait columns of one person from the summaries of their events and their declared values."""
    return {t.slot: _trait_value(t, subject_id, summaries, declared) for t in registers.traits.values()}


def _trait_value(
    trait: TraitDefinition,
    subject_id: SubjectId,
    summaries: Mapping[tuple[SubjectId, str], tuple[int, int, int]],
    declared: Mapping[str, int | str | None],
) -> int | str | None:
    if trait.origin == TraitOrigin.DECLARED:
        return declared.get(trait.id)
    found = summaries.get((subject_id, trait.event_type or ""))
    return None if found is None else found[_AGGREGATE[trait.origin]]
