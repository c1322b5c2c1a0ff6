"""Epochs of pseudonyms, and names that move from one to the next."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import EntryOut, Strict
from consent_gateway.domain.epochs import MAX_OVERLAP_SECONDS

_MONTH = 30 * 86_400


class RollIn(Strict):
    """How long the names of former epochs still count, none of them longer; 0 ends them all at once."""

    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP_SECONDS)] = _MONTH


class FormerOut(BaseModel):
    """A former epoch and the instant at which its names stop to count."""

    epoch: int
    counts_until: str


class EpochsOut(BaseModel):
    """Which names a recipient is given now, and which earlier ones still count."""

    recipient: str
    sector: str
    epoch: int
    former: list[FormerOut]


class ConvertIn(Strict):
    """Names that the caller's recipient was given, of any epoch that still counts; at most 100,000."""

    pseudonyms: list[str] = Field(min_length=1)


class RefusalOut(BaseModel):
    """Why there is no name: one reason for whatever was made up, made for others, ended, misspelt or erased."""

    code: str
    message: str


class ConvertOut(BaseModel):
    """The names of the current epoch in the order in which theirs were sent; null for whoever has none."""

    epoch: int
    converted: int
    refused: int
    pseudonyms: list[str | None]
    refusal: RefusalOut
    entry: EntryOut
