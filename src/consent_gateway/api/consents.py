"""Consents over HTTP beyond intake: the second step of an opt-in, and one person's ledger.

The routes of the second step need no key: they carry a token that only the person was sent. A browser gets a page, a
program JSON (by `Accept`). GET changes nothing, whoever opens it (mail scanners do); POST confirms, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from consent_gateway.api.desk import JSON, body_as, desk_of, documented
from consent_gateway.api.wire import ConfirmedOut, HistoryIn, HistoryOut, RequestOut, StateIn, StateOut, instant
from consent_gateway.db import records as record_rows
from consent_gateway.domain.consents import ConsentProperty
from consent_gateway.domain.dpv import STATUS_OF_KIND, status_of
from consent_gateway.domain.ids import RecipientId
from consent_gateway.errors import GatewayError
from consent_gateway.services.ledger import confirmations, notices
from consent_gateway.services.persons import history
from consent_gateway.services.work.gateway import Work

Call = Request[Any, Any, Any]


class Pages(Protocol):
    """The pages of the second step, put into the application's state by the composition root."""

    FORM_POLICY: str

    def render_request(self, rows: dict[str, str | None], notice: tuple[str, str] | None, language: str) -> str:
        """Return the page of a request."""

    def render_done(self, language: str) -> str:
        """Return the page after the button."""

    def render_refusal(self, error: GatewayError) -> str:
        """Return the page of a request that cannot be confirmed."""


_PATH = "/v1/consents/confirmations/{token:str}"
_MAX_AGENT = 256


@get(_PATH, tags=["consents"], **documented(None, RequestOut))
async def show_request(request: Call, token: FromPath[str]) -> Response[Any]:
    """Show what a token confirms: a page with one button, or JSON. Nothing changes."""

    def act() -> Response[Any]:
        with desk_of(request).gateway.look(confirmations.CONFIRMER) as work:
            asked = confirmations.look(work, token)
            return _shown(request, work, asked) if _wants_page(request) else _json(_request_out(asked))

    return await _answered(request, act)


@post(_PATH, status_code=200, tags=["consents"], **documented(None, ConfirmedOut))
async def confirm_request(request: Call, token: FromPath[str]) -> Response[Any]:
    """Confirm, once: the pending fact becomes a yes in two steps, from now on."""

    def act() -> Response[Any]:
        agent = request.headers.get("user-agent", "")[:_MAX_AGENT]
        with desk_of(request).gateway.work(confirmations.CONFIRMER) as work:
            language = confirmations.look(work, token).language or "en"
            uid = confirmations.confirm(work, token, {"user_agent": agent} if agent.isprintable() and agent else {})
        if _wants_page(request):
            return _page(request, _pages(request).render_done(language))
        return _json({"confirmed": True, "entry": {"uid": uid.hex()}})

    return await _answered(request, act)


@post("/v1/consents/history", status_code=200, tags=["consents"], **documented(HistoryIn, HistoryOut))
async def read_history(request: Call) -> Response[bytes]:
    """Return what one person said, and was shown, in the order of arrival; the reading is recorded."""
    data = await body_as(request, HistoryIn, "decide")

    def act(work: Work) -> dict[str, Any]:
        rows, texts, uid = history.history(work, data.subject.ref(), data.after, data.limit)
        items = [_fact_out(row, texts.get((row.notice, row.notice_version, row.language))) for row in rows]
        shown = [_view_out(view) for view in history.shown(work, data.subject.ref())]
        following = rows[-1].id if len(rows) == data.limit else None
        return {"items": items, "next": following, "shown": shown, "entry": {"uid": uid.hex()}}

    return await desk_of(request).write(request, "decide", act, kept=False)


