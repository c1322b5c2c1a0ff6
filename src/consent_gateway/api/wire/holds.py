"""Legal holds: why, until when, and how they stand."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import EntryOut, Instant, Strict
from consent_gateway.domain.holds import HoldReason


class HoldIn(Strict):
    """Why a person's data is kept, and until when; without `until`, until the hold is lifted."""

    reason: Annotated[HoldReason, Field(strict=False)]
    until: Instant | None = None


class LiftIn(Strict):
    """Why a hold ends before its day."""

    reason: Literal["closed", "mistake"]


class HoldOut(BaseModel):
    """One hold; `ended_at`, `ended_by` and `end_reason` (closed, mistake, expired) once it is over."""

    hold: int
    reason: str
    until: str | None
    placed_at: str
    placed_by: str
    ended_at: str | None
    ended_by: str | None
    end_reason: str | None


class PlacedOut(HoldOut):
    """A hold that was placed, with its entry in the log."""

    entry: EntryOut


class LiftedOut(BaseModel):
    """A hold that was lifted."""

    hold: int
    entry: EntryOut


class PendingOut(BaseModel):
    """An erasure that waits for the holds to end."""

    reason: str
    asked_at: str
    asked_by: str


class HoldsOut(BaseModel):
    """Every hold on a person, oldest first, and the erasure that waits for them."""

    items: list[HoldOut]
    pending: PendingOut | None
