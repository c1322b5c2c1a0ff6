"""The commands over the blind index: a move, where it stands, and the end of a key with four eyes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cli_builders
import pytest

from builders import ref
from consent_gateway.cli.opening import open_gateway
from consent_gateway.errors import ConflictError, ForbiddenError
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.keys import index_rotation

run, told = partial(cli_builders.run, "keys"), partial(cli_builders.told, "keys")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(index_rotation, "GRACE_SECONDS", 0)
    return cli_builders.store_with_key_holders(tmp_path)


def test_the_index_is_moved_and_its_former_key_destroyed_with_four_eyes(store: Path, tmp_path: Path) -> None:
    first, second = (("--store", store, "--key-file", tmp_path / name) for name in ("first", "second"))
    before = told("index-status", "--store", store)
    assert (before["counts"], before["moving"], before["outdated"]) == (1, None, [])
    done = told("rotate", "index", *first)
    assert (done["kind"], done["from_number"], done["to_number"]) == ("index_generation", 1, 2)
    assert (done["done"], done["failed"], done["total"], bool(done["finished_at"])) == (12, 0, 12, True)
    shown = told("status", "--store", store)
    assert (shown["index_generations"], shown["index"]["counts"]) == ([1, 2], 2)
    refused = run("destroy", "index", 1, *first)
    assert isinstance(refused.exception, ForbiddenError)
    asked = told("destroy", "index", 1, "--propose", *first)
    assert (asked["destroyed"], bool(asked["proposal"])) == (False, True)
    approved = run("approvals", "approve", asked["proposal"], *second)
    assert approved.exit_code == 0, approved.output
    for _ in range(2):
        assert told("destroy", "index", 1, *first) == {"generation": 1, "proposal": None, "destroyed": True}
    assert told("status", "--store", store)["index_generations"] == [2]
    with open_gateway(store).look() as work:
        assert isinstance(Resolver(work, [ref(1)]).resolve(ref(1)), int)


def test_people_read_lines(store: Path, tmp_path: Path) -> None:
    mine = ("--store", store, "--key-file", tmp_path / "first")
    with open_gateway(store).work() as work:
        index_rotation.start(work)
    assert "generation 2 is moving: 6 identifiers to go" in run("index-status", "--store", store).stdout
    moved = run("rotate", "index", "--rate", 100_000, *mine)
    assert "index_generation: 12 changed, 0 could not be changed" in moved.stdout
    assert "generation 2 counts" in run("index-status", "--store", store).stdout
    assert "proposed" in run("destroy", "index", 1, "--propose", *mine).stdout


def test_a_key_without_the_scope_moves_nothing_and_a_key_in_use_stays(store: Path, tmp_path: Path) -> None:
    refused = run("rotate", "index", "--store", store, "--key-file", tmp_path / "crm")
    assert isinstance(refused.exception, ForbiddenError)
    kept = run("destroy", "index", 1, "--propose", "--store", store, "--key-file", tmp_path / "first")
    assert isinstance(kept.exception, ConflictError)
    assert told("index-status", "--store", store)["counts"] == 1
