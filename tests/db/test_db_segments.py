"""Segments in SQL mean what the reference evaluator says, on both stores."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    create_engine,
    delete,
    false,
    func,
    not_,
    select,
    text,
    type_coerce,
)

from consent_gateway.db import segments as db_segments
from consent_gateway.db.segments import compile_segment
from consent_gateway.db.tables import audience_rows, events, metadata, subject_links
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
    day_start,
    evaluate,
    parse_text,
)
from consent_gateway.domain.segments.checks import tree_problems
from consent_gateway.domain.segments.trees import walk
from consent_gateway.errors import InputError

DAY = 86_400
NOW = 1_772_366_400  # 2026-03-01T12:00:00Z
REGISTRY = {
    TraitId(name): TraitDefinition(TraitId(name), kind, slot)
    for name, kind, slot in (
        ("number", TraitType.INTEGER, "n0"),
        ("day", TraitType.DATE, "n5"),
        ("flag", TraitType.BOOLEAN, "n11"),
        ("city", TraitType.TEXT, "s3"),
    )
}
TABLES = [audience_rows, events, subject_links]
MERGED = 1000  # the second subject of person i is MERGED + i


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection inside a transaction that is rolled back, with empty tables."""
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres_server")
    engine = create_engine(url)
    with engine.connect() as connection:
        if request.param == "postgres":
            schema = f"segments_{secrets.token_hex(8)}"
            connection.execute(text(f"CREATE SCHEMA {schema}"))
            connection.execute(text(f"SET LOCAL search_path TO {schema}"))
        metadata.create_all(connection, tables=TABLES)
        yield connection
        connection.rollback()
    engine.dispose()


def answers(
    store: Connection,
    segment: Segment,
    people: Sequence[Person],
    compiled: Callable[..., ColumnElement[bool]],
    *,
    scattered: bool = False,
) -> list[bool | None]:
    """What the store answers for each person, after storing just these people; `scattered` over two subjects each."""
    for table in TABLES:
        store.execute(delete(table))
    rows = [{"subject_id": i, "regions": "", "flags": 0, **_slots(person)} for i, person in enumerate(people, 1)]
    store.execute(audience_rows.insert(), rows)
    if history := [_event(i, kind, at, n) for i, p in enumerate(people, 1) for n, (kind, at) in enumerate(p.events)]:
        store.execute(events.insert(), [_moved(event) if scattered else event for event in history])
    if scattered:
        links = [{"subject_id": MERGED + i, "head_id": i} for i in range(1, len(people) + 1) if i % 3]
        store.execute(subject_links.insert(), links)
    condition = compiled(segment, REGISTRY, NOW)
    statement = (
        select(type_coerce(condition, Boolean).label("answer"))
        .select_from(audience_rows)
        .order_by(audience_rows.c.subject_id)
    )
    told = [row.answer for row in store.execute(statement)]
    members = store.scalars(select(audience_rows.c.subject_id).where(condition)).all()
    assert sorted(members) == [i for i, answer in enumerate(told, 1) if answer]
    return told


def _slots(person: Person) -> dict[str, int | str | None]:
    return {trait.slot: person.traits.get(name) for name, trait in REGISTRY.items()}


def _event(subject: int, kind: str, at: int, n: int) -> dict[str, Any]:
    return {"subject_id": subject, "type": kind, "at": at, "source": "test", "event_key": f"{subject}-{n}"}


def _moved(event: dict[str, Any]) -> dict[str, Any]:
    """Every other event of two people in three is their second subject's."""
    subject, n = map(int, event["event_key"].split("-"))
    return event | {"subject_id": MERGED + subject} if n % 2 and subject % 3 else event


def disagreements(
    store: Connection,
    segment: Segment,
    people: Sequence[Person],
    compiled: Callable[..., ColumnElement[bool]] = compile_segment,
    *,
    scattered: bool = False,
) -> list[tuple[Person, bool | None, bool | None]]:
    """The checker: who is answered differently by the store and by the reference."""
    told = answers(store, segment, people, compiled, scattered=scattered)
    want = [evaluate(segment, person, NOW) for person in people]
    return [(p, t, w) for p, t, w in zip(people, told, want, strict=True) if t is not w]


