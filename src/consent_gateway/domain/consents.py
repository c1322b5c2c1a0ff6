"""Consent: append-only events, and the standing that folding them gives.

An event is a fact (someone said yes, no, or nothing yet) about one subject, one purpose, and optionally one
channel, contact point and recipient. The *standing* of a person for a purpose on a channel is derived:

1. the event of the latest instant decides; of two at the same instant the restrictive one (LAW part 3);
2. a withdrawal or refusal for a wider purpose holds for every narrower one, a grant does not go down;
3. an imported grant only fills a gap: it counts where nothing but imported grants and ends is known, and never after
   an end. A second step that was asked for (`pending`) closes that gap too;
4. what is known per contact point is folded on its own, then joined: a person is reachable while one address is open;
   an address about which nothing is known does not open what another one closed;
5. a named third party is folded on its own; a general no holds for it too, a general yes does not name it. Being
   asked (`requested`, `deferred`, `pending`) changes no earlier answer of the person, and a no holds again when the
   grant after it has ended;
6. a renewal is a yes that extends one: after a no, an end or an invalidation there is none to extend, and it is
   nothing. An end (`expired`) closes the yes before it. An invalidation makes the yes before it never said. Behind both
   an earlier no holds again. Neither touches a no;
7. after a no, a yes needs new evidence: one without proof counts only where a yes with proof stands between (LAW
   part 3). A yes without proof claims neither evidence nor writing nor an unknown guardian
   (GDPR Art 7(1), 8(2), 47 CFR 64.1200(f)(9));
8. a yes given under a version of a notice that a later material version replaced is *outdated* (PIPL Art 14(2));
9. where people were merged, the events are those of all members, and clocks of different sources differ: a grant of
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
from consent_gateway.domain.notices import NO_NOTICES, NoticeBook
from consent_gateway.domain.purposes import Channel, PurposeTree

FOREVER = 253_402_300_799  # 9999-12-31T23:59:59Z; a grant without an end
NEVER, WITHDRAWN, REFUSED, PENDING = 0, -1, -2, -3
ENDED = 1  # an event ended it: an instant that is past for every clock
CLOCKS_APART = 300  # seconds by which two sources may differ about when something was said
DATE_ONLY = 86_400  # an imported no is often known by its day alone


class ConsentKind(StrEnum):
    """What happened; a kind is never renamed, reused or removed."""

    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    PENDING = "pending"  # a two-step opt-in that was asked for and not yet confirmed
    REQUESTED = "requested"  # the person was asked
    DEFERRED = "deferred"  # asked, and put off without an answer
    RENEWED = "renewed"  # a fresh yes that extends one
    EXPIRED = "expired"  # ended at an instant, not by what the person said
    INVALIDATED = "invalidated"  # found to be none: no evidence, the wrong person


YES = frozenset({ConsentKind.GIVEN, ConsentKind.RENEWED})
NO = frozenset({ConsentKind.REFUSED, ConsentKind.WITHDRAWN})
ENDS = frozenset({ConsentKind.EXPIRED, ConsentKind.INVALIDATED})
ASKED = frozenset({ConsentKind.REQUESTED, ConsentKind.DEFERRED})


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


CLAIMS = ConsentProperty.EVIDENCE | ConsentProperty.WRITTEN  # true only of what can be shown


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """One fact of the ledger. `at` and `valid_until` are seconds since the epoch, UTC.

    `channel`, `contact_point` and `recipient` are None where the person spoke about all of them (for a
    recipient: about us and our processors). `proven`: evidence of it is kept, or the notice, its version and the
    method are named. `outdated` and `event_id` are derived, and no part of what was said.
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
    notice_version: int | None = None
    proven: bool = True
    guardian: SubjectId | None = None
    outdated: bool = False
    event_id: int = field(default=0, compare=False)

    @property
    def counting(self) -> ConsentProperty:
        """Return the properties that count: what is claimed and not proven is not true."""
        if self.proven:
            return self.properties
        unshown = CLAIMS if self.guardian is not None else CLAIMS | ConsentProperty.GUARDIAN
        return self.properties & ~unshown


@dataclass(frozen=True, slots=True)
class Standing:
    """What folding gives for one purpose, channel and recipient: valid-until as an integer, and what goes with it.

    `after_no`: a no stands behind this grant, and holds again when the grant ends. `ended`: an event ended it, not its
    date. `event` is the one that decided.
    """

    until: int = NEVER
    properties: ConsentProperty = ConsentProperty(0)
    after_no: bool = False
    outdated: bool = False
    ended: bool = False
    event: ConsentEvent | None = field(default=None, compare=False, repr=False)

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


