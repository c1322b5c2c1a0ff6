"""Revealing personal data: what is asked, why, and what comes back; quotas and canaries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from consent_gateway.api.wire.answers import LawReasonOut
from consent_gateway.api.wire.base import EntryOut, Identifier, Slug, Strict
from consent_gateway.api.wire.intake import SubjectIn
from consent_gateway.domain.purposes import Basis, Channel
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.domain.reveals import Grounds, RevealReason, View

Ticket = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,5}-[0-9]{1,6}$")]
Most = Annotated[int, Field(ge=0, le=1_000_000)]


class RevealIn(Strict):
    """Which fields, for which use, and why; masked unless a plain view is asked for."""

    purpose: Slug
    channel: Annotated[Channel, Field(strict=False)]
    fields: list[Slug] = Field(
        min_length=1, max_length=16, description="from the `reveals` of the purpose; a contact field: for its channel"
    )
    reason: Annotated[RevealReason, Field(strict=False)]
    ticket: Ticket = Field(description="where the reason can be looked up, such as CASE-1234; nothing personal")
    view: Annotated[View, Field(strict=False)] = View.MASKED
    recipient: Slug | None = Field(None, description="the caller's own recipient by default")
    basis: Annotated[Basis, Field(strict=False)] | None = None

    def grounds(self) -> Grounds:
        """Return the plain value."""
        return Grounds(self.reason, self.ticket, tuple(dict.fromkeys(self.fields)), self.view)


class RevealsIn(RevealIn):
    """The same for several people; each is decided and recorded on its own."""

    subjects: list[Identifier] = Field(min_length=1, max_length=1000, description="pseudonyms of the caller")


class RevealOut(BaseModel):
    """The decision with its reasons, and the fields: none unless it permits."""

    outcome: Literal["permit", "deny"]
    reason_code: str
    reasons: list[LawReasonOut]
    obligations: list[str]
    view: str
    values: dict[str, list[str]]
    at: str
    decision: EntryOut
    entry: EntryOut


class ShortRevealOut(BaseModel):
    """One answer of several, in the order of the question."""

    outcome: Literal["permit", "deny"]
    reason_code: str
    obligations: list[str]
    values: dict[str, list[str]]
    decision: EntryOut
    entry: EntryOut


class RevealsOut(BaseModel):
    """The answers in order."""

    results: list[ShortRevealOut]
    permitted: int
    view: str
    at: str


class QuotaIn(Strict):
    """Limits of one key, or its suspension; what is absent or null goes by the setting."""

    principal: Slug
    quota: Annotated[QuotaKind, Field(strict=False)]
    per_hour: Most | None = None
    per_day: Most | None = None
    suspended: bool | None = Field(None, description="only this: suspend, or let go on; the limits stay")


class QuotaOut(BaseModel):
    """How much of a quota is used."""

    principal: str
    quota: str
    per_hour: int
    per_day: int
    used_hour: int
    used_day: int
    suspended_at: str | None


class QuotasOut(BaseModel):
    """The quota of every key that used one."""

    items: list[QuotaOut]


class CanaryIn(Strict):
    """A made-up person whom no honest process asks for."""

    source: Slug
    person: SubjectIn


class CanaryOut(BaseModel):
    """The canary's pseudonym for our own keys."""

    pseudonym: str
    entry: EntryOut
