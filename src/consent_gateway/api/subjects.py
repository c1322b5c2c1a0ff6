"""One person over HTTP: look up a pseudonym, hand out what the log says; and what was quarantined."""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import JSON, body_as, desk_of, documented
from consent_gateway.api.problems import request_id
from consent_gateway.api.wire import BundleFileOut, LookupIn, LookupOut, instant
from consent_gateway.db import intake as intake_rows
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import FieldProblem, ForbiddenError, InputError, NotFoundError
from consent_gateway.services.log import bundles
from consent_gateway.services.log.bundles import Made
from consent_gateway.services.persons import subjects
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]
_PAGE = 200
_MAX_ID = (1 << 63) - 1


@post("/v1/subjects/lookup", status_code=200, tags=["subjects"], **documented(LookupIn, LookupOut))
async def lookup_subject(request: Call) -> Response[bytes]:
    """Return the pseudonym of a person; for another recipient only to a key of our own. The question is recorded."""
    data, found = await body_as(request, LookupIn, "decide"), list[str | None]()

    def act(work: Work) -> dict[str, str | None]:
        if data.recipient not in (None, work.actor.recipient) and work.actor.recipient != OWN:
            raise ForbiddenError("a recipient sees its own pseudonyms only")
        if data.recipient is not None and data.recipient not in work.registers.recipients:
            problem = FieldProblem("$.recipient", "unknown_recipient", "no such recipient is registered")
            raise InputError(fields=(problem,))
        found[:] = [subjects.lookup(work, data.identifier.ref(), data.recipient)]
        return {"pseudonym": found[0]}

    reply = await desk_of(request).write(request, "decide", act, kept=False)
    if found[0] is None:  # after the commit: the question counts, and is in the log
        raise NotFoundError
    return reply


@get("/v1/subjects/{pseudonym:str}/bundle", tags=["subjects"], **documented(None, BundleFileOut))
async def show_bundle(
    request: Call,
    pseudonym: FromPath[str],
    audiences: FromQuery[str | None] = None,
    memberships: FromQuery[bool] = True,  # noqa: FBT002 - a parameter of the query
) -> Response[bytes]:
    """Return everything that the log says about a person, with proofs, for them to keep: it is recorded first.

    It shows which audiences had them, as far as they have not expired (`memberships=false`: not those), and of those in
    `audiences` (ids with commas between them) whether they had them. Keep the bytes as they are: another spelling is
    none. Ask for it before an erasure: afterwards nobody can make it. `consent-gateway audit verify bundle` checks it.
    """
    desk = desk_of(request)
    wish = bundles.Wish(memberships, () if audiences is None else tuple(audiences.split(",")))

    def hand_out() -> Made:
        principal = authenticate(desk.gateway, request.scope["headers"], bundles.ACCESS_SCOPE)
        return bundles.hand_out(desk.gateway, principal, pseudonym, wish)

    made = await desk.run(hand_out)
    if made.canaries:
        desk.telemetry.canary_read(request_id(request.scope), made.canaries)
    headers = {"consent-gateway-entry": made.uid.hex(), "content-disposition": 'attachment; filename="bundle.json"'}
    return Response(made.content, media_type=JSON, headers=headers)


@get("/v1/quarantine", tags=["intake"])
async def list_quarantine(request: Call, after: FromQuery[int] = 0, limit: FromQuery[int] = _PAGE) -> Response[bytes]:
    """List refused rows with their reasons, oldest first; never their content."""

    def act(work: Work) -> dict[str, Any]:
        rows = intake_rows.quarantine_rows(work.session, min(max(after, 0), _MAX_ID), max(1, min(limit, _PAGE)))
        items = [row | {"reasons": json.loads(row["reasons"]), "at": instant(row["at"])} for row in rows]
        return {"items": items, "next": items[-1]["id"] if items else None}

    return await desk_of(request).read(request, "ingest", act)


HANDLERS = (lookup_subject, show_bundle, list_quarantine)
