"""Who answers for the processing, who gets the data, and what is processed for a purpose.

These are the registers behind records and receipts (ISO/IEC TS 27560 "party" and "processing", GDPR Art 13, 14 and
30(1)); no decision reads them, so they are in no snapshot of the registers. An empty text means: not registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import PurposeTree


@dataclass(frozen=True, slots=True)
class Address:
    """How a party is reached: where it sits, whom to ask for, and by what."""

    address: str = ""
    contact: str = ""
    email: str = ""
    phone: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Controller:
    """Who decides why and how (GDPR Art 4(7), PIPL Art 73(1)); one for each deployment.

    `representative` is that of Art 27 (or PIPL Art 53), `officer` the data protection officer (Art 37, PIPL Art 52),
    `authority` whom to complain to (Art 77), `measures` where the security measures are described (Art 30(1)(g)).
    """

    name: str
    country: str
    address: Address
    policy_url: str
    representative: str = ""
    officer: str = ""
    authority: str = ""
    measures: str = ""


@dataclass(frozen=True, slots=True)
class DataCategory:
    """One kind of personal data by its name in DPV-PD (`EmailAddress`), and how the law looks at it.

    `optional`: the purpose can do without it. `special`: GDPR Art 9. `sensitive`: PIPL Art 28, Civ. 1798.140(ae).
    """

    type: str
    optional: bool = False
    sensitive: bool = False
    special: bool = False


@dataclass(frozen=True, slots=True)
class Processing:
    """What is done with data for one purpose: of whom, which data, how long, where, for whom, and how to end it.

    `retention` is an ISO 8601 duration such as `P2Y`; where none can be given, `retention_criteria` says what decides
    (GDPR Art 13(2)(a), Civ. 1798.100(a)(3)). `storage_locations` are countries, `recipients` those who get the data.
    """

    data_categories: tuple[DataCategory, ...] = ()
    subject_categories: tuple[str, ...] = ()
    retention: str = ""
    retention_criteria: str = ""
    withdrawal_method: str = ""
    storage_locations: tuple[str, ...] = ()
    recipients: tuple[RecipientId, ...] = ()
    service: str = ""

    @property
    def retention_period(self) -> str:
        """The duration, or else what decides about it; empty if neither is registered."""
        return self.retention or self.retention_criteria


@dataclass(frozen=True, slots=True)
class Party:
    """One party of a record: who, what it is to the processing (an IRI of DPV, and our own word), where."""

    id: str
    name: str
    role: str
    type: str
    country: str
    address: Address


def processing_of(
    purpose: PurposeId, tree: PurposeTree, registered: Mapping[PurposeId, Processing]
) -> Processing | None:
    """Return what is registered about `purpose`, or else about the nearest wider purpose; None where nothing is."""
    return next((registered[p] for p in tree.ancestors(purpose) if p in registered), None)
