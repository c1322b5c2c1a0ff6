"""Everything that operators have registered, as one immutable snapshot.

Decisions and audiences read purposes, slots, recipients and principals from here, so that an answer is a function of
one version of the registers; `version` grows with every change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consent_gateway.domain.consents import ConsentProperty, Standing
from consent_gateway.domain.ids import PurposeId, RecipientId, SourceId, TraitId
from consent_gateway.domain.purposes import Channel, PurposeTree, Recipient, Source
from consent_gateway.domain.segments import TraitDefinition

SCOPE_SHIFT = 16  # below: ConsentProperty; above: one bit a named recipient
OWN_SCOPE = 1 << 15  # granted towards ourselves (and our processors)
SCOPE_BITS = 46  # 16 + 46 bits and the sign fit 63
PROPERTY_MASK = sum(ConsentProperty)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a system with an API key, the recipient whose pseudonyms it sees, and what it may do."""

    id: str
    recipient: RecipientId
    scopes: frozenset[str]
    key: bytes = b""  # SHA-256 of the API key; empty for the gateway itself


@dataclass(frozen=True, slots=True)
class Registers:
    """One version of every register."""

    version: int
    purposes: PurposeTree
    slots: Mapping[tuple[PurposeId, Channel], int]
    recipients: Mapping[RecipientId, Recipient]
    sources: Mapping[SourceId, Source]
    traits: Mapping[TraitId, TraitDefinition]
    principals: Mapping[bytes, Principal]  # by SHA-256 of the API key; revoked ones are not here

    def slots_of(self, purpose: PurposeId) -> list[tuple[PurposeId, Channel, int]]:
        """Return the slots that an event about `purpose` can change: its own and those of narrower purposes."""
        below = set(self.purposes.descendants(purpose))
        return [(p, channel, slot) for (p, channel), slot in self.slots.items() if p in below]

    def scope_bit(self, recipient: RecipientId) -> int:
        """Return the bit of the property column that names `recipient`, 0 if it has none."""
        found = self.recipients.get(recipient)
        return 0 if found is None or found.scope_bit is None else 1 << (SCOPE_SHIFT + found.scope_bit)

    def encode(self, standing: Standing) -> tuple[int, int]:
        """Return the two integers of the audience row that hold `standing`: valid-until, properties and scope."""
        scope = OWN_SCOPE if standing.own else 0
        for recipient in standing.recipients:
            scope |= self.scope_bit(recipient)
        return standing.until, int(standing.properties) | scope
