"""Notices over HTTP: publish a version, list them, and get the text to show."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import NoticeIn, instant
from consent_gateway.db import notices as notice_rows
from consent_gateway.domain.ids import NoticeId, PurposeId
from consent_gateway.services.ledger import notices
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


@post("/v1/notices", status_code=200, tags=["registers"], **documented(NoticeIn, None))
async def put_notice(request: Call) -> Response[bytes]:
    """Publish a version of a notice; its text can never change. A `material` one makes earlier consents outdated."""
    data = await body_as(request, NoticeIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        digest = notices.put_notice(
            work,
            NoticeId(data.id),
            data.version,
            data.language,
            data.title,
            data.text,
            material=data.material,
            purposes=[PurposeId(p) for p in data.purposes],
        )
        return {"id": data.id, "version": data.version, "text_sha256": digest}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/notices", tags=["registers"])
async def list_notices(request: Call) -> Response[bytes]:
    """List every published notice."""
    return await desk_of(request).read(request, "ingest", lambda w: {"items": notice_rows.notice_rows(w.session)})


@get("/v1/notices/{notice:str}", tags=["registers"])
async def show_notice(request: Call, notice: FromPath[str], language: FromQuery[str | None] = None) -> Response[bytes]:
    """Return the text to show: the newest version, in the language that fits best (RFC 4647 look-up)."""

    def act(work: Work) -> dict[str, Any]:
        row = notices.text_of(work, notice, None, language)
        return row | {"published_at": instant(row["published_at"])}

    return await desk_of(request).read(request, "ingest", act)


HANDLERS = (put_notice, list_notices, show_notice)
