"""The key service is away: what is answered still, what has to wait, and what readiness says about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import Edge, running

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
