"""Canonical JSON: published RFC 8785 examples, laws, refusals."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.canonical import MAX_SAFE_INTEGER, _check, _JcsEncoder, canonical_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


class Outcome(StrEnum):
    DENY = "deny"


def test_keys_are_sorted_by_utf16_code_units() -> None:
    # RFC 8785 3.2.3, the example of the specification (U+1F600 sorts before U+FB33)
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical_json(value)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_the_order_holds_inside_lists_and_objects() -> None:
    value = {"a": [{"\ufb33": 1, "\U0001f600": 2}]}
    assert canonical_json(value) == '{"a":[{"\U0001f600":2,"\ufb33":1}]}'.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
        ('\u20ac$\u000f\nA\'B"\\\\"/\x7f', '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f"'),  # RFC 8785 3.2.2.2
        ("\b\t\f\r\x1f\u2028", '"\\b\\t\\f\\r\\u001f\u2028"'),
        ((1, -0, MAX_SAFE_INTEGER), "[1,0,9007199254740991]"),
        ({}, "{}"),
        ({"outcome": Outcome.DENY}, '{"outcome":"deny"}'),
    ],
)
def test_known_forms(value: object, text: str) -> None:
    assert canonical_json(value) == text.encode()


@pytest.mark.parametrize(("value", "ascii_keys"), [
    ("é", True), (7, True), ({}, True), ([], True), ({"a": ["é", {"b": "é"}]}, True), ([{"a": 1}, {"b": 2}], True),
    ({"é": 1}, False), ({"é": 1, "a": 2}, False), ({"a": {"é": {}}, "b": {}}, False), ([{"é": 1}, {"a": 1}], False),
    ({"a": [[{"é": "x"}], 1]}, False),
])  # fmt: skip
def test_only_keys_beyond_ascii_cost_a_sort_of_their_own(value: object, *, ascii_keys: bool) -> None:
    assert _check(value, 0) is ascii_keys


def test_the_encoder_writes_what_the_rfc_asks_for_and_no_float_that_json_has_not() -> None:
    """Made here once more: what runs while a module loads is run by no test otherwise."""
    value = {"b": "ü€", "a": [1, {"c": None}]}
    assert _JcsEncoder(sort_keys=True).encode(value) == '{"a":[1,{"c":null}],"b":"ü€"}'
    assert _JcsEncoder(sort_keys=False).encode(value) == '{"b":"ü€","a":[1,{"c":null}]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        _JcsEncoder(sort_keys=True).encode(float("nan"))


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        {"a": [1.5]},
        [{"é": 1}, 1.5],
        {1: "a"},
        {None: 1},
        2**53,
        -(2**53),
        "\ud800",
        {"\udfff": 1},
        {"a": b"bytes"},
        {"a": {1, 2}},
        object(),
    ],
)
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


def test_a_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(ValueError) as caught:
        canonical_json("ada@example.org\ud800")
    assert "ada" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_depth_and_cycles_end() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="levels"):
        canonical_json(cycle)
    deep: object = 1
    for _ in range(32):
        deep = [deep]
    assert canonical_json(deep) == b"[" * 32 + b"1" + b"]" * 32
    with pytest.raises(ValueError, match="levels"):
        canonical_json([deep])


@settings(derandomize=True, deadline=None, max_examples=300)
@given(VALUES)
def test_reading_gives_the_value_and_writing_again_the_bytes(value: object) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(TEXT, st.integers(0, 9), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_insertion_does_not_matter(value: dict[str, int], rng: object) -> None:
    items = list(value.items())
    rng.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)
    keys = [key.encode("utf-16-be") for key in json.loads(canonical_json(value))]
    assert keys == sorted(keys)
