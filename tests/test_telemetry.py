"""Telemetry: what leaves the process, and above all what does not (promise P7)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, get, post
from litestar.params import FromPath, JSONBody
from litestar.testing import TestClient
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from consent_gateway import access, redaction, telemetry
from consent_gateway.access import AccessMiddleware, new_request_id
from consent_gateway.api import problems
from consent_gateway.api.guard import guarded
from consent_gateway.clock import FixedClock
from consent_gateway.errors import StoreError
from consent_gateway.redaction import REDACTED, describe_exception, safe_fields
from consent_gateway.telemetry import Event, Telemetry

NOON = FixedClock(datetime(2026, 1, 31, 12, tzinfo=UTC))
PEOPLE = [
    (
        f"Canary{number} Quetzal{number}",
        f"canary{number}.q@example.org",
        f"+49151{number:08d}",
        f"1984-02-{number % 28 + 1:02d}",
    )
    for number in range(100)
]
CANARIES = [
    part
    for person in PEOPLE
    for part in (person[0], person[0].split()[1], person[1], person[2], person[2][1:], person[3])
]
LAWS = settings(derandomize=True, deadline=None, max_examples=300)


class Bench:
    """One telemetry with everything it writes in memory."""

    def __init__(self, **options: Any) -> None:
        self.out = io.BytesIO()
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        chosen = {"sample_ratio": 1.0, "span_exporter": self.spans, "metric_reader": self.reader} | options
        self.telemetry = Telemetry(stream=self.out, clock=NOON, **chosen)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def everything(self) -> str:
        data = self.reader.get_metrics_data()
        spans = "".join(span.to_json() for span in self.spans.get_finished_spans())
        return self.out.getvalue().decode() + spans + (data.to_json() if data else "")


@post("/v1/people", status_code=200)
async def people(data: JSONBody[dict[str, str]]) -> str:
    return data["name"]


@get("/v1/people/{person:str}")
async def person(person: FromPath[str]) -> str:
    try:
        {}[person]
    except KeyError as error:
        raise RuntimeError(f"no row for {person}") from error


@get("/v1/store/{person:str}")
async def store(person: FromPath[str]) -> str:
    raise StoreError("The store is busy.") from RuntimeError(f"Key (email)=({person}) already exists.")


def service(bench: Bench, routes: frozenset[str] = frozenset()) -> Any:
    app = Litestar([people, person, store], exception_handlers=problems.exception_handlers(), logging_config=None)
    return AccessMiddleware(guarded(app), bench.telemetry, routes)


def drive(bench: Bench, requests: list[tuple[str, str, dict[str, Any]]]) -> list[Any]:
    with TestClient(service(bench), raise_server_exceptions=False) as client:
        return [client.request(method, path, **arguments) for method, path, arguments in requests]


def requests_of(name: str, email: str, phone: str, birth: str) -> list[tuple[str, str, dict[str, Any]]]:
    body = {"name": name, "email": email, "phone": phone, "birth": birth}
    agent = {
        "user-agent": name,
        "x-forwarded-for": phone.strip("+"),
        "traceparent": email,
        "tracestate": f"a={phone}",
    }
    return [
        ("POST", "/v1/people", {"json": body, "headers": {"user-agent": email}}),
        ("POST", "/v1/people", {"json": {"nam": name}, "params": {"q": email}}),
        (
            "POST",
            "/v1/people",
            {"content": f'{{"{email}":1,"{email}":2}}', "headers": {"content-type": "application/json"}},
        ),
        ("GET", f"/v1/people/{email}", {"headers": agent}),
        ("GET", f"/v1/people/{phone}", {}),
        ("GET", f"/v1/store/{name}", {}),
        ("GET", f"/v1/{email}/{birth}", {}),
        ("DELETE", f"/v1/people/{email}", {"params": {"phone": phone}}),
        ("GET", "/v1/people/x", {"params": [("e", email), ("e", phone)]}),
    ]


def hits(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def test_a_hundred_people_leave_no_trace() -> None:
    bench = Bench()
    restore = bench.telemetry.capture_library_logs()
    try:
        replies = drive(bench, [request for canary in PEOPLE for request in requests_of(*canary)])
    finally:
        restore()
    for name, email, phone, birth in PEOPLE:
        secret = f"{name} {email} {phone} {birth}"
        bench.telemetry.log.info(Event.IMPORTED, email=email, name=name, source=phone, kind=email, count=int(phone))
        bench.telemetry.log.error(secret, exc_info=ValueError(secret), reason=birth, pack=name)
        bench.telemetry.log.info("%s wrote", name)
        bench.telemetry.decided("permit", email)
    assert len(bench.lines) > 9 * len(PEOPLE)
    assert len(bench.spans.get_finished_spans()) == 9 * len(PEOPLE)
    assert {reply.status_code for reply in replies} == {200, 400, 404, 405, 500, 503}
    assert hits(bench.everything()) == []
    assert hits("".join(reply.text for reply in replies if reply.status_code != 200)) == []


@pytest.mark.parametrize("leak", ["fields", "exception", "span"])
def test_a_gate_left_open_is_noticed(leak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gate in turn is opened; the canary test must go red."""
    if leak == "fields":
        monkeypatch.setattr(telemetry, "safe_fields", dict)
    elif leak == "exception":
        monkeypatch.setattr(telemetry, "describe_exception", lambda error: {"error": "E", "code": str(error)})
        monkeypatch.setattr(telemetry, "safe_fields", dict)
    else:
        monkeypatch.setattr(redaction.SafeExporter, "_clean", lambda _, span: span)
    bench = Bench()
    with trace.use_span(bench.telemetry._tracer.start_span(PEOPLE[0][0]), end_on_exit=True):
        bench.telemetry.log.info(Event.IMPORTED, email=PEOPLE[0][1])
        bench.telemetry.log.error(Event.AUDIT_FAILED, exc_info=ValueError(PEOPLE[0][2]))
    assert hits(bench.everything()) != []


