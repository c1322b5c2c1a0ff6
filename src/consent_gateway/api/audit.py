"""What is asked of the log by the uid of an entry: where it stands, its bytes, its receipt. Tiles: `api.tiles`."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import desk_of, documented
from consent_gateway.api.wire import EntryFoundOut
from consent_gateway.db.engine import Session
from consent_gateway.errors import NotFoundError
from consent_gateway.services import audit_log

Call = Request[Any, Any, Any]
_UID = re.compile(r"[0-9a-f]{32}\Z")
_OCTETS, _TEXT = "application/octet-stream", "text/plain"  # the framework adds the charset


@get("/v1/audit/entries/{uid:str}", tags=["audit"], **documented(None, EntryFoundOut))
async def show_entry(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Return an entry and its index."""
    return await desk_of(request).read(request, "audit", lambda work: _entry(work.session, uid))


@get("/v1/audit/entries/{uid:str}/bytes", tags=["audit"])
async def show_entry_bytes(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Return the exact bytes of an entry, as they are hashed into the tree."""
    return await _bytes(request, lambda session: audit_log.find(session, _uid(uid)).entry, _OCTETS)


@get("/v1/audit/entries/{uid:str}/receipt", tags=["audit"])
async def show_receipt(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Return the receipt of an entry (C2SP tlog-proof): anyone can verify it offline, for good."""
    return await _bytes(request, lambda session: audit_log.receipt(session, _uid(uid)), _TEXT)


async def _bytes(request: Call, act: Callable[[Session], bytes], media: str) -> Response[bytes]:
    """Answer with bytes as they are; entries hold no personal data, but tell what a company does: scope `audit`."""
    desk = desk_of(request)

    def work() -> bytes:
        authenticate(desk.gateway, request.scope["headers"], "audit")
        with desk.gateway.store.reading() as session:
            return act(session)

    return Response(await desk.run(work), media_type=media)


def _entry(session: Session, uid: str) -> dict[str, Any]:
    found = audit_log.find(session, _uid(uid))
    return {"index": found.index, "entry": base64.b64encode(found.entry).decode()}


def _uid(text: str) -> bytes:
    if _UID.match(text) is None:
        raise NotFoundError
    return bytes.fromhex(text)


HANDLERS = (show_entry, show_entry_bytes, show_receipt)
