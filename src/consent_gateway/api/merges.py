"""Merging people over HTTP, taking it back, and the record of both; for keys of our own with the scope `identity`."""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromQuery

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.wire import instant
from consent_gateway.api.wire.merges import MergeIn, MergeOut, MergesOut, UnmergeIn
from consent_gateway.db import merges as merge_rows
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.persons import merges
from consent_gateway.services.persons.merges import Done
from consent_gateway.services.work.gateway import Work
from consent_gateway.telemetry import Event

Call = Request[Any, Any, Any]
_PAGE = 100
_MAX_ID = (1 << 63) - 1


@post("/v1/subjects/merge", status_code=200, tags=["subjects"], **documented(MergeIn, MergeOut))
async def merge_subjects(request: Call) -> Response[bytes]:
    """Say that two are one person. No fact moves: every no of either holds, and it can be taken back."""
    data = await body_as(request, MergeIn, "identity")

    def act(work: Work) -> dict[str, Any]:
        _require_own(work)
        done = merges.merge(work, [ref.ref() for ref in data.subjects], data.reason, dry_run=data.dry_run)
        return _answer(work, done, dry_run=data.dry_run)

    event = None if data.dry_run else Event.SUBJECTS_MERGED
    return await desk_of(request).write(request, "identity", act, event=event)


@post("/v1/subjects/unmerge", status_code=200, tags=["subjects"], **documented(UnmergeIn, MergeOut))
async def unmerge_subjects(request: Call) -> Response[bytes]:
    """Take a merge back: both people are what they would be without it."""
    data = await body_as(request, UnmergeIn, "identity")

    def act(work: Work) -> dict[str, Any]:
        _require_own(work)
        done = merges.unmerge(work, data.merge, data.reason, dry_run=data.dry_run)
        return _answer(work, done, dry_run=data.dry_run)

    return await desk_of(request).write(
        request, "identity", act, event=None if data.dry_run else Event.SUBJECTS_UNMERGED
    )


@get("/v1/merges", tags=["subjects"], **documented(None, MergesOut))
async def list_merges(request: Call, after: FromQuery[int] = 0, limit: FromQuery[int] = _PAGE) -> Response[bytes]:
    """List merges with what each changed, oldest first, those taken back too."""

    def act(work: Work) -> dict[str, Any]:
        _require_own(work)
        found = merge_rows.after(work.session, min(max(after, 0), _MAX_ID), max(1, min(limit, _PAGE)))
        return {"items": [_record(work, row) for row in found], "next": found[-1].id if found else None}

    return await desk_of(request).read(request, "identity", act)


def _require_own(work: Work) -> None:
    if work.actor.recipient != OWN:
        raise ForbiddenError("only a key of our own merges people: it is for everyone")


def _answer(work: Work, done: Done, *, dry_run: bool) -> dict[str, Any]:
    people = [{"pseudonym": _pseudonym(work, head), "subjects": len(members)} for head, members in done.people.items()]
    entries = [{"uid": uid.hex()} for uid in done.entries]
    answer = {"changed": done.changed, "dry_run": dry_run, "merge": done.merge, "people": people, "entries": entries}
    return answer | done.result


def _record(work: Work, row: merge_rows.Merge) -> dict[str, Any]:
    return {
        "merge": row.id,
        "subjects": [_pseudonym(work, row.subject_id), _pseudonym(work, row.other_id)],
        "reason": row.reason,
        "rules": row.rules,
        "at": instant(row.at),
        "undone_at": None if row.undone_at is None else instant(row.undone_at),
        "undone_reason": row.undone_reason,
        **json.loads(row.result),
    }


def _pseudonym(work: Work, subject_id: SubjectId) -> str:
    return work.gateway.vault.pseudonym(subject_id, work.actor.recipient, work.registers)


HANDLERS = (merge_subjects, unmerge_subjects, list_merges)
