"""The record of one person's consent for one purpose: every event that the ledger has about it, and what it says now.

A record keeps all past states, not the latest one (w3c-cg/dpv#243). What the ledger does not store because it is a
comparison (a grant that ended by itself) is derived, and marked so. A record holds no identifier: contact points are
numbered within it, the person is a pseudonym that is used for records alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from consent_gateway.domain.consents import ASKED, NO, YES, ConsentEvent, ConsentKind, ConsentState
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeTree
from consent_gateway.domain.records.parties import Controller, Party, Processing
from consent_gateway.domain.records.terms import EVENT_STATE, EXPIRED, RENEWED, event_type
from consent_gateway.errors import FieldProblem


class Form(StrEnum):
    """The forms in which a receipt is written."""

    ISO27560 = "iso27560"
    KANTARA = "kantara"


_QUESTIONS = ASKED | {ConsentKind.PENDING}
_Scope = tuple[Channel | None, int | None, RecipientId | None]


@dataclass(frozen=True, slots=True)
class Notice:
    """One published version of a notice in one language; instants in seconds."""

    id: str
    version: int
    language: str
    title: str
    text_sha256: str
    published_at: int


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """An event of the ledger with what was kept about how it came."""

    event: ConsentEvent
    notice_version: int | None
    language: str | None
    method: str | None
    received_at: int


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of a record, in its own words; `by_person` is false for what the controller or time did."""

    at: int
    type: str
    state: str
    by_person: bool
    purpose: PurposeId
    channel: Channel | None
    contact_point: int | None
    recipient: RecipientId | None
    valid_until: int | None = None
    notice: str | None = None
    notice_version: int | None = None
    language: str | None = None
    method: str | None = None
    source: str | None = None
    received_at: int | None = None
    derived: bool = False
    properties: tuple[str, ...] = ()  # what was true of the way it was given, as it was claimed


@dataclass(frozen=True, slots=True)
class Current:
    """What the person's consent amounts to on one channel at the instant of the record."""

    channel: Channel
    recipient: RecipientId | None
    state: ConsentState
    valid_until: int | None
    decided_by: ConsentKind | None = None
    outdated: bool = False  # given under a notice that a material version replaced (PIPL Art 14(2))


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where the log has the receipt: entry and the salt that opens its commitment; the salt is the holder's alone."""

    origin: str
    entry: str
    salt: str


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """Everything that a receipt says, in whichever form; instants in seconds."""

    receipt_id: str
    record_id: str
    principal_id: str
    issued_at: int
    purpose: Purpose
    processing: Processing
    controller: Controller
    parties: tuple[Party, ...]
    recipients: tuple[RecipientId, ...]
    jurisdictions: tuple[str, ...]
    laws: tuple[str, ...]
    notice: Notice
    moments: tuple[Moment, ...]
    current: tuple[Current, ...]
    log: LogPlace


def concerning(
    events: Iterable[LedgerEvent], purpose: PurposeId, channel: Channel | None, tree: PurposeTree
) -> list[LedgerEvent]:
    """Return the events that a record is about: those of the purpose, and every no to a wider one.

    With a channel, those about other channels are left out.
    """
    wider = set(tree.ancestors(purpose))
    return [
        e
        for e in events
        if channel is None or e.event.channel in (None, channel)
        if e.event.purpose == purpose or (e.event.purpose in wider and e.event.kind in NO)
    ]


def moments(events: Sequence[LedgerEvent], basis: Basis, now: int) -> list[Moment]:
    """Return the events as a record tells them, oldest first, with the ends of grants that ended by themselves."""
    ordered = sorted(events, key=lambda e: e.event.at)  # stable: of one instant, in the order of arrival
    points = _numbers(e.event.contact_point for e in ordered)
    told: list[Moment] = []
    for n, found in enumerate(ordered):
        moment = _moment(found, points, basis)
        before = _last_answer(ordered[:n], found)
        if found.event.kind in YES and before is not None and before.kind in YES:
            moment = replace(moment, state=RENEWED)
        told.append(moment)
        if _ended(found, ordered[n + 1 :], now):
            told.append(_end_of(moment))
    return sorted(told, key=lambda m: m.at)


