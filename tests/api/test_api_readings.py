"""Reading is recorded before anything leaves: members of an audience, and pseudonyms; and strangers have a quota."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.db import log_store, tables
from consent_gateway.errors import StoreError
from edge import Edge, running

YES = ["affirmative", "separate", "explicit", "written", "evidence", "two_step"]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(tmp_path, lookup_quota_per_hour=2) as made:
        post = made.admin.post
        post("/v1/sources", json={"id": "crm", "name": "CRM", "channel": "web", "party": "first"})
        post("/v1/subjects", json={"source": "crm", "items": [{"email": "anna@example.org", "country": "DE"}]})
        given = {
            "subject": {"email": "anna@example.org"}, "purpose": "direct_marketing", "channel": "email",
            "kind": "given", "at": "2026-10-01T00:00:00Z", "properties": YES, "evidence": {"form": 1},
        }  # fmt: skip
        assert post("/v1/consents", json={"source": "crm", "items": [given]}).json()["accepted"] == 1
        yield made


def entries(edge: Edge, kind: EntryKind) -> list[Entry]:
    edge.settle()
    with edge.gateway.look() as work:
        rows = work.session.execute(select(tables.audit_entries.c.entry).order_by(tables.audit_entries.c.idx))
        return [e for row in rows.scalars() if (e := parse_entry(bytes(row))).kind is kind]


def members_path(edge: Edge) -> str:
    asked = {"purpose": "direct_marketing", "channel": "email", "text": "everyone"}
    made = edge.admin.post("/v1/audiences", json=asked).json()
    assert made["size"] == 1
    return f"/v1/audiences/{made['id']}/members"


def full(*_: object) -> None:
    raise StoreError("the log is full")


def test_a_stream_is_recorded_with_who_and_how_many(edge: Edge) -> None:
    path = members_path(edge)
    reader = edge.client(edge.issue("reader", "audience"))
    assert reader.get(path).text.count("\n") == 1
    (entry,) = entries(edge, EntryKind.MEMBERS_READ)
    assert (entry.actor, entry.fields) == (
        "reader", {"audience": path.split("/")[3], "recipient": "self", "size": 1},
    )  # fmt: skip
    assert reader.get("/v1/audiences/" + "0" * 32 + "/members").status_code == 404
    assert len(entries(edge, EntryKind.MEMBERS_READ)) == 1


def test_no_line_leaves_when_the_log_does_not_take_the_entry(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    path = members_path(edge)
    who = {"identifier": {"email": "anna@example.org"}}
    with monkeypatch.context() as patched:
        patched.setattr(log_store, "append", full)
        replies = [edge.admin.get(path), edge.admin.post("/v1/subjects/lookup", json=who)]
    assert [r.status_code for r in replies] == [503, 503]
    assert not any("p1-" in r.text for r in replies)
    assert edge.admin.get(path).is_success


def test_a_batch_is_decided_anew_under_whatever_key(edge: Edge) -> None:
    """A permit that was kept would be given again after the withdrawal (promises P2 and P10)."""
    asked = {"purpose": "direct_marketing", "channel": "email", "subjects": [{"email": "anna@example.org"}]}
    key = {"idempotency-key": "nightly"}
    assert edge.admin.post("/v1/decisions/batch", json=asked, headers=key).json()["permitted"] == 1
    no = {"subject": {"email": "anna@example.org"}, "purpose": "direct_marketing", "kind": "withdrawn"}
    said = edge.admin.post("/v1/consents", json={"source": "crm", "items": [no | {"at": "2026-10-02T00:00:00Z"}]})
    assert said.json()["accepted"] == 1
    again = edge.admin.post("/v1/decisions/batch", json=asked, headers=key)
    assert again.json()["permitted"] == 0
    assert "idempotent-replayed" not in again.headers


def ask(edge: Edge, key: str, path: str, email: str) -> Any:
    who = {"email": email}
    use = {"purpose": "direct_marketing", "channel": "email"}
    bodies = {
        "/v1/subjects/lookup": {"identifier": who},
        "/v1/decisions": use | {"subject": who},
        "/v1/decisions/batch": use | {"subjects": [who]},
    }
    return edge.client(key).post(path, json=bodies[path])


@pytest.mark.parametrize("path", ["/v1/subjects/lookup", "/v1/decisions", "/v1/decisions/batch"])
def test_strangers_have_a_quota_wherever_one_can_ask(edge: Edge, path: str) -> None:
    key = edge.issue("crm", "decide")
    found = [ask(edge, key, path, f"stranger{n}@example.org").status_code for n in range(3)]
    assert found[:2] in ([200, 200], [404, 404])
    assert found[2] == 429
    for reply in (ask(edge, key, path, "stranger9@example.org"), ask(edge, key, path, "anna@example.org")):
        assert (reply.status_code, reply.json()["code"]) == (429, "quota_exhausted")
        assert int(reply.headers["retry-after"]) > 0
    assert edge.admin.get("/v1/quotas").json()["items"][0]["used_hour"] == 2


@pytest.mark.parametrize("kind", ["events", "subjects", "consents"])
def test_rows_of_another_recipient_do_not_try_out_who_is_known(edge: Edge, kind: str) -> None:
    """What becomes of a row tells who is a customer; a no gets through all the same, and so does a pseudonym."""
    house = {"id": "house", "name": "House", "kind": "processor", "country": "DE", "contract": True}
    assert edge.admin.post("/v1/recipients", json=house).is_success
    client = edge.client(edge.issue("house", "ingest", recipient="house"))
    found = [codes(send(client, kind, {"email": f"stranger{n}@example.org"}, n)) for n in range(2)]
    assert found in ([["unknown_subject"]] * 2, [[]] * 2)
    for email in ("stranger9@example.org", "anna@example.org"):
        assert codes(send(client, kind, {"email": email}, 9)) == ["quota_exhausted"]
    who = {"identifier": {"email": "anna@example.org"}, "recipient": "house"}
    name = edge.admin.post("/v1/subjects/lookup", json=who).json()["pseudonym"]
    assert codes(send(client, "events", {"pseudonym": name}, 10)) == []
    assert codes(send(client, "no", {"email": "anna@example.org"}, 11)) == []
    own = edge.client(edge.issue("crm", "ingest"))
    assert codes(send(own, "events", {"email": "anna@example.org"}, 12)) == []


def send(client: httpx.Client, kind: str, who: dict[str, str], number: int) -> dict[str, Any]:
    """The answer for one row about somebody."""
    given = {"subject": who, "purpose": "direct_marketing", "at": "2026-10-01T00:00:00Z"}
    rows: dict[str, dict[str, Any]] = {
        "events": {"subject": who, "type": "visit", "at": "2026-10-01T00:00:00Z", "key": str(number)},
        "subjects": who,
        "consents": given | {"kind": "requested"},
        "no": given | {"kind": "withdrawn"},
    }
    path = {"no": "consents"}.get(kind, kind)
    answer: dict[str, Any] = client.post(f"/v1/{path}", json={"source": "crm", "items": [rows[kind]]}).json()
    return answer


def codes(answer: dict[str, Any]) -> list[str]:
    return [reason["code"] for row in answer["rejections"] for reason in row["reasons"]]
