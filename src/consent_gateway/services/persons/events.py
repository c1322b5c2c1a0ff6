"""Behaviour and contacts: appended once per key of their source, and rolled into the audience row as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, events, merges
from consent_gateway.db.tables import CAPPED_CHANNELS
from consent_gateway.domain.ids import SubjectId, is_slug
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.segments import TraitOrigin
from consent_gateway.errors import FieldProblem
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.audience_rows import contact_columns, newest_columns
from consent_gateway.services.identity.circumstances import confirming, refresh_recency
from consent_gateway.services.identity.people import BEFORE_ERASURE, Resolver
from consent_gateway.services.rows.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ContactItem, EventItem

_EARLIEST = 631_152_000
_MAX_KEY = 64
Found = TypeVar("Found", EventItem, ContactItem)


@dataclass(slots=True)
class Summary:
    """What a batch adds for one person and event type: how many, the first and the last instant."""

    count: int
    first: int
    last: int

    def add(self, at: int) -> None:
        """Count one more event."""
        self.count += 1
        self.first = min(self.first, at)
        self.last = max(self.last, at)


def import_events(work: Work, source: str, rows: Sequence[Incoming[EventItem]], content_sha256: str) -> Intake:
    """Append behaviour; an event whose key the source used before is a duplicate and changes nothing."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("events", source_id, len(rows))
    accepted = _resolve(work, refusals, rows)
    new = events.add_events(
        work.session,
        [
            {"subject_id": i, "type": e.type, "at": e.at, "value": e.value, "source": source_id, "event_key": e.key}
            for e, i in accepted
        ],
    )
    fresh = _first_of_each(accepted, new)
    _roll_events(work, fresh)
    return _finish(work, intake, refusals, accepted, fresh, EntryKind.EVENTS_IMPORTED, content_sha256)


