"""Whose key sees what: revocation at the next request, a recipient's own pseudonyms only, and signals at collection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consent_gateway.assembly import build_gateway
from consent_gateway.clock import FixedClock
from consent_gateway.domain.registers import Registers
from consent_gateway.services.work import principals
from edge import Edge, running

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
YES = ["affirmative", "separate", "explicit", "written", "two_step", "evidence"]
ALL = ("ingest", "decide", "audience", "erase", "audit")


@pytest.fixture
def edge(tmp_path: Path, store_url: str) -> Iterator[Edge]:
    with running(tmp_path, store_url, clock=FixedClock(NOON)) as made:
        post = made.admin.post
        assert post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"}).is_success
        for name in ("house", "rival"):
            recipient = {"id": name, "name": name, "kind": "processor", "country": "DE", "contract": True}
            assert post("/v1/recipients", json=recipient).is_success
        people = [{"member_no": "M-1", "country": "DE", "email": "anna@example.org"}]
        people += [{"member_no": "M-2", "country": "US-CA", "email": "bert@example.org"}]
        assert post("/v1/subjects", json={"source": "crm", "items": people}).is_success
        given = {"purpose": "direct_marketing", "channel": "email", "kind": "given", "at": "2026-10-01T00:00:00Z"}
        items = [
            given | {"subject": {"member_no": f"M-{n}"}, "properties": YES, "evidence": {"form": 1}} for n in (1, 2)
        ]
        assert post("/v1/consents", json={"source": "crm", "items": items}).json()["accepted"] == 2
        yield made


def lookup(edge: Edge, key: str, number: int = 1, recipient: str | None = None) -> Any:
    question = {"identifier": {"member_no": f"M-{number}"}} | ({"recipient": recipient} if recipient else {})
    return edge.client(key).post("/v1/subjects/lookup", json=question)


def decide(edge: Edge, key: str, name: str, recipient: str = "self") -> Any:
    question = {
        "purpose": "direct_marketing",
        "channel": "email",
        "recipient": recipient,
        "subject": {"pseudonym": name},
    }
    return edge.client(key).post("/v1/decisions", json=question)


def test_a_revoked_key_does_nothing_at_the_next_request(edge: Edge) -> None:
    key = edge.issue("crm_system", "ingest", "decide")
    assert lookup(edge, key).status_code == 200
    edge.revoke("crm_system")
    item = {
        "subject": {"member_no": "M-1"},
        "purpose": "direct_marketing",
        "kind": "withdrawn",
        "at": "2026-11-01T00:00:00Z",
    }
    refused = edge.client(key).post("/v1/consents", json={"source": "crm", "items": [item]})
    assert refused.status_code == 401
    assert lookup(edge, key).status_code == 401
    name = lookup(edge, edge.key).json()["pseudonym"]
    assert decide(edge, edge.key, name).json()["outcome"] == "permit"


def revoked_elsewhere(edge: Edge, name: str) -> None:
    """Revoke a key as another replica does, with a memory of its own."""
    other = build_gateway(edge.settings)
    with other.work() as work:
        principals.revoke(work, name)
    other.store.dispose()


@pytest.mark.parametrize("first", ["write", "decision", "batch", "lookup", "audience", "list", "erasure"])
def test_a_key_that_another_process_revoked_changes_nothing(edge: Edge, first: str) -> None:
    """This process remembers the key; whatever is asked first, it finds out inside its next transaction."""
    key = edge.issue("second", *ALL)
    name = lookup(edge, key).json()["pseudonym"]
    assert decide(edge, key, name).json()["outcome"] == "permit"
    revoked_elsewhere(edge, "second")
    client, use = edge.client(key), {"purpose": "direct_marketing", "channel": "email"}
    event = {"subject": {"member_no": "M-1"}, "type": "visit", "at": "2026-11-01T00:00:00Z", "key": "k"}
    requests = {
        "write": lambda: client.post("/v1/events", json={"source": "crm", "items": [event]}),
        "decision": lambda: decide(edge, key, name),
        "batch": lambda: client.post("/v1/decisions/batch", json=use | {"subjects": [{"pseudonym": name}]}),
        "lookup": lambda: lookup(edge, key),
        "audience": lambda: client.post("/v1/audiences", json=use | {"text": "everyone"}),
        "list": lambda: client.get("/v1/sources"),
        "erasure": lambda: client.post(f"/v1/subjects/{name}/erase", json={}),
    }
    assert requests[first]().status_code == 401
    assert lookup(edge, edge.key).json()["pseudonym"] == name


def test_the_pseudonym_of_another_recipient_means_nobody(edge: Edge) -> None:
    """Looked up, decided, erased: for whom it was not made, a pseudonym is like one that was never given."""
    house, rival = edge.issue("house_key", *ALL, recipient="house"), edge.issue("rival_key", *ALL, recipient="rival")
    own, foreign = lookup(edge, house).json()["pseudonym"], lookup(edge, rival).json()["pseudonym"]
    assert own != foreign
    assert decide(edge, house, own, "house").json()["outcome"] == "permit"
    never = "p1-" + "0" * 32
    answers = [decide(edge, house, name, "house") for name in (foreign, never)]
    assert [answer.json()["reason_code"] for answer in answers] == ["unknown_subject"] * 2
    assert answers[0].headers.keys() == answers[1].headers.keys()
    assert len(answers[0].content) == len(answers[1].content)
    for name in (foreign, never):
        assert edge.admin.post(f"/v1/subjects/{name}/erase", json={}).status_code == 404
        item = {"subject": {"pseudonym": name}, "choice": "objection", "active": True, "at": "2026-11-01T00:00:00Z"}
        answer = edge.client(house).post("/v1/choices", json={"source": "crm", "items": [item]}).json()
        assert answer["rejections"][0]["reasons"][0]["code"] == "unknown_subject"
    assert lookup(edge, rival).json()["pseudonym"] == foreign  # nobody was erased


def test_a_recipient_asks_for_itself_only_and_erases_nobody(edge: Edge) -> None:
    """A key of a recipient may not ask on behalf of another, and an erasure is for everyone."""
    house = edge.issue("house_key", *ALL, recipient="house")
    own = lookup(edge, house).json()["pseudonym"]
    assert decide(edge, house, own, "rival").status_code == 403
    use = {"purpose": "direct_marketing", "channel": "email", "subject": {"pseudonym": own}}
    default = edge.client(house).post("/v1/decisions", json=use).json()
    assert default["reasons"] == decide(edge, house, own, "house").json()["reasons"]
    for name in (own, "p1-" + "0" * 32):
        assert edge.client(house).post(f"/v1/subjects/{name}/erase", json={}).status_code == 403
    assert lookup(edge, house).json()["pseudonym"] == own


def test_a_recipient_is_not_told_the_pseudonyms_of_others(edge: Edge) -> None:
    house = edge.issue("house_key", *ALL, recipient="house")
    assert lookup(edge, house, recipient="rival").status_code == 403
    assert lookup(edge, house, recipient="self").status_code == 403
    assert lookup(edge, house, recipient="house").json() == lookup(edge, house).json()
    assert lookup(edge, edge.key, recipient="house").json() == lookup(edge, house).json()
    assert lookup(edge, edge.key, recipient="nobody").status_code == 400


def test_the_audience_of_another_recipient_looks_like_none(edge: Edge) -> None:
    keys = {name: edge.issue(f"{name}_key", *ALL, recipient=name) for name in ("house", "rival")}
    question = {"text": "everyone", "purpose": "direct_marketing", "channel": "email", "recipient": "house"}
    made = edge.client(keys["house"]).post("/v1/audiences", json=question)
    assert made.status_code == 201
    assert edge.client(keys["rival"]).post("/v1/audiences", json=question).status_code == 403
    for path in (f"/v1/audiences/{made.json()['id']}", f"/v1/audiences/{made.json()['id']}/members"):
        absent = path.replace(made.json()["id"], "0" * 32)
        answers = [edge.client(keys["rival"]).get(p) for p in (path, absent)]
        assert [answer.status_code for answer in answers] == [404, 404]
        first, second = ({k: v for k, v in a.json().items() if k not in ("instance", "request_id")} for a in answers)
        assert first == second
        assert edge.client(keys["house"]).get(path).status_code == 200
        assert edge.admin.get(path).status_code == 200


def test_a_signal_at_collection_is_kept_for_the_people_in_the_call(edge: Edge) -> None:
    """`Sec-GPC: 1` beside a consent opts the person out of sale and sharing; any other value is no signal."""
    ads = {"id": "ads", "name": "Ads", "kind": "ad_platform", "country": "US", "contract": True}
    assert edge.admin.post("/v1/recipients", json=ads).is_success
    question = {
        "purpose": "third_party_audience_sharing", "channel": "online_ads", "recipient": "ads",
        "subject": {"member_no": "M-2"},
    }  # fmt: skip
    item = {
        "subject": {"member_no": "M-2"},
        "purpose": "direct_marketing",
        "kind": "given",
        "at": "2026-11-01T00:00:00Z",
    }
    before = edge.admin.post("/v1/decisions", json=question).json()
    for value in ("0", "", "true", "2"):
        edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]}, headers={"sec-gpc": value})
    assert edge.admin.post("/v1/decisions", json=question).json()["reason_code"] == before["reason_code"]
    edge.admin.post("/v1/consents", json={"source": "crm", "items": [item]}, headers={"sec-gpc": "1"})
    after = edge.admin.post("/v1/decisions", json=question).json()
    assert after["outcome"] == "deny"
    assert after["reason_code"] != before["reason_code"]
    assert "gpc" in " ".join(reason["code"] + reason["rule"] for reason in after["reasons"])


def test_a_planted_shared_space_is_found(edge: Edge) -> None:
    """Two recipients of one sector do share their pseudonyms: the test above would see it."""
    for name in ("east", "west"):
        recipient = {"id": name, "name": name, "kind": "processor", "country": "DE", "contract": True, "sector": "both"}
        assert edge.admin.post("/v1/recipients", json=recipient).is_success
    east, west = edge.issue("east_key", *ALL, recipient="east"), edge.issue("west_key", *ALL, recipient="west")
    assert lookup(edge, east).json() == lookup(edge, west).json()


def test_a_gateway_that_trusts_its_memory_is_noticed(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second look inside the transaction, a key revoked elsewhere would go on working."""
    monkeypatch.setattr("consent_gateway.services.work.gateway.Work.is_live", lambda *_: True)
    with pytest.raises(AssertionError):
        test_a_key_that_another_process_revoked_changes_nothing(edge, "write")


def test_a_gateway_of_one_pseudonym_space_is_noticed(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registers, "sector", lambda *_: "self")
    with pytest.raises(AssertionError):
        test_the_pseudonym_of_another_recipient_means_nobody(edge)
