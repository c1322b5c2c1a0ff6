"""How a contact point came to us and whose it is, as sources tell it; and when a person last said no.

A *circumstance* is an append-only fact of one source about one contact point of a person: that it belongs to a company
or to an individual, that it was obtained in a sale, that an opt-out was offered then, that the person had expressed
interest, and when it was collected. Folding them is conservative, because most of them open a door (ePD Art 13(2),
PECR reg 22): what one source says last about a thing is what it says; a thing holds for a contact point if a source
says so and none says the opposite; and it holds for a person on a channel if it holds for every contact point that the
channel could write to. Only a source of our own can say that *we* obtained an address in a sale ("the same natural or
legal person"). Nothing here outweighs a no.

*Recency* is how long ago a person opted out, refused, or revoked: classes whose bounds some law knows, as integers, so
that a scan can group by them. Months are calendar months in UTC, as in `policies.classes`.
"""

from __future__ import annotations

import calendar
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import IntFlag, StrEnum
from functools import lru_cache

from consent_gateway.domain.purposes import Channel

CHARITY_DAY = date(2026, 2, 5)  # DUAA 2025 s.114, SI 2026/82; `policies.classes` has the same day, a test compares
CONFIRM_SECONDS = 300  # 47 CFR 64.1200(a)(12)
NONE, RECENT, OLDER, OLDEST = 0, 1, 2, 3
DUE, LATE, SENT = 1, 2, 3
REFUSAL_SHIFT = 2  # the refusal stands above the two bits of the opt-out
DAY = 86_400


class Subscriber(StrEnum):
    """Whose line or mailbox a contact point is (PECR reg 2(1)): sole traders are individuals."""

    INDIVIDUAL = "individual"
    CORPORATE = "corporate"


class PointFact(IntFlag):
    """What holds for every contact point of a kind: the bits of the audience row."""

    CORPORATE = 1
    IN_SALE = 2
    OPT_OUT_OFFERED = 4
    INTEREST = 8
    BEFORE_CHARITY_DAY = 16  # for one contact point at least
    SINCE_CHARITY_DAY = 32


COLLECTION = (
    PointFact.IN_SALE
    | PointFact.OPT_OUT_OFFERED
    | PointFact.INTEREST
    | PointFact.BEFORE_CHARITY_DAY
    | PointFact.SINCE_CHARITY_DAY
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a row says about the contact points in it; None: nothing. `collected_day` counts days since 1970."""

    subscriber: Subscriber | None = None
    in_sale: bool | None = None
    opt_out_offered: bool | None = None
    expressed_interest: bool | None = None
    collected_day: int | None = None


@dataclass(frozen=True, slots=True)
class Circumstance:
    """One fact: what `source` told about a contact point, in the order of arrival."""

    contact_point: int
    source: str
    told: Told


def point_facts(facts: Iterable[Circumstance], points: Sequence[int], own: Collection[str]) -> PointFact:
    """Return what holds for all of `points`; `own` are our own sources, `facts` are in the order of their arrival."""
    by_point: dict[int, dict[str, Told]] = {point: {} for point in points}
    for fact in facts:
        said = by_point.get(fact.contact_point)
        if said is not None:
            said[fact.source] = _later(said.get(fact.source, Told()), fact.told)
    found = [_of_point(said, own) for said in by_point.values()]
    if not found:
        return PointFact(0)
    shared = found[0]
    for one in found[1:]:
        shared &= one
    before = PointFact(0)
    for one in found:
        before |= one & PointFact.BEFORE_CHARITY_DAY
    return (shared & ~PointFact.SINCE_CHARITY_DAY) | before if before else shared


def _later(held: Told, new: Told) -> Told:
    return Told(
        held.subscriber if new.subscriber is None else new.subscriber,
        held.in_sale if new.in_sale is None else new.in_sale,
        held.opt_out_offered if new.opt_out_offered is None else new.opt_out_offered,
        held.expressed_interest if new.expressed_interest is None else new.expressed_interest,
        held.collected_day if new.collected_day is None else new.collected_day,
    )


later = _later


def _of_point(said: dict[str, Told], own: Collection[str]) -> PointFact:
    subscribers = {told.subscriber for told in said.values()} - {None}
    facts = PointFact.CORPORATE if subscribers == {Subscriber.CORPORATE} else PointFact(0)
    for name, bit in (
        ("in_sale", PointFact.IN_SALE),
        ("opt_out_offered", PointFact.OPT_OUT_OFFERED),
        ("expressed_interest", PointFact.INTEREST),
    ):
        yes = any(getattr(told, name) for source, told in said.items() if source in own)
        if yes and all(getattr(told, name) is not False for told in said.values()):
            facts |= bit
    days = [told.collected_day for told in said.values() if told.collected_day is not None]
    if days:
        since = min(days) >= _CHARITY_NUMBER
        facts |= PointFact.SINCE_CHARITY_DAY if since else PointFact.BEFORE_CHARITY_DAY
    return facts


def day_number(day: date) -> int:
    """Return a day as days since 1970-01-01."""
    return day.toordinal() - _EPOCH


_EPOCH = date(1970, 1, 1).toordinal()
_CHARITY_NUMBER = CHARITY_DAY.toordinal() - _EPOCH


class Recency(StrEnum):
    """What a question needs to know about past noes: nothing, when to ask again, or whether to confirm one."""

    NOTHING = "nothing"
    ASKING = "asking"
    CONFIRMING_EMAIL = "confirming_email"
    CONFIRMING_PHONE = "confirming_phone"


RECENCY_COLUMNS: dict[Recency, tuple[str, ...]] = {
    Recency.NOTHING: (),
    Recency.ASKING: ("opted_out_at", "refused_at"),
    Recency.CONFIRMING_EMAIL: ("revoked_email", "confirmed_email"),
    Recency.CONFIRMING_PHONE: ("revoked_phone", "confirmed_phone"),
}
MEDIA: dict[Channel, str] = {Channel.EMAIL: "email", Channel.SMS: "phone", Channel.CALL: "phone"}


def recency_code(recency: Recency, instants: Sequence[int | None], now: int) -> int:
    """Return the class of the two instants that `recency` reads, at `now` (seconds)."""
    if recency is Recency.NOTHING:
        return NONE
    first, second = instants
    if recency is Recency.ASKING:
        return age_code(first, (None, months_ago(now, 12))) | (
            age_code(second, (months_ago(now, 6), months_ago(now, 12))) << REFUSAL_SHIFT
        )
    if first is None:
        return NONE
    if second is not None and second >= first:
        return SENT
    return DUE if now - first <= CONFIRM_SECONDS else LATE


def age_code(at: int | None, bounds: tuple[int | None, int]) -> int:
    """Return `NONE`, `RECENT`, `OLDER` (before the first bound, if there is one) or `OLDEST`; see `months_ago`."""
    if at is None:
        return NONE
    older, oldest = bounds
    if at < oldest:
        return OLDEST if older is not None else OLDER
    return OLDER if older is not None and at < older else RECENT


def months_ago(now: int, months: int) -> int:
    """Return the bound before which `months` whole calendar months have passed: an instant at or after it is recent."""
    return _months_before(now // DAY, months)


@lru_cache(maxsize=64)
def _months_before(today: int, months: int) -> int:
    day = datetime.fromtimestamp(today * DAY, UTC).date()
    index = day.year * 12 + day.month - 1 - months
    year, month = index // 12, index % 12 + 1
    last = min(day.day, calendar.monthrange(year, month)[1])
    return (day_number(date(year, month, last)) + 1) * DAY
