"""Epochs of the log: which there are, and which would be opened now."""

from __future__ import annotations

from pydantic import BaseModel

from consent_gateway.api.wire.base import Slug, Strict


class EpochIn(Strict):
    """The epoch to open: the reason that was approved."""

    reason: Slug


class EpochOut(BaseModel):
    """One epoch. `statement` is the signed note by the key of the epoch before, absent for the first."""

    epoch: int
    origin: str
    vkey: str
    reason: str | None
    surviving: int | None
    lost_from: int | None
    lost_until: int | None
    statement: str | None
    entry: str | None
    opened_at: str | None


class PlanOut(BaseModel):
    """The epoch that would be opened now; `plan` names exactly this in an approval."""

    epoch: int
    plan: str
    origin: str
    vkey: str
    surviving: int
    lost_from: int | None
    lost_until: int | None


class EpochsOut(BaseModel):
    """Every epoch, oldest first; and what could be opened, null while the stored log itself is not sound."""

    items: list[EpochOut]
    next: PlanOut | None
