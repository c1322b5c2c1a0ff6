"""What all the members of each person have, by the head of the person: the truth that audience rows are computed from.

`people` says who is one person; here each kind of truth is read once for all of them and put together by the rules of
`domain.merges`. For somebody who was never merged that is what the one subject has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consent_gateway.db import circumstances, consents, events, holds, subjects
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.db.tables import CAPPED_CHANNELS
from consent_gateway.domain.circumstances import Circumstance
from consent_gateway.domain.consents import ConsentEvent, ConsentProperty
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.merges import Clusters, agreed, summed, united_profile
from consent_gateway.domain.subjects import LOYALTY_FLAGS, Choice, Flag, fold_choices
from consent_gateway.services.identity.circumstances import confirming
from consent_gateway.services.work.gateway import Work

Summaries = Mapping[str, tuple[int, int, int]]
"""What a person did: `(count, first, last)` by event type."""


def points_of_people(work: Work, people: Clusters) -> dict[SubjectId, list[ContactPoint]]:
    """Return every identifier of each person."""
    held = subjects.contact_points(work.session, _members(people), work.registers.index.counts.number)
    return {head: [p for i in members for p in held.get(i, [])] for head, members in people.items()}


def ledgers_of_people(work: Work, people: Clusters) -> dict[SubjectId, list[ConsentEvent]]:
    """Return every consent event of each person. Whoever is one person with their guardian has none."""
    held = consents.ledger(work.session, _members(people))
    return {head: [_spoken(e, members) for i in members for e in held.get(i, [])] for head, members in people.items()}


def _spoken(event: ConsentEvent, members: Sequence[SubjectId]) -> ConsentEvent:
    """Return an event without the guardian who turned out to be the child (GDPR Art 8(1), PIPL Art 31)."""
    if event.guardian is None or event.guardian not in members:
        return event
    return replace(event, guardian=None, properties=event.properties & ~ConsentProperty.GUARDIAN)


def choices_of_people(work: Work, people: Clusters) -> dict[SubjectId, Flag]:
    """Return the choices that are on for any member of each person, and what a legal hold on any of them restricts.

    What opens a door (the loyalty programme) is on only if it is on over everything that the members said together.
    """
    held = consents.choices(work.session, _members(people))
    heads = {i: head for head, members in people.items() for i in members}
    found = dict.fromkeys(people, Flag(0))
    for head, members in people.items():
        for i in members:
            found[head] |= fold_choices(held.get(i, ())) & ~LOYALTY_FLAGS
        found[head] |= fold_choices([said for i in members for said in held.get(i, ())]) & LOYALTY_FLAGS
    for i, flags in holds.flags(work.session, heads).items():
        found[heads[i]] |= flags
    return found


def choice_events_of_people(work: Work, people: Clusters) -> dict[SubjectId, list[tuple[Choice, bool, int]]]:
    """Return every choice of each person as `(choice, active, at)`."""
    held = consents.choices(work.session, _members(people))
    return {head: [said for i in members for said in held.get(i, [])] for head, members in people.items()}


def told_of_people(work: Work, people: Clusters) -> dict[SubjectId, list[Circumstance]]:
    """Return what sources told about the contact points of each person, for each point in the order of arrival."""
    held = circumstances.told(work.session, _members(people))
    return {head: [fact for i in members for fact in held.get(i, [])] for head, members in people.items()}


def confirmations_of_people(work: Work, people: Clusters) -> dict[SubjectId, list[tuple[str, int]]]:
    """Return `(channel, at)` of every message that confirmed a revocation to each person."""
    held = events.contacts_for(work.session, _members(people), confirming(work.registers))
    return {head: [sent for i in members for sent in held.get(i, [])] for head, members in people.items()}


def profiles_of_people(work: Work, people: Clusters) -> dict[SubjectId, tuple[str, int | None]]:
    """Return regions and birth month of each person who exists."""
    held = subjects.profiles(work.session, _members(people))
    known = {head: [held[i] for i in members if i in held] for head, members in people.items()}
    return {head: united_profile(profiles) for head, profiles in known.items() if profiles}


def behaviour_of_people(work: Work, people: Clusters) -> dict[SubjectId, Summaries]:
    """Return the summaries of what each person did."""
    held: dict[SubjectId, dict[str, tuple[int, int, int]]] = {}
    for (i, kind), found in events.summaries(work.session, _members(people)).items():
        held.setdefault(i, {})[kind] = found
    return {head: _summed([held[i] for i in members if i in held]) for head, members in people.items()}


def _summed(parts: Sequence[Summaries]) -> Summaries:
    kinds = {kind for part in parts for kind in part}
    return {kind: summed([part[kind] for part in parts if kind in part]) for kind in kinds}


def declared_of_people(work: Work, people: Clusters) -> dict[SubjectId, dict[str, int | str | None]]:
    """Return the declared traits of each person."""
    held = events.declared_traits(work.session, _members(people))
    return {head: agreed([held[i] for i in members if i in held]) for head, members in people.items()}


def contacts_of_people(work: Work, people: Clusters) -> dict[SubjectId, dict[str, list[int]]]:
    """Return the newest contact times of each person by channel; the caps count those of every member."""
    held = events.newest_contacts(work.session, _members(people))
    return {
        head: {channel: [at for i in members for at in held.get((i, channel), [])] for channel in CAPPED_CHANNELS}
        for head, members in people.items()
    }


def _members(people: Clusters) -> list[SubjectId]:
    return [i for members in people.values() for i in members]
