"""Rows written by the driver's own statements are those that the compiler of statements would have written."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from builders import NOW_S
from consent_gateway.db import arrivals, bulk, subjects
from consent_gateway.db import audience_rows as rows_module
from consent_gateway.db.engine import Session, Store
from consent_gateway.db.subjects import SealedGroup, Token
from consent_gateway.db.tables import identifiers, subject_sources, subject_traits
from consent_gateway.db.tables import subjects as people
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import InputError, RaceError, StoreError

TWO = [("DE|US-CA", 24_000), ("", None)]
GENERATION = 1


def everything(session: Session, table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in session.execute(select(table).order_by(*table.primary_key.columns)).mappings()]


def _arrive(session: Session, points: list[Any]) -> None:
    arrivals.create(session, NOW_S, TWO)
    arrivals.add_identifiers(session, points)


def test_people_get_ascending_numbers_in_their_order(store: Store) -> None:
    with store.transaction() as session:
        assert arrivals.create(session, NOW_S, []) == []
        first = arrivals.create(session, NOW_S, TWO)
    with store.transaction() as session:
        second = arrivals.create(session, NOW_S + 1, TWO)
        found = [tuple(row.values()) for row in everything(session, people)]
    ids = [*first, *second]
    assert ids == sorted(set(ids))
    assert found == [(i, NOW_S + n // 2, *TWO[n % 2]) for n, i in enumerate(ids)]


def test_a_number_is_never_given_twice(store: Store) -> None:
    with store.transaction() as session:
        *_, last = arrivals.create(session, NOW_S, TWO)
        subjects.delete_person(session, last)
    with store.transaction() as session:
        (gone,) = arrivals.create(session, NOW_S, TWO[:1])
        subjects.skip_ids(session, gone + 7)
    with store.transaction() as session:
        (after,) = arrivals.create(session, NOW_S, TWO[:1])
    assert last < gone < gone + 7 < after


def test_a_row_of_a_new_person_is_a_blank_one_with_what_is_known(store: Store) -> None:
    known: list[arrivals.Known] = [(SubjectId(1), "DE|US-CA", 24_000, 257), (SubjectId(2), "", None, 0)]
    traits: list[dict[str, int | str]] = [{"n0": 5, "s1": "gold"}, {"n3": 1 << 61}]
    with store.transaction() as session:
        arrivals.add_rows(session, list(zip(known, traits, strict=True)))
        written = rows_module.rows(session, [SubjectId(1), SubjectId(2)])
    names = ("subject_id", "regions", "birth_month", "flags")
    for row, said in zip(known, traits, strict=True):
        assert written[row[0]] == rows_module.blank(row[0]) | dict(zip(names, row, strict=True)) | said


def test_what_belongs_to_new_people_is_found_again(store: Store) -> None:
    token, other = Token("email", bytes(range(16))), Token("phone", bytes(range(1, 17)))
    group = SealedGroup(SubjectId(7), "contact", 1, 1, b"\x00\xff\\x41")
    with store.transaction() as session:
        arrivals.add_keys(session, [(SubjectId(7), b"\x00wrapped\xff")])
        points = [(SubjectId(7), t.kind, GENERATION, t.value, t is other) for t in (token, other)]
        arrivals.add_identifiers(session, points)
        arrivals.add_sealed(session, [group])
        arrivals.add_traits(session, [(SubjectId(7), "tier", None, "a\tb\\N\n"), (SubjectId(7), "visits", 3, None)])
    with store.reading() as session:
        assert subjects.wrapped_keys(session, [SubjectId(7)]) == {7: b"\x00wrapped\xff"}
        assert subjects.sealed(session, [SubjectId(7)], "contact") == {7: group}
        found = subjects.find_by_tokens(session, [token, other, Token("email", bytes(16))], GENERATION)
        assert {t: (p.subject_id, p.suppressed) for t, p in found.items()} == {token: (7, False), other: (7, True)}
        assert subjects.find_by_tokens(session, [token], GENERATION + 1) == {}
        assert [r["text"] for r in everything(session, subject_traits)] == ["a\tb\\N\n", None]
        assert [r["point"] for r in everything(session, identifiers)] == [None, None]


def test_more_tokens_than_one_statement_takes_are_found(store: Store) -> None:
    tokens = [Token("email", n.to_bytes(16, "big")) for n in range(1201)]
    with store.transaction() as session:
        rows = [(SubjectId(n + 1), t.kind, GENERATION, t.value, False) for n, t in enumerate(tokens)]
        arrivals.add_identifiers(session, rows[::2])
        found = subjects.find_by_tokens(session, tokens, GENERATION)
    assert {t: p.subject_id for t, p in found.items()} == {t: n + 1 for n, t in enumerate(tokens) if n % 2 == 0}


def test_a_taken_token_is_a_race_and_nothing_is_written(store: Store) -> None:
    row = (SubjectId(1), "email", GENERATION, bytes(16), False)
    with store.transaction() as session:
        arrivals.add_identifiers(session, [row])
    free = (SubjectId(2), "email", GENERATION, bytes(range(16)), False)
    with pytest.raises(RaceError), store.transaction() as session:
        _arrive(session, [free, row])
    with store.reading() as session:
        assert everything(session, people) == []
        assert len(everything(session, identifiers)) == 1


def test_a_value_that_does_not_fit_is_told_without_the_value(store: Store) -> None:
    with pytest.raises((InputError, StoreError)) as caught, store.transaction() as session:
        arrivals.add_keys(session, [(SubjectId(1), None)])  # type: ignore[list-item]
    assert "COPY" not in str(caught.value)
    assert "None" not in str(caught.value)


def test_rows_that_exist_are_overwritten_and_others_added(store: Store) -> None:
    names = ("subject_id", "source", "last_at")
    with store.transaction() as session:
        bulk.upsert_many(session, subject_sources, names, [])
        bulk.upsert_many(session, subject_sources, names, [(1, "crm", 10), (2, "crm", 10)])
        bulk.upsert_many(session, subject_sources, names, [(2, "crm", 20), (2, "shop", 20), (3, "crm", 20)])
        found = [tuple(row[name] for name in names) for row in everything(session, subject_sources)]
    assert found == [(1, "crm", 10), (2, "crm", 20), (2, "shop", 20), (3, "crm", 20)]
