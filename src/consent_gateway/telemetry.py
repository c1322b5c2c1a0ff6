"""Logs, spans and metrics that personal data cannot reach (promise P7).

Theory: a log line is one event out of `Event` and fields that pass the allow-list of `redaction`; what is not listed
is dropped and counted, what breaks its grammar becomes `[redacted]`. Spans and metrics pass the same gate in front of
any exporter. Library loggers keep name, level and exception class, and lose their message. Invariants:

- nothing happens at import; everything hangs on one `Telemetry`, built and shut down by the composition root;
- one line per request; a request costs a span only if it is sampled; never a raw path, query or client address.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, BinaryIO

import msgspec
import structlog
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
)

from consent_gateway.clock import Clock, system_clock
from consent_gateway.redaction import (
    REDACTED,
    SafeExporter,
    describe_exception,
    exception_of,
    is_slug,
    safe_fields,
)

Headers = Sequence[tuple[bytes, bytes]]


class Event(StrEnum):
    """Every event that the gateway logs; names are stable, operators alert on them."""

    STARTED = "gateway.started"
    STOPPED = "gateway.stopped"
    REQUEST = "http.request"
    FAILED = "http.failed"  # a failure of the catalogue with a status of 5xx
    UNHANDLED = "http.unhandled"  # a bug
    AUTHENTICATION_FAILED = "auth.failed"
    PERMISSION_DENIED = "auth.denied"
    IMPORTED = "import.done"
    AUDIENCE_RESOLVED = "audience.resolved"
    SUBJECT_ERASED = "subject.erased"
    TOMBSTONES_REPLAYED = "tombstones.replayed"  # the store was a restored backup
    TOMBSTONES_FAILED = "tombstones.failed"  # the tombstone file cannot be written: erasures wait
    SUBJECTS_MERGED = "subjects.merged"
    SUBJECTS_UNMERGED = "subjects.unmerged"
    REVEALED = "reveal.made"
    CANARY_READ = "canary.read"  # somebody asked for a made-up person: an alarm
    AUDIT_FAILED = "audit.failed"
    LOG_HALTED = "log.halted"  # the log does not stand: nothing is written; `reason` says why, `kind` who found it
    LOG_RESUMED = "log.resumed"  # what was found is gone
    LOG_COPY_FAILED = "log.copy_failed"  # a checkpoint outside of the store cannot be kept up
    LOG_CHECK_FAILED = "log.check_failed"  # the log could not be checked
    KEYS_FAILED = "keys.failed"  # the keyring could not be followed or renewed; nothing new is made until it is
    OWN_KEY_LOST = "keys.own_lost"  # the store is a backup from before a destroyed key epoch: two people renew it
    KEYRING_UNSEALED = "keyring.unsealed"
    LIBRARY = "library.message"
    UNNAMED = "event.unnamed"  # a caller passed text instead of an event; the text is gone


_EVENTS = frozenset(Event)


class _LibraryHandler(logging.Handler):
    """Takes what libraries log and keeps logger, level and exception class: messages may quote rows and values."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one library record without its text."""
        self._log.log(record.levelno, Event.LIBRARY, logger=record.name, exc_info=record.exc_info)


