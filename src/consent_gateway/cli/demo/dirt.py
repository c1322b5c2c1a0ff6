"""Dirt on purpose: the rows of the input files, spoiled the way real exports are, and what must come of each.

Three files. `customers.csv` (CRM) holds everybody once, then some of them again in another spelling, then rows that
nobody can use; the rows are shuffled. `till.csv` (point of sale) comes after it: members that are known already, and
rows whose identifiers belong to two people. `leads.csv` is a partner's list.

Every row that must be refused carries its `Flaw`; every other row must be accepted or recognised as a repetition.
Nothing may be lost in silence: received = accepted + duplicates + rejected, and the rejected rows are exactly these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from consent_gateway.cli.demo.dice import Dice
from consent_gateway.cli.demo.names import full_width, national
from consent_gateway.cli.demo.people import Crowd, Person

COLUMNS = (
    "member_no",
    "email",
    "phone",
    "country",
    "given_name",
    "family_name",
    "birth_date",
    "language",
    "trait.household_size",
)
Row = dict[str, str]


class Flaw(StrEnum):
    """Why a row must be refused."""

    NO_AT_SIGN = "e-mail without @"
    CONTROL_CHARACTER = "control character in a name"
    NO_SUCH_DAY = "30 February"
    BORN_TOMORROW = "birth date in the future"
    NO_SUCH_COUNTRY = "country XX"
    PHONE_WITHOUT_COUNTRY = "national phone number, no country"
    PHONE_TOO_SHORT = "phone number of four digits"
    EMPTY = "no identifier at all"
    TWO_PEOPLE = "identifiers of two people"

    @property
    def field(self) -> str:
        """The column that the refusal must name; "" where no single column is at fault."""
        return _FIELD.get(self, "")


_FIELD = {
    Flaw.NO_AT_SIGN: "email",
    Flaw.CONTROL_CHARACTER: "given_name",
    Flaw.NO_SUCH_DAY: "birth_date",
    Flaw.BORN_TOMORROW: "birth_date",
    Flaw.NO_SUCH_COUNTRY: "country",
    Flaw.PHONE_WITHOUT_COUNTRY: "phone",
    Flaw.PHONE_TOO_SHORT: "phone",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a file; `flaw` is None where the gateway must take it, `new` where it brings a new person."""

    row: Row
    flaw: Flaw | None = None
    new: bool = False


@dataclass(frozen=True, slots=True)
class SubjectFile:
    """A CSV file of people, the source that it comes from, and what must come of its lines."""

    name: str
    source: str
    lines: tuple[Line, ...]

    @property
    def people(self) -> int:
        """How many new people the file brings."""
        return sum(line.new for line in self.lines)

    @property
    def refused(self) -> dict[int, Flaw]:
        """The lines that must be refused, by their position (0 is the first line after the header)."""
        return {i: line.flaw for i, line in enumerate(self.lines) if line.flaw is not None}


def subject_files(crowd: Crowd, today: date) -> tuple[SubjectFile, ...]:
    """Return the files of the demo in the order in which they must be imported."""
    customers = [Line(clean(p), new=True) for p in crowd.members]
    customers += _repeats(crowd.members) + _broken(crowd.members, today)
    return (
        SubjectFile("customers.csv", "crm", tuple(_shuffled(customers))),
        SubjectFile("till.csv", "pos", tuple(_till(crowd))),
        SubjectFile("leads.csv", "partner_list", tuple(Line(clean(p), new=True) for p in crowd.leads)),
    )


def clean(person: Person) -> Row:
    """Return the row of a person as a tidy export would have it."""
    return {
        "member_no": person.member_no or "",
        "email": person.email or "",
        "phone": person.phone or "",
        "country": person.country,
        "given_name": person.given_name,
        "family_name": person.family_name,
        "birth_date": person.birth_date,
        "language": person.language,
        "trait.household_size": "" if person.household_size is None else str(person.household_size),
    }


def _shuffled(lines: Sequence[Line]) -> list[Line]:
    keys = Dice("shuffle")
    drawn = [(keys.below(2**63), line) for line in lines]
    return [line for _, line in sorted(drawn, key=lambda pair: pair[0])]


