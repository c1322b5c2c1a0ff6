"""Segments: who a message is meant for, as a typed expression tree over traits and events.

A segment is written as JSON or as readable text, both of which say where they are wrong; it is bounded in depth,
nodes, listed values and cost; and it means exactly one thing: `evaluate` is the reference, and what `db.segments`
makes of it in SQL is tested against the reference.

Invariants:

1. Logic is three-valued (Kleene's strong logic, which is also SQL's): what is not known about a person makes a
   comparison *unknown*, `not unknown` is unknown, and only those for whom the whole tree is *true* are members.
   Nobody becomes a member because something about them is missing.
2. `parse_json(to_json(s))` and `parse_text(to_text(s))` give `s` back, for every `s` that either parser gives.
3. There is no pattern matching and no ordering of texts: the one finds people by fragments of personal data, the
   other depends on the collation of the store.
4. An instant is an argument. Events later than it do not exist yet.

Inside: `trees` (vocabulary) < `checks` (limits, types) < `text`, `wire` (the two forms) < `evaluation`.
"""

from __future__ import annotations

from consent_gateway.domain.segments.checks import (
    MAX_COST,
    MAX_DEPTH,
    MAX_NODES,
    MAX_VALUES,
    check,
    cost,
)
from consent_gateway.domain.segments.evaluation import evaluate, explain
from consent_gateway.domain.segments.text import parse_text, to_text
from consent_gateway.domain.segments.trees import (
    Age,
    And,
    Clause,
    Edge,
    EventCount,
    EventWithin,
    Everyone,
    Not,
    Op,
    Or,
    Person,
    Segment,
    TraitCompare,
    TraitDefinition,
    TraitIn,
    TraitKnown,
    TraitOrigin,
    TraitRegistry,
    TraitType,
    TraitWithin,
    Value,
    day_start,
    events_used,
    traits_used,
)
from consent_gateway.domain.segments.wire import parse_json, to_json

__all__ = [
    "MAX_COST",
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_VALUES",
    "Age",
    "And",
    "Clause",
    "Edge",
    "EventCount",
    "EventWithin",
    "Everyone",
    "Not",
    "Op",
    "Or",
    "Person",
    "Segment",
    "TraitCompare",
    "TraitDefinition",
    "TraitIn",
    "TraitKnown",
    "TraitOrigin",
    "TraitRegistry",
    "TraitType",
    "TraitWithin",
    "Value",
    "check",
    "cost",
    "day_start",
    "evaluate",
    "events_used",
    "explain",
    "parse_json",
    "parse_text",
    "to_json",
    "to_text",
    "traits_used",
]
