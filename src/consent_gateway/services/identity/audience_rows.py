"""The one write path that keeps the audience row true: each writer recomputes what one kind of truth decides.

Every use case that changes a person's identifiers, ledger, choices, events or traits calls the writer for it in its own
transaction. Rows are locked in the order of their ids before the truth is read, so that two writers cannot overlook
each other; `services.identity.reconcile` is the independent second computation.

People who were merged have one row, that of the head: each writer takes any of their subjects and computes over all
(`domain.merges` has the rules). Whoever writes has locked a subject of the person, and who merges locks them all, so
that a cluster stays as it was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consent_gateway.db import audience_rows, merges
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.db.tables import CAPPED_CHANNELS, NEWEST_CONTACTS
from consent_gateway.domain.consents import ConsentEvent, fold
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.merges import Clusters
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.segments import TraitDefinition, TraitOrigin
from consent_gateway.domain.subjects import CHOICE_FLAGS, REACHED_BY, SUPPRESSED_BY, Flag
from consent_gateway.services.identity.circumstances import fact_columns, recency_columns
from consent_gateway.services.identity.clusters import (
    Summaries,
    behaviour_of_people,
    choice_events_of_people,
    choices_of_people,
    confirmations_of_people,
    contacts_of_people,
    declared_of_people,
    ledgers_of_people,
    points_of_people,
    profiles_of_people,
    told_of_people,
)
from consent_gateway.services.work.gateway import Work

_PRESENT = {"email": int(Flag.HAS_EMAIL), "phone": int(Flag.HAS_PHONE), "device_id": int(Flag.HAS_DEVICE)}
_SUPPRESSED = {kind.value: int(flag) for kind, flag in SUPPRESSED_BY.items()}
_CHOICE_MASK = int(CHOICE_FLAGS)
_AGGREGATE = {TraitOrigin.EVENT_COUNT: 0, TraitOrigin.EVENT_FIRST: 1, TraitOrigin.EVENT_LAST: 2}


def refresh_flags(work: Work, ids: Sequence[SubjectId]) -> None:
    """Recompute the contact-point bits of people from their identifiers and what of them is suppressed."""
    if not ids:
        return
    people = merges.clusters(work.session, ids)
    stored = audience_rows.rows(work.session, list(people), ["flags"])
    points = points_of_people(work, people)
    fresh = {i: contact_flags((p.kind, p.suppressed) for p in held) for i, held in points.items()}
    keep = ~(sum(_PRESENT.values()) | sum(SUPPRESSED_BY.values()))
    changes = {i: {"flags": (row["flags"] & keep) | int(fresh[i])} for i, row in stored.items()}
    audience_rows.update_rows(work.session, changes)


def refresh_profiles(work: Work, ids: Sequence[SubjectId]) -> None:
    """Write regions and birth month of people from what each of their subjects claims."""
    people = merges.clusters(work.session, ids)
    audience_rows.rows(work.session, list(people), [])  # locked, in the order of their ids, before the truth is read
    fresh = profiles_of_people(work, people)
    changes = {i: {"regions": regions, "birth_month": born} for i, (regions, born) in fresh.items()}
    audience_rows.update_rows(work.session, changes)


def refresh_merged(work: Work, ids: Sequence[SubjectId]) -> None:
    """Write what an import tells about people whose rows are computed over several subjects."""
    if ids:
        refresh_profiles(work, ids)
        rebuild_traits(work, ids)


def whole_rows(work: Work, people: Clusters) -> dict[SubjectId, audience_rows.Values]:
    """Return the whole row of each person who exists, by the head, recomputed from the truth over every member."""
    points = points_of_people(work, people)
    ledgers = ledgers_of_people(work, people)
    choices = choices_of_people(work, people)
    chosen = choice_events_of_people(work, people)
    told = told_of_people(work, people)
    confirmed = confirmations_of_people(work, people)
    behaviour = behaviour_of_people(work, people)
    contacts = contacts_of_people(work, people)
    declared = declared_of_people(work, people)
    reach = {i: contact_flags((p.kind, p.suppressed) for p in held) for i, held in points.items()}
    slots = [(p, channel, slot) for (p, channel), slot in work.registers.slots.items()]
    rows: dict[SubjectId, audience_rows.Values] = {}
    for i, (regions, born) in profiles_of_people(work, people).items():
        flags = choices[i] | reach[i]
        row = audience_rows.blank(i) | {"regions": regions, "birth_month": born, "flags": int(flags)}
        row |= fact_columns(work.registers, told[i], points[i])
        row |= recency_columns(ledgers[i], chosen[i], confirmed[i])
        row |= standing_columns(work.registers, ledgers[i], points[i], slots)
        row |= trait_columns(work.registers, behaviour[i], declared[i])
        row |= history_columns(behaviour[i], contacts[i])
        rows[i] = row
    return rows


def contact_flags(points: Iterable[tuple[str, bool]]) -> Flag:
    """Return which contact points a person has, and which kinds are suppressed, from `(kind, suppressed)` of each.

    One suppressed address closes its kind: an answer does not say which address may be written to.
    """
    return Flag(contact_bits(points))


def contact_bits(points: Iterable[tuple[str, bool]]) -> int:
    """Return the bits of `contact_flags` as a number: operators of flags cost too much for each of thousands."""
    bits = 0
    for kind, suppressed in points:
        bits |= _PRESENT.get(kind, 0)
        if suppressed:
            bits |= _SUPPRESSED.get(kind, 0)
    return bits


def refresh_choices(work: Work, ids: Sequence[SubjectId]) -> None:
    """Recompute the choice bits of people from their choices."""
    if not ids:
        return
    people = merges.clusters(work.session, ids)
    stored = audience_rows.rows(work.session, list(people), ["flags"])
    fresh = choices_of_people(work, people)
    changes = {i: {"flags": (row["flags"] & ~_CHOICE_MASK) | int(fresh[i])} for i, row in stored.items()}
    audience_rows.update_rows(work.session, changes)


def refresh_standings(work: Work, ids: Sequence[SubjectId], purposes: Iterable[PurposeId]) -> None:
    """Fold the ledgers of people again for every slot that an event about `purposes` can change."""
    if not ids:
        return
    people = merges.clusters(work.session, ids)
    audience_rows.rows(work.session, list(people), [])  # locked, in the order of their ids, before the fold
    work.catch_up()
    slots = {slot for purpose in purposes for slot in work.registers.slots_of(purpose)}
    if not slots:
        return
    ledgers = ledgers_of_people(work, people)
    points = points_of_people(work, people)
    changes = {i: standing_columns(work.registers, ledgers[i], points[i], sorted(slots)) for i in people}
    audience_rows.update_rows(work.session, changes)


# -- columns ---------------------------------------------------------------------------------------------------------


def standing_columns(
    registers: Registers,
    ledger: Sequence[ConsentEvent],
    points: Sequence[ContactPoint],
    slots: Iterable[tuple[PurposeId, Channel, int]],
) -> dict[str, int]:
    """Return the consent columns of one person's audience row for the given slots."""
    columns: dict[str, int] = {}
    for purpose, channel, slot in slots:
        reached = points_of(channel, points)
        packed = registers.pack(fold(ledger, purpose, channel, registers.purposes, reached, registers.notices))
        columns |= {f"c{slot}": packed.until, f"r{slot}": packed.named, f"p{slot}": packed.scope}
    return columns


