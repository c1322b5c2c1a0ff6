"""Another seal for the keyring: new words, a new secret; whatever dies in between, the file opens by one of the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_builders import logged, run, store_with_key_holders, told

from consent_gateway.audit.entries import EntryKind
from consent_gateway.cli.opening import open_gateway
from consent_gateway.errors import AuthenticationError, ForbiddenError, InputError, KeyringError
from consent_gateway.services.keys import recovery
from consent_gateway.settings import PREFIX
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.kms.port import Kms
from consent_gateway.vault.protectors import PassphraseProtector, SecretFileProtector
from consent_gateway.vault.shares import Share, combine
from fake_kms import FakeKms

WORDS = b"correct horse battery staple"
NEW_WORDS = "KEYRING_PASSPHRASE_FILE"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_with_key_holders(tmp_path)


@pytest.fixture
def to_words(tmp_path: Path) -> Path:
    """A file with the settings of a seal by a passphrase."""
    words = tmp_path / "words"
    words.write_bytes(WORDS + b"\n")
    words.chmod(0o600)
    target = tmp_path / "seal.env"
    target.write_text(f"# the new seal\n\n{PREFIX}{NEW_WORDS}={words}\n")
    return target


def reseal(store: Path, *more: str | Path, key: str = "first") -> tuple[str | Path, ...]:
    return ("keys", "reseal", *more, "--key-file", store.parent / key, "--store", store)


def entries(store: Path) -> list[dict[str, Any]]:
    """What the log says of the seal."""
    return [
        dict(entry.fields) | {"actor": entry.actor}
        for entry in logged(store)
        if entry.kind is EntryKind.KEYRING_RESEALED
    ]


def test_from_a_secret_to_a_passphrase_and_every_key_stays(
    store: Path, to_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told("keys", "status", "--store", store)
    done = told(*reseal(store, "--to", to_words))
    assert done == {"fingerprint": before["fingerprint"], "from": "secret-file", "to": "argon2id", "left": []}
    assert isinstance(run("keys", "status", "--store", store).exception, KeyringError)
    monkeypatch.setenv(PREFIX + NEW_WORDS, str(to_words.with_name("words")))
    after = told("keys", "status", "--store", store)
    assert (after["keys"], after["sealed_by"]) == (before["keys"], "argon2id")
    said = [(e["step"], e["from"], e["to"], e["actor"]) for e in entries(store)]
    assert said == [("decided", "secret-file", "argon2id", "first"), ("done", "secret-file", "argon2id", "first")]


def test_without_another_seal_the_keys_of_the_same_are_fresh(store: Path) -> None:
    path, secret = store / "keyring.json", SecretFileProtector(store / "keyring.secret")
    before = Keyring.open(path, secret).key_names
    told(*reseal(store))
    after = Keyring.open(path, secret).key_names
    assert (len(before), len(after), before & after) == (1, 1, set())
    assert told("keys", "status", "--store", store)["sealed_by"] == "secret-file"


def test_who_dies_in_between_finds_the_former_seal_or_the_new_one(
    store: Path, to_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the file is replaced: all is as before, and the same command does it."""
    path, before = store / "keyring.json", (store / "keyring.json").read_bytes()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("consent_gateway.vault.keyring.write_private", killed)
        assert run(*reseal(store, "--to", to_words)).exit_code != 0
    assert path.read_bytes() == before
    told(*reseal(store, "--to", to_words))
    assert Keyring.open(path, PassphraseProtector(WORDS)).epochs == (1,)


def test_recovery_shares_open_the_resealed_file(store: Path, to_words: Path, tmp_path: Path) -> None:
    two = ("--threshold", "2", "--count", "2", "--store", store)
    command = ("keys", "shares", "split", *two, "--key-file", tmp_path / "first")
    proposal = told(*command, "--propose")["proposal"]
    told("keys", "approvals", "approve", proposal, "--key-file", tmp_path / "second", "--store", store)
    shares = [Share.parse(made["share"]) for made in told(*command)]
    told(*reseal(store, "--to", to_words))
    recovered = Keyring.recover(store / "keyring.json", combine(shares))
    held = Keyring.open(store / "keyring.json", PassphraseProtector(WORDS))
    assert recovered.key_fingerprints() == held.key_fingerprints()


@pytest.mark.parametrize(
    "line", ["nonsense", f"{PREFIX}DATABASE_URL=postgresql://x/y", "PATH=/bin", f"{PREFIX}KMS_PROVIDER"]
)
def test_a_file_that_sets_anything_else_changes_nothing(store: Path, tmp_path: Path, line: str) -> None:
    before = (store / "keyring.json").read_bytes()
    target = tmp_path / "seal.env"
    target.write_text(f"\n{line}\n")
    refused = run(*reseal(store, "--to", target))
    assert isinstance(refused.exception, InputError)
    assert (store / "keyring.json").read_bytes() == before


def test_it_takes_a_key_for_keys(store: Path, to_words: Path, tmp_path: Path) -> None:
    assert isinstance(run(*reseal(store, "--to", to_words, key="crm")).exception, ForbiddenError)
    (tmp_path / "none").write_text("cg_none_x\n")
    assert isinstance(run(*reseal(store, "--to", to_words, key="none")).exception, AuthenticationError)
    assert Keyring.open(store / "keyring.json", SecretFileProtector(store / "keyring.secret")).epochs == (1,)


def test_keys_at_a_service_that_is_left_are_named(store: Path, to_words: Path) -> None:
    """They open every copy of the former file; only the operator can destroy them there."""
    gateway = open_gateway(store)
    ring = Keyring.in_memory().copy_to(store / "other.json", FakeKms())
    gateway.vault.custody.use(ring)
    with gateway.look() as work:
        actor = next(p for p in work.registers.principals.values() if p.id == "first")
    kms: Kms = PassphraseProtector(WORDS, memory_kib=64, iterations=1, lanes=1)
    done = recovery.reseal(gateway, actor, kms)
    assert (done.former, done.kind) == ("fake", "argon2id")
    assert sorted(done.left) == sorted(ring.key_names)
    assert len(done.left) == 3
