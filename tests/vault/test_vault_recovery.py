"""Recovery: the shares' key opens the keyring whatever became of its secret or service, and covers new roots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vault_builders import a_passphrase

from consent_gateway.errors import KeyringError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.recovery import RecoveryKey, public_of, unseal
from fake_kms import FakeKms

PRIVATE = bytes(range(1, 33))
KEY = RecoveryKey(public_of(PRIVATE), 3, 5)
OTHER = bytes(range(2, 34))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.mark.parametrize("kms", [a_passphrase(), FakeKms()], ids=["passphrase", "service"])
def test_the_recovery_key_opens_what_nothing_else_opens_any_more(path, tmp_path, kms):
    keyring = Keyring.create(path, kms).use_recovery(KEY).new_kek_epoch().new_index_generation()
    assert Keyring.open(path, kms).recovery == KEY
    recovered = Keyring.recover(path, PRIVATE)
    assert recovered.roots == keyring.roots
    again = recovered.copy_to(tmp_path / "new", a_passphrase("another passphrase"))
    assert Keyring.open(tmp_path / "new", a_passphrase("another passphrase")).roots == keyring.roots
    assert again.fingerprint() == keyring.fingerprint()
    with pytest.raises(KeyringError, match="never overwritten"):
        recovered.copy_to(path, a_passphrase())


def test_a_destroyed_epoch_leaves_the_recovery_too(path):
    Keyring.create(path, a_passphrase()).use_recovery(KEY).new_kek_epoch().destroy_kek_epoch(1)
    assert Keyring.recover(path, PRIVATE).epochs == (2,)


def test_resealing_keeps_the_recovery_and_a_new_key_ends_the_old_one(path):
    keyring = Keyring.create(path, a_passphrase()).use_recovery(KEY)
    moved = keyring.reseal(a_passphrase("another passphrase"))
    assert moved.recovery == KEY
    assert Keyring.recover(path, PRIVATE).roots == keyring.roots
    moved.use_recovery(RecoveryKey(public_of(OTHER), 2, 3))
    with pytest.raises(KeyringError, match="do not open"):
        Keyring.recover(path, PRIVATE)
    assert Keyring.recover(path, OTHER).roots == keyring.roots


def test_recovery_can_be_given_up(path):
    keyring = Keyring.create(path, a_passphrase()).use_recovery(KEY).use_recovery(None)
    assert keyring.recovery is None
    assert "recovery" not in json.loads(path.read_text())["roots"]["kek/1"]
    with pytest.raises(KeyringError, match="never made"):
        Keyring.recover(path, PRIVATE)


def test_a_format_1_file_has_no_recovery(path):
    path.write_bytes((Path(__file__).resolve().parents[1] / "vectors" / "keyring_v1.json").read_bytes())
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="earlier release"):
        Keyring.recover(path, PRIVATE)


def swap_recoveries(document):
    roots = document["roots"]
    one, other = roots["kek/1"], roots["index/1"]
    one["recovery"], other["recovery"] = other["recovery"], one["recovery"]


@pytest.mark.parametrize(
    "edit",
    [
        swap_recoveries,
        lambda d: d["roots"]["kek/1"].pop("recovery"),
        lambda d: d["roots"]["kek/1"].update(recovery="00" * 80),
        lambda d: d["roots"]["kek/1"].update(recovery="00"),
        lambda d: d["roots"].pop("kek/2"),
        lambda d: d.update(id="00" * 16),
        lambda d: d.update(manifest="00" * 32),
        lambda d: d.update(doomed={"x": None}),
    ],
)
def test_an_edited_file_is_not_recovered(path, edit):
    Keyring.create(path, a_passphrase()).new_kek_epoch().use_recovery(KEY)
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(KeyringError):
        Keyring.recover(path, PRIVATE)


def test_a_planted_recovery_key_is_refused_before_a_new_root_is_sealed_to_it(path):
    keyring = Keyring.create(path, a_passphrase()).use_recovery(KEY)
    document = json.loads(path.read_text())
    document["recovery"]["public"] = public_of(OTHER).hex()
    path.write_text(json.dumps(document))
    with pytest.raises(KeyringError):
        keyring.new_kek_epoch()


def test_a_sealing_opens_for_its_key_and_context_alone():
    sealed = KEY.seal(b"s" * 32, b"here")
    assert unseal(PRIVATE, sealed, b"here") == b"s" * 32
    assert KEY.seal(b"s" * 32, b"here") != sealed
    for private, content, context in (
        (OTHER, sealed, b"here"),
        (PRIVATE, sealed, b"there"),
        (PRIVATE, sealed[:40], b"here"),
        (PRIVATE, sealed[:-1] + b"\0", b"here") if sealed[-1] else (OTHER, sealed, b"here"),
        (PRIVATE, bytes(80), b"here"),
    ):
        with pytest.raises(KeyringError):
            unseal(private, content, context)


@pytest.mark.parametrize("values", [(b"short", 2, 3), (bytes(32), 1, 3), (bytes(32), 4, 3), (bytes(32), 2, 256)])
def test_odd_recovery_keys_cannot_be(values):
    with pytest.raises(ValueError, match="recovery"):
        RecoveryKey(*values)
