"""The background jobs of one process, and what is made sure of before any of them begins.

A server runs them beside its requests, `consent-gateway worker` alone: both the same ones, so that whatever one of them
looks after (the log, the keys' time to live, what was put off) is looked after wherever there is a process.

Order at start: schema (verified), self-check of the log, tombstones, the gateway's own key, witnesses; then threads.
What a job fails with is logged under the event that operators alert on, and the job goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent_gateway.assembly import care, self_checked, witnessing_of
from consent_gateway.db.revisions import require_head
from consent_gateway.errors import TombstoneError
from consent_gateway.services.erasing import tombstones
from consent_gateway.services.log.audit_log import require_own_log
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.threads.custodian import Custodian
from consent_gateway.services.threads.key_keeper import KeyKeeper
from consent_gateway.services.threads.log_keeper import CopyTroubleError, LogKeeper
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work import own_key
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Change
from consent_gateway.services.work.own_key import OwnKeyState
from consent_gateway.settings import Settings
from consent_gateway.telemetry import Event, Telemetry


@dataclass(frozen=True, slots=True)
class Jobs:
    """The threads of one process; `check` is the self-check that was run before they began."""

    check: SelfCheck
    worker: Worker
    custodian: Custodian
    keeper: KeyKeeper
    log_keeper: LogKeeper

    def start(self) -> None:
        """Begin."""
        self.worker.start()
        self.custodian.start()
        self.keeper.start()
        self.log_keeper.start()

    def stop(self) -> None:
        """End; what is pending is integrated, and the last checkpoint brought to every copy that answers."""
        self.custodian.stop()
        self.keeper.stop()
        self.worker.stop()
        self.log_keeper.stop()


def build_jobs(settings: Settings, telemetry: Telemetry, gateway: Gateway) -> Jobs:
    """Make sure of the store, the log and who was erased, then return the jobs over the gateway; none has begun."""
    require_head(gateway.store)
    require_own_log(gateway)
    gateway.gate.on_change = lambda change: _tell_gate(telemetry, change)
    check = self_checked(settings, gateway)
    _settle_tombstones(telemetry, gateway)
    _look_for_lost_key(telemetry, gateway)
    witnessing = witnessing_of(settings, gateway)
    if witnessing is not None:
        witnessing.round()  # before anything is served: a witness may know more than the store

    def keys_failed(error: Exception) -> None:
        telemetry.log.error(Event.KEYS_FAILED, exc_info=error)

    worker = Worker(gateway, lambda error: _report(telemetry, error))
    gateway.on_recorded = worker.wake
    return Jobs(
        check,
        worker,
        Custodian(gateway.vault.custody, keys_failed),
        KeyKeeper(gateway, keys_failed),
        LogKeeper(gateway, check, care(settings), lambda error: _report_log(telemetry, error), witnessing),
    )


def build_telemetry(settings: Settings) -> Telemetry:
    """Return logs, traces and metrics as the settings want them."""
    return Telemetry(
        level=settings.log_level,
        exporter=settings.otel_exporter,
        sample_ratio=settings.otel_sample_ratio,
        trust_traceparent=settings.otel_trust_traceparent,
    )


def _report(telemetry: Telemetry, error: Exception) -> None:
    """Log what the worker failed with."""
    event = Event.TOMBSTONES_FAILED if isinstance(error, TombstoneError) else Event.AUDIT_FAILED
    telemetry.log.error(event, exc_info=error)


def _report_log(telemetry: Telemetry, error: Exception) -> None:
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
