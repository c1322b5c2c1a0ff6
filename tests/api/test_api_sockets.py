"""Below HTTP libraries: requests that two servers could read differently, and headers that lie, over a bare socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from edge import JSON, Edge, running

QUESTION = b'{"purpose":"direct_marketing","channel":"email","subject":{"member_no":"M-1"}}'
QUIET_SECONDS = 0.4
SMUGGLED = b"GET /v1/audit/checkpoint HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("sockets")) as made:
        yield made


def exchange(edge: Edge, raw: bytes, quiet: float = QUIET_SECONDS) -> bytes:
    """Send raw bytes and read until the server closes, or has had nothing to say for a while."""
    host, _, port = edge.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=quiet) as plain:
        plain.sendall(raw)
        received = b""
        try:
            while chunk := plain.recv(65_536):
                received += chunk
        except (ConnectionResetError, TimeoutError):
            pass
    return received


def request(edge: Edge, *headers: bytes, body: bytes = QUESTION, line: bytes = b"POST /v1/decisions HTTP/1.1") -> bytes:
    own = (b"Host: x", b"Authorization: Bearer " + edge.key.encode(), b"Content-Type: application/json")
    return b"\r\n".join([line, *own, *headers, b"", b""]) + body


def length(body: bytes = QUESTION) -> bytes:
    return b"Content-Length: %d" % len(body)


AMBIGUOUS = {
    "length and chunks": [length(), b"Transfer-Encoding: chunked"],
    "chunks and length": [b"Transfer-Encoding: chunked", length()],
    "two lengths": [length(), b"Content-Length: 0"],
    "a list of lengths": [b"Content-Length: 78, 0"],
    "a signed length": [b"Content-Length: +78"],
    "a negative length": [b"Content-Length: -1"],
    "a length in hex": [b"Content-Length: 0x4e"],
    "a space before the colon": [b"Content-Length : 78"],
    "an unknown coding": [b"Transfer-Encoding: chunkedx"],
    "a coding twice": [b"Transfer-Encoding: chunked, chunked"],
    "a bare line feed in a value": [length(), b"X-A: a\nTransfer-Encoding: chunked"],
    "a NUL in a value": [length(), b"X-A: a\x00b"],
    "a huge length": [b"Content-Length: 99999999999999999999999"],
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_body_of_two_readings_is_refused(edge: Edge, name: str) -> None:
    """And what follows it is never read as a request of its own."""
    reply = exchange(edge, request(edge, *AMBIGUOUS[name], body=b"0\r\n\r\n" + QUESTION + SMUGGLED))
    assert reply == b"" or reply.startswith(b"HTTP/1.1 4"), reply
    assert b"localhost/consent-gateway" not in reply
    assert edge.admin.get("/health/live").status_code == 200


def test_a_plain_request_is_answered_in_the_same_way(edge: Edge) -> None:
    """The requests above fail for what was put into them, and not for anything else."""
    reply = exchange(edge, request(edge, length(), b"Connection: close"), quiet=10)
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"unknown_subject" in reply
    last = SMUGGLED.replace(b"Host: x", b"Host: x\r\nConnection: close")
    two = exchange(edge, request(edge, length()) + last, quiet=10)
    assert two.count(b"HTTP/1.1 ") == 2  # pipelining as such is no attack, and the marker would show


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000, b"\x00" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://elsewhere.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http_does_no_harm(edge: Edge, raw: bytes) -> None:
    reply = exchange(edge, raw)
    assert b"HTTP/1.1 5" not in reply
    assert b"HTTP/1.1 200" not in reply
    assert b"Traceback" not in reply
    assert edge.admin.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-proto": "https"}, {"x-forwarded-for": "192.0.2.1"}, {"x-forwarded-host": "elsewhere.example"},
        {"forwarded": "for=192.0.2.1;proto=https;host=elsewhere.example"}, {"x-original-url": "/health/live"},
        {"x-rewrite-url": "/health/live"}, {"x-http-method-override": "DELETE"}, {"host": "elsewhere.example"},
    ],
)  # fmt: skip
def test_headers_of_proxies_change_nothing(edge: Edge, headers: dict[str, str]) -> None:
    """Nobody is trusted unless the operator says so: not the scheme, not the path, not the method."""
    plain, told = edge.admin.get("/v1/sources"), edge.admin.get("/v1/sources", headers=headers)
    assert told.content == plain.content
    assert told.headers.keys() == plain.headers.keys()
    assert "strict-transport-security" not in told.headers
    assert b"elsewhere" not in b"".join(value for _, value in told.headers.raw) + told.content


@pytest.mark.parametrize(
    "media",
    [
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "",
        "application/json; charset=utf-16", "application/x-msgpack", "application/x-ndjson", "application/jsonx", "*/*",
    ],
)  # fmt: skip
def test_only_json_is_json(edge: Edge, media: str) -> None:
    """A form on another site can send text and forms without asking; they are not read here (ASVS V3.5.2)."""
    reply = edge.admin.post("/v1/decisions", content=QUESTION, headers={"content-type": media})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "zstd"])
def test_compressed_bodies_are_not_opened(edge: Edge, coding: str) -> None:
    reply = edge.admin.post("/v1/decisions", content=QUESTION, headers=JSON | {"content-encoding": coding})
    assert reply.status_code == 415


def test_nothing_is_offered_to_other_sites(edge: Edge) -> None:
    """No CORS: a preflight gets no permission, an answer names no origin."""
    ask = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    for reply in (
        edge.admin.options("/v1/decisions", headers=ask),
        edge.admin.get("/v1/sources", headers=ask),
        edge.admin.get("/nope", headers=ask),
    ):
        assert not [name for name in reply.headers if name.startswith("access-control-")]
