"""The short way to a decision: the same answer as the documented handler, without the router and the reference model.

`POST /v1/decisions` is asked thousands of times a second, nearly always in one plain form. This layer sits between
the body guard and the router and takes exactly that form; whatever it cannot read with certainty (other fields, an
identifier instead of a pseudonym, a field of the wrong type) it leaves to the handler behind it, which writes those
answers and errors. Both end in `DecisionBatcher.submit`; a contract test holds them together, byte for byte.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from consent_gateway.api.auth import recognise
from consent_gateway.api.decisions import AnswerWriter, recipient_of
from consent_gateway.api.desk import Desk
from consent_gateway.api.guard import replaying
from consent_gateway.api.problems import from_exception, send_problem
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.decisions import Ask
from consent_gateway.services.identity.people import PSEUDONYM
from consent_gateway.services.work.items import SubjectRef

PATH = "/v1/decisions"
_Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]  # `$` would let a line feed pass
_MAX_USES = 1024


class _Subject(msgspec.Struct, forbid_unknown_fields=True):
    pseudonym: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    purpose: _Slug
    channel: Channel
    subject: _Subject
    recipient: _Slug | None = None
    explain: bool = False


_decode = msgspec.json.Decoder(_Question).decode


class FastDecisions:
    """ASGI layer; see the module. `desk` is the application's own."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._writer = AnswerWriter()
        self._uses: dict[tuple[str, Channel, str], Use] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the plain form; hand everything else on with its body."""
        if scope["type"] != ScopeType.HTTP or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        message = await receive()
        if message["type"] != "http.request":
            return
        body = message["body"]
        asked = _read(body)
        principal = None if asked is None else recognise(self._desk.gateway, scope["headers"], "decide")
        recipient = None if asked is None or principal is None else recipient_of(asked.recipient, principal)
        if asked is None or principal is None or recipient is None:
            await self._app(scope, replaying(body, receive), send)
            return
        scope["path_template"] = PATH
        use = self._use(asked.purpose, asked.channel, recipient)
        await self._answer(scope, asked, Ask(use, _ref(asked), principal, asked.explain), send)

    async def _answer(self, scope: HTTPScope, asked: _Question, ask: Ask, send: Send) -> None:
        try:
            decision = await self._desk.batcher.submit(ask)
        except Exception as error:  # noqa: BLE001 - the edge: the one renderer decides what may be said
            await send_problem(from_exception(error), scope, send)
            return
        self._desk.telemetry.decided(decision.answer.outcome.value, decision.answer.reason_code)
        body = self._writer.write(decision, explain=asked.explain)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _use(self, purpose: str, channel: Channel, recipient: RecipientId) -> Use:
        key = (purpose, channel, recipient)
        found = self._uses.get(key)
        if found is None:
            if len(self._uses) >= _MAX_USES:
                self._uses.clear()
            found = self._uses[key] = Use(PurposeId(purpose), channel, recipient)
        return found


def _ref(asked: _Question) -> SubjectRef:
    return SubjectRef(PSEUDONYM, asked.subject.pseudonym)


def _read(body: bytes) -> _Question | None:
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None
