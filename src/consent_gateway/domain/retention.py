"""How long data is kept: periods of the calendar, and the instant up to which everything is over.

GDPR Art 5(1)(e), 13(2)(a); PIPL Art 19, 47(1)(1); Civ. 1798.100(a)(3): no longer than the purpose needs, and the
period is disclosed. A period is an ISO 8601 duration of days, weeks, months and years. All is computed in UTC, so that
no change of clocks shortens or lengthens it. `Period.cutoff` is the definition: what happened at or before it is over.
It never goes back as time goes on. Where a month has no such day its last day counts, to its end: one month before
31 March is the end of February, and what happened on 29 February is over a year later at the end of 28 February.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consent_gateway.domain.fields import FieldDefinition
from consent_gateway.domain.ids import PurposeId, SourceId
from consent_gateway.domain.purposes import PurposeTree, Source
from consent_gateway.domain.records.parties import Processing, processing_of

_PERIOD = re.compile(r"P(?=\d)(?:(\d{1,5})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,5})D)?\Z")
_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Period:
    """A period of the calendar."""

    months: int
    days: int

    @property
    def text(self) -> str:
        """Return the period as an ISO 8601 duration."""
        years, months = divmod(self.months, _MONTHS)
        parts = ((years, "Y"), (months, "M"), (self.days, "D"))
        return "P" + ("".join(f"{n}{unit}" for n, unit in parts if n) or "0D")

    def cutoff(self, now: int) -> int:
        """Return the last instant (seconds) that is a whole period before `now`; 0 for a period longer than time."""
        at = datetime.fromtimestamp(now, UTC) - timedelta(days=self.days)
        year, month = divmod(at.year * _MONTHS + at.month - 1 - self.months, _MONTHS)
        if year < 1970:  # noqa: PLR2004 - the first year that instants count from
            return 0
        last = monthrange(year, month + 1)[1]
        if at.day > last:
            return int(datetime(year, month + 1, last, 23, 59, 59, tzinfo=UTC).timestamp())
        return int(at.replace(year=year, month=month + 1).timestamp())


def parse_period(text: str) -> Period | None:
    """Return the period that an ISO 8601 duration says; None for none, and for one with hours or fractions."""
    found = _PERIOD.match(text)
    if found is None:
        return None
    years, months, weeks, days = (int(part or 0) for part in found.groups())
    return Period(years * _MONTHS + months, weeks * 7 + days)


@dataclass(frozen=True, slots=True)
class Periods:
    """The period of each purpose and source that has one; what is in neither is kept, and shown as a gap."""

    purposes: Mapping[PurposeId, Period]
    sources: Mapping[SourceId, Period]


def periods(
    tree: PurposeTree, processing: Mapping[PurposeId, Processing], sources: Iterable[Source], now: int
) -> Periods:
    """Return the periods as the registers say them at `now`.

    A purpose has its own or that of the nearest wider purpose. A source has the longest of its purposes, if each has
    one, and never more than the period that is registered for the source itself.
    """
    by_purpose: dict[PurposeId, Period] = {}
    for purpose in tree.purposes:
        found = processing_of(purpose, tree, processing)
        period = parse_period(found.retention) if found else None
        if period is not None:
            by_purpose[purpose] = period
    by_source: dict[SourceId, Period] = {}
    for source in sources:
        known = [by_purpose[p] for p in source.purposes if p in by_purpose]
        own = parse_period(source.retention)
        candidates = [own] if own is not None else []
        if known and len(known) == len(source.purposes):
            candidates.append(min(known, key=lambda period: period.cutoff(now)))
        if candidates:
            by_source[source.id] = max(candidates, key=lambda period: period.cutoff(now))
    return Periods(by_purpose, by_source)


def field_periods(field: FieldDefinition, found: Periods, now: int) -> dict[PurposeId, Period]:
    """Return the period of a field for each of its purposes: that of the purpose, and never more than its own."""
    own = parse_period(field.retention)
    known = {p: [period for period in (own, found.purposes.get(p)) if period is not None] for p in field.purposes}
    return {p: max(those, key=lambda period: period.cutoff(now)) for p, those in known.items() if those}
