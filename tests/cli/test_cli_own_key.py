"""The gateway's own key on the command line, in the doctor's findings, and at a start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_builders import run, store_with_key_holders, told

from builders import take
from consent_gateway.cli.opening import open_gateway
from consent_gateway.services.work.items import SubjectItem
from edge import serving


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three people, and a refused row under the gateway's own key."""
    made = store_with_key_holders(tmp_path)
    take(open_gateway(made), [SubjectItem({"member_no": "", "email": "nonsense"})])
    return made


def lose(store: Path) -> None:
    """The epoch of every wrap goes: so it looks after a backup from before a destroyed epoch."""
    custody = open_gateway(store).vault.custody
    custody.use(custody.keyring.new_kek_epoch())
    custody.use(custody.keyring.destroy_kek_epoch(1))


def test_two_people_make_a_new_one(store: Path, tmp_path: Path) -> None:
    where = ("--store", store)
    first, second = ((*where, "--key-file", tmp_path / name) for name in ("first", "second"))
    assert told("keys", "own-key", "status", *where) == {
        "state": "held", "epoch": 1, "quarantined": 1, "signals": 0, "replies": 0,
    }  # fmt: skip
    assert run("doctor", *where).exit_code == 0
    lose(store)
    lost = run("keys", "own-key", "status", *where)
    assert (lost.exit_code, lost.stdout.startswith("lost; under it: 1 refused rows")) == (1, True)
    assert told("keys", "status", *where)["own_key"]["state"] == "lost"
    found = {f["check"]: f["detail"] for f in told("doctor", *where, status=1)}
    assert "4 under epoch 1" in found["data keys"]
    assert "1 refused rows" in found["own key"]
    proposal = told("keys", "own-key", "renew", "--propose", *first)["proposal"]
    told("keys", "approvals", "approve", proposal, *second)
    assert "given up: 1 refused rows" in run("keys", "own-key", "renew", *first).stdout
    assert told("keys", "own-key", "status", *where)["state"] == "held"
    found = {f["check"]: f["detail"] for f in told("doctor", *where, status=1)}
    assert "3 under epoch 1" in found["data keys"], "those of people, which nobody brings back"
    assert "own key" not in found


def test_a_start_says_that_it_is_lost_and_serves(store: Path, tmp_path: Path) -> None:
    lose(store)
    with serving(store, tmp_path / "log") as server:
        assert server.stop()
    assert "keys.own_lost" in [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
