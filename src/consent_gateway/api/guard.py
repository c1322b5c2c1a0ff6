"""What stands in front of the framework: bodies and queries that no handler should ever see are refused here.

Theory: two pure ASGI layers. `BodyGuard` reads a body up to the limit of its route class, has it checked at the level
of bytes (`api.bodies`), and replays it. `SecurityHeaders` stands outside it. Invariants:

- at most the limit plus one network chunk is ever held; a body announced as too large is not read at all;
- a body of 5 MiB is checked in less than 100 ms, one of the decision path in about 3 µs;
- whatever leaves, errors included, carries the security headers, and no exception passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from consent_gateway.api.bodies import check_json_document, check_query, check_rows
from consent_gateway.api.problems import ERROR_KEY, from_exception, send_problem
from consent_gateway.errors import (
    GatewayError,
    InputError,
    MalformedBodyError,
    MediaTypeError,
    TooLargeError,
)

__all__ = ["BodyGuard", "BodyLimits", "SecurityHeaders", "check_json_document", "check_rows", "guarded"]

_LENGTH_DIGITS = 18

_BATCHES = (
    "subjects",
    "consents",
    "choices",
    "events",
    "contacts",
    "notices_shown",
    "decisions/batch",
    "pseudonyms/convert",
)
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_JSON = frozenset({b"application/json"})
_ROWS = frozenset({b"application/x-ndjson", b"text/csv"})
_CLOSE = ((b"connection", b"close"),)  # what is left of a refused body is not read, so the connection ends


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits by route class, in bytes and seconds; paths are exact, imports go by prefix."""

    default_bytes: int = 65_536
    batch_bytes: int = 5_242_880
    read_timeout_seconds: float = 30.0
    batch_paths: frozenset[str] = field(default_factory=lambda: frozenset(f"/v1/{name}" for name in _BATCHES))
    import_prefix: str = "/v1/imports/"

    def largest(self, path: str) -> int:
        """Return the limit in bytes of a request for `path`."""
        return self.batch_bytes if path in self.batch_paths or self.is_import(path) else self.default_bytes

    def is_import(self, path: str) -> bool:
        """Tell whether `path` takes rows (NDJSON or CSV) instead of one JSON value."""
        return path.startswith(self.import_prefix)


class BodyGuard:
    """Pure ASGI middleware: the application behind it sees only bodies and queries that passed every check."""

    def __init__(self, app: ASGIApp, limits: BodyLimits | None = None) -> None:
        self._app = app
        self._limits = limits or BodyLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request and pass it on, or answer it with a problem; a client that left is not answered."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._admit(scope, receive)
        except GatewayError as error:
            await send_problem(error, scope, send, _CLOSE)
            return
        if body is not None:
            await self._app(scope, replaying(body, receive), send)

    async def _admit(self, scope: HTTPScope, receive: Receive) -> bytes | None:
        """Return the checked body, or None if the client left while sending it; raises InputError and its kinds."""
        problem = check_query(scope["query_string"])
        if problem:
            raise InputError("The query string is not valid.", fields=(problem,))
        headers = dict(scope["headers"])
        announced = _announced(headers)
        if scope["method"] in _BODILESS:
            if announced or b"transfer-encoding" in headers:
                raise InputError(f"{scope['method']} takes no body.")
            return b""
        path = scope["path"].rstrip("/")
        limit = self._limits.largest(path)
        if announced > limit:
            raise TooLargeError(f"The body may have at most {limit:,} bytes.")
        body = await self._read(receive, limit)
        if body:
            _check(body, headers, rows=self._limits.is_import(path))
        return body

    async def _read(self, receive: Receive, limit: int) -> bytes | None:
        """Read up to `limit` bytes within the time limit; one message, the usual case, costs no timer."""
        message = await receive()
        if message["type"] != "http.request":
            return None
        if not message.get("more_body", False):
            return _within(message["body"], limit)
        try:
            async with asyncio.timeout(self._limits.read_timeout_seconds):
                return await _read_rest(message["body"], receive, limit)
        except TimeoutError:
            raise MalformedBodyError("The body did not arrive in time.") from None


