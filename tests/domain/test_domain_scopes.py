"""The three integers of a slot say what the standings said: to ourselves, to each third party, and no more to any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consent_gateway.domain import scopes
from consent_gateway.domain.consents import FOREVER, ConsentProperty, ConsentState, Standing, Standings
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.scopes import OWN_SIDE, PROPERTY_MASK, SCOPE_BITS, Side, Slot, pack, read

LAWS = settings(derandomize=True, deadline=None, max_examples=300)
BITS = {RecipientId(f"r{n}"): n for n in range(SCOPE_BITS)}
UNLISTED = RecipientId("unlisted")  # was named once, and has no bit
NONE, GIVEN, WITHDRAWN = ConsentState.NONE, ConsentState.GIVEN, ConsentState.WITHDRAWN
INSTANTS = (5, 6, 7, 8, 9, FOREVER - 1)
NOTHING = ConsentProperty(0)


# Standings as the fold gives them: only a grant has properties.
grants = st.builds(
    Standing, st.sampled_from([6, 8, FOREVER]), st.integers(0, PROPERTY_MASK).map(ConsentProperty), st.booleans()
)
no_grants = st.builds(Standing, st.sampled_from([0, -1, -2, -3]), after_no=st.booleans())
anything = grants | no_grants
parties = st.sampled_from([*BITS, UNLISTED])
everybody = st.builds(Standings, anything, st.dictionaries(parties, anything, max_size=6))


def side_of(who: RecipientId) -> Side:
    return Side(BITS.get(who, -1))


def says(slot: Slot, side: Side, told: Standing, now: int) -> None:
    """What a side reads is the state of `told`, its properties while it is given, and covered if and only if given."""
    state = told.state(now)
    given_now = state is GIVEN
    assert read(slot, side, now) == (state, told.properties if given_now else NOTHING, given_now, False)


# -- the layout ----------------------------------------------------------------------------------------------------


def masks() -> list[int]:
    parts = [scopes.PROPERTY_MASK, scopes.PROPERTY_MASK << scopes.PROPERTY_BITS]
    parts += [scopes.OWN_AFTER_NO, scopes.NAMED_AFTER_NO, scopes.OUTDATED]
    return parts + [mask for n in range(scopes.SCOPE_BITS) for mask in (Side(n).yes, Side(n).no)]


def fits_apart() -> None:
    together = 0
    for mask in masks():
        assert mask > 0
        assert together & mask == 0
        together |= mask
    assert together.bit_length() <= 63  # what a BIGINT holds


def test_no_two_parts_of_the_scope_share_a_bit_and_all_fit_a_bigint() -> None:
    fits_apart()


def test_every_property_has_its_bit() -> None:
    assert sum(ConsentProperty) == PROPERTY_MASK
    assert PROPERTY_MASK < 1 << scopes.PROPERTY_BITS


@pytest.mark.parametrize("side", [OWN_SIDE, Side(-1)])
def test_who_has_no_bit_has_no_mask(side: Side) -> None:
    assert (side.yes, side.no) == (0, 0)


# -- there and back ------------------------------------------------------------------------------------------------


@LAWS
@given(everybody)
def test_a_slot_holds_who_said_what(found: Standings) -> None:
    slot = pack(found, BITS)
    assert slot.until == found.own.until
    assert 0 <= slot.scope < 1 << 63
    assert {r for r, n in BITS.items() if slot.scope & Side(n).yes} == {
        r for r, standing in found.named.items() if r in BITS and standing.until > 0
    }
    assert {r for r, n in BITS.items() if slot.scope & Side(n).no} == {
        r for r, standing in found.named.items() if r in BITS and standing.is_no
    }


@LAWS
@given(everybody)
def test_packing_does_not_depend_on_the_order_of_the_named(found: Standings) -> None:
    backwards = dict(reversed(list(found.named.items())))
    assert pack(Standings(found.own, backwards), BITS) == pack(found, BITS)


@LAWS
@given(everybody)
def test_we_read_our_own_standing_whoever_was_named(found: Standings) -> None:
    for now in INSTANTS:
        says(pack(found, BITS), OWN_SIDE, found.own, now)


@LAWS
@given(anything, st.sampled_from(list(BITS)), grants | st.just(Standing(-1)))
def test_one_named_party_reads_its_own_standing(own: Standing, who: RecipientId, told: Standing) -> None:
    for now in INSTANTS:
        says(pack(Standings(own, {who: told}), BITS), side_of(who), told, now)


def closed(own: Standing, who: RecipientId) -> None:
    for until in (-1, -2):
        slot = pack(Standings(own, {who: Standing(until)}), BITS)
        assert {read(slot, side_of(who), now) for now in INSTANTS} == {(WITHDRAWN, NOTHING, False, False)}


test_a_named_no_is_a_no_whatever_was_said_to_us = LAWS(given(anything, st.sampled_from(list(BITS)))(closed))


@LAWS
@given(everybody, st.sampled_from([*BITS, UNLISTED]))
def test_who_was_not_answered_reads_our_standing_and_is_not_covered(found: Standings, who: RecipientId) -> None:
    """Not named, only asked, or without a bit: the own state explains the answer, and never carries it."""
    told = found.named.get(who, Standing())
    if who in BITS and told.until not in (0, -3):
        return
    slot = pack(found, BITS)
    for now in INSTANTS:
        ours = read(slot, OWN_SIDE, now)
        assert read(slot, side_of(who), now) == (ours[0], ours[1], False, False)


@LAWS
@given(everybody, st.sampled_from(INSTANTS))
def test_a_party_without_a_bit_is_never_covered(found: Standings, now: int) -> None:
    assert not read(pack(found, BITS), Side(-1), now)[2]
    nobody = pack(found, {})
    assert not any(read(nobody, Side(n), now)[2] for n in range(-1, SCOPE_BITS))
    assert nobody.named == 0


# -- several named: one end, and what is true of each ----------------------------------------------------------------


def never_more(found: Standings) -> None:
    """Nobody is covered beyond what was said to just them, in time or in properties."""
    slot = pack(found, BITS)
    for now in INSTANTS:
        for who, n in BITS.items():
            _, properties, covered, _ = read(slot, Side(n), now)
            told = found.named.get(who, Standing())
            assert not covered or (told.state(now) is GIVEN and properties & ~told.properties == 0)


def as_one(named: Mapping[RecipientId, Standing]) -> Standing:
    """The grant that several share: the earliest end, the properties of each, and a no behind any."""
    first, *others = named.values()
    for other in others:
        first = Standing(
            min(first.until, other.until), first.properties & other.properties, first.after_no or other.after_no
        )
    return first


def shared(own: Standing, named: dict[RecipientId, Standing]) -> None:
    slot = pack(Standings(own, named), BITS)
    for now in INSTANTS:
        says(slot, OWN_SIDE, own, now)
        for who in named:
            says(slot, side_of(who), as_one(named), now)


several = st.dictionaries(st.sampled_from(list(BITS)), grants, min_size=1, max_size=5)
test_nobody_is_covered_beyond_what_was_said_to_them = LAWS(given(everybody)(never_more))
test_several_named_share_the_earliest_end_and_the_common_properties = LAWS(given(anything, several)(shared))


@LAWS
@given(anything, several, st.dictionaries(parties, no_grants, max_size=5))
def test_a_no_to_one_leaves_the_others_alone(
    own: Standing, named: dict[RecipientId, Standing], rest: dict[RecipientId, Standing]
) -> None:
    slot = pack(Standings(own, rest | named), BITS)
    for who in named:
        for now in INSTANTS:
            says(slot, side_of(who), as_one(named), now)


def test_an_empty_slot_says_nothing_to_anybody() -> None:
    assert pack(Standings(), BITS) == Slot() == (0, 0, 0)
    for side in (OWN_SIDE, Side(-1), Side(0), Side(SCOPE_BITS - 1)):
        assert read(Slot(), side, 5) == (NONE, NOTHING, False, False)


def test_a_yes_to_everybody_and_a_no_to_everybody_fit() -> None:
    full = Standing(FOREVER, ConsentProperty(PROPERTY_MASK), after_no=True)
    yes = pack(Standings(full, dict.fromkeys(BITS, full)), BITS)
    no = pack(Standings(full, dict.fromkeys(BITS, Standing(-1))), BITS)
    assert yes.scope | no.scope < 1 << 63
    for n in range(SCOPE_BITS):
        says(yes, Side(n), full, 5)
        says(no, Side(n), Standing(-1), 5)


@LAWS
@given(everybody, st.sampled_from([OWN_SIDE, *(Side(n) for n in BITS.values())]))
def test_one_outdated_grant_marks_the_slot_and_nothing_else_of_it(found: Standings, side: Side) -> None:
    """What every side reads but the mark is unchanged; the mark is there for whoever is given consent."""
    plain = pack(found, BITS)
    for late in (
        Standings(replace(found.own, until=max(found.own.until, 6), outdated=True), found.named),
        Standings(found.own, {**found.named, RecipientId("r0"): Standing(8, outdated=True)}),
    ):
        marked = pack(late, BITS)
        unmarked = marked._replace(scope=marked.scope & ~scopes.OUTDATED)
        assert unmarked != marked
        for now in INSTANTS:
            told = read(unmarked, side, now)
            assert read(marked, side, now) == (*told[:3], told[0] is GIVEN)
    assert plain.scope & scopes.OUTDATED == 0


@LAWS
@given(anything, several, st.sampled_from(list(BITS)))
def test_a_named_grant_that_an_event_ended_closes_no_other(
    own: Standing, named: dict[RecipientId, Standing], who: RecipientId
) -> None:
    others = {r: s for r, s in named.items() if r != who}
    assert pack(Standings(own, others | {who: Standing(2, ended=True)}), BITS) == pack(Standings(own, others), BITS)


# -- each check goes red -------------------------------------------------------------------------------------------

_quick = settings(LAWS, phases=[Phase.generate], report_multiple_bugs=False)
find_more = _quick(given(everybody)(never_more))
find_difference = _quick(given(anything, several)(shared))
find_open = _quick(given(anything, st.sampled_from(list(BITS)))(closed))
real_named_part = scopes._named_part


def _the_latest_end(*ends: object, default: int = 0) -> int:
    return max([int(until) for until in ends[0]], default=default)  # type: ignore[attr-defined]


def _the_properties_of_any(granted: list[Standing]) -> int:
    union = 0
    for standing in granted:
        union |= int(standing.properties)
    return real_named_part(granted) | union << scopes.PROPERTY_BITS


@pytest.mark.parametrize(("name", "planted"), [("min", _the_latest_end), ("_named_part", _the_properties_of_any)])
def test_a_slot_that_says_too_much_is_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: object) -> None:
    monkeypatch.setattr(scopes, name, planted, raising=False)  # `min` in that module alone
    with pytest.raises(AssertionError):
        find_more()


@pytest.mark.parametrize(
    ("name", "planted"),
    [("YES_SHIFT", 13), ("NO_SHIFT", 38), ("PROPERTY_BITS", 6), ("NAMED_AFTER_NO", 1 << 14), ("NO_SHIFT", 41)],
)
def test_parts_that_overlap_are_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: int) -> None:
    monkeypatch.setattr(scopes, name, planted)
    with pytest.raises(AssertionError):
        fits_apart()


@pytest.mark.parametrize(("name", "planted"), [("PROPERTY_BITS", 6), ("NAMED_AFTER_NO", 1 << 14), ("YES_SHIFT", 13)])
def test_a_mixed_up_slot_is_found(monkeypatch: pytest.MonkeyPatch, name: str, planted: int) -> None:
    monkeypatch.setattr(scopes, name, planted)
    with pytest.raises(AssertionError):
        find_difference()


def _our_yes_covers_everybody(slot: Slot, side: Side, now: int) -> tuple[ConsentState, ConsentProperty, bool, bool]:
    state, properties, _, outdated = scopes.read(slot, side, now)
    return state, properties, state is GIVEN, outdated


def _the_named_no_is_not_read(slot: Slot, side: Side, now: int) -> tuple[ConsentState, ConsentProperty, bool, bool]:
    return scopes.read(slot._replace(scope=slot.scope & ~side.no), side, now)


def test_a_reader_that_covers_too_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "read", _our_yes_covers_everybody)
    with pytest.raises(AssertionError):
        find_more()


def test_a_reader_that_overlooks_a_named_no_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "read", _the_named_no_is_not_read)
    with pytest.raises(AssertionError):
        find_open()
