"""Global Privacy Control (W3C draft of 2026-04-03): the `Sec-GPC` field, and `/.well-known/gpc.json` of a site.

The field counts only as exactly `1`. Several fields: one that is exactly `1` is enough. A recipient may join fields of
one name with commas (RFC 9110 5.2), so a member of such a list that is exactly `1` counts too: the draft is silent, and
an opt-out that an intermediary folded is still an opt-out (11 CCR 7025(c)). Nothing else means anything, and absence
later takes nothing back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

FIELD = "sec-gpc"
_ON = "1"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_JSON = "application/json"


class Support(StrEnum):
    """What a site says about honouring the signal."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class GpcSignal:
    """One value of the field; `on` is an opt-out, anything else is no signal at all."""

    on: bool


@dataclass(frozen=True, slots=True)
class WellKnown:
    """What `/.well-known/gpc.json` says; `last_update` as written, None where it is absent or not an instant."""

    support: Support
    last_update: str | None = None


def says_opt_out(values: Iterable[str]) -> bool:
    """Tell whether the values of the `Sec-GPC` fields of one request carry the signal."""
    return any(member.strip(" \t") == _ON for value in values for member in value.split(","))


def read_well_known(content_type: str, body: object) -> WellKnown:
    """Return what a site's resource says; `body` is its JSON value. Unknown members are ignored."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != _JSON or not isinstance(body, dict):
        return WellKnown(Support.UNKNOWN)
    said = body.get("gpc")
    support = {True: Support.YES, False: Support.NO}[said] if isinstance(said, bool) else Support.UNKNOWN
    return WellKnown(support, _instant(body.get("lastUpdate")))


def _instant(value: object) -> str | None:
    """Return an RFC 3339 date or date-time as it is written, None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        if _DATE.fullmatch(value):
            date.fromisoformat(value)
            return value
        found = _DATE_TIME.fullmatch(value)
        if found is None:
            return None
        # A leap second is a valid time of RFC 3339, and datetime knows none.
        day, time, _, offset = found.groups()
        datetime.fromisoformat(f"{day}T{time.replace(':60', ':59')}{offset.upper()}")
    except ValueError:
        return None
    return value
