"""The keyring: what it refuses to open, what it derives, and that its changes are durable and never lost."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from vault_builders import a_keyring, a_passphrase

from consent_gateway.errors import KeyringError
from consent_gateway.vault import keyring_file
from consent_gateway.vault.keyring import SHARDS, Keyring
from consent_gateway.vault.protectors import (
    SEALED_SHUT,
    InsecureKeyringWarning,
    PassphraseProtector,
    SecretFileProtector,
    UnsafeUnsealedKeyring,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def a_secret(tmp_path: Path, content: bytes = b"s" * 32, mode: int = 0o400) -> SecretFileProtector:
    secret = tmp_path / "secret"
    secret.unlink(missing_ok=True)
    secret.write_bytes(content)
    secret.chmod(mode)
    return SecretFileProtector(secret)


def all_secrets(keyring: Keyring) -> list[bytes]:
    roots = keyring.roots
    single = [roots.pseudonym, roots.audit_commitment, roots.tombstone, roots.log_signing_seed]
    return [*roots.kek.values(), *roots.index.values(), *single]


def rewrite(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_was_created_opens_again_with_the_same_roots(path, tmp_path):
    for protector in (a_passphrase(), a_secret(tmp_path)):
        made = Keyring.create(path, protector)
        assert Keyring.open(path, protector).roots == made.roots
        assert path.stat().st_mode & 0o777 == 0o600
        assert made.is_sealed
        path.unlink()
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"], "no temporary file is left"


def test_default_costs_are_the_second_recommended_option_of_rfc_9106():
    protector = PassphraseProtector(b"a passphrase of length")
    assert (protector.memory_kib, protector.iterations, protector.lanes) == (65536, 3, 4)


def test_all_roots_are_different_and_none_is_readable_in_the_file(path):
    keyring = Keyring.create(path, a_passphrase())
    secrets = all_secrets(keyring)
    assert len(set(secrets)) == len(secrets) == 6
    content = path.read_bytes()
    assert not any(root in content or root.hex().encode() in content for root in secrets)


def test_creating_never_overwrites(path):
    Keyring.create(path, a_passphrase())
    before = path.read_bytes()
    with pytest.raises(KeyringError, match="never overwritten"):
        Keyring.create(path, a_passphrase())
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o700, 0o666])
def test_a_keyring_that_others_may_touch_is_refused(path, mode):
    Keyring.create(path, a_passphrase())
    path.chmod(mode)
    with pytest.raises(KeyringError, match="0600"):
        Keyring.open(path, a_passphrase())


def test_a_read_only_keyring_opens(path):
    Keyring.create(path, a_passphrase())
    path.chmod(0o400)
    assert Keyring.open(path, a_passphrase()).epochs == (1,)


def test_a_symbolic_link_a_directory_and_nothing_are_refused(path, tmp_path):
    Keyring.create(path, a_passphrase())
    link = tmp_path / "link"
    link.symlink_to(path)
    for wrong in (link, tmp_path, tmp_path / "absent"):
        with pytest.raises(KeyringError):
            Keyring.open(wrong, a_passphrase())


def test_a_keyring_of_another_owner_is_refused(path, monkeypatch):
    Keyring.create(path, a_passphrase())
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(KeyringError, match="another user"):
        Keyring.open(path, a_passphrase())


def test_a_file_of_absurd_size_is_refused_unread(path):
    path.touch(0o600)
    os.truncate(path, keyring_file.MAX_BYTES + 1)
    with pytest.raises(KeyringError, match="too large"):
        Keyring.open(path, a_passphrase())


def test_every_wrong_secret_has_the_one_message(path, tmp_path):
    Keyring.create(path, a_passphrase())
    for wrong in (a_passphrase("wrong horse battery"), a_secret(tmp_path), UnsafeUnsealedKeyring()):
        with pytest.raises(KeyringError) as failure:
            Keyring.open(path, wrong)
        assert str(failure.value) == SEALED_SHUT


def test_every_truncation_and_flip_has_the_one_message(path):
    Keyring.create(path, a_passphrase())
    whole = path.read_bytes()
    body = whole.index(b'"body": "') + 9
    flips = [
        whole[:at] + (b"1" if whole[at : at + 1] == b"0" else b"0") + whole[at + 1 :] for at in range(body, body + 40)
    ]
    cuts = [whole[:length] for length in range(0, len(whole) - 3, 61)]
    for damaged in [*flips, *cuts]:
        path.write_bytes(damaged)
        with pytest.raises(KeyringError) as failure:
            Keyring.open(path, a_passphrase())
        assert str(failure.value) == SEALED_SHUT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 2), ("memory_kib", 128), ("lanes", 2), ("salt", "00" * 16), ("salt", "zz"), ("salt", "00"),
        ("memory_kib", 1 << 40), ("iterations", 0), ("iterations", True), ("lanes", "1"), ("lanes", 64), ("kind", "unsafe-unsealed"),
    ],
)  # fmt: skip
def test_the_header_cannot_be_edited(path, name, value):
    Keyring.create(path, a_passphrase())
    rewrite(path, lambda document: document["protection"].update({name: value}))
    with pytest.raises(KeyringError) as failure:
        Keyring.open(path, a_passphrase())
    assert str(failure.value) == SEALED_SHUT


def test_an_unknown_version_is_named_as_such(path):
    Keyring.create(path, a_passphrase())
    rewrite(path, lambda document: document.update(version=2))
    with pytest.raises(KeyringError, match="version"):
        Keyring.open(path, a_passphrase())


def test_a_planted_unsealed_keyring_does_not_pass_for_a_sealed_one(path):
    with pytest.warns(InsecureKeyringWarning):
        Keyring.create(path, UnsafeUnsealedKeyring())
    with pytest.raises(KeyringError, match=re.escape(SEALED_SHUT)):
        Keyring.open(path, a_passphrase())


def test_an_unsealed_keyring_is_loud_and_says_so(path):
    with pytest.warns(InsecureKeyringWarning):
        made = Keyring.create(path, UnsafeUnsealedKeyring())
    with pytest.warns(InsecureKeyringWarning):
        opened = Keyring.open(path, UnsafeUnsealedKeyring())
    assert opened.roots == made.roots
    assert not opened.is_sealed
    assert not Keyring.in_memory().is_sealed


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"s" * 31, 0o400, "32 bytes"),
        (b"s" * 33, 0o400, "32 bytes"),
        (b"s" * 32, 0o444, "exposed"),
        (b"s" * 32, 0o620, "exposed"),
    ],
)
def test_a_short_long_or_exposed_secret_is_refused(path, tmp_path, content, mode, message):
    with pytest.raises(KeyringError, match=message):
        Keyring.create(path, a_secret(tmp_path, content, mode))


def test_a_missing_secret_and_a_short_passphrase_are_refused(path, tmp_path):
    with pytest.raises(KeyringError):
        Keyring.create(path, SecretFileProtector(tmp_path / "absent"))
    with pytest.raises(KeyringError):
        Keyring.create(path, SecretFileProtector(tmp_path))
    with pytest.raises(KeyringError):
        PassphraseProtector(b"short")


def test_no_message_and_no_repr_holds_a_key_or_the_passphrase(path):
    protector = a_passphrase()
    keyring = Keyring.create(path, protector)
    shown = repr(keyring) + repr(keyring.roots) + repr(protector) + repr(keyring.new_kek_epoch())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(KeyringError) as failure:
        Keyring.open(path, protector)
    shown += f"{failure.value!r}{failure.value.__cause__!r}"
    for secret in [*all_secrets(keyring), protector.passphrase]:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_derived_keys_differ_by_every_part_of_their_path():
    keyring = a_keyring(epochs=2, generations=2)
    derived = [keyring.kek(epoch, shard) for epoch in (1, 2) for shard in range(SHARDS)]
    derived += [keyring.index_key(field, number) for field in ("email", "phone") for number in (1, 2)]
    derived += [
        keyring.pseudonym_key(sector, epoch) for sector in ("crm", "ads", "crm1") for epoch in (0, 1, 2**32 - 1)
    ]
    derived += [keyring.tombstone_key(field) for field in ("email", "phone")]
    derived += [keyring.audit_commitment_key(), keyring.log_signing_seed()]
    starts = {key[:32] for key in derived}
    assert len(starts) == len(derived)
    assert {len(key) for key in derived} == {32, 64}


def test_derived_keys_are_remembered_and_stable():
    keyring = a_keyring()
    assert keyring.kek(1, 3) is keyring.kek(1, 3)
    assert keyring.kek(1, 3) == a_keyring().kek(1, 3)
    for epoch in range(5000):
        keyring.pseudonym_key("crm", epoch)
    assert len(keyring._derived) <= 4096


@pytest.mark.parametrize(
    "ask",
    [
        lambda k: k.kek(9, 0), lambda k: k.kek(1, 16), lambda k: k.kek(1, -1), lambda k: k.index_key("email", 9),
        lambda k: k.pseudonym_key("crm", -1), lambda k: k.pseudonym_key("crm", 2**32),
        lambda k: k.destroy_kek_epoch(1), lambda k: k.destroy_kek_epoch(7), lambda k: k.destroy_index_generation(1),
    ],
)  # fmt: skip
def test_keys_that_do_not_exist_and_the_current_one_being_destroyed_are_refused(ask):
    with pytest.raises(KeyringError):
        ask(a_keyring())


def test_epochs_grow_are_durable_and_never_reused(path):
    keyring = Keyring.create(path, a_passphrase())
    second = keyring.new_kek_epoch()
    assert (keyring.epochs, second.epochs, second.current_epoch) == ((1,), (1, 2), 2)
    alone = second.destroy_kek_epoch(1)
    assert alone.epochs == (2,)
    third = alone.new_kek_epoch()
    assert third.epochs == (2, 3)
    assert Keyring.open(path, a_passphrase()).roots == third.roots
    assert third.roots.kek[2] == second.roots.kek[2]
    with pytest.raises(KeyringError):
        third.kek(1, 0)


def test_index_generations_grow_and_go(path):
    keyring = Keyring.create(path, a_passphrase()).new_index_generation()
    assert (keyring.generations, keyring.current_generation) == ((1, 2), 2)
    assert Keyring.open(path, a_passphrase()).destroy_index_generation(1).generations == (2,)


def test_a_stale_writer_does_not_lose_the_other_writers_epoch(path):
    one = Keyring.create(path, a_passphrase())
    other = Keyring.open(path, a_passphrase())
    after_one = one.new_kek_epoch()
    after_other = other.new_kek_epoch()
    assert after_other.epochs == (1, 2, 3)
    assert after_other.roots.kek[2] == after_one.roots.kek[2]


def test_reload_follows_the_file_and_only_if_it_changed(path):
    reader = Keyring.create(path, a_passphrase())
    assert reader.reload() is reader
    reader.new_kek_epoch()
    assert reader.is_stale()
    assert reader.reload().epochs == (1, 2)
    assert a_keyring().reload().epochs == (1,)


def test_resealing_changes_the_secret_and_not_the_roots(path, tmp_path):
    before = Keyring.create(path, a_passphrase())
    after = before.reseal(a_secret(tmp_path))
    assert Keyring.open(path, a_secret(tmp_path)).roots == before.roots == after.roots
    with pytest.raises(KeyringError):
        Keyring.open(path, a_passphrase())


def test_fingerprints_name_the_keyring_and_each_key_without_revealing_them(path):
    keyring = Keyring.create(path, a_passphrase())
    later = keyring.new_kek_epoch()
    assert keyring.fingerprint() == later.fingerprint() != Keyring.in_memory().fingerprint()
    assert list(later.key_fingerprints()) == ["kek/1", "kek/2", "index/1"]
    assert later.key_fingerprints().items() >= keyring.key_fingerprints().items()
    assert len(set(later.key_fingerprints().values())) == 3


def test_a_crash_before_the_rename_leaves_the_old_keyring_whole(path, monkeypatch):
    keyring = Keyring.create(path, a_passphrase())

    def power_cut(self, target):
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", power_cut)
        with pytest.raises(KeyringError, match="written"):
            keyring.new_kek_epoch()
    assert Keyring.open(path, a_passphrase()).roots == keyring.roots
    assert [entry.name for entry in path.parent.iterdir()] == ["keyring.json"]


def test_the_file_is_flushed_before_it_takes_the_name_and_the_directory_after(path, monkeypatch):
    steps: list[str] = []
    fsync, link = os.fsync, Path.hardlink_to
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "hardlink_to", lambda self, target: (steps.append("name"), link(self, target))[1])
    Keyring.create(path, a_passphrase())
    assert steps == ["fsync", "name", "fsync"]


def test_eight_writers_at_once_lose_no_epoch(path):
    Keyring.create(path, a_passphrase())

    def add(_: int) -> int:
        return Keyring.open(path, a_passphrase()).new_kek_epoch().current_epoch

    with ThreadPoolExecutor(8) as pool:
        added = sorted(pool.map(add, range(8)))
    assert added == list(range(2, 10))
    assert Keyring.open(path, a_passphrase()).epochs == tuple(range(1, 10))


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"kek": {}, "index": {}}', b'{"kek": 1}', b"\xff"],
)
def test_an_unsealed_payload_that_is_no_keyring_has_the_one_message(path, payload):
    with pytest.warns(InsecureKeyringWarning):
        Keyring.create(path, UnsafeUnsealedKeyring())
    rewrite(path, lambda document: document.update(body=payload.hex()))
    with pytest.warns(InsecureKeyringWarning), pytest.raises(KeyringError, match=re.escape(SEALED_SHUT)):
        Keyring.open(path, UnsafeUnsealedKeyring())


@pytest.mark.parametrize("short", ["kek", "index", "pseudonym"])
def test_roots_of_another_size_are_refused(path, short):
    with pytest.warns(InsecureKeyringWarning):
        Keyring.create(path, UnsafeUnsealedKeyring())

    def shorten(document):
        roots = json.loads(bytes.fromhex(document["body"]))
        roots[short] = {"1": "00"} if isinstance(roots[short], dict) else "00"
        document["body"] = json.dumps(roots).encode().hex()

    rewrite(path, shorten)
    with pytest.warns(InsecureKeyringWarning), pytest.raises(KeyringError, match=re.escape(SEALED_SHUT)):
        Keyring.open(path, UnsafeUnsealedKeyring())


def test_a_directory_that_is_gone_is_a_keyring_error(tmp_path):
    with pytest.raises(KeyringError, match="written"):
        Keyring.create(tmp_path / "absent" / "keyring", a_passphrase())
    home = tmp_path / "home"
    home.mkdir()
    keyring = Keyring.create(home / "keyring", a_passphrase())
    home.rename(tmp_path / "moved")
    assert keyring.is_stale()
    with pytest.raises(KeyringError):
        keyring.new_kek_epoch()
