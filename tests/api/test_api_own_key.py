"""The gateway's own key over HTTP: what is refused while it is lost, two people renew it, nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consent_gateway.clock import FixedClock
from edge import Edge, running

ANNA = {"email": "canary.anna@example.org", "country": "DE", "birth_date": "1980-05-17"}
NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
NOTICE = {"id": "privacy", "version": 1, "language": "en", "title": "Privacy", "text": "We write to you."}
WAITS = {
    "subject": {"email": ANNA["email"]}, "purpose": "direct_marketing", "channel": "email", "kind": "pending",
    "confirm": True, "at": "2026-11-18T11:00:00Z", "properties": ["affirmative", "evidence"], "method": "form",
    "notice": "privacy", "notice_version": 1, "language": "en", "place": "/signup",
}  # fmt: skip


@pytest.fixture
def edge(tmp_path: Path, store_url: str) -> Iterator[Edge]:
    with running(tmp_path / "store", store_url, clock=FixedClock(NOON)) as made:
        assert made.admin.post("/v1/notices", json=NOTICE).is_success
        source = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
        assert made.admin.post("/v1/sources", json=source).is_success
        assert made.admin.post("/v1/subjects", json={"source": "crm", "items": [ANNA]}).json()["created"] == 1
        yield made


def ask(edge: Edge):
    """A consent that waits for its second step: the answer has a token, so it is kept sealed."""
    body = {"source": "crm", "items": [WAITS]}
    return edge.admin.post("/v1/consents", json=body, headers={"idempotency-key": "once"})


def refused_row(edge: Edge):
    return edge.admin.post("/v1/subjects", json={"source": "crm", "items": [{"email": "nonsense"}]})


def lose(edge: Edge) -> None:
    """The epoch of the wraps goes: so it looks after a backup from before a destroyed epoch."""
    custody = edge.gateway.vault.custody
    custody.use(custody.keyring.new_kek_epoch())
    custody.use(custody.keyring.destroy_kek_epoch(1))


def test_it_is_refused_by_its_name_and_renewed_by_two(edge: Edge) -> None:
    first, second = (edge.client(edge.issue(name, "keys", "approve")) for name in ("first", "second"))
    answer = ask(edge)
    assert answer.json()["confirmations"][0]["token"]
    assert refused_row(edge).json()["rejected"] == 1
    held = first.get("/v1/keys").json()["own_key"]
    assert held == {"state": "held", "epoch": 1, "quarantined": 1, "signals": 0, "replies": 1}
    lose(edge)
    assert first.get("/v1/keys").json()["own_key"] == held | {"state": "lost"}
    for reply in (refused_row(edge), ask(edge)):
        assert (reply.status_code, reply.json()["code"]) == (503, "own_key_lost")
    assert first.post("/v1/keys/own/renew", json={"step": "decide"}).status_code == 403
    asked = first.post("/v1/keys/own/renew", json={"step": "propose"}).json()
    approve = f"/v1/approvals/{asked['approval']}/approve"
    assert first.post(approve, json={"action": "renew_own_key"}).status_code == 403
    assert second.post(approve, json={"action": "renew_own_key"}).json()["state"] == "approved"
    renewed = first.post("/v1/keys/own/renew", json={"step": "decide"}).json()
    assert renewed == {"state": "renewed", "approval": None, "given_up": held | {"state": "lost"}}
    assert first.get("/v1/keys").json()["own_key"]["state"] == "held"
    assert refused_row(edge).json()["rejected"] == 1
    again = ask(edge)
    assert (again.status_code, again.json()["code"]) == (409, "conflict"), "it was carried out, and is not again"
