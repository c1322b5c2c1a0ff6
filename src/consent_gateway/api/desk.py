"""What every handler stands behind: authenticate, read the body, run one use case off the loop, answer.

A write goes through `Desk.write`: the use case, its audit entries and the reply kept for the idempotency key are one
transaction. A repeated request with the same key gets the stored reply, byte for byte, and changes nothing (P5).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from pydantic import BaseModel

from consent_gateway.api.auth import authenticate
from consent_gateway.api.batcher import DecisionBatcher
from consent_gateway.api.bodies import parse_model
from consent_gateway.api.guests import Guests
from consent_gateway.api.problems import request_id
from consent_gateway.db import intake as intake_rows
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import (
    AuditError,
    ConflictError,
    FieldProblem,
    IdempotencyError,
    InputError,
    KeyringError,
    KeyServiceError,
    RaceError,
    StoreError,
)
from consent_gateway.services.log import deferrals, spool
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.deferrals import Kept, Letter
from consent_gateway.services.work.gateway import UID_BYTES, Gateway, Work
from consent_gateway.services.work.own_key import own_key
from consent_gateway.services.work.vault import GATEWAY_ITSELF, SEALED_REPLY, open_bytes, seal_bytes
from consent_gateway.telemetry import Event, Telemetry

JSON = "application/json"
_MAX_KEY = 64
_RETRIES = 2
_ACCEPTED = 202
_TOKENS = b'"confirmations":[{'
Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")
Asked = Request[Any, Any, Any]
# What a call is kept as under the uid of its entry, and what it is answered; None: it is refused after all.
PuttingOff = Callable[[Work, bytes], tuple[Letter, Any] | None]
Keep = Callable[[Work, bytes, Letter, Kept | None], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a use case answers with a status of its own; `repeated`: with what else the same call is answered again.

    That is kept in the store, for whoever repeats the call: what must be nowhere but with the caller is not in it.
    """

    status: int
    value: Any
    repeated: Any = None


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts that handlers need; one for the application, in its state."""

    gateway: Gateway
    batcher: DecisionBatcher
    telemetry: Telemetry
    executor: ThreadPoolExecutor
    row_limit: int
    decision_limit: int
    copies: Copies
    log_stands: Callable[[], bool] = lambda: False  # whether the log fails to take entries
    log_public: bool = False  # whether anybody may read the log's tiles
    guests: Guests = field(default_factory=Guests)

    async def run(self, act: Callable[[], Value]) -> Value:
        """Run blocking work on a thread of our own."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, act)

    async def admit(self, request: Asked, scope: str) -> None:
        """Refuse a caller who may not do `scope` before its request is read: strangers learn nothing from errors."""
        await self.run(lambda: authenticate(self.gateway, request.scope["headers"], scope))

    async def read(self, request: Asked, scope: str, act: Callable[[Work], Any]) -> Response[bytes]:
        """Answer a reading request with the JSON of what `act` returns."""

        def work() -> bytes:
            principal = authenticate(self.gateway, request.scope["headers"], scope)
            with self.gateway.look(principal) as found:
                return msgspec.json.encode(act(found))

        return Response(await self.run(work), media_type=JSON)

    async def write(
        self,
        request: Asked,
        scope: str,
        act: Callable[[Work], Any],
        status: int = 200,
        event: Event | None = None,
        *,
        kept: bool = True,
        putting_off: PuttingOff | None = None,
        curing: bool = False,
    ) -> Response[bytes]:
        """Answer a changing request: authenticate, repeat or carry out, keep the reply, commit, log `event`, answer.

        `kept`: False for a reply that tells about a person and would outlive them; it takes no idempotency key.
        `putting_off`: what is kept, with 202, if the keys are away (`services.log.deferrals`). `curing`: what is done
        also while the log does not stand, because it serves to put it right.
        """
        body = await request.body()

        def work() -> tuple[int, bytes, bool]:
            principal = authenticate(self.gateway, request.scope["headers"], scope)

            def attempt() -> tuple[int, bytes, bool]:
                try:
                    return self.retried(lambda: self._once(principal, request, body, act, status, kept, curing))
                except (KeyServiceError, KeyringError):
                    put_off = putting_off and self.retried(lambda: self._put_off(principal, request, body, putting_off))
                    if put_off is None:
                        raise
                    return put_off

            if putting_off is None:
                return attempt()
            return self._or_kept_elsewhere(
                attempt, lambda keep: self._spool(principal, request, body, putting_off, keep)
            )

        code, content, replayed = await self.run(work)
        if event is not None and not replayed:
            self.telemetry.log.info(event, request_id=request_id(request.scope))
        headers = {"idempotent-replayed": "true"} if replayed else {}
        return Response(content, status_code=code, media_type=JSON, headers=headers)

    def _put_off(
        self, principal: Principal, request: Asked, body: bytes, putting_off: PuttingOff
    ) -> tuple[int, bytes, bool] | None:
        """Keep a call until the keys are back; None for most calls."""
        with self.gateway.work(principal) as work:
            return _accept(work, request, body, putting_off, deferrals.keep)

    def _or_kept_elsewhere(
        self, attempt: Callable[[], tuple[int, bytes, bool]], keeping: Callable[[Keep], tuple[int, bytes, bool] | None]
    ) -> tuple[int, bytes, bool]:
        """Carry out a call, or keep it outside of the store; once more if it could be carried out by then after all."""
        for keep in (spool.keep_while_closed, spool.keep_while_closed, spool.keep):
            refused = self.gateway.gate.refusal is not None
            try:
                return attempt()
            except (AuditError, StoreError):
                try:
                    spooled = keeping(keep if refused else spool.keep)
                except spool.OpenedError:
                    continue
                if spooled is None:
                    raise
                return spooled
        raise AssertionError("the last way to keep it has no condition")

    def _spool(
        self, principal: Principal, request: Asked, body: bytes, putting_off: PuttingOff, keep: Keep
    ) -> tuple[int, bytes, bool] | None:
        """Keep a call outside of the store while nothing can be written; None for most calls."""
        if self.gateway.spool is None:
            return None
        try:
            with self.gateway.look(principal) as work:
                return _accept(work, request, body, putting_off, keep)
        except StoreError:
            with self.gateway.recall(principal) as work:
                return _accept(work, request, body, putting_off, keep)

    @staticmethod
    def retried(attempt: Callable[[], Value]) -> Value:
        """Carry out a use case; one that lost a race against another request did nothing and is tried again."""
        for _ in range(_RETRIES):
            try:
                return attempt()
            except RaceError:
                continue
        return attempt()

    def _once(
        self,
        principal: Principal,
        request: Asked,
        body: bytes,
        act: Callable[[Work], Any],
        status: int,
        kept: bool,  # noqa: FBT001 - handed on from `write`
        curing: bool,  # noqa: FBT001
    ) -> tuple[int, bytes, bool]:
        key = _idempotency_key(request) if kept else None
        with self.gateway.work(principal, curing=curing) as work:
            if key is None:
                return *_encoded(act(work), status), False
            fingerprint = self.gateway.vault.digest(_identity(request, body))
            name = self.gateway.vault.reply_name(key)
            stored = intake_rows.find_reply(work.session, principal.id, name)
            if stored is not None:
                if bytes(stored.request_digest) != fingerprint:
                    raise IdempotencyError
                return stored.status, _opened(work, bytes(stored.response)), True
            found = act(work)
            status, content = _encoded(found, status)
            again = _repeated(found, content)
            row = {"request_digest": fingerprint, "status": status, "response": _sealed(work, again), "at": work.now}
            intake_rows.put_reply(work.session, {"principal": principal.id, "key": name, **row})
            return status, content, False


