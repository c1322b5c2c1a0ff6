"""What a segment means: the reference evaluator, which every other reading of a segment is tested against.

It is written for plainness, not for speed. It is total: a value of another type than the one it is compared with is
unknown, so that an error never makes anyone a member.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from consent_gateway.domain.segments.text import to_text
from consent_gateway.domain.segments.trees import (
    DAY,
    Age,
    And,
    Clause,
    Edge,
    EventClause,
    EventCount,
    EventWithin,
    Everyone,
    Not,
    Op,
    Or,
    Person,
    Segment,
    TraitClause,
    TraitCompare,
    TraitIn,
    TraitKnown,
    Value,
    day_start,
    walk,
)

_COMPARE: dict[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


def evaluate(segment: Segment, person: Person, now: int) -> bool | None:
    """Return whether the person is described by the segment at `now` (seconds); None is *unknown*.

    Only True makes a member. The segment need not have been checked.
    """
    match segment:
        case And(parts):
            return _all([evaluate(part, person, now) for part in parts])
        case Or(parts):
            return _negate(_all([_negate(evaluate(part, person, now)) for part in parts]))
        case Not(part):
            return _negate(evaluate(part, person, now))
        case _:
            return _ask(segment, person, now)


def explain(segment: Segment, person: Person, now: int) -> list[tuple[str, bool | None]]:
    """Return each clause in the order of the text form, as text and with its own answer at `now` (seconds).

    The texts hold the segment's values and never the person's.
    """
    clauses = (node for _, node in walk(segment) if isinstance(node, Clause))
    return [(to_text(clause), _ask(clause, person, now)) for clause in clauses]


def _all(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def _negate(answer: bool | None) -> bool | None:  # noqa: FBT001 - a truth value is what it is about
    return None if answer is None else not answer


def _ask(clause: Clause, person: Person, now: int) -> bool | None:
    match clause:
        case Everyone():
            return True
        case EventCount() | EventWithin():
            return _ask_events(clause, [at for kind, at in person.events if kind == clause.type and at <= now], now)
        case _:
            return _ask_trait(clause, person.traits.get(clause.trait), now)


def _ask_events(clause: EventClause, instants: list[int], now: int) -> bool | None:
    match clause:
        case EventCount(op=op, count=count, within=within):
            counted = [at for at in instants if within is None or now - at <= within]
            return _COMPARE[op](len(counted), count)
        case EventWithin(edge=edge, age=age, seconds=seconds):
            pick: Callable[[Iterable[int]], int] = min if edge is Edge.FIRST else max
            return _has_age(pick(instants), age, seconds, now) if instants else None


def _ask_trait(clause: TraitClause, stored: int | str | None, now: int) -> bool | None:
    match clause:
        case TraitKnown():
            return stored is not None
        case TraitCompare(op=op, value=value):
            return _compare(stored, op, value)
        case TraitIn(values=values):
            return _negate(_all([_compare(stored, Op.NE, value) for value in values]))
        case _:
            return _has_age(stored, clause.age, clause.seconds, now) if isinstance(stored, int) else None


def _compare(stored: int | str | None, op: Op, value: Value) -> bool | None:
    if stored is None or isinstance(stored, str) is not isinstance(value, str):
        return None
    if isinstance(value, date) and isinstance(stored, int):
        return _COMPARE[op](stored // DAY, day_start(value) // DAY)
    return _COMPARE[op](stored, value)


def _has_age(at: int, age: Age, seconds: int, now: int) -> bool:
    return (now - at > seconds) is (age is Age.OLDER)
