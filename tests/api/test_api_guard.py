"""The guard in front of the framework: a corpus of bombs driven over ASGI in process, and its exactness as laws."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.api import bodies, guard
from consent_gateway.api.bodies import parse_model
from consent_gateway.api.guard import BodyGuard, BodyLimits, check_json_document, check_rows, guarded
from consent_gateway.errors import ErasedError, InputError

MIB = 1_048_576
JSON = [(b"content-type", b"application/json")]
LAWS = settings(derandomize=True, deadline=None, max_examples=300)


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: int = 0  # messages that were read from the client
    reached: bytes | None = None  # what the application got

    @property
    def problem(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.problem["errors"][0]["code"] if self.problem["errors"] else self.problem["code"]


def call(
    chunks: Iterable[bytes] = (b"",),
    *,
    method: str = "POST",
    path: str = "/v1/decisions",
    headers: Iterable[tuple[bytes, bytes]] = JSON,
    query: bytes = b"",
    limits: BodyLimits | None = None,
    wrap: Callable[..., Any] = guarded,
    fail: Exception | None = None,
    leave: bool = False,
    stall: bool = False,
) -> Reply:
    """Drive one request; `chunks` may be endless."""
    reply = Reply()
    source = iter(chunks)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        reply.reached = body
        if fail:
            raise fail
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    following = [next(source, b"")]

    async def receive() -> dict[str, Any]:
        reply.asked += 1
        if leave and reply.asked == 2:
            return {"type": "http.disconnect"}
        if stall and reply.asked == 2:
            await asyncio.Event().wait()
        now, ahead = following.pop(), next(source, None)
        following.append(ahead or b"")
        return {"type": "http.request", "body": now, "more_body": ahead is not None}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            reply.body += message["body"]

    scope = {
        "type": "http",
        "scheme": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": list(headers),
    }
    asyncio.run(wrap(application, limits)(scope, receive, send))
    return reply


def endless(chunk: bytes) -> Iterable[bytes]:
    while True:
        yield chunk


def members(count: int) -> bytes:
    return b"{" + b",".join(b'"k%d":1' % number for number in range(count)) + b"}"


def length(number: object) -> list[tuple[bytes, bytes]]:
    return [*JSON, (b"content-length", str(number).encode())]


BATCH = "/v1/consents"
ROWS = "/v1/imports/events"
NDJSON = [(b"content-type", b"application/x-ndjson")]
BOMBS: dict[str, tuple[bytes, str, list[tuple[bytes, bytes]], int, str]] = {
    "10,000 arrays deep": (b"[" * 10_000, "/v1/decisions", JSON, 400, "too_deep"),
    "10,000 deep and closed": (b"[" * 10_000 + b"]" * 10_000, "/v1/decisions", JSON, 400, "too_deep"),
    "objects deep": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "/v1/decisions", JSON, 400, "too_deep"),
    "33 deep": (b"[" * 33 + b"]" * 33, "/v1/decisions", JSON, 400, "too_deep"),
    "5 MiB of open brackets": (b"[" * (5 * MIB), BATCH, JSON, 413, "too_many_values"),
    "5 MiB of empty arrays": (b"[" + b"[]," * 1_700_000 + b"1]", BATCH, JSON, 413, "too_many_values"),
    "5 MiB of small numbers": (b"[" + b"1," * 2_600_000 + b"1]", BATCH, JSON, 413, "too_many_values"),
    "400,000 keys": (members(400_000), BATCH, JSON, 413, "too_many_values"),
    "strings full of brackets": (b"[" + b'"[",' * 1_300_000 + b"1]", BATCH, JSON, 413, "too_many_values"),
    "5 MiB of quotes": (b'"' * (5 * MIB), BATCH, JSON, 400, "not_json"),
    "an escape at every byte": (b'["' + b"\\" * (5 * MIB - 10) + b'"]x', BATCH, JSON, 400, "not_json"),
    "duplicate key": (b'{"a":1,"a":2}', "/v1/decisions", JSON, 400, "duplicate_key"),
    "duplicate key by escape": (b'{"a":1,"\\u0061":2}', "/v1/decisions", JSON, 400, "duplicate_key"),
    "duplicate key in depth": (b'{"x":[{"y":{"b":1,"c":2,"b":1}}]}', "/v1/decisions", JSON, 400, "duplicate_key"),
    "NaN": (b'{"a":NaN}', "/v1/decisions", JSON, 400, "not_json"),
    "Infinity": (b"[-Infinity]", "/v1/decisions", JSON, 400, "not_json"),
    "a number that overflows": (b"[1e999]", "/v1/decisions", JSON, 400, "not_json"),
    "5,000 digits": (b"[" + b"9" * 5_000 + b"]", "/v1/decisions", JSON, 400, "not_json"),
    "lone high surrogate": (b'{"a":"\\uD800"}', "/v1/decisions", JSON, 400, "not_json"),
    "lone high surrogate in text": (b'{"a":"\\uD800 and more text"}', "/v1/decisions", JSON, 400, "not_json"),
    "lone low surrogate": (b'{"\\udc00":1}', "/v1/decisions", JSON, 400, "not_json"),
    "invalid UTF-8": (b'{"a":"\xff"}', "/v1/decisions", JSON, 400, "not_utf8"),
    "overlong UTF-8": (b'{"a":"\xc0\xaf"}', "/v1/decisions", JSON, 400, "not_utf8"),
    "surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "/v1/decisions", JSON, 400, "not_utf8"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "/v1/decisions", JSON, 400, "not_utf8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "/v1/decisions", JSON, 400, "not_json"),
    "two values": (b"{} {}", "/v1/decisions", JSON, 400, "not_json"),
    "trailing comma": (b'{"a":1,}', "/v1/decisions", JSON, 400, "not_json"),
    "single quotes": (b"{'a':1}", "/v1/decisions", JSON, 400, "not_json"),
    "control character": (b'{"a":"\x00"}', "/v1/decisions", JSON, 400, "not_json"),
    "cut off": (b'{"a":', "/v1/decisions", JSON, 400, "not_json"),
    "white space alone": (b" " * 60_000, "/v1/decisions", JSON, 400, "not_json"),
    "no content type": (b"{}", "/v1/decisions", [], 415, "unsupported_media_type"),
    "XML": (b"<a/>", "/v1/decisions", [(b"content-type", b"application/xml")], 415, "unsupported_media_type"),
    "form": (
        b"a=1",
        "/v1/decisions",
        [(b"content-type", b"application/x-www-form-urlencoded")],
        415,
        "unsupported_media_type",
    ),
    "text": (b"{}", "/v1/decisions", [(b"content-type", b"text/plain")], 415, "unsupported_media_type"),
    "another charset": (
        b"{}",
        "/v1/decisions",
        [(b"content-type", b"application/json; charset=latin1")],
        415,
        "unsupported_media_type",
    ),
    "JSON to an import": (b"{}", ROWS, JSON, 415, "unsupported_media_type"),
    "rows to a JSON route": (b"{}", BATCH, NDJSON, 415, "unsupported_media_type"),
    "compressed": (
        gzip.compress(b"{}"),
        "/v1/decisions",
        [*JSON, (b"content-encoding", b"gzip")],
        415,
        "unsupported_media_type",
    ),
    "over the limit": (b'"' + b"a" * 65_535 + b'"', "/v1/decisions", JSON, 413, "too_large"),
    "over the batch limit": (b'"' + b"a" * (5 * MIB) + b'"', BATCH, JSON, 413, "too_large"),
    "lookup is no batch": (b'"' + b"a" * 100_000 + b'"', "/v1/subjects/lookup", JSON, 413, "too_large"),
    "announced 1 GB": (b"{}", BATCH, length(1_000_000_000), 413, "too_large"),
    "announced nonsense": (b"{}", BATCH, length("many"), 400, "invalid_input"),
    "announced less than nothing": (b"{}", BATCH, length(-1), 400, "invalid_input"),
    "announced astronomically": (b"{}", BATCH, length("9" * 5_000), 400, "invalid_input"),
    "rows with NUL": (b'{"a":1}\n\x00', ROWS, NDJSON, 400, "nul_byte"),
    "rows that are not UTF-8": (b"a,b\n\xe9,1\n", ROWS, [(b"content-type", b"text/csv")], 400, "not_utf8"),
    "one long row": (b"a\n" + b"x" * (MIB + 1), ROWS, NDJSON, 400, "line_too_long"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_with_a_problem_in_time(name: str) -> None:
    body, path, headers, status, code = BOMBS[name]
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    reply = call([body], path=path, headers=headers)
    spent = time.process_time() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (reply.status, reply.code) == (status, code)
    assert reply.reached is None
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.problem["request_id"] in reply.problem["instance"]
    assert spent < 0.2, "seconds of CPU"
    assert grown < 50, "MiB"


def test_an_announced_gigabyte_is_not_read() -> None:
    assert call(endless(b"x"), headers=length(1_000_000_000), path=BATCH).asked == 0


def test_an_endless_line_stops_at_the_limit() -> None:
    reply = call(endless(b"x" * 65_536), path=ROWS, headers=NDJSON)
    assert (reply.status, reply.asked) == (413, 81)
    assert reply.headers["connection"] == "close"


def test_an_endless_drip_of_bytes_stops_at_the_limit() -> None:
    assert call(endless(b"xy"), limits=BodyLimits(default_bytes=1_000)).asked == 501


def test_a_body_that_never_ends_is_given_up() -> None:
    reply = call([b"{", b"}"], stall=True, limits=BodyLimits(read_timeout_seconds=0.01))
    assert (reply.status, reply.code) == (400, "malformed_body")


def test_a_client_that_leaves_reaches_nobody() -> None:
    reply = call([b"{", b'"a":', b"1}"], leave=True)
    assert (reply.status, reply.reached) == (0, None)


@pytest.mark.parametrize(
    ("body", "path", "headers"),
    [
        (b'{"a":[{"b":"x"},{"b":"\\u00e9\\ud83d\\ude00"}],"c":-1.5e3}', "/v1/decisions", JSON),
        (b"[" * 32 + b"]" * 32, "/v1/decisions", JSON),
        (
            '{"name":"Zoë 中文","q":"\\"[{:,\\\\"}'.encode(),
            "/v1/decisions",
            [(b"content-type", b"application/json; charset=UTF-8")],
        ),
        (b'"' + b"a" * 65_534 + b'"', "/v1/decisions", JSON),
        (b'"' + b"a" * (5 * MIB - 2) + b'"', BATCH, JSON),
        (b'"' + b"a" * 100_000 + b'"', BATCH + "/", JSON),
        (b'{"a":1}\n{"a":NaN}\n', ROWS, NDJSON),
        (b"member_no,email\n1,\n", ROWS, [(b"content-type", b"text/csv; header=present; charset=utf-8")]),
        (b"x" * MIB + b"\n" + b"y" * MIB + b"\n" + b"z" * MIB, ROWS, NDJSON),
        (b"\n" * (5 * MIB), ROWS, NDJSON),
        (b"", "/v1/subjects/p/erase", []),
    ],
)
def test_good_bodies_reach_the_application_unchanged(
    body: bytes, path: str, headers: list[tuple[bytes, bytes]]
) -> None:
    whole = call([body], path=path, headers=headers)
    pieces = call([body[at : at + 70_000] for at in range(0, len(body), 70_000)] or [b""], path=path, headers=headers)
    assert (whole.status, whole.reached == body) == (200, True)
    assert (pieces.status, pieces.reached == body) == (200, True)


@pytest.mark.parametrize("query", [b"", b"after=1&limit=2", b"name=%E4%B8%AD", b"flag", b"a[]=1"])
def test_plain_queries_pass(query: bytes) -> None:
    assert call(method="GET", query=query).status == 200


@pytest.mark.parametrize(
    ("query", "path"),
    [
        (b"limit=1&limit=2", "?limit"),
        (b"limit=1&lim%69t=2", "?limit"),
        (b"alice%40example.org=1&alice%40example.org=1", "??"),
        (b"a=%FF", "?"),
        (b"a=\xff", "?"),
        (b"&".join(b"a%d=1" % number for number in range(70)), "?"),
    ],
)
def test_ambiguous_queries_are_refused(query: bytes, path: str) -> None:
    reply = call(method="GET", query=query)
    assert (reply.status, reply.problem["errors"][0]["path"]) == (400, path)
    assert "alice" not in reply.body.decode()


@pytest.mark.parametrize("headers", [length(2), [(b"transfer-encoding", b"chunked")]])
def test_get_takes_no_body(headers: list[tuple[bytes, bytes]]) -> None:
    reply = call([b"{}"], method="GET", headers=headers)
    assert (reply.status, reply.asked) == (400, 0)
    assert call(method="GET", headers=length(0)).status == 200


def test_every_reply_carries_the_security_headers() -> None:
    for reply in (
        call([b"{}"]),
        call([b"{"]),
        call([b"{}"], fail=RuntimeError("x")),
        call(method="GET", path="/docs"),
    ):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["cache-control"] == "no-store"


def test_an_application_may_cache_and_style_outside_of_v1_only() -> None:
    def dress(path: str, scheme: str = "http") -> dict[bytes, bytes]:
        own = [(b"Cache-Control", b"max-age=9"), (b"content-security-policy", b"x")]
        return dict(guard._dress(own, private=guard.is_private(path), tls=scheme == "https"))

    assert dress("/v1/decisions")[b"cache-control"] == b"no-store"
    assert dress("/tile/0/000")[b"Cache-Control"] == b"max-age=9"
    assert dress("/docs")[b"content-security-policy"] == b"x"
    assert b"strict-transport-security" in dress("/docs", "https")


def test_no_exception_passes_the_last_resort() -> None:
    reply = call([b"{}"], fail=RuntimeError("alice@example.org"))
    assert (reply.status, reply.problem["code"]) == (500, "internal_error")
    assert "alice" not in reply.body.decode()
    assert call([b"{}"], fail=ErasedError()).problem["code"] == "erased"


class Wish(pydantic.BaseModel):
    active: bool
    at: datetime


@pytest.mark.parametrize("value", ['"yes"', "1", '"1"', "null", "[]", '"true"', "0.0"])
def test_garbage_does_not_become_consent(value: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_model(Wish, b'{"active":%s,"at":"2026-01-31T12:00:00Z"}' % value.encode())
    assert [problem.path for problem in caught.value.fields] == ["$.active"]


def test_true_and_an_instant_are_read() -> None:
    wish = parse_model(Wish, b'{"active":true,"at":"2026-01-31T12:00:00Z"}')
    assert (wish.active, wish.at) == (True, datetime(2026, 1, 31, 12, tzinfo=UTC))


def test_a_duplicate_is_named_only_if_it_is_a_plain_name() -> None:
    plain = check_json_document(b'{"email":1,"email":2}')
    telling = check_json_document(b'{"alice@example.org":1,"alice@example.org":2}')
    assert plain is not None
    assert plain.path == "$..email"
    assert telling is not None
    assert telling.path == "$..?"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@LAWS
@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_text_without_flaw_passes(value: object, ascii_only: object, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=bool(ascii_only), indent=indent)
    assert check_json_document(text.encode()) is None


@LAWS
@given(st.lists(st.tuples(st.text(alphabet='ab"\\{}[]:,é', max_size=3), JSON_VALUES), max_size=6), st.booleans())
def test_duplicates_are_found_exactly(pairs: list[tuple[str, object]], nested: object) -> None:
    text = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"
    problem = check_json_document((f'[1,{{"x":{text}}}]' if nested else text).encode())
    unique = len({name for name, _ in pairs}) == len(pairs)
    assert (problem is None) == unique
    assert problem is None or problem.code == "duplicate_key"


@LAWS
@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:\\ue0189.-tfn \n', max_size=40).map(str.encode))
def test_nothing_passes_that_a_strict_parser_refuses(text: bytes) -> None:
    def refuse(_: str) -> None:
        raise ValueError

    if check_json_document(text) is None:
        json.loads(text.decode("utf-8"), parse_constant=refuse)


def depth_of(text: str) -> int:
    """Walk a text one character at a time: the plain reference of the byte-level passes."""
    deepest = now = 0
    inside = escaped = False
    for letter in text:
        if inside:
            inside, escaped = escaped or letter != '"', letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        elif letter in "[{":
            now += 1
            deepest = max(deepest, now)
        elif letter in "]}":
            now -= 1
    return deepest


@LAWS
@given(JSON_VALUES, st.integers(0, 6))
def test_depth_is_the_depth_of_a_plain_walk(value: object, limit: int) -> None:
    text = json.dumps(value)
    bones = bodies._skeleton(text.encode())
    assert bones is not None
    assert bodies._is_deeper(bones, limit) == (depth_of(text) > limit)


@LAWS
@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 30))
def test_the_line_limit_is_exact(lines: list[bytes], limit: int) -> None:
    body = b"\n".join(line.replace(b"\n", b"").replace(b"\x00", b"") for line in lines)
    body = body.decode("latin-1").encode("ascii", "replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "MAX_LINE_BYTES", limit)
        problem = check_rows(body)
    assert (problem is not None) == any(len(line) > limit for line in body.split(b"\n"))


@pytest.mark.parametrize(
    ("name", "fault", "bomb"),
    [
        ("_is_deeper", lambda *_: False, "10,000 deep and closed"),
        ("_is_utf8", lambda *_: True, "rows that are not UTF-8"),
        ("_encode", lambda *_: b'{"a":1,"a":1}', "duplicate key"),
        ("MAX_VALUES", 10**9, "400,000 keys"),
        ("MAX_LINE_BYTES", 10**9, "one long row"),
    ],
)
def test_a_planted_bug_lets_its_bomb_through(name: str, fault: object, bomb: str) -> None:
    """Each bomb is refused by the check that is meant for it: without that check the corpus goes red."""
    body, path, headers, _, code = BOMBS[bomb]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, name, fault)
        reply = call([body], path=path, headers=headers)
    assert reply.status == 200 or reply.code != code


def test_a_guard_without_its_limit_reads_on() -> None:
    """The endless stream above is stopped by the limit, not by the test's own end."""
    chunks = [b" " * 65_536] * 200
    reply = call(chunks, path=ROWS, headers=NDJSON, limits=BodyLimits(batch_bytes=10**9), wrap=BodyGuard)
    assert reply.asked == 200


def test_other_protocols_pass_untouched() -> None:
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: object) -> AsyncIterator[None]:
        raise AssertionError

    asyncio.run(guarded(application)({"type": "lifespan"}, nothing, nothing))  # type: ignore[arg-type, typeddict-item]
    assert seen == ["lifespan"]
