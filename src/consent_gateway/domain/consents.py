"""Consent: append-only events, and the standing that folding them gives.

An event is a fact (someone said yes, no, or nothing yet) about one subject, one purpose, and optionally one
channel, contact point and recipient. The *standing* of a person for a purpose on a channel is derived:

1. the event of the latest instant decides; of two at the same instant the restrictive one (LAW part 3);
2. a withdrawal or refusal for a wider purpose holds for every narrower one, a grant does not go down;
3. an imported grant only fills a gap: it counts where nothing but imported grants is known;
4. what is known per contact point is folded on its own, then joined: a person is reachable while one address is open;
   an address about which nothing is known does not open what another one closed;
5. a named third party is folded on its own; a general no holds for it too, a general yes does not name it. Being
   asked again (`pending`) changes no earlier answer, and a no holds again when the grant after it has ended;
6. where people were merged, the events are those of all members, and clocks of different sources differ: a grant of
   one does not count over a no of another that is less than `CLOCKS_APART` older (`DATE_ONLY` if it was imported).

Consent is a *set* of properties, not a level: "explicit" (GDPR), "written" (TCPA) and "separate" (PIPL) are not
ordered. In the audience row a standing is one integer: 0 never asked, negative a no, otherwise valid-until in
seconds, so that expiry is a comparison and not a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntFlag, StrEnum

from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SourceId, SubjectId
from consent_gateway.domain.purposes import Channel, PurposeTree

FOREVER = 253_402_300_799  # 9999-12-31T23:59:59Z; a grant without an end
NEVER, WITHDRAWN, REFUSED, PENDING = 0, -1, -2, -3
CLOCKS_APART = 300  # seconds by which two sources may differ about when something was said
DATE_ONLY = 86_400  # an imported no is often known by its day alone


class ConsentKind(StrEnum):
    """What happened; `pending` is a two-step opt-in that was asked for and not yet confirmed."""

    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    PENDING = "pending"


class ConsentState(StrEnum):
    """What a standing amounts to at an instant."""

    NONE = "none"
    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    PENDING = "pending"


class ConsentProperty(IntFlag):
    """What was true of the way consent was given; each is a fact that some law asks for."""

    AFFIRMATIVE = 1  # a clear act, no pre-ticked box: GDPR Art 4(11), C-673/17
    SEPARATE = 2  # PIPL Art 23, 29, 39
    EXPLICIT = 4  # GDPR Art 9(2)(a)
    WRITTEN = 8  # 47 CFR 64.1200(f)(9)
    GUARDIAN = 16  # GDPR Art 8(1), PIPL Art 31, 11 CCR 7070
    TWO_STEP = 32  # 11 CCR 7028(a)
    EVIDENCE = 64  # GDPR Art 7(1)


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """One fact of the ledger. `at` and `valid_until` are seconds since the epoch, UTC.

    `channel`, `contact_point` and `recipient` are None where the person spoke about all of them (for a
    recipient: about us and our processors).
    """

    subject_id: SubjectId
    purpose: PurposeId
    channel: Channel | None
    kind: ConsentKind
    at: int
    properties: ConsentProperty = ConsentProperty(0)
    valid_until: int | None = None
    contact_point: int | None = None
    recipient: RecipientId | None = None
    imported: bool = False
    notice: NoticeId | None = None
    source: SourceId | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What folding gives for one purpose, channel and recipient: valid-until as an integer, and what goes with it.

    `after_no`: a no stands behind this grant, and holds again when the grant ends.
    """

    until: int = NEVER
    properties: ConsentProperty = ConsentProperty(0)
    after_no: bool = False

    @property
    def is_no(self) -> bool:
        """Tell whether the person said no and nothing since."""
        return self.until in (WITHDRAWN, REFUSED)

    def state(self, now: int) -> ConsentState:
        """Return the state at `now` (seconds)."""
        found = state_of(self.until, now)
        return ConsentState.WITHDRAWN if found is ConsentState.EXPIRED and self.after_no else found


@dataclass(frozen=True, slots=True)
class Standings:
    """The standing towards ourselves and our processors, and towards every third party that was named."""

    own: Standing = Standing()
    named: Mapping[RecipientId, Standing] = field(default_factory=dict)


_NEGATIVE = {WITHDRAWN: ConsentState.WITHDRAWN, REFUSED: ConsentState.REFUSED, PENDING: ConsentState.PENDING}
_ENCODED = {
    ConsentKind.WITHDRAWN: WITHDRAWN,
    ConsentKind.REFUSED: REFUSED,
    ConsentKind.PENDING: PENDING,
}
# Of two events at the same instant the more restrictive one wins: sorted last, it decides.
_RESTRICTIVE = {
    ConsentKind.GIVEN: 0,
    ConsentKind.PENDING: 1,
    ConsentKind.REFUSED: 2,
    ConsentKind.WITHDRAWN: 3,
}


