"""Four eyes: what is proposed, and how it stands."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import Instant, Slug, Strict
from consent_gateway.domain.approvals import Action

_MOST = (1 << 53) - 1
Member = Annotated[int, Field(ge=1, le=_MOST)] | Slug


class ApprovalIn(Strict):
    """An act to propose: what it is about, and for a standing one until when it holds."""

    action: Annotated[Action, Field(strict=False)]
    subject: dict[str, Member]
    valid_until: Instant | None = None


class AnswerIn(Strict):
    """What the approval in the path is for: who answers says it, so that nobody answers the wrong one."""

    action: Annotated[Action, Field(strict=False)]


class ApprovalOut(BaseModel):
    """One act with four eyes. `state`: proposed, approved, used, refused, withdrawn, expired, void."""

    id: str
    action: str
    subject: dict[str, int | str]
    standing: bool
    state: str
    proposed_by: str
    proposed_at: str
    expires_at: str
    valid_until: str | None
    approved_by: str | None
    approved_at: str | None
    ended_by: str | None
    ended_at: str | None


class ApprovalsOut(BaseModel):
    """What was proposed last (at most 200), the newest first."""

    items: list[ApprovalOut]
