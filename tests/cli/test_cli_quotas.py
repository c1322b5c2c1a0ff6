"""What officers set, on the command line: quotas of keys, canaries, and epochs of pseudonyms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_builders import run, store_with_key_holders, told

from builders import a_recipient
from consent_gateway.cli.opening import open_gateway
from consent_gateway.db import canaries as canary_rows
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.purposes import OWN
from consent_gateway.errors import ForbiddenError, InputError, NotFoundError
from consent_gateway.services.registry.registers import put_recipient

CANARY = {"source": "crm", "person": {"email": "carla.birdwell@example.org", "given_name": "Carla", "country": "DE"}}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = store_with_key_holders(tmp_path)
    (tmp_path / "boss").write_text(told("keys", "issue", "boss", "--scope", "admin", "--store", made)["api_key"])
    return made


@pytest.fixture
def mine(store: Path, tmp_path: Path) -> tuple[Any, ...]:
    return "--store", store, "--key-file", tmp_path / "boss"


@pytest.fixture
def theirs(store: Path, tmp_path: Path) -> tuple[Any, ...]:
    return "--store", store, "--key-file", tmp_path / "first"


def test_a_key_gets_limits_of_its_own(store: Path, mine: tuple[Any, ...]) -> None:
    assert told("keys", "quotas", "list", "--store", store) == []
    assert "no key" in run("keys", "quotas", "list", "--store", store).stdout
    given = told("keys", "quotas", "set", "crm", "--per-hour", 7, *mine)
    assert (given["principal"], given["quota"], given["per_hour"], given["used_day"]) == ("crm", "reveal", 7, 0)
    default = given["per_day"]
    lookup = told("keys", "quotas", "set", "crm", "--quota", "lookup", "--per-hour", 0, "--per-day", 0, *mine)
    assert (lookup["quota"], lookup["per_hour"], lookup["per_day"]) == ("lookup", 0, 0)
    assert told("keys", "quotas", "list", "--store", store) == [lookup, given]
    again = told("keys", "quotas", "set", "crm", "--per-day", 9, *mine)
    assert (again["per_hour"] != 7, again["per_day"]) == (True, 9), "what is not named goes by the setting"
    assert default != 9
    assert "0 of 9" in run("keys", "quotas", "list", "--store", store).stdout


def test_a_key_is_suspended_and_goes_on(store: Path, mine: tuple[Any, ...]) -> None:
    assert told("keys", "quotas", "suspend", "crm", *mine)["suspended_at"]
    assert "suspended" in run("keys", "quotas", "list", "--store", store).stdout
    assert told("keys", "quotas", "resume", "crm", *mine)["suspended_at"] is None
    assert "an hour" in run("keys", "quotas", "resume", "crm", *mine).stdout


@pytest.mark.parametrize("command", [("set", "crm"), ("suspend", "crm"), ("resume", "crm")])
def test_quotas_are_set_by_admins_and_for_keys(
    mine: tuple[Any, ...], theirs: tuple[Any, ...], command: tuple[str, str]
) -> None:
    assert isinstance(run("keys", "quotas", *command, *theirs).exception, ForbiddenError)
    assert isinstance(run("keys", "quotas", command[0], "nobody", *mine).exception, InputError)


def test_a_canary_is_planted_from_a_file(
    store: Path, mine: tuple[Any, ...], theirs: tuple[Any, ...], tmp_path: Path
) -> None:
    (tmp_path / "carla").write_text(json.dumps(CANARY))
    plant = ("canaries", "plant", "--person", tmp_path / "carla")
    assert isinstance(run(*plant, *theirs).exception, ForbiddenError)
    name = told(*plant, *mine)["pseudonym"]
    with open_gateway(store).look() as work:
        who = work.gateway.vault.resolve(name, OWN, work.registers, work.now)
        assert who is not None
        assert canary_rows.among(work.session, [who, 1]) == {who}
    assert isinstance(run(*plant, *mine).exception, InputError), "known by now: a customer is no canary"
    other = CANARY | {"person": {"email": "otto.finch@example.org", "country": "DE"}}
    shown = run("canaries", "plant", "--person", "-", *mine, given=json.dumps(other))
    assert shown.stdout.startswith("planted: p")
    assert "otto" not in shown.output


@pytest.mark.parametrize("body", ["{", '{"source":"crm","source":"crm"}', "{}", " " * 70_000])
def test_what_is_no_canary_is_refused(mine: tuple[Any, ...], body: str) -> None:
    assert isinstance(run("canaries", "plant", "--person", "-", *mine, given=body).exception, InputError)


def test_the_next_epoch_of_a_recipients_pseudonyms(store: Path, mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> None:
    with open_gateway(store).work() as work:
        put_recipient(work, a_recipient("house"))
        formerly = work.gateway.vault.pseudonym(1, RecipientId("house"), work.registers)
    roll = ("pseudonyms", "roll", "house", "--overlap-seconds", 3600)
    assert isinstance(run(*roll, *theirs).exception, ForbiddenError)
    rolled = told(*roll, *mine)
    assert (rolled["sector"], rolled["epoch"], [f["epoch"] for f in rolled["former"]]) == ("house", 2, [1])
    assert told("pseudonyms", "epochs", "house", "--store", store) == rolled
    with open_gateway(store).look() as work:
        assert work.gateway.vault.resolve(formerly, RecipientId("house"), work.registers, work.now) == 1
    assert "epoch 3; 0 former" in run(*roll[:3], "--overlap-seconds", 0, *mine).stdout
    with open_gateway(store).look() as work:
        assert work.gateway.vault.resolve(formerly, RecipientId("house"), work.registers, work.now) is None
    for command in (("roll", "nobody", "--overlap-seconds", 1, *mine), ("epochs", "nobody", "--store", store)):
        assert isinstance(run("pseudonyms", *command).exception, NotFoundError)
