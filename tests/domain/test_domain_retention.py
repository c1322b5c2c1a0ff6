"""Periods of the calendar: what is over when, over leap days, ends of months and changes of clocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_gateway.domain.ids import PurposeId, SourceId
from consent_gateway.domain.purposes import Basis, Party, Purpose, PurposeKind, PurposeTree, Source
from consent_gateway.domain.records import Processing
from consent_gateway.domain.retention import Period, parse_period, periods

NOW = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp())
INSTANTS = st.integers(0, 4_102_444_800)
PERIODS = st.builds(Period, st.integers(0, 400), st.integers(0, 4000))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("P30D", Period(0, 30)),
        ("P2W", Period(0, 14)),
        ("P18M", Period(18, 0)),
        ("P2Y", Period(24, 0)),
        ("P1Y6M3D", Period(18, 3)),
        ("P99999Y", Period(1_199_988, 0)),
        ("", None),
        ("P", None),
        ("PT1H", None),
        ("P1.5Y", None),
        ("P-1D", None),
        ("P1D ", None),
        ("P1D\n", None),
        ("2Y", None),
    ],
)
def test_durations_are_read(text: str, found: Period | None) -> None:
    assert parse_period(text) == found


@pytest.mark.parametrize(
    ("period", "now", "cutoff"),
    [
        ("P1D", "2026-03-29T02:30:00", "2026-03-28T02:30:00"),  # the clocks of Europe change in between
        ("P1D", "2026-10-25T01:30:00", "2026-10-24T01:30:00"),
        ("P7D", "2026-03-08T10:00:00", "2026-03-01T10:00:00"),  # those of the USA
        ("P1M", "2026-03-30T08:00:00", "2026-02-28T23:59:59"),
        ("P1M", "2026-03-28T08:00:00", "2026-02-28T08:00:00"),
        ("P1M", "2024-03-29T08:00:00", "2024-02-29T08:00:00"),
        ("P1Y", "2025-02-28T23:59:59", "2024-02-28T23:59:59"),
        ("P1Y", "2025-03-01T00:00:00", "2024-03-01T00:00:00"),
        ("P1Y", "2024-02-29T12:00:00", "2023-02-28T23:59:59"),
        ("P4Y", "2028-02-29T12:00:00", "2024-02-29T12:00:00"),
        ("P1Y", "2026-01-01T00:00:00", "2025-01-01T00:00:00"),
        ("P100Y", "2026-01-01T00:00:00", "1970-01-01T00:00:00"),
    ],
)
def test_what_is_over(period: str, now: str, cutoff: str) -> None:
    found = parse_period(period)
    assert found is not None
    assert found.cutoff(at(now)) == at(cutoff)


@given(PERIODS, INSTANTS, INSTANTS)
def test_what_is_over_stays_over(period: Period, one: int, other: int) -> None:
    first, second = sorted((one, other))
    assert period.cutoff(first) <= period.cutoff(second)
    assert period.cutoff(first) <= first


@given(st.integers(0, 4000), INSTANTS)
def test_a_day_is_a_day(days: int, now: int) -> None:
    expected = now - days * 86_400
    assert Period(0, days).cutoff(now) == (max(expected, 0))


def _purpose(name: str, parent: str | None = None) -> Purpose:
    wider = PurposeId(parent) if parent else None
    return Purpose(PurposeId(name), PurposeKind.DIRECT_MARKETING, name, name, "", Basis.CONSENT, wider)


TREE = PurposeTree({p.id: p for p in (_purpose("all"), _purpose("mail", "all"), _purpose("other"))})


def _source(*purposes: str, retention: str = "") -> Source:
    return Source(SourceId("s"), "s", "web", Party.FIRST, None, tuple(PurposeId(p) for p in purposes), retention)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (_source("mail"), Period(24, 0)),  # of the wider purpose
        (_source("mail", "other"), None),  # one of them has none
        (_source(), None),
        (_source(retention="P30D"), Period(0, 30)),
        (_source("mail", retention="P30D"), Period(0, 30)),  # the source caps it
        (_source("mail", retention="P9Y"), Period(24, 0)),
        (_source("mail", "other", retention="P9Y"), Period(108, 0)),
    ],
)
def test_the_period_of_a_source(source: Source, found: Period | None) -> None:
    registered = {PurposeId("all"): Processing(retention="P2Y"), PurposeId("other"): Processing(retention_criteria="x")}
    known = periods(TREE, registered, [source], NOW)
    assert known.sources.get(SourceId("s")) == found
    assert dict(known.purposes) == {PurposeId("all"): Period(24, 0), PurposeId("mail"): Period(24, 0)}


def test_a_source_has_the_longest_of_its_purposes() -> None:
    registered = {PurposeId("mail"): Processing(retention="P1Y"), PurposeId("other"): Processing(retention="P3Y")}
    known = periods(TREE, registered, [_source("mail", "other")], NOW)
    assert known.sources[SourceId("s")] == Period(36, 0)