def test_one_line_per_request_with_the_template_and_the_id() -> None:
    bench = Bench()
    good, bad = drive(bench, [("POST", "/v1/people", {"json": {"name": "x"}}), ("GET", "/v1/people/alice", {})])
    first, unhandled, second = bench.lines
    assert first == {
        "at": "2026-01-31T12:00:00.000+00:00",
        "level": "info",
        "event": "http.request",
        "request_id": good.headers["x-request-id"],
        "method": "POST",
        "route": "/v1/people",
        "status": 200,
        "duration_us": first["duration_us"],
    }
    assert second["route"] == "/v1/people/{person}"
    assert second["request_id"] == unhandled["request_id"] == bad.json()["request_id"] == bad.headers["x-request-id"]
    assert (unhandled["event"], unhandled["level"], unhandled["error"]) == ("http.unhandled", "error", "RuntimeError")
    assert unhandled["causes"] == ["KeyError"]
    assert unhandled["stack"][-1].startswith("test_telemetry.py:")
    assert all(":" in frame and not frame.startswith("/") for frame in unhandled["stack"])


def test_requests_refused_before_routing_show_only_known_paths() -> None:
    bench = Bench()
    with TestClient(service(bench, frozenset({"/v1/people"}))) as client:
        client.post("/v1/people", content="{", headers={"content-type": "application/json"})
        client.get("/v1/nothing/alice")
    assert [line["route"] for line in bench.lines] == ["/v1/people", "-"]


def test_a_higher_level_leaves_failures_alone() -> None:
    bench = Bench(level="warning")
    drive(bench, [("POST", "/v1/people", {"json": {"name": "x"}}), ("GET", "/v1/people/alice", {})])
    assert [line["event"] for line in bench.lines] == ["http.unhandled"]


