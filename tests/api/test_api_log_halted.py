"""The log does not stand: what is refused, how it is said, what goes on; a store that is set back under a server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backups import back_up, restore
from consent_gateway.services.work.log_gate import Fault, FaultKind
from edge import Edge, running
from replicas import waits

ASK = {
    "subject": {"email": "canary.anna@example.org"},
    "purpose": "direct_marketing",
    "channel": "email",
    "recipient": "self",
}
SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}


@pytest.fixture
def edge(tmp_path: Path, store_url: str) -> Iterator[Edge]:
    copies = (tmp_path / "kept" / "checkpoint",)
    copies[0].parent.mkdir()
    with running(tmp_path / "store", store_url, checkpoint_files=copies, log_check_seconds=1) as made:
        yield made


def kept_size(edge: Edge) -> int:
    path = edge.settings.checkpoint_files[0]
    return int(path.read_text().splitlines()[1]) if path.exists() else 0


def head(edge: Edge) -> int:
    return int(edge.admin.get("/v1/audit/checkpoint").text.splitlines()[1])


def logged(edge: Edge, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in edge.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_writes_are_refused_with_a_problem_of_their_own_and_reads_go_on(edge: Edge) -> None:
    assert edge.admin.post("/v1/sources", json=SOURCE).is_success
    edge.gateway.gate.report("test", Fault(FaultKind.ROLLED_BACK, "5 of 7"))
    refused = [
        edge.admin.post("/v1/decisions", json=ASK),
        edge.admin.post("/v1/sources", json=SOURCE | {"id": "web"}),
        edge.admin.get("/health/ready"),
    ]
    for reply in refused:
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "60"), reply.text
        problem = reply.json()
        assert (problem["type"], problem["code"]) == ("/problems/log_halted", "log_halted")
        assert problem["detail"].endswith("the store was set back (5 of 7)")
    for path in ("/health/live", "/v1/sources", "/v1/audit/checkpoint", "/v1/approvals", "/openapi.json"):
        assert edge.admin.get(path).is_success, path
    edge.gateway.gate.report("test", None)
    waits(lambda: edge.admin.post("/v1/sources", json=SOURCE | {"id": "web"}).is_success)
    assert {line["reason"] for line in logged(edge, "log.halted")} >= {"rolled_back"}
    assert {line["kind"] for line in logged(edge, "log.resumed")} >= {"test", "spool"}


def test_a_backlog_is_refused_with_a_short_wait(edge: Edge) -> None:
    edge.gateway.gate.press(pressed=True)
    reply = edge.admin.post("/v1/decisions", json=ASK)
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "audit_backlog", "2")
    edge.gateway.gate.press(pressed=False)


def test_the_copy_follows_and_a_copy_that_cannot_be_written_is_seen(edge: Edge) -> None:
    edge.admin.post("/v1/sources", json=SOURCE)
    waits(lambda: kept_size(edge) == head(edge) > 0)
    waits(lambda: edge.admin.get("/health/ready").json() == {"status": "ready"})
    folder = edge.settings.checkpoint_files[0].parent
    folder.rename(folder.with_name("away"))
    edge.admin.post("/v1/sources", json=SOURCE | {"id": "web"})
    waits(lambda: edge.admin.get("/health/ready").json() == {"status": "ready", "copies": "behind"})
    waits(lambda: bool(logged(edge, "log.copy_failed")))
    folder.with_name("away").rename(folder)
    waits(lambda: edge.admin.get("/health/ready").json() == {"status": "ready"})


def test_a_store_that_is_set_back_under_the_running_server(edge: Edge, tmp_path: Path) -> None:
    edge.admin.post("/v1/sources", json=SOURCE)
    waits(lambda: kept_size(edge) == head(edge) > 0)
    store = edge.gateway.store
    back_up(store, tmp_path / "backup")
    for number in range(3):
        assert edge.admin.post("/v1/sources", json=SOURCE | {"id": f"web_{number}"}).is_success
    edge.settle()
    waits(lambda: kept_size(edge) == head(edge))
    before = kept_size(edge)
    if store.is_sqlite:
        target = str(store.engine.url.database)
        with closing(sqlite3.connect(tmp_path / "backup")) as source, closing(sqlite3.connect(target)) as file:
            source.backup(file)
    else:
        restore(store, tmp_path / "backup")
    edge.admin.post("/v1/decisions", json=ASK)  # it may be taken; then its entry waits
    waits(lambda: edge.admin.post("/v1/decisions", json=ASK).json().get("code") == "log_halted")
    assert edge.admin.get("/health/ready").status_code == 503
    assert kept_size(edge) == before
    assert head(edge) < before, "nothing was signed on what was restored"


def test_two_officers_open_an_epoch_while_nothing_else_is_written(edge: Edge, tmp_path: Path) -> None:
    for name in ("first", "second"):
        edge.issue(name, "approve", "audit")
    first, second = (edge.client(edge.issue(f"{name}_officer", "approve", "audit")) for name in ("first", "second"))
    edge.settle()
    waits(lambda: kept_size(edge) == head(edge) > 0)
    back_up(edge.gateway.store, tmp_path / "backup")
    edge.admin.post("/v1/sources", json=SOURCE)
    edge.settle()  # else the copy may be compared with a head that did not move yet
    waits(lambda: kept_size(edge) == head(edge))
    if not edge.gateway.store.is_sqlite:
        pytest.skip("restoring needs the connections of the server; the service tests do it on PostgreSQL")
    target = str(edge.gateway.store.engine.url.database)
    with closing(sqlite3.connect(tmp_path / "backup")) as source, closing(sqlite3.connect(target)) as file:
        source.backup(file)
    waits(lambda: edge.admin.post("/v1/decisions", json=ASK).json().get("code") == "log_halted")
    epochs = first.get("/v1/audit/epochs").json()
    assert [item["epoch"] for item in epochs["items"]] == [1]
    plan = epochs["next"]
    subject = {"epoch": plan["epoch"], "plan": plan["plan"], "reason": "restored_backup"}
    made = first.post("/v1/approvals", json={"action": "log_epoch", "subject": subject})
    assert made.is_success, made.text
    refused = second.post("/v1/audit/epochs", json={"reason": "restored_backup"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    approved = second.post(f"/v1/approvals/{made.json()['id']}/approve", json={"action": "log_epoch"})
    assert approved.is_success, approved.text
    opened = second.post("/v1/audit/epochs", json={"reason": "restored_backup"})
    assert opened.is_success, opened.text
    assert (opened.json()["lost_from"], opened.json()["lost_until"]) == (plan["lost_from"], plan["lost_until"])
    waits(lambda: edge.admin.post("/v1/sources", json=SOURCE | {"id": "after"}).is_success)
    waits(lambda: kept_size(edge) == head(edge))
    assert edge.settings.checkpoint_files[0].read_text().startswith("localhost/consent-gateway/epoch-2\n")
    assert edge.admin.get("/v1/audit/vkey").text.strip() == opened.json()["vkey"]
    assert [item["epoch"] for item in first.get("/v1/audit/epochs").json()["items"]] == [1, 2]


# -- a no is kept while the log does not stand -----------------------------------------------------------------------

ANNA = {"email": "canary.anna@example.org"}
A_NO = {
    "subject": ANNA,
    "purpose": "direct_marketing",
    "channel": "email",
    "kind": "withdrawn",
    "at": "2026-01-31T12:00:00Z",
}
A_YES = A_NO | {"kind": "given", "properties": ["affirmative", "evidence"], "evidence": {"form": 1}}


@pytest.fixture
def crm(edge: Edge) -> Edge:
    assert edge.admin.post("/v1/sources", json=SOURCE).is_success
    items = [{"email": ANNA["email"], "country": "DE", "birth_date": "1980-05-17"}]
    assert edge.admin.post("/v1/subjects", json={"source": "crm", "items": items}).is_success
    return edge


def history(edge: Edge) -> list[str]:
    found = edge.admin.post("/v1/consents/history", json={"subject": ANNA}).json()
    return [event["kind"] for event in found.get("items", [])]


def spooled(edge: Edge) -> bytes:
    path = edge.settings.spool_file()
    return path.read_bytes() if path.exists() else b""


def test_a_no_is_kept_outside_of_the_store_and_carried_out_before_anything_is_decided(crm: Edge) -> None:
    name = crm.admin.post("/v1/subjects/lookup", json={"identifier": ANNA}).json()["pseudonym"]
    crm.gateway.gate.report("test", Fault(FaultKind.ROLLED_BACK))
    headers = {"idempotency-key": "no-1"}
    first = crm.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]}, headers=headers)
    assert first.status_code == 202, first.text
    assert (first.json()["deferred"], first.json()["accepted"]) == (1, 0)
    again = crm.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]}, headers=headers)
    assert again.status_code == 202
    refused = crm.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO, A_YES]})
    assert (refused.status_code, refused.json()["code"]) == (503, "log_halted")
    erase = crm.admin.post(f"/v1/subjects/{name}/erase", json={"reason": "request"})
    assert (erase.status_code, erase.json()["erased"], erase.json()["pending"]) == (202, False, True)
    kept = spooled(crm)
    assert kept.count(b"\n") == 3
    assert b"anna" not in kept
    assert history(crm) == [], "nothing is done yet"
    crm.gateway.gate.report("test", None)
    waits(lambda: spooled(crm) == b"" and not crm.admin.get("/v1/keys").json()["deferred"]["waiting"])
    uid = first.json()["entries"][0]["uid"]
    waits(lambda: crm.admin.get(f"/v1/audit/entries/{uid}").is_success)
    lookup = crm.admin.post("/v1/subjects/lookup", json={"identifier": ANNA})
    assert lookup.status_code == 404, "the erasure was carried out"
    assert crm.admin.get("/v1/keys").json()["deferred"] == {"waiting": 0, "refused": 0}


def test_a_no_outlives_the_store_that_was_put_away(crm: Edge, tmp_path: Path) -> None:
    """It came while a wrong store was in place; then the right one comes back."""
    if not crm.gateway.store.is_sqlite:
        pytest.skip("restoring needs the connections of the server")
    crm.settle()
    waits(lambda: kept_size(crm) == head(crm))
    target = str(crm.gateway.store.engine.url.database)

    def put(backup: Path) -> None:
        with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(target)) as file:
            source.backup(file)

    back_up(crm.gateway.store, tmp_path / "older")
    crm.admin.post("/v1/sources", json=SOURCE | {"id": "web"})
    crm.settle()
    waits(lambda: kept_size(crm) == head(crm))
    back_up(crm.gateway.store, tmp_path / "right")
    put(tmp_path / "older")
    waits(lambda: crm.admin.post("/v1/decisions", json=ASK).json().get("code") == "log_halted")
    reply = crm.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]})
    assert reply.status_code == 202, reply.text
    put(tmp_path / "right")
    waits(lambda: crm.admin.post("/v1/decisions", json=ASK).is_success)
    assert history(crm) == ["withdrawn"]


def test_a_spool_that_cannot_be_written_takes_nothing(crm: Edge) -> None:
    crm.gateway.gate.report("test", Fault(FaultKind.ROLLED_BACK))
    path = crm.settings.spool_file()
    path.unlink(missing_ok=True)
    path.symlink_to(path.with_name("elsewhere"))
    reply = crm.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]})
    assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
    path.unlink()
    crm.gateway.gate.report("test", None)


def test_a_crash_while_the_spool_is_brought_in_brings_nothing_twice(crm: Edge) -> None:
    crm.gateway.gate.report("test", Fault(FaultKind.ROLLED_BACK))
    reply = crm.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]})
    kept = spooled(crm)
    crm.gateway.gate.report("test", None)
    waits(lambda: history(crm) == ["withdrawn"])
    crm.gateway.gate.report("test", Fault(FaultKind.ROLLED_BACK))
    crm.settings.spool_file().write_bytes(kept + b'{"cut off')
    crm.gateway.gate.report("test", None)
    waits(lambda: b'"uid"' not in spooled(crm) and crm.admin.post("/v1/decisions", json=ASK).is_success)
    assert history(crm) == ["withdrawn"]
    assert reply.status_code == 202
