"""The log does not stand: what is refused, how it is said, what goes on; a store that is set back under a server."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backups import back_up, restore
from consent_gateway.services.log_gate import Fault, FaultKind
from edge import Edge, running

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


def waits(condition: Callable[[], bool]) -> None:
    bell = threading.Event()
    for _ in range(1000):
        if condition():
            return
        bell.wait(0.02)
    raise AssertionError("it did not happen")


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
    assert edge.admin.post("/v1/sources", json=SOURCE | {"id": "web"}).is_success
    assert [line["reason"] for line in logged(edge, "log.halted")][-1] == "rolled_back"
    assert logged(edge, "log.resumed")[-1]["kind"] == "test"


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
