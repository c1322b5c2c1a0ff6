"""What is asked of the log: which entries there are, and by uid where one stands, its bytes, its receipt.

Tiles: `api.tiles`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import desk_of, documented
from consent_gateway.api.wire import EntriesOut, EntryFoundOut
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db.engine import Session
from consent_gateway.errors import FieldProblem, InputError, NotFoundError
from consent_gateway.services.identity.people import PSEUDONYM
from consent_gateway.services.log import audit_log, log_search
from consent_gateway.services.log.log_search import Page, Query
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectRef

Call = Request[Any, Any, Any]
_PAGE, _MAX_INDEX = 100, (1 << 63) - 1
_NDJSON = "application/x-ndjson"
_KINDS = frozenset(kind.value for kind in EntryKind)
_UID = re.compile(r"[0-9a-f]{32}\Z")
_OCTETS, _TEXT = "application/octet-stream", "text/plain"  # the framework adds the charset


@get("/v1/audit/entries", tags=["audit"], **documented(None, EntriesOut))
async def list_entries(
    request: Call,
    kind: FromQuery[str | None] = None,
    actor: FromQuery[str | None] = None,
    purpose: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    since: Annotated[str | None, QueryParameter(name="from")] = None,
    until: Annotated[str | None, QueryParameter(name="to")] = None,
    subject: FromQuery[str | None] = None,
    cursor: FromQuery[int | None] = None,
    limit: FromQuery[int] = _PAGE,
) -> Response[bytes] | Stream:
    """List entries that match, newest first; `subject` is a pseudonym, and asking by person is recorded.

    `next` is the `cursor` of the next page, null at the end: a page may be short, or empty, and not be the last. With
    `Accept: application/x-ndjson` all of them, one a line.
    """
    desk = desk_of(request)
    query = _query(kind, actor, purpose, action, since, until)
    below = None if cursor is None else min(max(cursor, 0), _MAX_INDEX)
    size = max(1, min(limit, log_search.MAX_PAGE))

    def page(work: Work, below: int | None) -> Page:
        if subject is None:
            return log_search.search(work.session, query, below, size)
        return log_search.search_about(work, SubjectRef(PSEUDONYM, subject), query, below, size)

    await desk.admit(request, "audit")
    if request.headers.get("accept") == _NDJSON:
        return Stream(_lines(request, page, below, recorded=subject is not None), media_type=_NDJSON)
    if subject is None:
        return await desk.read(request, "audit", lambda work: _page_out(page(work, below)))
    return await desk.write(request, "audit", lambda work: _page_out(page(work, below)), kept=False)


async def _lines(
    request: Call, page: Callable[[Work, int | None], Page], below: int | None, *, recorded: bool
) -> AsyncIterator[bytes]:
    """Yield the lines page by page; an error leaves the response unfinished, so that nobody takes it for all."""
    desk = desk_of(request)

    def read() -> Page:
        principal = authenticate(desk.gateway, request.scope["headers"], "audit")
        with desk.gateway.work(principal) if recorded else desk.gateway.look(principal) as work:
            return page(work, below)

    while True:
        found = await desk.run(read)
        yield b"".join(b'{"index":%d,"entry":%b}\n' % row for row in found.entries)
        if found.next is None:
            return
        below = found.next


def _page_out(page: Page) -> dict[str, Any]:
    items = [{"index": index, "entry": msgspec.Raw(entry)} for index, entry in page.entries]
    return {"items": items, "next": page.next}


def _query(
    kind: str | None, actor: str | None, purpose: str | None, action: str | None, since: str | None, until: str | None
) -> Query:
    if kind is not None and kind not in _KINDS:
        raise InputError(fields=(FieldProblem("?kind", "unknown_kind", "is no kind of entry; see docs/ocsf.md"),))
    found = None if kind is None else EntryKind(kind)
    return Query(found, actor, purpose, action, _millis("from", since), _millis("to", until))


def _millis(name: str, text: str | None) -> int | None:
    """Return an instant of the query (RFC 3339 with an offset) in milliseconds; InputError for any other text."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InputError(fields=(FieldProblem(f"?{name}", "not_an_instant", "an RFC 3339 instant with an offset"),))
    return max(0, int(at.timestamp() * 1000))


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


HANDLERS = (list_entries, show_entry, show_entry_bytes, show_receipt)
