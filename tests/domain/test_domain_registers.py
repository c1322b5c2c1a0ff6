"""The registers as one snapshot: slots of a purpose and its narrower ones, and whose standing counts for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent_gateway.domain.consents import FOREVER, ConsentProperty, ConsentState, Standing, Standings
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
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.scopes import OWN_SIDE, Side, Slot, pack, read

PARENTS = {"marketing": None, "direct": "marketing", "newsletter": "direct", "service": None}
SLOTS = {("marketing", "none"): 0, ("direct", "email"): 1, ("newsletter", "email"): 2, ("service", "email"): 3}


def a_recipient(name: str, kind: RecipientKind, bit: int | None) -> Recipient:
    return Recipient(RecipientId(name), name, kind, "DE", False, "none", name, bit)  # noqa: FBT003 - positional row


RECIPIENTS = {
    "self": (RecipientKind.SELF, None),
    "mailer": (RecipientKind.PROCESSOR, None),
    "partner": (RecipientKind.THIRD_PARTY, 0),
    "exchange": (RecipientKind.AD_PLATFORM, 22),
    "newcomer": (RecipientKind.THIRD_PARTY, None),
}


def registers() -> Registers:
    tree = {
        PurposeId(p): Purpose(PurposeId(p), PurposeKind.DIRECT_MARKETING, p, p, "", Basis.CONSENT, parent)  # type: ignore[arg-type]
        for p, parent in PARENTS.items()
    }
    return Registers(
        version=1,
        purposes=PurposeTree(tree),
        slots={(PurposeId(p), Channel(c)): n for (p, c), n in SLOTS.items()},
        recipients={RecipientId(name): a_recipient(name, *row) for name, row in RECIPIENTS.items()},
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


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("self", OWN_SIDE),
        ("mailer", OWN_SIDE),
        ("partner", Side(0)),
        ("exchange", Side(22)),
        ("newcomer", Side(-1)),
        ("unheard_of", Side(-1)),
    ],
)
def test_a_processor_acts_for_us_and_anybody_else_was_named_or_not(name: str, side: Side) -> None:
    assert registers().side(RecipientId(name)) == side


@pytest.mark.parametrize("kind", [RecipientKind.SELF, RecipientKind.PROCESSOR])
def test_a_bit_does_not_make_a_third_party_of_a_processor(kind: RecipientKind) -> None:
    snapshot = replace(registers(), recipients={RecipientId("mailer"): a_recipient("mailer", kind, 3)})
    assert snapshot.side(RecipientId("mailer")) == OWN_SIDE


def everybody_named(standing: Standing) -> Standings:
    return Standings(Standing(), {RecipientId(name): standing for name in [*RECIPIENTS, "unheard_of"]})


@pytest.mark.parametrize("standing", [Standing(9, ConsentProperty.EXPLICIT), Standing(FOREVER), Standing(-1)])
def test_only_who_has_a_bit_can_be_named(standing: Standing) -> None:
    slot = registers().pack(everybody_named(standing))
    assert slot == pack(everybody_named(standing), {RecipientId("partner"): 0, RecipientId("exchange"): 22})
    sides = {name: registers().side(RecipientId(name)) for name in [*RECIPIENTS, "unheard_of"]}
    reached = {name for name, side in sides.items() if read(slot, side, 5)[0] is not ConsentState.NONE}
    assert reached == {"partner", "exchange"}


def test_a_snapshot_packs_into_one_slot() -> None:
    assert registers().pack(Standings()) == Slot()
    assert registers().pack(Standings(Standing(9, ConsentProperty.WRITTEN))) == Slot(9, 0, int(ConsentProperty.WRITTEN))


@pytest.mark.parametrize(("name", "good"), [("a", True), ("a" * 63, True), ("a1_", True), ("a" * 64, False)])
def test_a_slug_has_up_to_63_characters(name: str, good: bool) -> None:  # noqa: FBT001 - a table
    assert is_slug(name) is good


@pytest.mark.parametrize("name", ["", "1a", "_a", "A", "a-b", "a b", "a\n", "ä"])
def test_what_is_no_slug(name: str) -> None:
    assert not is_slug(name)
