"""How a request is observed: its id, one line, one measurement, and perhaps one span.

The outermost layer of the application. A line shows a path template or nothing: never a raw path, query or client
address (promise P7).
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter_ns
from typing import Any

from opentelemetry import trace

from consent_gateway.errors import GatewayError
from consent_gateway.redaction import class_name
from consent_gateway.telemetry import Event, Telemetry

REQUEST_ID_KEY = "cg_request_id"  # the same keys as in api.problems, which may not import this module
ERROR_KEY = "cg_error"

Application = Callable[[Any, Any, Any], Awaitable[None]]
_REFUSED = {401: Event.AUTHENTICATION_FAILED, 403: Event.PERMISSION_DENIED}


def new_request_id() -> str:
    """Return a random UUID (RFC 9562 version 4) in text form; 120 random bits."""
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class AccessMiddleware:
    """Outermost ASGI layer: gives each request its id, and writes one line, one measurement and perhaps one span.

    The route is Litestar's path template; a request that was refused before routing shows its path only if that is
    one of `routes` (templates without parameters), else `-`. The reply carries the id as `x-request-id`.
    """

    def __init__(self, app: Application, telemetry: Telemetry, routes: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._telemetry = telemetry
        self._routes = routes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Observe one request; nothing but the id is added to it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, request, status = perf_counter_ns(), new_request_id(), 500
        state = scope.setdefault("state", {})
        state[REQUEST_ID_KEY] = request
        span = self._telemetry.request_span(_method(scope), request, scope["headers"])

        async def observed(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request.encode())]
            await send(message)

        try:
            await _within(span, self._app(scope, receive, observed))
        finally:
            if isinstance(passing := sys.exception(), Exception):
                state[ERROR_KEY] = passing
            self._finish(scope, request, status, span, perf_counter_ns() - begun)

    def _finish(
        self, scope: MutableMapping[str, Any], request: str, status: int, span: trace.Span | None, duration_ns: int
    ) -> None:
        method = _method(scope)
        route = scope.get("path_template") or (scope["path"] if scope["path"] in self._routes else "-")
        error = scope["state"].get(ERROR_KEY)
        self._telemetry.request_done(method, route, status, duration_ns / 1e9)
        facts = {"request_id": request, "method": method, "route": route, "status": status}
        if error is not None:
            event = Event.FAILED if isinstance(error, GatewayError) else Event.UNHANDLED
            self._telemetry.log.error(event, exc_info=error, **facts)
        if self._telemetry.logs_requests or status in _REFUSED:
            level = logging.WARNING if status in _REFUSED else logging.INFO
            event = _REFUSED.get(status, Event.REQUEST)
            self._telemetry.log.log(level, event, duration_us=duration_ns // 1000, **facts)
        if span is not None:
            _end(span, method, route, status, error)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(scope: Mapping[str, Any]) -> str:
    """Return the method, or OTHER: callers may invent methods, and labels must stay few."""
    return scope["method"] if scope["method"] in _METHODS else "OTHER"


async def _within(span: trace.Span | None, work: Awaitable[None]) -> None:
    """Run `work` with `span` as the current one, if there is one."""
    if span is None:
        await work
        return
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        await work


def _end(span: trace.Span, method: str, route: str, status: int, error: BaseException | None) -> None:
    """Name the span by its route, which is known only now, and end it."""
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if error is not None:
        span.set_attribute("error.type", class_name(error))
        span.set_status(trace.StatusCode.ERROR)
    span.end()
