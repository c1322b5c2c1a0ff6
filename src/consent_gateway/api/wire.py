"""What comes in and what goes out, as strict models: unknown fields, coercions and impossible values are refused.

Strict: only JSON `true` is true, only a JSON number is a number. Instants are RFC 3339 with an offset.
Each input model knows the plain value that use cases take (`item()`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from consent_gateway.api.problems import FieldTextError
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.purposes import Basis, Channel, Party, PurposeKind, RecipientKind
from consent_gateway.domain.segments import TraitOrigin, TraitType
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.decider import Message
from consent_gateway.services.items import (
    ChoiceItem,
    ConsentItem,
    ContactItem,
    EventItem,
    SubjectItem,
    SubjectRef,
)

MAX_TEXT = 200
_IDENTIFIERS = ("member_no", "email", "phone", "device_id", "openid")

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps no NUL in text
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=_NO_NUL)]
LongText = Annotated[str, StringConstraints(max_length=10_000, pattern=_NO_NUL)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=320)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NO_NUL)]
Region = Annotated[str, StringConstraints(max_length=6)]


def _in_range(at: datetime) -> datetime:
    if not 1 <= at.year <= 9998:  # noqa: PLR2004 - the offset must not carry it out of the calendar
        raise FieldTextError("is not an instant of the calendar")
    return at


Instant = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_range)]


class Strict(BaseModel):
    """No unknown fields, no coercion, and no input in an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def seconds(at: datetime | None) -> int | None:
    """Return an instant in seconds."""
    return None if at is None else int(at.timestamp())


