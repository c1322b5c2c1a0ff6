"""The composition root: settings in, a running gateway out. The one place that knows everything.

Order of the layers around a request, outermost first: access log and request id, security headers, body guard, router,
handler, one use case. Order at start: keyring, store (verified), schema (verified), packs, gateway, self-check of the
log, tombstones, worker.
"""

from __future__ import annotations

import gc
import resource
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
from consent_gateway.api.batcher import DecisionBatcher
from consent_gateway.api.desk import JSON, Desk
from consent_gateway.api.fast import FastDecisions
from consent_gateway.api.guard import BodyLimits, guarded
from consent_gateway.api.openapi import document
from consent_gateway.api.problems import exception_handlers
from consent_gateway.api.routes import HANDLERS
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.kept.places import copies_of
from consent_gateway.audit.witness_policy import parse_policy
from consent_gateway.clock import Clock, system_clock
from consent_gateway.db.engine import Store
from consent_gateway.db.migrate import require_head
from consent_gateway.domain.quotas import Limits
from consent_gateway.errors import InputError, NotFoundError, TombstoneError
from consent_gateway.policies.choices import AS_SHIPPED, Choices, read_choices
from consent_gateway.policies.packs import load_builtin
from consent_gateway.services import audit_log, own_key, policies, tombstones
from consent_gateway.services.audit_log import require_own_log
from consent_gateway.services.checkpoint_copies import Copies
from consent_gateway.services.custodian import Custodian
from consent_gateway.services.decider import Decider
from consent_gateway.services.gateway import Gateway
from consent_gateway.services.key_keeper import KeyKeeper
from consent_gateway.services.log_gate import Change
from consent_gateway.services.log_keeper import Care, CopyTroubleError, LogKeeper
from consent_gateway.services.own_key import OwnKeyState
from consent_gateway.services.rules import CapRule, Rules
from consent_gateway.services.self_check import SelfCheck
from consent_gateway.services.vault import Vault
from consent_gateway.services.witnessing import Witnessing, witnesses_of
from consent_gateway.services.worker import Worker
from consent_gateway.settings import Settings
from consent_gateway.telemetry import AccessMiddleware, Event, Telemetry
from consent_gateway.vault.custody import Custody
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.kms.port import Kms
from consent_gateway.vault.kms.providers import Provider, Service, connect
from consent_gateway.vault.protectors import (
    PassphraseProtector,
    SecretFileProtector,
    UnsafeUnsealedKeyring,
    read_secret,
)
from consent_gateway.vault.spool_file import SpoolFile
from consent_gateway.vault.tombstone_file import TombstoneFile
from consent_gateway.web import confirmations
from consent_gateway.web.docs import docs_routes

_THREADS = 8
_DAY_SECONDS = 86_400


@dataclass(slots=True)
class Application:
    """The ASGI application with what stands behind it."""

    asgi: Any
    litestar: Litestar
    gateway: Gateway
    worker: Worker


def key_service(settings: Settings) -> Kms:
    """Return what the keyring is sealed with."""
    if settings.kms_provider is not None:
        return connect(_service(settings, settings.kms_provider))
    if settings.keyring_secret_file is not None:
        return SecretFileProtector(settings.keyring_secret_file)
    if settings.keyring_passphrase_file is not None:
        return PassphraseProtector(read_secret(settings.keyring_passphrase_file))
    if settings.allow_unsealed_keyring:
        return UnsafeUnsealedKeyring()
    return SecretFileProtector(settings.keyring().with_suffix(".secret"))


def _service(settings: Settings, provider: Provider) -> Service:
    return Service(
        provider,
        settings.kms_key_prefix,
        settings.kms_timeout_seconds,
        url=settings.kms_url,
        ca_file=settings.kms_ca_file,
        mount=settings.kms_mount,
        secret_file=settings.kms_secret_file,
        region=settings.kms_region,
        days=settings.kms_deletion_days,
        library=settings.kms_hsm_module,
        token=settings.kms_hsm_token,
    )


def build_telemetry(settings: Settings) -> Telemetry:
    """Return logs, traces and metrics as the settings want them."""
    return Telemetry(
        level=settings.log_level,
        exporter=settings.otel_exporter,
        sample_ratio=settings.otel_sample_ratio,
        trust_traceparent=settings.otel_trust_traceparent,
    )


