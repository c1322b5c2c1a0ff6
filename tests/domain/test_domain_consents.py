"""The fold against a slow reference that is written rule by rule, and the laws that any consent ledger must obey."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consent_gateway.domain import consents
from consent_gateway.domain.consents import (
    FOREVER,
    ConsentEvent,
    ConsentKind,
    ConsentProperty,
    ConsentState,
    Standing,
    Standings,
    fold,
    state_of,
)
from consent_gateway.domain.dpv import DPV, STATUS_OF_KIND, status_of
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId, SubjectId
from consent_gateway.domain.notices import NoticeBook, NoticeVersion, language_for
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, PurposeTree

LAWS = settings(derandomize=True, deadline=None, max_examples=400)
ROOT, MIDDLE, LEAF, OTHER = (PurposeId(p) for p in ("marketing", "direct", "newsletter", "analytics"))
PARENTS = {ROOT: None, MIDDLE: ROOT, LEAF: MIDDLE, OTHER: None}
TREE = PurposeTree(
    {p: Purpose(p, PurposeKind.DIRECT_MARKETING, p, p, "", Basis.CONSENT, parent) for p, parent in PARENTS.items()}
)
EMAIL, SMS = Channel.EMAIL, Channel.SMS
ALPHA, BETA = RecipientId("alpha"), RecipientId("beta")
GIVEN, REFUSED, WITHDRAWN, PENDING, REQUESTED, DEFERRED, RENEWED, EXPIRED, INVALIDATED = ConsentKind
NOES, YESES, ENDS = (REFUSED, WITHDRAWN), (GIVEN, RENEWED), (EXPIRED, INVALIDATED)
NO_STATES = (ConsentState.REFUSED, ConsentState.WITHDRAWN)
POINTS = (11, 12)
EVERYBODY = (None, ALPHA, BETA)  # None: ourselves
INSTANTS = range(1, 11)  # every grant with an end ends in here


def event(kind: ConsentKind, at: int, **changes: object) -> ConsentEvent:
    base = ConsentEvent(SubjectId(1), LEAF, EMAIL, kind, at)
    return replace(base, **changes)  # type: ignore[arg-type]


def events(**fixed: st.SearchStrategy[object]) -> st.SearchStrategy[ConsentEvent]:
    """Facts from a world so small that they meet: few instants, purposes, addresses and recipients."""
    parts: dict[str, st.SearchStrategy[object]] = {
        "subject_id": st.just(SubjectId(1)),
        "purpose": st.sampled_from([LEAF, LEAF, LEAF, LEAF, MIDDLE, ROOT, OTHER]),
        "channel": st.sampled_from([EMAIL, EMAIL, EMAIL, None, SMS]),
        "kind": st.sampled_from([GIVEN, GIVEN, GIVEN, RENEWED, WITHDRAWN, REFUSED, PENDING, *ENDS, REQUESTED]),
        "at": st.sampled_from([1, 2, 2, 3, 4, 5]),
        "properties": st.sampled_from([0, 1, 2, 3, 64, 67]).map(ConsentProperty),
        "valid_until": st.sampled_from([None, None, 6, 8]),
        "contact_point": st.sampled_from([None, None, None, 11, 12, 13]),
        "recipient": st.sampled_from([None, None, None, ALPHA, BETA]),
        "imported": st.sampled_from([False, False, True]),
        "proven": st.sampled_from([True, True, False]),
    }
    return st.builds(ConsentEvent, **(parts | fixed))  # type: ignore[arg-type]


ledgers = st.lists(events(), min_size=1, max_size=9)
points = st.sampled_from([(), (11,), (11, 12), (11, 12)])


def towards(found: Standings, who: RecipientId | None) -> Standing:
    """The standing of one recipient; who was never named has none."""
    return found.own if who is None else found.named.get(who, Standing())


def allowed(found: Standings, who: RecipientId | None, now: int) -> bool:
    return towards(found, who).state(now) is ConsentState.GIVEN


# -- the reference: each rule of the module docstring as one plain step, asked at one instant ------------------------


@dataclass(frozen=True)
class Said:
    """What is true at an instant; until and properties only where consent is given."""

    state: ConsentState
    until: int = 0
    properties: ConsentProperty = ConsentProperty(0)


NOTHING = Said(ConsentState.NONE)
SAID = {
    WITHDRAWN: Said(ConsentState.WITHDRAWN),
    REFUSED: Said(ConsentState.REFUSED),
    PENDING: Said(ConsentState.PENDING),
}


def in_order(facts: Sequence[ConsentEvent]) -> list[ConsentEvent]:
    """Rule 1: by instant; at one instant the more restrictive later, and of two grants the lesser one."""
    ranks = (YESES, (EXPIRED,), (INVALIDATED,), (REFUSED,), (WITHDRAWN,))

    def place(fact: ConsentEvent) -> tuple[int, int, int, int]:
        rank = next(n for n, kinds in enumerate(ranks) if fact.kind in kinds)
        return fact.at, rank, -(fact.valid_until or FOREVER), -int(believed(fact))

    return sorted(facts, key=place)


def believed(fact: ConsentEvent) -> ConsentProperty:
    """Rule 7: what is claimed without proof is not true."""
    return fact.properties if fact.proven else fact.properties & ConsentProperty(7)


def standing_fact(facts: Sequence[ConsentEvent]) -> ConsentEvent | None:
    """Rules 6 and 7, from the newest backwards: what a fact does depends on what stood before it."""
    if not facts:
        return None
    *earlier, newest = in_order(facts)
    stood = standing_fact(earlier)
    if newest.kind in NOES:
        return newest
    if newest.kind in YESES:
        opened = stood is None or stood.kind in YESES
        fresh = newest.kind is GIVEN and not newest.imported
        shown = newest.proven or not any(f.kind in NOES for f in earlier)
        return newest if opened or (fresh and shown) else stood
    touches = stood is None or stood.kind in YESES or (stood.kind is EXPIRED and newest.kind is INVALIDATED)
    return newest if touches else stood


def counted(facts: Sequence[ConsentEvent]) -> list[ConsentEvent]:
    """Rules 3 and 5: imported grants only where nothing else is said; questions are no answers."""
    firm = [f for f in facts if f.kind not in ENDS and not (f.kind in YESES and f.imported)]
    known = [f for f in facts if not (f.kind in YESES and f.imported)] if firm else facts
    return [f for f in known if f.kind is not PENDING]


def spoken(facts: Sequence[ConsentEvent], now: int) -> Said:
    """What one pile of facts amounts to: the decisive one, or the no behind a grant that has ended."""
    counting = counted(facts)
    fact = standing_fact(counting)
    noes = [f for f in in_order(counting) if f.kind in NOES]
    if fact is None:
        return SAID[PENDING] if any(f.kind is PENDING for f in facts) else NOTHING
    if fact.kind in NOES or (fact.kind in ENDS and noes):
        return SAID[noes[-1].kind]
    if fact.kind in ENDS:
        return Said(ConsentState.EXPIRED) if fact.kind is EXPIRED else NOTHING
    until = fact.valid_until or FOREVER
    if now < until:
        return Said(ConsentState.GIVEN, until, believed(fact))
    return SAID[WITHDRAWN] if noes else Said(ConsentState.EXPIRED)


def joined(answers: Sequence[Said]) -> Said:
    """Rule 4: one open address is enough; else a no, else what comes nearest to an answer."""
    states = {a.state for a in answers}
    if ConsentState.GIVEN in states:
        return max((a for a in answers if a.state is ConsentState.GIVEN), key=lambda a: a.until)
    if states & set(NO_STATES):
        only_refused = states.isdisjoint({ConsentState.WITHDRAWN, ConsentState.EXPIRED})
        return SAID[REFUSED] if only_refused else SAID[WITHDRAWN]
    for state in (ConsentState.EXPIRED, ConsentState.PENDING):
        if state in states:
            return Said(state)
    return NOTHING


def over_addresses(facts: Sequence[ConsentEvent], addresses: Sequence[int], now: int) -> Said:
    """Rule 4: each address on its own; a no for that very address is not undone by a general yes."""
    general = [f for f in facts if f.contact_point is None]
    answers = []
    for address in addresses:
        here = [f for f in facts if f.contact_point == address]
        closed = spoken(here, 0).state in NO_STATES
        ever_closed = any(f.kind in NOES for f in counted(here))
        heard = [f for f in general if f.kind not in YESES or not ever_closed]
        answers.append(spoken(here if closed else here + heard, now))
    return joined(answers) if answers else spoken(general, now)


def about(facts: Sequence[ConsentEvent], purpose: PurposeId, channel: Channel) -> list[ConsentEvent]:
    """Rule 2: what concerns a purpose on a channel; of wider purposes only a no."""
    found = []
    for fact in facts:
        wider = purpose
        while wider is not None and wider != fact.purpose:
            wider = PARENTS[wider]  # type: ignore[assignment]
        concerns = wider is not None and (fact.purpose == purpose or fact.kind in NOES)
        if concerns and fact.channel in (None, channel) and fact.kind not in (REQUESTED, DEFERRED):
            found.append(fact)
    return found


def heard_by(fact: ConsentEvent, who: RecipientId | None) -> bool:
    """Rule 5: what was said to somebody is heard by them; a general no by everybody."""
    return fact.recipient == who or (fact.recipient is None and fact.kind in NOES)


def compare(facts: list[ConsentEvent], purpose: PurposeId, addresses: tuple[int, ...]) -> None:
    found = fold(facts, purpose, EMAIL, TREE, addresses)
    known = about(facts, purpose, EMAIL)
    assert set(found.named) == {f.recipient for f in known} - {None}
    for who in (None, *found.named):
        heard = [f for f in known if heard_by(f, who)]
        for now in INSTANTS:
            standing, told = towards(found, who), over_addresses(heard, addresses, now)
            assert standing.state(now) is told.state
            if told.state is ConsentState.GIVEN:
                assert (standing.until, standing.properties) == (told.until, told.properties)


compared = given(ledgers, st.sampled_from([LEAF, LEAF, MIDDLE]), points)
test_the_fold_is_the_reference = LAWS(compared(compare))
# The same search for planted bugs: the first difference is enough, nobody reads a smaller one.
search = settings(LAWS, phases=[Phase.generate], report_multiple_bugs=False)(compared(compare))


# -- laws ----------------------------------------------------------------------------------------------------------


@LAWS
@given(ledgers, points, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(facts: list[ConsentEvent], addresses: tuple[int, ...], dice) -> None:
    shuffled = facts + dice.sample(facts, dice.randint(0, len(facts)))
    dice.shuffle(shuffled)
    assert fold(shuffled, LEAF, EMAIL, TREE, addresses) == fold(facts, LEAF, EMAIL, TREE, addresses)


def test_every_order_of_a_whole_story_ends_alike() -> None:
    story = [
        event(GIVEN, 1, imported=True),
        event(PENDING, 2),
        event(GIVEN, 3, valid_until=50),
        event(WITHDRAWN, 3, contact_point=11),
        event(GIVEN, 4, recipient=ALPHA),
        event(REFUSED, 2, purpose=ROOT, channel=None),
        event(RENEWED, 5, valid_until=60),
    ]
    first = fold(story, LEAF, EMAIL, TREE, POINTS)
    assert all(fold(order, LEAF, EMAIL, TREE, POINTS) == first for order in permutations(story))


@LAWS
@given(ledgers, events(kind=st.sampled_from(NOES)), points)
def test_a_no_never_lets_anybody_in(facts: list[ConsentEvent], no: ConsentEvent, addresses: tuple[int, ...]) -> None:
    before, after = (fold(f, LEAF, EMAIL, TREE, addresses) for f in (facts, [*facts, no]))
    for who in EVERYBODY:
        assert all(allowed(before, who, now) for now in INSTANTS if allowed(after, who, now))
        assert max(0, towards(after, who).until) <= max(0, towards(before, who).until)


def overrules(grant: ConsentEvent, no: ConsentEvent, who: RecipientId | None, now: int) -> bool:
    """Tell whether a yes is newer than a no, firm, said of just this, and still alive."""
    fits = (grant.purpose, grant.recipient) == (LEAF, who) and grant.channel in (None, EMAIL)
    firm = grant.kind in YESES and not grant.imported
    return fits and firm and grant.at > no.at and (grant.valid_until or FOREVER) > now


wide_noes = events(
    kind=st.sampled_from(NOES),
    purpose=st.sampled_from([LEAF, MIDDLE, ROOT]),
    channel=st.sampled_from([EMAIL, None]),
    contact_point=st.none(),
)


def holds(facts: list[ConsentEvent], no: ConsentEvent, addresses: tuple[int, ...]) -> None:
    """A no holds at each instant, for each who heard it, unless a newer, firm and living yes was said to just them."""
    found = fold([*facts, no], LEAF, EMAIL, TREE, addresses)
    for who in EVERYBODY:
        if heard_by(no, who):
            for now in INSTANTS:
                assert not allowed(found, who, now) or any(overrules(f, no, who, now) for f in facts)


test_a_no_holds_until_a_newer_firm_yes_that_is_alive = LAWS(given(ledgers, wide_noes, points)(holds))


@LAWS
@given(ledgers, events(kind=st.sampled_from(NOES), purpose=st.just(LEAF), contact_point=st.just(11)))
def test_a_no_for_an_address_holds_until_a_newer_yes_for_it(facts: list[ConsentEvent], no: ConsentEvent) -> None:
    said = replace(no, channel=EMAIL)
    found = fold([*facts, said], LEAF, EMAIL, TREE, (11,))
    for who in EVERYBODY:
        if heard_by(said, who) and any(allowed(found, who, now) for now in INSTANTS):
            assert any(overrules(f, said, who, 0) for f in facts if f.contact_point == 11)


@LAWS
@given(
    st.lists(events(recipient=st.none()), max_size=6),
    events(kind=st.sampled_from(NOES), recipient=st.none()),
    st.sampled_from([(), (11,)]),
)
def test_a_no_to_us_widens_nothing_at_all(
    facts: list[ConsentEvent], no: ConsentEvent, addresses: tuple[int, ...]
) -> None:
    """On one address, neither the duration nor the properties of a grant grow by a withdrawal."""
    before, after = (fold(f, LEAF, EMAIL, TREE, addresses).own for f in (facts, [*facts, no]))
    if after.until > 0:
        assert replace(after, after_no=before.after_no) == before
        assert after.after_no >= before.after_no


@LAWS
@given(ledgers, events(kind=st.sampled_from(NOES)), points)
def test_withdrawing_twice_is_withdrawing_once(
    facts: list[ConsentEvent], no: ConsentEvent, addresses: tuple[int, ...]
) -> None:
    once = fold([*facts, no], LEAF, EMAIL, TREE, addresses)
    assert fold([*facts, no, no], LEAF, EMAIL, TREE, addresses) == once


@LAWS
@given(st.lists(events(at=st.integers(1, 4)), max_size=6), st.sampled_from(NOES), points)
def test_the_last_general_no_ends_everything(
    facts: list[ConsentEvent], kind: ConsentKind, addresses: tuple[int, ...]
) -> None:
    end = ConsentEvent(SubjectId(1), ROOT, None, kind, 5)
    found = fold([*facts, end], LEAF, EMAIL, TREE, addresses)
    for standing in (found.own, *found.named.values()):
        assert {standing.state(now) for now in INSTANTS} <= set(NO_STATES)


firm_events = events(imported=st.sampled_from([False]))


@LAWS
@given(st.lists(firm_events, max_size=8), events(kind=st.just(PENDING)), points)
def test_being_asked_again_changes_no_answer(
    facts: list[ConsentEvent], asked: ConsentEvent, addresses: tuple[int, ...]
) -> None:
    before, after = (fold(f, LEAF, EMAIL, TREE, addresses) for f in (facts, [*facts, asked]))
    for who in EVERYBODY:
        told, again = towards(before, who), towards(after, who)
        if told.until != 0:
            assert (again.until, again.properties) == (told.until, told.properties)
            assert [again.state(now) for now in INSTANTS] == [told.state(now) for now in INSTANTS]
        else:  # whom a general no reached is now named, with that no
            assert again.until <= 0


@LAWS
@given(ledgers, events(kind=st.just(PENDING)), points)
def test_being_asked_lets_nobody_in(facts: list[ConsentEvent], asked: ConsentEvent, addresses: tuple[int, ...]) -> None:
    before, after = (fold(f, LEAF, EMAIL, TREE, addresses) for f in (facts, [*facts, asked]))
    for who in EVERYBODY:
        assert all(allowed(before, who, now) for now in INSTANTS if allowed(after, who, now))


# -- the rules one by one ------------------------------------------------------------------------------------------

CODES = {WITHDRAWN: -1, REFUSED: -2, PENDING: -3}


def own(facts: Sequence[ConsentEvent], addresses: Sequence[int] = (), channel: Channel = EMAIL) -> Standing:
    return fold(facts, LEAF, channel, TREE, addresses).own


@pytest.mark.parametrize("kind", NOES)
@pytest.mark.parametrize("order", [0, 1])
def test_of_two_at_one_instant_the_opt_out_wins(kind: ConsentKind, order: int) -> None:
    pair = [event(GIVEN, 3), event(kind, 3)]
    assert own(pair[::-1] if order else pair).until == CODES[kind]


def test_of_two_noes_at_one_instant_the_withdrawal_wins() -> None:
    assert own([event(WITHDRAWN, 3), event(REFUSED, 3)]).until == CODES[WITHDRAWN]


def test_of_two_grants_at_one_instant_the_lesser_wins() -> None:
    long, short = event(GIVEN, 3), event(GIVEN, 3, valid_until=9)
    assert own([long, short]).until == own([short, long]).until == 9


@pytest.mark.parametrize("answer", [GIVEN, *NOES])
@pytest.mark.parametrize("asked_at", [1, 2, 3])
def test_a_question_changes_no_answer_before_it_or_after(answer: ConsentKind, asked_at: int) -> None:
    said = event(answer, 2)
    assert own([said, event(PENDING, asked_at)]) == own([said])


def test_a_question_alone_is_pending() -> None:
    assert own([event(PENDING, 1)]).state(2) is ConsentState.PENDING


@pytest.mark.parametrize("kind", NOES)
@pytest.mark.parametrize("change", [{}, {"purpose": ROOT}, {"channel": None}])
def test_a_no_holds_again_when_the_grant_after_it_has_ended(kind: ConsentKind, change: dict[str, Any]) -> None:
    no, yes = event(kind, 1, **change), event(GIVEN, 2, valid_until=8)
    assert own([no, yes]) == Standing(8, after_no=True)
    assert [own([no, yes]).state(now) for now in (7, 8, 99)] == [ConsentState.GIVEN] + [ConsentState.WITHDRAWN] * 2
    assert own([yes]).state(8) is ConsentState.EXPIRED


def test_a_grant_that_ended_opens_no_earlier_longer_one() -> None:
    assert own([event(GIVEN, 1), event(GIVEN, 2, valid_until=8)]).state(9) is ConsentState.EXPIRED


@pytest.mark.parametrize("kind", NOES)
def test_a_no_goes_down_the_tree_and_not_up(kind: ConsentKind) -> None:
    no = event(kind, 2, purpose=MIDDLE)
    yes = [event(GIVEN, 1, purpose=p) for p in (ROOT, MIDDLE, LEAF, OTHER)]
    states = {p: fold([*yes, no], p, EMAIL, TREE).own.until > 0 for p in (ROOT, MIDDLE, LEAF, OTHER)}
    assert states == {ROOT: True, MIDDLE: False, LEAF: False, OTHER: True}


def test_a_grant_goes_neither_down_nor_up() -> None:
    yes = [event(GIVEN, 1, purpose=MIDDLE)]
    assert [fold(yes, p, EMAIL, TREE).own.until > 0 for p in (ROOT, MIDDLE, LEAF)] == [False, True, False]


def test_a_grant_for_one_channel_says_nothing_of_another() -> None:
    assert fold([event(GIVEN, 1)], LEAF, SMS, TREE) == Standings()
    assert own([event(GIVEN, 1, channel=None)], channel=SMS).until == FOREVER


def test_an_imported_grant_fills_a_gap_and_nothing_else() -> None:
    imported = event(GIVEN, 9, imported=True)
    assert own([imported]).until == FOREVER
    for kind in (WITHDRAWN, REFUSED, PENDING):
        assert own([imported, event(kind, 1)]).until == CODES[kind]
    assert own([imported, event(GIVEN, 1, valid_until=5)]).until == 5


def test_an_imported_no_counts_like_any_other() -> None:
    assert own([event(GIVEN, 1), event(WITHDRAWN, 2, imported=True)]).until == CODES[WITHDRAWN]


def test_addresses_are_folded_apart() -> None:
    facts = [event(GIVEN, 1), event(WITHDRAWN, 2, contact_point=11)]
    assert own(facts, (11,)).until == CODES[WITHDRAWN]
    assert own(facts, (11, 12)).until == FOREVER  # the other address may still be written to
    assert own([*facts, event(GIVEN, 3)], (11,)).until == CODES[WITHDRAWN]  # a general yes is not that address
    assert own([*facts, event(GIVEN, 3, contact_point=11)], (11,)) == Standing(FOREVER, after_no=True)


@pytest.mark.parametrize("kind", NOES)
@pytest.mark.parametrize("addresses", list(permutations((11, 12, 13))))
def test_an_address_nobody_spoke_of_does_not_open_what_another_closed(
    kind: ConsentKind, addresses: tuple[int, ...]
) -> None:
    assert own([event(kind, 1, contact_point=11)], addresses).until == CODES[kind]
    asked = [event(kind, 1, contact_point=11), event(PENDING, 2, contact_point=12)]
    assert own(asked, addresses).until == CODES[kind]


@pytest.mark.parametrize("addresses", list(permutations(POINTS)))
@pytest.mark.parametrize(("kind", "state"), [(EXPIRED, ConsentState.EXPIRED), (PENDING, ConsentState.PENDING)])
def test_what_is_known_of_one_address_outranks_that_nothing_is_known_of_another(
    kind: ConsentKind, state: ConsentState, addresses: tuple[int, ...]
) -> None:
    assert own([event(kind, 1, contact_point=11)], addresses).state(2) is state


@pytest.mark.parametrize("addresses", list(permutations(POINTS)))
def test_the_address_that_stays_open_longest_counts_and_a_no_comes_back_after_it(addresses: tuple[int, ...]) -> None:
    short, long = (event(GIVEN, 1, contact_point=p, valid_until=u) for p, u in ((11, 6), (12, 8)))
    assert own([short, long], addresses) == Standing(8)
    no = event(REFUSED, 2, contact_point=11)
    assert own([short, long, no], addresses).state(7) is ConsentState.GIVEN
    assert own([short, long, no], addresses).state(8) is ConsentState.WITHDRAWN


def test_recipients_are_folded_apart() -> None:
    yes = [event(GIVEN, 1, recipient=ALPHA), event(GIVEN, 1, recipient=BETA, valid_until=8)]
    assert fold(yes, LEAF, EMAIL, TREE) == Standings(Standing(), {ALPHA: Standing(FOREVER), BETA: Standing(8)})
    one = fold([*yes, event(WITHDRAWN, 2, recipient=ALPHA)], LEAF, EMAIL, TREE)
    assert one.named == {ALPHA: Standing(CODES[WITHDRAWN]), BETA: Standing(8)}
    assert fold([event(GIVEN, 1)], LEAF, EMAIL, TREE).named == {}  # a general yes names nobody


@pytest.mark.parametrize("kind", NOES)
def test_a_general_no_holds_for_the_named_too(kind: ConsentKind) -> None:
    facts = [event(GIVEN, 1, recipient=ALPHA), event(kind, 2)]
    assert fold(facts, LEAF, EMAIL, TREE).named == {ALPHA: Standing(CODES[kind])}
    again = fold([*facts, event(GIVEN, 3)], LEAF, EMAIL, TREE)
    assert (again.own, again.named) == (Standing(FOREVER, after_no=True), {ALPHA: Standing(CODES[kind])})


@pytest.mark.parametrize("kind", NOES)
def test_a_named_no_is_kept_and_stays_with_whom_it_named(kind: ConsentKind) -> None:
    facts = [event(GIVEN, 1), event(kind, 2, recipient=ALPHA)]
    assert fold(facts, LEAF, EMAIL, TREE) == Standings(Standing(FOREVER), {ALPHA: Standing(CODES[kind])})
    assert fold([*facts, event(GIVEN, 3)], LEAF, EMAIL, TREE).named == {ALPHA: Standing(CODES[kind])}


def test_the_grants_of_others_change_nothing_about_ours() -> None:
    written, explicit = ConsentProperty.WRITTEN, ConsentProperty.EXPLICIT
    facts = [
        event(GIVEN, 1, properties=written | explicit),
        event(GIVEN, 1, properties=written, recipient=ALPHA, valid_until=9),
    ]
    found = fold(facts, LEAF, EMAIL, TREE)
    assert found == Standings(Standing(FOREVER, written | explicit), {ALPHA: Standing(9, written)})


@pytest.mark.parametrize(
    ("until", "now", "state"),
    [
        (0, 5, ConsentState.NONE),
        (-1, 5, ConsentState.WITHDRAWN),
        (-2, 5, ConsentState.REFUSED),
        (-3, 5, ConsentState.PENDING),
        (1, 0, ConsentState.GIVEN),
        (6, 5, ConsentState.GIVEN),
        (5, 5, ConsentState.EXPIRED),
        (4, 5, ConsentState.EXPIRED),
        (FOREVER, FOREVER - 1, ConsentState.GIVEN),
    ],
)
def test_a_standing_is_a_comparison_with_now(until: int, now: int, state: ConsentState) -> None:
    assert state_of(until, now) is state
    assert Standing(until).state(now) is state
    behind = ConsentState.WITHDRAWN if state is ConsentState.EXPIRED else state
    assert Standing(until, after_no=True).state(now) is behind
    assert Standing(until).is_no is (state in NO_STATES)


def test_a_negative_that_nobody_knows_is_a_no() -> None:
    assert state_of(-4, 5) is state_of(-99, 5) is ConsentState.WITHDRAWN


def test_of_two_grants_at_one_instant_the_one_that_claims_less_wins() -> None:
    more, less = (event(GIVEN, 3, properties=ConsentProperty(n)) for n in (67, 3))
    assert own([more, less]).properties == own([less, more]).properties == less.properties
    unproven = replace(more, proven=False, properties=ConsentProperty(64))
    assert own([less, unproven]).properties == own([unproven, less]).properties == ConsentProperty(0)


# -- merged people: rule 9 -----------------------------------------------------------------------------------------


def merged_state(no: ConsentEvent, grant: ConsentEvent) -> ConsentState:
    """What is known of two members of one person where the second said yes."""
    facts = [no, replace(grant, subject_id=SubjectId(2))]
    assert own(facts) == own(facts[::-1])
    return own(facts).state(200_000)


@pytest.mark.parametrize(("imported", "apart"), [(False, 300), (True, 86_400)])
@pytest.mark.parametrize("kind", NOES)
def test_a_yes_of_one_member_is_unclear_for_a_while_after_a_no_of_another(
    kind: ConsentKind,
    imported: bool,  # noqa: FBT001 - a parameter of the test
    apart: int,
) -> None:
    no = event(kind, 1000, imported=imported)
    told = {0: -1, 1: -1, apart - 1: -1, apart: FOREVER, apart + 1: FOREVER, -1: -1}
    for later, until in told.items():
        state = merged_state(no, event(GIVEN, 1000 + later))
        assert state is (ConsentState.GIVEN if until == FOREVER else state_of(CODES[kind], 1)), later
    assert own([no, event(GIVEN, 1001)]).state(2000) is ConsentState.GIVEN  # one source, one clock
    other = [no, event(GIVEN, 1001), event(PENDING, 1, subject_id=SubjectId(2))]
    assert own(other).state(2000) is ConsentState.GIVEN


def test_only_a_no_about_the_same_thing_makes_a_yes_unclear() -> None:
    no, yes = event(WITHDRAWN, 1000), event(GIVEN, 1001, subject_id=SubjectId(2))

    def states(*facts: ConsentEvent) -> tuple[ConsentState, ConsentState]:
        found = fold(facts, LEAF, EMAIL, TREE, (11,))
        return found.own.state(2000), towards(found, ALPHA).state(2000)

    at_11, at_12 = replace(no, contact_point=11), replace(no, contact_point=12)
    given, withdrawn, none = ConsentState.GIVEN, ConsentState.WITHDRAWN, ConsentState.NONE
    assert states(at_12, yes) == (given, none)  # another address
    assert states(at_12, replace(yes, contact_point=11)) == (given, none)
    assert states(at_11, replace(yes, contact_point=11)) == (withdrawn, none)
    assert states(no, replace(yes, contact_point=11)) == (withdrawn, none)  # a general no is about each address
    to_alpha, to_beta = replace(no, recipient=ALPHA), replace(no, recipient=BETA)
    assert states(to_beta, replace(yes, recipient=ALPHA)) == (none, given)
    assert states(to_alpha, replace(yes, recipient=ALPHA)) == (none, withdrawn)
    for later in (0, 1, 299):  # unclear, and so nobody is named
        assert states(no, replace(yes, recipient=ALPHA, at=1000 + later)) == (withdrawn, none)


def test_a_refusal_of_a_member_is_never_unclear() -> None:
    noes = [event(WITHDRAWN, 1000), event(REFUSED, 1001, subject_id=SubjectId(2))]
    assert own(noes).until == CODES[REFUSED]
    end = event(EXPIRED, 1002, subject_id=SubjectId(2))
    assert own([event(GIVEN, 1), end]).state(2000) is ConsentState.EXPIRED
    renewal = event(RENEWED, 1003, subject_id=SubjectId(2))
    assert own([event(WITHDRAWN, 1000), event(GIVEN, 1200), renewal]) == Standing(FOREVER, after_no=True)


# -- asked, renewed, ended, found to be none -----------------------------------------------------------------------


@LAWS
@given(ledgers, events(kind=st.sampled_from(ENDS)), points)
def test_an_end_lets_nobody_in(facts: list[ConsentEvent], end: ConsentEvent, addresses: tuple[int, ...]) -> None:
    before, after = (fold(f, LEAF, EMAIL, TREE, addresses) for f in (facts, [*facts, end]))
    for who in EVERYBODY:
        assert all(allowed(before, who, now) for now in INSTANTS if allowed(after, who, now))


@LAWS
@given(ledgers, events(kind=st.sampled_from([REQUESTED, DEFERRED])), points)
def test_asking_changes_nothing_at_all(
    facts: list[ConsentEvent], asked: ConsentEvent, addresses: tuple[int, ...]
) -> None:
    assert fold([*facts, asked], LEAF, EMAIL, TREE, addresses) == fold(facts, LEAF, EMAIL, TREE, addresses)


def test_a_renewal_extends_a_yes_and_nothing_else() -> None:
    renewal = event(RENEWED, 5, valid_until=9)
    assert own([event(GIVEN, 1, valid_until=3), renewal]) == Standing(9)
    assert own([renewal]) == Standing(9)  # the yes before it may be known to somebody else
    for kind in NOES:
        assert own([event(kind, 3), renewal]).until == CODES[kind]
        assert own([event(GIVEN, 1), event(kind, 3), event(GIVEN, 4), renewal]) == Standing(9, after_no=True)
    assert own([event(GIVEN, 1), event(EXPIRED, 3), renewal]).state(5) is ConsentState.EXPIRED
    assert own([event(GIVEN, 1), event(INVALIDATED, 3), renewal]).state(5) is ConsentState.NONE


@pytest.mark.parametrize(("end", "state"), [(EXPIRED, ConsentState.EXPIRED), (INVALIDATED, ConsentState.NONE)])
def test_an_end_closes_what_was_said_and_a_fresh_yes_opens_again(end: ConsentKind, state: ConsentState) -> None:
    closed = [event(GIVEN, 1), event(end, 2)]
    assert own(closed).state(3) is own([event(end, 2)]).state(3) is state
    assert own([*closed, event(GIVEN, 3)]) == Standing(FOREVER)
    assert own([event(GIVEN, 3), event(end, 3)]).state(4) is state  # at one instant the end wins
    assert own([event(end, 2), event(GIVEN, 3, imported=True)]).state(4) is state  # an import revives nothing
    for kind in NOES:
        assert own([event(kind, 1), event(end, 2)]).until == CODES[kind]
        assert own([event(kind, 1), event(GIVEN, 2), event(end, 3)]).until == CODES[kind]


def test_a_standing_names_what_decided_and_tells_an_event_that_ended_it_from_a_date() -> None:
    yes, no, asked = event(GIVEN, 2, valid_until=8), event(REFUSED, 3), event(PENDING, 1)
    ended, none = event(EXPIRED, 4), event(INVALIDATED, 4)
    told = [
        ([asked], asked, False),
        ([asked, yes], yes, False),
        ([yes, no, asked], no, False),
        ([yes, ended], ended, True),
        ([yes, none], none, False),
        ([yes, no, ended], no, False),
        ([no, replace(yes, at=4), replace(ended, at=5)], no, False),
    ]
    for facts, decided, by_event in told:
        standing = own(facts)
        assert (standing.event, standing.ended) == (decided, by_event)
        assert standing.event is decided
    assert (own([]).event, own([]).ended) == (None, False)


def test_what_has_ended_can_still_be_found_to_be_none() -> None:
    yes, ended, none = event(GIVEN, 1), event(EXPIRED, 2), event(INVALIDATED, 3)
    assert own([yes, ended, none]).state(4) is ConsentState.NONE
    assert own([yes, replace(none, at=2), replace(ended, at=3)]).state(4) is ConsentState.NONE


def test_after_a_no_a_yes_needs_new_evidence() -> None:
    no, bare = event(WITHDRAWN, 2), event(GIVEN, 3, proven=False)
    assert own([event(GIVEN, 1), no, bare]).until == CODES[WITHDRAWN]
    assert own([event(GIVEN, 1), bare]).until == FOREVER
    assert own([no, event(GIVEN, 3, valid_until=5), event(GIVEN, 4, valid_until=9, proven=False)]).until == 9
    assert own([no, event(GIVEN, 3)]) == Standing(FOREVER, after_no=True)


def test_a_claim_without_proof_is_not_believed() -> None:
    everything = ConsentProperty(sum(ConsentProperty))
    written, evidence, guardian = ConsentProperty.WRITTEN, ConsentProperty.EVIDENCE, ConsentProperty.GUARDIAN
    yes = event(GIVEN, 1, properties=everything)
    assert own([yes]).properties == everything
    assert own([replace(yes, proven=False)]).properties == everything & ~(written | evidence | guardian)
    assert own([replace(yes, proven=False, guardian=SubjectId(7))]).properties == everything & ~(written | evidence)


def test_every_kind_and_state_has_a_word_of_the_vocabulary() -> None:
    assert set(STATUS_OF_KIND) == set(ConsentKind)
    apart = [iri for kind, iri in STATUS_OF_KIND.items() if kind is not PENDING]
    assert len(set(apart)) == len(apart)
    assert {status_of(state, kind) for state in ConsentState for kind in (None, *ConsentKind)} <= {
        *STATUS_OF_KIND.values(),
        DPV + "ConsentUnknown",
    }
    assert status_of(ConsentState.GIVEN, RENEWED) == DPV + "RenewedConsentGiven"
    assert status_of(ConsentState.EXPIRED, RENEWED) == DPV + "ConsentExpired"
    assert status_of(ConsentState.NONE, INVALIDATED) == DPV + "ConsentInvalidated"


def test_the_words_are_those_of_the_vocabulary() -> None:
    terms = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "standards" / "dpv_2_3_terms.json"
    if not terms.exists():
        pytest.skip("the published terms are not here")
    published = {term["iri"] for term in json.loads(terms.read_text())["terms"]["consent_status"]}
    assert {*STATUS_OF_KIND.values(), status_of(ConsentState.NONE, None)} <= published


# -- notices that were replaced ------------------------------------------------------------------------------------

PRIVACY = NoticeId("privacy")


def a_book(*versions: NoticeVersion) -> NoticeBook:
    return NoticeBook.of({PRIVACY: versions})


def a_version(number: int, **changes: Any) -> NoticeVersion:
    return replace(NoticeVersion(PRIVACY, number, ("en",), number * 2), **changes)


def outdated(book: NoticeBook, *facts: ConsentEvent) -> bool:
    return fold(facts, LEAF, EMAIL, TREE, (), book).own.outdated


def test_a_yes_under_a_version_that_was_replaced_is_outdated() -> None:
    first = event(GIVEN, 2, notice=PRIVACY, notice_version=1)
    plain, material = a_book(a_version(1), a_version(2)), a_book(a_version(1), a_version(2, material=True))
    assert not outdated(plain, first)
    assert outdated(material, first)
    assert not outdated(material, replace(first, notice_version=2))
    assert not outdated(material, replace(first, notice=NoticeId("other")))
    assert not outdated(material, replace(first, notice=None, notice_version=None))
    assert not outdated(material, first, event(RENEWED, 3, notice=PRIVACY, notice_version=2))
    unnamed = event(GIVEN, 2, notice=PRIVACY)
    assert outdated(material, unnamed)  # published at 4
    assert not outdated(material, replace(unnamed, at=4))
    assert outdated(material, first, replace(first, notice_version=2))  # at one instant the lesser one


def test_a_no_is_never_outdated() -> None:
    book = a_book(a_version(1), a_version(2, material=True))
    no = event(WITHDRAWN, 2, notice=PRIVACY, notice_version=1)
    told = fold([no], LEAF, EMAIL, TREE, (), book).own
    assert (told, told.event) == (Standing(CODES[WITHDRAWN]), no)
    assert told.event is no


@pytest.mark.parametrize(("about", "hit"), [((), True), ((ROOT,), True), ((LEAF, OTHER), True), ((OTHER,), False)])
def test_a_material_version_is_about_its_purposes_and_narrower_ones(about: tuple[PurposeId, ...], hit: bool) -> None:  # noqa: FBT001 - a parameter of the test
    book = a_book(a_version(1), a_version(2, material=True, purposes=frozenset(about)))
    assert outdated(book, event(GIVEN, 1, notice=PRIVACY, notice_version=1)) is hit


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [("zh-Hant-TW", "zh-Hant"), ("zh-CN", "zh"), ("ZH", "zh"), ("fr", "en"), (None, "en"), ("de-AT", "de")],
)
def test_a_text_is_shown_in_the_language_that_fits_best(wanted: str | None, shown: str) -> None:
    assert language_for(wanted, ["en", "zh", "zh-Hant", "de"]) == shown


# -- each check goes red -------------------------------------------------------------------------------------------

real_latest = consents._latest
real_at_point = consents._at_point


def _standing(chosen: ConsentEvent | None) -> Standing:
    if chosen is None:
        return Standing()
    if chosen.kind in YESES:
        return Standing(chosen.valid_until or FOREVER, chosen.properties)
    return Standing(CODES.get(chosen.kind, 0))


def _first_arrival_wins(facts: Sequence[ConsentEvent]) -> Standing:
    return _standing(max(facts, key=lambda e: e.at, default=None))


def _grants_win_ties(facts: Sequence[ConsentEvent]) -> Standing:
    return _standing(max(facts, key=lambda e: (e.at, e.kind is GIVEN), default=None))


def _a_question_is_an_answer(facts: Sequence[ConsentEvent]) -> Standing:
    asked = [e for e in facts if e.kind is PENDING and e.at == max(f.at for f in facts)]
    return _standing(asked[0]) if asked else real_latest(facts)


def _the_no_behind_is_forgotten(facts: Sequence[ConsentEvent]) -> Standing:
    return replace(real_latest(facts), after_no=False)


def _imports_are_firm(facts: Sequence[ConsentEvent]) -> Standing:
    return real_latest([replace(e, imported=False) for e in facts])


def _a_general_yes_opens_each_address(facts: Sequence[ConsentEvent], point: int) -> Standing:
    return real_latest([e for e in facts if e.contact_point in (point, None)])


def _the_last_address_decides(facts: Sequence[ConsentEvent], addresses: Sequence[int]) -> Standing:
    found = [real_at_point(facts, point) for point in addresses]
    return found[-1] if found else real_latest([e for e in facts if e.contact_point is None])


def _the_best_number_wins(facts: Sequence[ConsentEvent], addresses: Sequence[int]) -> Standing:
    """Nothing known is 0, a no is negative: the address nobody spoke of outranks the one that was closed."""
    found = [real_at_point(facts, point) for point in addresses]
    return max(found, key=lambda s: s.until) if found else real_latest([e for e in facts if e.contact_point is None])


PLANTED: list[tuple[str, object]] = [
    ("_latest", _first_arrival_wins),
    ("_latest", _grants_win_ties),
    ("_latest", _a_question_is_an_answer),
    ("_latest", _the_no_behind_is_forgotten),
    ("_latest", _imports_are_firm),
    ("_at_point", _a_general_yes_opens_each_address),
    ("_over_points", _the_last_address_decides),
    ("_over_points", _the_best_number_wins),
    ("_concerns", lambda e, recipient: e.recipient == recipient),  # a general no is not heard by the named
    ("_concerns", lambda e, recipient: e.recipient in (None, recipient)),  # a general yes names everybody
    ("_REVOKING", frozenset(ConsentKind)),  # a grant goes down the tree
    ("_REVOKING", frozenset({WITHDRAWN})),  # a refusal does not
    ("_is_heard", lambda _event, _last, _no: True),  # a renewal revives, and nothing needs evidence
    ("_is_heard", lambda e, _last, no: e.kind is GIVEN or no is None),
    ("CLAIMS", ConsentProperty(0)),  # every claim is believed
]


@pytest.mark.parametrize(("name", "planted"), PLANTED)
def test_a_planted_fold_is_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: object) -> None:
    monkeypatch.setattr(consents, name, planted)
    with pytest.raises(AssertionError):
        search()


still_holds = settings(LAWS, phases=[Phase.generate], report_multiple_bugs=False)(
    given(ledgers, wide_noes, points)(holds)
)


@pytest.mark.parametrize(("name", "planted"), [PLANTED[0], PLANTED[1], PLANTED[8], PLANTED[11]])
def test_a_planted_leak_is_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: object) -> None:
    monkeypatch.setattr(consents, name, planted)
    with pytest.raises(AssertionError):
        still_holds()


def test_a_general_yes_does_not_open_an_address_whose_own_yes_after_a_no_has_ended() -> None:
    facts = [
        event(WITHDRAWN, 1, contact_point=11),
        event(GIVEN, 2, contact_point=11, valid_until=8),
        event(GIVEN, 100),
    ]
    own = fold(facts, LEAF, EMAIL, TREE, (11,)).own
    assert [own.state(now) for now in (5, 50, 101)] == [
        ConsentState.GIVEN,
        ConsentState.WITHDRAWN,
        ConsentState.WITHDRAWN,
    ]
