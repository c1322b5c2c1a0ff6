"""Giving personal data back: what a request for it must say, and what may be asked together.

A contact field is given for the channel that writes to it and for no other, so that the decision that lets it out is
the one about that channel: an address that is closed for e-mail cannot be had under the name of another use. Reasons
are a closed list and a ticket is a short reference, so that neither has room for a name (promise P7).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from consent_gateway.domain.fields import RevealField
from consent_gateway.domain.purposes import Channel

TICKET = re.compile(r"[A-Z]{2,5}-[0-9]{1,6}", re.ASCII)
# What each contact field is for; a field that is not here can be had for any channel.
REACHES: dict[str, frozenset[Channel]] = {
    RevealField.EMAIL: frozenset({Channel.EMAIL}),
    RevealField.PHONE: frozenset({Channel.SMS, Channel.CALL}),
    RevealField.DEVICE_ID: frozenset({Channel.PUSH}),
    RevealField.POSTAL_ADDRESS: frozenset({Channel.POST}),
}


class View(StrEnum):
    """How fields are shown: enough to recognise them, or whole."""

    MASKED = "masked"
    PLAIN = "plain"


class RevealReason(StrEnum):
    """Why somebody looks."""

    CUSTOMER_REQUEST = "customer_request"
    DELIVERY = "delivery"
    COMPLAINT = "complaint"
    RIGHTS_REQUEST = "rights_request"
    DATA_QUALITY = "data_quality"
    INCIDENT = "incident"
    LEGAL_OBLIGATION = "legal_obligation"


@dataclass(frozen=True, slots=True)
class Grounds:
    """Why and how: the reason, the ticket it can be looked up under, which fields, and in which view."""

    reason: RevealReason
    ticket: str
    fields: tuple[str, ...]
    view: View = View.MASKED


def not_allowed(asked: Sequence[str], allowed: Collection[str]) -> Iterator[int]:
    """Yield the places of the fields that a purpose does not list."""
    return (n for n, field in enumerate(asked) if field not in allowed)


def not_reached(asked: Sequence[str], channel: Channel) -> Iterator[int]:
    """Yield the places of the contact fields that `channel` does not write to."""
    return (n for n, field in enumerate(asked) if channel not in REACHES.get(field, (channel,)))