def notice_of(events: Sequence[LedgerEvent], published: Sequence[Notice], fallback: str | None) -> Notice | None:
    """Return the notice that the newest event names, or else the newest version of `fallback` by then.

    In the language of the event if it was published in it; None if no event names one and there is no fallback.
    """
    for found in sorted(events, key=lambda e: e.event.at, reverse=True):
        if found.event.notice is not None:
            return _version(published, found.event.notice, found)
    newest = max(events, key=lambda e: e.event.at)
    return None if fallback is None else _version(published, fallback, newest)


def missing(
    controller: Controller | None, processing: Processing | None, parties: Sequence[Party]
) -> list[FieldProblem]:
    """Return every mandatory field of a record (ISO/IEC TS 27560) that no register can fill."""
    found = [] if controller is not None else [_absent("controller")]
    if processing is None:
        found.append(_absent("purpose.processing"))
    else:
        wanted = ("data_categories", "retention_period", "withdrawal_method", "storage_locations")
        found += [_absent(f"purpose.processing.{name}") for name in wanted if not getattr(processing, name)]
    for party in parties:
        values: Mapping[str, str] = {"address": party.address.address, "contact": party.address.contact}
        found += [_absent(f"{party.id}.party.{name}") for name, value in values.items() if not value]
    return found


# -- the parts -----------------------------------------------------------------------------------------------------


def _absent(path: str) -> FieldProblem:
    return FieldProblem(f"$.{path}", "not_registered", "a receipt must say it, and it is not registered")


def _numbers(points: Iterable[int | None]) -> dict[int, int]:
    """Return the number of each contact point within the record: what it is elsewhere stays inside."""
    numbers: dict[int, int] = {}
    for point in points:
        if point is not None:
            numbers.setdefault(point, len(numbers) + 1)
    return numbers


def _moment(found: LedgerEvent, points: Mapping[int, int], basis: Basis) -> Moment:
    event = found.event
    return Moment(
        at=event.at,
        type=event_type(basis, event.properties),
        state=EVENT_STATE[event.kind],
        by_person=event.kind in YES or event.kind in NO,
        purpose=event.purpose,
        channel=event.channel,
        contact_point=None if event.contact_point is None else points[event.contact_point],
        recipient=event.recipient,
        valid_until=event.valid_until,
        notice=event.notice,
        notice_version=found.notice_version,
        language=found.language,
        method=found.method,
        source=event.source,
        received_at=found.received_at,
        properties=tuple(sorted(p.name.lower() for p in event.properties if p.name)),
    )


def _scope(event: ConsentEvent) -> _Scope:
    return event.channel, event.contact_point, event.recipient


def _last_answer(earlier: Sequence[LedgerEvent], found: LedgerEvent) -> ConsentEvent | None:
    same = [e.event for e in earlier if _scope(e.event) == _scope(found.event)]
    answered = [e for e in same if e.kind not in _QUESTIONS]
    return answered[-1] if answered else None


def _ended(found: LedgerEvent, later: Sequence[LedgerEvent], now: int) -> bool:
    """Tell whether a grant ended by itself: its time is over, and nothing of the same scope was said before that."""
    until = found.event.valid_until
    if found.event.kind not in YES or until is None or until > now:
        return False
    return not any(_scope(e.event) == _scope(found.event) and e.event.at <= until for e in later)


def _end_of(grant: Moment) -> Moment:
    return replace(
        grant, at=grant.valid_until or grant.at, state=EXPIRED, by_person=False, valid_until=None, derived=True,
        received_at=None, method=None,
    )  # fmt: skip


def _version(published: Sequence[Notice], notice: str, found: LedgerEvent) -> Notice | None:
    of_it = [n for n in published if n.id == notice]
    by_then = [n for n in of_it if n.published_at <= found.received_at] or of_it
    number = found.notice_version if found.event.notice == notice and found.notice_version else None
    number = number or max((n.version for n in by_then), default=None)
    versions = [n for n in of_it if n.version == number]
    return next((n for n in versions if n.language == found.language), versions[0] if versions else None)
