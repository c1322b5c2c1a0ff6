"""The log over HTTP: checkpoints, receipts, and the C2SP tlog-tiles layout for anyone who wants to verify."""

from __future__ import annotations

import base64
import re
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import Desk, desk_of, documented
from consent_gateway.api.wire import EntryFoundOut
from consent_gateway.db.engine import Session
from consent_gateway.errors import NotFoundError
from consent_gateway.services import audit_log

Call = Request[Any, Any, Any]
_FULL = 256
_UID = re.compile(r"[0-9a-f]{32}\Z")
_TILE = re.compile(
    r"(?P<level>[0-9]|[1-5][0-9]|entries)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?\Z"
)
_IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
_OCTETS, _TEXT = "application/octet-stream", "text/plain; charset=utf-8"


async def _bytes(request: Call, act: Any, media: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    desk = desk_of(request)

    def work() -> bytes:
        with desk.gateway.store.reading() as session:
            content: bytes = act(session)
        return content

    return Response(await desk.run(work), media_type=media, headers=headers or {})


@get(["/v1/audit/checkpoint", "/checkpoint"], tags=["audit"])
async def show_checkpoint(request: Call) -> Response[bytes]:
    """Return the newest signed checkpoint (C2SP signed note)."""
    return await _bytes(request, audit_log.checkpoint, _TEXT, {"cache-control": "no-cache"})


@get("/v1/audit/vkey", tags=["audit"])
async def show_vkey(request: Call) -> Response[bytes]:
    """Return the log's verifier key, to be pinned by auditors."""
    return Response(desk_of(request).gateway.signer.vkey.encode() + b"\n", media_type=_TEXT)


@get("/v1/audit/entries/{uid:str}", tags=["audit"], **documented(None, EntryFoundOut))
async def show_entry(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Return an entry and its index."""
    return await desk_of(request).read(request, "audit", lambda work: _entry(work.session, uid))


@get("/v1/audit/entries/{uid:str}/bytes", tags=["audit"])
async def show_entry_bytes(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Return the exact bytes of an entry, as they are hashed into the tree."""
    await _require_audit(request)
    return await _bytes(request, lambda session: audit_log.find(session, _uid(uid)).entry, _OCTETS)


@get("/v1/audit/entries/{uid:str}/receipt", tags=["audit"])
async def show_receipt(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Return the receipt of an entry (C2SP tlog-proof): anyone can verify it offline, for good."""
    await _require_audit(request)
    return await _bytes(request, lambda session: audit_log.receipt(session, _uid(uid)), _TEXT)


@get("/tile/{path:path}", tags=["audit"])
async def show_tile(request: Call, path: FromPath[str]) -> Response[bytes]:
    """Return a tile or an entry bundle (C2SP tlog-tiles). Full tiles never change."""
    match = _TILE.match(str(path).lstrip("/"))
    if match is None:
        raise NotFoundError
    width = int(match["width"]) if match["width"] else _FULL
    index = int(match["index"].replace("x", "").replace("/", ""))
    await _require_audit(request)
    if match["level"] == "entries":
        return await _bytes(request, lambda s: audit_log.entry_bundle(s, index, width), _OCTETS, _IMMUTABLE)
    level = int(match["level"])
    return await _bytes(request, lambda s: audit_log.tile(s, level, index, width), _OCTETS, _IMMUTABLE)


async def _require_audit(request: Call) -> None:
    """Entries hold no personal data, but they tell what a company does: reading them needs the scope `audit`."""
    desk: Desk = desk_of(request)
    await desk.run(lambda: authenticate(desk.gateway, request.scope["headers"], "audit"))


def _entry(session: Session, uid: str) -> dict[str, Any]:
    found = audit_log.find(session, _uid(uid))
    return {"index": found.index, "entry": base64.b64encode(found.entry).decode()}


def _uid(text: str) -> bytes:
    if _UID.match(text) is None:
        raise NotFoundError
    return bytes.fromhex(text)


HANDLERS = (
    show_checkpoint,
    show_vkey,
    show_entry,
    show_entry_bytes,
    show_receipt,
    show_tile,
)
