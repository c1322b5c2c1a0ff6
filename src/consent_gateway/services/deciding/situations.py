"""From a class of people to what the law needs to know of them: the only translation from rows to the law.

A row holds quantised values (`domain.audiences.ClassKey`); the law quantises once more. Where a class stands for many
values (a day of an opt-out, a minute since a revocation), a value out of the class is put to the law, and a test holds
the two quantisations together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from consent_gateway.domain.audiences import (
    CAPPED,
    CODE_STATES,
    COVERED,
    OUTDATED_NOTICE,
    THREE_IN_24H,
    UNKNOWN_AGE,
    ClassKey,
)
from consent_gateway.domain.caps import candidate_zones, local_minutes
from consent_gateway.domain.circumstances import (
    CHARITY_DAY,
    CONFIRM_SECONDS,
    LATE,
    NONE,
    OLDER,
    OLDEST,
    RECENT,
    REFUSAL_SHIFT,
    SENT,
    PointFact,
    Recency,
    months_ago,
)
from consent_gateway.domain.consents import ConsentProperty
from consent_gateway.domain.scopes import PROPERTY_MASK
from consent_gateway.domain.subjects import CHOICE_FLAG, LOYALTY, SUPPRESSED_BY, Choice, Flag, split_regions
from consent_gateway.policies.facts import Situation, Suppressed
from consent_gateway.services.deciding.law import day_of

_MINUTE = 60
_SUPPRESSING = Flag(sum(SUPPRESSED_BY.values()))


def situation(key: ClassKey, recency_read: Recency, sensitive: tuple[str, ...], now: int) -> Situation:
    """Return what the law needs to know of a class at `now` for a use that involves `sensitive` categories."""
    flags, facts = Flag(key.flags), PointFact(key.facts)
    regions = split_regions(key.regions)
    today = day_of(now)
    recency = _Recent.of(recency_read, key.recency, now, today)
    return Situation(
        regions=regions,
        age=None if key.age == UNKNOWN_AGE else key.age,
        consent=CODE_STATES[key.consent],
        properties=ConsentProperty(key.properties & PROPERTY_MASK),
        scope_recipient=bool(key.properties & COVERED),
        notice_outdated=bool(key.properties & OUTDATED_NOTICE),
        objection=_on(flags, Choice.OBJECTION),
        restriction=_on(flags, Choice.RESTRICTION),
        sale_share_opt_out=_on(flags, Choice.SALE_SHARE_OPT_OUT),
        limit_sensitive=_on(flags, Choice.LIMIT_SENSITIVE),
        gpc=_on(flags, Choice.GPC),
        gpc_seen_before=bool(flags & Flag.GPC_SEEN),
        corporate=bool(facts & PointFact.CORPORATE),
        do_not_call=_on(flags, Choice.DO_NOT_CALL),
        deletion="pending_technical" if _on(flags, Choice.DELETION_PENDING) else "none",
        loyalty=_loyalty(flags),
        collected_in_sale=bool(facts & PointFact.IN_SALE),
        opt_out_offered=bool(facts & PointFact.OPT_OUT_OFFERED),
        expressed_interest=bool(facts & PointFact.INTEREST),
        collected_on=_collected(facts),
        personalisation_refused=_on(flags, Choice.PERSONALISATION_REFUSED),
        sensitive=sensitive,
        suppressed=_suppressed(flags),
        capped=bool(key.caps & CAPPED),
        contacts_24h=3 if key.caps & THREE_IN_24H else 0,
        local_minutes=local_minutes(now, candidate_zones(regions)),
        today=today,
        opted_out_on=recency.opted_out_on,
        refused_on=recency.refused_on,
        minutes_since_revocation=recency.minutes,
        confirmation_sent=recency.sent,
    )


@dataclass(frozen=True, slots=True)
class _Recent:
    """A day or minute out of each class of recency: what the law then quantises again, to the same class."""

    opted_out_on: date | None = None
    refused_on: date | None = None
    minutes: int | None = None
    sent: bool = False

    @classmethod
    def of(cls, recency: Recency, code: int, now: int, today: date) -> _Recent:
        """Return what stands for `code` at `now`."""
        if code == NONE:
            return _LONG_SILENT
        if recency is Recency.ASKING:
            opted, refused = code & 3, code >> REFUSAL_SHIFT
            opted_days = {RECENT: today, OLDER: _day_before(months_ago(now, 12))}
            refused_days = {
                RECENT: today,
                OLDER: _day_before(months_ago(now, 6)),
                OLDEST: _day_before(months_ago(now, 12)),
            }
            return cls(opted_days.get(opted), refused_days.get(refused))
        return cls(minutes=CONFIRM_SECONDS // _MINUTE + (code == LATE), sent=code == SENT)


_LONG_SILENT = _Recent()


def _day_before(bound: int) -> date:
    return day_of(bound - 1)


def _loyalty(flags: Flag) -> str:
    for choice, stage in zip(reversed(LOYALTY), ("affirmed", "asked", "participant"), strict=True):
        if _on(flags, choice):
            return stage
    return "none"


def _collected(facts: PointFact) -> date | None:
    if facts & PointFact.BEFORE_CHARITY_DAY:
        return CHARITY_DAY - timedelta(days=1)
    return CHARITY_DAY if facts & PointFact.SINCE_CHARITY_DAY else None


def _suppressed(flags: Flag) -> Suppressed:
    if _on(flags, Choice.NO_CONTACT):
        return Suppressed.ALL
    return Suppressed.MARKETING if flags & _SUPPRESSING else Suppressed.NO


def _on(flags: Flag, choice: Choice) -> bool:
    return bool(flags & CHOICE_FLAG[choice])
