"""Circumstances fold to the strict side, and the classes of recency are those of the law."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.domain import circumstances as c
from consent_gateway.domain.audiences import ClassKey
from consent_gateway.domain.circumstances import Circumstance, PointFact, Recency, Subscriber, Told, point_facts
from consent_gateway.domain.subjects import Choice, Flag, fold_choices
from consent_gateway.policies import classes
from consent_gateway.services.deciding.situations import situation

OWN = {"shop", "crm"}
SOLD = Told(
    Subscriber.CORPORATE,
    in_sale=True,
    opt_out_offered=True,
    expressed_interest=True,
    collected_day=c.day_number(date(2026, 3, 1)),
)
ALL_GOOD = (
    PointFact.CORPORATE
    | PointFact.IN_SALE
    | PointFact.OPT_OUT_OFFERED
    | PointFact.INTEREST
    | PointFact.SINCE_CHARITY_DAY
)


def fact(told: Told, point: int = 1, source: str = "shop") -> Circumstance:
    return Circumstance(point, source, told)


@pytest.mark.parametrize(
    ("facts", "points", "found"),
    [
        ([], [1], PointFact(0)),
        ([fact(SOLD)], [], PointFact(0)),
        ([fact(SOLD)], [1], ALL_GOOD),
        ([fact(SOLD)], [1, 2], PointFact(0)),  # of the second address nothing is known
        ([fact(SOLD), fact(SOLD, 2)], [1, 2], ALL_GOOD),
        ([fact(SOLD), fact(Told(), 1, "crm")], [1], ALL_GOOD),  # who says nothing disagrees with nobody
        ([fact(SOLD), fact(Told(in_sale=False), 1, "crm")], [1], ALL_GOOD & ~PointFact.IN_SALE),
        ([fact(SOLD), fact(Told(Subscriber.INDIVIDUAL), 1, "crm")], [1], ALL_GOOD & ~PointFact.CORPORATE),
        ([fact(SOLD), fact(Told(in_sale=False))], [1], ALL_GOOD & ~PointFact.IN_SALE),  # the same source, later
        ([fact(Told(in_sale=False)), fact(SOLD)], [1], ALL_GOOD),
        ([fact(SOLD, source="partner")], [1], PointFact.CORPORATE | PointFact.SINCE_CHARITY_DAY),  # not our sale
        ([fact(SOLD), fact(Told(in_sale=False), 1, "partner")], [1], ALL_GOOD & ~PointFact.IN_SALE),
        (
            [fact(SOLD), fact(Told(collected_day=c.day_number(date(2026, 2, 4))), 1, "crm")],
            [1],
            ALL_GOOD & ~PointFact.SINCE_CHARITY_DAY | PointFact.BEFORE_CHARITY_DAY,
        ),
    ],
)  # fmt: skip
def test_facts_hold_for_every_address_or_not_at_all(
    facts: list[Circumstance], points: list[int], found: PointFact
) -> None:
    assert point_facts(facts, points, OWN) == found


tolds = st.builds(
    Told,
    st.none() | st.sampled_from(Subscriber),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.integers(20_000, 21_000),
)
stories = st.lists(st.builds(Circumstance, st.sampled_from([1, 2]), st.sampled_from(["shop", "crm", "partner"]), tolds))
OPENING = (
    PointFact.CORPORATE
    | PointFact.IN_SALE
    | PointFact.OPT_OUT_OFFERED
    | PointFact.INTEREST
    | PointFact.SINCE_CHARITY_DAY
)


@settings(derandomize=True, deadline=None)
@given(stories)
def test_one_more_address_never_opens_anything(story: list[Circumstance]) -> None:
    one, two = point_facts(story, [1], OWN), point_facts(story, [1, 2], OWN)
    assert two & OPENING & ~one == 0
    assert one & PointFact.BEFORE_CHARITY_DAY & ~two == 0


@settings(derandomize=True, deadline=None)
@given(stories, st.sampled_from(["in_sale", "opt_out_offered", "expressed_interest"]))
def test_a_no_of_a_source_never_opens_anything(story: list[Circumstance], name: str) -> None:
    before = point_facts(story, [1], OWN)
    after = point_facts([*story, fact(Told(**{name: False}), 1, "other")], [1], OWN)  # type: ignore[arg-type]
    assert after & OPENING & ~before == 0


def test_the_day_of_the_charity_soft_opt_in_is_that_of_the_law() -> None:
    assert classes.CHARITY_SOFT_OPT_IN == c.CHARITY_DAY
    assert classes.CONFIRMATION_MINUTES * 60 == c.CONFIRM_SECONDS


# -- recency -------------------------------------------------------------------------------------------------------

nows = st.integers(1_700_000_000, 1_900_000_000)
ago = st.integers(0, 800 * c.DAY)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(nows, ago, ago)
def test_the_classes_of_asking_again_are_those_of_the_law(now: int, opted: int, refused: int) -> None:
    code = c.recency_code(Recency.ASKING, (now - opted, now - refused), now)
    stands_for = situation(ClassKey("DE", 18, 0, 0, 0, 0, recency=code), Recency.ASKING, (), now)
    today = datetime.fromtimestamp(now, UTC).date()
    said = [datetime.fromtimestamp(now - past, UTC).date() for past in (opted, refused)]
    assert classes.opt_out_class(stands_for.opted_out_on, today) == classes.opt_out_class(said[0], today)
    assert classes.refusal_class(stands_for.refused_on, today, refused=False) == classes.refusal_class(
        said[1], today, refused=False
    )


@pytest.mark.parametrize("day", [date(2024, 2, 29), date(2025, 2, 28), date(2026, 8, 31), date(2027, 3, 1)])
def test_months_end_where_the_law_lets_them_end(day: date) -> None:
    now = int(datetime(day.year, day.month, day.day, 15, tzinfo=UTC).timestamp())
    for months in (6, 12):
        bound = c.months_ago(now, months)
        days = [datetime.fromtimestamp(at, UTC).date() for at in (bound - 1, bound)]
        assert [classes.months_between(d, day) >= months for d in days] == [True, False]


@pytest.mark.parametrize(
    ("revoked", "confirmed", "found"),
    [
        (None, None, "none"),
        (None, 5, "none"),
        (0, None, "due"),
        (300, None, "due"),
        (301, None, "late"),
        (100, 50, "sent"),
        (100, 100, "sent"),
        (100, 101, "due"),  # that one confirmed an earlier revocation
    ],
)
def test_one_confirmation_within_five_minutes(revoked: int | None, confirmed: int | None, found: str) -> None:
    now = 1_795_000_000
    instants = [None if past is None else now - past for past in (revoked, confirmed)]
    code = c.recency_code(Recency.CONFIRMING_PHONE, instants, now)
    stands_for = situation(ClassKey("US", 18, 0, 0, 0, 0, recency=code), Recency.CONFIRMING_PHONE, (), now)
    law = classes.confirmation_class(stands_for.minutes_since_revocation, sent=stands_for.confirmation_sent)
    assert law == found


# -- choices -------------------------------------------------------------------------------------------------------

P, A, Y = Choice.LOYALTY_PARTICIPANT, Choice.LOYALTY_ASKED, Choice.LOYALTY_AFFIRMED


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([(Choice.GPC, True, 1), (Choice.GPC, False, 2)], Flag.GPC_SEEN),
        ([(Choice.GPC, False, 1), (Choice.GPC, True, 1)], Flag.GPC | Flag.GPC_SEEN),
        ([(P, True, 1)], Flag.LOYALTY_PARTICIPANT),
        ([(P, True, 1), (P, False, 1)], Flag(0)),  # of two at one instant the one that opens nothing
        ([(A, True, 1)], Flag(0)),
        ([(P, True, 1), (Y, True, 3)], Flag.LOYALTY_PARTICIPANT),
        ([(P, True, 1), (A, True, 2), (Y, True, 3)], Flag.LOYALTY_PARTICIPANT | Flag.LOYALTY_ASKED | Flag.LOYALTY_AFFIRMED),
        ([(P, True, 1), (A, True, 4), (Y, True, 3)], Flag.LOYALTY_PARTICIPANT | Flag.LOYALTY_ASKED),
        ([(A, True, 2), (Y, True, 3)], Flag(0)),
        ([(Choice.DO_NOT_CALL, True, 1), (Choice.DO_NOT_CALL, False, 2)], Flag(0)),
    ],
)  # fmt: skip
def test_choices_fold(said: list[tuple[Choice, bool, int]], found: Flag) -> None:
    assert fold_choices(said) == found
    assert fold_choices(reversed(said)) == found
