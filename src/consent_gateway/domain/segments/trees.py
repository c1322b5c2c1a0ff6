"""The vocabulary of segments: nodes, traits, and the person that a segment is asked about.

A tree is made of `And`, `Or`, `Not` over *clauses*, each of which asks one thing. Nodes are values: frozen, equal
by content, without behaviour. Durations and instants are whole seconds (instants: since the epoch, UTC).

Ages are half-open so that `older` and `newer` exclude each other and leave no gap: at instant `now`, what happened
at `at` is *older than* `d` when `now - at > d` and *newer than* `d` when `now - at <= d`.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TypeAlias

from consent_gateway.domain.ids import TraitId

DAY = 86_400
_UNITS = {"w": 7 * DAY, "d": DAY, "h": 3_600, "min": 60, "s": 1}

# A `date` stands for the whole UTC day, an `int` on a date trait for one second; `bool` is an `int` in Python.
Value: TypeAlias = int | str | date


class Op(StrEnum):
    """How a trait or a count is compared."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Age(StrEnum):
    """On which side of a duration before the instant."""

    OLDER = "older"
    NEWER = "newer"


class Edge(StrEnum):
    """Which one of a person's events of a type."""

    FIRST = "first"
    LAST = "last"


class TraitType(StrEnum):
    """What a trait's values are; dates are stored as seconds, booleans as 0 and 1."""

    INTEGER = "integer"
    DATE = "date"
    BOOLEAN = "boolean"
    TEXT = "text"


class TraitOrigin(StrEnum):
    """Where a trait's value comes from: said by a source, or kept up to date from events of one type."""

    DECLARED = "declared"
    EVENT_COUNT = "event_count"
    EVENT_FIRST = "event_first"
    EVENT_LAST = "event_last"


@dataclass(frozen=True, slots=True)
class TraitDefinition:
    """A registered trait; `slot` is its column of the audience row (`n0`..`n11`, `s0`..`s3`).

    `sensitive` is the category of sensitive data that its values are or give away ("health").
    """

    id: TraitId
    type: TraitType
    slot: str
    origin: TraitOrigin = TraitOrigin.DECLARED
    event_type: str | None = None
    sensitive: str | None = None


TraitRegistry: TypeAlias = Mapping[TraitId, TraitDefinition]


@dataclass(frozen=True, slots=True)
class Everyone:
    """True for every person."""


@dataclass(frozen=True, slots=True)
class TraitCompare:
    """Compare a trait with a value; unknown where the trait is."""

    trait: TraitId
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class TraitIn:
    """Whether the trait's value is one of `values`; unknown where the trait is."""

    trait: TraitId
    values: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class TraitKnown:
    """Whether the trait has a value at all; never unknown."""

    trait: TraitId


@dataclass(frozen=True, slots=True)
class TraitWithin:
    """How long before the instant a date trait lies; a date still to come is newer than any duration."""

    trait: TraitId
    age: Age
    seconds: int


@dataclass(frozen=True, slots=True)
class EventCount:
    """Compare the number of events of `type`, of the last `within` seconds or of all time; never unknown."""

    type: str
    op: Op
    count: int
    within: int | None = None


@dataclass(frozen=True, slots=True)
class EventWithin:
    """How long ago the first or last event of `type` was; unknown where there is none."""

    type: str
    edge: Edge
    age: Age
    seconds: int


@dataclass(frozen=True, slots=True)
class And:
    """True where all parts are, false where one is, else unknown. The parsers make it of two parts at least."""

    parts: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where one part is, false where all are, else unknown. The parsers make it of two parts at least."""

    parts: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the part is false, false where it is true, else unknown."""

    part: Segment


TraitClause: TypeAlias = TraitCompare | TraitIn | TraitKnown | TraitWithin
EventClause: TypeAlias = EventCount | EventWithin
Clause: TypeAlias = TraitClause | EventClause | Everyone
Segment: TypeAlias = And | Or | Not | Clause


@dataclass(frozen=True, slots=True)
class Person:
    """What the reference evaluator knows of one person.

    `traits` maps trait ids to values in stored form (dates as seconds, booleans as bool or 0 and 1); a trait that
    is absent or None is unknown. `events` are pairs of type and instant in any order.
    """

    traits: Mapping[TraitId, int | str | None]
    events: Sequence[tuple[str, int]] = ()


def walk(segment: Segment, path: str = "$") -> Iterator[tuple[str, Segment]]:
    """Yield every node with its JSON path, a node before its parts, left to right."""
    yield path, segment
    for step, part in parts_of(segment):
        yield from walk(part, path + step)


def parts_of(segment: Segment) -> list[tuple[str, Segment]]:
    """Return the direct parts of a node with the step of the JSON path that leads to each; none for a clause."""
    match segment:
        case And(parts):
            return [(f".all[{i}]", part) for i, part in enumerate(parts)]
        case Or(parts):
            return [(f".any[{i}]", part) for i, part in enumerate(parts)]
        case Not(part):
            return [(".not", part)]
        case _:
            return []


def traits_used(segment: Segment) -> frozenset[TraitId]:
    """Return the traits that the segment reads, for checking each against a purpose."""
    return frozenset(node.trait for _, node in walk(segment) if isinstance(node, TraitClause))


def events_used(segment: Segment) -> frozenset[str]:
    """Return the event types that the segment reads, for checking each against a purpose."""
    return frozenset(node.type for _, node in walk(segment) if isinstance(node, EventClause))


def day_start(day: date) -> int:
    """Return the first second of a UTC day."""
    return calendar.timegm(day.timetuple())


def write_duration(seconds: int) -> str:
    """Write a duration with the largest unit that divides it: 90 days are `90d`, 14 are `2w`."""
    unit = next(unit for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def read_duration(text: str) -> int | None:
    """Read `30d`, `12h`, `8w`, `15min`, `30s` as seconds; None if `text` is not a duration (at most ten digits)."""
    digits = text.rstrip("wdhmins")
    size = _UNITS.get(text[len(digits) :])
    if size is None or not (digits.isascii() and digits.isdecimal() and len(digits) <= 10):  # noqa: PLR2004 - as said
        return None
    return int(digits) * size


def read_date(text: str) -> date | None:
    """Read `2026-01-31`; None if `text` is not a day of the calendar written in this way."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None
