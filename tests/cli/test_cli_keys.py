"""The commands over keys, on a store of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_builders import run, store_with_key_holders, told

from consent_gateway.cli.opening import open_gateway
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError, NotFoundError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_with_key_holders(tmp_path)


def test_an_epoch_is_rolled(store: Path, tmp_path: Path) -> None:
    mine = ("--store", store, "--key-file", tmp_path / "first")
    done = told("keys", "roll-epoch", *mine)
    assert (done["kind"], done["to_number"], done["done"], done["failed"]) == ("epoch_roll", 2, 3, 0)
    assert done["finished_at"]
    assert told("keys", "status", "--store", store)["current_kek_epoch"] == 2
    assert "3 changed" in run("keys", "roll-epoch", "--rate", 1_000, *mine).stdout


def test_a_key_without_the_scope_rolls_nothing(store: Path, tmp_path: Path) -> None:
    refused = run("keys", "roll-epoch", "--store", store, "--key-file", tmp_path / "crm")
    assert isinstance(refused.exception, ForbiddenError)
    assert told("keys", "status", "--store", store)["current_kek_epoch"] == 1


def test_a_destruction_takes_two_and_time(store: Path, tmp_path: Path) -> None:
    mine = ("--store", store, "--key-file", tmp_path / "first")
    theirs = ("--store", store, "--key-file", tmp_path / "second")
    told("keys", "roll-epoch", *mine)
    status = told("keys", "status", "--store", store)
    assert (status["wraps"], status["kek_epochs"], status["processes"]) == ({"2": 3}, [1, 2], [])
    assert [job["kind"] for job in status["jobs"]] == ["epoch_roll"]
    proposal = told("keys", "destroy", "epoch", 1, "--propose", *mine)["proposal"]
    assert told("keys", "approvals", "approve", proposal, *theirs)["state"] == "approved"
    refused = run("keys", "destroy", "epoch", 1, *mine)
    assert "a moment ago" in str(refused.exception)
    assert told("keys", "status", "--store", store)["kek_epochs"] == [1, 2]


def test_without_a_schedule_nothing_is_promised(store: Path) -> None:
    found = run("keys", "erasure-deadline", "--store", store, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout) == {"at": None, "why": "no promise: no schedule is set", "order": None}
    assert "no promise" in run("keys", "erasure-deadline", "--store", store).stdout


def test_data_keys_are_new(store: Path, tmp_path: Path) -> None:
    mine = ("--store", store, "--key-file", tmp_path / "first")
    done = told("keys", "rotate", "dek", "--all", *mine)
    assert (done["kind"], done["done"], done["failed"]) == ("dek", 3, 0)
    with open_gateway(store).look() as work:
        pseudonym = work.gateway.vault.pseudonym(SubjectId(1), OWN, work.registers)
    assert told("keys", "rotate", "dek", "--subject-pseudonym", pseudonym, *mine) == {"subjects": 1}
    assert "1 data keys" in run("keys", "rotate", "dek", "--subject-pseudonym", pseudonym, *mine).output
    assert isinstance(run("keys", "rotate", "dek", "--subject-pseudonym", "p1-none", *mine).exception, NotFoundError)
    for arguments in ((), ("--all", "--subject-pseudonym", pseudonym)):
        assert isinstance(run("keys", "rotate", "dek", *arguments, *mine).exception, SystemExit)
