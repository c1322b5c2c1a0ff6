"""Intake over HTTP: rows as NDJSON or CSV, or the JSON twin with `items`; every row is answered on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.params import FromPath, FromQuery

from consent_gateway.api.desk import body_as, desk_of, documented
from consent_gateway.api.rows import Rows, csv_rows, ndjson_rows, read_item
from consent_gateway.api.wire import ITEMS, BatchIn, IntakeOut, instant
from consent_gateway.domain.ids import SourceId
from consent_gateway.errors import FieldProblem, InputError, NotFoundError
from consent_gateway.services.disclosing.sensitive import record_sensitive
from consent_gateway.services.ledger.choices import record_choices
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.ledger.notices import record_shown
from consent_gateway.services.ledger.signals import record_signals
from consent_gateway.services.log import deferrals
from consent_gateway.services.log.deferrals import Letter
from consent_gateway.services.persons.events import import_contacts, import_events
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.rows import strangers
from consent_gateway.services.rows.intake import Confirmation, Intake
from consent_gateway.services.work.gateway import Work
from consent_gateway.telemetry import Event

_USE_CASES: dict[str, Callable[..., Intake]] = {
    "subjects": import_subjects,
    "consents": record_consents,
    "choices": record_choices,
    "events": import_events,
    "contacts": import_contacts,
    "signals": record_signals,
    "notices_shown": record_shown,
    "sensitive": record_sensitive,
}
_GPC_KINDS = frozenset({"consents", "choices"})


@post("/v1/imports/{kind:str}", status_code=200, tags=["intake"], **documented(None, IntakeOut, rows=True))
async def import_rows(
    request: Request[Any, Any, Any],
    kind: FromPath[str],
    source: FromQuery[str],
) -> Response[bytes]:
    """Take in up to 1,000 rows of one kind: NDJSON (one object a line), or CSV with a header for subjects."""
    desk = desk_of(request)
    await desk.admit(request, "ingest")
    if kind not in ITEMS:
        raise NotFoundError("kinds are: " + ", ".join(ITEMS))
    body = await request.body()
    is_csv = media_type(request.headers.get("content-type", "")) == "text/csv"
    if is_csv and kind != "subjects":
        raise InputError(fields=(FieldProblem("Content-Type", "not_csv", "only subjects can be sent as CSV"),))

    def act(work: Work) -> dict[str, Any]:
        rows = csv_rows(body, desk.row_limit) if is_csv else ndjson_rows(kind, body, desk.row_limit)
        return take_in(work, request, kind, source, rows, hashlib.sha256(body).hexdigest())

    def put_off(work: Work, uid: bytes) -> tuple[Letter, dict[str, Any]] | None:
        rows = ndjson_rows(kind, body, desk.row_limit)
        return putting_off(work, request, kind, source, rows, hashlib.sha256(body).hexdigest(), uid)

    later = None if is_csv else put_off
    return await desk.write(request, "ingest", act, event=Event.IMPORTED, putting_off=later)


@post("/v1/subjects", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="subjects"))
async def import_subject_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take in customers: cleaned, joined to one person, sealed."""
    return await _items(request, "subjects")


@post("/v1/consents", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="consents"))
async def record_consent_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Append consent facts. `Sec-GPC: 1` on the call also records the signal for the people in it."""
    return await _items(request, "consents")


@post("/v1/choices", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="choices"))
async def record_choice_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Append choices: objection, restriction, opt-outs, GPC, refusal of personalisation."""
    return await _items(request, "choices")


@post("/v1/events", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="events"))
async def import_event_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Append behaviour; a key that the source used before changes nothing."""
    return await _items(request, "events")


@post("/v1/contacts", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="contacts"))
async def import_contact_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Append messages that other systems sent, so that the caps count them."""
    return await _items(request, "contacts")


@post("/v1/signals", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="signals"))
async def record_signal_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take in signals: GPC, TCF, GPP, US Privacy. They restrict or fill, and switch nothing off."""
    return await _items(request, "signals")


@post("/v1/notices_shown", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="notices_shown"))
async def record_shown_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Append which version of a notice was shown to whom, in which language."""
    return await _items(request, "notices_shown")


