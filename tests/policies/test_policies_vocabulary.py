"""The fact space: how a point is packed, and where one class ends and the next begins."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import pytest
from policies_builders import a_person, a_question, consenting

from consent_gateway.policies import vocabulary
from consent_gateway.policies.classes import (
    age_band,
    collected_class,
    confirmation_class,
    contacts_class,
    export_class,
    months_between,
    opt_out_class,
    refusal_class,
    sensitive_export_class,
)
from consent_gateway.policies.facts import QUESTION_MASK, build
from consent_gateway.policies.vocabulary import (
    ALL,
    BITS,
    BY_NAME,
    FACTS,
    FIELD,
    VOCABULARY,
    Facts,
    UnknownFactError,
    bit,
    digest_of,
    field_mask,
    well_formed,
)

DAY = date(2026, 11, 18)
GOOD = consenting()[0]


def test_fields_follow_each_other_with_one_spare_bit_above_each() -> None:
    expected, place = {}, 0
    for fact in FACTS:
        expected[fact.name] = {value: 2 ** (place + n) for n, value in enumerate(fact.values)}
        place += len(fact.values) + 1
    assert expected == BITS
    assert vocabulary._layout() == (vocabulary._OFFSET, expected)


def test_a_field_is_the_union_of_its_values() -> None:
    assert field_mask(()) == 0
    assert field_mask(["age", "gpc", "age"]) == FIELD["age"] | FIELD["gpc"]
    assert sum(FIELD.values()) == ALL
    assert field_mask(fact.name for fact in FACTS if fact.of_question) == QUESTION_MASK


def test_a_bit_is_known_by_fact_and_value() -> None:
    assert bit("age", "13") == BITS["age"]["13"]
    with pytest.raises(UnknownFactError) as caught:
        bit("moon", "full")
    assert caught.value.detail == "there is no fact named 'moon'"
    with pytest.raises(UnknownFactError) as caught:
        bit("age", "full")
    assert caught.value.detail == "the fact 'age' has a value outside of its domain"


def test_a_point_has_one_value_of_each_fact_and_nothing_else() -> None:
    bits = GOOD.bits
    assert well_formed(bits)
    for fact in FACTS:
        mine = bits & FIELD[fact.name]
        spare = max(BITS[fact.name].values()) << 1
        others = [value for value in BITS[fact.name].values() if value != mine]
        assert not well_formed(bits ^ mine)
        assert not well_formed(bits | others[0])
        assert not well_formed(bits | spare)
        assert not well_formed(bits ^ mine | spare)
        assert well_formed(bits ^ mine | others[0])
    assert not well_formed(bits | ALL + 1 << 1)
    assert not well_formed(-1)
    assert not well_formed(0)


def test_a_point_is_made_of_all_facts_and_read_fact_by_fact() -> None:
    values = {fact.name: fact.values[-1] for fact in FACTS}
    facts = Facts.of(values)
    assert dict(facts.items()) == values
    assert [facts[name] for name in facts] == list(values.values())
    assert list(facts) == list(BY_NAME)
    with pytest.raises(UnknownFactError) as caught:
        Facts.of({name: value for name, value in values.items() if name != "consent"})
    assert caught.value.detail == "the fact 'consent' is missing"
    first = Facts.of({fact.name: fact.values[0] for fact in FACTS})
    assert first.replace(**values) == facts
    assert first.replace() == first


def test_a_point_is_written_in_hexadecimal_and_read_back() -> None:
    assert GOOD.hex() == format(GOOD.bits, "x")
    assert Facts.from_hex(GOOD.hex()) == GOOD
    with pytest.raises(UnknownFactError) as caught:
        Facts.from_hex("zz")
    assert caught.value.detail == "the stored facts are not hexadecimal"
    for text in ("99", "0", "-1", format(GOOD.bits | 1 << 400, "x")):
        with pytest.raises(UnknownFactError) as caught:
            Facts.from_hex(text)
        assert caught.value.detail == "the stored facts are not a point of this vocabulary"


def test_the_digest_is_over_the_vocabulary_and_the_packed_point() -> None:
    width = (sum(len(fact.values) + 1 for fact in FACTS) + 7) // 8
    assert len(VOCABULARY) == 16
    packed = GOOD.bits.to_bytes(width, "big")
    assert GOOD.digest() == digest_of(GOOD.bits) == hashlib.sha256(VOCABULARY + packed).hexdigest()


# -- classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "at", "below", "above"),
    [
        (age_band, 13, "under_13", "13"),
        (age_band, 14, "13", "14"),
        (age_band, 15, "14", "15"),
        (age_band, 16, "15", "16_17"),
        (age_band, 18, "16_17", "adult"),
        (export_class, 100_000, "under_100k", "100k_to_1m"),
        (export_class, 1_000_000, "100k_to_1m", "over_1m"),
        (sensitive_export_class, 10_000, "under_10k", "over_10k"),
        (export_class, 0, "unknown", "under_100k"),
        (sensitive_export_class, 0, "unknown", "under_10k"),
        (contacts_class, 3, "under_3", "3_or_more"),
    ],
)
def test_a_bound_belongs_to_the_class_above_it(make: Any, at: int, below: str, above: str) -> None:
    assert (make(at - 1), make(at)) == (below, above)


def test_what_is_not_known_is_a_class_of_its_own() -> None:
    assert {age_band(None), export_class(None), sensitive_export_class(None), collected_class(None)} == {"unknown"}
    with pytest.raises(UnknownFactError) as caught:
        age_band(-1)
    assert caught.value.detail == "the fact 'age' has a value outside of its domain"


@pytest.mark.parametrize(
    ("since", "today", "months"),
    [
        (date(2026, 1, 31), date(2026, 2, 28), 0),
        (date(2026, 1, 31), date(2026, 3, 31), 2),
        (date(2025, 11, 18), date(2026, 11, 17), 11),
        (date(2025, 11, 18), date(2026, 11, 18), 12),
        (date(2026, 3, 1), date(2026, 1, 1), -2),
        (date(2026, 3, 1), date(2026, 2, 28), -1),
        (date(2020, 6, 15), date(2026, 2, 15), 68),
    ],
)
def test_months_are_counted_by_the_calendar(since: date, today: date, months: int) -> None:
    assert months_between(since, today) == months


@pytest.mark.parametrize(
    ("since", "opted_out", "refused"),
    [
        (date(2026, 5, 19), "under_12m", "under_6m"),
        (date(2026, 5, 18), "under_12m", "6m_to_12m"),
        (date(2025, 11, 19), "under_12m", "6m_to_12m"),
        (date(2025, 11, 18), "over_12m", "over_12m"),
        (date(2026, 11, 19), "under_12m", "under_6m"),  # a clock that is behind
    ],
)
def test_the_age_of_a_no(since: date, opted_out: str, refused: str) -> None:
    assert opt_out_class(since, DAY) == opted_out
    assert refusal_class(since, DAY, refused=True) == refusal_class(since, DAY, refused=False) == refused
    assert opt_out_class(since, None) == "under_12m"
    assert refusal_class(since, None, refused=True) == "under_6m"


def test_a_no_that_was_never_said_has_no_age() -> None:
    assert opt_out_class(None, DAY) == refusal_class(None, DAY, refused=False) == "none"
    assert refusal_class(None, DAY, refused=True) == "under_6m"


@pytest.mark.parametrize(("minutes", "found"), [(-1, "late"), (0, "due"), (5, "due"), (6, "late"), (None, "none")])
def test_a_revocation_is_confirmed_within_five_minutes_and_once(minutes: int | None, found: str) -> None:
    assert confirmation_class(minutes, sent=False) == found
    assert confirmation_class(minutes, sent=True) == ("none" if minutes is None else "sent")


def test_an_address_was_collected_before_the_act_or_since() -> None:
    assert collected_class(date(2026, 2, 4)) == "before_2026_02_05"
    assert collected_class(date(2026, 2, 5)) == "since_2026_02_05"


def test_a_mechanism_that_nobody_knows_raises() -> None:
    with pytest.raises(UnknownFactError) as caught:
        build(a_question(transfer_mechanism="trust"), a_person())
    assert caught.value.detail == "the fact 'transfer_mechanism' has a value outside of its domain"
