"""The fold against a slow reference that is written rule by rule, and the laws that any consent ledger must obey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

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
    fold,
    state_of,
)
from consent_gateway.domain.ids import PurposeId, RecipientId, SubjectId
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, PurposeTree

LAWS = settings(derandomize=True, deadline=None, max_examples=400)
ROOT, MIDDLE, LEAF, OTHER = (PurposeId(p) for p in ("marketing", "direct", "newsletter", "analytics"))
PARENTS = {ROOT: None, MIDDLE: ROOT, LEAF: MIDDLE, OTHER: None}
TREE = PurposeTree(
    {p: Purpose(p, PurposeKind.DIRECT_MARKETING, p, p, "", Basis.CONSENT, parent) for p, parent in PARENTS.items()}
)
EMAIL, SMS = Channel.EMAIL, Channel.SMS
ALPHA, BETA = RecipientId("alpha"), RecipientId("beta")
GIVEN, REFUSED, WITHDRAWN, PENDING = (
    ConsentKind.GIVEN,
    ConsentKind.REFUSED,
    ConsentKind.WITHDRAWN,
    ConsentKind.PENDING,
)
NOES = (REFUSED, WITHDRAWN)
POINTS = (11, 12)


def event(kind: ConsentKind, at: int, **changes: object) -> ConsentEvent:
    base = ConsentEvent(SubjectId(1), LEAF, EMAIL, kind, at)
    return replace(base, **changes)  # type: ignore[arg-type]


def events(**fixed: st.SearchStrategy[object]) -> st.SearchStrategy[ConsentEvent]:
    """Facts from a world so small that they meet: few instants, purposes, addresses and recipients."""
    parts: dict[str, st.SearchStrategy[object]] = {
        "subject_id": st.just(SubjectId(1)),
        "purpose": st.sampled_from([LEAF, LEAF, LEAF, LEAF, MIDDLE, ROOT, OTHER]),
        "channel": st.sampled_from([EMAIL, EMAIL, EMAIL, None, SMS]),
        "kind": st.sampled_from([GIVEN, GIVEN, WITHDRAWN, REFUSED, PENDING]),
        "at": st.sampled_from([1, 2, 2, 3, 5]),
        "properties": st.integers(0, 7).map(ConsentProperty),
        "valid_until": st.sampled_from([None, None, 8, 9]),
        "contact_point": st.sampled_from([None, None, None, 11, 12, 13]),
        "recipient": st.sampled_from([None, None, None, ALPHA, BETA]),
        "imported": st.sampled_from([False, False, True]),
    }
    return st.builds(ConsentEvent, **(parts | fixed))  # type: ignore[arg-type]


ledgers = st.lists(events(), min_size=1, max_size=9)
points = st.sampled_from([(), (11,), (11, 12)])


# -- the reference: each rule of the module docstring as one plain step ----------------------------------------------


def latest_says(facts: Sequence[ConsentEvent]) -> ConsentEvent | None:
    """Rules 1 and 3: of what counts, the latest instant; there the most restrictive fact."""
    only_imported_grants = all(f.imported and f.kind is GIVEN for f in facts)
    counted = [f for f in facts if only_imported_grants or not (f.imported and f.kind is GIVEN)]
    if not counted:
        return None
    newest = max(f.at for f in counted)
    there = [f for f in counted if f.at == newest]
    for kind in (WITHDRAWN, REFUSED, PENDING):
        for fact in there:
            if fact.kind is kind:
                return fact
    shortest = min(f.valid_until or FOREVER for f in there)
    return min((f for f in there if (f.valid_until or FOREVER) == shortest), key=lambda f: int(f.properties))


CODES = {WITHDRAWN: -1, REFUSED: -2, PENDING: -3}


def told(fact: ConsentEvent | None) -> tuple[int, ConsentProperty]:
    """The fact as (code or valid-until, properties)."""
    if fact is None:
        return 0, ConsentProperty(0)
    if fact.kind is GIVEN:
        return fact.valid_until or FOREVER, fact.properties
    return CODES[fact.kind], ConsentProperty(0)


def at_addresses(facts: Sequence[ConsentEvent], addresses: Sequence[int]) -> tuple[int, ConsentProperty]:
    """Rule 4, addresses: each on its own; a no for an address is not undone by a general yes; then the best one."""
    general = [f for f in facts if f.contact_point is None]
    if not addresses or len(general) == len(facts):
        return told(latest_says(general))
    results = []
    for address in addresses:
        here = [f for f in facts if f.contact_point == address]
        answer = told(latest_says(here))
        if answer[0] >= 0:
            answer = told(latest_says(here + general))
        results.append(answer)
    granted = [r for r in results if r[0] > 0]
    best = max(r[0] for r in (granted or results))
    return next(r for r in results if r[0] == best)


def reference(
    facts: Sequence[ConsentEvent], purpose: PurposeId, channel: Channel, addresses: Sequence[int]
) -> Standing:
    about = []
    for fact in facts:
        wider = purpose
        while wider is not None and wider != fact.purpose:
            wider = PARENTS[wider]  # type: ignore[assignment]
        if wider is None or (fact.purpose != purpose and fact.kind not in NOES):
            continue  # rule 2: only a no goes down the tree
        if fact.channel is None or fact.channel is channel:
            about.append(fact)
    until, properties = at_addresses([f for f in about if f.recipient is None], addresses)
    named = {}
    for recipient in {f.recipient for f in about} - {None}:
        theirs = [f for f in about if f.recipient == recipient or (f.recipient is None and f.kind in NOES)]
        answer = at_addresses(theirs, addresses)
        if answer[0] > 0:
            named[recipient] = answer
    if not named:
        return Standing(until, properties, frozenset(), own=until > 0)
    answers = list(named.values()) + ([(until, properties)] if until > 0 else [])
    common = answers[0][1]
    for answer in answers:
        common &= answer[1]
    return Standing(min(a[0] for a in answers), common, frozenset(named), own=until > 0)  # type: ignore[arg-type]


def compare(facts: list[ConsentEvent], purpose: PurposeId, addresses: tuple[int, ...]) -> None:
    assert fold(facts, purpose, EMAIL, TREE, addresses) == reference(facts, purpose, EMAIL, addresses)


compared = given(ledgers, st.sampled_from([LEAF, LEAF, MIDDLE]), points)
test_the_fold_is_the_reference = LAWS(compared(compare))
# The same search for planted bugs: the first difference is enough, nobody reads a smaller one.
search = settings(LAWS, phases=[Phase.generate], report_multiple_bugs=False)(compared(compare))


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
    ]
    assert len({fold(order, LEAF, EMAIL, TREE, POINTS) for order in permutations(story)}) == 1


def scope(standing: Standing) -> set[str]:
    """Who may act on a standing at all."""
    return {*standing.recipients, *(["own"] if standing.own else [])}


@LAWS
@given(ledgers, events(kind=st.sampled_from(NOES)), points)
def test_a_no_never_lets_anybody_in(facts: list[ConsentEvent], no: ConsentEvent, addresses: tuple[int, ...]) -> None:
    before, after = (fold(f, LEAF, EMAIL, TREE, addresses) for f in (facts, [*facts, no]))
    assert scope(after) <= scope(before)
    assert after.until <= 0 or before.until > 0


@LAWS
@given(st.lists(events(recipient=st.none()), max_size=6), events(kind=st.sampled_from(NOES), recipient=st.none()))
def test_a_no_to_us_widens_nothing_at_all(facts: list[ConsentEvent], no: ConsentEvent) -> None:
    """Without named recipients, neither the duration nor the properties of a grant grow by a withdrawal."""
    for addresses in ((), (11,)):
        before, after = (fold(f, LEAF, EMAIL, TREE, addresses) for f in (facts, [*facts, no]))
        if after.until > 0:
            assert after == before


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
    assert not scope(fold([*facts, end], LEAF, EMAIL, TREE, addresses))


@pytest.mark.parametrize("kind", [WITHDRAWN, REFUSED, PENDING])
@pytest.mark.parametrize("order", [0, 1])
def test_of_two_at_one_instant_the_opt_out_wins(kind: ConsentKind, order: int) -> None:
    pair = [event(GIVEN, 3), event(kind, 3)]
    assert fold(pair[::-1] if order else pair, LEAF, EMAIL, TREE).until == CODES[kind]


def test_of_two_grants_at_one_instant_the_lesser_wins() -> None:
    long, short = event(GIVEN, 3), event(GIVEN, 3, valid_until=9)
    assert fold([long, short], LEAF, EMAIL, TREE).until == 9


@pytest.mark.parametrize("kind", NOES)
def test_a_no_goes_down_the_tree_and_not_up(kind: ConsentKind) -> None:
    no = event(kind, 2, purpose=MIDDLE)
    yes = [event(GIVEN, 1, purpose=p) for p in (ROOT, MIDDLE, LEAF, OTHER)]
    states = {p: fold([*yes, no], p, EMAIL, TREE).until > 0 for p in (ROOT, MIDDLE, LEAF, OTHER)}
    assert states == {ROOT: True, MIDDLE: False, LEAF: False, OTHER: True}


def test_a_grant_goes_neither_down_nor_up() -> None:
    yes = [event(GIVEN, 1, purpose=MIDDLE)]
    assert [fold(yes, p, EMAIL, TREE).until > 0 for p in (ROOT, MIDDLE, LEAF)] == [False, True, False]


def test_a_grant_for_one_channel_says_nothing_of_another() -> None:
    assert fold([event(GIVEN, 1)], LEAF, SMS, TREE) == Standing()
    assert fold([event(GIVEN, 1, channel=None)], LEAF, SMS, TREE).own


def test_an_imported_grant_fills_a_gap_and_nothing_else() -> None:
    imported = event(GIVEN, 9, imported=True)
    assert fold([imported], LEAF, EMAIL, TREE).own
    for kind in (WITHDRAWN, REFUSED, PENDING):
        assert fold([imported, event(kind, 1)], LEAF, EMAIL, TREE).until == CODES[kind]
    assert fold([imported, event(GIVEN, 1, valid_until=5)], LEAF, EMAIL, TREE).until == 5


def test_an_imported_no_counts_like_any_other() -> None:
    assert fold([event(GIVEN, 1), event(WITHDRAWN, 2, imported=True)], LEAF, EMAIL, TREE).until == -1


def test_addresses_are_folded_apart() -> None:
    facts = [event(GIVEN, 1), event(WITHDRAWN, 2, contact_point=11)]
    assert fold(facts, LEAF, EMAIL, TREE, (11,)).until == -1
    assert fold(facts, LEAF, EMAIL, TREE, (11, 12)).own  # the other address may still be written to
    assert fold([*facts, event(GIVEN, 3)], LEAF, EMAIL, TREE, (11,)).until == -1  # a general yes is not that address


def test_recipients_are_folded_apart() -> None:
    yes = [event(GIVEN, 1, recipient=ALPHA), event(GIVEN, 1, recipient=BETA)]
    assert fold(yes, LEAF, EMAIL, TREE) == Standing(FOREVER, ConsentProperty(0), frozenset({ALPHA, BETA}), own=False)
    one = fold([*yes, event(WITHDRAWN, 2, recipient=ALPHA)], LEAF, EMAIL, TREE)
    assert scope(one) == {BETA}
    assert not scope(fold([*yes, event(WITHDRAWN, 2)], LEAF, EMAIL, TREE))  # a general no holds for the named, too
    assert scope(fold([event(GIVEN, 1)], LEAF, EMAIL, TREE)) == {"own"}  # a general yes names nobody


def test_what_is_kept_of_several_grants_is_true_of_each() -> None:
    written, explicit = ConsentProperty.WRITTEN, ConsentProperty.EXPLICIT
    facts = [
        event(GIVEN, 1, properties=written | explicit),
        event(GIVEN, 1, properties=written, recipient=ALPHA, valid_until=9),
    ]
    assert fold(facts, LEAF, EMAIL, TREE) == Standing(9, written, frozenset({ALPHA}), own=True)


@pytest.mark.parametrize(
    ("until", "now", "state"),
    [
        (0, 5, ConsentState.NONE),
        (-1, 5, ConsentState.WITHDRAWN),
        (-2, 5, ConsentState.REFUSED),
        (-3, 5, ConsentState.PENDING),
        (6, 5, ConsentState.GIVEN),
        (5, 5, ConsentState.EXPIRED),
        (4, 5, ConsentState.EXPIRED),
        (FOREVER, FOREVER - 1, ConsentState.GIVEN),
    ],
)
def test_a_standing_is_a_comparison_with_now(until: int, now: int, state: ConsentState) -> None:
    assert state_of(until, now) is state
    assert Standing(until).state(now) is state


# -- each check goes red -------------------------------------------------------------------------------------------


def _first_arrival_wins(facts: Sequence[ConsentEvent]) -> Standing:
    chosen = max(facts, key=lambda e: e.at, default=None)
    return Standing() if chosen is None else Standing(*told(chosen), own=chosen.kind is GIVEN)


def _grants_win_ties(facts: Sequence[ConsentEvent]) -> Standing:
    chosen = max(facts, key=lambda e: (e.at, e.kind is GIVEN), default=None)
    return Standing() if chosen is None else Standing(*told(chosen), own=chosen.kind is GIVEN)


@pytest.mark.parametrize("planted", [_first_arrival_wins, _grants_win_ties])
def test_a_planted_fold_is_found(monkeypatch: pytest.MonkeyPatch, planted: Callable[..., Standing]) -> None:
    monkeypatch.setattr(consents, "_latest", planted)
    with pytest.raises(AssertionError):
        search()


def test_a_grant_that_goes_down_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consents, "_REVOKING", frozenset(ConsentKind))
    with pytest.raises(AssertionError):
        search()