@post("/v1/sensitive", status_code=200, tags=["intake"], **documented(BatchIn, IntakeOut, items="sensitive"))
async def record_sensitive_items(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take in sensitive values of known people: declared fields alone, and only where the law permits to hold them."""
    return await _items(request, "sensitive")


async def _items(request: Request[Any, Any, Any], kind: str) -> Response[bytes]:
    batch = await body_as(request, BatchIn, "ingest")
    digest = hashlib.sha256(await request.body()).hexdigest()

    def act(work: Work) -> dict[str, Any]:
        rows = [read_item(kind, n, msgspec.json.encode(item)) for n, item in enumerate(batch.items, 1)]
        return take_in(work, request, kind, batch.source, rows, digest)

    def put_off(work: Work, uid: bytes) -> tuple[Letter, dict[str, Any]] | None:
        rows = [read_item(kind, n, msgspec.json.encode(item)) for n, item in enumerate(batch.items, 1)]
        return putting_off(work, request, kind, batch.source, rows, digest, uid)

    return await desk_of(request).write(request, "ingest", act, event=Event.IMPORTED, putting_off=put_off)


def media_type(content_type: str) -> str:
    """Return type and subtype of a Content-Type: without parameters, and in lower case (RFC 9110 8.3.1)."""
    return content_type.partition(";")[0].strip().lower()


def take_in(
    work: Work, request: Request[Any, Any, Any], kind: str, source: str, rows: Rows, digest: str
) -> dict[str, Any]:
    """Run the use case of a kind and return the answer; the signal of a call counts for rows that are refused too."""
    signalled = {"gpc": _carries_gpc(request)} if kind in _GPC_KINDS else {}
    taken = rows if any(signalled.values()) else strangers.limited(work, rows)
    intake = _USE_CASES[kind](work, source, taken, digest, **signalled)
    strangers.count_rows(work, taken, intake.rejections)
    return answer(intake)


def putting_off(
    work: Work, request: Request[Any, Any, Any], kind: str, source: str, rows: Rows, digest: str, uid: bytes
) -> tuple[Letter, dict[str, Any]] | None:
    """Return how rows are kept while the keys are away, and the answer for now; None unless all of them say no."""
    letter = deferrals.of_rows(work, kind, source, rows, digest, gpc=_carries_gpc(request))
    if letter is None:
        return None
    counts = dict.fromkeys(Intake(kind, SourceId(source), 0).counts(), 0) | {"received": len(rows)}
    entry = {"deferred": len(rows), "rejections": [], "entries": [{"uid": uid.hex()}]}
    return letter, {"kind": kind, "source": source, **counts, **entry}


def _carries_gpc(request: Request[Any, Any, Any]) -> bool:
    return any(value == "1" for value in request.headers.getall("sec-gpc", []))


def answer(intake: Intake) -> dict[str, Any]:
    """Return the answer for a batch: the counts, and every rejection."""
    entries = [{"uid": uid.hex()} for uid in intake.entries]
    rejections = [
        {
            "row": r.row,
            "reasons": [{"path": p.path, "code": p.code, "message": p.message} for p in r.reasons],
            "quarantine_id": r.quarantine_id,
        }
        for r in intake.rejections
    ]
    return {
        "kind": intake.kind,
        "source": intake.source,
        **intake.counts(),
        "rejections": rejections,
        **({"confirmations": [_confirmation(c) for c in intake.confirmations]} if intake.confirmations else {}),
        "entries": entries,
    }


def _confirmation(asked: Confirmation) -> dict[str, Any]:
    return {"row": asked.row, "token": asked.token, "expires_at": instant(asked.expires_at)}


HANDLERS = (
    import_rows,
    import_subject_items,
    record_consent_items,
    record_choice_items,
    import_event_items,
    import_contact_items,
    record_signal_items,
    record_shown_items,
    record_sensitive_items,
)
