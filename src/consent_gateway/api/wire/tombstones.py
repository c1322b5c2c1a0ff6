"""Letting somebody who was erased come back: who, by what act, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import EntryOut, Identifier, Instant, Region, Slug, Strict
from consent_gateway.domain.tombstones import OwnAct
from consent_gateway.services.erasing.tombstone_lifts import Act

_KINDS = ("member_no", "email", "phone", "device_id", "openid")


class NamedIn(Strict):
    """Identifiers that the person uses now; `region`: where a phone number without + is dialled."""

    member_no: Identifier | None = None
    email: Identifier | None = None
    phone: Identifier | None = None
    device_id: Identifier | None = None
    openid: Identifier | None = None
    region: Region | None = None

    def by_kind(self) -> dict[str, str]:
        """Return what is there."""
        return {kind: value for kind in _KINDS if (value := getattr(self, kind))}


class ActIn(Strict):
    """What the person did after they were erased."""

    kind: Annotated[OwnAct, Field(strict=False)]
    at: Instant
    evidence: dict[str, Any] = Field(description="what proves it; stays with you, a keyed digest of it is in the log")


class TombstoneLiftIn(Strict):
    """Who came back, and by what; `source` of our own party heard it."""

    source: Slug
    identifiers: NamedIn
    act: ActIn

    def plain(self) -> Act:
        """Return the plain value."""
        evidence = msgspec.json.encode(self.act.evidence, order="sorted")
        return Act(self.act.kind, int(self.act.at.timestamp()), self.source, evidence)


class TombstoneLiftOut(BaseModel):
    """The kinds of identifiers that are free again; with 202 nothing was done until another key approves `approval`."""

    lifted: list[str]
    pending: bool
    approval: str | None
    entry: EntryOut | None
