"""Who the demo's people are: one invented person for every real household, and the leads of a partner.

The generator is deterministic: the same households and the same instant give the same people, byte for byte. The
residency, the age and what someone agreed to (`Profile`) are drawn per person; the first households that no campaign
wrote to play fixed parts (`PARTS`), so that the story can ask about people of whom it knows what must come out.

Every value of a `Person` is in normal form (E.164, lower-case e-mail, ISO date): what `dirt` makes of it must be
brought back to this by the gateway.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.cli.demo.names import NAMES, Pool, fictional_phone

UNKNOWN = ""  # residency: not known, so the strictest rules hold
OPT_OUT_COUNTRIES = frozenset({"US-CA", "US-FL"})  # marketing e-mail needs no prior yes: 15 USC 7704


class Profile(StrEnum):
    """How someone's consent to direct marketing by e-mail came about; `histories` turns it into consent events."""

    GIVEN = "given"
    TWO_STEP = "two_step"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    IMPORTED = "imported"
    REGRANTED = "regranted"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    PENDING = "pending"
    SILENT = "silent"
    GUARDIAN = "guardian"
    NO_GUARDIAN = "no_guardian"


class Choice(StrEnum):
    """A choice of a person beside consent, as the API spells it."""

    OBJECTION = "objection"
    RESTRICTION = "restriction"
    SALE_SHARE_OPT_OUT = "sale_share_opt_out"
    LIMIT_SENSITIVE = "limit_sensitive"
    GPC = "gpc"
    PERSONALISATION_REFUSED = "personalisation_refused"


AGREED = frozenset(
    {Profile.GIVEN, Profile.TWO_STEP, Profile.EXPIRING, Profile.IMPORTED, Profile.REGRANTED, Profile.GUARDIAN}
)
SAID_NO = frozenset({Profile.REFUSED, Profile.WITHDRAWN})
NO_YES = SAID_NO | {Profile.EXPIRED, Profile.PENDING, Profile.SILENT}


@dataclass(frozen=True, slots=True)
class Person:
    """One invented person; `member_no`, `email` and `phone` are in normal form or None where there is none."""

    member_no: str | None
    email: str | None
    phone: str | None
    country: str
    given_name: str
    family_name: str
    birth_date: str  # ISO; "" where not known
    language: str
    profile: Profile
    choices: tuple[Choice, ...] = ()
    household_size: int | None = None

    @property
    def key(self) -> str:
        """The label of this person's own dice."""
        return self.member_no or self.email or ""

    @property
    def stops_marketing(self) -> bool:
        """Whether the person said no: no marketing e-mail under any law of the demo."""
        return self.profile in SAID_NO or bool({Choice.OBJECTION, Choice.RESTRICTION} & set(self.choices))

    @property
    def lacks_opt_in(self) -> bool:
        """Whether marketing e-mail needs a prior yes where the person lives, and there is none that stands."""
        return self.country not in OPT_OUT_COUNTRIES and self.profile in NO_YES


@dataclass(frozen=True, slots=True)
class Crowd:
    """All people: `members` one per household in the order given, `leads` from a partner, `parts` by part name."""

    members: tuple[Person, ...]
    leads: tuple[Person, ...]
    parts: Mapping[str, Person]


@dataclass(frozen=True, slots=True)
class Part:
    """A fixed part in the story."""

    name: str
    country: str
    profile: Profile
    choices: tuple[Choice, ...] = ()
    age: int = 41


PARTS = (
    Part("de_yes", "DE", Profile.TWO_STEP),
    Part("de_silent", "DE", Profile.SILENT),
    Part("de_withdrawn", "DE", Profile.WITHDRAWN),
    Part("de_minor", "DE", Profile.NO_GUARDIAN, age=14),
    Part("us_silent", "US-CA", Profile.SILENT),
    Part("us_gpc", "US-CA", Profile.SILENT, (Choice.GPC,)),
    Part("cn_yes", "CN", Profile.GIVEN),
    Part("cn_silent", "CN", Profile.SILENT),
    Part("unknown_silent", UNKNOWN, Profile.SILENT),
)

