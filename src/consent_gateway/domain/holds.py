"""Legal holds: why somebody's data must be kept although it would have to be erased.

GDPR Art 17(3): erasure does not apply as far as processing is necessary for a legal obligation (b) or for legal claims
(e). PIPL Art 47(2): a retention period that laws set has not expired. Civ. 1798.105(d): to complete a transaction (1),
security (2), a legal obligation (8). What is kept for such a reason only is kept, and nothing else is done with it:
GDPR Art 18(2), PIPL Art 47(2). So a hold in force counts as a restriction of processing, which denies marketing under
every law; an erasure that waits for its end counts as a deletion that is pending as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import Flag


class HoldReason(StrEnum):
    """Why data is kept."""

    LEGAL_CLAIM = "legal_claim"  # GDPR Art 17(3)(e), 18(2)
    LEGAL_DUTY = "legal_duty"  # GDPR Art 17(3)(b), PIPL Art 47(2), Civ. 1798.105(d)(8)
    AUTHORITY_REQUEST = "authority_request"
    SECURITY_INCIDENT = "security_incident"  # Civ. 1798.105(d)(2)
    OPEN_CONTRACT = "open_contract"  # Civ. 1798.105(d)(1)


class HoldEnd(StrEnum):
    """Why a hold ended."""

    CLOSED = "closed"  # what it was for is over
    MISTAKE = "mistake"
    EXPIRED = "expired"  # its day came


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold on one subject; instants in seconds, `until` None where it holds until it is lifted."""

    id: int
    subject_id: SubjectId
    reason: HoldReason
    until: int | None
    placed_at: int
    placed_by: str
    ended_at: int | None = None
    ended_by: str | None = None
    end_reason: HoldEnd | None = None


HELD = Flag.RESTRICTION
PENDING = Flag.RESTRICTION | Flag.DELETION_PENDING
