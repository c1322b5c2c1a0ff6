"""Revealing over HTTP: what is told, what is not told, and that nothing leaves when the log fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from consent_gateway.db import log_store
from consent_gateway.errors import StoreError
from edge import Edge, running

ANNA = {"email": "quilla.anselm@example.org", "phone": "+49 1512 3999777", "given_name": "Quilla", "member_no": "A-1"}
CANARY = {"email": "carla.birdwell@example.org", "given_name": "Carla", "country": "DE"}
VALUES = ("quilla", "anselm", "3999777", "carla", "birdwell")
WHY = {"reason": "customer_request", "ticket": "CASE-12"}
SERVICE = {"purpose": "service_delivery", "channel": "email", "fields": ["email", "given_name"], **WHY}


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path) as made:
        post = made.admin.post
        post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        purpose = {
            "id": "service_delivery", "kind": "service_delivery", "title": "Delivery", "title_zh": "服务",
            "dpv_iri": "https://w3id.org/dpv#ServiceProvision", "basis": "contract",
            "reveals": ["email", "given_name", "phone"],
        }  # fmt: skip
        assert post("/v1/purposes", json=purpose).is_success
        assert post("/v1/subjects", json={"source": "crm", "items": [ANNA | {"country": "DE"}]}).is_success
        yield made


@pytest.fixture
def desk(edge: Edge) -> httpx.Client:
    return edge.client(edge.issue("desk", "reveal", "reveal_plain"))


def name_of(edge: Edge) -> str:
    found = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "A-1"}})
    return str(found.json()["pseudonym"])


def reveal(client: httpx.Client, name: str, **changes: Any) -> httpx.Response:
    return client.post(f"/v1/subjects/{name}/reveal", json=SERVICE | changes)


def log_lines(edge: Edge) -> list[dict[str, Any]]:
    return [json.loads(line) for line in edge.log.getvalue().splitlines()]


def test_masked_by_default_and_plain_where_it_is_asked(edge: Edge, desk: httpx.Client) -> None:
    name = name_of(edge)
    masked, plain = reveal(desk, name), reveal(desk, name, view="plain")
    assert masked.json()["values"] == {"email": ["q***@example.org"], "given_name": ["Q***"]}
    assert plain.json()["values"] == {"email": ["quilla.anselm@example.org"], "given_name": ["Quilla"]}
    assert plain.json()["outcome"] == "permit"
    assert plain.json()["reasons"]
    assert plain.headers["cache-control"] == "no-store"
    refused = reveal(edge.client(edge.issue("reader", "reveal")), name, view="plain")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_a_field_that_is_not_listed_is_named(edge: Edge, desk: httpx.Client) -> None:
    reply = reveal(desk, name_of(edge), fields=["email", "family_name"])
    assert reply.status_code == 400
    assert [(e["path"], e["code"]) for e in reply.json()["errors"]] == [("$.fields[1]", "field_not_allowed")]


def test_the_register_tells_what_may_be_revealed(edge: Edge) -> None:
    items = {i["id"]: i["reveals"] for i in edge.admin.get("/v1/purposes").json()["items"]}
    assert items["service_delivery"] == ["email", "given_name", "phone"]
    assert items["direct_marketing"] == []


def test_an_erased_person_is_nobody(edge: Edge, desk: httpx.Client) -> None:
    name = name_of(edge)
    edge.admin.post(f"/v1/subjects/{name}/erase", json={})
    gone, forged = reveal(desk, name), reveal(desk, "p1-" + "0" * 32)
    assert gone.status_code == forged.status_code == 200
    blank = dict.fromkeys(("entry", "decision", "at"))
    assert gone.json() | blank == forged.json() | blank
    assert len(gone.content) == len(forged.content)
    assert gone.json()["reason_code"] == "unknown_subject"


def test_several_at_once(edge: Edge, desk: httpx.Client) -> None:
    names = [name_of(edge), "p1-" + "0" * 32]
    reply = desk.post("/v1/reveals", json=SERVICE | {"subjects": names, "view": "plain"}).json()
    assert [r["outcome"] for r in reply["results"]] == ["permit", "deny"]
    assert reply["permitted"] == 1
    assert reply["results"][0]["values"]["given_name"] == ["Quilla"]
    many = desk.post("/v1/reveals", json=SERVICE | {"subjects": names * 11})
    assert (many.status_code, "window" in many.json()["detail"]) == (403, True)


def test_a_quota_that_is_used_up_says_when_to_come_back(edge: Edge, desk: httpx.Client) -> None:
    limit = {"principal": "desk", "quota": "reveal", "per_hour": 1}
    assert edge.admin.post("/v1/quotas", json=limit).is_success
    assert reveal(desk, name_of(edge)).is_success
    reply = reveal(desk, "p1-" + "0" * 32)
    assert (reply.status_code, reply.json()["code"]) == (429, "quota_exhausted")
    assert 3500 < int(reply.headers["retry-after"]) <= 3600
    (used,) = [u for u in edge.admin.get("/v1/quotas").json()["items"] if u["principal"] == "desk"]
    assert used == {
        "principal": "desk", "quota": "reveal", "per_hour": 1, "per_day": 300, "used_hour": 1, "used_day": 1,
        "suspended_at": None,
    }  # fmt: skip


def test_a_canary_raises_an_alarm_that_the_caller_does_not_see(edge: Edge, desk: httpx.Client) -> None:
    planted = edge.admin.post("/v1/canaries", json={"source": "crm", "person": CANARY})
    assert planted.status_code == 201
    honest, caught = reveal(desk, name_of(edge)), reveal(desk, planted.json()["pseudonym"])
    blank = dict.fromkeys(("entry", "decision", "at", "values"))
    assert caught.json() | blank == honest.json() | blank
    assert caught.json()["values"]["given_name"] == ["C***"]
    assert set(caught.headers) == set(honest.headers)
    (alarm,) = [line for line in log_lines(edge) if line["event"] == "canary.read"]
    assert (alarm["level"], alarm["count"], alarm["request_id"]) == ("error", 1, caught.headers["x-request-id"])
    suspended = reveal(desk, name_of(edge))
    assert (suspended.status_code, "suspended" in suspended.json()["detail"]) == (403, True)
    assert edge.admin.get("/v1/quotas").json()["items"][0]["suspended_at"] is not None
    edge.admin.post("/v1/quotas", json={"principal": "desk", "quota": "reveal", "suspended": False})
    assert reveal(desk, name_of(edge)).is_success


def test_nothing_leaves_when_the_log_does_not_take_the_entry(
    edge: Edge, desk: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = name_of(edge)

    def full(*_: object) -> None:
        raise StoreError("the log is full")

    with monkeypatch.context() as patched:
        patched.setattr(log_store, "append", full)
        replies = [reveal(desk, name, view=view) for view in ("plain", "masked") for _ in range(5)]
        replies.append(desk.post("/v1/reveals", json=SERVICE | {"subjects": [name], "view": "plain"}))
    assert {r.status_code for r in replies} == {503}
    assert not any(v in r.text.lower() for r in replies for v in (*VALUES, "q***"))
    assert reveal(desk, name, view="plain").json()["values"]["given_name"] == ["Quilla"]


def test_a_reply_is_not_kept(edge: Edge, desk: httpx.Client) -> None:
    """An answer that tells about a person would outlive them: the same key asks again, and is counted again."""
    name = name_of(edge)
    send = [
        desk.post(f"/v1/subjects/{name}/reveal", json=SERVICE | {"view": "plain"}, headers={"idempotency-key": "k"})
        for _ in range(2)
    ]
    assert send[0].json()["entry"] != send[1].json()["entry"]
    assert "idempotent-replayed" not in send[1].headers


def test_what_was_revealed_is_nowhere_else(edge: Edge, desk: httpx.Client, tmp_path: Path) -> None:
    edge.admin.post("/v1/canaries", json={"source": "crm", "person": CANARY})
    assert reveal(desk, name_of(edge), view="plain", channel="email").is_success
    reveal(desk, name_of(edge), ticket="Quilla")
    reveal(desk, "quilla.anselm@example.org", view="plain")
    desk.post("/v1/reveals", json=SERVICE | {"subjects": ["quilla.anselm@example.org"]})
    edge.settle()
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    held = edge.log.getvalue() + b"".join(f.read_bytes() for f in files)
    assert not [v for v in VALUES if v.encode() in held.lower()]
