"""Erasing a person over HTTP, with their bundle in the same act if the caller asks for it.

The bundle is made first, in units of work of its own, and leaves with the answer of the erasure alone: it is in no
reply that is kept for a repetition, and in no letter that is put off. What keeps it from being made is told in its
place, and the erasure goes on.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath

from consent_gateway.api.auth import authenticate
from consent_gateway.api.desk import Desk, Reply, body_as, desk_of, documented
from consent_gateway.api.problems import MEDIA_TYPE, render, request_id
from consent_gateway.api.wire import ErasureIn, ErasureOut
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError, TombstoneError
from consent_gateway.services.erasing import erasure
from consent_gateway.services.erasing.erasure import Deferred, Erasure
from consent_gateway.services.identity import people
from consent_gateway.services.log import bundles, deferrals
from consent_gateway.services.log.bundles import Attempt
from consent_gateway.services.log.deferrals import Letter
from consent_gateway.services.work.gateway import Work
from consent_gateway.telemetry import Event

Call = Request[Any, Any, Any]
_SCOPE = "erase"
_NOT_KEPT = "not_kept"
_DONE = 200  # erased now: neither put off nor kept elsewhere, where the store may not answer


@post("/v1/subjects/{pseudonym:str}/erase", status_code=200, tags=["subjects"], **documented(ErasureIn, ErasureOut))
async def erase_subject(request: Call, pseudonym: FromPath[str]) -> Response[bytes]:
    """Erase a person: keys, rows and openings go, tombstones stay. It cannot be undone.

    With `bundle`, which takes the scope `access` by name as well, the answer has the person's bundle, to the byte. It
    is in the first answer alone: who must not lose it asks for it before (`GET …/bundle`).
    202 while a legal hold is in force: the erasure waits, and is carried out when the last hold ends. The same while
    the keys are away, until they are back.
    503 with Retry-After while the tombstone file cannot be written: the erasure stands and is finished as soon as it
    can be; the same request with the same Idempotency-Key is then acknowledged. A bundle is in that problem already.
    """
    data = await body_as(request, ErasureIn, _SCOPE)
    desk = desk_of(request)
    attempt = await desk.run(lambda: _attempted(desk, request, pseudonym)) if data.bundle else None

    def act(work: Work) -> Reply:
        if work.actor.recipient != OWN:
            raise ForbiddenError("only a key of our own erases a person: it is for everyone")
        return _erased(erasure.erase_or_defer(work, people.named_by(work, pseudonym), data.reason), attempt)

    def put_off(work: Work, uid: bytes) -> tuple[Letter, dict[str, Any]] | None:
        own = work.actor.recipient == OWN
        told = _told(uid, None if attempt is None else Attempt(None, attempt.why or _NOT_KEPT))
        return (deferrals.of_erasure(pseudonym, data.reason), _pending([], uid, told)) if own else None

    try:
        reply = await desk.write(request, _SCOPE, act, event=Event.SUBJECT_ERASED, putting_off=put_off)
        if reply.status_code == _DONE:  # it may be the repeated reply of one that could not be written
            await desk.run(desk.gateway.file_tombstones)
    except TombstoneError as error:
        if attempt is None:
            raise
        return _unacknowledged(request, error, attempt)
    return reply


def _attempted(desk: Desk, request: Call, pseudonym: str) -> Attempt:
    """Make the bundle of a caller who may both erase and have it."""
    principal = authenticate(desk.gateway, request.scope["headers"], _SCOPE)
    attempt = bundles.before_erasure(desk.gateway, principal, pseudonym)
    if attempt.bug is not None:
        desk.telemetry.log.error(Event.UNHANDLED, exc_info=attempt.bug, request_id=request_id(request.scope))
    if attempt.made is not None and attempt.made.canaries:
        desk.telemetry.canary_read(request_id(request.scope), attempt.made.canaries)
    return attempt


def _erased(done: Erasure | Deferred, attempt: Attempt | None) -> Reply:
    """Return the answer, and what the same call is answered when it is repeated: without the bundle."""
    first, again = (_told(done.uid, found, done) for found in (attempt, attempt and Attempt(None, _NOT_KEPT)))
    if isinstance(done, Deferred):
        holds = sorted({hold.reason.value for hold in done.holds})
        return Reply(202, _pending(holds, done.uid, first), _pending(holds, done.uid, again))
    counts = {"tombstones": done.tombstones, "rows": done.rows}
    value = {"erased": True, "pending": False, **counts, "holds": [], "entry": {"uid": done.uid.hex()}}
    return Reply(200, value | {"bundle": first}, value | {"bundle": again})


def _pending(holds: list[str], uid: bytes, bundle: dict[str, Any] | None) -> dict[str, Any]:
    waits = {"erased": False, "pending": True, "tombstones": 0, "rows": 0}
    return waits | {"holds": holds, "entry": {"uid": uid.hex()}, "bundle": bundle}


def _told(uid: bytes, attempt: Attempt | None, done: Erasure | Deferred | None = None) -> dict[str, Any] | None:
    """Return what an answer says of the bundle, and where the entry `uid` can be had; None if nobody asked for one."""
    if attempt is None:
        return None
    entry = f"/v1/audit/entries/{uid.hex()}"
    made = attempt.made
    return {
        "content": None if made is None else made.content.decode(),
        "reason": attempt.why or None,
        "ok": None if made is None else made.finding.ok,
        "entries": None if made is None else sum(made.counts.values()),
        "after": bundles.entries_after(made, done.chains) if made is not None and isinstance(done, Erasure) else None,
        "receipt": f"{entry}/receipt",
        "bytes": f"{entry}/bytes",
    }


def _unacknowledged(request: Call, error: TombstoneError, attempt: Attempt) -> Response[bytes]:
    """Return the problem with the bundle in it (RFC 9457 3.2): if the erasure stands, nobody can make another."""
    problem = render(error, request_id(request.scope))
    made = attempt.made
    bundle = {"content": None if made is None else made.content.decode(), "reason": attempt.why or None}
    body = msgspec.json.encode(msgspec.json.decode(problem.body) | {"bundle": bundle})
    kept = {name.decode(): value.decode() for name, value in problem.headers if name == b"retry-after"}
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=kept)


HANDLERS = (erase_subject,)
