"""Records and receipts over HTTP: the controller, processing activities, consent receipts and their keys."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromQuery, QueryParameter

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import JSON, body_as, desk_of, documented
from consent_gateway.api.wire import ControllerIn, ReceiptIn, ReceiptOut
from consent_gateway.db import records as record_rows
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.records.activities import ActivityRecord
from consent_gateway.domain.records.rendering import Language, as_csv, as_json, as_markdown
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.ledger import receipts
from consent_gateway.services.registry import records
from consent_gateway.services.registry.activities import activity_record
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


class Layout(StrEnum):
    """The forms of the record."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


_MEDIA = {Layout.JSON: JSON, Layout.CSV: "text/csv", Layout.MARKDOWN: "text/markdown"}
_WRITERS: dict[Layout, Callable[[ActivityRecord, Language], str]] = {
    Layout.JSON: lambda record, language: msgspec.json.encode(as_json(record, language)).decode(),
    Layout.CSV: as_csv,
    Layout.MARKDOWN: as_markdown,
}


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


@get("/v1/purposes/record", tags=["records"])
async def show_record(
    request: Call,
    layout: Annotated[Layout | None, QueryParameter(name="format")] = None,
    language: FromQuery[Language] = Language.EN,
) -> Response[str]:
    """Show the record of processing activities (GDPR Art 30) with its gaps, made out of the registers.

    `format` is json, csv or markdown; without it the header `Accept` decides. `language` is en or zh.
    """
    desk = desk_of(request)
    chosen = layout or _accepted(request)

    def work() -> str:
        principal = authenticate(desk.gateway, request.scope["headers"], "audit")
        with desk.gateway.look(principal) as found:
            return _WRITERS[chosen](activity_record(found), language)

    return Response(await desk.run(work), media_type=_MEDIA[chosen], headers={"vary": "accept"})


def _accepted(request: Call) -> Layout:
    """Return the first form that the caller accepts by name, in the caller's order; JSON otherwise."""
    wanted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    named = {media: layout for layout, media in _MEDIA.items()}
    return next((named[media] for media in wanted if media in named), Layout.JSON)


@post("/v1/consents/receipt", status_code=200, tags=["records"], **documented(ReceiptIn, ReceiptOut))
async def issue_receipt(request: Call) -> Response[bytes]:
    """Issue a signed receipt of what a person said about a purpose; keep the reply byte for byte, it can be verified.

    Only a key of our own may: a receipt names the person by one pseudonym for everybody.
    """
    data = await body_as(request, ReceiptIn, "ingest")

    def act(work: Work) -> msgspec.Raw:
        if work.actor.recipient != OWN:
            raise ForbiddenError("only a key of our own issues receipts: they name a person alike for everyone")
        return msgspec.Raw(receipts.issue(work, data.subject.ref(), data.purpose, data.channel, data.format))

    return await desk_of(request).write(request, "ingest", act, kept=False)


@get("/v1/receipts/keys", tags=["records"])
async def show_receipt_keys(request: Call) -> Response[bytes]:
    """Return the public keys of consent receipts (a JWK set, RFC 7517); no key is needed to see them."""
    found = {"keys": [key.members for key in receipts.keys(desk_of(request).gateway)]}
    return Response(msgspec.json.encode(found), media_type="application/jwk-set+json")


HANDLERS = (put_controller, show_controller, show_record, issue_receipt, show_receipt_keys)
