"""Frequency caps and quiet hours as pure arithmetic over instants (seconds since the epoch, UTC).

A rolling cap of k contacts per window needs only the k newest contact times: the person is capped exactly when
the k-th newest lies inside the window. The window is half open, `(now - window, now]`: a contact that is exactly
one window old no longer counts. Times after `now` (a skewed clock) count, because forgetting them would allow
one contact too many.

Quiet hours are judged on the minute of the day (0 to 1439) in *every* zone in which the person might be. Each
minute is read off the zone database for the instant in question, so the nights on which clocks change need no
rule of their own. A window whose end is not after its start runs overnight.

The zone table: a region is an ISO 3166-1 country or an ISO 3166-2 state of the USA; a state that spans two zones
lists both; a region that is not listed, or unknown, gets the offsets of the whole world, so that a rule about
hours holds wherever the person is. Source: IANA time zone database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from heapq import nlargest
from zoneinfo import ZoneInfo

DAY_MINUTES = 1440


def capped(newest: Sequence[int], limit: int, window_seconds: int, now: int) -> bool:
    """Tell whether one more contact at `now` would exceed `limit` contacts per rolling window.

    `newest` holds at least the `limit` newest contact times (seconds) in any order, or all there are. A limit of
    zero or less allows nothing. Raises ValueError for a window that is not positive.
    """
    if window_seconds <= 0:
        raise ValueError("a cap's window is a positive number of seconds")
    if limit <= 0:
        return True
    if len(newest) < limit:
        return False
    return nlargest(limit, newest)[-1] > now - window_seconds


def free_at(newest: Sequence[int], limit: int, window_seconds: int, now: int) -> int | None:
    """Return the first instant from `now` on at which `capped` is False if nothing else happens; None if never."""
    if limit <= 0:
        return None
    if not capped(newest, limit, window_seconds, now):
        return now
    return nlargest(limit, newest)[-1] + window_seconds


class Hours(StrEnum):
    """How the candidate local times lie to a window; `unknown` if no candidate is known."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    MIXED = "mixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Window:
    """The minutes of the local day in which contact is allowed: `[start, end)`, overnight if `end <= start`."""

    start: int
    end: int

    def __post_init__(self) -> None:
        """Refuse minutes outside of the day (ValueError): a typing error must not become a window."""
        if not (0 <= self.start < DAY_MINUTES and 0 <= self.end <= DAY_MINUTES):
            raise ValueError("a window starts at minute 0 to 1439 and ends at 0 to 1440")

    def allows(self, minute: int) -> bool:
        """Tell whether the local minute lies inside the window."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def hours(self, minutes: Sequence[int]) -> Hours:
        """Place all candidate local minutes: inside only if every one of them is."""
        allowed = {self.allows(minute) for minute in minutes}
        if not allowed:
            return Hours.UNKNOWN
        if len(allowed) > 1:
            return Hours.MIXED
        return Hours.INSIDE if True in allowed else Hours.OUTSIDE


FROM_8_TO_20 = Window(480, 1200)
FROM_8_TO_21 = Window(480, 1260)


def allowed_by_all(windows: Iterable[Window], minutes: Sequence[int]) -> bool:
    """Tell whether every window allows every candidate minute: windows intersect (LAW part 2.3)."""
    return all(window.hours(minutes) is Hours.INSIDE for window in windows)


def local_minutes(now_epoch: int, zones: Sequence[str]) -> tuple[int, ...]:
    """Return the distinct local minutes of the day at `now_epoch` (seconds) in `zones`, ascending.

    `zones` are IANA names; an unknown name raises `zoneinfo.ZoneInfoNotFoundError`.
    """
    return _minutes(now_epoch // 60, tuple(zones))


@lru_cache(maxsize=4096)  # an audience asks for the same few zone sets at the same minute
def _minutes(epoch_minute: int, zones: tuple[str, ...]) -> tuple[int, ...]:
    instant = datetime.fromtimestamp(epoch_minute * 60, UTC)
    return tuple(sorted({_minute(instant.astimezone(ZoneInfo(zone))) for zone in zones}))


def _minute(local: datetime) -> int:
    return local.hour * 60 + local.minute


def candidate_zones(regions: Sequence[str | None]) -> tuple[str, ...]:
    """Return every zone in which a person of one of `regions` might be, sorted; no region means the whole world."""
    return tuple(sorted({zone for region in (regions or (None,)) for zone in zones_of(region)}))


def next_opening(now_epoch: int, zones: Sequence[str], window: Window, days: int = 3) -> int | None:
    """Return the first instant from `now_epoch` on at which all `zones` are inside `window`; None within `days`.

    The joint window can only open where one zone's opens, so those instants are the only candidates.
    """
    starts = sorted({now_epoch, *_openings(now_epoch, zones, window, days)})
    inside = (start for start in starts if window.hours(local_minutes(start, zones)) is Hours.INSIDE)
    return next(inside, None)


def _openings(now_epoch: int, zones: Sequence[str], window: Window, days: int) -> Iterator[int]:
    opens = time(window.start // 60, window.start % 60)
    for zone in map(ZoneInfo, zones):
        today = datetime.fromtimestamp(now_epoch, zone).date()
        for day in range(days + 1):
            start = datetime.combine(today + timedelta(days=day), opens, zone)
            if start.timestamp() > now_epoch:
                yield int(start.timestamp())


# POSIX signs: Etc/GMT+12 is twelve hours *behind* UTC. From Baker Island to the Line Islands.
WORLD: tuple[str, ...] = tuple(
    [f"Etc/GMT+{hours}" for hours in range(12, 0, -1)] + ["UTC"] + [f"Etc/GMT-{hours}" for hours in range(1, 15)]
)

_COUNTRIES = {
    "AT": "Europe/Vienna",
    "BE": "Europe/Brussels",
    "BG": "Europe/Sofia",
    "HR": "Europe/Zagreb",
    "CY": "Asia/Nicosia",
    "CZ": "Europe/Prague",
    "DK": "Europe/Copenhagen",
    "EE": "Europe/Tallinn",
    "FI": "Europe/Helsinki",
    "FR": "Europe/Paris",
    "DE": "Europe/Berlin",
    "GR": "Europe/Athens",
    "HU": "Europe/Budapest",
    "IE": "Europe/Dublin",
    "IT": "Europe/Rome",
    "LV": "Europe/Riga",
    "LT": "Europe/Vilnius",
    "LU": "Europe/Luxembourg",
    "MT": "Europe/Malta",
    "NL": "Europe/Amsterdam",
    "PL": "Europe/Warsaw",
    "PT": "Europe/Lisbon Atlantic/Madeira Atlantic/Azores",
    "RO": "Europe/Bucharest",
    "SK": "Europe/Bratislava",
    "SI": "Europe/Ljubljana",
    "ES": "Europe/Madrid Atlantic/Canary",
    "SE": "Europe/Stockholm",
    "NO": "Europe/Oslo",
    "IS": "Atlantic/Reykjavik",
    "LI": "Europe/Vaduz",
    "CH": "Europe/Zurich",
    "GB": "Europe/London",
    "CN": "Asia/Shanghai",  # one legal time for the whole country
    "HK": "Asia/Hong_Kong",
    "MO": "Asia/Macau",
    "TW": "Asia/Taipei",
    "JP": "Asia/Tokyo",
    "KR": "Asia/Seoul",
    "SG": "Asia/Singapore",
    "IN": "Asia/Kolkata",
}

_EASTERN, _CENTRAL, _MOUNTAIN, _PACIFIC = (
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
)
_STATES = {
    _EASTERN: "CT DC DE GA MA MD ME NC NH NJ NY OH PA RI SC VA VT WV",
    _CENTRAL: "AL AR IA IL LA MN MO MS OK WI",
    _MOUNTAIN: "CO MT NM UT WY",
    _PACIFIC: "CA WA",
}
_SPLIT_STATES = {
    "AK": "America/Anchorage America/Adak",
    "AZ": f"America/Phoenix {_MOUNTAIN}",  # the Navajo Nation keeps summer time
    "FL": f"{_EASTERN} {_CENTRAL}",
    "HI": "Pacific/Honolulu",
    "ID": f"America/Boise {_PACIFIC}",
    "IN": f"America/Indiana/Indianapolis {_CENTRAL}",
    "KS": f"{_CENTRAL} {_MOUNTAIN}",
    "KY": f"{_EASTERN} {_CENTRAL}",
    "MI": f"America/Detroit {_CENTRAL}",
    "ND": f"{_CENTRAL} {_MOUNTAIN}",
    "NE": f"{_CENTRAL} {_MOUNTAIN}",
    "NV": f"{_PACIFIC} {_MOUNTAIN}",
    "OR": f"{_PACIFIC} America/Boise",
    "PR": "America/Puerto_Rico",
    "SD": f"{_CENTRAL} {_MOUNTAIN}",
    "TN": f"{_EASTERN} {_CENTRAL}",
    "TX": f"{_CENTRAL} {_MOUNTAIN}",
}


def _by_region() -> dict[str, tuple[str, ...]]:
    table = {region: tuple(zones.split()) for region, zones in _COUNTRIES.items()}
    states = {f"US-{state}": tuple(zones.split()) for state, zones in _SPLIT_STATES.items()}
    for zone, names in _STATES.items():
        states |= {f"US-{state}": (zone,) for state in names.split()}
    everywhere = tuple(sorted({zone for zones in states.values() for zone in zones}))
    return {**table, **states, "US": everywhere, "UK": table["GB"]}


_ZONES = _by_region()


@lru_cache(maxsize=1024)
def zones_of(region: str | None) -> tuple[str, ...]:
    """Return the IANA zones of `region`; "US" means all US zones, an unknown region the whole world.

    A subdivision of another country ("DE-BY") falls back to its country; of the USA to all US zones.
    """
    if region is None:
        return WORLD
    name = region.upper()
    return _ZONES.get(name) or _ZONES.get(name.partition("-")[0]) or WORLD