@post("/v1/consents/state", status_code=200, tags=["consents"], **documented(StateIn, StateOut))
async def read_state(request: Call) -> Response[bytes]:
    """Return what holds for one person now, as said (`raw`) and as the law has it (`effective`); it is recorded."""
    data = await body_as(request, StateIn, "decide")

    def act(work: Work) -> dict[str, Any]:
        found, uid = history.states(work, data.subject.ref())
        return {
            "items": [_state_out(state, work.now) for state in found],
            "at": instant(work.now),
            "entry": {"uid": uid.hex()},
        }

    return await desk_of(request).write(request, "decide", act, kept=False)


# -- the parts -----------------------------------------------------------------------------------------------------


async def _answered(request: Call, act: Callable[[], Response[Any]]) -> Response[Any]:
    try:
        return await desk_of(request).run(lambda: desk_of(request).retried(act))
    except GatewayError as error:
        if not _wants_page(request):
            raise
        return _page(request, _pages(request).render_refusal(error), error.status)


def _wants_page(request: Call) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _json(content: dict[str, Any]) -> Response[bytes]:
    return Response(msgspec.json.encode(content), media_type=JSON)


def _pages(request: Call) -> Pages:
    found: Pages = request.app.state.pages
    return found


def _page(request: Call, text: str, status: int = 200) -> Response[str]:
    headers = {"content-security-policy": _pages(request).FORM_POLICY}
    return Response(text, status_code=status, headers=headers, media_type=MediaType.HTML)


def _shown(request: Call, work: Work, asked: confirmations.Request) -> Response[str]:
    purpose = work.registers.purposes.purposes[asked.purpose]
    language = asked.language or "en"
    text = None
    if asked.notice is not None:
        row = notices.text_of(work, asked.notice, asked.notice_version, asked.language)
        text = (row["title"], row["text"])
    title = purpose.title_zh if language.startswith("zh") else purpose.title
    controller = record_rows.find_controller(work.session)
    recipient = work.registers.recipients.get(RecipientId(asked.recipient)) if asked.recipient else controller
    rows = {
        "purpose": title,
        "channel": asked.channel,
        "recipient": None if recipient is None else recipient.name,
        "until": instant(asked.expires_at),
    }
    return _page(request, _pages(request).render_request(rows, text, language))


def _request_out(asked: confirmations.Request) -> dict[str, Any]:
    named = ("purpose", "channel", "recipient", "notice", "notice_version", "language")
    return {name: getattr(asked, name) for name in named} | {"expires_at": instant(asked.expires_at)}


def _fact_out(row: Any, text_sha256: str | None) -> dict[str, Any]:
    plain = ("purpose", "channel", "recipient", "kind", "imported", "notice", "notice_version", "language", "method")
    return {name: getattr(row, name) for name in (*plain, "place", "source")} | {
        "event": row.id,
        "status": STATUS_OF_KIND[row.kind],
        "at": instant(row.at),
        "received_at": instant(row.received_at),
        "valid_until": None if row.valid_until is None else instant(row.valid_until),
        "properties": [p.name.lower() for p in ConsentProperty(row.properties) if p.name],
        "for_one_contact_point": row.contact_point is not None,
        "text_sha256": text_sha256,
        "evidence": row.evidence is not None,
        "guardian": row.guardian is not None,
    }


def _view_out(view: dict[str, Any]) -> dict[str, Any]:
    plain = ("notice", "notice_version", "language", "place", "source")
    return {name: view[name] for name in plain} | {"at": instant(view["at"])}


def _state_out(state: history.State, now: int) -> dict[str, Any]:
    told = state.standing
    kind = None if told.event is None else told.event.kind
    return {
        "purpose": state.purpose,
        "channel": state.channel,
        "recipient": state.recipient,
        "raw": {
            "state": told.state(now),
            "status": status_of(told.state(now), kind),
            "until": instant(told.until) if told.until > 1 else None,
            "properties": [p.name.lower() for p in told.properties if p.name],
            "outdated": told.outdated,
            "event": told.event.event_id if told.event else None,
            "why": state.why,
        },
        "effective": {"outcome": state.answer.outcome, "reason_code": state.answer.reason_code},
    }


HANDLERS = (show_request, confirm_request, read_history, read_state)
