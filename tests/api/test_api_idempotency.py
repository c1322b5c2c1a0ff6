"""The same request twice is one request: answered byte for byte alike, also for twins that arrive together."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from consent_gateway.db.tables import idempotency_keys
from edge import CSV, NDJSON, Edge, client, running

TWINS = 8
ROW = b'{"subject":{"email":"anna@example.org"},"type":"visit","at":"2026-01-01T00:00:00Z","key":"%d"}'


@pytest.fixture
def edge(tmp_path: Path, store_url: str) -> Iterator[Edge]:
    with running(tmp_path, store_url) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        assert post("/v1/subjects", json={"source": "crm", "items": [{"email": "anna@example.org"}]}).is_success
        yield made


def entries(edge: Edge) -> int:
    edge.settle()
    return int(edge.admin.get("/v1/audit/checkpoint").text.splitlines()[1])


def body(email: str) -> dict[str, Any]:
    return {"source": "crm", "items": [{"email": email}]}


def send(edge: Edge, key: str, content: dict[str, Any], **headers: str) -> httpx.Response:
    return edge.admin.post("/v1/subjects", json=content, headers={"idempotency-key": key, **headers})


def test_a_repeated_request_gets_the_same_bytes_and_does_nothing(edge: Edge) -> None:
    first = send(edge, "k-1", body("b@example.org"))
    size = entries(edge)
    again = send(edge, "k-1", body("b@example.org"))
    assert first.json()["created"] == 1
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert entries(edge) == size


def test_another_request_under_the_same_key_is_refused(edge: Edge) -> None:
    """Another body, path, query, type or signal: none of them may be answered with what was stored."""
    send(edge, "k-2", body("c@example.org"))
    size = entries(edge)
    others = [
        send(edge, "k-2", body("d@example.org")),
        send(edge, "k-2", body("c@example.org"), **{"content-type": "application/json; charset=utf-8"}),
        edge.admin.post("/v1/events", json=body("c@example.org"), headers={"idempotency-key": "k-2"}),
        edge.admin.post("/v1/subjects?x=1", json=body("c@example.org"), headers={"idempotency-key": "k-2"}),
    ]
    for reply in others:
        assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_key_reused")
    assert entries(edge) == size


def test_a_signal_is_not_lost_to_a_replay(edge: Edge) -> None:
    """The same choices once more, now from a browser with Global Privacy Control, are another request."""
    item = {
        "subject": {"email": "anna@example.org"},
        "choice": "objection",
        "active": True,
        "at": "2026-01-01T00:00:00Z",
    }
    content = {"source": "crm", "items": [item]}
    plain = edge.admin.post("/v1/choices", json=content, headers={"idempotency-key": "g"})
    signal = edge.admin.post("/v1/choices", json=content, headers={"idempotency-key": "g", "sec-gpc": "1"})
    assert (plain.status_code, signal.status_code) == (200, 422)


def test_keys_belong_to_their_caller(edge: Edge) -> None:
    first = send(edge, "k-3", body("e@example.org"))
    other = edge.client(edge.issue("other", "ingest"))
    second = other.post("/v1/subjects", json=body("e@example.org"), headers={"idempotency-key": "k-3"})
    assert first.json()["created"] == 1
    assert "idempotent-replayed" not in second.headers
    assert second.json()["duplicates"] == 1


def test_a_refusal_is_not_kept(edge: Edge) -> None:
    """What was refused was not carried out; the corrected request may use its key."""
    refused = send(edge, "k-4", {"source": "nobody", "items": [{"email": "f@example.org"}]})
    assert refused.status_code == 400
    assert send(edge, "k-4", body("f@example.org")).json()["created"] == 1


@pytest.mark.parametrize("key", ["", "x" * 65, "a\tb", "é"])
def test_keys_have_a_form(edge: Edge, key: str) -> None:
    reply = edge.admin.post("/v1/subjects", json=body("g@example.org"), headers=[(b"idempotency-key", key.encode())])
    assert reply.status_code == 400
    assert [error["path"] for error in reply.json()["errors"]] == ["Idempotency-Key"]


def test_files_are_repeated_alike(edge: Edge) -> None:
    for content, headers in ((b"email\nh@example.org\n", CSV), (b'{"email":"i@example.org"}\n', NDJSON)):
        named = headers | {"idempotency-key": "file " + headers["content-type"]}
        first, again = (
            edge.admin.post("/v1/imports/subjects?source=crm", content=content, headers=named) for _ in range(2)
        )
        assert first.content == again.content
        assert again.headers["idempotent-replayed"] == "true"


def together(edge: Edge, key: str, content: bytes) -> list[httpx.Response]:
    """Send one request from many connections at the same moment."""
    gate = threading.Barrier(TWINS)
    headers = NDJSON | {"idempotency-key": key}

    def twin(_: int) -> httpx.Response:
        with client(edge.url, edge.key) as own:
            gate.wait(10)
            return own.post("/v1/imports/events?source=crm", content=content, headers=headers)

    with ThreadPoolExecutor(TWINS) as pool:
        return list(pool.map(twin, range(TWINS)))


def test_twins_that_arrive_together_have_one_effect(edge: Edge) -> None:
    """Each gets the one answer, or is told to retry, and then gets it."""
    for turn in range(5):
        size = entries(edge)
        content = b"\n".join(ROW % (turn * 100 + n) for n in range(5))
        replies = together(edge, f"twin-{turn}", content)
        assert {reply.status_code for reply in replies} <= {200, 409}
        answers = {reply.content for reply in replies if reply.status_code == 200}
        assert len(answers) == 1
        assert replies[0].status_code == 409 or replies[0].json()["accepted"] == 5
        headers = NDJSON | {"idempotency-key": f"twin-{turn}"}
        last = edge.admin.post("/v1/imports/events?source=crm", content=content, headers=headers)
        assert {last.content} == answers
        assert entries(edge) == size + 1


def test_twins_without_a_key_meet_the_keys_of_their_rows(edge: Edge) -> None:
    content = b"\n".join(ROW % n for n in range(1000, 1010))
    gate = threading.Barrier(TWINS)

    def twin(_: int) -> dict[str, Any]:
        with client(edge.url, edge.key) as own:
            gate.wait(10)
            reply = own.post("/v1/imports/events?source=crm", content=content, headers=NDJSON)
            assert reply.status_code in (200, 409), reply.text
            return dict(reply.json())

    with ThreadPoolExecutor(TWINS) as pool:
        answers = list(pool.map(twin, range(TWINS)))
    assert sum(answer.get("accepted", 0) for answer in answers) == 10


def test_a_gateway_that_forgets_its_replies_is_noticed(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent_gateway.db.intake.find_reply", lambda *_: None)
    with pytest.raises(AssertionError):
        test_a_repeated_request_gets_the_same_bytes_and_does_nothing(edge)


def test_what_a_caller_names_its_request_by_is_not_kept(edge: Edge) -> None:
    key = "signup anna.berg@example.org"
    first = send(edge, key, body("b@example.org"))
    assert send(edge, key, body("b@example.org")).headers["idempotent-replayed"] == "true"
    assert first.is_success
    with edge.gateway.store.reading() as session:
        kept = repr(session.execute(select(idempotency_keys)).all())
    assert "anna" not in kept
    assert hashlib.sha256(key.encode()).hexdigest()[:16] not in kept
