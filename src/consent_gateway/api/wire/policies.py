"""Changing the law: what comes in and what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from consent_gateway.api.problems import FieldTextError
from consent_gateway.api.wire.base import NO_NUL, Instant, Slug, Strict
from consent_gateway.domain.purposes import Channel

PackText = Annotated[str, StringConstraints(min_length=1, max_length=60_000, pattern=NO_NUL)]
Version = Annotated[int, Field(ge=1, le=1_000_000)]


class PackNameIn(Strict):
    """A text that is in the store."""

    id: Slug
    version: Version


class PolicyIn(Strict):
    """A pack to propose: its text (YAML), or the name of one that is in the store, to roll back to it."""

    text: PackText | None = None
    again: PackNameIn | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.text is None) == (self.again is None):
            raise FieldTextError("needs exactly one of text, again")
        return self


class ShadowIn(Strict):
    """Whether the candidate is watched."""

    on: bool


class ActivationIn(Strict):
    """When the candidate takes effect: now, or from a whole minute that lies ahead."""

    effective_at: Instant | None = None


class ReplayIn(Strict):
    """What else to ask of the same facts: `active`, today's packs."""

    against: Literal["active"] | None = None


class SideIn(Strict):
    """One side of a comparison: `active`, `shipped` or a pack of the store as `id@version`; or a text."""

    name: Annotated[str, StringConstraints(pattern=r"^(active|shipped|[a-z][a-z0-9_]{0,62}@[0-9]{1,7})$")] | None = None
    text: PackText | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.name is None) == (self.text is None):
            raise FieldTextError("needs exactly one of name, text")
        return self


class DiffIn(Strict):
    """Which two laws to compare, and for which uses; empty lists stand for every enabled use."""

    old: SideIn
    new: SideIn
    people: bool = True
    purposes: list[Slug] = Field(default_factory=list, max_length=32)
    channels: list[Annotated[Channel, Field(strict=False)]] = Field(default_factory=list, max_length=8)
    recipients: list[Slug] = Field(default_factory=list, max_length=32)


class SideOut(BaseModel):
    """An answer, logged or computed."""

    outcome: str
    reason_code: str
    packs: list[str]


class ComputedOut(SideOut):
    """An answer that was computed again, with its reasons."""

    obligations: list[str]
    reasons: list[dict[str, Any]]


class ReplayOut(BaseModel):
    """A past decision beside the one computed for the same facts; `state` says what came of it."""

    uid: str
    at: str
    state: str
    differences: list[str]
    logged: SideOut
    computed: ComputedOut | None
    against: ComputedOut | None


class EditedOut(BaseModel):
    """A pack or rule that differs: which members, and what they are on both sides."""

    pack: str
    id: str
    edit: str
    fields: list[str]
    old: dict[str, Any]
    new: dict[str, Any]


class GroupOut(BaseModel):
    """People whose answer changes alike; null for fewer than the k-floor."""

    change: str
    reason: str
    would_be: str
    rules: list[str]
    people: int | None
    who: str | None
    who_zh: str | None


class UseDiffOut(BaseModel):
    """One use over today's people."""

    purpose: str
    channel: str
    recipient: str
    people: int | None
    unchanged: int | None
    changes: dict[str, int | None]
    groups: list[GroupOut]


class DiffOut(BaseModel):
    """What differs between two laws."""

    same: bool
    packs: list[EditedOut]
    rules: list[EditedOut]
    uses: list[UseDiffOut]


class PolicyOut(BaseModel):
    """One text of a pack and how it stands."""

    id: str
    version: int
    sha256: str
    state: str
    title: str | None
    title_zh: str | None
    rules: int | None
    effective_from: str | None
    effective_until: str | None
    review_by: str | None
    review_overdue: bool
    recorded_at: str
    proposed_by: str | None
    proposed_at: str | None
    shadow_since: str | None
    approved_by: str | None
    activated_at: str | None
    effective_at: str | None
    problem: str | None


class PoliciesOut(BaseModel):
    """What is in force (`policy` names the texts, as entries of the log do), what is not, and what is wrong."""

    policy: str
    packs: list[str]
    faults: list[str]
    items: list[PolicyOut]


class PolicyTextOut(PolicyOut):
    """One text, as it was written, as data and as a lawyer reads it."""

    text: str
    pack: dict[str, Any] | None
    markdown: str | None
    markdown_zh: str | None


class ShadowLineOut(BaseModel):
    """One kind of question; `questions` is null for fewer than the k-floor."""

    sha256: str
    purpose: str
    channel: str
    recipient: str
    change: str
    reason: str
    would_be: str
    questions: int | None


class ShadowReportOut(PolicyOut):
    """A candidate and what it would have answered; null where a part of a sum is withheld."""

    questions: int | None
    changes: dict[str, int | None]
    shares: dict[str, float | None]
    lines: list[ShadowLineOut]