_UNDATED = {
    NEVER: ConsentState.NONE,
    WITHDRAWN: ConsentState.WITHDRAWN,
    REFUSED: ConsentState.REFUSED,
    PENDING: ConsentState.PENDING,
}
_ENCODED = {ConsentKind.WITHDRAWN: WITHDRAWN, ConsentKind.REFUSED: REFUSED}
# Of two events at the same instant the more restrictive one wins: sorted last, it decides.
_RESTRICTIVE = {
    ConsentKind.GIVEN: 0,
    ConsentKind.RENEWED: 0,
    ConsentKind.EXPIRED: 1,
    ConsentKind.INVALIDATED: 2,
    ConsentKind.REFUSED: 3,
    ConsentKind.WITHDRAWN: 4,
}
_DEEPER = (ConsentKind.EXPIRED, ConsentKind.INVALIDATED)  # what has ended can still be found to be none
_FIRMNESS = {WITHDRAWN: 3, REFUSED: 2, PENDING: 1}


def state_of(until: int, now: int) -> ConsentState:
    """Return what the integer of the audience row means at `now` (seconds)."""
    if until <= NEVER:
        return _UNDATED.get(until, ConsentState.WITHDRAWN)
    return ConsentState.GIVEN if until > now else ConsentState.EXPIRED


def fold(
    events: Iterable[ConsentEvent],
    purpose: PurposeId,
    channel: Channel,
    tree: PurposeTree,
    points: Sequence[int] = (),
    notices: NoticeBook = NO_NOTICES,
) -> Standings:
    """Derive the standings of one person for `purpose` on `channel` from all of the person's events.

    `points` are the person's contact points that the channel can write to. The order of `events` does not
    matter, nor do duplicates. Rules 1 to 9 of the module docstring.
    """
    relevant = _certain(_relevant(events, purpose, channel, tree))
    if not relevant:
        return Standings()
    if notices.material:
        relevant = [_dated(e, purpose, tree, notices) for e in relevant]
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
        if (e.channel is None or e.channel == channel)
        and (e.purpose == purpose or (e.purpose in wider and e.kind in _REVOKING))
        and e.kind not in ASKED
    ]


def _dated(event: ConsentEvent, purpose: PurposeId, tree: PurposeTree, notices: NoticeBook) -> ConsentEvent:
    """Mark a yes whose notice was replaced in a material way for this purpose (rule 8)."""
    if event.kind not in YES or event.notice not in notices.material:
        return event
    return replace(event, outdated=notices.outdates(event.notice, event.notice_version, event.at, purpose, tree))


_REVOKING = NO


def _certain(events: list[ConsentEvent]) -> list[ConsentEvent]:
    """Leave out the grants that may be older than a no of another member of the same person (rule 9)."""
    noes = [e for e in events if e.kind in _REVOKING]
    if not noes or len({e.subject_id for e in events}) == 1:
        return events
    return [e for e in events if e.kind not in YES or not any(_unclear(no, e) for no in noes)]


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
    heard = [e for e in events if e.contact_point is None and (e.kind not in YES or not own.after_no)]
    return _latest([*(e for e in events if e.contact_point == point), *heard])


def _latest(events: Sequence[ConsentEvent]) -> Standing:
    """Fold one pile: what was said about one address (or in general) to one recipient."""
    last, no = _decisive(events)
    if last is None:
        asked = next((e for e in events if e.kind is ConsentKind.PENDING), None)
        # Being asked changes nothing about what was answered; alone, it is what is known.
        return Standing() if asked is None else Standing(PENDING, event=asked)
    if last.kind in YES:
        until = last.valid_until if last.valid_until is not None else FOREVER
        return Standing(until, last.counting, after_no=no is not None, outdated=last.outdated, event=last)
    if no is not None:
        return Standing(_ENCODED[no.kind], event=no)
    if last.kind is ConsentKind.EXPIRED:
        return Standing(ENDED, ended=True, event=last)
    return Standing(event=last)


def _decisive(events: Sequence[ConsentEvent]) -> tuple[ConsentEvent | None, ConsentEvent | None]:
    """Return the event that decides (rules 1, 3, 6, 7), and the last no before it."""
    firm = any(e.kind not in ENDS and not (e.imported and e.kind in YES) for e in events)
    last: ConsentEvent | None = None
    no: ConsentEvent | None = None
    for event in sorted((e for e in events if e.kind in _RESTRICTIVE), key=_order):
        if event.kind in _REVOKING:
            last = no = event
        elif event.kind in YES:
            if not (firm and event.imported) and _is_heard(event, last, no):
                last = event
        elif last is None or last.kind in YES or (last.kind, event.kind) == _DEEPER:
            last = event
    return last, no


def _order(event: ConsentEvent) -> tuple[int, int, int, int, bool]:
    until = FOREVER if event.valid_until is None else event.valid_until
    return event.at, _RESTRICTIVE[event.kind], -until, -int(event.counting), event.outdated


def _is_heard(event: ConsentEvent, last: ConsentEvent | None, no: ConsentEvent | None) -> bool:
    """Tell whether a yes counts after what was said last: rules 3, 6 and 7."""
    if last is None or last.kind in YES:
        return True
    if event.kind is ConsentKind.RENEWED or event.imported:
        return False
    return no is None or event.proven
