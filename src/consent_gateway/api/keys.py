"""Keys over HTTP: the state, jobs with their progress, and destroying a past epoch with four eyes.

What is begun here is done by the keeper of some process, page by page; ask for the job to see how far it is.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.keys import (
    DestructionIn,
    DestructionOut,
    GenerationDestructionOut,
    KeyJobIn,
    KeyJobOut,
    KeysOut,
    RenewalOut,
)
from consent_gateway.domain.key_jobs import JobKind, KeyJob
from consent_gateway.errors import NotFoundError
from consent_gateway.services.keys import key_jobs, key_status
from consent_gateway.services.keys.epoch_destruction import EPOCHS
from consent_gateway.services.keys.index_destruction import GENERATIONS
from consent_gateway.services.keys.key_pages import STARTS
from consent_gateway.services.work import own_key
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.own_key import OwnKey

Call = Request[Any, Any, Any]
SCOPE = "keys"
_MOST = (1 << 31) - 1


@get("/v1/keys", tags=["keys"], **documented(None, KeysOut))
async def show_keys(request: Call) -> Response[bytes]:
    """Return epochs with what lies under them, jobs, and by when an erasure of now reaches every backup."""
    return await desk_of(request).read(request, SCOPE, _keys)


@get("/v1/keys/jobs/{job:int}", tags=["keys"], **documented(None, KeyJobOut))
async def show_key_job(request: Call, job: FromPath[int]) -> Response[bytes]:
    """Return one job and how far it is."""
    return await desk_of(request).read(request, SCOPE, lambda work: job_out(key_jobs.find(work, _number(job))))


@post("/v1/keys/jobs", status_code=200, tags=["keys"], **documented(KeyJobIn, KeyJobOut))
async def begin_key_job(request: Call) -> Response[bytes]:
    """Begin a job over all keys, or get the one that is not finished; it goes on by itself."""
    data = await body_as(request, KeyJobIn, SCOPE)
    start = STARTS[JobKind(data.kind)]
    return await desk_of(request).write(request, SCOPE, lambda work: job_out(start(work, data.rate)))


@post(
    "/v1/keys/epochs/{epoch:int}/destroy", status_code=200, tags=["keys"], **documented(DestructionIn, DestructionOut)
)
async def destroy_epoch(request: Call, epoch: FromPath[int]) -> Response[bytes]:
    """Propose to destroy a past epoch, or decide it once another key approved; it is gone a moment after."""
    data = await body_as(request, DestructionIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        if data.step == "propose":
            return _step(epoch, "proposed", EPOCHS.propose(work, _number(epoch)).id)
        EPOCHS.decide(work, _number(epoch))
        return _step(epoch, "decided", None)

    return await desk_of(request).write(request, SCOPE, act)


@post(
    "/v1/keys/generations/{generation:int}/destroy",
    status_code=200,
    tags=["keys"],
    **documented(DestructionIn, GenerationDestructionOut),
)
async def destroy_generation(request: Call, generation: FromPath[int]) -> Response[bytes]:
    """Propose to destroy the key of a past generation of the index, or decide it once another key approved."""
    data = await body_as(request, DestructionIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        named = {"generation": generation}
        if data.step == "propose":
            return named | {"state": "proposed", "approval": GENERATIONS.propose(work, _number(generation)).id}
        GENERATIONS.decide(work, _number(generation))
        return named | {"state": "decided", "approval": None}

    return await desk_of(request).write(request, SCOPE, act)


@post("/v1/keys/own/renew", status_code=200, tags=["keys"], **documented(DestructionIn, RenewalOut))
async def renew_own_key(request: Call) -> Response[bytes]:
    """Propose to give the gateway a new own key where the old one is lost, or do it once another key approved."""
    data = await body_as(request, DestructionIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        if data.step == "propose":
            return {"state": "proposed", "approval": own_key.propose(work).id, "given_up": None}
        return {"state": "renewed", "approval": None, "given_up": _own_key_out(own_key.renew(work))}

    return await desk_of(request).write(request, SCOPE, act)


def job_out(job: KeyJob) -> dict[str, Any]:
    """Return one job as it is shown."""
    names = ("id", "from_number", "to_number", "total", "done", "failed", "progress", "started_by", "rate")
    return {name: getattr(job, name) for name in names} | {
        "kind": job.kind.value,
        "started_at": instant(job.started_at),
        "finished_at": _instant(job.finished_at),
        "rests_until": _instant(job.rests_until),
    }


def _keys(work: Work) -> dict[str, Any]:
    found = key_status.status(work)
    epochs = sorted({*found.epochs, *found.wraps})
    return {
        "current_epoch": found.current,
        "epochs": [{"epoch": epoch, "data_keys": found.wraps.get(epoch, 0)} for epoch in epochs],
        "processes": [list(held) for held in found.holders.values()],
        "jobs": [job_out(job) for job in found.jobs],
        "destroyed": [
            {
                "epoch": d.number,
                "approval": d.approval,
                "decided_at": instant(d.decided_at),
                "destroyed_at": _instant(d.destroyed_at),
            }
            for d in found.destructions
        ],
        "deferred": {"waiting": found.deferred[0], "refused": found.deferred[1]},
        "erasure_deadline": {
            "at": _instant(found.deadline.at),
            "why": found.deadline.why,
            "order": found.deadline.order,
        },
        "own_key": _own_key_out(found.own_key),
        "index": {
            **found.index.as_json(),
            "generations": list(found.generations),
            "destroyed": [
                {
                    "generation": d.number,
                    "approval": d.approval,
                    "decided_at": instant(d.decided_at),
                    "destroyed_at": _instant(d.destroyed_at),
                }
                for d in found.index_destructions
            ],
        },
    }


def _own_key_out(found: OwnKey) -> dict[str, Any]:
    return asdict(found) | {"state": found.state.value}


def _step(epoch: int, state: str, approval: str | None) -> dict[str, Any]:
    return {"epoch": epoch, "state": state, "approval": approval}


def _instant(at: int | None) -> str | None:
    return None if at is None else instant(at)


def _number(number: int) -> int:
    if not 0 <= number <= _MOST:
        raise NotFoundError
    return number


HANDLERS = (show_keys, show_key_job, begin_key_job, destroy_epoch, destroy_generation, renew_own_key)