def _accept(
    work: Work,
    request: Asked,
    body: bytes,
    putting_off: PuttingOff,
    keep: Keep,
) -> tuple[int, bytes, bool] | None:
    """Have `keep` keep a call, with the reply for whoever repeats it later; None for most calls."""
    key, uid = _idempotency_key(request), secrets.token_bytes(UID_BYTES)
    found = putting_off(work, uid)
    if found is None:
        return None
    letter, value = found
    content = msgspec.json.encode(value)
    reply = None if key is None else Kept(key, _identity(request, body), _ACCEPTED, content)
    keep(work, uid, letter, reply)
    return _ACCEPTED, content, False


def _idempotency_key(request: Asked) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _MAX_KEY and key.isascii() and key.isprintable()):
        message = f"1 to {_MAX_KEY} printable ASCII characters"
        raise InputError(fields=(FieldProblem("Idempotency-Key", "invalid_key", message),))
    return key


def _encoded(found: Any, status: int) -> tuple[int, bytes]:
    """Return the status and the JSON of what a use case answered."""
    return (
        (found.status, msgspec.json.encode(found.value))
        if isinstance(found, Reply)
        else (status, msgspec.json.encode(found))
    )


def _repeated(found: Any, content: bytes) -> bytes:
    """Return what is kept for whoever repeats the call: the answer, or what stands in for it."""
    return content if not isinstance(found, Reply) or found.repeated is None else msgspec.json.encode(found.repeated)


def _sealed(work: Work, content: bytes) -> bytes:
    """Return a reply as it is kept: one with tokens sealed, for they open what a person alone may open."""
    if _TOKENS not in content:
        return content
    return SEALED_REPLY + seal_bytes(own_key(work), GATEWAY_ITSELF, content)


def _opened(work: Work, kept: bytes) -> bytes:
    if not kept.startswith(SEALED_REPLY):
        return kept
    if kept == SEALED_REPLY:
        raise ConflictError("this was carried out, and its answer was lost with the gateway's own key")
    return open_bytes(own_key(work), GATEWAY_ITSELF, kept.removeprefix(SEALED_REPLY))


def desk_of(request: Asked) -> Desk:
    """Return the desk of the application that a request came to."""
    found: Desk = request.app.state.desk
    return found


async def body_as(request: Asked, model: type[Model], scope: str) -> Model:
    """Return the body of a caller who may do `scope` as `model`; InputError lists every field that is wrong."""
    await desk_of(request).admit(request, scope)
    return parse_model(model, await request.body())


def documented(body: type[BaseModel] | None, reply: type[BaseModel] | None, **more: Any) -> dict[str, Any]:
    """Return what a handler's decorator needs so that the OpenAPI document shows body and reply."""
    return {"opt": {"body": body, "reply": reply, **more}}


def _identity(request: Asked, body: bytes) -> bytes:
    scope: Mapping[str, Any] = request.scope
    # What the body is read as, and the signal that comes with it, are part of the request.
    meaning = [request.headers.get(name, "").encode() for name in ("content-type", "sec-gpc")]
    parts: Iterable[bytes] = (scope["method"].encode(), scope["raw_path"], scope["query_string"], body, *meaning)
    return b"".join(hashlib.sha256(part).digest() for part in parts)