async def _read_rest(first: bytes, receive: Receive, limit: int) -> bytes | None:
    """Collect the messages of a body; raises TooLargeError with the first one that exceeds `limit`."""
    body, more = bytearray(_within(first, limit)), True  # not a list of parts: those may be one byte each
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message["body"]
        more = message.get("more_body", False)
        if len(body) > limit:
            raise TooLargeError(f"The body may have at most {limit:,} bytes.")
    return bytes(body)


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise TooLargeError(f"The body may have at most {limit:,} bytes.")
    return body


def _announced(headers: dict[bytes, bytes]) -> int:
    """Return the announced length in bytes, 0 without one; raises InputError if it is not a number (RFC 9110 8.6)."""
    text = headers.get(b"content-length", b"0")
    if not (text.isdigit() and len(text) <= _LENGTH_DIGITS):
        raise InputError("The Content-Length header is not a length.")
    return int(text)


def _check(body: bytes, headers: dict[bytes, bytes], *, rows: bool) -> None:
    """Refuse a body of another type, encoding or grammar than the route class reads."""
    kind, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    if kind.strip() not in (_ROWS if rows else _JSON) or not _is_utf8_charset(parameters):
        expected = "`application/x-ndjson` or `text/csv`" if rows else "`application/json`"
        raise MediaTypeError(f"This route reads {expected} in UTF-8.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise MediaTypeError("Compressed bodies are not read.")
    problem = check_rows(body) if rows else check_json_document(body)
    if problem is None:
        return
    if problem.code == "too_many_values":
        raise TooLargeError("The body has too many values.", fields=(problem,))
    raise MalformedBodyError(fields=(problem,))


def _is_utf8_charset(parameters: bytes) -> bool:
    """Tell whether media type parameters (lower case) leave the charset at UTF-8; `header=present` of CSV is fine."""
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip().strip(b'"') not in (b"utf-8", b"utf8"):
            return False
    return True


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return a receive channel that gives `body` once and then what the server has, such as a disconnect."""
    given = False

    async def replay() -> ReceiveMessage:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class SecurityHeaders:
    """Pure ASGI middleware outside all others of the interface: fixed headers on every reply, and the last resort.

    An exception that reaches it is kept in the state for the access log; the client gets `internal_error`, or, if the
    reply had begun, a broken connection instead of a reply that looks complete (ASVS 5.0 V16.5.4).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; only its reply is touched."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        private = is_private(scope["path"])
        tls, started = scope.get("scheme") == "https", False

        async def dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _dress(message.get("headers", ()), private=private, tls=tls)
            await send(message)

        try:
            await self._app(scope, receive, dressed)
        except Exception as error:  # noqa: BLE001 - the one last resort: nothing foreign may pass to the server
            scope["state"][ERROR_KEY] = error
            if not started:
                await send_problem(from_exception(error), scope, dressed, _CLOSE)


# ASVS 5.0 V3.4.3 to V3.4.6; pages with a style sheet of their own bring their own, narrower, policy.
_FIXED = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_TLS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


def is_private(path: str) -> bool:
    """Tell whether replies under `path` are never kept by any cache: the interface, but for the log's tiles."""
    return path.startswith("/v1") and not path.startswith("/v1/audit/tile/")


def _dress(headers: Iterable[tuple[bytes, bytes]], *, private: bool, tls: bool) -> list[tuple[bytes, bytes]]:
    """Add each fixed header that the reply lacks; a `private` reply is never cacheable (V14.3.2)."""
    dressed = [pair for pair in headers if not (private and pair[0].lower() == b"cache-control")]
    present = {name.lower() for name, _ in dressed}
    dressed += [pair for pair in _FIXED if pair[0] not in present]
    if tls:
        dressed.append(_TLS)
    return dressed


def guarded(app: ASGIApp, limits: BodyLimits | None = None) -> ASGIApp:
    """Return `app` behind both layers in their one right order."""
    return SecurityHeaders(BodyGuard(app, limits))
