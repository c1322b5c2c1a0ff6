"""What records and receipts need: the controller, the parties, the processing, and asking for a receipt."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from consent_gateway.api.wire.base import MAX_TEXT, NO_NUL, Slug, Strict, SubjectRefIn, Text
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing
from consent_gateway.domain.records.consent import Form

Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT, pattern=NO_NUL)]
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^([^@\s\x00]+@[^@\s\x00]+)?$")]
Url = Annotated[str, StringConstraints(max_length=500, pattern=r"^(https?://[^\s\x00]+)?$")]
Line = Annotated[str, StringConstraints(max_length=500, pattern=NO_NUL)]
Term = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,62}$")]
Duration = Annotated[str, StringConstraints(pattern=r"^(P[1-9][0-9]{0,4}[DWMY])?$")]


class PartyIn(Strict):
    """How a party is reached."""

    address: Line = ""
    contact: Line = ""
    email: Email = ""
    phone: Text = ""
    url: Url = ""

    def plain(self) -> Address:
        """Return the plain value."""
        return Address(self.address, self.contact, self.email, self.phone, self.url)


class ControllerIn(Strict):
    """Who answers for the processing: one for each deployment."""

    name: Name
    country: Country
    party: PartyIn
    policy_url: Url = ""
    representative: Line = ""
    officer: Line = ""
    authority: Line = ""
    measures: Line = Field("", description="where the security measures are described (GDPR Art 30(1)(g))")

    def plain(self) -> Controller:
        """Return the plain value."""
        return Controller(
            name=self.name,
            country=self.country,
            address=self.party.plain(),
            policy_url=self.policy_url,
            representative=self.representative,
            officer=self.officer,
            authority=self.authority,
            measures=self.measures,
        )


class DataCategoryIn(Strict):
    """One kind of personal data by its name in DPV-PD, such as `EmailAddress`."""

    type: Term
    optional: bool = False
    sensitive: bool = False
    special: bool = False


class ProcessingIn(Strict):
    """What is done with data for a purpose; narrower purposes without their own take it over."""

    data_categories: list[DataCategoryIn] = Field(default_factory=list, max_length=64)
    subject_categories: list[Term] = Field(default_factory=list, max_length=16)
    retention: Duration = Field("", description="an ISO 8601 duration, such as P2Y")
    retention_criteria: Line = ""
    withdrawal_method: Line = ""
    storage_locations: list[Country] = Field(default_factory=list, max_length=32)
    recipients: list[Slug] = Field(default_factory=list, max_length=64)
    service: Line = ""

    def plain(self) -> Processing:
        """Return the plain value."""
        return Processing(
            data_categories=tuple(DataCategory(**c.model_dump()) for c in self.data_categories),
            subject_categories=tuple(self.subject_categories),
            retention=self.retention,
            retention_criteria=self.retention_criteria,
            withdrawal_method=self.withdrawal_method,
            storage_locations=tuple(self.storage_locations),
            recipients=tuple(RecipientId(r) for r in self.recipients),
            service=self.service,
        )


class ReceiptIn(Strict):
    """A receipt of what a person said about a purpose; on one channel, or on all."""

    subject: SubjectRefIn
    purpose: Slug
    channel: Annotated[Channel, Field(strict=False)] | None = None
    format: Annotated[Form, Field(strict=False)] = Form.ISO27560


class ReceiptOut(BaseModel):
    """A receipt and its detached signature (RFC 7515 appendix F, RFC 7797) over its canonical JSON (RFC 8785)."""

    receipt: dict[str, Any]
    signature: str
