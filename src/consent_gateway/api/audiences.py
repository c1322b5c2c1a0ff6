"""Audiences over HTTP: resolve one, look at it again, and read its members out."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from consent_gateway.api.auth import authenticate
from consent_gateway.api.decisions import use_of
from consent_gateway.api.desk import Desk, body_as, desk_of, documented
from consent_gateway.api.registers import read_segment
from consent_gateway.api.wire import AudienceIn, AudienceOut, MembershipOut, instant
from consent_gateway.db.audiences import AudienceRow
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.segments import Segment
from consent_gateway.errors import FieldProblem, InputError, NotFoundError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.log import manifests
from consent_gateway.services.work.gateway import Work
from consent_gateway.telemetry import Event

Call = Request[Any, Any, Any]
_ID = re.compile(r"[0-9a-f]{32}\Z")


@post("/v1/audiences", status_code=201, tags=["audiences"], **documented(AudienceIn, AudienceOut))
async def resolve_audience(request: Call) -> Response[bytes]:
    """Resolve a consented audience: who may be used, and how many were lost where and why."""
    data = await body_as(request, AudienceIn, "audience")

    def act(work: Work) -> dict[str, Any]:
        found = audiences.resolve(work, _segment(work, data), use_of(data, work.actor), data.ttl_seconds)
        return audience_out(work, found.row) | {"population": found.waterfall.population}

    return await desk_of(request).write(request, "audience", act, 201, Event.AUDIENCE_RESOLVED)


@get("/v1/audiences/{audience:str}", tags=["audiences"], **documented(None, AudienceOut))
async def show_audience(request: Call, audience: FromPath[str]) -> Response[bytes]:
    """Show an audience that has not expired."""

    def act(work: Work) -> dict[str, Any]:
        return audience_out(work, _find(work, audience))

    return await desk_of(request).read(request, "audience", act)


@get("/v1/audiences/{audience:str}/members", tags=["audiences"])
async def stream_members(request: Call, audience: FromPath[str]) -> Stream:
    """Stream the members as NDJSON, one pseudonym a line; who may no longer be used is not among them.

    The reading is recorded before the first line leaves.
    """
    desk = desk_of(request)

    def check() -> Principal:
        principal = authenticate(desk.gateway, request.scope["headers"], "audience")
        with desk.gateway.work(principal) as work:
            audiences.record_reading(work, _find(work, audience))
        return principal

    principal = await desk.run(check)
    return Stream(_lines(desk, audience, principal), media_type="application/x-ndjson")


@get("/v1/audiences/{audience:str}/proof/{pseudonym:str}", tags=["audiences"], **documented(None, MembershipOut))
async def prove_membership(request: Call, audience: FromPath[str], pseudonym: FromPath[str]) -> Response[bytes]:
    """Return the proof that somebody is in an audience, or is not; anybody verifies it offline. It is recorded.

    404 until the entry of the audience is in the log, a moment after it was resolved.
    """

    def act(work: Work) -> dict[str, Any]:
        row = _find(work, audience)
        proof = manifests.prove(work, row, pseudonym)
        audiences.record_reading(work, row, 1)
        return proof

    return await desk_of(request).write(request, "audience", act, kept=False)


async def _lines(desk: Desk, audience: str, principal: Principal) -> AsyncIterator[bytes]:
    """Yield the lines chunk by chunk; an error leaves the response unfinished, so that nobody takes it for all."""
    chunks = audiences.stream_members(desk.gateway, audience, principal)
    while (chunk := await desk.run(lambda: next(chunks, None))) is not None:
        yield b"".join(b'{"pseudonym":"%b"}\n' % pseudonym.encode() for pseudonym in chunk)


def require_id(audience: str) -> None:
    """Refuse what cannot be the id of an audience, as one that does not exist."""
    if _ID.match(audience) is None:
        raise NotFoundError


def _find(work: Work, audience: str) -> AudienceRow:
    """Return an audience of the caller; another recipient's looks like none at all."""
    require_id(audience)
    row = audiences.find(work, audience)
    if work.actor.recipient not in (OWN, row.recipient):
        raise NotFoundError
    return row


def audience_out(work: Work, row: AudienceRow) -> dict[str, Any]:
    """Return an audience as it is written."""
    return {
        "id": row.id,
        "size": row.size,
        "population": None,
        "waterfall": json.loads(row.waterfall),
        "purpose": row.purpose,
        "channel": row.channel,
        "recipient": row.recipient,
        "epoch": row.epoch,
        "manifest_root": bytes(row.manifest_root).hex(),
        "packs": json.loads(row.packs),
        "created_at": instant(row.created_at),
        "expires_at": instant(row.expires_at),
        "entry": {"uid": bytes(row.entry_uid).hex()},
        "k_floor": work.gateway.rules.k_floor,
    }


def _segment(work: Work, data: AudienceIn) -> Segment:
    if data.segment is None:
        return read_segment(data.expression, data.text)
    if data.expression is not None or data.text is not None:
        raise InputError(fields=(FieldProblem("$", "one_of", "give one of segment, expression and text"),))
    return audiences.saved_segment(work, data.segment)


HANDLERS = (resolve_audience, show_audience, stream_members, prove_membership)
