"""Four eyes on the command line: two people with two key files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_builders import run, told

from consent_gateway.errors import ForbiddenError, InputError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    told("init", "--store", directory)
    for name, scope in (("first", "approve"), ("second", "approve"), ("crm", "decide")):
        key = told("keys", "issue", name, "--scope", scope, "--store", directory)["api_key"]
        (tmp_path / name).write_text(key + "\n")
    return directory


def test_two_people(store: Path, tmp_path: Path) -> None:
    mine = ("--store", store, "--key-file", tmp_path / "first")
    theirs = ("--store", store, "--key-file", tmp_path / "second")
    listing = ("keys", "approvals", "list", "--store", store)
    assert "nothing" in run(*listing).output
    made = told("keys", "approvals", "propose", "destroy_key_epoch", "--subject", "epoch=1", *mine)
    assert (made["state"], made["subject"]) == ("proposed", {"epoch": 1})
    assert isinstance(run("keys", "approvals", "approve", made["id"], *mine).exception, ForbiddenError)
    assert told("keys", "approvals", "approve", made["id"], *theirs)["state"] == "approved"
    assert told("keys", "approvals", "refuse", made["id"], *mine)["state"] == "withdrawn"
    assert [row["state"] for row in told(*listing)] == ["withdrawn"]
    assert run(*listing).exit_code == 0


def test_a_key_without_the_scope_is_refused(store: Path, tmp_path: Path) -> None:
    arguments = ("keys", "approvals", "propose", "destroy_key_epoch", "--subject", "epoch=1")
    assert isinstance(run(*arguments, "--store", store, "--key-file", tmp_path / "crm").exception, ForbiddenError)


def test_a_standing_one_needs_an_instant(store: Path, tmp_path: Path) -> None:
    order = ("scheduled_epoch_roll", "--subject", "epoch_seconds=604800", "--subject", "grace_seconds=86400")
    refused = run("keys", "approvals", "propose", *order, "--store", store, "--key-file", tmp_path / "first")
    assert isinstance(refused.exception, InputError)
    assert refused.exception.fields[0].path == "$.valid_until"
