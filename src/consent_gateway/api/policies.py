"""Policies over HTTP: what is in force, and how it is changed with four eyes."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant, seconds
from consent_gateway.api.wire.policies import (
    ActivationIn,
    DiffIn,
    DiffOut,
    PoliciesOut,
    PolicyIn,
    PolicyOut,
    PolicyTextOut,
    ReplayIn,
    ReplayOut,
    ShadowIn,
    ShadowReportOut,
    SideIn,
)
from consent_gateway.errors import NotFoundError
from consent_gateway.policies.data import pack_as_data
from consent_gateway.policies.render import EN, ZH, pack_as_text
from consent_gateway.policies.rules import Pack, PackSet
from consent_gateway.services.deciding import shadows
from consent_gateway.services.deciding.law import day_of
from consent_gateway.services.policy import policies, policy_diffs, replays
from consent_gateway.services.policy.policies import Text
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]
SCOPE, AUDIT = "policy", "audit"
_UID = re.compile(r"[0-9a-f]{32}\Z")
_MAX_VERSION = 1_000_000


@get("/v1/policies", tags=["policies"], **documented(None, PoliciesOut))
async def list_policies(request: Call) -> Response[bytes]:
    """List every text with its state, its review date and its faults; `policy` names what is in force."""
    return await desk_of(request).read(request, SCOPE, listed)


@get("/v1/policies/{pack:str}/{version:int}", tags=["policies"], **documented(None, PolicyTextOut))
async def show_policy(request: Call, pack: FromPath[str], version: FromPath[int]) -> Response[bytes]:
    """Return one text: as it was written, its rules as data, and as a lawyer reads it in English and Chinese."""
    return await desk_of(request).read(request, SCOPE, lambda work: _whole(work, _find(work, pack, version)))


@post("/v1/policies", status_code=200, tags=["policies"], **documented(PolicyIn, PolicyOut))
async def propose_policy(request: Call) -> Response[bytes]:
    """Propose a pack: it is checked in full, stored as a candidate, and decides nothing until it is activated."""
    data = await body_as(request, PolicyIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        if data.again is not None:
            return text_out(work, policies.propose_again(work, data.again.id, data.again.version))
        return text_out(work, policies.propose(work, data.text or ""))

    return await desk_of(request).write(request, SCOPE, act)


@post(
    "/v1/policies/{pack:str}/{version:int}/shadow",
    status_code=200,
    tags=["policies"],
    **documented(ShadowIn, PolicyOut),
)
async def shadow_policy(request: Call, pack: FromPath[str], version: FromPath[int]) -> Response[bytes]:
    """Begin or stop to watch a candidate: it is asked beside the law in force, and only reported."""
    data = await body_as(request, ShadowIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        return text_out(work, policies.set_shadow(work, pack, _find(work, pack, version).row["version"], on=data.on))

    return await desk_of(request).write(request, SCOPE, act)


@post(
    "/v1/policies/{pack:str}/{version:int}/activate",
    status_code=200,
    tags=["policies"],
    **documented(ActivationIn, PolicyOut),
)
async def activate_policy(request: Call, pack: FromPath[str], version: FromPath[int]) -> Response[bytes]:
    """Put a candidate in force; only somebody else than who proposed it may (four eyes)."""
    data = await body_as(request, ActivationIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        found = _find(work, pack, version).row["version"]
        return text_out(work, policies.activate(work, pack, found, seconds(data.effective_at)))

    return await desk_of(request).write(request, SCOPE, act)


@get("/v1/policies/{pack:str}/{version:int}/shadow", tags=["policies"], **documented(None, ShadowReportOut))
async def report_shadow(request: Call, pack: FromPath[str], version: FromPath[int]) -> Response[bytes]:
    """Return what a candidate in shadow would have answered to the questions that were really asked."""

    def act(work: Work) -> dict[str, Any]:
        text, gateway = _find(work, pack, version), work.gateway
        lines = shadows.report(work.session, gateway.tally, text.row["sha256"], gateway.rules.k_floor)
        return text_out(work, text) | shadows.as_data(lines)

    return await desk_of(request).read(request, SCOPE, act)


@post("/v1/policies/diff", status_code=200, tags=["policies"], **documented(DiffIn, DiffOut))
async def diff_policies(request: Call) -> Response[bytes]:
    """Compare two laws: the rules that differ, and for how many of today's people which answers change, and why."""
    data = await body_as(request, DiffIn, SCOPE)

    def act(work: Work) -> dict[str, Any]:
        wanted = policy_diffs.Wanted(data.purposes, data.channels, data.recipients) if data.people else None
        found = policy_diffs.compare(work, _side(work, data.old), _side(work, data.new), wanted)
        return policy_diffs.as_data(found)

    return await desk_of(request).read(request, SCOPE, act)