def test_a_failure_of_the_catalogue_is_no_bug() -> None:
    bench = Bench(level="warning")
    drive(bench, [("GET", "/v1/store/alice", {})])
    (line,) = bench.lines
    assert (line["event"], line["code"], line["status"]) == ("http.failed", "store_unavailable", 503)
    assert line["causes"] == ["RuntimeError"]


def test_an_exception_beyond_all_layers_is_logged_and_goes_on() -> None:
    bench = Bench()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("alice")

    async def nothing(*_: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "BREW", "path": "/alice", "headers": []}
    with pytest.raises(LookupError):
        asyncio.run(AccessMiddleware(broken, bench.telemetry)(scope, nothing, nothing))
    assert [(line["event"], line["method"], line["status"]) for line in bench.lines] == [
        ("http.unhandled", "OTHER", 500),
        ("http.request", "OTHER", 500),
    ]
    assert "alice" not in bench.everything()


def test_spans_are_named_by_method_and_template() -> None:
    bench = Bench()
    drive(bench, [("GET", "/v1/people/alice", {})])
    (span,) = bench.spans.get_finished_spans()
    assert span.name == "GET /v1/people/{person}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/people/{person}",
        "http.response.status_code": 500,
        "error.type": "RuntimeError",
    }
    assert span.events == ()
    assert span.status.description is None
    assert set(span.resource.attributes) == {"service.name"}


def test_foreign_spans_are_cleaned_before_export() -> None:
    bench = Bench()
    span = bench.telemetry._tracer.start_span("SELECT alice")
    span.set_attributes({"db.statement": "alice", "http.route": "no route", "cg.count": 3})
    span.record_exception(ValueError("alice"))
    span.set_status(trace.StatusCode.ERROR, "alice")
    span.end()
    (exported,) = bench.spans.get_finished_spans()
    assert dict(exported.attributes or {}) == {"cg.count": 3}
    assert (exported.name, exported.events, exported.status.description) == ("event.unnamed", (), None)
    assert "alice" not in exported.to_json()


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_share_of_spans_is_the_ratio(ratio: float) -> None:
    bench = Bench(sample_ratio=ratio)
    ids = [f"{int(number * 2**32 / 400):08x}-0000-4000-a000-000000000000" for number in range(400)]
    assert sum(bench.telemetry.request_span("GET", one, []) is not None for one in ids) == 400 * ratio


