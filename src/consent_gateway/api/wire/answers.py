"""Questions and their answers: decisions, audiences, look-ups, erasures, entries of the log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import (
    EntryOut,
    LongText,
    Slug,
    Strict,
    SubjectRefIn,
)
from consent_gateway.domain.purposes import Basis, Channel
from consent_gateway.services.deciding.questions import Message


class LookupIn(Strict):
    """Whose pseudonym is asked for, and for which recipient (the caller's own by default)."""

    identifier: SubjectRefIn
    recipient: Slug | None = None


class LookupOut(BaseModel):
    """A pseudonym."""

    pseudonym: str


class MessageIn(Strict):
    """What the message will contain."""

    unsubscribe: bool = True
    sender_identity: bool = True
    postal_address: bool = True
    ad_label: bool = True

    def message(self) -> Message:
        """Return the plain value."""
        return Message(self.unsubscribe, self.sender_identity, self.postal_address, self.ad_label)


class UseIn(Strict):
    """What is asked about."""

    purpose: Slug
    channel: Annotated[Channel, Field(strict=False)]
    recipient: Slug | None = Field(None, description="the caller's own recipient by default")
    message: MessageIn | None = None
    basis: Annotated[Basis, Field(strict=False)] | None = Field(
        None, description="one that the purpose declares; its first one by default"
    )


class DecisionIn(UseIn):
    """May this person's data be used for this?"""

    subject: SubjectRefIn
    explain: bool = False


class DecisionsIn(UseIn):
    """The same question about up to 1,000 people; one entry in the log."""

    subjects: list[SubjectRefIn] = Field(min_length=1, max_length=1000)


class LawReasonOut(BaseModel):
    """One rule that fired, with the article it comes from."""

    code: str
    rule: str
    law: str
    citation: str
    text: str
    text_zh: str
    stage: str | None
    effect: str


class ChangeOut(BaseModel):
    """One part of the smallest change that would permit."""

    fact: str
    have: str
    need: str
    text: str
    text_zh: str


class DecisionOut(BaseModel):
    """The answer with every reason; `changes` only where an explanation was asked for."""

    outcome: Literal["permit", "deny"]
    reason_code: str
    reasons: list[LawReasonOut]
    obligations: list[str]
    packs: list[str]
    facts_digest: str
    at: str
    entry: EntryOut
    changes: list[ChangeOut] | None = None


class ShortDecisionOut(BaseModel):
    """One answer of a batch, in the order of the question."""

    outcome: Literal["permit", "deny"]
    reason_code: str
    obligations: list[str]


class DecisionsOut(BaseModel):
    """The answers of a batch, in order."""

    results: list[ShortDecisionOut]
    permitted: int
    packs: list[str]
    at: str
    entry: EntryOut


class AudienceIn(UseIn):
    """A consented audience: a saved segment by name, or an expression, or its text."""

    segment: Slug | None = None
    expression: dict[str, Any] | None = None
    text: LongText | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None


class LossOut(BaseModel):
    """One line of the waterfall; null stands for fewer people than the k-floor."""

    stage: str
    lost: int | None
    remaining: int | None
    reasons: dict[str, int | None]


class AudienceOut(BaseModel):
    """An audience: how many, who was lost where and why, and what the log committed to."""

    id: str
    size: int
    population: int | None
    waterfall: list[LossOut]
    purpose: str
    channel: str
    recipient: str
    epoch: int
    manifest_root: str
    packs: list[str]
    created_at: str
    expires_at: str
    entry: EntryOut
    k_floor: int


class EntryAtOut(BaseModel):
    """An entry of the log at its index, as it was hashed."""

    index: int
    entry: dict[str, Any]


class EntriesOut(BaseModel):
    """A page of entries, newest first; `next` is the cursor of the next page, null at the end."""

    items: list[EntryAtOut]
    next: int | None


class ManifestLeafOut(BaseModel):
    """One leaf of a manifest, in hex, with the hashes that show it at its index."""

    index: int
    leaf: str
    path: list[str]


class MembershipOut(BaseModel):
    """Whether an audience has somebody, with what anybody needs to verify it offline."""

    format: Literal["consent-gateway/manifest-proof@v1"]
    audience: str
    pseudonym: str
    member: bool
    size: int
    manifest_root: str
    leaves: list[ManifestLeafOut]
    entry: str
    receipt: str


class EntryFoundOut(BaseModel):
    """An integrated entry and its index; `entry` is base64 of its exact bytes."""

    index: int
    entry: str
