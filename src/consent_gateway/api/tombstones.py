"""Letting somebody who was erased come back, over HTTP; for keys of our own with the scope `identity`."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post

from consent_gateway.api.desk import Reply, body_as, desk_of, documented
from consent_gateway.api.wire.tombstones import TombstoneLiftIn, TombstoneLiftOut
from consent_gateway.services.erasing.tombstone_lifts import Lift, lift
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


@post("/v1/tombstones/lift", status_code=200, tags=["subjects"], **documented(TombstoneLiftIn, TombstoneLiftOut))
async def lift_tombstones(request: Call) -> Response[bytes]:
    """Let somebody come back who was erased, by an act of their own from after it; imports take them in again.

    202 where the erasure was by right: another key approves, and the same call is made again.
    """
    data = await body_as(request, TombstoneLiftIn, "identity")

    def act(work: Work) -> Reply:
        return _answer(lift(work, data.plain(), data.identifiers.by_kind(), data.identifiers.region))

    desk = desk_of(request)
    reply = await desk.write(request, "identity", act, kept=False)  # asked again after the approval, it does more
    await desk.run(desk.gateway.file_tombstones)
    return reply


def _answer(done: Lift) -> Reply:
    waiting = None if done.waiting is None else done.waiting.id
    entry = None if done.uid is None else {"uid": done.uid.hex()}
    answer = {"lifted": list(done.kinds), "pending": waiting is not None, "approval": waiting, "entry": entry}
    return Reply(200 if waiting is None else 202, answer)


HANDLERS = (lift_tombstones,)
