"""The ledger in process: what folding everything that one person ever said costs, beside sorting the same facts.

A hundred events is a long life of one purpose: most people have fewer than five. They are about the channel, two
contact points and one named recipient, by all kinds, some imported, some without proof. The limit is what Python does
to put a hundred tuples of instant and kind in order, which the fold must do as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent_gateway.cli.bench.calls import microseconds, nothing
from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.stats import Figure, Limit
from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.consents import ConsentEvent, ConsentKind, ConsentProperty, Standings, fold
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SubjectId
from consent_gateway.domain.notices import NoticeBook, NoticeVersion
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, PurposeTree

AIM_US = 1000.0
EVENTS = 100
_SEED = "consent-gateway/bench/ledger/1"
_LEDGERS = 60
_START = 1_780_000_000
_POINTS = (1, 2)
_WIDE, _NARROW = PurposeId("marketing"), PurposeId("newsletter")
_NOTICE = NoticeId("privacy")
_KINDS = tuple((kind, 30 if kind is ConsentKind.GIVEN else 10) for kind in ConsentKind)
_TREE = PurposeTree(
    {
        _WIDE: Purpose(_WIDE, PurposeKind.DIRECT_MARKETING, "", "", "", Basis.CONSENT),
        _NARROW: Purpose(_NARROW, PurposeKind.DIRECT_MARKETING, "", "", "", Basis.CONSENT, _WIDE),
    }
)
_BOOK = NoticeBook.of(
    {_NOTICE: [NoticeVersion(_NOTICE, n, ("en",), _START, material=n == 2) for n in (1, 2)]}  # noqa: PLR2004
)

Ledger = Sequence[ConsentEvent]


def measure(plan: Plan) -> list[Figure]:
    """Measure folding a ledger of `EVENTS`, for ourselves and for the recipient that it names."""
    ledgers = [ledger(n) for n in range(_LEDGERS)]
    rows = [[(e.at, e.kind.value, e.properties.value) for e in events] for events in ledgers]
    limits = (
        Limit("sorting as many tuples", microseconds(plan, lambda: sorted, rows)),
        Limit("bare call", microseconds(plan, lambda: nothing, rows)),
    )
    note = f"{EVENTS} events, {len(_POINTS)} contact points, a named recipient, a material notice"
    found = microseconds(plan, lambda: standing, ledgers)
    return [Figure("ledger folded", found, "µs", limits, AIM_US, note)]


def standing(events: Ledger) -> Standings:
    """Fold a ledger for the narrower purpose by e-mail."""
    return fold(events, _NARROW, Channel.EMAIL, _TREE, _POINTS, _BOOK)


def ledger(number: int) -> list[ConsentEvent]:
    """Return what a made-up person said, a function of the number alone, in no order."""
    dice = Dice(str(number), _SEED)
    return [_event(dice) for _ in range(EVENTS)]


def _event(dice: Dice) -> ConsentEvent:
    noticed = dice.chance(50)
    return ConsentEvent(
        subject_id=SubjectId(1),
        purpose=_NARROW if dice.chance(85) else _WIDE,
        channel=Channel.EMAIL if dice.chance(80) else None,
        kind=dice.weighted(_KINDS),
        at=_START + dice.between(0, 100_000_000),
        properties=ConsentProperty.AFFIRMATIVE | ConsentProperty.EVIDENCE,
        contact_point=dice.between(1, 2) if dice.chance(40) else None,
        recipient=RecipientId("partner") if dice.chance(25) else None,
        imported=dice.chance(10),
        notice=_NOTICE if noticed else None,
        notice_version=dice.between(1, 2) if noticed else None,
        proven=dice.chance(90),
    )
