"""Signals: what TCF numbers mean to the operator, and what was received for a person."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from consent_gateway.api.problems import FieldTextError
from consent_gateway.api.wire.base import Slug, Strict
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import OWN, Channel
from consent_gateway.policies.signals.effects import PurposeRule, TcfMapping
from consent_gateway.policies.signals.id_sets import MAX_ID
from consent_gateway.policies.signals.tc_strings import PURPOSES

TcfPurpose = Annotated[int, Field(ge=1, le=PURPOSES)]


class PurposeRuleIn(Strict):
    """A registered purpose, and the TCF purposes that must all be consented to for it; absent channel: all."""

    tcf_purposes: list[TcfPurpose] = Field(min_length=1, max_length=PURPOSES)
    purpose: Slug
    channel: Annotated[Channel, Field(strict=False)] | None = None


class VendorRuleIn(Strict):
    """A vendor of the Global Vendor List, and the registered third party it is; `self`: us and our processors."""

    tcf_vendor: Annotated[int, Field(ge=1, le=MAX_ID)]
    recipient: Slug


class SignalMappingIn(Strict):
    """The whole mapping; it takes the place of the last one."""

    purposes: list[PurposeRuleIn] = Field(max_length=16)
    vendors: list[VendorRuleIn] = Field(max_length=32)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({v.tcf_vendor for v in self.vendors}) != len(self.vendors):
            raise FieldTextError("names a vendor twice")
        if any(len(set(rule.tcf_purposes)) != len(rule.tcf_purposes) for rule in self.purposes):
            raise FieldTextError("names a TCF purpose twice in one rule")
        return self

    def mapping(self) -> TcfMapping:
        """Return the plain value."""
        rules = (PurposeRule(tuple(sorted(r.tcf_purposes)), PurposeId(r.purpose), r.channel) for r in self.purposes)
        vendors = {v.tcf_vendor: None if v.recipient == OWN else RecipientId(v.recipient) for v in self.vendors}
        return TcfMapping(tuple(rules), vendors)


class PurposeRuleOut(BaseModel):
    """One rule as it is kept."""

    tcf_purposes: list[int]
    purpose: str
    channel: str | None


class VendorRuleOut(BaseModel):
    """One vendor as it is kept."""

    tcf_vendor: int
    recipient: str


class SignalMappingOut(BaseModel):
    """The mapping in force."""

    purposes: list[PurposeRuleOut]
    vendors: list[VendorRuleOut]


class SignalEffectsOut(BaseModel):
    """What a signal did, and what in it was not understood or may not be relied on; absent: nothing of the kind."""

    choices: list[str] = []
    given: int = 0
    denied: int = 0
    undecoded: list[str] = []
    violations: list[str] = []


class SignalOut(BaseModel):
    """One signal of a person; never the string itself."""

    id: int
    kind: str
    source: str
    identifier_kind: str | None
    at: str
    received_at: str
    linked_at: str | None
    displayed: bool | None
    effects: SignalEffectsOut


class SignalsOut(BaseModel):
    """The newest signals of a person, newest first."""

    items: list[SignalOut]
