"""What the job of retention deleted, and what has no period, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get

from consent_gateway.api.desk import desk_of, documented
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.retention import RetentionOut
from consent_gateway.services.erasing import retention
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


@get("/v1/retention", tags=["records"], **documented(None, RetentionOut))
async def show_retention(request: Call) -> Response[bytes]:
    """Show the newest runs with what each deleted, the registered periods, and what has none (GDPR Art 5(1)(e))."""
    return await desk_of(request).read(request, "audit", shown)


def shown(work: Work) -> dict[str, Any]:
    """Return the report of a reader."""
    found = retention.status(work)
    runs = [
        {
            "day": datetime.fromtimestamp(run.day * retention.DAY, UTC).date().isoformat(),
            "started_at": instant(run.started_at),
            "finished_at": None if run.finished_at is None else instant(run.finished_at),
            "counts": run.counts,
        }
        for run in found.runs
    ]
    return {"runs": runs, "purposes": found.purposes, "sources": found.sources, "gaps": found.gaps} | {
        "fields": found.fields,
        "unsourced": found.unsourced,
    }


HANDLERS = (show_retention,)