def points_of(channel: Channel, points: Sequence[ContactPoint]) -> list[int]:
    """Return the contact points that a channel can write to."""
    reached = REACHED_BY.get(channel)
    return [p.id for p in points if reached is not None and p.kind == reached[0].value]


def rebuild_traits(work: Work, ids: Sequence[SubjectId]) -> None:
    """Write the trait columns of people from their events and declared values."""
    people = merges.clusters(work.session, ids)
    audience_rows.rows(work.session, list(people), [])  # locked, in the order of their ids, before the truth is read
    behaviour = behaviour_of_people(work, people)
    declared = declared_of_people(work, people)
    changes = {i: trait_columns(work.registers, behaviour[i], declared[i]) for i in people}
    audience_rows.update_rows(work.session, changes)


def trait_columns(
    registers: Registers, behaviour: Summaries, declared: Mapping[str, int | str | None]
) -> dict[str, int | str | None]:
    """Return the trait columns of one person from the summaries of their events and their declared values."""
    return {t.slot: _trait_value(t, behaviour, declared) for t in registers.traits.values()}


def _trait_value(
    trait: TraitDefinition, behaviour: Summaries, declared: Mapping[str, int | str | None]
) -> int | str | None:
    if trait.origin == TraitOrigin.DECLARED:
        return declared.get(trait.id)
    found = behaviour.get(trait.event_type or "")
    return None if found is None else found[_AGGREGATE[trait.origin]]


def history_columns(behaviour: Summaries, contacts: Mapping[str, Sequence[int]]) -> dict[str, int | None]:
    """Return when a person did something last, and the newest contacts on each channel."""
    columns: dict[str, int | None] = {"last_activity": max((last for _, _, last in behaviour.values()), default=None)}
    for channel in CAPPED_CHANNELS:
        columns |= newest_columns(channel, contacts.get(channel, []))
    return columns


def contact_columns(channel: str) -> list[str]:
    """Return the columns of the newest contacts on a channel, newest first."""
    return [f"{channel}_{n}" for n in range(1, NEWEST_CONTACTS + 1)]


def newest_columns(channel: str, times: Sequence[int]) -> dict[str, int | None]:
    """Return the contact columns of one channel from any number of contact times."""
    newest: list[int | None] = [*sorted(times, reverse=True)[:NEWEST_CONTACTS]]
    newest += [None] * (NEWEST_CONTACTS - len(newest))
    return dict(zip(contact_columns(channel), newest, strict=True))
