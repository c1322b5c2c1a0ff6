from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.domain.caps import (
    FROM_8_TO_20,
    FROM_8_TO_21,
    WORLD,
    Hours,
    Window,
    allowed_by_all,
    candidate_zones,
    capped,
    free_at,
    local_minutes,
    next_opening,
    zones_of,
)
from consent_gateway.policies.regions import CHILD_AGE

WEEK = 7 * 86_400
times = st.lists(st.integers(min_value=0, max_value=2_000), max_size=12)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@settings(derandomize=True, deadline=None)
@given(times, st.integers(1, 6), st.integers(1, 900), st.integers(0, 2_000))
def test_capped_exactly_when_the_window_holds_the_limit(contacts: list[int], limit: int, window: int, now: int) -> None:
    inside = sum(1 for t in contacts if t > now - window)
    assert capped(contacts, limit, window, now) == (inside >= limit)


@settings(derandomize=True, deadline=None)
@given(times, st.integers(1, 6), st.integers(1, 900), st.integers(0, 2_000))
def test_only_the_newest_limit_times_matter(contacts: list[int], limit: int, window: int, now: int) -> None:
    newest = sorted(contacts, reverse=True)[:limit]
    assert capped(newest, limit, window, now) == capped(contacts, limit, window, now)


@settings(derandomize=True, deadline=None)
@given(times, st.integers(1, 6), st.integers(1, 900), st.integers(0, 2_000))
def test_free_at_is_the_first_free_second(contacts: list[int], limit: int, window: int, now: int) -> None:
    free = free_at(contacts, limit, window, now)
    assert free is not None
    assert not capped(contacts, limit, window, free)
    assert free == now or capped(contacts, limit, window, free - 1)


def test_a_checker_that_closes_the_window_is_caught() -> None:
    now, contacts = 10_000, [10_000 - WEEK]
    assert not capped(contacts, 1, WEEK, now)  # exactly one window old: it no longer counts
    planted = contacts[0] >= now - WEEK  # the bug: a closed interval
    assert planted != capped(contacts, 1, WEEK, now)


def test_limits_that_allow_nothing_and_windows_that_are_none() -> None:
    assert capped([], 0, 60, 0)
    assert free_at([], 0, 60, 0) is None
    with pytest.raises(ValueError, match="window"):
        capped([], 1, 0, 0)


def test_overnight_window_and_its_edges() -> None:
    night = Window(1320, 360)
    assert [night.allows(m) for m in (1319, 1320, 0, 359, 360)] == [False, True, True, True, False]
    assert [FROM_8_TO_20.allows(m) for m in (479, 480, 1199, 1200)] == [False, True, True, False]
    with pytest.raises(ValueError, match="minute"):
        Window(1440, 0)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [((), Hours.UNKNOWN), ((600,), Hours.INSIDE), ((1230, 1290), Hours.MIXED), ((60, 1300), Hours.OUTSIDE)],
)
def test_hours_of_candidates(minutes: tuple[int, ...], expected: Hours) -> None:
    assert FROM_8_TO_21.hours(minutes) is expected


def test_windows_intersect() -> None:
    assert allowed_by_all([FROM_8_TO_20, FROM_8_TO_21], (1199,))
    assert not allowed_by_all([FROM_8_TO_20, FROM_8_TO_21], (1200,))


def test_local_minutes_follow_the_clock_change() -> None:
    before, after = at("2026-03-29T00:30:00"), at("2026-03-29T01:30:00")
    assert local_minutes(before, ("Europe/Berlin",)) == (90,)  # 01:30, winter
    assert local_minutes(after, ("Europe/Berlin",)) == (210,)  # 03:30, summer: 02:30 did not exist
    autumn = [local_minutes(at(f"2026-10-25T0{h}:30:00"), ("Europe/Berlin",)) for h in (0, 1)]
    assert autumn == [(150,), (150,)]  # 02:30 twice
    with pytest.raises(ZoneInfoNotFoundError):
        local_minutes(0, ("Nowhere/Land",))


def test_zones_of_regions() -> None:
    assert zones_of("DE") == ("Europe/Berlin",)
    assert zones_of("gb") == ("Europe/London",)
    assert set(zones_of("US-TX")) == {"America/Chicago", "America/Denver"}
    assert zones_of("US-ZZ") == zones_of("US")
    assert set(zones_of("US-FL")) <= set(zones_of("US"))
    assert zones_of(None) == zones_of("ZZ") == WORLD
    assert candidate_zones(()) == tuple(sorted(WORLD))
    assert candidate_zones(("DE", "GB")) == ("Europe/Berlin", "Europe/London")


def test_every_zone_exists_and_every_member_state_has_one() -> None:
    states = [f"US-{a}{b}" for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    own = [s for s in states if zones_of(s) != zones_of("US")]
    assert len(own) == 50 + 2  # the states, DC and PR
    for region in [*CHILD_AGE.keys() - {"EU"}, *own]:
        assert zones_of(region) != WORLD
    for zone in {z for r in (*own, *(CHILD_AGE.keys() - {"EU"}), None) for z in zones_of(r)}:
        ZoneInfo(zone)


def test_the_world_never_sleeps_together() -> None:
    minutes = local_minutes(at("2026-11-18T12:00:00"), WORLD)
    assert FROM_8_TO_20.hours(minutes) is Hours.MIXED
    assert next_opening(at("2026-11-18T12:00:00"), WORLD, FROM_8_TO_20) is None


@pytest.mark.parametrize(
    ("now", "zones", "opens"),
    [
        ("2026-11-18T12:00:00", ("Europe/Berlin",), "2026-11-18T12:00:00"),
        ("2026-11-18T20:00:00", ("Europe/Berlin",), "2026-11-19T07:00:00"),
        ("2026-03-28T20:00:00", ("Europe/Berlin",), "2026-03-29T06:00:00"),  # the clock went forward
        ("2026-11-18T02:00:00", ("America/New_York", "America/Los_Angeles"), "2026-11-18T16:00:00"),
    ],
)
def test_next_opening(now: str, zones: tuple[str, ...], opens: str) -> None:
    found = next_opening(at(now), zones, FROM_8_TO_20)
    assert found == at(opens)
    assert FROM_8_TO_20.hours(local_minutes(found, zones)) is Hours.INSIDE
