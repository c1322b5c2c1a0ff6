"""Classes made by SQL, classes made in Python and a third quantisation written here agree for any rows (P10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, true

from builders import DAY, NOW_S
from consent_gateway.db import audience_rows as rows_module
from consent_gateway.db import classes as classes_module
from consent_gateway.db.audience_rows import Reading, blank, population, read_people, rows, update_rows
from consent_gateway.db.classes import class_sizes, classes
from consent_gateway.db.engine import Session, Store
from consent_gateway.db.tables import LAST_NOES, audience_rows, subject_keys
from consent_gateway.domain.audiences import ClassKey
from consent_gateway.domain.circumstances import Recency
from consent_gateway.domain.consents import FOREVER
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.scopes import Side
from consent_gateway.domain.subjects import Flag, month_of

MONTH = month_of(NOW_S)
WEEK = 7 * DAY
RULES = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

# Instants exactly on an edge, one second to either side of it, and far away.
edges = st.sampled_from([0, DAY, WEEK]).flatmap(lambda w: st.sampled_from([NOW_S - w + d for d in (-1, 0, 1)]))
times = st.one_of(st.none(), edges, st.sampled_from([NOW_S - 400 * DAY, NOW_S + DAY]))
births = st.one_of(
    st.none(),
    st.sampled_from([13, 14, 15, 16, 18]).flatmap(lambda a: st.sampled_from([MONTH - 12 * a + d for d in (-2, -1, 0)])),
    st.sampled_from([MONTH, MONTH + 5, MONTH - 1200]),
)
EVERY_FLAG = 2 * max(Flag) - 1
# NOW_S is noon, 18 November 2026: six and twelve months before it are 18 May 2026 and 18 November 2025, to their ends.
HALF_YEAR, YEAR = 1_779_148_800, 1_763_510_400
noes = st.none() | st.sampled_from([HALF_YEAR, YEAR, NOW_S - 300, NOW_S]).flatmap(
    lambda at: st.sampled_from([at - 1, at, at + 1])
)
untils = st.sampled_from([0, -1, -2, -3, NOW_S - 1, NOW_S, NOW_S + 1, FOREVER])
bits = st.integers(0, (1 << 62) - 1)
stored = st.fixed_dictionaries(
    {
        "regions": st.sampled_from(["", "DE", "DE|US-CA"]),
        "birth_month": births,
        "flags": st.integers(0, EVERY_FLAG),
        "email_facts": st.integers(0, 63),
        "phone_facts": st.integers(0, 63),
        **dict.fromkeys(LAST_NOES, noes),
        **{f"c{slot}": untils for slot in (0, 15)},
        **{f"r{slot}": untils for slot in (0, 15)},
        **{f"p{slot}": bits for slot in (0, 15)},
        **{f"{channel}_{n}": times for channel in ("email", "push") for n in (1, 2, 3, 4)},
    }
)
readings = st.builds(
    Reading,
    slot=st.sampled_from([None, 0, 15]),
    flags=st.sampled_from([0, 63, EVERY_FLAG]),
    side=st.sampled_from([None, -1, 0, 22]).map(Side),  # ourselves; a third party without a bit, the first, the last
    channel=st.sampled_from(["email", "push", "in_app", "none"]),
    cap_limit=st.integers(0, 5),
    cap_window=st.sampled_from([DAY, WEEK]),
    medium=st.sampled_from(["email", "phone"]),
    facts=st.sampled_from([0, 1, 63]),
    recency=st.sampled_from(Recency),
)


def quantised(row: dict[str, Any], reading: Reading) -> ClassKey:
    """What a question may know of a row, from the words of the law and the settings, one `if` at a time."""
    age = -1
    if row["birth_month"] is not None:
        reached = (MONTH - row["birth_month"] - 1) // 12  # a birthday counts from the month after it
        age = max([band for band in (0, 13, 14, 15, 16, 18) if band <= reached], default=0)
    consent = properties = 0
    if reading.slot is not None:
        consent, properties = said(*(row[f"{letter}{reading.slot}"] for letter in "crp"), reading.side.bit)
    caps = 0
    if reading.channel in ("email", "push") and 1 <= reading.cap_limit <= 4:
        kth, third = row[f"{reading.channel}_{reading.cap_limit}"], row[f"{reading.channel}_3"]
        if kth is not None and kth > NOW_S - reading.cap_window:
            caps += 1
        if third is not None and third > NOW_S - DAY:
            caps += 2
    facts = row[f"{reading.medium}_facts"] & reading.facts if reading.facts else 0
    recency = past(row, reading.recency)
    return ClassKey(row["regions"], age, row["flags"] & reading.flags, consent, properties, caps, facts, recency)


def past(row: dict[str, Any], recency: Recency) -> int:
    """What a question may know of past noes: 1, 2, 3 are recent, older and oldest, or due, late and sent."""
    if recency is Recency.ASKING:
        opted, refused = row["opted_out_at"], row["refused_at"]
        first = 0 if opted is None else 2 if opted < YEAR else 1
        second = 0 if refused is None else 3 if refused < YEAR else 2 if refused < HALF_YEAR else 1
        return first + 4 * second
    medium = {Recency.CONFIRMING_EMAIL: "email", Recency.CONFIRMING_PHONE: "phone"}.get(recency)
    revoked, confirmed = (None, None) if medium is None else (row[f"revoked_{medium}"], row[f"confirmed_{medium}"])
    if revoked is None:
        return 0
    if confirmed is not None and confirmed >= revoked:
        return 3
    return 1 if NOW_S - revoked <= 300 else 2


def said(own: int, named: int, scope: int, bit: int | None) -> tuple[int, int]:
    """Consent code and properties as one side reads a slot: bit 128 says that the grant covers it."""
    until, held, closed, covered = own, scope % 128, scope >> 14 & 1, bit is None
    if bit is not None and bit >= 0:
        if scope >> (39 + bit) & 1:
            return -1, 0
        if scope >> (16 + bit) & 1:
            until, held, closed, covered = named, scope >> 7 & 127, scope >> 15 & 1, True
    if until > NOW_S:
        return 1, held + (128 if covered else 0)
    return (-1 if closed else 2) if until > 0 else until, 0


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    with store.transaction() as session:
        yield session


def fill(session: Session, found: list[dict[str, Any]]) -> dict[SubjectId, dict[str, Any]]:
    for table in (audience_rows, subject_keys):
        session.execute(delete(table))
    people = {SubjectId(n): blank(SubjectId(n)) | row for n, row in enumerate(found, 1)}
    rows_module.insert_rows(session, list(people.values()))
    if people:
        session.execute(insert(subject_keys), [{"subject_id": i, "wrapped_dek": b"%d" % i} for i in people])
    return people


def three_ways(session: Session, rules: settings) -> None:
    @rules
    @given(st.lists(stored, min_size=1, max_size=12), readings)
    def check(found: list[dict[str, Any]], reading: Reading) -> None:
        people = fill(session, found)
        wanted = {i: quantised(row, reading) for i, row in people.items()}
        by_key = read_people(session, reading, list(people), NOW_S)
        assert {i: person.key for i, person in by_key.items()} == wanted
        assert all(person.wrapped_dek == b"%d" % i for i, person in by_key.items())
        by_scan = {i: key for key, ids in classes(session, reading, true(), NOW_S) for i in ids}
        assert by_scan == wanted
        assert dict(class_sizes(session, reading, true(), NOW_S)) == Counter(wanted.values())

    check()


def test_sql_python_and_the_reference_agree(session: Session) -> None:
    three_ways(session, settings(RULES, max_examples=300 if session.dialect.name == "sqlite" else 80))


SEARCH = settings(RULES, max_examples=1000, phases=[Phase.generate], report_multiple_bugs=False)


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("DAY", DAY + 1),  # the window of Florida, one second too long
        ("latest_birth_month", lambda age, month: month - 12 * age),  # a birthday that counts a month early
        ("THREE_IN_24H", 1),
        ("COVERED", 0),
        ("OWN_AFTER_NO", 0),
        ("PROPERTY_BITS", 6),
    ],
)
def test_a_planted_difference_is_found(
    session: Session, monkeypatch: pytest.MonkeyPatch, name: str, planted: object
) -> None:
    monkeypatch.setattr(classes_module, name, planted)
    with pytest.raises(AssertionError):
        three_ways(session, SEARCH)


def test_each_class_comes_once_and_each_person_once(session: Session) -> None:
    reading = Reading(0, 2047, Side(), "email", 3, WEEK)
    fill(session, [{"flags": n % 3} for n in range(700)])
    found = list(classes(session, reading, true(), NOW_S))
    assert len({key for key, _ in found}) == len(found) == 3
    assert sorted(i for _, ids in found for i in ids) == list(range(1, 701))
    assert population(session) == 700


def test_more_people_than_one_list_of_values(session: Session) -> None:
    reading = Reading(0, 2047, Side(), "email", 3, WEEK)
    fill(session, [{"flags": n % 5} for n in range(1203)])
    found = read_people(session, reading, [SubjectId(n) for n in range(1, 1300)], NOW_S)
    assert {i: p.key.flags for i, p in found.items()} == {n: (n - 1) % 5 for n in range(1, 1204)}


def test_writing_some_columns_leaves_the_others(session: Session) -> None:
    before = fill(session, [{"flags": 7, "c0": 5, "s0": "Ulm"}, {"flags": 7}, {"flags": 7}])
    update_rows(session, {SubjectId(1): {"c0": 9}, SubjectId(2): {"c0": 8}, SubjectId(3): {}})
    wanted = {i: dict(row) for i, row in before.items()}
    wanted[SubjectId(1)]["c0"], wanted[SubjectId(2)]["c0"] = 9, 8
    assert rows(session, before) == wanted
    assert rows(session, [SubjectId(2)], ["c0"]) == {2: {"subject_id": 2, "c0": 8}}


def test_a_blank_row_knows_nothing(session: Session) -> None:
    fill(session, [{}])
    assert quantised(blank(SubjectId(1)), Reading(0, 2047, Side(), "email", 3, WEEK)) == ClassKey("", -1, 0, 0, 0, 0)
