"""Is the process alive, and can it answer safely? The first never touches the store."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get

from consent_gateway.api.desk import JSON, desk_of
from consent_gateway.db.revisions import require_head
from consent_gateway.errors import AuditError


@get("/health/live", tags=["health"], sync_to_thread=False)
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@get("/health/ready", tags=["health"])
async def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The store answers, its schema is the code's, the log stands, keys are held; 503 with the reason otherwise.

    `keys` is `not_renewed` while the key service fails: answers go on, and what needs a new key has to wait. `copies`
    is `behind` while a copy of the checkpoint outside of the store cannot be brought to where the log is.
    """
    desk = desk_of(request)
    custody = desk.gateway.vault.custody

    def check() -> None:
        custody.require_held()
        if desk.gateway.gate.refusal is not None:
            raise desk.gateway.gate.refusal()
        desk.gateway.store.ping()
        require_head(desk.gateway.store)
        if desk.log_stands():
            raise AuditError("the audit log is not taking entries; see the server's log")

    await desk.run(check)
    found = {"status": "ready"}
    if custody.failing:
        found["keys"] = "not_renewed"
    if any(state.trouble for state in desk.copies.states.values()):
        found["copies"] = "behind"
    return Response(msgspec.json.encode(found), media_type=JSON)


HANDLERS = (live, ready)
