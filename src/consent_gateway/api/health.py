"""Is the process alive, and can it answer safely? The first never touches the store."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from consent_gateway.api.desk import JSON, desk_of
from consent_gateway.db.migrate import require_head
from consent_gateway.errors import AuditError


@get("/health/live", tags=["health"], sync_to_thread=False)
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@get("/health/ready", tags=["health"])
async def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The store answers, its schema is the code's, and the packs are valid; 503 with the reason otherwise."""
    desk = desk_of(request)

    def check() -> None:
        desk.gateway.store.ping()
        require_head(desk.gateway.store)
        if desk.log_stands():
            raise AuditError("the audit log is not taking entries; see the server's log")

    await desk.run(check)
    return Response(b'{"status":"ready"}', media_type=JSON)


HANDLERS = (live, ready)
