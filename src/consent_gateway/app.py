"""The application: a gateway in, HTTP around it out. The one place that knows everything.

Order of the layers around a request, outermost first: access log and request id, security headers, body guard, router,
handler, one use case. Order at start: `assembly` makes the gateway, `background` makes sure of its store and log, then
the routes; the threads begin with the server.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp

from consent_gateway import __version__
from consent_gateway.access import AccessMiddleware
from consent_gateway.api.batcher import DecisionBatcher
from consent_gateway.api.desk import JSON, Desk
from consent_gateway.api.fast import FastDecisions
from consent_gateway.api.guard import BodyLimits, guarded
from consent_gateway.api.openapi import document
from consent_gateway.api.problems import exception_handlers
from consent_gateway.api.routes import HANDLERS
from consent_gateway.background import Jobs, build_jobs
from consent_gateway.errors import NotFoundError
from consent_gateway.services.log import audit_log
from consent_gateway.services.policy import policies
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.settings import Settings
from consent_gateway.telemetry import Event, Telemetry
from consent_gateway.web import confirmations
from consent_gateway.web.docs import docs_routes

_THREADS = 8


@dataclass(slots=True)
class Application:
    """The ASGI application with what stands behind it."""

    asgi: Any
    litestar: Litestar
    gateway: Gateway
    jobs: Jobs


def build_app(settings: Settings, telemetry: Telemetry, gateway: Gateway) -> Application:
    """Return the ASGI application over a gateway; its lifespan starts and stops the background jobs."""
    jobs = build_jobs(settings, telemetry, gateway)
    if gateway.gate.refusal is None:
        policies.record_first(gateway)
    batcher = DecisionBatcher(gateway)
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="use-case")
    desk = Desk(
        gateway,
        batcher,
        telemetry,
        executor,
        settings.batch_limit_items,
        settings.decision_batch_limit_items,
        jobs.check.copies,
        lambda: jobs.worker.failed,
        settings.log_public,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        jobs.start()
        _settle_memory()
        if not gateway.vault.provider.keyring.is_sealed:
            telemetry.log.warning(Event.KEYRING_UNSEALED)
        telemetry.watch_audit_pending(lambda: audit_log.pending(gateway))
        telemetry.watch_log(
            lambda: gateway.gate.fault is not None,
            lambda: {state.name: state.lag for state in jobs.check.copies.states.values()},
        )
        telemetry.log.info(Event.STARTED, version=__version__)
        yield
        batcher.close()
        executor.shutdown(wait=True)
        jobs.stop()
        telemetry.log.info(Event.STOPPED)
        telemetry.shutdown()
        gateway.store.dispose()

    app = Litestar(
        route_handlers=[*HANDLERS, *docs_routes(document), _openapi_json],
        exception_handlers=exception_handlers(),
        lifespan=[lifespan],
        openapi_config=OpenAPIConfig(title="Consent gateway", version=__version__, openapi_router=_no_viewers()),
        debug=False,
        logging_config=None,
        request_max_body_size=settings.batch_body_limit_bytes + 1,
    )
    app.state.desk, app.state.pages = desk, confirmations
    limits = BodyLimits(settings.body_limit_bytes, settings.batch_body_limit_bytes, settings.body_read_timeout_seconds)
    inner: ASGIApp = guarded(FastDecisions(app, desk), limits)
    return Application(AccessMiddleware(inner, telemetry, _plain_paths(app)), app, gateway, jobs)


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def _openapi_json(request: Request[Any, Any, Any]) -> Response[Any]:
    return Response(document(request.app), media_type=JSON)


def _no_viewers() -> Router:
    """Close the framework's own documentation pages: they fetch scripts from other hosts."""

    def closed(_: Request[Any, Any, Any]) -> None:
        raise NotFoundError

    return Router("/openapi", route_handlers=[], before_request=closed, include_in_schema=False)


def _plain_paths(app: Litestar) -> frozenset[str]:
    return frozenset(route.path for route in app.routes if "{" not in route.path)


def _settle_memory() -> None:
    """Keep the collector off the start-up objects: a full collection of them stops the process for 100 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # A thread that comes back from a flush must not wait 5 ms for the loop to let it in.
    sys.setswitchinterval(0.001)
