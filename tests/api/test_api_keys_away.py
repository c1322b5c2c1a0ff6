"""The key service is away: what is answered still, what has to wait, and what readiness says about it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge import NDJSON, Edge, running

ANNA = {"email": "canary.anna@example.org"}
ASK = {"subject": ANNA, "purpose": "direct_marketing", "channel": "email", "recipient": "self"}


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path / "store") as made:
        source = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
        assert made.admin.post("/v1/sources", json=source).is_success
        assert register(made, ANNA["email"]).is_success
        yield made


def register(edge: Edge, email: str):
    items = [{"email": email, "country": "DE", "birth_date": "1980-05-17"}]
    return edge.admin.post("/v1/subjects", json={"source": "crm", "items": items})


def test_while_keys_are_not_renewed_answers_go_on_and_new_people_wait(edge):
    edge.gateway.vault.custody.failing = True
    assert edge.admin.post("/v1/decisions", json=ASK).json()["outcome"] == "deny"
    assert edge.admin.get("/health/ready").json() == {"status": "ready", "keys": "not_renewed"}
    refused = register(edge, "canary.new@example.org")
    assert (refused.status_code, refused.json()["code"]) == (503, "key_service_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    edge.gateway.vault.custody.failing = False
    assert register(edge, "canary.new@example.org").is_success
    assert edge.admin.get("/health/ready").json() == {"status": "ready"}


def test_when_their_time_is_over_everything_is_one_clear_refusal(edge):
    edge.gateway.vault.custody._ends = 0.0
    for reply in (
        edge.admin.post("/v1/decisions", json=ASK),
        edge.admin.get("/health/ready"),
        register(edge, ANNA["email"]),
    ):
        assert (reply.status_code, reply.json()["code"]) == (503, "key_service_unavailable")
        assert int(reply.headers["retry-after"]) >= 1
    assert edge.admin.get("/health/live").is_success


# -- a no is kept --------------------------------------------------------------------------------------------------

AT = "2026-01-31T12:00:00Z"
A_NO = {"subject": ANNA, "purpose": "direct_marketing", "channel": "email", "kind": "withdrawn", "at": AT}
A_YES = A_NO | {"kind": "given", "properties": ["affirmative", "evidence"], "evidence": {"form": 1}}


@contextmanager
def keys_away(edge: Edge) -> Iterator[None]:
    edge.gateway.vault.custody._ends = 0.0
    yield
    edge.gateway.vault.custody._ends = None


def settled(edge: Edge) -> None:
    """Wait until what was put off is carried out, as the servers do it by themselves."""
    deadline = time.monotonic() + 30
    while edge.admin.get("/v1/keys").json()["deferred"]["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def history(edge: Edge) -> list[str]:
    found = edge.admin.post("/v1/consents/history", json={"subject": ANNA}).json()
    return [event["kind"] for event in found["items"]]


@pytest.mark.parametrize("form", ["items", "lines"])
def test_a_withdrawal_is_taken_in_and_carried_out_when_the_keys_are_back(edge, form):
    with keys_away(edge):
        if form == "items":
            reply = edge.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]})
        else:
            reply = edge.admin.post("/v1/imports/consents?source=crm", content=json.dumps(A_NO), headers=NDJSON)
        assert reply.status_code == 202, reply.text
        told = reply.json()
        assert (told["received"], told["deferred"], told["accepted"], told["rejected"]) == (1, 1, 0, 0)
        assert edge.admin.post("/v1/decisions", json=ASK).status_code == 503
    settled(edge)
    assert history(edge) == ["withdrawn"]
    entry = edge.admin.get(f"/v1/audit/entries/{told['entries'][0]['uid']}").json()
    assert b'"kind":"intake.deferred"' in base64.b64decode(entry["entry"])
    assert edge.admin.post("/v1/decisions", json=ASK).is_success


def test_a_repetition_after_the_keys_are_back_gets_the_first_answer_and_changes_nothing(edge):
    headers = {"Idempotency-Key": "no-1"}
    body = {"source": "crm", "items": [A_NO]}
    with keys_away(edge):
        first = edge.admin.post("/v1/consents", json=body, headers=headers)
    settled(edge)
    again = edge.admin.post("/v1/consents", json=body, headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert history(edge) == ["withdrawn"]
    other = edge.admin.post("/v1/consents", json=body | {"items": [A_NO, A_NO]}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/consents", {"source": "crm", "items": [A_YES]}),
        ("/v1/consents", {"source": "crm", "items": [A_NO, A_YES]}),
        ("/v1/choices", {"source": "crm", "items": [{"subject": ANNA, "choice": "objection", "active": False, "at": AT}]}),
        ("/v1/subjects", {"source": "crm", "items": [{"email": "canary.new@example.org"}]}),
    ],
    ids=["yes", "mixed", "off", "people"],
)  # fmt: skip
def test_what_is_not_a_no_waits_with_its_sender(edge, path, body):
    with keys_away(edge):
        reply = edge.admin.post(path, json=body)
        assert (reply.status_code, reply.json()["code"]) == (503, "key_service_unavailable")
        assert int(reply.headers["retry-after"]) >= 1
    assert edge.admin.get("/v1/keys").json()["deferred"] == {"waiting": 0, "refused": 0}


def test_an_erasure_is_taken_in_and_carried_out(edge):
    name = edge.admin.post("/v1/subjects/lookup", json={"identifier": ANNA}).json()["pseudonym"]
    with keys_away(edge):
        reply = edge.admin.post(f"/v1/subjects/{name}/erase", json={"reason": "request"})
        assert reply.status_code == 202, reply.text
        assert (reply.json()["erased"], reply.json()["pending"], reply.json()["holds"]) == (False, True, [])
    settled(edge)
    assert edge.admin.post("/v1/subjects/lookup", json={"identifier": ANNA}).status_code == 404


def test_a_key_that_may_not_erase_puts_nothing_off(edge):
    partner = {"id": "partner", "name": "P", "kind": "third_party", "country": "DE", "contract": True}
    assert edge.admin.post("/v1/recipients", json=partner).is_success
    client = edge.client(edge.issue("partner_key", "erase", recipient="partner"))
    with keys_away(edge):
        for headers in ({}, {"Idempotency-Key": "k"}):
            reply = client.post("/v1/subjects/p1-" + "0" * 32 + "/erase", json={"reason": "request"}, headers=headers)
            assert reply.status_code in {403, 503}
    assert edge.admin.get("/v1/keys").json()["deferred"] == {"waiting": 0, "refused": 0}
