"""`audit status` and `audit copies`: how the log stands, told to people and programs, with an exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_builders import run, store_with_key_holders, through_main, told


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = store_with_key_holders(tmp_path)
    (tmp_path / "kept").mkdir()
    monkeypatch.setenv("CONSENT_GATEWAY_CHECKPOINT_FILES", str(tmp_path / "kept" / "checkpoint"))
    return made


def test_without_copies_the_log_stands_and_says_what_is_missing(tmp_path: Path) -> None:
    made = store_with_key_holders(tmp_path)
    found = told("audit", "status", "--store", made)
    assert (found["stands"], found["epoch"], found["copies"], found["faults"]) == (True, 1, [], {})
    assert found["vkey"].startswith(found["origin"] + "+")
    assert "no checkpoint is kept outside" in run("audit", "status", "--store", made).stdout


def test_copies_are_brought_lost_and_renewed(store: Path, tmp_path: Path) -> None:
    (copy,) = told("audit", "copies", "bring", "--store", store)["copies"]
    found = told("audit", "status", "--store", store)
    assert copy == {
        "name": "file_1",
        "stands": "holds",
        "trouble": None,
        "epoch": 1,
        "size": found["size"],
        "behind": 0,
    }
    (tmp_path / "kept" / "checkpoint").unlink()
    lost = told("audit", "status", "--store", store, status=1)
    assert (lost["copies"][0]["trouble"], lost["stands"]) == ("lost", False)
    assert list(lost["faults"]) == ["copies"]
    assert run("audit", "copies", "bring", "--store", store).exit_code == 1
    assert not (tmp_path / "kept" / "checkpoint").exists()
    assert told("audit", "copies", "renew", "--store", store)["stands"]
    assert "file_1" in run("audit", "status", "--store", store).stdout


def test_a_foreign_copy_stops_what_writes_and_doctor_says_so(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = store_with_key_holders(tmp_path / "other")
    told("audit", "copies", "bring", "--store", other)
    status, _, errors = through_main(
        monkeypatch, capsys, "keys", "issue", "late", "--scope", "decide", "--store", store
    )
    assert status == 2
    assert "log_halted" in errors
    assert "another log or key" in errors
    shown = run("audit", "status", "--store", store)
    assert (shown.exit_code, "does not stand" in shown.stdout) == (1, True)
    checks = {finding["check"]: finding for finding in told("doctor", "--store", store, status=1)}
    assert not checks["audit log"]["ok"]
    assert "foreign" in checks["audit log"]["detail"]
    (tmp_path / "kept" / "checkpoint").unlink()
    checks = {finding["check"]: finding for finding in told("doctor", "--store", store)}
    assert checks["checkpoint copies"] == {"check": "checkpoint copies", "ok": True, "detail": "file_1"}


def test_an_epoch_is_planned_proposed_approved_and_opened(store: Path, tmp_path: Path) -> None:
    told("audit", "copies", "bring", "--store", store)
    plan = told("audit", "epoch", "plan", "--store", store)
    assert (plan["epoch"], plan["lost"]) == (2, None)
    assert "planned change" in run("audit", "epoch", "plan", "--store", store).stdout
    first, second = ("--key-file", tmp_path / "first"), ("--key-file", tmp_path / "second")
    asked = ("--reason", "yearly", "--store", store)
    made = told("audit", "epoch", "propose", *asked, *first)
    assert made["plan"] == plan["plan"]
    assert run("audit", "epoch", "open", *asked, *first).exception is not None, "nobody approved it yet"
    told("keys", "approvals", "approve", made["approval"], "--store", store, *second)
    opened = told("audit", "epoch", "open", *asked, *second)
    listed = told("audit", "epoch", "list", "--store", store)
    assert [item["epoch"] for item in listed] == [1, 2]
    assert listed[1]["statement"] == opened["statement"]
    assert told("audit", "status", "--store", store)["vkey"] == opened["vkey"]
    assert (tmp_path / "kept" / "checkpoint").read_text().startswith("localhost/consent-gateway/epoch-2\n")
    assert "epoch 2" in run("audit", "epoch", "list", "--store", store).stdout
