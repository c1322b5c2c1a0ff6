"""Sensitive values and coming back over HTTP: what is taken, what is told, and that no value is in a line or a reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.clock import FixedClock
from edge import Edge, running

ANNA = {"member_no": "A-1", "email": "quilla.anselm@example.org", "country": "DE", "postal_address": "Hof 1\n1000 Wien"}
NUTS = "Treenutsandpenicillin"
PROPERTIES = ["affirmative", "separate", "explicit", "written", "two_step", "evidence"]
AGREED = {
    "subject": {"member_no": "A-1"}, "purpose": "diet_service", "kind": "given", "at": "2026-11-18T11:00:00Z",
    "properties": PROPERTIES, "evidence": {"form": "diets"},
}  # fmt: skip
APPROVED = {"action": "lift_tombstones"}
WHY = {"reason": "delivery", "ticket": "SHIP-1", "view": "plain"}


@pytest.fixture
def edge(tmp_path: Path, clock: FixedClock) -> Iterator[Edge]:
    with running(tmp_path, clock=clock) as made:
        post = made.admin.post
        title = {"title": "Diets", "title_zh": "饮食", "dpv_iri": "https://w3id.org/dpv#Personalisation"}
        purpose = {
            "id": "diet_service",
            "kind": "personalised_marketing",
            "basis": "consent",
            "channels": ["email"],
        } | title
        notice = {"id": "diets", "version": 1, "language": "en", "title": "Diets", "text": "What you must not eat."}
        source = {"id": "app", "name": "App", "channel": "app", "party": "first", "notice": "diets"}
        field = {"id": "allergies", "category": "health", "purposes": ["diet_service"], "retention": "P90D"}
        for path, body in (
            ("/v1/purposes", purpose),
            ("/v1/notices", notice),
            ("/v1/sources", source | {"purposes": ["diet_service"]}),
            ("/v1/fields", field),
            ("/v1/purposes", purpose | {"reveals": ["allergies"], "marks": ["sensitive_fields"]}),
            ("/v1/subjects", {"source": "app", "items": [ANNA]}),
        ):
            assert post(path, json=body).is_success, path
        yield made


def tell(edge: Edge, **fields: str | None) -> dict[str, Any]:
    item = {"subject": {"member_no": "A-1"}, "fields": fields}
    found: dict[str, Any] = edge.admin.post("/v1/sensitive", json={"source": "app", "items": [item]}).json()
    return found


def name_of(edge: Edge) -> str:
    found = edge.admin.post("/v1/subjects/lookup", json={"identifier": {"member_no": "A-1"}})
    return str(found.json()["pseudonym"])


def test_a_value_comes_in_after_its_consent_and_goes_out_by_a_decision(edge: Edge) -> None:
    assert tell(edge, allergies=NUTS)["rejections"][0]["reasons"][0]["code"] == "no_ground"
    assert edge.admin.post("/v1/consents", json={"source": "app", "items": [AGREED]}).json()["accepted"] == 1
    assert tell(edge, allergies=NUTS)["accepted"] == 1
    line = json.dumps({"subject": {"member_no": "A-1"}, "fields": {"allergies": NUTS}})
    headers = {"content-type": "application/x-ndjson"}
    again = edge.admin.post("/v1/imports/sensitive?source=app", content=line + "\n", headers=headers)
    assert again.json()["duplicates"] == 1
    nurse = edge.client(edge.issue("nurse", "reveal", "reveal_plain"))
    use = {"purpose": "diet_service", "channel": "email", "fields": ["allergies"], **WHY}
    shown = nurse.post(f"/v1/subjects/{name_of(edge)}/reveal", json=use).json()
    assert (shown["outcome"], shown["values"]) == ("permit", {"allergies": [NUTS]})
    assert NUTS.encode() not in edge.log.getvalue()
    assert tell(edge, allergies=None)["updated"] == 1
    assert nurse.post(f"/v1/subjects/{name_of(edge)}/reveal", json=use).json()["values"] == {"allergies": []}


def test_the_register_names_the_articles(edge: Edge) -> None:
    (field,) = edge.admin.get("/v1/fields").json()["items"]
    assert field["cites"] == ["GDPR Art 9(1)", "Civ. Code 1798.140(ae)", "PIPL Art 28"]
    assert field["purposes"] == ["diet_service"]
    own = {"id": "family_name", "category": None, "purposes": ["diet_service"], "retention": "P1Y"}
    assert edge.admin.post("/v1/fields", json=own).is_success
    reader = edge.client(edge.issue("reader", "audit"))
    found = reader.get("/v1/retention").json()
    assert found["fields"] == {"allergies": {"diet_service": "P90D"}, "family_name": {"diet_service": "P1Y"}}
    assert found["unsourced"] == 0


def test_who_asked_to_go_comes_back_by_two_keys(edge: Edge, clock: FixedClock) -> None:
    assert edge.admin.post(f"/v1/subjects/{name_of(edge)}/erase", json={"reason": "request"}).is_success
    clock.advance(timedelta(minutes=1))
    act = {"kind": "account", "at": clock().isoformat(), "evidence": {"form": "signup"}}
    body = {"source": "app", "identifiers": {"member_no": "A-1", "email": ANNA["email"]}, "act": act}
    desk, second = (edge.client(edge.issue(name, "identity", "approve")) for name in ("desk", "second"))
    waiting = desk.post("/v1/tombstones/lift", json=body)
    assert (waiting.status_code, waiting.json()["pending"]) == (202, True)
    assert second.post(f"/v1/approvals/{waiting.json()['approval']}/approve", json=APPROVED).is_success
    lifted = desk.post("/v1/tombstones/lift", json=body)
    assert (lifted.status_code, lifted.json()["lifted"]) == (200, ["email", "member_no"])
    assert edge.admin.post("/v1/subjects", json={"source": "app", "items": [ANNA]}).json()["created"] == 1
    assert b"quilla" not in edge.log.getvalue()
