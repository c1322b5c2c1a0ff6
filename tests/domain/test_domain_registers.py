"""The registers as one snapshot: slots of a purpose and its narrower ones, and who a standing names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.domain.consents import FOREVER, ConsentProperty, Standing
from consent_gateway.domain.ids import PurposeId, RecipientId, is_slug
from consent_gateway.domain.purposes import (
    Basis,
    Channel,
    Purpose,
    PurposeKind,
    PurposeTree,
    Recipient,
    RecipientKind,
)
from consent_gateway.domain.registers import OWN_SCOPE, PROPERTY_MASK, SCOPE_BITS, SCOPE_SHIFT, Registers

PARENTS = {"marketing": None, "direct": "marketing", "newsletter": "direct", "service": None}
SLOTS = {("marketing", "none"): 0, ("direct", "email"): 1, ("newsletter", "email"): 2, ("service", "email"): 3}


def a_recipient(name: str, bit: int | None) -> Recipient:
    return Recipient(RecipientId(name), name, RecipientKind.THIRD_PARTY, "DE", False, "none", name, bit)  # noqa: FBT003 - positional row


def registers(bits: dict[str, int | None] | None = None) -> Registers:
    tree = {
        PurposeId(p): Purpose(PurposeId(p), PurposeKind.DIRECT_MARKETING, p, p, "", Basis.CONSENT, parent)  # type: ignore[arg-type]
        for p, parent in PARENTS.items()
    }
    return Registers(
        version=1,
        purposes=PurposeTree(tree),
        slots={(PurposeId(p), Channel(c)): n for (p, c), n in SLOTS.items()},
        recipients={RecipientId(name): a_recipient(name, bit) for name, bit in (bits or {}).items()},
        sources={},
        traits={},
        principals={},
    )


@pytest.mark.parametrize(
    ("purpose", "slots"), [("marketing", {0, 1, 2}), ("direct", {1, 2}), ("newsletter", {2}), ("unheard_of", set())]
)
def test_an_event_reaches_the_slots_below_its_purpose(purpose: str, slots: set[int]) -> None:
    assert {slot for _, _, slot in registers().slots_of(PurposeId(purpose))} == slots


@pytest.mark.parametrize("purpose", list(PARENTS))
def test_ancestors_and_descendants_are_each_others_inverse(purpose: str) -> None:
    tree = registers().purposes
    below = set(tree.descendants(PurposeId(purpose)))
    assert below == {p for p in tree.purposes if purpose in set(tree.ancestors(p))}


NAMES = [f"r{n}" for n in range(SCOPE_BITS)]


@settings(derandomize=True, deadline=None)
@given(
    st.sets(st.sampled_from(NAMES)), st.booleans(), st.integers(0, PROPERTY_MASK), st.sampled_from([9, FOREVER, -1, 0])
)
def test_a_standing_fits_its_two_integers(named: set[str], own: bool, properties: int, until: int) -> None:  # noqa: FBT001 - hypothesis gives it
    snapshot = registers({name: n for n, name in enumerate(NAMES)})
    standing = Standing(until, ConsentProperty(properties), frozenset(map(RecipientId, named)), own=own)
    code, packed = snapshot.encode(standing)
    assert code == until
    assert packed & PROPERTY_MASK == properties
    assert bool(packed & OWN_SCOPE) is own
    assert {name for name in NAMES if packed & snapshot.scope_bit(RecipientId(name))} == named
    assert 0 <= packed < 1 << 63  # what a BIGINT holds


def test_the_parts_of_the_property_column_do_not_overlap() -> None:
    assert PROPERTY_MASK < OWN_SCOPE < 1 << SCOPE_SHIFT
    assert PROPERTY_MASK & OWN_SCOPE == 0
    assert SCOPE_SHIFT + SCOPE_BITS <= 63


def test_who_has_no_bit_cannot_be_named() -> None:
    snapshot = registers({"processor": None})
    assert snapshot.scope_bit(RecipientId("processor")) == 0
    assert snapshot.scope_bit(RecipientId("unheard_of")) == 0
    assert snapshot.encode(Standing(9, recipients=frozenset({RecipientId("unheard_of")}))) == (9, 0)


@pytest.mark.parametrize(("name", "good"), [("a", True), ("a" * 63, True), ("a1_", True), ("a" * 64, False)])
def test_a_slug_has_up_to_63_characters(name: str, good: bool) -> None:  # noqa: FBT001 - a table
    assert is_slug(name) is good


@pytest.mark.parametrize("name", ["", "1a", "_a", "A", "a-b", "a b", "a\n", "ä"])
def test_what_is_no_slug(name: str) -> None:
    assert not is_slug(name)
