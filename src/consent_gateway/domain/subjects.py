"""A natural person, as far as anything outside the vault may know: where, how old, what they chose.

Regions are the candidate residencies (ISO 3166-1 alpha-2, or `US-CA` for a US state); several are kept when
sources disagree, none when nothing is known: the law of every candidate applies (LAW part 2). Of the birth date only
the month leaves the vault; age is computed from it so that nobody is taken for older than they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
    """A right that a person exercised by a switch: on, and possibly off again later.

    The last ones are no rights but switches all the same: what a register, a regulator or a loyalty programme says.
    """

    OBJECTION = "objection"  # GDPR Art 21(2)
    RESTRICTION = "restriction"  # GDPR Art 18
    SALE_SHARE_OPT_OUT = "sale_share_opt_out"  # Civ. Code 1798.120
    LIMIT_SENSITIVE = "limit_sensitive"  # Civ. Code 1798.121
    GPC = "gpc"  # 11 CCR 7025; absence later is not an opt-in
    PERSONALISATION_REFUSED = "personalisation_refused"  # PIPL Art 24(2)
    DO_NOT_CALL = (
        "do_not_call"  # on a register such as TPS, CTPS or the DNC registry: PECR reg 21, 47 CFR 64.1200(c)(2)
    )
    NO_CONTACT = "no_contact"  # nothing at all may be sent: a regulator's list, a hard bounce, the deceased
    DELETION_PENDING = "deletion_pending"  # due, but technically hard: storage and protection alone, PIPL Art 47(2)
    LOYALTY_PARTICIPANT = "loyalty_participant"  # of a programme that a signal conflicts with: 11 CCR 7025(c)(4)
    LOYALTY_ASKED = "loyalty_asked"  # was told of the conflict and asked
    LOYALTY_AFFIRMED = "loyalty_affirmed"  # affirmed after being asked


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
    DO_NOT_CALL = 2048
    NO_CONTACT = 4096
    DELETION_PENDING = 8192
    LOYALTY_PARTICIPANT = 16384
    LOYALTY_ASKED = 32768
    LOYALTY_AFFIRMED = 65536
    GPC_SEEN = 131072  # the signal was on once: its absence later is not an opt-in


CHOICE_FLAG = {choice: Flag[choice.name] for choice in Choice}
CHOICE_FLAGS = Flag(sum(CHOICE_FLAG.values()) | Flag.GPC_SEEN)
LOYALTY = (Choice.LOYALTY_PARTICIPANT, Choice.LOYALTY_ASKED, Choice.LOYALTY_AFFIRMED)
LOYALTY_FLAGS = Flag(sum(CHOICE_FLAG[choice] for choice in LOYALTY))
# After these a business waits before it asks again: Civ. Code 1798.135(c)(4).
OPT_OUT_CHOICES = (Choice.SALE_SHARE_OPT_OUT, Choice.LIMIT_SENSITIVE, Choice.GPC)
FLAG_BITS = max(Flag).bit_length()


def fold_choices(events: Iterable[tuple[Choice, bool, int]]) -> Flag:
    """Return the choices of one person that are on, from `(choice, active, at)` in any order.

    The latest of each decides; of two at one instant the one that is on, for what opens a door (the loyalty
    programme) the one that is off. An affirmation counts only for participants, and not before they were asked.
    """
    said: dict[Choice, tuple[int, bool]] = {}
    flags = Flag(0)
    for choice, active, at in events:
        if choice is Choice.GPC and active:
            flags |= Flag.GPC_SEEN
        when, held = said.get(choice, (at, active))
        if at == when:
            said[choice] = at, (held and active if choice in LOYALTY else held or active)
        elif at > when:
            said[choice] = at, active
    on = {choice: at for choice, (at, active) in said.items() if active}
    for choice in on.keys() - set(_uncounted(on)):
        flags |= CHOICE_FLAG[choice]
    return flags


def _uncounted(on: Mapping[Choice, int]) -> Iterator[Choice]:
    """Yield the steps of a loyalty programme that lack the step before them."""
    participant, asked, affirmed = LOYALTY
    if participant not in on:
        yield asked
    if participant not in on or asked not in on or on[asked] > on.get(affirmed, on[asked]):
        yield affirmed


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


# What systems write where they have no identifier; taken for one, it would make strangers one person.
_PLACEHOLDERS = frozenset(
    ("null", "none", "nil", "nan", "na", "undefined", "unknown", "unset", "notset", "anonymous", "noemail", "nomail")
)


_TELLING_DIGIT = re.compile("[1-9]")


def is_placeholder(kind: str, value: str) -> bool:
    """Tell whether a normalised identifier stands for "none": only zeros or signs, -1, or a word such as null."""
    text = value.partition("@")[0] if kind == IdentifierKind.EMAIL else value
    if _TELLING_DIGIT.search(text):  # the short way for most: no word has one, and then it is not all zeros
        return text == "-1"
    core = "".join(char for char in text.casefold() if char.isalnum())
    return core in _PLACEHOLDERS or text == "-1" or not core.strip("0")


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
