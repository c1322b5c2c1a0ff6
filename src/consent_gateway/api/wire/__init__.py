"""What comes in and what goes out, as strict models: unknown fields, coercions and impossible values are refused.

Strict: only JSON `true` is true, only a JSON number is a number. Instants are RFC 3339 with an offset.
Each input model knows the plain value that use cases take (`item()`).
"""

from __future__ import annotations

from consent_gateway.api.wire.answers import (
    AudienceIn,
    AudienceOut,
    ChangeOut,
    DecisionIn,
    DecisionOut,
    DecisionsIn,
    DecisionsOut,
    EntryFoundOut,
    ErasureIn,
    ErasureOut,
    LawReasonOut,
    LookupIn,
    LookupOut,
    LossOut,
    MessageIn,
    ShortDecisionOut,
    UseIn,
)
from consent_gateway.api.wire.base import ContactPointIn, EntryOut, ReasonOut, Strict, SubjectRefIn, instant, seconds
from consent_gateway.api.wire.intake import (
    ITEMS,
    BatchIn,
    ChoiceIn,
    CollectionIn,
    ConsentIn,
    ContactIn,
    EventIn,
    IntakeOut,
    RejectionOut,
    SubjectIn,
)
from consent_gateway.api.wire.records import (
    ControllerIn,
    DataCategoryIn,
    PartyIn,
    ProcessingIn,
    ReceiptIn,
    ReceiptOut,
)
from consent_gateway.api.wire.registers import ExportsIn, NoticeIn, PurposeIn, RecipientIn, SegmentIn, SourceIn, TraitIn

__all__ = [
    "ITEMS",
    "AudienceIn",
    "AudienceOut",
    "BatchIn",
    "ChangeOut",
    "ChoiceIn",
    "CollectionIn",
    "ConsentIn",
    "ContactIn",
    "ContactPointIn",
    "ControllerIn",
    "DataCategoryIn",
    "DecisionIn",
    "DecisionOut",
    "DecisionsIn",
    "DecisionsOut",
    "EntryFoundOut",
    "EntryOut",
    "ErasureIn",
    "ErasureOut",
    "EventIn",
    "ExportsIn",
    "IntakeOut",
    "LawReasonOut",
    "LookupIn",
    "LookupOut",
    "LossOut",
    "MessageIn",
    "NoticeIn",
    "PartyIn",
    "ProcessingIn",
    "PurposeIn",
    "ReasonOut",
    "ReceiptIn",
    "ReceiptOut",
    "RecipientIn",
    "RejectionOut",
    "SegmentIn",
    "ShortDecisionOut",
    "SourceIn",
    "Strict",
    "SubjectIn",
    "SubjectRefIn",
    "TraitIn",
    "UseIn",
    "instant",
    "seconds",
]
