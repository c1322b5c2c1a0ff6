"""Where a person may live, how old they certainly are, and which bits the audience row keeps of them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.subjects import (
    CHOICE_FLAG,
    REACHED_BY,
    SUPPRESSED_BY,
    Choice,
    Flag,
    IdentifierKind,
    age_in_month,
    birth_month,
    is_placeholder,
    join_regions,
    month_of,
    split_regions,
)

REGIONS = st.sampled_from(["DE", "FR", "US-CA", "CN", "GB"])


def exact_age(born: date, today: date) -> int:
    """Age by the calendar; somebody born on 29 February has their birthday on 1 March."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.dates(date(1920, 1, 1), date(2026, 1, 1)), st.dates(date(2026, 1, 1), date(2060, 1, 1)))
def test_nobody_is_taken_for_older_than_they_are(born: date, today: date) -> None:
    month = month_of(int(datetime(today.year, today.month, today.day, tzinfo=UTC).timestamp()))
    age = age_in_month(birth_month(born.isoformat()), month)
    assert age is not None
    assert exact_age(born, today) - 1 <= age <= exact_age(born, today)


@pytest.mark.parametrize(
    ("today", "age"), [("2026-05-31", 15), ("2026-06-01", 16), ("2026-06-30", 16), ("2027-05-31", 16)]
)
def test_a_birthday_counts_from_the_month_after_it(today: str, age: int) -> None:
    at = int(datetime.fromisoformat(today).replace(tzinfo=UTC).timestamp())
    assert age_in_month(birth_month("2010-05-17"), month_of(at)) == age


def test_an_unknown_birth_date_has_no_age() -> None:
    assert age_in_month(None, month_of(0)) is None


def test_somebody_born_after_now_is_of_age_zero() -> None:
    assert age_in_month(birth_month("2030-01"), month_of(0)) == 0


@pytest.mark.parametrize(("text", "same"), [("2010", "2010-12"), ("2010-03", "2010-03-31")])
def test_what_is_not_said_of_a_birth_date_is_assumed_to_be_late(text: str, same: str) -> None:
    assert birth_month(text) == birth_month(same)


def test_months_count_from_year_zero_in_utc() -> None:
    assert month_of(0) == 1970 * 12
    assert month_of(31 * 86_400 - 1) == 1970 * 12
    assert month_of(31 * 86_400) == 1970 * 12 + 1


@settings(derandomize=True, deadline=None)
@given(st.lists(st.one_of(st.just(""), REGIONS), max_size=6))
def test_regions_come_back_as_a_set(regions: list[str]) -> None:
    known = sorted(set(regions) - {""})
    assert split_regions(join_regions(regions)) == (tuple(known) or (None,))
    assert join_regions(regions) == join_regions(reversed(regions))


def test_every_flag_is_one_bit_and_every_choice_has_its_own() -> None:
    assert [f.value for f in Flag] == [1 << n for n in range(len(Flag))]
    assert len({CHOICE_FLAG[c] for c in Choice}) == len(Choice)


def test_what_can_be_suppressed_can_be_reached() -> None:
    reached = {kind for kind, _ in REACHED_BY.values()}
    assert set(SUPPRESSED_BY) <= reached
    assert {REACHED_BY[c][0] for c in (Channel.SMS, Channel.CALL)} == {IdentifierKind.PHONE}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("member_no", "0"),
        ("member_no", "0000"),
        ("member_no", "NULL"),
        ("member_no", "-1"),
        ("member_no", "N/A"),
        ("member_no", "---"),
        ("device_id", "00000000-0000-0000-0000-000000000000"),
        ("openid", "Anonymous"),
        ("email", "no-email@example.org"),
        ("email", "null@example.org"),
    ],
)
def test_what_stands_for_no_identifier_is_a_placeholder(kind: str, value: str) -> None:
    assert is_placeholder(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("member_no", "M00001"), ("member_no", "10"), ("email", "nonette@null.example"), ("device_id", "1" * 32)],
)
def test_an_identifier_that_resembles_one_is_none(kind: str, value: str) -> None:
    assert not is_placeholder(kind, value)


WORDS = {
    "null",
    "none",
    "nil",
    "nan",
    "na",
    "undefined",
    "unknown",
    "unset",
    "notset",
    "anonymous",
    "noemail",
    "nomail",
}


@given(
    st.sampled_from(["email", "member_no"]),
    st.lists(st.sampled_from([*WORDS, "Null", "0", "1", "-1", "-", "_", "@", "x", "\u0661", "\u00b2"])).map("".join),
)
@settings(derandomize=True, deadline=None, max_examples=500)
def test_the_short_way_to_a_placeholder_gives_what_the_long_one_says(kind: str, value: str) -> None:
    text = value.split("@", maxsplit=1)[0] if kind == "email" else value
    core = "".join(c for c in text.casefold() if c.isalnum())
    assert is_placeholder(kind, value) == (core in WORDS or text == "-1" or set(core) <= {"0"})
