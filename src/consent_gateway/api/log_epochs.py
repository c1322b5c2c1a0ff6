"""Epochs of the log over HTTP: list them with their statements, and open one that two people approved."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import JSON, body_as, desk_of, documented
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.log_epochs import EpochIn, EpochOut, EpochsOut
from consent_gateway.db.log_state import EpochRow
from consent_gateway.errors import LogHaltedError
from consent_gateway.services.log import log_epochs
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.log_epochs import Plan
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]
OPENS = "approve"


@get("/v1/audit/epochs", tags=["audit"], **documented(None, EpochsOut))
async def list_epochs(request: Call) -> Response[bytes]:
    """List the epochs of the log with the statements that auditors follow, and what would be opened now."""
    copies = desk_of(request).copies
    return await desk_of(request).read(request, "audit", lambda work: _listed(work, copies))


@post("/v1/audit/epochs", status_code=200, tags=["audit"], **documented(EpochIn, EpochOut))
async def open_epoch(request: Call) -> Response[bytes]:
    """Open the epoch that two people approved (`log_epoch`); also while the log does not stand."""
    data, desk = await body_as(request, EpochIn, OPENS), desk_of(request)

    def act() -> bytes:
        principal = authenticate(desk.gateway, request.scope["headers"], OPENS)
        row = log_epochs.open_epoch(desk.gateway, principal, desk.copies, data.reason)
        return msgspec.json.encode(epoch_out(row))

    return Response(await desk.run(act), media_type=JSON)


def epoch_out(row: EpochRow) -> dict[str, Any]:
    """Return one epoch as it is shown, with its entry."""
    return log_epochs.told(row) | {"entry": row.entry_uid.hex(), "opened_at": instant(row.opened_at)}


def first_epoch(work: Work) -> dict[str, Any]:
    """Return the first epoch, which nothing opened."""
    key = work.gateway.log_keys.signer().key
    nothing = dict.fromkeys(EpochOut.model_fields)
    return nothing | {"epoch": 1, "origin": key.name, "vkey": key.vkey}


def plan_out(plan: Plan) -> dict[str, Any]:
    """Return what would be opened now."""
    said = plan.succession
    return {
        "epoch": plan.epoch,
        "plan": plan.name,
        "origin": log_epochs.epoch_name(said),
        "vkey": said.vkey,
        "surviving": said.surviving,
        "lost_from": None if said.lost is None else said.lost.start,
        "lost_until": None if said.lost is None else said.lost.until,
    }


def _listed(work: Work, copies: Copies) -> dict[str, Any]:
    items = [first_epoch(work), *(epoch_out(row) for row in log_epochs.listing(work))]
    try:
        following = plan_out(log_epochs.planned(work.gateway, copies))
    except LogHaltedError:
        following = None
    return {"items": items, "next": following}


HANDLERS = (list_epochs, open_epoch)
