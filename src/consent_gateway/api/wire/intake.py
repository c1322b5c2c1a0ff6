"""Rows that come in, and what became of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, Field, StringConstraints

from consent_gateway.api.wire.base import (
    NO_NUL,
    ContactPointIn,
    Day,
    EntryOut,
    Identifier,
    Instant,
    Key,
    Language,
    Place,
    ReasonOut,
    Region,
    Slug,
    Strict,
    SubjectRefIn,
    Text,
    seconds,
)
from consent_gateway.domain.circumstances import Subscriber, Told, day_number
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.subjects import Choice
from consent_gateway.policies.signals.bits import MAX_CHARS
from consent_gateway.policies.signals.detect import SignalKind
from consent_gateway.services.work.items import (
    ChoiceItem,
    ConsentItem,
    ContactItem,
    EventItem,
    NoticeShownItem,
    SensitiveItem,
    SignalItem,
    SubjectItem,
)

_IDENTIFIERS = ("member_no", "email", "phone", "device_id", "openid")


class CollectionIn(Strict):
    """How the contact points of the row were obtained: what soft opt-in rests on; absent fields say nothing."""

    in_sale: bool | None = Field(None, description="in the context of a sale to this person")
    opt_out_offered: bool | None = Field(None, description="a free and easy opt-out was offered then")
    expressed_interest: bool | None = Field(None, description="interest in, or support of, a charity was expressed")
    on: Day | None = Field(None, description="the day: YYYY-MM-DD")


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
    postal_address: Annotated[str, StringConstraints(max_length=300, pattern=NO_NUL)] | None = Field(
        None, description="as it is written on a letter, without the name: up to six lines"
    )
    birth_date: Annotated[str, StringConstraints(max_length=32)] | None = None
    language: Language | None = None
    traits: dict[str, bool | int | str] = Field(default_factory=dict, max_length=16)
    subscriber: Annotated[Subscriber, Field(strict=False)] | None = Field(
        None, description="whose contact points these are; a sole trader is an individual"
    )
    collection: CollectionIn | None = None

    def item(self) -> SubjectItem:
        """Return the plain value."""
        held = vars(self)
        return SubjectItem(
            {kind: value for kind in _IDENTIFIERS if (value := held[kind])},
            self.country,
            self.given_name,
            self.family_name,
            self.birth_date,
            self.language,
            self.traits,
            self._told(),
            self.postal_address,
        )

    def _told(self) -> Told | None:
        how = self.collection
        if how is None:
            return None if self.subscriber is None else Told(self.subscriber)
        day = None if how.on is None else day_number(how.on)
        return Told(self.subscriber, how.in_sale, how.opt_out_offered, how.expressed_interest, day)


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
    contact_point: ContactPointIn | None = None
    notice: Slug | None = None
    notice_version: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    language: Language | None = None
    method: Annotated[str, StringConstraints(max_length=32, pattern=NO_NUL)] | None = None
    evidence: dict[str, Any] | None = Field(
        None, description="sealed in the vault: form, wording, address of the client"
    )
    imported: bool = False
    guardian: SubjectRefIn | None = Field(None, description="the known adult who spoke for a child")
    place: Place | None = Field(None, description="where: a region, the path of a page, or a store; nothing personal")
    confirm: bool = Field(default=False, description="with `pending`: answer with a token for the second step")

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
            guardian=None if self.guardian is None else self.guardian.ref(),
            place=self.place,
            confirm=self.confirm,
        )


class NoticeShownIn(Strict):
    """One notice that a person was shown."""

    subject: SubjectRefIn
    notice: Slug
    notice_version: Annotated[int, Field(ge=1, le=1_000_000)]
    language: Language
    at: Instant
    place: Place | None = None

    def item(self) -> NoticeShownItem:
        """Return the plain value."""
        shown = (self.notice, self.notice_version, self.language)
        return NoticeShownItem(self.subject.ref(), *shown, int(self.at.timestamp()), self.place)


class ChoiceIn(Strict):
    """One choice switched on or off."""

    subject: SubjectRefIn
    choice: Annotated[Choice, Field(strict=False)]
    active: bool
    at: Instant

    def item(self) -> ChoiceItem:
        """Return the plain value."""
        return ChoiceItem(self.subject.ref(), self.choice, self.active, int(self.at.timestamp()))


SensitiveText = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_NUL)]


class SensitiveIn(Strict):
    """Sensitive values of one known person; null takes a value back."""

    subject: SubjectRefIn
    fields: dict[str, SensitiveText | None] = Field(max_length=16, description="by declared field; at least one")

    def item(self) -> SensitiveItem:
        """Return the plain value."""
        return SensitiveItem(self.subject.ref(), self.fields)


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
    purpose: Slug | None = Field(None, description="what it was sent for; says that a revocation was confirmed")

    def item(self) -> ContactItem:
        """Return the plain value."""
        at = int(self.at.timestamp())
        return ContactItem(self.subject.ref(), self.channel, at, self.campaign, self.key, self.purpose)


class SignalIn(Strict):
    """One signal as it was received: a value of `Sec-GPC`, a TCF, GPP or US Privacy string; absent `kind`: any."""

    subject: SubjectRefIn
    raw: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARS, pattern=NO_NUL)]
    at: Instant
    kind: Annotated[SignalKind, Field(strict=False)] | None = None
    displayed: bool | None = Field(None, description="whether the site showed that the signal is honoured")

    def item(self) -> SignalItem:
        """Return the plain value."""
        return SignalItem(self.subject.ref(), self.raw, int(self.at.timestamp()), self.kind, self.displayed)


ITEMS: dict[
    str, type[SubjectIn | ConsentIn | ChoiceIn | EventIn | ContactIn | SignalIn | NoticeShownIn | SensitiveIn]
] = {
    "subjects": SubjectIn,
    "consents": ConsentIn,
    "choices": ChoiceIn,
    "events": EventIn,
    "contacts": ContactIn,
    "signals": SignalIn,
    "notices_shown": NoticeShownIn,
    "sensitive": SensitiveIn,
}


class BatchIn(Strict):
    """Rows of one source; each is answered on its own, so the items are checked one by one."""

    source: Slug
    items: list[dict[str, Any]] = Field(min_length=1, max_length=1000)


class RejectionOut(BaseModel):
    """A row that was refused and is kept, sealed, in the quarantine."""

    row: int
    reasons: list[ReasonOut]
    quarantine_id: int


class ConfirmationOut(BaseModel):
    """The token of a pending row: send it to the person. It cannot be shown again."""

    row: int
    token: str
    expires_at: str


class IntakeOut(BaseModel):
    """What became of every row: received = accepted + duplicates + rejected.

    With 202 all of them are `deferred`: kept, in order, and carried out when the keys are back.
    """

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
    deferred: int | None = None
    rejections: list[RejectionOut]
    confirmations: list[ConfirmationOut] | None = None
    entries: list[EntryOut]