@post("/v1/decisions/{uid:str}/replay", status_code=200, tags=["policies"], **documented(ReplayIn, ReplayOut))
async def replay_decision(request: Call, uid: FromPath[str]) -> Response[bytes]:
    """Compute a past decision again, from its facts and the packs that were in force, and compare it with the log."""
    data = await body_as(request, ReplayIn, AUDIT)

    def act(work: Work) -> dict[str, Any]:
        return replays.as_data(replays.replay(work, _uid(uid), against_active=data.against is not None))

    return await desk_of(request).write(request, AUDIT, act)


def _side(work: Work, side: SideIn) -> PackSet:
    if side.text is not None:
        return policy_diffs.side_of_text(work, side.text)
    return policy_diffs.side(work, side.name or "")


def _uid(text: str) -> bytes:
    if _UID.match(text) is None:
        raise NotFoundError
    return bytes.fromhex(text)


def listed(work: Work) -> dict[str, Any]:
    """Return what is in force, and every text with its state."""
    standing = work.law
    return {
        "policy": standing.digest,
        "packs": [pack.name for pack in standing.packs.packs],
        "faults": list(standing.packs.faults),
        "items": [text_out(work, text) for text in policies.listing(work)],
    }


def text_out(work: Work, text: Text) -> dict[str, Any]:
    """Return one text as it is shown."""
    row, activation = text.row, text.activation
    return {
        "id": row["name"],
        "version": row["version"],
        "sha256": row["sha256"],
        "state": text.state.value,
        **_of_pack(work, text.pack),
        "recorded_at": instant(row["recorded_at"]),
        "proposed_by": row["proposed_by"] or (None if activation is None else activation.proposed_by),
        "proposed_at": _instant(row["proposed_at"]),
        "shadow_since": _instant(row["shadow_since"]),
        "approved_by": None if activation is None else activation.approved_by,
        "activated_at": None if activation is None else instant(activation.activated_at),
        "effective_at": None if activation is None else instant(activation.effective_at),
        "problem": text.problem or None,
    }


def _of_pack(work: Work, pack: Pack | None) -> dict[str, Any]:
    names = ("title", "title_zh", "rules", "effective_from", "effective_until", "review_by")
    if pack is None:
        return dict.fromkeys(names) | {"review_overdue": False}
    data = pack_as_data(pack)
    return {name: data[name] for name in names} | {
        "rules": len(pack.rules),
        "review_overdue": pack.review_by < day_of(work.now),
    }


def _whole(work: Work, text: Text) -> dict[str, Any]:
    pack, packs = text.pack, work.law.packs
    return text_out(work, text) | {
        "text": text.row["text"],
        "pack": pack and pack_as_data(pack),
        "markdown": pack and pack_as_text(packs, pack, EN),
        "markdown_zh": pack and pack_as_text(packs, pack, ZH),
    }


def _find(work: Work, pack: str, version: int) -> Text:
    if not 0 <= version <= _MAX_VERSION or "\x00" in pack:
        raise NotFoundError
    return policies.find(work, pack, version)


def _instant(at: int | None) -> str | None:
    return None if at is None else instant(at)


HANDLERS = (
    list_policies,
    show_policy,
    propose_policy,
    shadow_policy,
    activate_policy,
    report_shadow,
    diff_policies,
    replay_decision,
)
