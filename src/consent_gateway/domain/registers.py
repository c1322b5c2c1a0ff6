"""Everything that operators have registered, as one immutable snapshot.

Decisions and audiences read purposes, slots, recipients and principals from here, so that an answer is a function of
one version of the registers; `version` grows with every change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_gateway.domain.consents import Standings
from consent_gateway.domain.epochs import FIRST_EPOCHS, Epochs
from consent_gateway.domain.fields import FieldDefinition
from consent_gateway.domain.generations import Generations
from consent_gateway.domain.ids import PurposeId, RecipientId, SourceId, TraitId
from consent_gateway.domain.notices import NO_NOTICES, NoticeBook
from consent_gateway.domain.policies import Policies
from consent_gateway.domain.purposes import Channel, PurposeTree, Recipient, RecipientKind, Source
from consent_gateway.domain.scopes import OWN_SIDE, Side, Slot, pack
from consent_gateway.domain.segments import TraitDefinition


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a system with an API key, the recipient whose pseudonyms it sees, and what it may do."""

    id: str
    recipient: RecipientId
    scopes: frozenset[str]
    key: bytes = b""  # SHA-256 of the API key; empty for the gateway itself


@dataclass(frozen=True, slots=True)
class Exports:
    """People whose data left China in one calendar year, as the operator declared (促进和规范数据跨境流动规定)."""

    year: int
    people: int
    sensitive_people: int


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
    policies: Policies = field(default_factory=Policies)
    exports: Mapping[int, Exports] = field(default_factory=dict)  # by year; a year that is not here is not known
    notices: NoticeBook = NO_NOTICES
    epochs: Mapping[str, Epochs] = field(default_factory=dict)  # by sector; one that was never rolled is not here
    fields: Mapping[str, FieldDefinition] = field(default_factory=dict)
    index: Generations = Generations()  # noqa: RUF009 - frozen
    least_epoch: int = 1  # no data key is wrapped under an earlier key epoch any more
    doomed_epoch: int = 0  # the last key epoch that was decided to be destroyed; 0: none was
    deferred: bool = False  # whether a no that was put off while the keys were away is not carried out yet

    def slots_of(self, purpose: PurposeId) -> list[tuple[PurposeId, Channel, int]]:
        """Return the slots that an event about `purpose` can change: its own and those of narrower purposes."""
        below = set(self.purposes.descendants(purpose))
        return [(p, channel, slot) for (p, channel), slot in self.slots.items() if p in below]

    def side(self, recipient: RecipientId) -> Side:
        """Return whose standing counts for a recipient: a processor acts for us, anybody else was named or not."""
        found = self.recipients.get(recipient)
        if found is not None and found.kind in (RecipientKind.SELF, RecipientKind.PROCESSOR):
            return OWN_SIDE
        return Side(-1 if found is None or found.scope_bit is None else found.scope_bit)

    def sector(self, recipient: RecipientId) -> str:
        """Return the pseudonym space of a recipient: systems of one sector share theirs."""
        found = self.recipients.get(recipient)
        return recipient if found is None else found.sector

    def epochs_of(self, sector: str) -> Epochs:
        """Return the epochs of a pseudonym space."""
        return self.epochs.get(sector, FIRST_EPOCHS)

    def pack(self, standings: Standings) -> Slot:
        """Return the three integers of the audience row that hold `standings`."""
        bits = {r.id: r.scope_bit for r in self.recipients.values() if r.scope_bit is not None}
        return pack(standings, bits)
