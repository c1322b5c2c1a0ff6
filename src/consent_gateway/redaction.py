"""The gate that logs, spans and metrics pass: an allow-list of fields, each with a grammar of its own.

Theory: a block-list of personal data is never complete, so a field leaves only if it is named here and its value fits
a grammar that has no room for an e-mail address, a telephone number or free text. An exception is its class, its
catalogue code, the classes of its causes and `file:line` frames: never its text, never locals, never paths of the
machine (drivers put whole rows into exception texts).
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from consent_gateway.errors import GatewayError

REDACTED = "[redacted]"
UNNAMED = "event.unnamed"
MAX_FRAMES = 12
MAX_NUMBER = 999_999_999  # nine digits: enough for counts and µs, too few for a number with a country code

Check = Callable[[object], bool]


def grammar(pattern: str) -> Check:
    """Return a check for strings of one grammar; six digits in a row (a telephone number) never fit."""
    match = re.compile(rf"(?!.*[0-9]{{6}})(?:{pattern})\Z").match
    return lambda value: isinstance(value, str) and match(value) is not None


def _each(check: Check) -> Check:
    return lambda value: isinstance(value, (list, tuple)) and len(value) <= MAX_FRAMES and all(map(check, value))


def is_number(value: object) -> bool:
    """Check a count, a duration in µs or a switch."""
    return isinstance(value, (int, float)) and -MAX_NUMBER <= value <= MAX_NUMBER


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z").match
is_slug = grammar(r"[a-z][a-z0-9_.:\-]{0,63}")
is_class_name = grammar(r"[A-Za-z_][A-Za-z0-9_.<>]{0,119}")
is_route = grammar(r"-|/[A-Za-z0-9_/{}:.\-]{0,119}")
is_method = grammar(r"[A-Z]{3,7}")
_FIELDS: Mapping[str, Check] = {
    "request_id": lambda value: isinstance(value, str) and _UUID(value) is not None,
    "method": is_method,
    "route": is_route,
    "error": is_class_name,
    "causes": _each(is_class_name),
    "stack": _each(grammar(r"[A-Za-z0-9_./\-<>]{1,160}:[0-9]{1,5}")),
    "logger": is_class_name,
    "version": grammar(r"[0-9][0-9a-z.+\-]{0,31}"),
    **dict.fromkeys(("code", "outcome", "reason", "kind", "job", "dialect", "environment", "scope"), is_slug),
    **dict.fromkeys(("purpose", "channel", "recipient", "source", "pack"), is_slug),
    **dict.fromkeys(("status", "duration_us", "port", "count", "size", "received", "accepted"), is_number),
    **dict.fromkeys(("duplicates", "rejected", "pending", "entries", "attempt", "dropped"), is_number),
}


def safe_fields(given: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of `given` that may leave: unknown ones are counted in `dropped`, misfits are redacted."""
    safe: dict[str, object] = {}
    dropped = 0
    for name, value in given.items():
        check = _FIELDS.get(name)
        if check is None:
            dropped += 1
        else:
            safe[name] = value if value is None or check(value) else REDACTED
    if dropped:
        safe["dropped"] = dropped
    return safe


def exception_of(value: object) -> BaseException | None:
    """Return the exception that `exc_info` means in the ways of structlog and logging: itself, a triple, or true."""
    if isinstance(value, BaseException):
        return value
    if isinstance(value, tuple):
        return value[1] if isinstance(value[1], BaseException) else None
    return sys.exc_info()[1] if value else None


def describe_exception(error: BaseException) -> dict[str, object]:
    """Return class, catalogue code, classes of the causes and frames (innermost last) of `error`, and no text."""
    fields: dict[str, object] = {"error": class_name(error), "stack": _frames(error.__traceback__)}
    if isinstance(error, GatewayError):
        fields["code"] = error.code
    if causes := [class_name(cause) for cause in _causes(error)]:
        fields["causes"] = causes
    return fields


def class_name(error: BaseException) -> str:
    """Return the qualified name of the class of `error`; built-in ones without their module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what led to `error`, at most `MAX_FRAMES` of it (chains may be circular)."""
    for _ in range(MAX_FRAMES):
        cause = error.__cause__ or error.__context__
        if cause is None:
            return
        yield cause
        error = cause


def _frames(trace_back: TracebackType | None) -> list[str]:
    """Return the innermost frames as `module/file.py:line`; paths of the machine are cut off."""
    frames = [f"{_short(frame.f_code.co_filename)}:{line}" for frame, line in traceback.walk_tb(trace_back)]
    return frames[-MAX_FRAMES:]


def _short(path: str) -> str:
    for root in ("/site-packages/", "/src/"):
        if root in path:
            return path.rpartition(root)[2]
    return path.rpartition("/")[2]


class SafeExporter(SpanExporter):
    """Stands in front of the real exporter and passes on names, allowed attributes and the bare status alone."""

    _ATTRIBUTES: Mapping[str, Check] = {
        "http.request.method": is_method,
        "http.route": is_route,
        "http.response.status_code": is_number,
        "error.type": is_class_name,
        "cg.outcome": is_slug,
        "cg.reason": is_slug,
        "cg.count": is_number,
    }
    _name = staticmethod(grammar(r"[A-Z]{3,7} (-|/[A-Za-z0-9_/{}:.\-]{0,119})|[a-z][a-z0-9_.]{0,63}"))

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export cleaned copies; events (exception texts) and links (foreign state) are left behind."""
        return self._exporter.export([self._clean(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the real exporter down."""
        self._exporter.shutdown()

    def _clean(self, span: ReadableSpan) -> ReadableSpan:
        kept = {
            key: value
            for key, value in (span.attributes or {}).items()
            if key in self._ATTRIBUTES and self._ATTRIBUTES[key](value)
        }
        return ReadableSpan(
            name=span.name if self._name(span.name) else UNNAMED,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=kept,
            kind=span.kind,
            status=trace.Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
