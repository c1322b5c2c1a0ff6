"""The log as any C2SP client reads it (tlog-tiles): the checkpoint, and tiles that never change, below one prefix.

Prefixes are the gateway's own address and `/v1/audit` below it: `<prefix>/checkpoint`, `<prefix>/tile/<L>/<N>[.p/<W>]`,
`<prefix>/tile/entries/<N>[.p/<W>]`, by GET and HEAD. The specification's words, and what is made of them:

- a partial tile is served for every width that the log ever had there, also once the full one exists;
- a path has one spelling, everything else is 404, and no 404 may be kept by a cache: the tile may exist a moment later;
- a tile never changes, so caches may keep it for good. Where reading needs a key (`log_public` off) only the reader's
  own: a shared cache would hand it to the next caller without asking for theirs (RFC 9111 3.5);
- entry bundles are compressed at the HTTP layer for who accepts gzip; tiles are hashes and do not shrink.

Where the log is public, strangers come without a key; see `api.guests`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

from litestar import HttpMethod, Request, Response, get, route
from litestar.params import FromPath

from consent_gateway.api.desk import Desk, desk_of
from consent_gateway.audit.tiles import parse_tile_path
from consent_gateway.db.engine import Session
from consent_gateway.errors import NotFoundError
from consent_gateway.services.log import audit_log

Call = Request[Any, Any, Any]
_READING = [HttpMethod.GET, HttpMethod.HEAD]
_OCTETS, _TEXT = "application/octet-stream", "text/plain"  # the framework adds the charset
_YEAR = "max-age=31536000, immutable"
_GZIP = re.compile(r"(?:x-)?gzip\s*(?:;\s*q\s*=\s*(?P<q>[0-9.]+)\s*)?\Z", re.IGNORECASE)


@route(["/v1/audit/checkpoint", "/checkpoint"], http_method=_READING, tags=["audit"])
async def show_checkpoint(request: Call) -> Response[bytes]:
    """Return the newest signed checkpoint (C2SP signed note)."""
    desk = desk_of(request)
    content = await desk.run(lambda: _read(desk, audit_log.checkpoint))
    return Response(content, media_type=_TEXT, headers={"cache-control": "no-cache"})


@get("/v1/audit/vkey", tags=["audit"])
async def show_vkey(request: Call) -> Response[bytes]:
    """Return the log's verifier key, to be pinned by auditors."""
    return Response(desk_of(request).gateway.signer.vkey.encode() + b"\n", media_type=_TEXT)


@route(["/tile/{path:path}", "/v1/audit/tile/{path:path}"], http_method=_READING, tags=["audit"])
async def show_tile(request: Call, path: FromPath[str]) -> Response[bytes]:  # noqa: ARG001 - read as it was sent
    """Return a tile or an entry bundle (C2SP tlog-tiles); neither ever changes. Public only with `log_public`."""
    desk = desk_of(request)
    if not desk.log_public:
        await desk.admit(request, "audit")
        return await _tile(desk, request)
    async with desk.guests.admitted():
        return await _tile(desk, request)


async def _tile(desk: Desk, request: Call) -> Response[bytes]:
    # the path as it was sent: the framework's has doubled and trailing slashes taken away
    name = parse_tile_path("tile/" + request.scope["raw_path"].decode("latin-1").partition("/tile/")[2])
    if name is None:
        raise NotFoundError
    level, index, width = name
    headers = {"cache-control": f"{'public' if desk.log_public else 'private'}, {_YEAR}"}
    if level is not None:
        content = await desk.run(lambda: _read(desk, lambda s: audit_log.tile(s, level, index, width)))
        return Response(content, media_type=_OCTETS, headers=headers)
    headers["vary"] = "accept-encoding"
    packed = accepts_gzip(request.headers.get("accept-encoding", ""))

    def bundle() -> bytes:
        entries = _read(desk, lambda s: audit_log.entry_bundle(s, index, width))
        return gzip.compress(entries, mtime=0) if packed else entries

    if packed:
        headers["content-encoding"] = "gzip"
    return Response(await desk.run(bundle), media_type=_OCTETS, headers=headers)


def accepts_gzip(header: str) -> bool:
    """Tell whether a client asks for gzip by name (RFC 9110 12.5.3); a weight of zero says that it does not."""
    for coding in header.split(","):
        match = _GZIP.match(coding.strip())
        if match is not None:
            return match["q"] is None or match["q"].strip("0.") != ""
    return False


def _read(desk: Desk, act: Callable[[Session], bytes]) -> bytes:
    with desk.gateway.store.reading() as session:
        return act(session)


HANDLERS = (show_checkpoint, show_vkey, show_tile)