# Values sit on and beside the edges that the clauses ask about.
edges = st.builds(
    lambda days, off: NOW - days * DAY + off, st.sampled_from([0, 1, 30, 90]), st.sampled_from([-1, 0, 1])
)
windows = st.sampled_from([1, DAY, 30 * DAY, 90 * DAY])
cities = st.sampled_from(["Berlin", "berlin", "Wien", "北京", "O'Hare %s :x", "Berlin "])
numbers = st.sampled_from([-1, 0, 1, 2, 40, 2**53 - 1])
kinds = st.sampled_from(["purchase", "visit"])
ops = st.sampled_from(Op)
number, day, flag, city = (st.just(name) for name in REGISTRY)

clauses = st.one_of(
    st.just(Everyone()),
    st.builds(TraitCompare, number, ops, numbers),
    st.builds(TraitCompare, day, ops, st.one_of(edges, st.dates())),
    st.builds(TraitCompare, flag, st.sampled_from([Op.EQ, Op.NE]), st.booleans()),
    st.builds(TraitCompare, city, st.sampled_from([Op.EQ, Op.NE]), cities),
    st.builds(TraitIn, number, st.lists(numbers, min_size=1, max_size=3).map(tuple)),
    st.builds(TraitIn, city, st.lists(cities, min_size=1, max_size=3).map(tuple)),
    st.builds(TraitKnown, st.sampled_from(list(REGISTRY))),
    st.builds(TraitWithin, day, st.sampled_from(Age), windows),
    st.builds(EventCount, kinds, ops, st.integers(0, 3), st.none() | windows),
    st.builds(EventWithin, kinds, st.sampled_from(Edge), st.sampled_from(Age), windows),
)


def _grow(inner: st.SearchStrategy[Segment]) -> st.SearchStrategy[Segment]:
    parts = st.lists(inner, min_size=1, max_size=4).map(tuple)
    return st.one_of(st.builds(And, parts), st.builds(Or, parts), st.builds(Not, inner))


trees = st.recursive(clauses, _grow, max_leaves=10).filter(lambda tree: not list(tree_problems(tree)))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Segment, list[Person]]:
    """A tree, and people some of whom stand on the edges of its very values."""
    tree = draw(trees)
    asked = [day_start(node.value) for node in _compared_days(tree)]
    near = st.builds(
        lambda start, off: start + off, st.sampled_from(asked or [0]), st.sampled_from([-1, 0, 1, DAY - 1, DAY])
    )
    traits = st.fixed_dictionaries(
        {
            "number": st.none() | numbers,
            "day": st.none() | edges | near,
            "flag": st.none() | st.sampled_from([0, 1]),
            "city": st.none() | cities,
        }
    )
    people = st.builds(Person, traits, st.lists(st.tuples(kinds, edges), max_size=4).map(tuple))
    return tree, draw(st.lists(people, min_size=1, max_size=8))


def _compared_days(tree: Segment) -> list[TraitCompare]:
    found = [node for _, node in walk(tree) if isinstance(node, TraitCompare)]
    return [node for node in found if not isinstance(node.value, int | str)]


@given(question=questions())
@settings(derandomize=True, deadline=None, max_examples=400)
def test_the_store_answers_as_the_reference_does(store: Connection, question: tuple[Segment, list[Person]]) -> None:
    assert disagreements(store, *question) == []


OVER_ALL = partial(compile_segment, merged=True)


@given(question=questions())
@settings(derandomize=True, deadline=None, max_examples=200)
def test_events_of_every_subject_of_a_person_count(store: Connection, question: tuple[Segment, list[Person]]) -> None:
    assert disagreements(store, *question, OVER_ALL, scattered=True) == []


def test_a_search_among_the_heads_own_events_alone_is_found(store: Connection) -> None:
    question = parse_text("count(visit) == 2")
    twice = [Person({}, [("visit", NOW - 1), ("visit", NOW)])]
    assert disagreements(store, question, twice, OVER_ALL, scattered=True) == []
    assert disagreements(store, question, twice, compile_segment, scattered=True) != []


# -- the same checker goes red -----------------------------------------------------------------------------------

PEOPLE = [
    Person({}),
    Person(
        {TraitId("day"): NOW - 30 * DAY, TraitId("number"): 5}, [("purchase", NOW - 30 * DAY), ("purchase", NOW + 1)]
    ),
    Person({TraitId("day"): 1_769_904_000 - 1, TraitId("flag"): 0}, [("visit", NOW - 31 * DAY), ("visit", NOW)]),
]  # the last one's day is 2026-01-31T23:59:59Z


