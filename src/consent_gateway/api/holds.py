"""Legal holds over HTTP; for keys of our own with the scope `hold`, which erases nobody."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant, seconds
from consent_gateway.api.wire.holds import HoldIn, HoldsOut, LiftedOut, LiftIn, PlacedOut
from consent_gateway.domain.holds import Hold, HoldEnd
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.erasing import holds
from consent_gateway.services.identity import people
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]
SCOPE = "hold"
_NUMBER = re.compile("[1-9][0-9]{0,17}")


@post("/v1/subjects/{pseudonym:str}/holds", status_code=200, tags=["subjects"], **documented(HoldIn, PlacedOut))
async def place_hold(request: Call, pseudonym: FromPath[str]) -> Response[bytes]:
    """Keep a person's data: nothing is erased meanwhile, and processing is restricted (GDPR Art 17(3), 18(2))."""
    data = await body_as(request, HoldIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        hold, uid = holds.place(work, _subject(work, pseudonym), data.reason, seconds(data.until))
        return _out(hold) | {"entry": {"uid": uid.hex()}}

    return await desk_of(request).write(request, SCOPE, act)


@post(
    "/v1/subjects/{pseudonym:str}/holds/{hold:str}/lift",
    status_code=200,
    tags=["subjects"],
    **documented(LiftIn, LiftedOut),
)
async def lift_hold(request: Call, pseudonym: FromPath[str], hold: FromPath[str]) -> Response[bytes]:
    """End a hold. An erasure that waited is carried out within seconds, unless another hold is in force."""
    data = await body_as(request, LiftIn, SCOPE)
    number = int(hold) if _NUMBER.fullmatch(hold) else 0

    def act(work: Work) -> dict[str, Any]:
        uid = holds.lift(work, _subject(work, pseudonym), number, HoldEnd(data.reason))
        return {"hold": number, "entry": {"uid": uid.hex()}}

    return await desk_of(request).write(request, SCOPE, act)


@get("/v1/subjects/{pseudonym:str}/holds", tags=["subjects"], **documented(None, HoldsOut))
async def list_holds(request: Call, pseudonym: FromPath[str]) -> Response[bytes]:
    """List the holds on a person, those that ended too, and the erasure that waits for them."""

    def act(work: Work) -> dict[str, Any]:
        found, waiting = holds.listing(work, _subject(work, pseudonym))
        pending = waiting and {
            "reason": waiting.reason,
            "asked_at": instant(waiting.asked_at),
            "asked_by": waiting.asked_by,
        }
        return {"items": [_out(hold) for hold in found], "pending": pending}

    return await desk_of(request).read(request, SCOPE, act)


def _subject(work: Work, pseudonym: str) -> SubjectId:
    if work.actor.recipient != OWN:
        raise ForbiddenError("only a key of our own holds a person: it is for everyone")
    return people.named_by(work, pseudonym)


def _out(hold: Hold) -> dict[str, Any]:
    return {
        "hold": hold.id,
        "reason": hold.reason.value,
        "until": None if hold.until is None else instant(hold.until),
        "placed_at": instant(hold.placed_at),
        "placed_by": hold.placed_by,
        "ended_at": None if hold.ended_at is None else instant(hold.ended_at),
        "ended_by": hold.ended_by,
        "end_reason": hold.end_reason,
    }


HANDLERS = (place_hold, lift_hold, list_holds)
