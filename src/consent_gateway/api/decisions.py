"""Decisions over HTTP: one at a time through the batcher, or up to 1,000 people with one entry in the log."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post

from consent_gateway.api.auth import authenticate
from consent_gateway.api.bodies import parse_model
from consent_gateway.api.desk import JSON, Desk, body_as, desk_of, documented
from consent_gateway.api.wire import DecisionIn, DecisionOut, DecisionsIn, DecisionsOut, UseIn, instant
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ForbiddenError, TooLargeError
from consent_gateway.services.deciding.questions import Message, Use
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide_batch
from consent_gateway.services.work.gateway import Work

_NO_MESSAGE = Message()
_REMEMBERED = 4096


@post("/v1/decisions", status_code=200, tags=["decisions"], **documented(DecisionIn, DecisionOut))
async def decide_one(request: Request[Any, Any, Any]) -> Response[bytes]:
    """May this person's data be used for this purpose, over this channel, by this recipient, now?"""
    desk = desk_of(request)
    principal = await desk.run(lambda: authenticate(desk.gateway, request.scope["headers"], "decide"))
    return Response(await decide_body(desk, principal, await request.body()), media_type=JSON)


async def decide_body(desk: Desk, principal: Principal, body: bytes) -> bytes:
    """Decide the question in a body and return the answer's body."""
    data = parse_model(DecisionIn, body)
    ask = Ask(use_of(data, principal), data.subject.ref(), principal, data.explain)
    decision = await desk.batcher.submit(ask)
    answer = decision.answer
    desk.telemetry.decided(answer.outcome.value, answer.reason_code)
    return _WRITER.write(decision, explain=data.explain)


@post("/v1/decisions/batch", status_code=200, tags=["decisions"], **documented(DecisionsIn, DecisionsOut))
async def decide_many(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The same question about up to 1,000 people; the answers come in the order of the people."""
    data = await body_as(request, DecisionsIn, "decide")
    desk = desk_of(request)
    if len(data.subjects) > desk.decision_limit:
        raise TooLargeError(f"at most {desk.decision_limit} subjects a call")

    def act(work: Work) -> dict[str, Any]:
        answers, uid = decide_batch(work, use_of(data, work.actor), [subject.ref() for subject in data.subjects])
        return {
            "results": [short_out(answer) for answer in answers],
            "permitted": sum(answer.permitted for answer in answers),
            "packs": [pack.name for pack in work.law.packs.packs],
            "at": instant(work.now),
            "entry": {"uid": uid.hex()},
        }

    # Asked anew under whatever key: a permit that is kept would outlive the withdrawal (promise P2).
    return await desk.write(request, "decide", act, kept=False)


class AnswerWriter:
    """Writes decisions. Answers are values that many decisions share, so their encoding is remembered by identity."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Answer, bytes]] = {}

    def write(self, decision: Decision, *, explain: bool) -> bytes:
        """Return the body of one decision."""
        answer = decision.answer
        if explain:
            head = _head(answer, explain=True)
        else:
            held = self._known.get(id(answer))  # the entry keeps the answer alive, so its id stays its own
            if held is None:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                held = self._known[id(answer)] = (answer, _head(answer, explain=False))
            head = held[1]
        at = instant(decision.at_ms // 1000).encode()
        return b'%b,"at":"%b","entry":{"uid":"%b"}}' % (head, at, decision.uid.hex().encode())


def _head(answer: Answer, *, explain: bool) -> bytes:
    """Return an answer's members without the closing brace."""
    out = answer_out(answer)
    if explain:
        out["changes"] = [
            {"fact": c.fact, "have": c.have, "need": c.need, "text": c.text_en, "text_zh": c.text_zh}
            for c in answer.changes
        ]
    return msgspec.json.encode(out)[:-1]


_WRITER = AnswerWriter()


def use_of(data: UseIn, principal: Principal) -> Use:
    """Return what a body asks about; ForbiddenError if a recipient asks on behalf of another one."""
    message = _NO_MESSAGE if data.message is None else data.message.message()
    recipient = recipient_of(data.recipient, principal)
    if recipient is None:
        raise ForbiddenError("a recipient asks for itself only")
    return Use(PurposeId(data.purpose), data.channel, recipient, message, data.basis)


def recipient_of(named: str | None, principal: Principal) -> RecipientId | None:
    """Return the recipient that is asked about; None if a recipient's key names another one."""
    if named is None or named == principal.recipient:
        return principal.recipient
    return RecipientId(named) if principal.recipient == OWN else None


def short_out(answer: Answer) -> dict[str, Any]:
    """Return one answer of a batch."""
    return {"outcome": answer.outcome, "reason_code": answer.reason_code, "obligations": answer.obligations}


def answer_out(answer: Answer) -> dict[str, Any]:
    """Return one answer with every reason."""
    return {
        "outcome": answer.outcome,
        "reason_code": answer.reason_code,
        "reasons": [
            {
                "code": r.code,
                "rule": r.rule_id,
                "law": r.law,
                "citation": r.citation,
                "text": r.text_en,
                "text_zh": r.text_zh,
                "stage": r.stage,
                "effect": r.effect,
            }
            for r in answer.reasons
        ],
        "obligations": answer.obligations,
        "packs": answer.packs,
        "facts_digest": answer.facts_digest,
    }


HANDLERS = (decide_one, decide_many)
