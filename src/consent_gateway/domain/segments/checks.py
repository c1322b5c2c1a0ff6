"""What a segment may be: its limits, and its types against the register of traits.

The limits bound what one question may cost, whoever asks it: depth and nodes bound the parser and the planner,
values bound the parameters of the statement, cost bounds the rows that are looked at per person. Problems are
collected, so that an author sees all of them at once; each has a JSON path, and none repeats a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from consent_gateway.domain.ids import is_slug
from consent_gateway.domain.segments.trees import (
    DAY,
    And,
    Clause,
    EventClause,
    EventCount,
    EventWithin,
    Everyone,
    Not,
    Op,
    Or,
    Segment,
    TraitClause,
    TraitCompare,
    TraitDefinition,
    TraitIn,
    TraitRegistry,
    TraitType,
    TraitWithin,
    Value,
    parts_of,
    walk,
)
from consent_gateway.errors import FieldProblem, InputError

MAX_DEPTH = 8
MAX_NODES = 64
MAX_VALUES = 200  # listed values, over the whole tree
MAX_COST = 400  # see `cost`
MAX_TEXT = 64  # characters; the width of a text slot
MAX_INTEGER = 2**53 - 1  # what every JSON reader keeps exactly (RFC 8259 section 6)
MAX_COUNT = 1_000_000
MAX_DURATION = 36_525 * DAY  # a hundred years

# One search of the events index costs about as much as thirty comparisons of a column in the same scan on SQLite,
# and more on a PostgreSQL whose events were not vacuumed yet.
_EVENT_COST = 30
_SURROGATES = range(0xD800, 0xE000)
_NAME_RULE = "a name is a lower-case letter, then up to 62 of a-z 0-9 _"

_EQUALITY = frozenset({Op.EQ, Op.NE})
_OPS = {
    TraitType.INTEGER: frozenset(Op),
    TraitType.DATE: frozenset(Op),
    TraitType.BOOLEAN: _EQUALITY,
    TraitType.TEXT: _EQUALITY,  # the order of texts depends on the collation of the store
}
_LISTED = frozenset({TraitType.INTEGER, TraitType.TEXT})


def check(segment: Segment, registry: TraitRegistry) -> None:
    """Refuse a segment that is too large, ill-formed, or does not fit the registered traits.

    Raises `InputError` with one `FieldProblem` for each problem, at its JSON path: `unknown_trait`,
    `type_mismatch`, `op_not_allowed`, and those of `tree_problems` and `form_problems`.
    """
    refuse([*tree_problems(segment), *_all_clause_problems(segment, registry)])


def cost(segment: Segment) -> int:
    """Estimate the work per person; the unit is one comparison of a column of the audience row.

    A clause on a trait costs 1, a list 1 for every 10 values begun, a clause on events `_EVENT_COST`.
    """
    return sum(_node_cost(node) for _, node in walk(segment))


def refuse(problems: Iterable[FieldProblem]) -> None:
    """Raise `InputError` if there is any problem; the detail names the first."""
    found = tuple(problems)
    if found:
        first = found[0]
        raise InputError(f"The segment is not valid at {first.path}: {first.message}.", fields=found)


def tree_problems(segment: Segment) -> Iterator[FieldProblem]:
    """Yield what is wrong with the tree as a whole: `too_deep`, `too_many_nodes`, `too_many_values`, `too_costly`."""
    nodes = [node for _, node in walk(segment)]
    measured = (
        ("too_deep", "levels", _depth(segment), MAX_DEPTH),
        ("too_many_nodes", "nodes", len(nodes), MAX_NODES),
        ("too_many_values", "listed values", sum(len(n.values) for n in nodes if isinstance(n, TraitIn)), MAX_VALUES),
        ("too_costly", f"units of cost ({_EVENT_COST} per clause on events)", cost(segment), MAX_COST),
    )
    for code, unit, size, limit in measured:
        if size > limit:
            yield FieldProblem("$", code, f"{size} {unit}, and {limit} is the most")


def form_problems(clause: Clause, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with one clause whatever the register says: names, ranges, lengths, empty lists."""
    match clause:
        case TraitCompare(value=value):
            yield from _value_problems(value, f"{path}.value")
        case TraitIn(values=values):
            yield from _list_problems(values, f"{path}.in")
        case TraitWithin(age=age, seconds=seconds):
            yield from _duration_problems(seconds, f"{path}.{age}_than")
        case EventCount(op=op, count=count, within=within):
            yield from _range_problems(count, 0, MAX_COUNT, f"{path}.count['{op}']")
            yield from _duration_problems(within, f"{path}.within") if within is not None else ()
        case EventWithin(edge=edge, age=age, seconds=seconds):
            yield from _duration_problems(seconds, f"{path}.{edge}.{age}_than")
    yield from _name_problems(clause, path)