def _plant_unknown_as_false(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(db_segments, "not_", lambda condition: not_(func.coalesce(condition, false())))


def _plant_closed_age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        db_segments._Compiler,
        "_has_age",
        lambda self, at, age, s: at <= self._now - s if age is Age.OLDER else at > self._now - s,
    )


def _plant_first_for_last(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(db_segments, "Edge", type("Swapped", (), {"FIRST": Edge.LAST}))


def _plant_midnight_for_day(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(db_segments, "DAY", 0)


def _plant_lost_brackets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(db_segments, "or_", db_segments.and_)


def _plant_everyones_events(patch: pytest.MonkeyPatch) -> None:
    def search(self: db_segments._Compiler, found: db_segments.Select[int], clause: EventCount) -> object:
        return found.where(events.c.type == clause.type, events.c.at <= self._now).scalar_subquery()

    patch.setattr(db_segments._Compiler, "_search", search)


def _plant_future_events(patch: pytest.MonkeyPatch) -> None:
    def search(self: db_segments._Compiler, found: db_segments.Select[int], clause: EventCount) -> object:
        mine = (events.c.subject_id == self._rows.c.subject_id, events.c.type == clause.type)
        return found.where(*mine).correlate(self._rows).scalar_subquery()

    patch.setattr(db_segments._Compiler, "_search", search)


@pytest.mark.parametrize(
    ("plant", "question"),
    [
        (_plant_unknown_as_false, "not (number == 1)"),
        (_plant_closed_age, "day older than 30d"),
        (_plant_closed_age, "first(purchase) newer than 30d"),
        (_plant_first_for_last, "last(visit) older than 30d"),
        (_plant_midnight_for_day, "day == 2026-01-31"),
        (_plant_lost_brackets, "number == 5 or day is known"),
        (_plant_everyones_events, "count(purchase) == 1"),
        (_plant_future_events, "count(purchase, 30d) == 1"),
    ],
)
def test_a_planted_bug_is_found(
    store: Connection, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], question: str
) -> None:
    segment = parse_text(question)
    assert disagreements(store, segment, PEOPLE) == []
    plant(monkeypatch)
    assert disagreements(store, segment, PEOPLE) != []


# -- the statement itself ----------------------------------------------------------------------------------------


def test_nothing_unchecked_becomes_sql() -> None:
    for question in ("age == 1", "city == 1", "flag > true"):
        with pytest.raises(InputError):
            compile_segment(parse_text(question), REGISTRY, NOW)


def test_values_are_bound_and_never_written_into_the_statement() -> None:
    condition = compile_segment(parse_text('city == "x\' or 1=1 --" or city in ["secret"]'), REGISTRY, NOW)
    statement = str(select(audience_rows.c.subject_id).where(condition))
    assert "1=1" not in statement
    assert "secret" not in statement


def test_an_alias_of_the_rows_can_be_asked(store: Connection) -> None:
    answers(store, Everyone(), PEOPLE, compile_segment)
    rows = audience_rows.alias("r")
    condition = compile_segment(parse_text("count(purchase) == 1 and number == 5"), REGISTRY, NOW, rows)
    assert store.scalars(select(rows.c.subject_id).where(condition)).all() == [2]


def test_events_are_found_by_the_index(store: Connection) -> None:
    if store.dialect.name != "sqlite":
        pytest.skip("the plan of an empty PostgreSQL table says nothing")
    condition = compile_segment(parse_text("count(purchase, 30d) >= 1 and last(visit) older than 1d"), REGISTRY, NOW)
    statement = (
        select(audience_rows.c.subject_id).where(condition).compile(store, compile_kwargs={"literal_binds": True})
    )
    plan = [row.detail for row in store.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]
    searched = [step for step in plan if "events" in step]
    assert len(searched) == 2
    assert all("COVERING INDEX ix_events_subject_type_at (subject_id=? AND type=? AND at" in step for step in searched)


def test_the_widest_segment_is_executed(store: Connection) -> None:
    wide = And((TraitIn(TraitId("number"), tuple(range(200))), *(parse_text(f"number != {i}") for i in range(50, 112))))
    people = [Person({TraitId("number"): n}) for n in (0, 50, 199, 200)]
    assert answers(store, wide, people, compile_segment) == [True, False, True, False]