_COUNTRIES = (("DE", 31), ("FR", 13), ("GB", 12), ("US-CA", 16), ("US-FL", 8), ("CN", 14), (UNKNOWN, 6))
_PROFILES = (
    (Profile.GIVEN, 36),
    (Profile.TWO_STEP, 10),
    (Profile.EXPIRING, 6),
    (Profile.EXPIRED, 5),
    (Profile.IMPORTED, 5),
    (Profile.REGRANTED, 4),
    (Profile.WITHDRAWN, 9),
    (Profile.REFUSED, 8),
    (Profile.PENDING, 5),
    (Profile.SILENT, 12),
)
_MINOR_PROFILES = ((Profile.GUARDIAN, 50), (Profile.NO_GUARDIAN, 50))
_CHOICES: dict[str, tuple[tuple[Choice, int], ...]] = {
    "US-CA": ((Choice.SALE_SHARE_OPT_OUT, 9), (Choice.GPC, 6), (Choice.LIMIT_SENSITIVE, 4), (Choice.OBJECTION, 1)),
    "US-FL": ((Choice.SALE_SHARE_OPT_OUT, 5), (Choice.GPC, 3)),
    "CN": ((Choice.PERSONALISATION_REFUSED, 6), (Choice.RESTRICTION, 1)),
}
_EUROPEAN_CHOICES = ((Choice.OBJECTION, 5), (Choice.RESTRICTION, 2))
_DOMAINS = ("example.com", "example.net", "example.org")


def member_no(household: int) -> str:
    """Return the member number of a household: `HH0042`."""
    return f"HH{household:04d}"


def make(households: Sequence[int], now: datetime, *, contacted: Collection[int], sizes: Mapping[int, int]) -> Crowd:
    """Invent one person for every household, and one lead for every fifty of them.

    `contacted` are the households that some campaign wrote to; `sizes` the household sizes that are known. `now`
    (UTC) fixes the ages. Raises ValueError when there are too few households without a campaign to play the parts.
    """
    quiet = [h for h in households if h not in contacted]
    if len(quiet) < len(PARTS):
        raise ValueError(f"the story needs {len(PARTS)} households that no campaign wrote to")
    parts = dict(zip(quiet, PARTS, strict=False))
    phones: Counter[str] = Counter()
    members = tuple(_member(h, parts.get(h), now.date(), phones, sizes.get(h)) for h in households)
    by_number = {person.member_no: person for person in members}
    cast = {part.name: by_number[member_no(household)] for household, part in parts.items()}
    return Crowd(members, tuple(_leads(max(2, len(members) // 50))), cast)


def _member(household: int, part: Part | None, today: date, phones: Counter[str], size: int | None) -> Person:
    number = member_no(household)
    dice = Dice(number)
    country = dice.weighted(_COUNTRIES)
    minor = dice.chance(3)
    age = dice.between(10, 17) if minor else dice.between(19, 88)
    profile = dice.weighted(_MINOR_PROFILES if minor else _PROFILES)
    choices = _choices(dice, country)
    if part is not None:
        country, profile, choices, age = part.country, part.profile, part.choices, part.age
    pool = dice.pick(NAMES[country])
    given = dice.pick(pool.given)
    phones[country] += 1
    return Person(
        member_no=number,
        email=None if part is None and dice.chance(4) else f"{_local(given)}.{number.lower()}@{dice.pick(_DOMAINS)}",
        phone=None if dice.chance(10) else fictional_phone(country, phones[country]),
        country=country,
        given_name=given,
        family_name=dice.pick(pool.family),
        birth_date=_birth(dice, age, today) if part is not None or minor or dice.chance(85) else "",
        language=_language(pool, country),
        profile=profile,
        choices=choices,
        household_size=size,
    )


def _choices(dice: Dice, country: str) -> tuple[Choice, ...]:
    offered = _CHOICES.get(country, _EUROPEAN_CHOICES)
    return tuple(choice for choice, percent in offered if dice.chance(percent))


def _birth(dice: Dice, age: int, today: date) -> str:
    """Return a birth date that makes the person `age` years old for at least a month to come."""
    days = age * 365 + age // 4 + dice.between(1, 330)
    return (today - timedelta(days=days)).isoformat()


def _language(pool: Pool, country: str) -> str:
    return {"CN": "zh", "DE": "de", "FR": "fr"}.get(country, pool.language)


def _local(given: str) -> str:
    """Return an ASCII local part for a name; names that have no Latin letters write `member`."""
    plain = unicodedata.normalize("NFKD", given).encode("ascii", "ignore").decode().lower()
    return "".join(c for c in plain if c.isalnum()) or "member"


def _leads(count: int) -> Iterable[Person]:
    """Yield people whom a partner sold us: an address, a country, no relation and no consent."""
    for n in range(1, count + 1):
        dice = Dice(f"lead/{n}")
        country = dice.pick(("DE", "FR", "GB", "CN"))
        pool = dice.pick(NAMES[country])
        given = dice.pick(pool.given)
        yield Person(
            member_no=None,
            email=f"{_local(given)}.lead{n:04d}@{dice.pick(_DOMAINS)}",
            phone=None,
            country=country,
            given_name=given,
            family_name=dice.pick(pool.family),
            birth_date="",
            language=pool.language,
            profile=Profile.SILENT,
        )
