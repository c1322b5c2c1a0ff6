"""One person's ledger as it is read, and the second step of an opt-in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import EntryOut, Strict, SubjectRefIn


class RequestOut(BaseModel):
    """What a token confirms; nothing of the person."""

    purpose: str
    channel: str | None
    recipient: str | None
    notice: str | None
    notice_version: int | None
    language: str | None
    expires_at: str


class ConfirmedOut(BaseModel):
    """It was confirmed now."""

    confirmed: Literal[True]
    entry: EntryOut


class StateIn(Strict):
    """Whose ledger is read."""

    subject: SubjectRefIn


class HistoryIn(StateIn):
    """Whose ledger is read, and which page of it."""

    after: Annotated[int, Field(ge=0, le=2**53)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class FactOut(BaseModel):
    """One fact of the ledger; `status` is its term of the W3C Data Privacy Vocabulary."""

    event: int
    kind: str
    status: str
    purpose: str
    channel: str | None
    recipient: str | None
    for_one_contact_point: bool
    at: str
    received_at: str
    valid_until: str | None
    properties: list[str]
    imported: bool
    notice: str | None
    notice_version: int | None
    language: str | None
    text_sha256: str | None
    method: str | None
    place: str | None
    source: str | None
    evidence: bool
    guardian: bool


class ShownOut(BaseModel):
    """One notice that the person was shown."""

    notice: str
    notice_version: int
    language: str
    at: str
    place: str | None
    source: str


class HistoryOut(BaseModel):
    """A page of what a person said, and everything that the person was shown."""

    items: list[FactOut]
    next: int | None
    shown: list[ShownOut]
    entry: EntryOut


class RawOut(BaseModel):
    """What the person said, folded; `event` decided, by the rule in `why`."""

    state: str
    status: str
    until: str | None
    properties: list[str]
    outdated: bool
    event: int | None
    why: str


class EffectiveOut(BaseModel):
    """What the law makes of it now."""

    outcome: Literal["permit", "deny"]
    reason_code: str


class StandingOut(BaseModel):
    """What holds for a purpose on a channel, towards us or a named recipient."""

    purpose: str
    channel: str
    recipient: str | None
    raw: RawOut
    effective: EffectiveOut


class StateOut(BaseModel):
    """What holds now, for every enabled purpose and channel."""

    items: list[StandingOut]
    at: str
    entry: EntryOut
