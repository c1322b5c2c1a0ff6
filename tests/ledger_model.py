"""A plain model of the ledger: what each person said, and by the words of the rules what it amounts to.

It shares nothing with `domain.consents.fold` but the names of kinds. The fold walks a sorted list once; the model asks,
for each yes, whether anything speaks against it (nothing is carried from one fact to the next), however slow that is.
Facts of one instant are put in the order of the more restrictive one last (LAW part 3), as every rule here is asked of
what came before a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consent_gateway.domain.consents import ConsentKind, ConsentProperty, ConsentState

FOREVER = 253_402_300_799
GIVEN, REFUSED, WITHDRAWN, PENDING, REQUESTED, DEFERRED, RENEWED, EXPIRED, INVALIDATED = ConsentKind
YESES, NOES, ENDS, QUESTIONS = (GIVEN, RENEWED), (REFUSED, WITHDRAWN), (EXPIRED, INVALIDATED), (REQUESTED, DEFERRED)
STRICTER = (GIVEN, EXPIRED, INVALIDATED, REFUSED, WITHDRAWN)  # of two at one instant the later in this list decides
UNSHOWN = ConsentProperty.EVIDENCE | ConsentProperty.WRITTEN | ConsentProperty.GUARDIAN  # untrue without proof
NONE, WAITING, CLOSED = ConsentState.NONE, ConsentState.PENDING, ConsentState.WITHDRAWN


@dataclass(frozen=True)
class Fact:
    """One fact as it is stored; `number` is its place in the order of arrival."""

    number: int
    purpose: str
    channel: str | None
    kind: ConsentKind
    at: int
    until: int | None = None
    point: str | None = None
    recipient: str | None = None
    imported: bool = False
    proven: bool = True
    properties: ConsentProperty = ConsentProperty(0)
    version: int | None = None
    noticed: bool = False

    @property
    def true_properties(self) -> ConsentProperty:
        """What is claimed without proof is not true."""
        return self.properties if self.proven else self.properties & ~UNSHOWN


@dataclass(frozen=True)
class Published:
    """One version of the one notice there is."""

    version: int
    at: int
    material: bool
    purposes: frozenset[str]


@dataclass(frozen=True)
class Told:
    """What a person told somebody: the yes or the no that holds, or less; `behind`: a no stands behind the yes."""

    state: ConsentState = NONE
    until: int = 0
    properties: ConsentProperty = ConsentProperty(0)
    behind: bool = False
    outdated: bool = False

    def at(self, now: int) -> ConsentState:
        """The state at an instant: a yes holds until its time is over, and a no behind it holds again."""
        over = self.state is ConsentState.EXPIRED or (self.state is ConsentState.GIVEN and now >= self.until)
        if not over:
            return self.state
        return CLOSED if self.behind else ConsentState.EXPIRED


class Model:
    """The notices that were published and the hierarchy of purposes; facts are given with each question."""

    def __init__(self, parents: Mapping[str, str | None]) -> None:
        self.parents = parents
        self.published: list[Published] = []

    def wider(self, purpose: str) -> list[str]:
        """The purpose, and every wider one."""
        found: list[str] = []
        here: str | None = purpose
        while here is not None:
            found.append(here)
            here = self.parents[here]
        return found

    # -- what concerns whom

    def told(
        self, facts: Sequence[Fact], purpose: str, channel: str, points: Sequence[str], recipient: str | None
    ) -> Told | None:
        """What holds towards us (None) or a third party; None where nobody ever spoke of that third party."""
        concerning = [f for f in facts if self._concerns(f, purpose, channel)]
        if recipient is not None and not any(f.recipient == recipient for f in concerning):
            return None
        heard = [f for f in concerning if f.recipient == recipient or (f.recipient is None and f.kind in NOES)]
        return self._at_addresses(heard, purpose, points)

    def _concerns(self, fact: Fact, purpose: str, channel: str) -> bool:
        """A no goes down the tree, nothing else does; being asked is no answer."""
        narrow_enough = fact.purpose == purpose or (fact.kind in NOES and fact.purpose in self.wider(purpose))
        return narrow_enough and fact.channel in (None, channel) and fact.kind not in QUESTIONS

    def _at_addresses(self, facts: Sequence[Fact], purpose: str, points: Sequence[str]) -> Told:
        """One open address is enough; where none is open the firmest no holds."""
        general = [f for f in facts if f.point is None]
        if not points or all(f.point is None for f in facts):
            return self._pile(general, purpose)
        found = [self._at_address([f for f in facts if f.point == point], general, purpose) for point in points]
        closed = any(t.state in (CLOSED, ConsentState.REFUSED) for t in found)
        best = max(found, key=lambda t: (t.until, _FIRMNESS.get(t.state, 0)))
        return Told(best.state, best.until, best.properties, best.behind or closed, best.outdated)

    def _at_address(self, here: list[Fact], general: list[Fact], purpose: str) -> Told:
        """No general yes opens an address that was closed by name."""
        own = self._pile(here, purpose)
        if own.state in (CLOSED, ConsentState.REFUSED):
            return own
        return self._pile(here + [f for f in general if f.kind not in YESES or not own.behind], purpose)

    # -- one pile: about one address or none, to one recipient

    def _pile(self, pile: Sequence[Fact], purpose: str) -> Told:
        answers = [f for f in pile if f.kind is not PENDING]
        no = _latest([f for f in answers if f.kind in NOES])
        since = [f for f in answers if no is None or _before(no, f, self, purpose)]
        yes = self._standing([f for f in since if f.kind in YESES], pile, purpose)
        if yes is not None:
            until = FOREVER if yes.until is None else yes.until
            return Told(ConsentState.GIVEN, until, yes.true_properties, no is not None, self.outdated(yes, purpose))
        if no is not None:
            return Told(CLOSED if no.kind is WITHDRAWN else ConsentState.REFUSED)
        return self._ended(answers, pile, purpose)

    def _standing(self, yeses: Sequence[Fact], pile: Sequence[Fact], purpose: str) -> Fact | None:
        """The last yes that counts and that nothing ended."""
        counting = self._counting(pile, purpose)
        held = [f for f in yeses if f in counting and not self._closed(f, pile, purpose)]
        return next((f for f in held if not any(_before(f, g, self, purpose) for g in held)), None)

    def _ended(self, answers: Sequence[Fact], pile: Sequence[Fact], purpose: str) -> Told:
        """Without a no: what was found to be no consent was never said; what ended is over."""
        said = self._counting(pile, purpose)
        last = next((f for f in said if not any(_before(f, g, self, purpose) for g in said)), None)
        ends = {f.kind for f in answers if f.kind in ENDS and (last is None or _before(last, f, self, purpose))}
        if ends:
            return Told() if INVALIDATED in ends else Told(ConsentState.EXPIRED, 1)
        return Told(WAITING) if any(f.kind is PENDING for f in pile) else Told()

    def _closed(self, yes: Fact, pile: Sequence[Fact], purpose: str) -> bool:
        return any(f.kind in ENDS and _before(yes, f, self, purpose) for f in pile)

    def _counting(self, pile: Sequence[Fact], purpose: str) -> list[Fact]:
        """Each yes that is one, the oldest first: whether it is depends on those before it alone."""
        found: list[Fact] = []
        for yes in sorted((f for f in pile if f.kind in YESES), key=lambda f: _place(f, self, purpose)):
            if self._counts(yes, found, pile, purpose):
                found.append(yes)
        return found

    def _counts(self, yes: Fact, counting: Sequence[Fact], pile: Sequence[Fact], purpose: str) -> bool:
        """Whether a yes is one, by what came before it; `counting` are those before it that are."""
        firm = [f for f in pile if f.kind not in ENDS and not (f.kind in YESES and f.imported)]
        if yes.imported and firm:
            return False  # an import only fills a gap
        earlier = [f for f in pile if f.kind is not PENDING and _before(f, yes, self, purpose)]
        no = _latest([f for f in earlier if f.kind in NOES])
        since = [f for f in earlier if f not in (no, yes) and (no is None or _before(no, f, self, purpose))]
        open_before = [
            f
            for f in since
            if f in counting and not any(g.kind in ENDS and _before(f, g, self, purpose) for g in since)
        ]
        if open_before or (no is None and not any(f.kind in ENDS for f in since)):
            return True
        # There is no yes to extend, and after a no it takes new evidence.
        return yes.kind is GIVEN and not yes.imported and (no is None or yes.proven)

    def outdated(self, yes: Fact, purpose: str) -> bool:
        """Whether a material version that concerns the purpose came after the one the yes was given under."""
        return yes.noticed and any(
            p.material
            and (p.at > yes.at if yes.version is None else p.version > yes.version)
            and (not p.purposes or not p.purposes.isdisjoint(self.wider(purpose)))
            for p in self.published
        )


_FIRMNESS = {CLOSED: 3, ConsentState.REFUSED: 2, WAITING: 1}


def _rank(fact: Fact) -> int:
    return STRICTER.index(GIVEN if fact.kind in YESES else fact.kind)


def _before(one: Fact, other: Fact, model: Model, purpose: str) -> bool:
    """Whether `one` comes before `other`: by instant, then the less restrictive, then by arrival."""
    return _place(one, model, purpose) < _place(other, model, purpose)


def _place(fact: Fact, model: Model, purpose: str) -> tuple[int, int, int, int, bool, int]:
    until = FOREVER if fact.until is None else fact.until
    lesser = (
        (-until, -int(fact.true_properties), model.outdated(fact, purpose)) if fact.kind in YESES else (0, 0, False)
    )
    return fact.at, _rank(fact), *lesser, fact.number


def _latest(noes: Sequence[Fact]) -> Fact | None:
    """The no that holds: the last one, of two at one instant the withdrawal."""
    return max(noes, key=lambda f: (f.at, _rank(f), f.number), default=None)


# -- what a question reads ---------------------------------------------------------------------------------------


def read(own: Told, named: Mapping[str, Told], recipient: str | None, now: int) -> tuple[ConsentState, int, bool, bool]:
    """What a question about a recipient finds: state, properties, whether the recipient was named, outdated.

    Named grants share their end, their properties and the mark of an outdated notice (`domain.scopes`): too strict for
    some of them, never too open.
    """
    granted = [t for t in named.values() if t.state is ConsentState.GIVEN]
    told = named.get(recipient) if recipient is not None else None
    if told is not None and told.state in (CLOSED, ConsentState.REFUSED):
        return CLOSED, 0, False, False
    mine = told in granted and told is not None
    side = _shared(granted) if mine else own
    state = side.at(now)
    if state is not ConsentState.GIVEN:
        return state, 0, False, False
    outdated = own.outdated or any(t.outdated for t in granted)
    return state, int(side.properties), mine or recipient is None, outdated


def _shared(granted: Iterable[Told]) -> Told:
    held = list(granted)
    properties = held[0].properties
    for told in held:
        properties &= told.properties
    return Told(ConsentState.GIVEN, min(t.until for t in held), properties, any(t.behind for t in held))