_FIRMNESS = {WITHDRAWN: 3, REFUSED: 2, PENDING: 1}


def state_of(until: int, now: int) -> ConsentState:
    """Return what the integer of the audience row means at `now` (seconds)."""
    if until == NEVER:
        return ConsentState.NONE
    if until < 0:
        return _NEGATIVE.get(until, ConsentState.WITHDRAWN)
    return ConsentState.GIVEN if until > now else ConsentState.EXPIRED


def fold(
    events: Iterable[ConsentEvent],
    purpose: PurposeId,
    channel: Channel,
    tree: PurposeTree,
    points: Sequence[int] = (),
) -> Standings:
    """Derive the standings of one person for `purpose` on `channel` from all of the person's events.

    `points` are the person's contact points that the channel can write to. The order of `events` does not
    matter, nor do duplicates. Rules 1 to 6 of the module docstring.
    """
    relevant = _certain(_relevant(events, purpose, channel, tree))
    if not relevant:
        return Standings()
    recipients = {e.recipient for e in relevant if e.recipient is not None}
    return Standings(
        _over_points([e for e in relevant if e.recipient is None], points),
        {r: _over_points([e for e in relevant if _concerns(e, r)], points) for r in recipients},
    )


def _concerns(event: ConsentEvent, recipient: RecipientId) -> bool:
    """A general no holds for a named recipient too; a general yes names nobody (GDPR Art 4(11), PIPL Art 23)."""
    return event.recipient == recipient or (event.recipient is None and event.kind in _REVOKING)


def _relevant(
    events: Iterable[ConsentEvent], purpose: PurposeId, channel: Channel, tree: PurposeTree
) -> list[ConsentEvent]:
    wider = set(tree.ancestors(purpose))
    return [
        e
        for e in events
        if e.channel in (None, channel) and (e.purpose == purpose or (e.purpose in wider and e.kind in _REVOKING))
    ]


_REVOKING = frozenset({ConsentKind.REFUSED, ConsentKind.WITHDRAWN})


def _certain(events: list[ConsentEvent]) -> list[ConsentEvent]:
    """Leave out the grants that may be older than a no of another member of the same person (rule 6)."""
    noes = [e for e in events if e.kind in _REVOKING]
    if not noes or len({e.subject_id for e in events}) == 1:
        return events
    return [e for e in events if e.kind is not ConsentKind.GIVEN or not any(_unclear(no, e) for no in noes)]


def _unclear(no: ConsentEvent, grant: ConsentEvent) -> bool:
    apart = DATE_ONLY if no.imported else CLOCKS_APART
    return (
        no.subject_id != grant.subject_id
        and 0 <= grant.at - no.at < apart
        and no.contact_point in (None, grant.contact_point)
        and no.recipient in (None, grant.recipient)
    )


def _over_points(events: Sequence[ConsentEvent], points: Sequence[int]) -> Standing:
    """Fold per contact point, then take the best open point, or the firmest no where none is open."""
    if not any(e.contact_point is not None for e in events) or not points:
        return _latest([e for e in events if e.contact_point is None])
    found = [_at_point(events, point) for point in points]
    best = max(found, key=lambda s: (max(0, s.until), _FIRMNESS.get(s.until, 0)))
    return replace(best, after_no=best.after_no or any(s.is_no for s in found))


def _at_point(events: Sequence[ConsentEvent], point: int) -> Standing:
    own = _latest([e for e in events if e.contact_point == point])
    if own.is_no:
        return own
    # A general yes does not take back a no for this very address, not even when a yes for the address has ended.
    heard = [e for e in events if e.contact_point is None and (e.kind in _REVOKING or not own.after_no)]
    return _latest([*(e for e in events if e.contact_point == point), *heard])


def _latest(events: Sequence[ConsentEvent]) -> Standing:
    counted = [e for e in events if not (e.imported and e.kind is ConsentKind.GIVEN)] or events
    # Being asked again changes nothing about what was answered before.
    answered = [e for e in counted if e.kind is not ConsentKind.PENDING] or counted
    if not answered:
        return Standing()
    last = max(answered, key=lambda e: (e.at, _RESTRICTIVE[e.kind], -(e.valid_until or FOREVER), -int(e.properties)))
    if last.kind is not ConsentKind.GIVEN:
        return Standing(_ENCODED[last.kind])
    until = last.valid_until if last.valid_until is not None else FOREVER
    return Standing(until, last.properties, after_no=any(e.kind in _REVOKING for e in answered))