def _depth(segment: Segment) -> int:
    return 1 + max((_depth(part) for _, part in parts_of(segment)), default=0)


def _node_cost(node: Segment) -> int:
    match node:
        case TraitIn(values=values):
            return 1 + (len(values) - 1) // 10
        case EventCount() | EventWithin():
            return _EVENT_COST
        case And() | Or() | Not() | Everyone():
            return 0
        case _:
            return 1


def _name_problems(clause: Clause, path: str) -> Iterator[FieldProblem]:
    if isinstance(clause, TraitClause) and not is_slug(clause.trait):
        yield FieldProblem(f"{path}.trait", "bad_name", _NAME_RULE)
    if isinstance(clause, EventClause) and not is_slug(clause.type):
        yield FieldProblem(f"{path}.event", "bad_name", _NAME_RULE)


def _list_problems(values: tuple[int | str, ...], path: str) -> Iterator[FieldProblem]:
    if not values:
        yield FieldProblem(path, "empty_list", "a list needs at least one value")
    for i, value in enumerate(values):
        yield from _value_problems(value, f"{path}[{i}]")


def _value_problems(value: Value, path: str) -> Iterator[FieldProblem]:
    if isinstance(value, int):
        yield from _range_problems(value, -MAX_INTEGER, MAX_INTEGER, path)
    elif isinstance(value, str) and not _is_storable(value):
        yield FieldProblem(path, "bad_text", f"a text has 1 to {MAX_TEXT} characters and no control characters")


def _is_storable(text: str) -> bool:
    # A lone surrogate has no UTF-8 and PostgreSQL takes no NUL: the statement would fail, so neither gets there.
    return 1 <= len(text) <= MAX_TEXT and all(ord(c) >= ord(" ") and ord(c) not in _SURROGATES for c in text)


def _duration_problems(seconds: int, path: str) -> Iterator[FieldProblem]:
    if not 1 <= seconds <= MAX_DURATION:
        yield FieldProblem(path, "out_of_range", "a duration is at least one second and at most a hundred years")


def _range_problems(number: int, least: int, most: int, path: str) -> Iterator[FieldProblem]:
    if not least <= number <= most:
        yield FieldProblem(path, "out_of_range", f"the number is not from {least} to {most}")


def _all_clause_problems(segment: Segment, registry: TraitRegistry) -> Iterator[FieldProblem]:
    for path, node in walk(segment):
        if isinstance(node, Clause):
            yield from form_problems(node, path)
        if isinstance(node, TraitClause):
            yield from _trait_problems(node, path, registry)


def _trait_problems(clause: TraitClause, path: str, registry: TraitRegistry) -> Iterator[FieldProblem]:
    definition = registry.get(clause.trait)
    if definition is None:
        yield FieldProblem(f"{path}.trait", "unknown_trait", f"no trait `{clause.trait}` is registered")
    else:
        yield from _type_problems(clause, path, definition)


def _type_problems(clause: TraitClause, path: str, trait: TraitDefinition) -> Iterator[FieldProblem]:
    match clause:
        case TraitCompare(op=op, value=value):
            if op not in _OPS[trait.type]:
                yield _not_allowed(f"{path}.op", f"`{op}`", trait)
            yield from _mismatches([(f"{path}.value", value)], trait)
        case TraitIn(values=values):
            if trait.type not in _LISTED:
                yield _not_allowed(f"{path}.in", "a list", trait)
            yield from _mismatches([(f"{path}.in[{i}]", value) for i, value in enumerate(values)], trait)
        case TraitWithin(age=age) if trait.type is not TraitType.DATE:
            yield _not_allowed(f"{path}.{age}_than", "an age", trait)


def _not_allowed(path: str, what: str, trait: TraitDefinition) -> FieldProblem:
    return FieldProblem(path, "op_not_allowed", f"{what} cannot be asked of `{trait.id}`, a trait of type {trait.type}")


def _mismatches(values: Iterable[tuple[str, Value]], trait: TraitDefinition) -> Iterator[FieldProblem]:
    for path, value in values:
        if not _fits(value, trait.type):
            message = f"the value does not have the type of `{trait.id}`, which is {trait.type}"
            yield FieldProblem(path, "type_mismatch", message)


def _fits(value: Value, kind: TraitType) -> bool:
    if isinstance(value, bool):
        return kind is TraitType.BOOLEAN
    if isinstance(value, int):
        return kind in (TraitType.INTEGER, TraitType.DATE)
    return kind is (TraitType.DATE if isinstance(value, date) else TraitType.TEXT)
