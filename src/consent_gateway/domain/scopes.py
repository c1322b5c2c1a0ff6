"""How the standings of a person are packed into the three integers of a slot, and what a question reads of them.

A slot (one purpose on one channel) holds `until` (own: 0 never asked, negative a no, else valid-until), `named` (the
earliest valid-until of the third parties that were named) and `scope`, a bit field:

    bits  0-6   properties of the own grant
    bits  7-13  properties that are true of every named grant
    bit  14     a no stands behind the own grant; bit 15: behind a named one
    bits 16-38  a yes to third party 0-22
    bits 39-61  a no to third party 0-22
    bit  62     a grant in it, own or named, was given under a notice that was replaced since

The packing does not depend on the instant, so that a row is true until something is said, and expiry stays a
comparison. Named grants share one valid-until: after the first of them ends, the others are closed too, until that one
is renewed or withdrawn; so does the one mark of an outdated notice. That is one answer too strict, never one too open.
A named grant that an event ended (not its date) is not there any more, and closes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from consent_gateway.domain.consents import NEVER, ConsentProperty, ConsentState, Standing, Standings
from consent_gateway.domain.ids import RecipientId

PROPERTY_MASK = sum(ConsentProperty)
PROPERTY_BITS = 7
OWN_AFTER_NO, NAMED_AFTER_NO = 1 << 14, 1 << 15
YES_SHIFT, NO_SHIFT = 16, 39
OUTDATED = 1 << 62
SCOPE_BITS = 23  # third parties that consent can name


class Slot(NamedTuple):
    """The three integers of one slot."""

    until: int = NEVER
    named: int = NEVER
    scope: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """Whose standing a question reads: `bit` of a third party, -1 for one without a bit, None for ourselves."""

    bit: int | None = None

    @property
    def yes(self) -> int:
        """Return the mask of a yes to this side, 0 if it has none."""
        return 0 if self.bit is None or self.bit < 0 else 1 << (YES_SHIFT + self.bit)

    @property
    def no(self) -> int:
        """Return the mask of a no to this side, 0 if it has none."""
        return 0 if self.bit is None or self.bit < 0 else 1 << (NO_SHIFT + self.bit)


OWN_SIDE = Side()


def pack(standings: Standings, bits: Mapping[RecipientId, int]) -> Slot:
    """Return the slot that holds `standings`; a third party without a bit cannot be granted anything."""
    own = standings.own
    scope = int(own.properties) | (OWN_AFTER_NO if own.after_no else 0)
    granted: list[Standing] = []
    for recipient, standing in standings.named.items():
        bit = bits.get(recipient)
        if bit is None:
            continue
        if standing.until > 0 and not standing.ended:
            scope |= Side(bit).yes
            granted.append(standing)
        elif standing.is_no:
            scope |= Side(bit).no
    if own.outdated or any(s.outdated for s in granted):
        scope |= OUTDATED
    return Slot(own.until, min((s.until for s in granted), default=NEVER), scope | _named_part(granted))


def _named_part(granted: list[Standing]) -> int:
    if not granted:
        return 0
    shared = PROPERTY_MASK
    for standing in granted:
        shared &= int(standing.properties)
    return shared << PROPERTY_BITS | (NAMED_AFTER_NO if any(s.after_no for s in granted) else 0)


def read(slot: Slot, side: Side, now: int) -> tuple[ConsentState, ConsentProperty, bool, bool]:
    """Return what a side reads of a slot at `now` (seconds): the state, the properties, coverage, an outdated notice.

    The last three say something only where consent is given: whether the grant covers the side, and whether it was
    given under a version of its notice that was replaced since.
    """
    if slot.scope & side.no:
        return ConsentState.WITHDRAWN, ConsentProperty(0), False, False
    named = bool(slot.scope & side.yes)
    until = slot.named if named else slot.until
    held = slot.scope >> PROPERTY_BITS if named else slot.scope
    after_no = bool(slot.scope & (NAMED_AFTER_NO if named else OWN_AFTER_NO))
    state = Standing(until, after_no=after_no).state(now)
    if state is not ConsentState.GIVEN:
        return state, ConsentProperty(0), False, False
    covered = named or side.bit is None
    return state, ConsentProperty(held & PROPERTY_MASK), covered, bool(slot.scope & OUTDATED)
