"""What sources tell about contact points, and when people last said no, kept true in the audience row.

Appended in the transaction of the intake that brought them, then folded for the whole person. The instants are read by
questions that depend on them alone (asking again, confirming a revocation), so that no other class is split by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consent_gateway.db import audience_rows, merges, subjects
from consent_gateway.db import circumstances as circumstance_rows
from consent_gateway.db.subjects import ContactPoint
from consent_gateway.domain.circumstances import MEDIA, RECENCY_COLUMNS, Circumstance, Told, later, point_facts
from consent_gateway.domain.consents import ConsentEvent, ConsentKind
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.purposes import Channel, Party, PurposeKind
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.subjects import OPT_OUT_CHOICES, Choice
from consent_gateway.services.work.gateway import Work

_COLUMNS = {"email_facts": "email", "phone_facts": "phone"}
_INSTANTS = tuple(name for names in RECENCY_COLUMNS.values() for name in names)


def record(
    work: Work, source: str, said: Mapping[SubjectId, Iterable[tuple[Told, Iterable[tuple[str, bytes]]]]]
) -> set[SubjectId]:
    """Append what rows tell about the contact points in them (kind and token); returns who was told anything new."""
    people = sorted(said)
    points = subjects.contact_points(work.session, people, work.registers.index.counts.number)
    held = circumstance_rows.told(work.session, people)
    rows = []
    for i in people:
        known = _latest(held.get(i, []), source)
        named = {(p.kind, p.token): p for p in points.get(i, [])}
        for told, tokens in said[i]:
            for point in (named[token] for token in tokens if token in named and token[0] in _COLUMNS.values()):
                before = known.get(point.id, Told())
                after = later(before, told)
                if after != before:
                    known[point.id] = after
                    rows.append(_row(work, i, point, source, told))
    circumstance_rows.append(work.session, rows)
    changed = {SubjectId(row["subject_id"]) for row in rows}
    refresh_circumstances(work, sorted(changed))
    return changed


def refresh_circumstances(work: Work, ids: Sequence[SubjectId]) -> None:
    """Fold again what is known about the contact points of people."""
    if not ids:
        return
    people = merges.clusters(work.session, ids)
    audience_rows.rows(work.session, list(people), [])  # locked, in the order of their ids, before the truth is read
    everyone = [i for members in people.values() for i in members]
    points = subjects.contact_points(work.session, everyone, work.registers.index.counts.number)
    held = circumstance_rows.told(work.session, everyone)
    changes = {}
    for head, members in people.items():
        told = [fact for i in members for fact in held.get(i, [])]
        changes[head] = fact_columns(work.registers, told, [p for i in members for p in points.get(i, [])])
    audience_rows.update_rows(work.session, changes)


def refresh_recency(work: Work, ids: Sequence[SubjectId]) -> None:
    """Write again when people last said no, and when that was confirmed."""
    if not ids:
        return
    people = merges.clusters(work.session, ids)
    audience_rows.rows(work.session, list(people), [])  # as above
    everyone = [i for members in people.values() for i in members]
    noes = circumstance_rows.last_noes(work.session, everyone)
    confirmed = circumstance_rows.last_confirmations(work.session, everyone, confirming(work.registers))
    changes = {head: _newest([noes, confirmed], members) for head, members in people.items()}
    audience_rows.update_rows(work.session, changes)


def fact_columns(registers: Registers, facts: Sequence[Circumstance], points: Sequence[ContactPoint]) -> dict[str, int]:
    """Return the columns that say what holds for every contact point of each kind."""
    own = {s.id for s in registers.sources.values() if s.party is Party.FIRST}
    return {
        column: int(point_facts(facts, [p.id for p in points if p.kind == kind], own))
        for column, kind in _COLUMNS.items()
    }


def _newest(
    found: Iterable[Mapping[SubjectId, Mapping[str, int | None]]], members: Sequence[SubjectId]
) -> dict[str, int | None]:
    newest: dict[str, int | None] = dict.fromkeys(_INSTANTS)
    for held in (instants[i] for instants in found for i in members if i in instants):
        for name, at in held.items():
            if at is not None:
                newest[name] = max(at, newest[name] or at)
    return newest


def recency_columns(
    ledger: Iterable[ConsentEvent],
    choices: Iterable[tuple[Choice, bool, int]],
    confirmations: Iterable[tuple[str, int]],
) -> dict[str, int | None]:
    """Return the same instants from the events themselves: the second computation, for `reconcile`."""
    found: dict[str, list[int]] = {name: [] for name in _INSTANTS}
    for event in ledger:
        if event.kind in (ConsentKind.REFUSED, ConsentKind.WITHDRAWN):
            found["refused_at"].append(event.at)
        if event.kind is ConsentKind.WITHDRAWN:
            media = set(MEDIA.values()) if event.channel is None else {MEDIA.get(event.channel)} - {None}
            for medium in media:
                found[f"revoked_{medium}"].append(event.at)
    for choice, active, at in choices:
        if active and choice in OPT_OUT_CHOICES:
            found["opted_out_at"].append(at)
        if active and choice is Choice.OBJECTION:
            found["revoked_email"].append(at)
            found["revoked_phone"].append(at)
    for channel, at in confirmations:
        if (carried := MEDIA.get(Channel(channel))) is not None:
            found[f"confirmed_{carried}"].append(at)
    return {name: max(instants, default=None) for name, instants in found.items()}


def confirming(registers: Registers) -> set[PurposeId]:
    """Return the purposes whose messages confirm a revocation."""
    kind = PurposeKind.OPT_OUT_CONFIRMATION
    return {p.id for p in registers.purposes.purposes.values() if p.kind is kind}


def _latest(facts: Iterable[Circumstance], source: str) -> dict[int, Told]:
    found: dict[int, Told] = {}
    for fact in facts:
        if fact.source == source:
            found[fact.contact_point] = later(found.get(fact.contact_point, Told()), fact.told)
    return found


def _row(work: Work, subject_id: SubjectId, point: ContactPoint, source: str, told: Told) -> dict[str, Any]:
    return {
        "subject_id": subject_id,
        "contact_point": point.id,
        "source": source,
        "subscriber": told.subscriber,
        "in_sale": told.in_sale,
        "opt_out_offered": told.opt_out_offered,
        "expressed_interest": told.expressed_interest,
        "collected_day": told.collected_day,
        "received_at": work.now,
    }
