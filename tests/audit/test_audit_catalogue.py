"""The catalogue: every kind has its rule, every type refuses what it is not, and nothing has room for a person."""

from __future__ import annotations

import pytest

from consent_gateway.audit.catalogue import (
    CATALOGUE,
    TYPES,
    FieldRule,
    KindRule,
    _commitments,
    _is_list_of,
    _parsed,
    problems,
)
from consent_gateway.audit.entries import Entry, EntryKind

DECISION = {
    "purpose": "marketing", "channel": "email", "recipient": "self", "packs": "gdpr@1 uk@1", "policy": "ab" * 16,
    "outcome": "permit", "reason": "consented",
}  # fmt: skip
ABOUT = {"chain": bytes(32), "subject": bytes(32)}


def entry(kind: str, fields: dict[str, object], commitments: dict[str, bytes] | None = None) -> Entry:
    return Entry(EntryKind(kind), 0, "a", bytes(16), fields, commitments or {})


def test_every_kind_has_its_rule() -> None:
    assert set(CATALOGUE) == set(EntryKind)
    assert {rule.about for rule in CATALOGUE.values()} == {"nobody", "somebody", "perhaps"}
    named = {name for rule in CATALOGUE.values() for field in rule.fields.values() for name in field.types}
    assert named | {"scalar", "null"} == set(TYPES)


def test_a_table_is_read_as_it_is_written() -> None:
    """Read here once more: what runs while a module loads is run by no test otherwise."""
    table = """
one
  key.revoked            nobody   principal:code
  retention.run          perhaps  by_field?:counts|null *:count
two
  dek.rotated            somebody reason:code
                                  further:hex
                                  more?:code
"""
    assert _parsed(table) == {
        EntryKind.KEY_REVOKED: KindRule("one", "nobody", {"principal": FieldRule(("code",), required=True)}, None),
        EntryKind.RETENTION_RUN: KindRule(
            "one", "perhaps", {"by_field": FieldRule(("counts", "null"), required=False)},
            FieldRule(("count",), required=True),
        ),
        EntryKind.DEK_ROTATED: KindRule(
            "two", "somebody",
            {
                "reason": FieldRule(("code",), required=True),
                "further": FieldRule(("hex",), required=True),
                "more": FieldRule(("code",), required=False),
            },
            None,
        ),
    }  # fmt: skip


def test_what_is_made_of_the_table_as_it_is_loaded() -> None:
    def allowed(kind: EntryKind, about: str) -> set[frozenset[str]]:
        return set(_commitments(kind, KindRule("", about, {}, None)))

    one, two = frozenset(ABOUT), frozenset({*ABOUT, "other", "other_chain"})
    for kind, person in ((EntryKind.DECISION_MADE, one), (EntryKind.DEK_ROTATED, two)):
        assert allowed(kind, "nobody") == {frozenset()}
        assert allowed(kind, "somebody") == {person}
        assert allowed(kind, "perhaps") == {frozenset(), person}
    ones = _is_list_of(lambda item: item == 1)
    assert [ones(value) for value in ([], [1, 1], [1, 2], (1,), 1, None)] == [True, True, False, False, False, False]


def test_all_problems_of_an_entry_are_told_in_their_order() -> None:
    said = {"reason": 1, "outcome": [], "note": "x"}
    assert problems(entry("decision.made", DECISION | said, {"subject": bytes(32)})) == [
        "outcome is no code", "reason is no code", "note is no field of decision.made",
        "it is not about whom its kind is about",
    ]  # fmt: skip
    assert problems(entry("key.revoked", {})) == ["principal is missing"]
    assert problems(entry("erasure.replayed", {})) == ["erasure is missing", "rows is missing"]
    assert problems(entry("quota.set", {"principal": "a", "quota": "b", "per_day": "x"})) == [
        "per_day is no count or null"
    ]


def test_what_fits_has_no_problems() -> None:
    assert problems(entry("decision.made", DECISION)) == []
    assert problems(entry("decision.made", DECISION, ABOUT)) == []
    assert problems(entry("key.revoked", {"principal": "shop"})) == []
    both = ABOUT | {"other": bytes(32), "other_chain": bytes(32)}
    assert problems(entry("dek.rotated", {"reason": "request"}, both)) == []
    assert problems(entry("retention.run", {"people": 1, "anything": 2})) == []


@pytest.mark.parametrize(("kind", "fields", "commitments", "reason"), [
    ("decision.made", DECISION | {"note": "x"}, {}, "note is no field of decision.made"),
    ("decision.made", {k: v for k, v in DECISION.items() if k != "reason"}, {}, "reason is missing"),
    ("decision.made", DECISION | {"reason": "jo.doe@example.org"}, {}, "reason is no code"),
    ("decision.made", DECISION | {"reason": "Jo Doe"}, {}, "reason is no code"),
    ("decision.made", DECISION, {"subject": bytes(32)}, "it is not about whom its kind is about"),
    ("key.revoked", {"principal": "shop"}, ABOUT, "it is not about whom its kind is about"),
    ("consent.recorded", {}, {}, "it is not about whom its kind is about"),
    ("dek.rotated", {"reason": "request"}, ABOUT, "it is not about whom its kind is about"),
    ("retention.run", {"people": "Jo"}, {}, "people is no count"),
    ("approval.ended", {"approved_by": 1}, {}, "approved_by is no code or null"),
])  # fmt: skip
def test_what_does_not_fit_is_named(
    kind: str, fields: dict[str, object], commitments: dict[str, bytes], reason: str
) -> None:
    assert reason in problems(entry(kind, fields, commitments))


@pytest.mark.parametrize(("name", "yes", "no"), [
    ("code", ["", "direct_marketing", "p:1/x"], ["a b", "a@b", "é", "x" * 129, 1, None]),
    ("codes", [[], ["a", "b"]], ["a", [1], ["a b"]]),
    ("names", ["gdpr@1 uk@1", ""], ["a\n", 1, "x" * 4097]),
    ("hex", ["", "00ff"], ["0", "FF", "zz", 1]),
    ("text", ["", "CASE-1: late"], ["x" * 257, None]),
    ("count", [0, 1 << 50], [-1, True, "1", 1.0]),
    ("instant", [0], [-1, None]),
    ("flag", [True, False], [0, "true"]),
    ("counts", [{}, {"1": 2}], [[], {"a b": 1}, {"a": -1}]),
    ("scalar", [1, "a", True], [[], "a b", None]),
    ("json", [{}, []], ["", 1, None]),
    ("null", [None], [0, ""]),
])  # fmt: skip
def test_types(name: str, yes: list[object], no: list[object]) -> None:
    holds = TYPES[name][1]
    assert all(holds(value) for value in yes)
    assert not any(holds(value) for value in no)