class Telemetry:
    """Logger, tracer and meter of one process; `shutdown` flushes them. Thread-safe."""

    def __init__(
        self,
        *,
        level: str = "info",
        exporter: str = "none",
        sample_ratio: float = 0.01,
        trust_traceparent: bool = False,
        stream: BinaryIO | None = None,
        clock: Clock = system_clock,
        span_exporter: SpanExporter | None = None,
        metric_reader: MetricReader | None = None,
    ) -> None:
        """Build it; `exporter` is `none` or `console` (standard error), the last two arguments replace it.

        `sample_ratio` (0 to 1) is the share of requests with a span; log lines go to `stream`, else standard output.
        """
        if exporter == "console":
            span_exporter = span_exporter or ConsoleSpanExporter(out=sys.stderr)
            metric_reader = metric_reader or PeriodicExportingMetricReader(ConsoleMetricExporter(out=sys.stderr))
        self._clock = clock
        self._threshold = int(sample_ratio * 2**32) if span_exporter else 0
        self._trust = trust_traceparent
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self.logs_requests = self._level <= logging.INFO
        self.log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            structlog.BytesLogger(stream or sys.stdout.buffer),
            processors=[self._line],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            context_class=dict,
        ).bind()
        resource = Resource({"service.name": "consent-gateway"})  # not Resource.create: it adds host and command line
        self._tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
        if span_exporter:
            kind = BatchSpanProcessor if exporter == "console" else SimpleSpanProcessor
            self._tracing.add_span_processor(kind(SafeExporter(span_exporter)))
        self._tracer = self._tracing.get_tracer("consent_gateway")
        self._metering = MeterProvider(
            [metric_reader] if metric_reader else [],
            resource=resource,
            exemplar_filter=AlwaysOffExemplarFilter(),  # exemplars would carry the attributes that a view removed
            shutdown_on_exit=False,
            views=[
                View(instrument_name="*", attribute_keys={"method", "route", "status", "outcome", "reason", "target"})
            ],
        )
        self._measures = metric_reader is not None
        self._meter = self._metering.get_meter("consent_gateway")
        self._duration = self._meter.create_histogram("http.server.request.duration", unit="s")
        self._decisions = self._meter.create_counter("gateway.decisions", unit="{decision}")
        self._reveals = self._meter.create_counter("gateway.reveals", unit="{person}")
        self._canaries = self._meter.create_counter("gateway.canaries.read", unit="{person}")

    def _line(self, _: object, level: str, fields: MutableMapping[str, Any]) -> bytes:
        """Turn one call into one line of JSON; the only way out for log fields."""
        event = fields.pop("event")
        failure = exception_of(fields.pop("exc_info", None))
        line: dict[str, object] = {
            "at": self._clock().isoformat(timespec="milliseconds"),
            "level": level,
            "event": event if event in _EVENTS else Event.UNNAMED,
        }
        if failure is not None:
            fields.update(describe_exception(failure))
        return msgspec.json.encode(line | safe_fields(fields))

    def request_span(self, method: str, request: str, headers: Headers) -> trace.Span | None:
        """Start the span of a request if it is sampled: by its random id, or by a trusted caller's W3C flag."""
        if not self._threshold:
            return None
        parent = _remote_parent(dict(headers).get(b"traceparent", b"")) if self._trust else None
        if parent is None and int(request[:8], 16) >= self._threshold:
            return None
        return self._tracer.start_span(method, context=parent, kind=trace.SpanKind.SERVER)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time a part of a sampled request as a child span named `name` (`ring.verb`); costs 1 µs otherwise."""
        if not trace.get_current_span().is_recording():
            yield
            return
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False):
            yield

    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record the duration of one request; `route` is the template."""
        if self._measures:
            self._duration.record(seconds, {"method": method, "route": route, "status": status})

    def decided(self, outcome: str, reason: str, count: int = 1) -> None:
        """Count decisions by outcome and reason code."""
        if self._measures:
            self._decisions.add(count, {"outcome": outcome, "reason": reason if is_slug(reason) else REDACTED})

    def revealed(self, outcome: str, count: int = 1) -> None:
        """Count people that somebody asked to have revealed, by outcome."""
        if self._measures:
            self._reveals.add(count, {"outcome": outcome})

    def canary_read(self, request: str, count: int) -> None:
        """Raise the alarm that somebody asked for made-up people: a line of level error and a metric."""
        self.log.error(Event.CANARY_READ, request_id=request, count=count)
        if self._measures:
            self._canaries.add(count)

    def watch_audit_pending(self, read: Callable[[], int]) -> None:
        """Export what `read` returns (entries that wait for the sequencer) as a gauge, read at each collection."""
        self._meter.create_observable_gauge(
            "gateway.audit.pending", callbacks=[lambda _: [metrics.Observation(read())]], unit="{entry}"
        )

    def watch_log(self, halted: Callable[[], bool], lags: Callable[[], Mapping[str, int]]) -> None:
        """Export whether the log is halted (0 or 1), and how many entries each kept checkpoint is behind."""
        self._meter.create_observable_gauge(
            "gateway.log.halted", callbacks=[lambda _: [metrics.Observation(int(halted()))]]
        )
        self._meter.create_observable_gauge(
            "gateway.log.copy.lag",
            callbacks=[lambda _: [metrics.Observation(lag, {"target": name}) for name, lag in lags().items()]],
            unit="{entry}",
        )

    def capture_library_logs(self) -> Callable[[], None]:
        """Take over the root logger, so that no library writes text by itself; return what restores it."""
        root = logging.getLogger()
        before, level = root.handlers[:], root.level
        root.handlers[:] = [_LibraryHandler(self.log)]
        root.setLevel(max(self._level, logging.WARNING))

        def restore() -> None:
            root.handlers[:] = before
            root.setLevel(level)

        return restore

    def shutdown(self) -> None:
        """Flush and stop the exporters."""
        self._tracing.shutdown()
        self._metering.shutdown()


_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-01\Z")


def _remote_parent(traceparent: bytes) -> Context | None:
    """Return the caller's trace if it is sampled (W3C Trace Context level 1); tracestate is not taken over."""
    match = _TRACEPARENT.match(traceparent)
    if match is None:
        return None
    ids = int(match.group(1), 16), int(match.group(2), 16)
    context = trace.SpanContext(*ids, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    return trace.set_span_in_context(trace.NonRecordingSpan(context)) if context.is_valid else None
