"""Records and receipts over HTTP: the controller."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import ControllerIn
from consent_gateway.db import records as record_rows
from consent_gateway.services import records
from consent_gateway.services.gateway import Work

Call = Request[Any, Any, Any]


@post("/v1/controller", status_code=200, tags=["records"], **documented(ControllerIn, None))
async def put_controller(request: Call) -> Response[bytes]:
    """Register who answers for the processing; there is one, and the last one registered counts."""
    data = await body_as(request, ControllerIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        records.put_controller(work, data.plain())
        return {"name": data.name}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/controller", tags=["records"])
async def show_controller(request: Call) -> Response[bytes]:
    """Show who answers for the processing; `controller` is null until it is registered."""
    return await desk_of(request).read(
        request, "ingest", lambda work: {"controller": record_rows.find_controller(work.session)}
    )


HANDLERS = (put_controller, show_controller)
