"""Customer lists over HTTP: what a platform gets, what the answer says it is, and what no log line holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import Edge, running

PURPOSE = "third_party_audience_sharing"
ASKED = {"platform": "meta", "fields": ["email"], "reason": "campaign", "ticket": "ADS-1"}


def digest(number: int) -> str:
    return hashlib.sha256(f"person{number}@example.org".encode()).hexdigest()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        adnet = {"id": "adnet", "name": "Ads", "kind": "ad_platform", "country": "DE", "contract": True}
        assert post("/v1/recipients", json=adnet).is_success
        (held,) = [p for p in made.admin.get("/v1/purposes").json()["items"] if p["id"] == PURPOSE]
        kept = {name: held[name] for name in ("id", "kind", "title", "title_zh", "dpv_iri", "basis", "parent")}
        assert post("/v1/purposes", json=kept | {"reveals": ["email"]}).is_success
        people = [
            {"member_no": f"M-{n}", "email": f"person{n}@example.org", "country": "DE", "birth_date": "1980-01-31"}
            for n in (1, 2, 3)
        ]
        assert post("/v1/subjects", json={"source": "crm", "items": people}).json()["accepted"] == 3
        given = {"purpose": PURPOSE, "channel": "online_ads", "recipient": "adnet", "kind": "given"}
        more = {"at": "2026-10-01T00:00:00Z", "properties": ["affirmative", "evidence"], "evidence": {"form": 1}}
        items = [given | more | {"subject": {"member_no": f"M-{n}"}} for n in (1, 2)]
        assert post("/v1/consents", json={"source": "crm", "items": items}).json()["accepted"] == 2
        yield made


def resolve(edge: Edge) -> str:
    asked = {"purpose": PURPOSE, "channel": "online_ads", "recipient": "adnet", "text": "everyone"}
    reply = edge.admin.post("/v1/audiences", json=asked)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def test_a_list_says_what_it_is_and_is_recorded(edge: Edge) -> None:
    client, audience = edge.client(edge.issue("ads", "disclose")), resolve(edge)
    reply = client.post(f"/v1/audiences/{audience}/customer-match", json=ASKED)
    assert reply.status_code == 200, reply.text
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert sorted(line["email"][0] for line in lines) == sorted(digest(n) for n in (1, 2))
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["consent-gateway-nature"] == "disclosure_of_identifier"
    edge.settle()
    entry = edge.admin.get(f"/v1/audit/entries/{reply.headers['consent-gateway-entry']}/bytes")
    said: dict[str, Any] = json.loads(entry.content)
    assert (said["kind"], said["fields"]["people"], said["actor"]) == ("identifiers.disclosed", 2, "ads")
    written = edge.log.getvalue().decode()
    assert "customer-match" in written  # the route, and nothing of what went over it
    assert not any(text in written + entry.text for n in (1, 2, 3) for text in (digest(n), f"person{n}"))


def test_an_administrator_discloses_nothing_and_nor_does_the_platform(edge: Edge) -> None:
    audience, platform = resolve(edge), edge.issue("platform", "disclose", "audience", recipient="adnet")
    for client in (edge.admin, edge.client(platform)):
        reply = client.post(f"/v1/audiences/{audience}/customer-match", json=ASKED)
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("audience", ["0" * 32, "x", "%00"])
def test_an_audience_that_is_none_is_not_found(edge: Edge, audience: str) -> None:
    client = edge.client(edge.issue("ads", "disclose"))
    assert client.post(f"/v1/audiences/{audience}/customer-match", json=ASKED).status_code == 404


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"platform": "tiktok"}, "$.platform"),
        ({"fields": []}, "$.fields"),
        ({"fields": ["given_name"]}, "$.fields[0]"),
        ({"reason": "because"}, "$.reason"),
        ({"ticket": "anna@example.org"}, "$.ticket"),
    ],
)
def test_what_is_asked_is_a_closed_list(edge: Edge, changes: dict[str, Any], path: str) -> None:
    client = edge.client(edge.issue("ads", "disclose"))
    reply = client.post(f"/v1/audiences/{'0' * 32}/customer-match", json=ASKED | changes)
    assert reply.json()["errors"][0]["path"] == path


def test_others_get_pseudonyms(edge: Edge) -> None:
    asked = {"purpose": PURPOSE, "channel": "online_ads", "text": "everyone"}
    audience = edge.admin.post("/v1/audiences", json=asked).json()["id"]
    reply = edge.client(edge.issue("ads", "disclose")).post(f"/v1/audiences/{audience}/customer-match", json=ASKED)
    assert (reply.status_code, reply.json()["code"]) == (403, "weak_pseudonym")
