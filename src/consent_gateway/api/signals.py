"""Signals over HTTP: what TCF numbers mean here, what was received for a person, and that GPC is honoured."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.signals import SignalMappingIn, SignalMappingOut, SignalsOut
from consent_gateway.db import subjects as subject_rows
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError, NotFoundError
from consent_gateway.services.identity.people import named_by
from consent_gateway.services.ledger import signal_mappings, signal_records
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]
_NEWEST = 100
# The day since which this software honours the signal; it changes when what it does with one changes.
_HONOURED_SINCE = "2026-11-30"


@get("/.well-known/gpc.json", tags=["signals"], sync_to_thread=False)
def gpc_support() -> dict[str, Any]:
    """Tell the world that Global Privacy Control is honoured (W3C GPC, 11 CCR 7025)."""
    return {"gpc": True, "lastUpdate": _HONOURED_SINCE}


@post("/v1/signal-mappings", status_code=200, tags=["signals"], **documented(SignalMappingIn, SignalMappingOut))
async def put_mapping(request: Call) -> Response[bytes]:
    """Say what TCF purposes and vendors mean here; it takes the place of what was said before."""
    data = await body_as(request, SignalMappingIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        signal_mappings.set_mapping(work, data.mapping())
        return _mapping(work)

    return await desk_of(request).write(request, "admin", act)


@get("/v1/signal-mappings", tags=["signals"], **documented(None, SignalMappingOut))
async def show_mapping(request: Call) -> Response[bytes]:
    """Show what TCF purposes and vendors mean here."""
    return await desk_of(request).read(request, "ingest", _mapping)


def _mapping(work: Work) -> dict[str, Any]:
    mapping = signal_mappings.mapping_of(work)
    return {
        "purposes": [
            {"tcf_purposes": r.tcf_purposes, "purpose": r.purpose, "channel": r.channel} for r in mapping.purposes
        ],
        "vendors": [{"tcf_vendor": v, "recipient": recipient or OWN} for v, recipient in mapping.vendors.items()],
    }


@get("/v1/subjects/{pseudonym:str}/signals", tags=["signals"], **documented(None, SignalsOut))
async def list_signals(request: Call, pseudonym: FromPath[str]) -> Response[bytes]:
    """List the newest signals of a person and what they did: the means to confirm them (11 CCR 7026(g))."""

    def act(work: Work) -> dict[str, Any]:
        if work.actor.recipient != OWN:
            raise ForbiddenError("only a key of our own reads what a person signalled")
        found = named_by(work, pseudonym)
        if found not in subject_rows.profiles(work.session, [found]):
            raise NotFoundError
        return {"items": [_row(row) for row in signal_records.signals_of(work, found, _NEWEST)]}

    return await desk_of(request).read(request, "decide", act)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    times = {n: None if row[n] is None else instant(row[n]) for n in ("at", "received_at", "linked_at")}
    return row | times


HANDLERS = (gpc_support, put_mapping, show_mapping, list_signals)
