"""Segments as SQL over the audience row, for SQLite and PostgreSQL alike.

A trait is a column of the audience row, so that a segment over traits is one scan without a join; a clause on
events is a correlated search in the index (subject, type, instant), whose cost per person stays the same however
large the store is. NULL is *unknown*: SQL's three-valued logic is Kleene's, which is what the reference
`domain.segments.evaluate` implements, and a differential test holds the two together.

Booleans are 0 and 1 and dates are seconds in the number slots. Values reach the store as bound parameters only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, case, false, func, not_, or_, select, true

from consent_gateway.db.tables import audience_rows, events, subject_links
from consent_gateway.domain.ids import TraitId
from consent_gateway.domain.segments import (
    Age,
    And,
    Edge,
    EventCount,
    EventWithin,
    Everyone,
    Not,
    Op,
    Or,
    Segment,
    TraitCompare,
    TraitIn,
    TraitKnown,
    TraitRegistry,
    Value,
    check,
    day_start,
)
from consent_gateway.domain.segments.trees import DAY, EventClause, TraitClause

_COMPARE: dict[Op, Callable[[Any, Any], ColumnElement[bool]]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


def compile_segment(
    segment: Segment, registry: TraitRegistry, now: int, rows: FromClause = audience_rows, *, merged: bool = False
) -> ColumnElement[bool]:
    """Return the condition on `rows` (the audience rows or an alias of them) that the segment means at `now`.

    With `merged` (somebody is) the events of every subject of a person count; without, the rows need not be asked.
    Its value is NULL where the answer is unknown, so that a WHERE keeps members only. Raises `InputError` as
    `domain.segments.check` does: nothing unchecked becomes SQL.
    """
    check(segment, registry)
    return _Compiler(registry, now, rows, merged=merged).condition(segment)


class _Compiler:
    """One compilation: the register, the instant and the rows that all conditions share."""

    def __init__(self, registry: TraitRegistry, now: int, rows: FromClause, *, merged: bool) -> None:
        self._registry = registry
        self._now = now
        self._rows = rows
        self._merged = merged

    def condition(self, segment: Segment) -> ColumnElement[bool]:
        match segment:
            case And(parts):
                return and_(true(), *map(self.condition, parts))
            case Or(parts):
                return or_(false(), *map(self.condition, parts))
            case Not(part):
                return not_(self.condition(part))
            case Everyone():
                return true()
            case EventCount() | EventWithin():
                return self._of_events(segment)
            case _:
                return self._of_trait(segment, self._column(segment.trait))

    def _column(self, trait: TraitId) -> ColumnElement[Any]:
        return self._rows.c[self._registry[trait].slot]

    def _of_trait(self, clause: TraitClause, column: ColumnElement[Any]) -> ColumnElement[bool]:
        match clause:
            case TraitCompare(op=op, value=value):
                return _compare(column, op, value)
            case TraitIn(values=values):
                return column.in_(values)
            case TraitKnown():
                return column.is_not(None)
            case _:
                return self._has_age(column, clause.age, clause.seconds)

    def _of_events(self, clause: EventClause) -> ColumnElement[bool]:
        if isinstance(clause, EventWithin):
            pick = func.min if clause.edge is Edge.FIRST else func.max
            return self._has_age(self._search(select(pick(events.c.at)), clause), clause.age, clause.seconds)
        counted = select(func.count()).select_from(events)
        if clause.within is not None:
            counted = counted.where(events.c.at >= self._now - clause.within)
        return _COMPARE[clause.op](self._search(counted, clause), clause.count)

    def _search(self, found: Select[int], clause: EventClause) -> ColumnElement[int]:
        """Restrict to the person's events of the clause's type up to the instant."""
        found = found.where(events.c.type == clause.type, events.c.at <= self._now)
        person = self._rows.c.subject_id
        own = found.where(events.c.subject_id == person).correlate(self._rows).scalar_subquery()
        if not self._merged:
            return own
        # Only a head pays for the search among its members: for everyone else it is one look into a hash.
        members = select(subject_links.c.subject_id).where(subject_links.c.head_id == person).correlate(self._rows)
        whole = found.where(events.c.subject_id.in_(members.union_all(select(person).correlate(self._rows))))
        is_head = person.in_(select(subject_links.c.head_id))
        return case((is_head, whole.correlate(self._rows).scalar_subquery()), else_=own)

    def _has_age(self, at: ColumnElement[Any], age: Age, seconds: int) -> ColumnElement[bool]:
        edge = self._now - seconds  # that instant itself is still newer
        return at < edge if age is Age.OLDER else at >= edge


def _compare(column: ColumnElement[Any], op: Op, value: Value) -> ColumnElement[bool]:
    if isinstance(value, date):
        return _compare_day(column, op, day_start(value))
    return _COMPARE[op](column, int(value) if isinstance(value, bool) else value)


def _compare_day(column: ColumnElement[Any], op: Op, start: int) -> ColumnElement[bool]:
    """Compare with a whole UTC day by its first second and that of the next day, which an index can serve."""
    end = start + DAY
    days = {
        Op.EQ: and_(column >= start, column < end),
        Op.NE: or_(column < start, column >= end),
        Op.LT: column < start,
        Op.LE: column < end,
        Op.GT: column >= end,
        Op.GE: column >= start,
    }
    return days[op]