@lru_cache(maxsize=256)
def instant(at: int) -> str:
    """Return an instant as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class SubjectRefIn(Strict):
    """Who is meant: exactly one of a pseudonym of the caller or an identifier; `region` for a phone without `+`."""

    pseudonym: Identifier | None = None
    member_no: Identifier | None = None
    email: Identifier | None = None
    phone: Identifier | None = None
    device_id: Identifier | None = None
    openid: Identifier | None = None
    region: Region | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> SubjectRefIn:
        if len(self.model_fields_set - {"region"}) != 1:
            raise FieldTextError("needs exactly one of pseudonym, member_no, email, phone, device_id, openid")
        return self

    def ref(self) -> SubjectRef:
        """Return the plain value."""
        kind = next(iter(self.model_fields_set - {"region"}))
        return SubjectRef(kind, getattr(self, kind) or "", self.region)


class SubjectIn(Strict):
    """One customer row; at least one identifier."""

    member_no: Identifier | None = None
    email: Identifier | None = None
    phone: Identifier | None = None
    device_id: Identifier | None = None
    openid: Identifier | None = None
    country: Region | None = Field(None, description="ISO 3166-1 alpha-2, or US-CA for a US state; absent: unknown")
    given_name: Text | None = None
    family_name: Text | None = None
    birth_date: Annotated[str, StringConstraints(max_length=32)] | None = None
    language: Language | None = None
    traits: dict[str, bool | int | str] = Field(default_factory=dict, max_length=16)

    def item(self) -> SubjectItem:
        """Return the plain value."""
        return SubjectItem(
            {kind: value for kind in _IDENTIFIERS if (value := getattr(self, kind))},
            self.country,
            self.given_name,
            self.family_name,
            self.birth_date,
            self.language,
            self.traits,
        )


PropertyName = Literal["affirmative", "separate", "explicit", "written", "guardian", "two_step", "evidence"]


class ConsentIn(Strict):
    """One consent fact; absent channel, contact point, recipient: they spoke about all of them (or about us)."""

    subject: SubjectRefIn
    purpose: Slug
    kind: Annotated[ConsentKind, Field(strict=False)]
    at: Instant
    channel: Annotated[Channel, Field(strict=False)] | None = None
    valid_until: Instant | None = None
    properties: list[PropertyName] = Field(default_factory=list, max_length=7)
    recipient: Slug | None = None
    contact_point: SubjectRefIn | None = None
    notice: Slug | None = None
    notice_version: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    language: Language | None = None
    method: Annotated[str, StringConstraints(max_length=32, pattern=_NO_NUL)] | None = None
    evidence: dict[str, Any] | None = Field(
        None, description="sealed in the vault: form, wording, address of the client"
    )
    imported: bool = False

    def item(self) -> ConsentItem:
        """Return the plain value."""
        properties = ConsentProperty(0)
        for name in self.properties:
            properties |= ConsentProperty[name.upper()]
        return ConsentItem(
            subject=self.subject.ref(),
            purpose=self.purpose,
            kind=self.kind,
            at=int(self.at.timestamp()),
            channel=self.channel,
            valid_until=seconds(self.valid_until),
            properties=properties,
            recipient=self.recipient,
            contact_point=None if self.contact_point is None else self.contact_point.ref(),
            notice=self.notice,
            notice_version=self.notice_version,
            language=self.language,
            method=self.method,
            evidence=None if self.evidence is None else msgspec.json.encode(self.evidence),
            imported=self.imported,
        )


class ChoiceIn(Strict):
    """One choice switched on or off."""

    subject: SubjectRefIn
    choice: Annotated[Choice, Field(strict=False)]
    active: bool
    at: Instant

    def item(self) -> ChoiceItem:
        """Return the plain value."""
        return ChoiceItem(self.subject.ref(), self.choice, self.active, int(self.at.timestamp()))


class EventIn(Strict):
    """One thing a person did; `key` names it within its source, `value` is in minor units."""

    subject: SubjectRefIn
    type: Slug
    at: Instant
    key: Key
    value: Annotated[int, Field(ge=-(2**53), le=2**53)] | None = None

    def item(self) -> EventItem:
        """Return the plain value."""
        return EventItem(self.subject.ref(), self.type, int(self.at.timestamp()), self.key, self.value)


class ContactIn(Strict):
    """One message that a person was sent; `key` names it within its source."""

    subject: SubjectRefIn
    channel: Annotated[Channel, Field(strict=False)]
    at: Instant
    campaign: Slug
    key: Key

    def item(self) -> ContactItem:
        """Return the plain value."""
        return ContactItem(self.subject.ref(), self.channel, int(self.at.timestamp()), self.campaign, self.key)


ITEMS: dict[str, type[SubjectIn | ConsentIn | ChoiceIn | EventIn | ContactIn]] = {
    "subjects": SubjectIn,
    "consents": ConsentIn,
    "choices": ChoiceIn,
    "events": EventIn,
    "contacts": ContactIn,
}


class BatchIn(Strict):
    """Rows of one source; each is answered on its own, so the items are checked one by one."""

    source: Slug
    items: list[dict[str, Any]] = Field(min_length=1, max_length=1000)


class ReasonOut(BaseModel):
    """One thing that is wrong with a row: where, a stable code, and what to do; never the value."""

    path: str
    code: str
    message: str


class RejectionOut(BaseModel):
    """A row that was refused and is kept, sealed, in the quarantine."""

    row: int
    reasons: list[ReasonOut]
    quarantine_id: int


class EntryOut(BaseModel):
    """Where the log has it: ask `/v1/audit/entries/{uid}/receipt` for the proof."""

    uid: str


class IntakeOut(BaseModel):
    """What became of every row: received = accepted + duplicates + rejected."""

    kind: str
    source: str
    received: int
    accepted: int
    created: int
    updated: int
    joined: int
    duplicates: int
    suppressed: int
    rejected: int
    rejections: list[RejectionOut]
    entries: list[EntryOut]


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


class NoticeIn(Strict):
    """One version of a notice in one language."""

    id: Slug
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    language: Language
    title: Text
    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=_NO_NUL)]


class SourceIn(Strict):
    """Where data comes from."""

    id: Slug
    name: Text
    channel: Slug
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
    manifest_root: str
    packs: list[str]
    created_at: str
    expires_at: str
    entry: EntryOut
    k_floor: int


class ErasureIn(Strict):
    """Why a person is erased."""

    reason: Literal["request", "account_closed", "retention", "unlawful", "consent_withdrawn"] = "request"


class ErasureOut(BaseModel):
    """What the erasure did."""

    erased: bool
    tombstones: int
    rows: int
    entry: EntryOut


class EntryFoundOut(BaseModel):
    """An integrated entry and its index; `entry` is base64 of its exact bytes."""

    index: int
    entry: str