# -- the same person again, in another spelling ------------------------------------------------------------------


def _shouted(person: Person) -> Row:
    return clean(person) | {"email": (person.email or "").upper()}


def _spaced(person: Person) -> Row:
    row = clean(person)
    return row | {"email": f"  {row['email']} ", "given_name": f" {row['given_name']}  "}


def _wide(person: Person) -> Row:
    return clean(person) | {"phone": full_width(person.phone or "")}


def _national(person: Person) -> Row:
    return clean(person) | {"phone": national(person.phone or "", person.country)}


def _wide_number(person: Person) -> Row:
    return clean(person) | {"member_no": full_width((person.member_no or "").lower())}


def _email_only(person: Person) -> Row:
    return dict.fromkeys(COLUMNS, "") | {"email": (person.email or "").title()}


def _number_only(person: Person) -> Row:
    return dict.fromkeys(COLUMNS, "") | {"member_no": person.member_no or ""}


_SPELLINGS: tuple[tuple[Callable[[Person], Row], str], ...] = (
    (clean, ""),
    (_shouted, "email"),
    (_spaced, "email"),
    (_wide, "phone"),
    (_national, "phone"),
    (_wide_number, ""),
    (_email_only, "email"),
    (_number_only, ""),
)


def _repeats(people: Sequence[Person]) -> list[Line]:
    """Return one repetition for every twelfth person, in each spelling in turn."""
    lines = []
    for turn, person in enumerate(people[::12]):
        spell, needs = _SPELLINGS[turn % len(_SPELLINGS)]
        if not needs or clean(person)[needs]:
            lines.append(Line(spell(person)))
    return lines


# -- rows that nobody can use ------------------------------------------------------------------------------------


def _broken(people: Sequence[Person], today: date) -> list[Line]:
    """Return every kind of unusable row, one of each for every 400 people and at least one."""
    wrong: tuple[tuple[Flaw, Row], ...] = (
        (Flaw.NO_AT_SIGN, {"email": "nobody.example.com"}),
        (Flaw.CONTROL_CHARACTER, {"given_name": "Eve\x07\x1b[31m"}),
        (Flaw.NO_SUCH_DAY, {"birth_date": "2023-02-30"}),
        (Flaw.BORN_TOMORROW, {"birth_date": (today + timedelta(days=2)).isoformat()}),
        (Flaw.NO_SUCH_COUNTRY, {"country": "XX"}),
        (Flaw.PHONE_WITHOUT_COUNTRY, {"phone": "030 23125999", "country": ""}),
        (Flaw.PHONE_TOO_SHORT, {"phone": "+49 11"}),
    )
    lines = []
    for n in range(max(1, len(people) // 400)):
        empty = dict.fromkeys(COLUMNS, "")
        lines.append(Line(empty | {"given_name": "Nobody"}, Flaw.EMPTY))
        lines.append(Line(empty, Flaw.EMPTY))
        lines += [Line(_stranger(n, flaw) | row, flaw) for flaw, row in wrong]
    return lines


def _stranger(n: int, flaw: Flaw) -> Row:
    """Return a tidy row of a person who must not come into being, because the row is spoiled next."""
    return dict.fromkeys(COLUMNS, "") | {
        "member_no": f"NO-{flaw.name}-{n}".replace("_", "-"),
        "country": "DE",
        "given_name": "Eve",
        "family_name": "Example",
        "language": "en",
    }


# -- the till: known members, and rows that belong to two people -------------------------------------------------


def _till(crowd: Crowd) -> Iterator[Line]:
    quiet = {person.member_no for person in crowd.parts.values()}
    known = [p for p in crowd.members if p.email and p.member_no not in quiet]
    for person in known[::40]:
        yield Line(clean(person) | {"given_name": person.given_name.upper(), "birth_date": ""})
    for one, other in zip(known[3::200], known[8::200], strict=False):
        row = clean(one)
        yield Line(row | {"member_no": other.member_no or "", "phone": ""}, Flaw.TWO_PEOPLE)
