"""A backup is restored, the log does not stand, two people open an epoch, auditors follow: with the documented commands.

The commands are those of docs/log-epochs.md as they stand there; what the auditor holds was kept before the loss.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from backups import back_up, restore
from consent_gateway.cli.main import cli
from consent_gateway.errors import GatewayError
from consent_gateway.settings import Settings
from edge import ROOT, Edge, opened, running
from replicas import waits

GUIDE = (ROOT / "docs" / "log-epochs.md").read_text(encoding="utf-8")
SOURCE = {"id": "crm", "name": "CRM", "channel": "web", "party": "first"}
ANNA = {"email": "anna@example.org"}
A_NO = {
    "subject": ANNA,
    "purpose": "direct_marketing",
    "channel": "email",
    "kind": "withdrawn",
    "at": "2026-01-31T12:00:00Z",
}


def documented(who: str) -> list[str]:
    """The commands that the guide tells somebody to run, in order."""
    (block,) = re.findall(rf"<!-- checked: {who} -->\n```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for line in block.splitlines()]


@dataclass
class Table:
    """A folder of files, where an operator or an auditor types commands; `said` are the words that stand for others."""

    place: Path
    said: dict[str, str]
    alone: bool  # whether the single file is run too

    def types(self, line: str, status: int = 0) -> str:
        """Run a line of the guide and return what it printed; names of files are those of this folder."""
        command, _, target = line.partition(" > ")
        words = shlex.split(command)
        assert words.pop(0) == "consent-gateway"
        result = CliRunner().invoke(cli, [self._meant(word) for word in words])
        assert result.exit_code == status, (line, result.output, result.exception)
        if target:
            (self.place / target).write_text(result.stdout)
        return result.stdout

    def _meant(self, word: str) -> str:
        if word == "$(cat log.vkey)":
            return (self.place / "log.vkey").read_text().strip()
        file = self.place / word
        return self.said.get(word, str(file) if file.exists() or word == "log" else word)

    def checks(self, *arguments: str, status: int = 0) -> str:
        """Run `audit verify`; where epochs are followed, hold the single file to saying the same."""
        words = [self._meant(word) for word in arguments]
        result = CliRunner().invoke(cli, ["audit", "verify", *words])
        assert result.exit_code == status, (arguments, result.output, result.exception)
        if self.alone and "--epoch" in words:
            command = [sys.executable, "-I", str(self.place / "verify.py"), *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (status, result.stdout)
        return result.stdout


def asked(edge: Edge) -> str:
    """A decision; returns its entry, integrated and vouched for outside."""
    reply = decided(edge)
    assert reply.is_success, reply.text
    uid = str(reply.json()["entry"]["uid"])
    edge.settle()
    waits(lambda: kept(edge) == head(edge))
    return uid


def decided(edge: Edge) -> httpx.Response:
    question = {"subject": ANNA, "purpose": "direct_marketing", "channel": "email", "recipient": "self"}
    return edge.admin.post("/v1/decisions", json=question)


def kept(edge: Edge) -> int:
    path = edge.settings.checkpoint_files[0]
    return int(path.read_text().splitlines()[1]) if path.exists() else 0


def head(edge: Edge) -> int:
    return int(edge.admin.get("/v1/audit/checkpoint").text.splitlines()[1])


def fetched(edge: Edge, table: Table, name: str, uid: str) -> None:
    """Keep the receipt of an entry and its bytes."""
    path = f"/v1/audit/entries/{uid}"
    (table.place / f"{name}.receipt").write_bytes(edge.admin.get(f"{path}/receipt").raise_for_status().content)
    (table.place / f"{name}.entry").write_bytes(edge.admin.get(f"{path}/bytes").raise_for_status().content)


def noted(edge: Edge, table: Table, name: str) -> None:
    """Keep the checkpoint of now."""
    (table.place / name).write_bytes(edge.admin.get("/v1/audit/checkpoint").content)


@dataclass
class Before:
    """What there was before the loss: the store, its first key, two officers, and what the auditor kept."""

    settings: Settings
    key: str
    table: Table


@pytest.fixture
def before(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Before:
    """A log that is exported and vouched for, and then set back by a backup while nobody serves it."""
    table = Table(tmp_path / "table", {}, store_url.startswith("sqlite"))
    for folder in ("table", "kept"):
        (tmp_path / folder).mkdir()
    copy = tmp_path / "kept" / "checkpoint"
    with running(tmp_path / "store", store_url, checkpoint_files=(copy,), log_check_seconds=1) as edge:
        settings, key = edge.settings, edge.key
        monkeypatch.setenv("CONSENT_GATEWAY_STORE_DIRECTORY", str(tmp_path / "store"))
        monkeypatch.setenv("CONSENT_GATEWAY_CHECKPOINT_FILES", str(copy))
        if not store_url.startswith("sqlite"):
            monkeypatch.setenv("CONSENT_GATEWAY_DATABASE_URL", store_url)
        for name in ("FIRST", "SECOND"):
            (table.place / name).write_text(edge.issue(name.lower(), "approve", "audit"))
        assert edge.admin.post("/v1/sources", json=SOURCE).is_success
        items = [{"email": ANNA["email"], "country": "DE", "birth_date": "1980-05-17"}]
        assert edge.admin.post("/v1/subjects", json={"source": "crm", "items": items}).is_success
        (table.place / "log.vkey").write_text(edge.admin.get("/v1/audit/vkey").text)
        (table.place / "verify.py").write_text(table.types("consent-gateway audit verifier"))
        fetched(edge, table, "surviving", asked(edge))
        noted(edge, table, "before")
        back_up(edge.gateway.store, tmp_path / "backup")
        fetched(edge, table, "gone", asked(edge))
        noted(edge, table, "lost")
        vouched = copy.read_bytes()
        table.types("consent-gateway audit export log")
        (table.place / "log").rename(table.place / "old")
        asked(edge)
        noted(edge, table, "later")
        store = edge.gateway.store
    copy.write_bytes(vouched)  # it was a little behind, so that the loss will be named a little too small
    restore(store, tmp_path / "backup")
    return Before(settings, key, table)


def test_a_restored_backup_becomes_an_epoch_that_auditors_follow(before: Before) -> None:
    table = before.table
    status, plan, propose, approve, opening, statement, good = documented("operator")
    with opened(before.settings, before.key) as edge:
        refused = edge.admin.post("/v1/sources", json=SOURCE | {"id": "late"})
        assert (refused.status_code, refused.json()["code"]) == (503, "log_halted")
        no = edge.admin.post("/v1/consents", json={"source": "crm", "items": [A_NO]})
        assert no.status_code == 202, no.text
        assert "rolled_back" in table.types(status, status=1)
        assert "lost: entries" in table.types(plan)
        (found,) = re.findall(r"proposed: (\S+)", table.types(propose))
        table.said["ID"] = found
        assert CliRunner().invoke(cli, opened_by(table, opening)).exit_code != 0, "nobody else approved it yet"
        table.types(approve)
        assert "epoch 2 is open" in table.types(opening)
        table.types(statement)
        assert "rolled_back" not in table.types(good)
        waits(lambda: edge.admin.get("/health/ready").is_success)
        waits(lambda: decided(edge).is_success)  # what was kept is carried out first
        history = edge.admin.post("/v1/consents/history", json={"subject": ANNA}).json()
        assert [event["kind"] for event in history["items"]] == ["withdrawn"]
        fetched(edge, table, "new", asked(edge))
        (table.place / "log2.vkey").write_text(edge.admin.get("/v1/audit/vkey").text)
        noted(edge, table, "after")

        export, epochs, tree = documented("auditor")
        table.types(export)
        assert "epoch-2" in table.types(epochs)
        assert table.types(tree).startswith("ok ")
        audits(table, tree)
        changes_its_key(edge, table)
        table.types(export)
        two = ("--epoch", "epoch-2.note", "--epoch", "epoch-3.note")
        assert table.checks("tree", "$(cat log.vkey)", "log", "before", "lost", "after", *two, "--strict")
        assert "epoch-3" in table.checks("epochs", "$(cat log.vkey)", "epoch-2.note", "epoch-3.note")


def changes_its_key(edge: Edge, table: Table) -> None:
    """The same over HTTP, with nothing lost: a planned change of the key."""
    first, second = (edge.client((table.place / name).read_text()) for name in ("FIRST", "SECOND"))
    plan = first.get("/v1/audit/epochs").json()["next"]
    assert (plan["epoch"], plan["lost_from"]) == (3, None)
    subject = {"epoch": 3, "plan": plan["plan"], "reason": "yearly"}
    made = first.post("/v1/approvals", json={"action": "log_epoch", "subject": subject}).json()["id"]
    assert first.post(f"/v1/approvals/{made}/approve", json={"action": "log_epoch"}).status_code == 403
    assert second.post(f"/v1/approvals/{made}/approve", json={"action": "log_epoch"}).is_success
    opened = second.post("/v1/audit/epochs", json={"reason": "yearly"})
    assert opened.is_success, opened.text
    table.types("consent-gateway audit epoch statement 3 > epoch-3.note")
    assert (table.place / "epoch-3.note").read_text() == opened.json()["statement"]
    asked(edge)


def opened_by(table: Table, line: str) -> list[str]:
    return [table._meant(word) for word in shlex.split(line)[1:]]


def audits(table: Table, tree: str) -> None:
    """Everything that was kept before holds, and what is not so is found; by both forms of the verifier."""
    words = shlex.split(tree)[3:]
    assert table.checks(*words).startswith("ok ")
    old, new = "$(cat log.vkey)", (table.place / "log2.vkey").read_text().strip()
    assert table.checks("receipt", old, "surviving.receipt", "surviving.entry").startswith("ok")
    assert table.checks("receipt", old, "gone.receipt", "gone.entry").startswith("ok"), "it was there once"
    assert table.checks("receipt", new, "new.receipt", "new.entry").startswith("ok")
    assert table.checks("tree", old, "old", "before", "lost", "--strict").startswith("ok")
    assert "FAIL" in table.checks("tree", old, "log", "before", "--strict", status=1), "without the statement"
    later = table.checks("tree", old, "log", "later", "--epoch", "epoch-2.note", status=1)
    assert "rolled_back" in later or "prefix" in later, "a loss that is larger than it was named"
    assert table.checks("tree", old, "log", "old", "--epoch", "epoch-2.note").startswith("ok"), "all of it is named"
    assert isinstance(CliRunner().invoke(cli, ["audit", "export", str(table.place / "old")]).exception, GatewayError)
    assert "FAIL" in table.checks("tree", new, "log", "lost", "--strict", status=1)
    assert "FAIL" in table.checks("receipt", new, "gone.receipt", "gone.entry", status=1)
