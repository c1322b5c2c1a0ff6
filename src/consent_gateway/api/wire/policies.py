"""Changing the law: what comes in and what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, model_validator

from consent_gateway.api.problems import FieldTextError
from consent_gateway.api.wire.base import NO_NUL, Slug, Strict

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

    effective_at: AwareDatetime | None = None


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
