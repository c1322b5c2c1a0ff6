"""Segments: meaning, the two forms, limits, and that every refusal says where."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.domain import segments
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
    Person,
    Segment,
    TraitCompare,
    TraitDefinition,
    TraitIn,
    TraitKnown,
    TraitType,
    TraitWithin,
    check,
    cost,
    day_start,
    evaluate,
    events_used,
    explain,
    parse_json,
    parse_text,
    to_json,
    to_text,
    traits_used,
)
from consent_gateway.domain.segments.text import MAX_LENGTH
from consent_gateway.errors import InputError

DAY = 86_400
NOW = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
REGISTRY = {
    TraitId(name): TraitDefinition(TraitId(name), kind, slot)
    for name, kind, slot in (
        ("purchase_count", TraitType.INTEGER, "n0"),
        ("last_purchase", TraitType.DATE, "n1"),
        ("vip", TraitType.BOOLEAN, "n2"),
        ("city", TraitType.TEXT, "s0"),
    )
}

# -- strategies ------------------------------------------------------------------------------------------------

names = st.one_of(
    st.sampled_from(["city", "and", "not", "everyone", "count", "in", "known", "last", "true", "d", "or"]),
    st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True),
)
durations = st.one_of(st.integers(1, 36_525 * DAY), st.sampled_from([1, 60, 3_600, DAY, 7 * DAY, 90 * DAY]))
storable = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=64)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
scalars = st.one_of(integers, st.booleans(), storable)
clauses = st.one_of(
    st.just(Everyone()),
    st.builds(TraitCompare, names, st.sampled_from(Op), st.one_of(scalars, st.dates())),
    st.builds(TraitIn, names, st.lists(scalars, min_size=1, max_size=6).map(tuple)),
    st.builds(TraitKnown, names),
    st.builds(TraitWithin, names, st.sampled_from(Age), durations),
    st.builds(EventCount, names, st.sampled_from(Op), st.integers(0, 1_000_000), st.none() | durations),
    st.builds(EventWithin, names, st.sampled_from(Edge), st.sampled_from(Age), durations),
)


def _trees(leaves: st.SearchStrategy[Segment]) -> st.SearchStrategy[Segment]:
    def grow(inner: st.SearchStrategy[Segment]) -> st.SearchStrategy[Segment]:
        parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(st.builds(And, parts), st.builds(Or, parts), st.builds(Not, inner))

    return st.recursive(leaves, grow, max_leaves=8).filter(_size_fits)


def _size_fits(tree: Segment) -> bool:
    return not list(segments.checks.tree_problems(tree))


# -- the two forms ---------------------------------------------------------------------------------------------

EXAMPLE = (
    'purchase_count >= 40 and last_purchase older than 30d and not (city in ["Berlin"]) and count(purchase, 90d) >= 5'
)
EXAMPLE_JSON = {
    "all": [
        {"trait": "purchase_count", "op": ">=", "value": 40},
        {"trait": "last_purchase", "older_than": "30d"},
        {"not": {"trait": "city", "in": ["Berlin"]}},
        {"event": "purchase", "count": {">=": 5}, "within": "90d"},
    ]
}


def test_the_forms_say_the_same() -> None:
    assert parse_text(EXAMPLE) == parse_json(EXAMPLE_JSON)
    assert to_text(parse_json(EXAMPLE_JSON)) == EXAMPLE
    assert to_json(parse_text(EXAMPLE)) == EXAMPLE_JSON


@given(_trees(clauses))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_both_forms_round_trip(tree: Segment) -> None:
    # repr, because True == 1 for Python
    assert repr(parse_text(to_text(tree))) == repr(tree)
    assert repr(parse_json(json.loads(json.dumps(to_json(tree))))) == repr(tree)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("everyone", Everyone()),
        (
            "a == 1 and b == 2 or c == 3",
            Or(
                (
                    And((_eq := (TraitCompare(TraitId("a"), Op.EQ, 1)), TraitCompare(TraitId("b"), Op.EQ, 2))),
                    TraitCompare(TraitId("c"), Op.EQ, 3),
                )
            ),
        ),
        ("not a == 1 and everyone", And((Not(_eq), Everyone()))),
        ("(((a==1)))", _eq),
        ("  a\n==\t1 ", _eq),
        ("a<-5", TraitCompare(TraitId("a"), Op.LT, -5)),
        ("a >= 2026-01-31", TraitCompare(TraitId("a"), Op.GE, date(2026, 1, 31))),
        (r'a != "\"\u4e2d文\\"', TraitCompare(TraitId("a"), Op.NE, '"中文\\')),
        ("a newer than 8w", TraitWithin(TraitId("a"), Age.NEWER, 56 * DAY)),
        (
            "count > 15 and count(count, 15min) != 0",
            And((TraitCompare(TraitId("count"), Op.GT, 15), EventCount("count", Op.NE, 0, 900))),
        ),
        (
            "`and` is known and `not` in [true, 2]",
            And((TraitKnown(TraitId("and")), TraitIn(TraitId("not"), (True, 2)))),
        ),
        ("first(visit) older than 2h", EventWithin("visit", Edge.FIRST, Age.OLDER, 7_200)),
    ],
)
def test_text_is_read(text: str, tree: Segment) -> None:
    assert parse_text(text) == tree


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1s"), (60, "1min"), (90, "90s"), (7_200, "2h"), (DAY, "1d"), (14 * DAY, "2w"), (90 * DAY, "90d")],
)
def test_durations_have_one_spelling(seconds: int, text: str) -> None:
    assert to_json(TraitWithin(TraitId("a"), Age.OLDER, seconds)) == {"trait": "a", "older_than": text}
    assert parse_json({"trait": "a", "older_than": text}) == TraitWithin(TraitId("a"), Age.OLDER, seconds)


def test_a_group_of_one_is_its_part() -> None:
    assert parse_json({"all": [{"any": [{"everyone": True}]}]}) == Everyone()


def test_the_largest_tree_fits_the_text_form() -> None:
    listed = TraitIn(TraitId("a" * 63), tuple('"' * 64 for _ in range(200)))
    other = TraitCompare(TraitId("b" * 63), Op.EQ, '"' * 64)
    tree = And((listed, *(other for _ in range(62))))
    assert len(to_text(tree)) <= MAX_LENGTH
    assert parse_text(to_text(tree)) == tree


def _attempt(read: Callable[[], Segment]) -> tuple[Segment | None, list[str]]:
    """What is read, or where it is refused; any other error is a failure of the test."""
    try:
        return read(), []
    except InputError as error:
        return None, [problem.path for problem in error.fields]


# -- refusals --------------------------------------------------------------------------------------------------

OK = {"everyone": True}


def _nested(levels: int) -> object:
    value: object = OK
    for _ in range(levels - 1):
        value = {"not": value}
    return value


BAD_JSON = [
    (None, "$", "wrong_type"),
    ([], "$", "wrong_type"),
    ({}, "$", "missing_field"),
    ({"all": {}}, "$.all", "wrong_type"),
    ({"all": []}, "$.all", "empty_list"),
    ({"any": [OK, 3]}, "$.any[1]", "wrong_type"),
    ({"all": [OK], "any": [OK]}, "$['any']", "unknown_field"),
    ({"not": OK, "x": 1}, "$['x']", "unknown_field"),
    ({"everyone": False}, "$.everyone", "wrong_type"),
    ({"everyone": True, "trait": "a"}, "$", "missing_field"),
    ({"trait": 3, "known": True}, "$.trait", "wrong_type"),
    ({"trait": "A", "known": True}, "$.trait", "bad_name"),
    ({"trait": "a"}, "$", "missing_field"),
    ({"trait": "a", "known": False}, "$.known", "wrong_type"),
    ({"trait": "a", "op": "==", "value": None}, "$.value", "wrong_type"),
    ({"trait": "a", "op": "==", "value": 1.5}, "$.value", "wrong_type"),
    ({"trait": "a", "op": "==", "value": 2**53}, "$.value", "out_of_range"),
    ({"trait": "a", "op": "==", "value": ""}, "$.value", "bad_text"),
    ({"trait": "a", "op": "==", "value": "x" * 65}, "$.value", "bad_text"),
    ({"trait": "a", "op": "==", "value": "a\x00"}, "$.value", "bad_text"),
    ({"trait": "a", "op": "==", "value": "\ud800"}, "$.value", "bad_text"),
    ({"trait": "a", "op": "==", "value": {"date": "2026-02-30"}}, "$.value.date", "bad_date"),
    ({"trait": "a", "op": "==", "value": {"date": "20260201"}}, "$.value.date", "bad_date"),
    ({"trait": "a", "op": "==", "value": {"day": 1}}, "$.value", "missing_field"),
    ({"trait": "a", "op": "=", "value": 1}, "$.op", "bad_choice"),
    ({"trait": "a", "op": ">"}, "$", "missing_field"),
    ({"trait": "a", "op": ">", "value": 1, "within": "1d"}, "$['within']", "unknown_field"),
    ({"trait": "a", "in": []}, "$.in", "empty_list"),
    ({"trait": "a", "in": [1, [2]]}, "$.in[1]", "wrong_type"),
    ({"trait": "a", "in": [1, 2**60]}, "$.in[1]", "out_of_range"),
    ({"trait": "a", "in": [1], "older_than": "1d"}, "$['older_than']", "unknown_field"),
    ({"trait": "a", "older_than": 3}, "$.older_than", "wrong_type"),
    ({"trait": "a", "older_than": "3 days"}, "$.older_than", "bad_duration"),
    ({"trait": "a", "older_than": "３d"}, "$.older_than", "bad_duration"),
    ({"trait": "a", "older_than": "0d"}, "$.older_than", "out_of_range"),
    ({"trait": "a", "newer_than": "36526d"}, "$.newer_than", "out_of_range"),
    ({"event": "e"}, "$", "missing_field"),
    ({"event": "e!", "last": {"older_than": "1d"}}, "$.event", "bad_name"),
    ({"event": "e", "count": 5}, "$.count", "wrong_type"),
    ({"event": "e", "count": {">=": True}}, "$.count['>=']", "wrong_type"),
    ({"event": "e", "count": {">=": -1}}, "$.count['>=']", "out_of_range"),
    ({"event": "e", "count": {">=": 1, "<=": 3}}, "$.count['>=']", "unknown_field"),
    ({"event": "e", "count": {}}, "$.count", "missing_field"),
    ({"event": "e", "count": {"==": 1}, "within": "0s"}, "$.within", "out_of_range"),
    ({"event": "e", "last": {"older_than": "1d"}, "within": "1d"}, "$['within']", "unknown_field"),
    ({"event": "e", "first": {"older_than": "x"}}, "$.first.older_than", "bad_duration"),
    ({"event": "e", "first": {"newer_than": "0d"}}, "$.first.newer_than", "out_of_range"),
    ({"all": [OK, {"not": {"any": [OK, {"trait": "a", "in": [""]}]}}]}, "$.all[1].not.any[1].in[0]", "bad_text"),
    (_nested(9), "$" + ".not" * 8, "too_deep"),
    (_nested(100_000), "$" + ".not" * 8, "too_deep"),
    ({"all": [OK] * 64}, "$", "too_many_nodes"),
    ({"all": [{"trait": "a", "in": list(range(101))}] * 2}, "$", "too_many_values"),
    ({"all": [{"event": "e", "count": {"==": 1}}] * 14}, "$", "too_costly"),
]


@pytest.mark.parametrize(("value", "path", "code"), BAD_JSON, ids=[f"{i}-{case[2]}" for i, case in enumerate(BAD_JSON)])
def test_bad_json_says_where(value: object, path: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(value)
    assert [(problem.path, problem.code) for problem in caught.value.fields] == [(path, code)]
    assert path in caught.value.detail


BAD_TEXT = [
    ("", 1),
    ("   ", 4),
    ("a", 2),
    ("a ==", 5),
    ("a = 1", 3),
    ("a == b", 6),
    ("a == 1 and", 11),
    ("a == 1 b == 2", 8),
    ("a == 1)", 7),
    ("(a == 1", 8),
    ("and == 1", 1),
    ("A == 1", 1),
    ("a == 'x'", 6),
    ('a == "x', 6),
    (r'a == "\x"', 6),
    ("a == 1.5", 7),
    ("a == 12345678901234567890", 6),
    ("a == 9999999999999999999", 1),
    ("a == 2026-02-30", 6),
    ("a in []", 7),
    ("a in [2026-01-01]", 7),
    ("a in [1 2]", 9),
    ("a is unknown", 6),
    ("a older 3d", 9),
    ("a older than 3", 14),
    ("a older than 0d", 1),
    ("everyone and last(e) older than 36526d", 14),
    ("count(e) 5", 10),
    ("count(e, 5) > 1", 10),
    ("count(e, 5d > 1", 13),
    ('count(e) > "1"', 12),
    ("count() > 1", 7),
    ("last(e) == 1", 9),
    ("foo(e) > 1", 4),
    ("`` is known", 1),
    ("a == 1 ; b == 2", 8),
    ("not " * 17 + "everyone", 69),
    ("(" * 100_000, MAX_LENGTH + 1),
    ("(" * 1_000, 18),
    ("not " * 8 + "everyone", 1),
]


@pytest.mark.parametrize(("text", "column"), BAD_TEXT, ids=[f"{i}-{case[0][:20]}" for i, case in enumerate(BAD_TEXT)])
def test_bad_text_says_where(text: str, column: int) -> None:
    with pytest.raises(InputError) as caught:
        parse_text(text)
    assert [problem.path for problem in caught.value.fields] == [f"column {column}"]
    assert f"column {column}:" in caught.value.detail


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "all",
                        "any",
                        "not",
                        "trait",
                        "op",
                        "value",
                        "in",
                        "event",
                        "count",
                        "last",
                        "older_than",
                        ">=",
                        "known",
                        "date",
                    ]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_json_is_read_or_refused_with_a_path(value: object) -> None:
    tree, paths = _attempt(lambda: parse_json(value))
    if tree is None:
        assert paths
        assert all(path.startswith("$") for path in paths)
    else:
        assert parse_json(to_json(tree)) == tree


@given(st.text(max_size=30), _trees(clauses), st.integers(0, 200), st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_is_read_or_refused_with_a_column(noise: str, tree: Segment, at: int, cut: int) -> None:
    written = to_text(tree)
    for text in (noise, written[:at] + noise[:2] + written[at + cut :]):
        read, paths = _attempt(functools.partial(parse_text, text))
        if read is None:
            assert 1 <= int(paths[0].removeprefix("column ")) <= len(text) + 1
        else:
            assert parse_text(to_text(read)) == read


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("age == 1", "$.trait", "unknown_trait"),
        ("everyone and not (age is known)", "$.all[1].not.trait", "unknown_trait"),
        ('purchase_count == "1"', "$.value", "type_mismatch"),
        ("purchase_count == true", "$.value", "type_mismatch"),
        ("purchase_count == 2026-01-01", "$.value", "type_mismatch"),
        ("purchase_count older than 1d", "$.older_than", "op_not_allowed"),
        ('purchase_count in [1, "2"]', "$.in[1]", "type_mismatch"),
        ("vip == 1", "$.value", "type_mismatch"),
        ("vip >= true", "$.op", "op_not_allowed"),
        ("vip in [true]", "$.in", "op_not_allowed"),
        ("city == 3", "$.value", "type_mismatch"),
        ('city < "B"', "$.op", "op_not_allowed"),
        ('city in ["x", false]', "$.in[1]", "type_mismatch"),
        ('last_purchase == "2026-01-01"', "$.value", "type_mismatch"),
        ("last_purchase in [1]", "$.in", "op_not_allowed"),
        ("everyone or city newer than 1d", "$.any[1].newer_than", "op_not_allowed"),
    ],
)
def test_types_are_checked(text: str, path: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        check(parse_text(text), REGISTRY)
    assert [(problem.path, problem.code) for problem in caught.value.fields] == [(path, code)]


def test_all_problems_are_told_at_once_and_without_values() -> None:
    tree = parse_text('age == 1 and city == 4711 and vip < true and purchase_count == "Secretville"')
    with pytest.raises(InputError) as caught:
        check(tree, REGISTRY)
    assert [problem.path for problem in caught.value.fields] == [
        "$.all[0].trait",
        "$.all[1].value",
        "$.all[2].op",
        "$.all[3].value",
    ]
    told = repr((caught.value.detail, caught.value.fields))
    assert "4711" not in told
    assert "Secretville" not in told


def test_what_is_well_typed_passes() -> None:
    check(parse_text(EXAMPLE), REGISTRY)
    check(parse_text("vip == true and vip != false and last_purchase > 2026-01-01 and last_purchase < 5"), REGISTRY)
    check(parse_text("purchase_count in [1, 2] and last_purchase newer than 1d and city is known"), REGISTRY)


@pytest.mark.parametrize(
    "tree",
    [
        And(tuple(Everyone() for _ in range(64))),
        TraitIn(TraitId("city"), ()),
        TraitCompare(TraitId("purchase_count"), Op.EQ, 2**63),
        EventCount("Bad Name", Op.EQ, 1),
        EventWithin("e", Edge.LAST, Age.OLDER, 0),
        Not(Not(Not(Not(Not(Not(Not(Not(Everyone())))))))),
    ],
)
def test_trees_made_in_code_are_checked_too(tree: Segment) -> None:
    with pytest.raises(InputError):
        check(tree, REGISTRY)


def test_limits_are_inclusive() -> None:
    parse_json({"all": [OK] * 63})
    parse_json(_nested(8))
    parse_json({"trait": "a", "in": list(range(200))})
    parse_json({"all": [{"event": "e", "count": {"==": 1}}] * 13})


def test_cost_and_use() -> None:
    tree = parse_text(EXAMPLE)
    assert cost(tree) == 1 + 1 + 1 + 30
    assert cost(parse_json({"trait": "a", "in": list(range(11))})) == 2
    assert traits_used(tree) == {"purchase_count", "last_purchase", "city"}
    assert events_used(tree) == {"purchase"}


# -- meaning ---------------------------------------------------------------------------------------------------


def _ask(text: str, *events: tuple[str, int], **traits: int | str | None) -> bool | None:
    return evaluate(parse_text(text), Person({TraitId(k): v for k, v in traits.items()}, events), NOW)


KLEENE = [(True, "vip == true"), (False, "vip == false"), (None, "ghost == 1")]


@pytest.mark.parametrize(("left", "left_text"), KLEENE)
@pytest.mark.parametrize(("right", "right_text"), KLEENE)
def test_logic_is_kleenes(left: bool | None, left_text: str, right: bool | None, right_text: str) -> None:  # noqa: FBT001 - a table of truth values
    order = [False, None, True]
    ranks = (order.index(left), order.index(right))
    assert _ask(f"{left_text} and {right_text}", vip=1) is order[min(ranks)]
    assert _ask(f"{left_text} or {right_text}", vip=1) is order[max(ranks)]
    assert _ask(f"not {left_text}", vip=1) is order[2 - ranks[0]]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("n == 5", True), ("n != 5", False), ("n < 5", False), ("n <= 5", True), ("n > 4", True), ("n >= 6", False),
        ("n in [4, 5]", True), ("n in [4, 6]", False), ("gone in [1]", None), ("gone is known", False), ("n is known", True),
        ("gone != 1", None), ('city == "Wien"', True), ('city != "wien"', True), ('n == "5"', None), ("city < 5", None), ("city older than 1d", None),
    ],
)  # fmt: skip
def test_clauses_on_traits(text: str, want: bool | None) -> None:  # noqa: FBT001 - a table of truth values
    assert _ask(text, n=5, city="Wien", gone=None) is want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("d == 2026-01-31", True), ("d != 2026-01-31", False), ("d <= 2026-01-31", True), ("d < 2026-01-31", False), ("d < 2026-02-01", True),
        ("d > 2026-01-31", False), ("d > 2026-01-30", True), ("d >= 2026-01-31", True), ("d >= 2026-02-01", False), ("d == 2026-01-30", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("second", [0, 1, DAY - 1])
def test_a_date_is_the_whole_utc_day(text: str, second: int, want: bool) -> None:  # noqa: FBT001 - a table of truth values
    assert _ask(text, d=day_start(date(2026, 1, 31)) + second) is want


@pytest.mark.parametrize(("ago", "older"), [(30 * DAY + 1, True), (30 * DAY, False), (0, False), (-DAY, False)])
def test_ages_are_half_open(ago: int, older: bool) -> None:  # noqa: FBT001 - a table of truth values
    assert _ask("d older than 30d", d=NOW - ago) is older
    assert _ask("d newer than 30d", d=NOW - ago) is not older


def test_clauses_on_events() -> None:
    history = (
        ("buy", NOW - 40 * DAY),
        ("buy", NOW - 30 * DAY),
        ("buy", NOW),
        ("buy", NOW + 1),
        ("see", NOW - 90 * DAY),
    )
    assert _ask("count(buy) == 3 and count(buy, 30d) == 2 and count(buy, 1s) == 1", *history) is True
    assert _ask("count(never) == 0 and count(never, 1d) < 1", *history) is True
    assert _ask("first(buy) older than 39d and last(buy) newer than 1s", *history) is True
    assert _ask("last(see) older than 90d", *history) is False
    assert _ask("last(never) older than 1d", *history) is None
    assert _ask("not (last(never) newer than 1d)", *history) is None


def test_missing_data_makes_nobody_a_member() -> None:
    nobody = Person({})
    for text in ('not (city in ["Berlin"])', "n != 1", "not (n == 1)", "d older than 1d", "not (d newer than 1d)"):
        assert evaluate(parse_text(text), nobody, NOW) is None


def test_explain_answers_every_clause_in_order() -> None:
    person = Person({TraitId("purchase_count"): 41, TraitId("city"): "Berlin"}, [("purchase", NOW - DAY)] * 5)
    assert explain(parse_text(EXAMPLE), person, NOW) == [
        ("purchase_count >= 40", True),
        ("last_purchase older than 30d", None),
        ('city in ["Berlin"]', True),
        ("count(purchase, 90d) >= 5", True),
    ]


# -- laws ------------------------------------------------------------------------------------------------------

asked = st.one_of(
    st.builds(TraitCompare, st.sampled_from(["a", "b"]), st.sampled_from(Op), st.integers(0, 3)),
    st.builds(TraitIn, st.sampled_from(["a", "b"]), st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)),
    st.builds(TraitWithin, st.sampled_from(["a", "b"]), st.sampled_from(Age), st.integers(NOW - 3, NOW)),
    st.just(Everyone()),
)
values = st.integers(0, 3)


@given(_trees(asked), values, values)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_learning_a_fact_never_overturns_an_answer(tree: Segment, a: int, b: int) -> None:
    full = evaluate(tree, Person({TraitId("a"): a, TraitId("b"): b}), NOW)
    assert full is not None
    for known in ({}, {TraitId("a"): a}, {TraitId("b"): b}):
        assert evaluate(tree, Person(known), NOW) in (None, full)


@given(_trees(asked), _trees(asked), st.none() | values)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_de_morgan(left: Segment, right: Segment, a: int | None) -> None:
    person = Person({TraitId("a"): a})
    assert evaluate(Not(And((left, right))), person, NOW) is evaluate(Or((Not(left), Not(right))), person, NOW)
    assert evaluate(Not(Not(left)), person, NOW) is evaluate(left, person, NOW)


def test_the_law_goes_red_when_unknown_counts_as_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments.evaluation, "_negate", lambda answer: not answer)
    with pytest.raises(AssertionError):
        test_learning_a_fact_never_overturns_an_answer()
