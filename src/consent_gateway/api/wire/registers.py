"""What operators register."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from consent_gateway.api.wire.base import (
    MAX_TEXT,
    NO_NUL,
    Language,
    LongText,
    Slug,
    Strict,
    Text,
)
from consent_gateway.api.wire.records import PartyIn, ProcessingIn
from consent_gateway.domain.purposes import Basis, Channel, Party, PurposeKind, RecipientKind
from consent_gateway.domain.segments import TraitOrigin, TraitType


class PurposeIn(Strict):
    """A purpose; `channels` are the pairs that get a place in the audience row."""

    id: Slug
    kind: Annotated[PurposeKind, Field(strict=False)]
    title: Text
    title_zh: Text
    dpv_iri: Annotated[str, StringConstraints(pattern=r"^https://w3id\.org/dpv", max_length=MAX_TEXT)]
    basis: Annotated[Basis, Field(strict=False)]
    parent: Slug | None = None
    channels: list[Annotated[Channel, Field(strict=False)]] = Field(default_factory=list, max_length=8)
    processing: ProcessingIn | None = Field(None, description="for records and receipts; absent: as it was")


class NoticeIn(Strict):
    """One version of a notice in one language."""

    id: Slug
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    language: Language
    title: Text
    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=NO_NUL)]


SourceChannel = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class SourceIn(Strict):
    """Where data comes from."""

    id: Slug
    name: Text
    channel: SourceChannel
    party: Annotated[Party, Field(strict=False)]
    notice: Slug | None = None
    purposes: list[Slug] = Field(default_factory=list, max_length=32)


Transfer = Literal[
    "none",
    "adequacy",
    "scc",
    "bcr",
    "derogation",
    "uk_idta",
    "cn_standard_contract",
    "cn_certification",
    "cn_security_assessment",
]


class RecipientIn(Strict):
    """Who gets data; systems of one `sector` share one pseudonym space."""

    id: Slug
    name: Text
    kind: Annotated[RecipientKind, Field(strict=False)]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    contract: bool
    transfer_mechanism: Transfer = "none"
    sector: Slug | None = None
    party: PartyIn | None = Field(None, description="for records and receipts; absent: as it was")


class TraitIn(Strict):
    """A declared trait, or one that is computed from events."""

    id: Slug
    type: Annotated[TraitType, Field(strict=False)]
    origin: Annotated[TraitOrigin, Field(strict=False)] = TraitOrigin.DECLARED
    event_type: Slug | None = None
    description: Text = ""


class SegmentIn(Strict):
    """A segment to save: an expression tree, or its readable text."""

    id: Slug
    expression: dict[str, Any] | None = None
    text: LongText | None = None
    description: Text = ""
