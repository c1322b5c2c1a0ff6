"""Runs commands the way a shell does, and reads what they tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders import a_person, a_source, incoming
from consent_gateway.audit.entries import Entry, parse_entry
from consent_gateway.audit.tiles import decode_bundle
from consent_gateway.cli.main import cli, main
from consent_gateway.cli.opening import open_gateway
from consent_gateway.db import log_store
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry.registers import put_source


def run(*arguments: str | Path, given: str = "") -> Result:
    """Run a command with `given` on its standard input."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=given)


def told(*arguments: str | Path, status: int = 0, given: str = "") -> Any:
    """Run a command with `--json`, require its exit status, and return what it printed."""
    result = run(*arguments, "--json", given=given)
    assert result.exit_code == status, (result.output, result.exception)
    return json.loads(result.stdout)


def through_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run a command through `main`, which turns errors into lines; return exit status, output and errors."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["consent-gateway", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    read = capsys.readouterr()
    return int(ended.value.code or 0), read.out, read.err


def store_with_key_holders(place: Path) -> Path:
    """Make a store with three people, and the key files of two who look after keys and of one who does not."""
    directory = place / "store"
    told("init", "--store", directory)
    for name, scopes in (("first", ("keys", "approve")), ("second", ("keys", "approve")), ("crm", ("decide",))):
        wanted = [part for scope in scopes for part in ("--scope", scope)]
        (place / name).write_text(told("keys", "issue", name, *wanted, "--store", directory)["api_key"] + "\n")
    with open_gateway(directory).work() as work:
        put_source(work, a_source())
        import_subjects(work, "crm", incoming([a_person(n) for n in range(3)]), "0" * 64)
    return directory


def logged(store: Path) -> list[Entry]:
    """The entries of a short log, oldest first."""
    gateway = open_gateway(store)
    with gateway.store.reading() as session:
        size = log_store.checkpoint(session)[0]
        bundle = log_store.bundle(session, 0, size)
    gateway.store.dispose()
    return [parse_entry(entry) for entry in decode_bundle(bundle)]