def test_a_caller_s_trace_is_continued_only_if_trusted() -> None:
    headers = [(b"traceparent", b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01")]
    never = "ffffffff-0000-4000-a000-000000000000"
    assert Bench(sample_ratio=0.01).telemetry.request_span("GET", never, headers) is None
    trusting = Bench(sample_ratio=0.01, trust_traceparent=True).telemetry
    span = trusting.request_span("GET", never, headers)
    assert span is not None
    assert f"{span.get_span_context().trace_id:032x}" == "ab" * 16
    for bad in (
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"alice",
        b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-00",
    ):
        assert trusting.request_span("GET", never, [(b"traceparent", bad)]) is None


def test_child_spans_only_inside_of_a_sampled_request() -> None:
    bench = Bench()
    with bench.telemetry.span("services.decide"):
        pass
    assert bench.spans.get_finished_spans() == ()
    with (
        trace.use_span(bench.telemetry._tracer.start_span("outer"), end_on_exit=True),
        bench.telemetry.span("db.read"),
    ):
        pass
    assert [span.name for span in bench.spans.get_finished_spans()] == ["db.read", "outer"]


def test_metrics_count_by_template_and_reason() -> None:
    bench = Bench()
    bench.telemetry.watch_audit_pending(lambda: 7)
    bench.telemetry.decided("deny", "gdpr.no_consent", 3)
    bench.telemetry.decided("deny", "alice@example.org")
    drive(bench, [("GET", f"/v1/people/p{number}", {}) for number in range(5)])
    points = bench.points()
    (duration,) = points["http.server.request.duration"]
    assert duration.count == 5
    assert dict(duration.attributes) == {"method": "GET", "route": "/v1/people/{person}", "status": 500}
    assert {dict(p.attributes)["reason"]: p.value for p in points["gateway.decisions"]} == {
        "gdpr.no_consent": 3,
        REDACTED: 1,
    }
    assert points["gateway.audit.pending"][0].value == 7


def test_library_messages_lose_their_text_and_the_logger_is_given_back() -> None:
    bench = Bench()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    restore = bench.telemetry.capture_library_logs()
    logging.getLogger("psycopg.pool").warning("Key (email)=(%s) exists", "alice@example.org")
    logging.getLogger("httpx").info("GET /alice")
    try:
        int("alice")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("alice")
    restore()
    assert [(line["event"], line["logger"], line["level"], line.get("error")) for line in bench.lines] == [
        ("library.message", "psycopg.pool", "warning", None),
        ("library.message", "uvicorn.error", "error", "ValueError"),
    ]
    assert "alice" not in bench.everything()
    assert (root.handlers, root.level) == before


TEXTS = st.one_of(st.text(), st.emails(), st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True), st.dates().map(str))
VALUES = st.one_of(
    TEXTS, st.integers(), st.floats(), st.none(), st.booleans(), st.lists(TEXTS, max_size=3), st.binary()
)
NAMES = st.sampled_from(sorted(redaction._FIELDS)) | st.text(max_size=8)


@LAWS
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_whatever_is_logged_is_one_line_of_allowed_fields(fields: dict[str, Any]) -> None:
    bench = Bench()
    bench.telemetry.log.info(Event.STARTED, **{name: value for name, value in fields.items() if name != "event"})
    assert bench.out.getvalue().count(b"\n") == 1
    (line,) = bench.lines
    assert set(line) <= {"at", "level", "event", *redaction._FIELDS}


@LAWS
@given(
    st.sampled_from(sorted(redaction._FIELDS.keys() - {"request_id"})),
    st.emails() | st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True),
)
def test_no_field_has_room_for_contact_data(name: str, value: str) -> None:
    assert safe_fields({name: value, "x": 1}) == {name: REDACTED, "dropped": 1}
    assert safe_fields({name: [value]}) == {name: REDACTED}
    if value.isdigit() and int(value) > redaction.MAX_NUMBER:
        assert safe_fields({name: int(value)}) == {name: REDACTED}


def test_events_are_constants() -> None:
    bench = Bench()
    bench.telemetry.log.warning("alice is here")
    bench.telemetry.log.warning(Event.KEYRING_UNSEALED)
    assert [line["event"] for line in bench.lines] == ["event.unnamed", "keyring.unsealed"]
    assert len({*Event}) == len(Event)


def test_exceptions_in_circles_end() -> None:
    first, second = ValueError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert len(describe_exception(first)["causes"]) == redaction.MAX_FRAMES  # type: ignore[arg-type]
    assert describe_exception(StoreError())["code"] == "store_unavailable"


def test_request_ids_are_uuids() -> None:
    ids = {new_request_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(uuid.UUID(one).version == 4 for one in ids)
    assert all(safe_fields({"request_id": one}) == {"request_id": one} for one in ids)


def test_the_two_modules_agree_on_the_keys_of_the_state() -> None:
    assert (access.REQUEST_ID_KEY, access.ERROR_KEY) == (problems.REQUEST_ID_KEY, problems.ERROR_KEY)


def test_the_console_exporter_writes_to_standard_error_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.BytesIO()
    console = Telemetry(exporter="console", sample_ratio=1.0, stream=out, clock=NOON)
    span = console.request_span("GET", new_request_id(), [])
    assert span is not None
    span.end()
    console.decided("permit", "ok")
    console.shutdown()
    written = capsys.readouterr()
    assert "gateway.decisions" in written.err
    assert '"name": "GET"' not in written.out
    assert written.out == ""
