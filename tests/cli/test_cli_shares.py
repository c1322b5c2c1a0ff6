"""Recovery shares on the command line: split, drilled, and used when keyring and secret are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_builders import logged, run, told

from consent_gateway.cli.opening import open_gateway
from consent_gateway.errors import ConflictError, ForbiddenError, InputError, KeyringError
from consent_gateway.vault.shares import Share


def kinds(store: Path) -> list[str]:
    """The kinds of the last entries in the log, oldest first."""
    return [entry.kind.value for entry in logged(store)[-4:]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return a_store(tmp_path / "store")


def a_store(directory: Path) -> Path:
    """A store, and beside it the key files of two who may agree on shares."""
    told("init", "--store", directory)
    for name in ("first", "second"):
        scopes = ("--scope", "keys", "--scope", "approve")
        key = told("keys", "issue", name, *scopes, "--store", directory)["api_key"]
        key_of(directory, name).write_text(key + "\n")
    return directory


def key_of(store: Path, name: str) -> Path:
    return store.with_name(f"{store.name}.{name}")


def agreed(store: Path, *numbers: str) -> tuple[str | Path, ...]:
    """Propose shares by one key, approve them by the other, and return the command that then makes them."""
    command = ("keys", "shares", "split", *numbers, "--key-file", key_of(store, "first"), "--store", store)
    proposal = told(*command, "--propose")["proposal"]
    told("keys", "approvals", "approve", proposal, "--key-file", key_of(store, "second"), "--store", store)
    return command


def copied(store: Path, name: str = "copy.json") -> Path:
    target = store.parent / name
    shutil.copyfile(store / "keyring.json", target)
    target.chmod(0o600)
    return target


def test_a_keyring_whose_secret_is_gone_comes_back_from_a_copy_and_three_shares(store: Path) -> None:
    before = told("keys", "status", "--store", store)
    made = told(*agreed(store))
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
    printed = run(*agreed(store, "--threshold", "2", "--count", "3"))
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
    a_store(other)
    foreign = told(*agreed(other))
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
    command = ("keys", "shares", "split", "--threshold", "6", "--key-file", key_of(store, "first"), "--store", store)
    for odd in (run(*command), run(*command, "--propose")):
        assert isinstance(odd.exception, InputError)
    assert (store / "keyring.json").read_bytes() == before
    result = run("keys", "drill", "--keyring", copied(store), "--store", store, given="hello\n")
    assert isinstance(result.exception, InputError)
    assert "hello" not in str(result.exception)


def test_shares_need_two_keys_for_exactly_these_numbers_and_once(store: Path) -> None:
    """Enough shares are the keyring for ever: one who may run commands does not make them alone."""
    before = (store / "keyring.json").read_bytes()
    mine = ("--key-file", key_of(store, "first"), "--store", store)
    alone = run("keys", "shares", "split", *mine)
    assert isinstance(alone.exception, ForbiddenError)
    command = agreed(store)
    other = run("keys", "shares", "split", "--threshold", "2", *mine)
    assert isinstance(other.exception, ForbiddenError)
    assert (store / "keyring.json").read_bytes() == before
    made = told(*command)
    assert len(made) == 5
    assert told("keys", "status", "--store", store)["shares"] == {
        "needed": 3, "of": 5, "set": Share.parse(made[0]["share"]).set_id.hex(),
    }  # fmt: skip
    assert isinstance(run(*command).exception, ForbiddenError), "an approval is used once"


def test_a_keyring_that_cannot_be_written_keeps_the_former_shares(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the shares of before would open no later copy, and nobody would have those of now."""
    lines = "\n".join(share["share"] for share in told(*agreed(store)))
    command = agreed(store, "--threshold", "2")

    def full(*_: object, **__: object) -> None:
        raise KeyringError("The keyring file cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr("consent_gateway.vault.keyring.write_private", full)
        assert isinstance(run(*command).exception, KeyringError)
    assert told("keys", "drill", "--keyring", copied(store), "--store", store, given=lines)["lacks"] == []
