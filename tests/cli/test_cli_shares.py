"""Recovery shares on the command line: split, drilled, and used when keyring and secret are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_builders import run, told

from consent_gateway.audit.entries import parse_entry
from consent_gateway.cli.options import open_gateway
from consent_gateway.db import log_store
from consent_gateway.errors import ConflictError, InputError, KeyringError


def kinds(store: Path) -> list[str]:
    """The kinds of the last entries in the log, oldest first."""
    gateway = open_gateway(store)
    with gateway.store.reading() as session:
        size = log_store.checkpoint(session)[0]
        bundle = log_store.bundle(session, 0, size)
    gateway.store.dispose()
    found = []
    while bundle:
        end = 2 + int.from_bytes(bundle[:2], "big")
        found.append(parse_entry(bundle[2:end]).kind.value)
        bundle = bundle[end:]
    return found[-4:]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    told("init", "--store", directory)
    return directory


def copied(store: Path, name: str = "copy.json") -> Path:
    target = store.parent / name
    shutil.copyfile(store / "keyring.json", target)
    target.chmod(0o600)
    return target


def test_a_keyring_whose_secret_is_gone_comes_back_from_a_copy_and_three_shares(store: Path) -> None:
    before = told("keys", "status", "--store", store)
    made = told("keys", "shares", "split", "--store", store)
    assert [(share["index"], share["of"], share["needed"]) for share in made] == [(n, 5, 3) for n in range(1, 6)]
    lines = [share["share"] for share in made]
    copy = copied(store)

    drilled = told("keys", "drill", "--keyring", copy, "--store", store, given="\n\n".join(lines[1:4]) + "\n")
    assert (drilled["shares"], drilled["lacks"], drilled["destroyed"]) == ([2, 3, 4], [], [])
    shown = run("keys", "drill", "--keyring", copy, "--store", store, given="\n".join(lines[:3]))
    assert "open this copy" in shown.output

    refused = run("keys", "shares", "combine", "--keyring", copy, "--store", store, given="\n".join(lines[:3]))
    assert isinstance(refused.exception, KeyringError), "never over a keyring that is there"
    (store / "keyring.json").unlink()
    (store / "keyring.secret").unlink()
    few = run("keys", "shares", "combine", "--keyring", copy, "--store", store, given="\n".join(lines[:2]))
    assert isinstance(few.exception, InputError)
    assert not (store / "keyring.json").exists()
    back = told("keys", "shares", "combine", "--keyring", copy, "--store", store, given="\n".join(lines[2:]))
    assert back["fingerprint"] == before["fingerprint"]
    after = told("keys", "status", "--store", store)
    assert after["keys"] == before["keys"]
    assert (after["sealed_by"], after["shares"], after["service_keys_doomed"]) == ("secret-file", None, {})
    assert run("doctor", "--store", store).exit_code == 0
    assert kinds(store) == ["recovery.set", "recovery.drilled", "recovery.drilled", "keyring.recovered"]


def test_a_drill_names_what_a_copy_lacks_and_still_holds_and_records_a_failure(store: Path, tmp_path: Path) -> None:
    printed = run("keys", "shares", "split", "--threshold", "2", "--count", "3", "--store", store)
    assert "3 shares, 2 needed" in printed.output
    lines = "\n".join(printed.output.splitlines()[1:])
    old = copied(store)
    gateway = open_gateway(store)
    gateway.vault.provider.keyring.new_kek_epoch().destroy_kek_epoch(1)
    gateway.store.dispose()
    lacking = run("keys", "drill", "--keyring", old, "--store", store, given=lines)
    assert lacking.exit_code == 1
    assert "lacks keys in use: kek/2" in lacking.output
    assert "still holds destroyed keys: kek/1" in lacking.output
    assert told("keys", "drill", "--keyring", copied(store, "new.json"), "--store", store, given=lines)["lacks"] == []

    other = tmp_path / "other"
    told("init", "--store", other)
    foreign = told("keys", "shares", "split", "--store", other)
    theirs = "\n".join(share["share"] for share in foreign)
    for copy, given, failure in (
        (copied(other, "foreign.json"), theirs, ConflictError),
        (old, theirs, KeyringError),
        (old, lines.splitlines()[0], InputError),
    ):
        result = run("keys", "drill", "--keyring", copy, "--store", store, given=given)
        assert isinstance(result.exception, failure)
        assert kinds(store)[-1] == "recovery.drilled"


def test_odd_numbers_and_what_is_no_share_change_nothing(store: Path) -> None:
    before = (store / "keyring.json").read_bytes()
    odd = run("keys", "shares", "split", "--threshold", "6", "--store", store)
    assert isinstance(odd.exception, InputError)
    assert (store / "keyring.json").read_bytes() == before
    result = run("keys", "drill", "--keyring", copied(store), "--store", store, given="hello\n")
    assert isinstance(result.exception, InputError)
    assert "hello" not in str(result.exception)
