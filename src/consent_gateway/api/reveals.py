"""Revealing over HTTP: one person or a few, and what officers set about it. Plaintext leaves after the commit alone."""

from __future__ import annotations

import hashlib
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.decisions import answer_out, recipient_of, short_out
from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.problems import request_id
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.reveals import (
    CanaryIn,
    CanaryOut,
    QuotaIn,
    QuotaOut,
    QuotasOut,
    RevealIn,
    RevealOut,
    RevealsIn,
    RevealsOut,
)
from consent_gateway.domain.ids import PurposeId
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.reveals import Revealed, Revealing, reveal
from consent_gateway.services.persons import canaries
from consent_gateway.services.work import quotas
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.quotas import Usage
from consent_gateway.telemetry import Event

Call = Request[Any, Any, Any]


@post("/v1/subjects/{pseudonym:str}/reveal", status_code=200, tags=["reveals"], **documented(RevealIn, RevealOut))
async def reveal_one(request: Call, pseudonym: FromPath[str]) -> Response[bytes]:
    """Give fields of a person back, decided now: masked, or plain to a key that may. Whoever asks is recorded."""
    data = await body_as(request, RevealIn, "reveal")
    return await _reveal(request, data, [pseudonym], lambda found: _one_out(found.answers[0], data))


@post("/v1/reveals", status_code=200, tags=["reveals"], **documented(RevealsIn, RevealsOut))
async def reveal_many(request: Call) -> Response[bytes]:
    """Give the same fields of several people back; each is decided and recorded on its own."""
    data = await body_as(request, RevealsIn, "reveal")
    return await _reveal(request, data, data.subjects, lambda found: _many_out(found, data))


async def _reveal(request: Call, data: RevealIn, pseudonyms: list[str], out: Any) -> Response[bytes]:
    """Carry out a call; the alarm about a canary is raised here, and nothing of it is in the answer."""
    desk, done = desk_of(request), list[Revealing]()

    def act(work: Work) -> dict[str, Any]:
        found = reveal(work, _use_of(data, work.actor), data.grounds(), pseudonyms)
        done[:] = [found]  # an attempt that lost a race is tried again: the last one counts
        answer: dict[str, Any] = out(found)
        return answer

    reply = await desk.write(request, "reveal", act, event=Event.REVEALED, kept=False)
    for revealed in done[0].answers:
        desk.telemetry.revealed(revealed.decision.answer.outcome.value)
    if done[0].canaries:
        desk.telemetry.canary_read(request_id(request.scope), done[0].canaries)
    return reply


def _use_of(data: RevealIn, principal: Principal) -> Use:
    recipient = recipient_of(data.recipient, principal)
    if recipient is None:
        raise ForbiddenError("a recipient asks for itself only")
    return Use(PurposeId(data.purpose), data.channel, recipient, basis=data.basis)


def _one_out(found: Revealed, data: RevealIn) -> dict[str, Any]:
    answer = answer_out(found.decision.answer)
    names = ("outcome", "reason_code", "reasons", "obligations")
    return {
        **{name: answer[name] for name in names},
        "view": data.view,
        "values": found.values,
        "at": instant(found.decision.at_ms // 1000),
        **_entries(found),
    }


def _many_out(found: Revealing, data: RevealIn) -> dict[str, Any]:
    results = [{**short_out(r.decision.answer), "values": r.values, **_entries(r)} for r in found.answers]
    return {
        "results": results,
        "permitted": sum(r.decision.answer.permitted for r in found.answers),
        "view": data.view,
        "at": instant(found.answers[0].decision.at_ms // 1000),
    }


def _entries(found: Revealed) -> dict[str, Any]:
    return {"decision": {"uid": found.decision.uid.hex()}, "entry": {"uid": found.uid.hex()}}


# -- what officers set ---------------------------------------------------------------------------------------------


@post("/v1/quotas", status_code=200, tags=["reveals"], **documented(QuotaIn, None))
async def set_quota(request: Call) -> Response[bytes]:
    """Give a key limits of its own, suspend it, or let it go on."""
    data = await body_as(request, QuotaIn, "admin")

    def act(work: Work) -> dict[str, Any]:
        if data.suspended is None:
            quotas.set_limits(work, data.principal, data.quota, data.per_hour, data.per_day)
        else:
            quotas.set_suspended(work, data.principal, data.quota, suspended=data.suspended)
        return {"principal": data.principal}

    return await desk_of(request).write(request, "admin", act)


@get("/v1/quotas", tags=["reveals"], **documented(None, QuotasOut))
async def list_quotas(request: Call) -> Response[bytes]:
    """List how much of its quota each key has used."""
    return await desk_of(request).read(
        request, "admin", lambda work: {"items": [_usage_out(u) for u in quotas.usage(work)]}
    )


def _usage_out(used: Usage) -> dict[str, Any]:
    since = None if used.suspended_at is None else instant(used.suspended_at)
    return QuotaOut(
        principal=used.principal,
        quota=used.kind.value,
        per_hour=used.limits.per_hour,
        per_day=used.limits.per_day,
        used_hour=used.hour,
        used_day=used.day,
        suspended_at=since,
    ).model_dump()


@post("/v1/canaries", status_code=201, tags=["reveals"], **documented(CanaryIn, CanaryOut))
async def plant_canary(request: Call) -> Response[bytes]:
    """Take in a made-up person whom nobody has a reason to read; a reveal of them is an alarm."""
    data = await body_as(request, CanaryIn, "admin")
    digest = hashlib.sha256(await request.body()).hexdigest()

    def act(work: Work) -> dict[str, Any]:
        planted = canaries.plant(work, data.source, data.person.item(), digest)
        return {"pseudonym": planted.pseudonym, "entry": {"uid": planted.uid.hex()}}

    return await desk_of(request).write(request, "admin", act, 201, kept=False)


HANDLERS = (reveal_one, reveal_many, set_quota, list_quotas, plant_canary)
