"""A natural person, as far as anything outside the vault may know: where, how old, what they chose.

Regions are the candidate residencies (ISO 3166-1 alpha-2, or `US-CA` for a US state); several are kept when
sources disagree, none when nothing is known: the law of every candidate applies (LAW part 2). Of the birth date only
the month leaves the vault; age is computed from it so that nobody is taken for older than they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import IntFlag, StrEnum

from consent_gateway.domain.purposes import Channel

UNKNOWN_REGION = ""
MAX_REGIONS = 8
_MONTHS = 12


class IdentifierKind(StrEnum):
    """What identifies a person; the first two are also contact points."""

    EMAIL = "email"
    PHONE = "phone"
    DEVICE_ID = "device_id"
    OPENID = "openid"
    MEMBER_NO = "member_no"


class Choice(StrEnum):
    """A right that a person exercised by a switch: on, and possibly off again later."""

    OBJECTION = "objection"  # GDPR Art 21(2)
    RESTRICTION = "restriction"  # GDPR Art 18
    SALE_SHARE_OPT_OUT = "sale_share_opt_out"  # Civ. Code 1798.120
    LIMIT_SENSITIVE = "limit_sensitive"  # Civ. Code 1798.121
    GPC = "gpc"  # 11 CCR 7025; absence later is not an opt-in
    PERSONALISATION_REFUSED = "personalisation_refused"  # PIPL Art 24(2)


class Flag(IntFlag):
    """The bits of the audience row: choices that are on, suppressed and present contact points."""

    OBJECTION = 1
    RESTRICTION = 2
    SALE_SHARE_OPT_OUT = 4
    LIMIT_SENSITIVE = 8
    GPC = 16
    PERSONALISATION_REFUSED = 32
    SUPPRESSED_EMAIL = 64
    SUPPRESSED_PHONE = 128
    HAS_EMAIL = 256
    HAS_PHONE = 512
    HAS_DEVICE = 1024


CHOICE_FLAG = {choice: Flag[choice.name] for choice in Choice}

# What a channel writes to; a channel that is not here needs no contact point of ours.
REACHED_BY: dict[Channel, tuple[IdentifierKind, Flag]] = {
    Channel.EMAIL: (IdentifierKind.EMAIL, Flag.HAS_EMAIL),
    Channel.SMS: (IdentifierKind.PHONE, Flag.HAS_PHONE),
    Channel.CALL: (IdentifierKind.PHONE, Flag.HAS_PHONE),
    Channel.PUSH: (IdentifierKind.DEVICE_ID, Flag.HAS_DEVICE),
    Channel.ONLINE_ADS: (IdentifierKind.EMAIL, Flag.HAS_EMAIL),
}
SUPPRESSED_BY: dict[IdentifierKind, Flag] = {
    IdentifierKind.EMAIL: Flag.SUPPRESSED_EMAIL,
    IdentifierKind.PHONE: Flag.SUPPRESSED_PHONE,
}


def join_regions(regions: Iterable[str]) -> str:
    """Return the stored form of a set of candidate residencies.

    "" when none is known, and also when so many are claimed that none can be believed: the strictest law applies.
    """
    known = sorted({r for r in regions if r})
    return "|".join(known) if len(known) <= MAX_REGIONS else UNKNOWN_REGION


def split_regions(stored: str) -> tuple[str | None, ...]:
    """Return the candidate residencies; `(None,)` when none is known."""
    return tuple(stored.split("|")) if stored else (None,)


def month_of(now: int) -> int:
    """Return the month of an instant (seconds) as `year * 12 + month - 1`, UTC."""
    instant = datetime.fromtimestamp(now, UTC)
    return instant.year * _MONTHS + instant.month - 1


def age_in_month(birth_month: int | None, month: int) -> int | None:
    """Return the age that is certainly reached in `month`; a birthday counts from the month after it."""
    if birth_month is None:
        return None
    return max((month - birth_month - 1) // _MONTHS, 0)


def birth_month(text: str) -> int:
    """Return the month of a date `YYYY-MM-DD`, `YYYY-MM` or `YYYY`; December where only the year is known."""
    parts = text.split("-")
    month = int(parts[1]) if len(parts) > 1 else _MONTHS
    return int(parts[0]) * _MONTHS + month - 1