def build_gateway(settings: Settings, clock: Clock = system_clock) -> Gateway:
    """Put the parts together; refuses what would not keep the promises (see each part's errors)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold every key and what is being read (P7)
    keyring = Keyring.open(settings.keyring(), key_service(settings))
    store = Store(settings.database(), deadline=settings.store_deadline_seconds)
    store.verify()
    rules = Rules(
        k_floor=settings.k_floor,
        audience_ttl_seconds=settings.audience_ttl_seconds,
        controller_country=settings.controller_country,
        sender_type=settings.sender_type,
        cap=CapRule(settings.contact_cap, settings.contact_cap_days * _DAY_SECONDS),
        key_epoch_seconds=settings.key_epoch_seconds,
        key_epoch_grace_seconds=settings.key_epoch_grace_seconds,
        map_seconds=settings.log_map_seconds,
        reveal_quota=Limits(settings.reveal_quota_per_hour, settings.reveal_quota_per_day),
        lookup_quota=Limits(settings.lookup_quota_per_hour, settings.lookup_quota_per_day),
        reveal_batch=settings.reveal_batch_limit_items,
        canary_suspends=settings.canary_suspends,
    )
    signer = Signer(settings.log_origin, keyring.log_signing_seed())
    decider = Decider(load_builtin(choices=law_choices(settings)))
    file = TombstoneFile(keyring, settings.tombstone_file(), settings.tombstone_copies)
    vault = Vault.over(Custody(keyring, settings.key_ttl()))
    spool = SpoolFile(settings.spool_file())
    return Gateway(store, vault, decider, clock, signer, rules, tombstones=file, spool=spool)


def law_choices(settings: Settings) -> Choices:
    """Return what the operator chose where the law is open; raises `ChoiceError` that names file and line."""
    return AS_SHIPPED if settings.law_choices_path is None else read_choices(settings.law_choices_path)


def build_app(settings: Settings, telemetry: Telemetry, gateway: Gateway) -> Application:
    """Return the ASGI application over a gateway; its lifespan starts and stops the worker."""
    require_head(gateway.store)
    require_own_log(gateway)
    gateway.gate.on_change = lambda change: _tell_gate(telemetry, change)
    check = self_checked(settings, gateway)
    _settle_tombstones(telemetry, gateway)
    if gateway.gate.refusal is None:
        policies.record_first(gateway)
    _look_for_lost_key(telemetry, gateway)
    witnessing = witnessing_of(settings, gateway)
    if witnessing is not None:
        witnessing.round()  # before anything is served: a witness may know more than the store
    log_keeper = LogKeeper(gateway, check, care(settings), lambda error: report_log(telemetry, error), witnessing)
    custodian = Custodian(gateway.vault.custody, lambda error: telemetry.log.error(Event.KEYS_FAILED, exc_info=error))
    keeper = KeyKeeper(gateway, lambda error: telemetry.log.error(Event.KEYS_FAILED, exc_info=error))
    worker = Worker(gateway, lambda error: report(telemetry, error))
    gateway.on_recorded = worker.wake
    batcher = DecisionBatcher(gateway)
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="use-case")
    desk = Desk(
        gateway,
        batcher,
        telemetry,
        executor,
        settings.batch_limit_items,
        settings.decision_batch_limit_items,
        check.copies,
        lambda: worker.failed,
        settings.log_public,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        worker.start()
        custodian.start()
        keeper.start()
        log_keeper.start()
        _settle_memory()
        if not gateway.vault.provider.keyring.is_sealed:
            telemetry.log.warning(Event.KEYRING_UNSEALED)
        telemetry.watch_audit_pending(lambda: audit_log.pending(gateway))
        telemetry.watch_log(
            lambda: gateway.gate.fault is not None,
            lambda: {state.name: state.lag for state in check.copies.states.values()},
        )
        telemetry.log.info(Event.STARTED, version=__version__)
        yield
        custodian.stop()
        keeper.stop()
        batcher.close()
        executor.shutdown(wait=True)
        worker.stop()
        log_keeper.stop()
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
    return Application(AccessMiddleware(inner, telemetry, _plain_paths(app)), app, gateway, worker)


def report(telemetry: Telemetry, error: Exception) -> None:
    """Log what a background job failed with, under the event that operators alert on."""
    event = Event.TOMBSTONES_FAILED if isinstance(error, TombstoneError) else Event.AUDIT_FAILED
    telemetry.log.error(event, exc_info=error)


def self_checked(settings: Settings, gateway: Gateway) -> SelfCheck:
    """Check the log against itself and every kept checkpoint, before anything is written; the gate says the result."""
    check = SelfCheck(gateway, Copies(gateway, copies_of(settings.checkpoint_places())), settings.log_check_bundles)
    check.run()
    return check


def care(settings: Settings) -> Care:
    """Return how the log is looked after."""
    return Care(
        settings.log_check_seconds, settings.audit_pending_limit, settings.log_check_bundles, settings.witness_seconds
    )


def witnessing_of(settings: Settings, gateway: Gateway) -> Witnessing | None:
    """Return the witnesses of the policy file, None without one; InputError for a file that is no policy."""
    if settings.witness_policy_file is None:
        return None
    try:
        policy = parse_policy(settings.witness_policy_file.read_bytes())
    except OSError:
        raise InputError("The witness policy cannot be read") from None
    except ValueError as error:
        raise InputError(f"The witness policy is not one: {error}") from None
    return Witnessing(gateway, policy, witnesses_of(policy, settings.checkpoint_timeout_seconds))


def report_log(telemetry: Telemetry, error: Exception) -> None:
    """Log what the threads that look after the log failed with."""
    if isinstance(error, CopyTroubleError):
        telemetry.log.error(Event.LOG_COPY_FAILED, kind=error.name, reason=error.trouble)
    else:
        telemetry.log.error(Event.LOG_CHECK_FAILED, exc_info=error)


def _tell_gate(telemetry: Telemetry, change: Change) -> None:
    event = Event.LOG_HALTED if change.halted else Event.LOG_RESUMED
    telemetry.log.error(event, reason=change.kind, kind=change.source)


def _settle_tombstones(telemetry: Telemetry, gateway: Gateway) -> None:
    """Carry out again what a restored backup brought back, before anything is listened for; later the worker does."""
    gateway.on_replayed = lambda: telemetry.log.warning(Event.TOMBSTONES_REPLAYED)
    tombstones.settle(gateway)


def _look_for_lost_key(telemetry: Telemetry, gateway: Gateway) -> None:
    """Say at the start that what needs the gateway's own key is refused; everything else is served."""
    with gateway.look() as work:
        if own_key.status(work).state is OwnKeyState.LOST:
            telemetry.log.error(Event.OWN_KEY_LOST)


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
