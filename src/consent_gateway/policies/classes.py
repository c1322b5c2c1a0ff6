"""From numbers and dates to the classes that the fact space knows.

The bounds are those at which some law changes its mind; each is cited where it stands. A lower bound belongs to
the class above it: a person of exactly 13 is "13", a year to the day is "over_12m".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date

from consent_gateway.policies.vocabulary import UnknownFactError, words

CHARITY_SOFT_OPT_IN = date(2026, 2, 5)  # DUAA 2025 s.114, commenced by SI 2026/82; not retroactive
CONFIRMATION_MINUTES = 5  # 47 CFR 64.1200(a)(12)
STATE_CAP = 3  # Fla. Stat. 501.616(6)(b)

_AGES = (13, 14, 15, 16, 18)  # GDPR Art 8(1), PIPL Art 31, Civ. Code 1798.120(c)
_EXPORTED = (100_000, 1_000_000)  # 促进和规范数据跨境流动规定 (2024-03-22)
_EXPORTED_SENSITIVE = (10_000,)  # the same
_MONTHS = (6, 12)  # six: shipped interval, NDSMR 22(5) names none; twelve: Civ. Code 1798.135(c)(4)-(5)


def _band(value: int, bounds: Sequence[int], names: Sequence[str]) -> str:
    return names[bisect_right(bounds, value)]


def age_band(age: int | None) -> str:
    """Return the band of an age in years, "unknown" for None; raises `UnknownFactError` for a negative one."""
    if age is None:
        return "unknown"
    if age < 0:
        raise UnknownFactError("the fact 'age' has a value outside of its domain")
    return _band(age, _AGES, words("under_13 13 14 15 16_17 adult"))


def export_class(people: int | None) -> str:
    """Return the class of the people whose data was exported this year; a number that makes no sense is unknown."""
    if people is None or people < 0:
        return "unknown"
    return _band(people, _EXPORTED, words("under_100k 100k_to_1m over_1m"))


def sensitive_export_class(people: int | None) -> str:
    """Return the class of the people whose sensitive data was exported this year."""
    if people is None or people < 0:
        return "unknown"
    return _band(people, _EXPORTED_SENSITIVE, words("under_10k over_10k"))


def months_between(since: date, today: date) -> int:
    """Return the whole calendar months that have passed; negative if `since` lies ahead."""
    return (today.year - since.year) * 12 + today.month - since.month - (today.day < since.day)


def opt_out_class(opted_out_on: date | None, today: date | None) -> str:
    """Return the age of the opt-out; without today's date it is taken to be recent."""
    if opted_out_on is None:
        return "none"
    names = words("under_12m over_12m")
    return names[0] if today is None else _band(months_between(opted_out_on, today), _MONTHS[1:], names)


def refusal_class(refused_on: date | None, today: date | None, *, refused: bool) -> str:
    """Return the age of the refusal; one without a date is recent: nobody is asked again because a date was lost."""
    if refused_on is None:
        return "under_6m" if refused else "none"
    names = words("under_6m 6m_to_12m over_12m")
    return names[0] if today is None else _band(months_between(refused_on, today), _MONTHS, names)


def confirmation_class(minutes_since_revocation: int | None, *, sent: bool) -> str:
    """Return whether the one confirmation of a revocation may still be sent."""
    if minutes_since_revocation is None:
        return "none"
    if sent:
        return "sent"
    return "due" if 0 <= minutes_since_revocation <= CONFIRMATION_MINUTES else "late"


def contacts_class(contacts: int) -> str:
    """Return the class of the contacts on the same subject within 24 hours."""
    return _band(contacts, (STATE_CAP,), words("under_3 3_or_more"))


def collected_class(on: date | None) -> str:
    """Return whether the address was collected before the charity soft opt-in commenced."""
    if on is None:
        return "unknown"
    return "since_2026_02_05" if on >= CHARITY_SOFT_OPT_IN else "before_2026_02_05"
