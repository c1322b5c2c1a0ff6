"""Made-up people with a realistic mix: six residencies, ages, consent in every state, traits, choices, contacts.

Every person is a function of their number alone, so that each run measures the same people. Nobody here exists; the
phone numbers have valid forms, are kept in stores that are removed at the end, and are never called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.domain.consents import FOREVER, NEVER, PENDING, REFUSED, WITHDRAWN, ConsentProperty
from consent_gateway.domain.subjects import Flag, month_of

SEED = "consent-gateway/bench/people/1"
DAY = 86_400
REGIONS = (("DE", 24), ("FR", 16), ("GB", 16), ("US-CA", 16), ("US-TX", 12), ("CN", 16))
TIERS = (("basic", 62), ("silver", 25), ("gold", 10), ("platinum", 3))
TRAITS = (("purchase_count", "integer"), ("last_purchase", "date"), ("tier", "text"))
CAPPED_CHANNELS = ("email", "sms")
_PLAIN = int(ConsentProperty.AFFIRMATIVE | ConsentProperty.EVIDENCE)
_SEPARATE = _PLAIN | int(ConsentProperty.SEPARATE)
_WRITTEN = _PLAIN | int(ConsentProperty.WRITTEN)
_STATES = ((1, 52), (NEVER, 26), (WITHDRAWN, 11), (REFUSED, 7), (PENDING, 2), (2, 2))  # 1: given, 2: expired
_PROPERTIES = ((_PLAIN, 60), (_SEPARATE, 30), (_WRITTEN, 10))
_FLAGS = (
    (Flag.HAS_EMAIL, 91),
    (Flag.HAS_PHONE, 58),
    (Flag.HAS_DEVICE, 27),
    (Flag.OBJECTION, 3),
    (Flag.SUPPRESSED_EMAIL, 2),
    (Flag.PERSONALISATION_REFUSED, 2),
    (Flag.RESTRICTION, 1),
)
_OPT_OUTS = ((Flag.GPC, 14), (Flag.SALE_SHARE_OPT_OUT, 9))  # in the United States
_MOBILE = {"DE": "+49151", "FR": "+336", "GB": "+447400", "US-CA": "+1213", "US-TX": "+1214", "CN": "+86139"}
_DIGITS = {"DE": 8, "FR": 8, "GB": 6, "US-CA": 7, "US-TX": 7, "CN": 8}


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a store keeps what a person has: the column of each trait, the slots that are enabled, and the instant."""

    traits: Mapping[str, str]
    slots: Sequence[int]
    now: int

    def names(self) -> list[str]:
        """Return the columns of the audience row that `row` fills, in its order."""
        contacts = [f"{channel}_{k}" for channel in CAPPED_CHANNELS for k in (1, 2, 3)]
        consents = [f"{letter}{slot}" for slot in self.slots for letter in "cp"]
        traits = [self.traits[name] for name, _ in TRAITS]
        return ["subject_id", "regions", "birth_month", "flags", "last_activity", *traits, *consents, *contacts]

    def row(self, number: int) -> tuple[Any, ...]:
        """Return the audience row of the person with a number."""
        dice = Dice(str(number), SEED)
        region = dice.weighted(REGIONS)
        born = None if dice.chance(6) else month_of(self.now) - dice.between(12 * 12, 80 * 12)
        active = self.now - dice.below(dice.between(1, 500)) * DAY - dice.below(DAY)
        purchases = dice.below(dice.between(1, 60))
        return (
            number,
            region,
            born,
            _flags(dice, region),
            active,
            purchases,
            active if purchases else None,
            dice.weighted(TIERS),
            *self._consents(dice),
            *(at for _ in CAPPED_CHANNELS for at in self._contacts(dice)),
        )

    def _consents(self, dice: Dice) -> list[int]:
        values: list[int] = []
        properties = dice.weighted(_PROPERTIES)
        for _ in self.slots:
            state = dice.weighted(_STATES)
            until = {1: FOREVER if dice.chance(70) else self.now + 200 * DAY, 2: self.now - 9 * DAY}.get(state, state)
            values += [until, properties if until > 0 else 0]
        return values

    def _contacts(self, dice: Dice) -> list[int | None]:
        """Return the three newest contacts on a channel, newest first; a tenth are at the cap."""
        newest = self.now - dice.between(1, 12) * DAY if dice.chance(60) else None
        if newest is None:
            return [None, None, None]
        step = dice.between(1, 5) * DAY
        return [newest, newest - step, newest - 2 * step if dice.chance(50) else None]


def _flags(dice: Dice, region: str) -> int:
    flags = Flag(0)
    for flag, percent in (*_FLAGS, *(_OPT_OUTS if region.startswith("US") else ())):
        if dice.chance(percent):
            flags |= flag
    return int(flags)


@dataclass(frozen=True, slots=True)
class Customer:
    """A row to import: five fields, of which two or three identify."""

    number: int
    member_no: str
    email: str
    phone: str
    country: str
    family_name: str

    @property
    def identifiers(self) -> dict[str, str]:
        """The identifiers by kind, in normal form."""
        given = {"member_no": self.member_no, "email": self.email, "phone": self.phone}
        return {kind: value for kind, value in given.items() if value}


FIELDS = ("member_no", "email", "phone", "country", "family_name")
_FAMILY = ("Müller", "Lefèvre", "Smith", "García", "Johnson", "王", "O'Neill", "Weiß", "Núñez", "陈")


def customer(number: int) -> Customer:
    """Return the customer with a number; every second one has a phone."""
    dice = Dice(f"customer {number}", SEED)
    region = dice.weighted(REGIONS)
    digits = _DIGITS[region]
    # The first digit after an American area code is 2 to 9.
    local = (2 * 10 ** (digits - 1) if region.startswith("US") else 0) + number % 10 ** (digits - 1)
    phone = f"{_MOBILE[region]}{local:0{digits}d}" if number % 2 else ""
    return Customer(number, f"M{number:09d}", f"person.{number}@example.com", phone, region, dice.pick(_FAMILY))


def csv_body(customers: Sequence[Customer]) -> bytes:
    """Return customers as a CSV with a header."""
    lines = [",".join(FIELDS)]
    lines += [",".join(str(getattr(c, name)) for name in FIELDS) for c in customers]
    return ("\n".join(lines) + "\n").encode()
