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
from consent_gateway.api.wire.records import Duration, PartyIn, ProcessingIn
from consent_gateway.domain.fields import Category as FieldCategory
from consent_gateway.domain.fields import FieldDefinition
from consent_gateway.domain.ids import PurposeId
from consent_gateway.domain.purposes import (
    Basis,
    Channel,
    Destination,
    Mark,
    Party,
    Purpose,
    PurposeKind,
    RecipientKind,
)
from consent_gateway.domain.registers import Exports
from consent_gateway.domain.segments import TraitOrigin, TraitType

Category = Slug


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
    marks: list[Annotated[Mark, Field(strict=False)]] = Field(default_factory=list, max_length=16)
    sensitive: list[Category] = Field(
        default_factory=list,
        max_length=16,
        description="categories of sensitive data that the use involves; one that no law lists is sensitive everywhere",
    )
    bases: list[Annotated[Basis, Field(strict=False)]] = Field(
        default_factory=list, max_length=6, description="bases that a question may name besides `basis`"
    )
    reveals: list[Slug] = Field(
        default_factory=list, max_length=16, description="fields of the vault that may be revealed for it"
    )
    requested: Slug | None = Field(None, description="of a request for consent: the purpose that consent is asked for")

    def purpose(self) -> Purpose:
        """Return the plain value."""
        return Purpose(
            PurposeId(self.id),
            self.kind,
            self.title,
            self.title_zh,
            self.dpv_iri,
            self.basis,
            PurposeId(self.parent) if self.parent else None,
            frozenset(self.marks),
            tuple(sorted(set(self.sensitive))),
            tuple(sorted(set(self.bases))),
            PurposeId(self.requested) if self.requested else None,
            tuple(sorted(set(self.reveals))),
        )


class NoticeIn(Strict):
    """One version of a notice in one language.

    `material`: it changes what people agreed to, for `purposes` and what is below them (all, where none is named).
    """

    id: Slug
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    language: Language
    title: Text
    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=NO_NUL)]
    material: bool = False
    purposes: list[Slug] = Field(default_factory=list, max_length=32)


SourceChannel = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class SourceIn(Strict):
    """Where data comes from."""

    id: Slug
    name: Text
    channel: SourceChannel
    party: Annotated[Party, Field(strict=False)]
    notice: Slug | None = None
    purposes: list[Slug] = Field(default_factory=list, max_length=32)
    retention: Duration = Field("", description="an ISO 8601 duration after which nothing of the source is kept")


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
    destination: Annotated[Destination, Field(strict=False)] | None = Field(
        None, description="where the data ends up; online advertising by others counts as `ad_network` if absent"
    )


class TraitIn(Strict):
    """A declared trait, or one that is computed from events."""

    id: Slug
    type: Annotated[TraitType, Field(strict=False)]
    origin: Annotated[TraitOrigin, Field(strict=False)] = TraitOrigin.DECLARED
    event_type: Slug | None = None
    description: Text = ""
    sensitive: Category | None = Field(None, description="category of sensitive data that the values are or give away")


class FieldIn(Strict):
    """A sensitive field that the vault may hold, or how long one of the gateway's own fields is kept for what."""

    id: Slug
    category: Annotated[FieldCategory, Field(strict=False)] | None = Field(
        None, description="why the law calls it sensitive; null for a field of the gateway's own, such as family_name"
    )
    purposes: list[Slug] = Field(min_length=1, max_length=32, description="what it is held for, and nothing else")
    retention: Duration = Field(
        "", description="an ISO 8601 duration: how long it is kept after a purpose needed it last; absent: as these say"
    )
    description: Text = ""

    def definition(self) -> FieldDefinition:
        """Return the plain value."""
        purposes = tuple(sorted({PurposeId(p) for p in self.purposes}))
        return FieldDefinition(self.id, self.category, purposes, self.retention, self.description)


class ExportsIn(Strict):
    """How many people's data left China in a calendar year so far, over everything that is exported."""

    year: Annotated[int, Field(ge=2024, le=2200)]
    people: Annotated[int, Field(ge=0, le=2_000_000_000)]
    sensitive_people: Annotated[int, Field(ge=0, le=2_000_000_000)]

    def exports(self) -> Exports:
        """Return the plain value."""
        return Exports(self.year, self.people, self.sensitive_people)


class SegmentIn(Strict):
    """A segment to save: an expression tree, or its readable text."""

    id: Slug
    expression: dict[str, Any] | None = None
    text: LongText | None = None
    description: Text = ""
