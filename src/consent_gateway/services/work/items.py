"""The rows that use cases take in, as plain values: read and typed at the edge, not yet normalised or known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_gateway.domain.circumstances import Told
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.subjects import Choice
from consent_gateway.policies.signals.detect import SignalKind


@dataclass(frozen=True, slots=True)
class SubjectRef:
    """Who a row is about: a pseudonym of the caller, or an identifier as it was written."""

    kind: str
    value: str
    region: str | None = None


@dataclass(frozen=True, slots=True)
class SubjectItem:
    """One customer row: identifiers by kind as written, and what is known of the person."""

    identifiers: Mapping[str, str]
    country: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    birth_date: str | None = None
    language: str | None = None
    traits: Mapping[str, object] = field(default_factory=dict)
    told: Told | None = None
    postal_address: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentItem:
    """One consent fact; instants in seconds."""

    subject: SubjectRef
    purpose: str
    kind: ConsentKind
    at: int
    channel: str | None = None
    valid_until: int | None = None
    properties: ConsentProperty = ConsentProperty(0)
    recipient: str | None = None
    contact_point: SubjectRef | None = None
    notice: str | None = None
    notice_version: int | None = None
    language: str | None = None
    method: str | None = None
    evidence: bytes | None = None  # one JSON value
    imported: bool = False
    guardian: SubjectRef | None = None
    place: str | None = None
    confirm: bool = False  # a pending fact that a token is wanted for


@dataclass(frozen=True, slots=True)
class NoticeShownItem:
    """One notice that a person was shown."""

    subject: SubjectRef
    notice: str
    notice_version: int
    language: str
    at: int
    place: str | None = None


@dataclass(frozen=True, slots=True)
class SensitiveItem:
    """Sensitive values of one person by declared field; None takes a value back."""

    subject: SubjectRef
    fields: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ChoiceItem:
    """One choice switched on or off."""

    subject: SubjectRef
    choice: Choice
    active: bool
    at: int


@dataclass(frozen=True, slots=True)
class SignalItem:
    """One signal as it was received; `kind` None: told by the text. `displayed`: the site showed its status."""

    subject: SubjectRef
    raw: str
    at: int
    kind: SignalKind | None = None
    displayed: bool | None = None


@dataclass(frozen=True, slots=True)
class EventItem:
    """One thing a person did, known by its source's own key."""

    subject: SubjectRef
    type: str
    at: int
    key: str
    value: int | None = None


@dataclass(frozen=True, slots=True)
class ContactItem:
    """One message a person was sent, known by its source's own key."""

    subject: SubjectRef
    channel: str
    at: int
    campaign: str
    key: str
    purpose: str | None = None