def import_contacts(work: Work, source: str, rows: Sequence[Incoming[ContactItem]], content_sha256: str) -> Intake:
    """Append messages that other systems sent, so that the caps count them too."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    intake = Intake("contacts", source_id, len(rows))
    accepted = _resolve(work, refusals, rows)
    new = events.add_contacts(
        work.session,
        [
            {
                "subject_id": i,
                "channel": c.channel,
                "at": c.at,
                "campaign": c.campaign,
                "source": source_id,
                "contact_key": c.key,
                "purpose": c.purpose,
            }
            for c, i in accepted
        ],
    )
    fresh = _first_of_each(accepted, new)
    _roll_contacts(work, fresh)
    purposes = confirming(work.registers)
    refresh_recency(work, sorted({i for c, i in fresh if c.purpose in purposes}))
    return _finish(work, intake, refusals, accepted, fresh, EntryKind.CONTACTS_RECORDED, content_sha256)


# -- checking ----------------------------------------------------------------------------------------------------


def _resolve(work: Work, refusals: Refusals, rows: Sequence[Incoming[Found]]) -> list[tuple[Found, SubjectId]]:
    readable = refusals.readable(rows)
    resolver = Resolver(work, [item.subject for _, item in readable], writing=True)
    back = lasting_names.returned(work, resolver.forms(*(item.subject for _, item in readable)))
    latest = work.now + work.gateway.rules.max_future_seconds
    accepted = []
    for row, item in readable:
        found = _problem(item, latest) or _purpose_problem(work, item) or resolver.resolve(item.subject)
        if lasting_names.is_before_erasure(back, resolver.forms(item.subject), item.at):
            found = BEFORE_ERASURE
        if isinstance(found, FieldProblem):
            refusals.refuse(row, found)
        else:
            accepted.append((item, found))
    return accepted


def _problem(item: EventItem | ContactItem, latest: int) -> FieldProblem | None:
    if item.at > latest:
        return FieldProblem("$.at", "future_date", "the instant lies in the future")
    if item.at < _EARLIEST:
        return FieldProblem("$.at", "impossible_date", "the instant is before 1990")
    if not 0 < len(item.key) <= _MAX_KEY:
        return FieldProblem("$.key", "invalid_key", f"a key has 1 to {_MAX_KEY} characters")
    return _event_problem(item) if isinstance(item, EventItem) else _contact_problem(item)


def _event_problem(item: EventItem) -> FieldProblem | None:
    if is_slug(item.type):
        return None
    return FieldProblem("$.type", "invalid_type", "an event type is a lower-case word such as purchase")


def _contact_problem(item: ContactItem) -> FieldProblem | None:
    if item.channel not in set(Channel):
        return FieldProblem("$.channel", "unknown_channel", "no such channel")
    if not is_slug(item.campaign):
        return FieldProblem("$.campaign", "invalid_campaign", "a campaign is a lower-case word such as spring_2026")
    return None


def _purpose_problem(work: Work, item: EventItem | ContactItem) -> FieldProblem | None:
    named = item.purpose if isinstance(item, ContactItem) else None
    if named is None or named in work.registers.purposes.purposes:
        return None
    return FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered")


def _first_of_each(accepted: Sequence[tuple[Found, SubjectId]], new: set[str]) -> list[tuple[Found, SubjectId]]:
    """Return the rows that were stored: the first with each new key."""
    left = set(new)
    stored = []
    for item, subject_id in accepted:
        if item.key in left:
            left.remove(item.key)
            stored.append((item, subject_id))
    return stored


def _finish(
    work: Work,
    intake: Intake,
    refusals: Refusals,
    accepted: Sequence[object],
    fresh: Sequence[object],
    kind: EntryKind,
    content_sha256: str,
) -> Intake:
    intake.created = intake.accepted = len(fresh)
    intake.duplicates = len(accepted) - len(fresh)
    intake.rejections = refusals.quarantine(work, intake.kind, intake.source)
    intake.entries = [work.record(kind, {"source": intake.source, **intake.counts()})]
    keep_counts(work, intake, content_sha256)
    return intake


# -- keeping the audience row true ---------------------------------------------------------------------------------


def _by_person(work: Work, fresh: Sequence[tuple[Found, SubjectId]]) -> list[tuple[Found, SubjectId]]:
    """Return what was stored about each subject with the head of the person, whose row it counts in."""
    heads = merges.heads(work.session, {i for _, i in fresh}) if merges.any_link(work.session) else {}
    return [(item, heads.get(i, i)) for item, i in fresh]


def _roll_events(work: Work, fresh: Sequence[tuple[EventItem, SubjectId]]) -> None:
    sums: dict[SubjectId, dict[str, Summary]] = {}
    for item, person in _by_person(work, fresh):
        by_type = sums.setdefault(person, {})
        if item.type in by_type:
            by_type[item.type].add(item.at)
        else:
            by_type[item.type] = Summary(1, item.at, item.at)
    audience_rows.rows(work.session, sorted(sums), [])  # locked before the registers are read again
    work.catch_up()
    names = ["last_activity", *(t.slot for t in work.registers.traits.values() if t.origin != TraitOrigin.DECLARED)]
    stored = audience_rows.rows(work.session, sorted(sums), names)
    changes = {i: _rolled(work.registers, row, sums[i]) for i, row in stored.items()}
    audience_rows.update_rows(work.session, changes)


def _rolled(registers: Registers, row: Mapping[str, Any], sums: Mapping[str, Summary]) -> dict[str, int]:
    newest = max(s.last for s in sums.values())
    values: dict[str, int] = {"last_activity": max(row["last_activity"] or newest, newest)}
    for trait in registers.traits.values():
        found = sums.get(trait.event_type or "")
        if found is None or trait.origin == TraitOrigin.DECLARED:
            continue
        values[trait.slot] = merge_aggregate(trait.origin, row[trait.slot], found)
    return values


def merge_aggregate(origin: TraitOrigin, held: int | None, found: Summary) -> int:
    """Return an event-derived trait after more events; `held` is None where there were none before."""
    if origin == TraitOrigin.EVENT_COUNT:
        return (held or 0) + found.count
    if origin == TraitOrigin.EVENT_FIRST:
        return found.first if held is None else min(held, found.first)
    return found.last if held is None else max(held, found.last)


def _roll_contacts(work: Work, fresh: Sequence[tuple[ContactItem, SubjectId]]) -> None:
    times: dict[SubjectId, dict[str, list[int]]] = {}
    for item, person in _by_person(work, fresh):
        if item.channel in CAPPED_CHANNELS:
            times.setdefault(person, {}).setdefault(item.channel, []).append(item.at)
    names = [name for channel in CAPPED_CHANNELS for name in contact_columns(channel)]
    stored = audience_rows.rows(work.session, sorted(times), names)
    audience_rows.update_rows(work.session, {i: _newest(row, times[i]) for i, row in stored.items()})


def _newest(row: Mapping[str, Any], added: Mapping[str, list[int]]) -> dict[str, int | None]:
    values: dict[str, int | None] = {}
    for channel, times in added.items():
        names = contact_columns(channel)
        values |= newest_columns(channel, [*(row[n] for n in names if row[n] is not None), *times])
    return values
