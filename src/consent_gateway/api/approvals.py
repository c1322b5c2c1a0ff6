"""Four eyes over HTTP: what waits for a second pair, and its answer."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant, seconds
from consent_gateway.api.wire.approvals import AnswerIn, ApprovalIn, ApprovalOut, ApprovalsOut
from consent_gateway.domain.approvals import Approval
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]
SCOPE = "approve"


@get("/v1/approvals", tags=["approvals"], **documented(None, ApprovalsOut))
async def list_approvals(request: Call) -> Response[bytes]:
    """List what was proposed, the newest first, with its state."""

    def act(work: Work) -> dict[str, Any]:
        return {"items": [approval_out(work, approval) for approval in approvals.listing(work)]}

    return await desk_of(request).read(request, SCOPE, act)


@get("/v1/approvals/{approval:str}", tags=["approvals"], **documented(None, ApprovalOut))
async def show_approval(request: Call, approval: FromPath[str]) -> Response[bytes]:
    """Return one."""
    return await desk_of(request).read(
        request, SCOPE, lambda work: approval_out(work, approvals.find(work, _plain(approval)))
    )


@post("/v1/approvals", status_code=200, tags=["approvals"], **documented(ApprovalIn, ApprovalOut))
async def propose_approval(request: Call) -> Response[bytes]:
    """Propose an act: nothing happens until another key approves it and somebody carries it out."""
    data = await body_as(request, ApprovalIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        return approval_out(work, approvals.propose(work, data.action, data.subject, seconds(data.valid_until)))

    return await desk_of(request).write(request, SCOPE, act, curing=True)


@post("/v1/approvals/{approval:str}/approve", status_code=200, tags=["approvals"], **documented(AnswerIn, ApprovalOut))
async def approve_approval(request: Call, approval: FromPath[str]) -> Response[bytes]:
    """Approve what another key proposed (four eyes)."""
    data = await body_as(request, AnswerIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        return approval_out(work, approvals.approve(work, _plain(approval), data.action))

    return await desk_of(request).write(request, SCOPE, act, curing=True)


@post("/v1/approvals/{approval:str}/refuse", status_code=200, tags=["approvals"], **documented(AnswerIn, ApprovalOut))
async def refuse_approval(request: Call, approval: FromPath[str]) -> Response[bytes]:
    """Refuse a proposal, or take an approval back; who proposed it withdraws it."""
    data = await body_as(request, AnswerIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        return approval_out(work, approvals.refuse(work, _plain(approval), data.action))

    return await desk_of(request).write(request, SCOPE, act, curing=True)


def approval_out(work: Work, approval: Approval) -> dict[str, Any]:
    """Return one approval as it is shown."""
    return {
        "id": approval.id,
        "action": approval.action.value,
        "subject": dict(approval.subject),
        "standing": approval.standing,
        "state": approvals.state(work, approval).value,
        "proposed_by": approval.proposed_by,
        "proposed_at": instant(approval.proposed_at),
        "expires_at": instant(approval.expires_at),
        "valid_until": _instant(approval.valid_until),
        "approved_by": approval.approved_by,
        "approved_at": _instant(approval.approved_at),
        "ended_by": approval.ended_by,
        "ended_at": _instant(approval.ended_at),
    }


def _instant(at: int | None) -> str | None:
    return None if at is None else instant(at)


def _plain(text: str) -> str:
    return text.replace("\x00", "")  # PostgreSQL keeps no NUL in text; what is left names nothing either


HANDLERS = (list_approvals, show_approval, propose_approval, approve_approval, refuse_approval)
