"""A customer list for an ad platform: which digests, of which fields, and why."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from consent_gateway.api.wire.base import Strict
from consent_gateway.services.disclosing.customer_match import Grounds
from consent_gateway.vault.customer_match import MatchField, Platform


class CustomerMatchIn(Strict):
    """Digests by the rules of one platform. They are no pseudonyms: this discloses identifiers."""

    platform: Annotated[Platform, Field(strict=False)]
    fields: list[Annotated[MatchField, Field(strict=False)]] = Field(min_length=1, max_length=2)
    reason: Literal["campaign", "measurement", "exclusion"]
    ticket: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,5}-[0-9]{1,6}$")]

    def grounds(self) -> Grounds:
        """Return the plain value, each field once."""
        return Grounds(self.platform, tuple(dict.fromkeys(self.fields)), self.reason, self.ticket)
