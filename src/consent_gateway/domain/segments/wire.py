"""The JSON form of segments.

::

    {"all": [S, ...]}  {"any": [S, ...]}  {"not": S}  {"everyone": true}
    {"trait": "purchase_count", "op": ">=", "value": 40}       or a text, true, false, {"date": "2026-01-31"}
    {"trait": "city", "in": ["Berlin", "Wien"]}
    {"trait": "city", "known": true}
    {"trait": "last_purchase", "older_than": "30d"}            or newer_than
    {"event": "purchase", "count": {">=": 5}, "within": "90d"} within may be left out
    {"event": "purchase", "last": {"newer_than": "30d"}}       or first; or older_than

An object is told by its keys, and a key too many is an error: a misspelt limit must not widen a segment. A group of
one is read as its one part. `to_json` writes the one canonical form, with durations in their largest unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from consent_gateway.domain.ids import TraitId
from consent_gateway.domain.segments.checks import MAX_DEPTH, MAX_TEXT, form_problems, refuse, tree_problems
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
    Segment,
    TraitCompare,
    TraitIn,
    TraitKnown,
    TraitWithin,
    Value,
    read_date,
    read_duration,
    write_duration,
)
from consent_gateway.errors import FieldProblem, InputError

_Object = Mapping[str, object]
_AGES = {f"{age}_than": age for age in Age}
_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_json(value: object) -> Segment:
    """Read a segment from decoded JSON.

    Raises `InputError` whose `fields` give the JSON path: `wrong_type`, `missing_field`, `unknown_field`,
    `bad_choice`, `bad_duration`, `bad_date`, `empty_list`, and those of `checks.tree_problems` and `form_problems`.
    """
    segment = _segment(value, "$", 1)
    refuse(tree_problems(segment))
    return segment


def to_json(segment: Segment) -> dict[str, Any]:
    """Write a segment as JSON values in canonical form; `parse_json` reads it back."""
    match segment:
        case And(parts):
            return {"all": [to_json(part) for part in parts]}
        case Or(parts):
            return {"any": [to_json(part) for part in parts]}
        case Not(part):
            return {"not": to_json(part)}
        case Everyone():
            return {"everyone": True}
        case EventCount() | EventWithin():
            return {"event": segment.type, **_write_event(segment)}
        case _:
            return {"trait": segment.trait, **_write_trait(segment)}


def _write_event(clause: EventCount | EventWithin) -> dict[str, Any]:
    if isinstance(clause, EventWithin):
        return {clause.edge.value: {f"{clause.age}_than": write_duration(clause.seconds)}}
    within = {} if clause.within is None else {"within": write_duration(clause.within)}
    return {"count": {clause.op.value: clause.count}, **within}


def _write_trait(clause: TraitCompare | TraitIn | TraitKnown | TraitWithin) -> dict[str, Any]:
    match clause:
        case TraitCompare(op=op, value=value):
            return {"op": op.value, "value": {"date": value.isoformat()} if isinstance(value, date) else value}
        case TraitIn(values=values):
            return {"in": list(values)}
        case TraitKnown():
            return {"known": True}
        case TraitWithin(age=age, seconds=seconds):
            return {f"{age}_than": write_duration(seconds)}


def _segment(value: object, path: str, depth: int) -> Segment:
    found = _object(value, path)
    if depth > MAX_DEPTH:
        _fail(path, "too_deep", f"a segment is at most {MAX_DEPTH} levels deep")
    if "not" in found:
        _only(found, {"not"}, path)
        return Not(_segment(found["not"], f"{path}.not", depth + 1))
    if "all" in found:
        return _group(And, found, "all", path, depth)
    if "any" in found:
        return _group(Or, found, "any", path, depth)
    return _clause(found, path)


def _group(kind: Callable[[tuple[Segment, ...]], Segment], found: _Object, key: str, path: str, depth: int) -> Segment:
    _only(found, {key}, path)
    values = _list(found[key], f"{path}.{key}")
    parts = tuple(_segment(value, f"{path}.{key}[{i}]", depth + 1) for i, value in enumerate(values))
    return parts[0] if len(parts) == 1 else kind(parts)


def _clause(found: _Object, path: str) -> Clause:
    clause: Clause
    if "trait" in found:
        clause = _trait_clause(found, TraitId(_text(found["trait"], f"{path}.trait")), path)
    elif "event" in found:
        clause = _event_clause(found, _text(found["event"], f"{path}.event"), path)
    elif "everyone" in found:
        _only(found, {"everyone"}, path)
        _true(found["everyone"], f"{path}.everyone")
        clause = Everyone()
    else:
        _fail(path, "missing_field", "a segment has one of: all, any, not, everyone, trait, event")
    refuse(form_problems(clause, path))
    return clause


def _trait_clause(found: _Object, trait: TraitId, path: str) -> Clause:
    if "op" in found:
        _only(found, {"trait", "op", "value"}, path)
        return TraitCompare(trait, _choice(Op, found["op"], f"{path}.op"), _value(found, path))
    question = _one_of(found, ("in", "known", *_AGES), path, beside={"trait"})
    where = f"{path}.{question}"
    if question == "in":
        return TraitIn(trait, tuple(_item(v, f"{where}[{i}]") for i, v in enumerate(_list(found["in"], where))))
    if question == "known":
        _true(found["known"], where)
        return TraitKnown(trait)
    return TraitWithin(trait, _AGES[question], _duration(found[question], where))


def _event_clause(found: _Object, kind: str, path: str) -> Clause:
    beside = {"event", "within"} if "count" in found else {"event"}
    question = _one_of(found, ("count", *Edge), path, beside=beside)
    inner, where = _object(found[question], f"{path}.{question}"), f"{path}.{question}"
    if question == "count":
        op = Op(_one_of(inner, tuple(Op), where))
        within = _duration(found["within"], f"{path}.within") if "within" in found else None
        return EventCount(kind, op, _integer(inner[op], f"{where}['{op}']"), within)
    age = _one_of(inner, tuple(_AGES), where)
    return EventWithin(kind, Edge(question), _AGES[age], _duration(inner[age], f"{where}.{age}"))


def _value(found: _Object, path: str) -> Value:
    if "value" not in found:
        _fail(path, "missing_field", "a comparison needs `value`")
    value = found["value"]
    return _date(value, f"{path}.value") if isinstance(value, dict) else _item(value, f"{path}.value")


def _date(value: object, path: str) -> date:
    found = _object(value, path)
    text = _text(found[_one_of(found, ("date",), path)], f"{path}.date")
    day = read_date(text)
    return day if day is not None else _fail(f"{path}.date", "bad_date", "a date is written 2026-01-31")


def _object(value: object, path: str) -> _Object:
    return value if isinstance(value, dict) else _fail(path, "wrong_type", "an object is expected")


def _list(value: object, path: str) -> list[object]:
    if not isinstance(value, list):
        _fail(path, "wrong_type", "a list is expected")
    return value or _fail(path, "empty_list", "a list needs at least one value")


def _text(value: object, path: str) -> str:
    return value if isinstance(value, str) else _fail(path, "wrong_type", "a text is expected")


def _integer(value: object, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _fail(path, "wrong_type", "an integer is expected")


def _item(value: object, path: str) -> int | str:
    if isinstance(value, int | str):
        return value
    return _fail(path, "wrong_type", "an integer, a text, true or false is expected")


def _true(value: object, path: str) -> None:
    if value is not True:
        _fail(path, "wrong_type", "only true is expected; use `not` for the opposite")


def _duration(value: object, path: str) -> int:
    seconds = read_duration(_text(value, path))
    return (
        seconds if seconds is not None else _fail(path, "bad_duration", "a duration is a number and w, d, h, min or s")
    )


def _choice(kind: type[_Choice], value: object, path: str) -> _Choice:
    text = _text(value, path)
    return kind(text) if text in set(kind) else _fail(path, "bad_choice", f"one of {' '.join(kind)} is expected")


def _one_of(found: _Object, keys: tuple[str, ...], path: str, beside: frozenset[str] | set[str] = frozenset()) -> str:
    """Return the one of `keys` that is there; every other key must be in `beside`."""
    key = next((key for key in keys if key in found), None)
    if key is None:
        _fail(path, "missing_field", f"one of {', '.join(keys)} is expected")
    _only(found, {key, *beside}, path)
    return key


def _only(found: _Object, allowed: set[str], path: str) -> None:
    extra = next((key for key in found if key not in allowed), None)
    if extra is not None:
        _fail(
            f"{path}[{str(extra)[:MAX_TEXT]!r}]",
            "unknown_field",
            f"only {', '.join(sorted(allowed))} is expected here",
        )


def _fail(path: str, code: str, message: str) -> NoReturn:
    raise InputError(f"The segment is not valid at {path}: {message}.", fields=(FieldProblem(path, code, message),))
