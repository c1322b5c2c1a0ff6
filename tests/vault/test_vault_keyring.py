"""The keyring: what it refuses to open, what it derives, and that its changes are durable and never lost."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from vault_builders import a_keyring, a_passphrase

from consent_gateway.errors import KeyringError
from consent_gateway.vault import keyring_document, keyring_file
from consent_gateway.vault.derivation import derive, frame
from consent_gateway.vault.keyring import SHARDS, Keyring
from consent_gateway.vault.kms.port import NOT_OPENED, Bound
from consent_gateway.vault.protectors import (
    InsecureKeyringWarning,
    PassphraseProtector,
    SecretFileProtector,
    UnsafeUnsealedKeyring,
    read_secret,
)
from consent_gateway.vault.roots import LASTING

GOLDEN = Path(__file__).resolve().parents[1] / "vectors" / "keyring_v1.json"  # as the first release wrote it


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
        assert made.sealed_by == protector.kind
        path.unlink()
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"], "no temporary file is left"


def test_what_a_killed_writer_left_goes_with_the_next_change(path):
    """It is a whole copy of the keyring: a key that is destroyed later must not be in it."""
    keyring = Keyring.create(path, a_passphrase()).new_kek_epoch()
    left, others = path.with_name(f".{path.name}.0123456789abcdef"), path.with_name(".other.json.0123456789abcdef")
    for file in (left, others):
        file.write_bytes(path.read_bytes())
    assert keyring.destroy_kek_epoch(1).epochs == (2,)
    assert not left.exists()
    assert others.exists(), "what is not this keyring's is not touched"


def test_what_a_killed_writer_left_and_cannot_be_removed_stops_the_change(path):
    keyring = Keyring.create(path, a_passphrase())
    path.with_name(f".{path.name}.0123456789abcdef").mkdir()
    with pytest.raises(KeyringError, match="killed process"):
        keyring.new_kek_epoch()
    assert Keyring.open(path, a_passphrase()).epochs == (1,)


def test_a_keyring_without_a_file_says_that_memory_is_all_there_is():
    assert (Keyring.in_memory().sealed_by, Keyring.in_memory().is_sealed) == ("memory", False)


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
        assert str(failure.value) == NOT_OPENED


def test_every_truncation_and_flip_has_the_one_message(path):
    Keyring.create(path, a_passphrase())
    whole = path.read_bytes()
    starts = [found.end() for found in re.finditer(rb'"(?:sealed|manifest|id)": "', whole)]
    assert len(starts) == 8
    flips = [
        whole[:at] + (b"1" if whole[at : at + 1] == b"0" else b"0") + whole[at + 1 :]
        for start in starts
        for at in range(start, start + 12)
    ]
    cuts = [whole[:length] for length in range(0, len(whole) - 3, 61)]
    for damaged in [*flips, *cuts]:
        path.write_bytes(damaged)
        with pytest.raises(KeyringError) as failure:
            Keyring.open(path, a_passphrase())
        assert str(failure.value) == NOT_OPENED


@pytest.mark.parametrize(
    "name",
    [
        "argon2id:64:2:1:", "argon2id:128:1:1:", "argon2id:64:1:2:", "argon2id:1099511627776:1:1:", "argon2id:64:0:1:",
        "argon2id:64:1:64:", "argon2id:64:65:1:", "argon2id:1048577:1:1:", "argon2id:64:1:", "secret-file:", "argon2id:٦٤:1:1:",
        "unsafe-unsealed", "",
    ],
)  # fmt: skip
def test_the_name_of_a_key_cannot_be_edited(path, name):
    Keyring.create(path, a_passphrase())

    def rename(document):
        for entry in document["roots"].values():
            salt = entry["key"].rsplit(":", 1)[1]
            entry["key"] = name + salt if name.endswith(":") else name

    rewrite(path, rename)
    with pytest.raises(KeyringError) as failure:
        Keyring.open(path, a_passphrase())
    assert str(failure.value) == NOT_OPENED


def test_another_salt_or_two_of_them_do_not_open(path):
    Keyring.create(path, a_passphrase())
    for names in (["kek/1"], list(json.loads(path.read_text())["roots"])):
        rewrite(
            path,
            lambda document, n=names: [document["roots"][at].update(key="argon2id:64:1:1:" + "0" * 32) for at in n],
        )
        with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
            Keyring.open(path, a_passphrase())


def test_an_unknown_version_is_named_as_such(path):
    Keyring.create(path, a_passphrase())
    rewrite(path, lambda document: document.update(version=3))
    with pytest.raises(KeyringError, match="version"):
        Keyring.open(path, a_passphrase())


def test_a_planted_unsealed_keyring_does_not_pass_for_a_sealed_one(path):
    with pytest.warns(InsecureKeyringWarning):
        Keyring.create(path, UnsafeUnsealedKeyring())
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
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


def test_a_local_service_has_nobody_to_ask_and_nothing_to_destroy_apart(tmp_path):
    for protector in (a_passphrase(), a_secret(tmp_path), UnsafeUnsealedKeyring()):
        protector.check()
        assert not protector.has_own_keys
        assert protector.schedule_destroy(protector.create_key("kek-1")).by is None


def test_a_name_that_no_protector_gave_does_not_open(tmp_path):
    for protector in (a_passphrase(), a_secret(tmp_path), UnsafeUnsealedKeyring()):
        with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
            protector.unwrap([Bound("made up", b"here", bytes(48))])
        with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
            protector.unwrap([])


def test_the_receipts_key_is_not_the_logs():
    assert a_keyring().receipt_signing_seed() != a_keyring().log_signing_seed()


def test_a_secret_of_one_line_is_read_without_its_line_break(tmp_path):
    assert read_secret(a_secret(tmp_path, b"hvs.token\n").path) == b"hvs.token"
    for wrong in (b"", b" \n", b"two\nlines", b"x" * 5000):
        with pytest.raises(KeyringError, match="one line"):
            read_secret(a_secret(tmp_path, wrong).path)


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


# -- format 2: what somebody who may write the file, but has no key, can do with it --------------------------------


def swap(document, one, other):
    roots = document["roots"]
    roots[one], roots[other] = roots[other], roots[one]


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: swap(d, "kek/1", "kek/2"),
        lambda d: swap(d, "index/1", "kek/1"),
        lambda d: swap(d, "pseudonym", "tombstone"),
        lambda d: d["roots"].pop("kek/2"),
        lambda d: d["roots"].update({"kek/3": d["roots"]["kek/2"]}),
        lambda d: d["roots"].update({"kek/01": d["roots"].pop("kek/1")}),
        lambda d: d["roots"].update({"kek/4294967296": d["roots"].pop("kek/1")}),
        lambda d: d["roots"].update({"other": d["roots"]["kek/1"]}),
        lambda d: d["roots"].update({"kek/1": {"key": "x"}}),
        lambda d: d["roots"].update({"kek/1": 7}),
        lambda d: d["roots"].update({"kek/1": {**d["roots"]["kek/1"], "sealed": "00"}}),
        lambda d: d["roots"].clear(),
        lambda d: d.update(roots=[]),
        lambda d: d.update(id="00" * 16),
        lambda d: d.update(id="00"),
        lambda d: d.update(kind="secret-file"),
        lambda d: d.update(kind="transit"),
        lambda d: d.update(recovery={"public": "00" * 32, "threshold": 2, "count": 3}),
        lambda d: d.update(recovery={"public": "00", "threshold": 2, "count": 3}),
        lambda d: d.update(recovery={"public": "00" * 32, "threshold": 1, "count": 3}),
        lambda d: d.update(recovery=5),
        lambda d: d.update(doomed={"some-key": None}),
        lambda d: d.update(doomed={"some-key": 10**30}),
        lambda d: d.update(doomed=None),
        lambda d: d.update(manifest="00" * 32),
        lambda d: d.update(manifest="00"),
        lambda d: d.pop("manifest"),
        lambda d: d.update(version="2"),
        lambda d: d.update(format="other"),
    ],
)  # fmt: skip
def test_no_edit_of_the_file_goes_unnoticed(path, edit):
    Keyring.create(path, a_passphrase()).new_kek_epoch()
    rewrite(path, edit)
    with pytest.raises(KeyringError) as failure:
        Keyring.open(path, a_passphrase())
    assert str(failure.value) == NOT_OPENED


def test_a_root_of_another_file_under_the_same_secret_is_refused(path, tmp_path):
    secret = a_secret(tmp_path)
    Keyring.create(path, secret)
    Keyring.create(tmp_path / "other", secret)
    foreign = json.loads((tmp_path / "other").read_text())["roots"]
    rewrite(path, lambda document: document["roots"].update({"kek/1": foreign["kek/1"]}))
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, secret)


def test_a_destroyed_root_cannot_be_put_back_from_an_older_file(path):
    grown = Keyring.create(path, a_passphrase()).new_kek_epoch()
    older = json.loads(path.read_text())["roots"]
    grown.destroy_kek_epoch(1)
    rewrite(path, lambda document: document["roots"].update({"kek/1": older["kek/1"]}))
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, a_passphrase())


def test_without_the_manifest_it_could_be_put_back(path, monkeypatch):
    """The planted bug: with the manifest unchecked the root comes back, so the test above can fail."""
    grown = Keyring.create(path, a_passphrase()).new_kek_epoch()
    older = json.loads(path.read_text())["roots"]
    grown.destroy_kek_epoch(1)
    rewrite(path, lambda document: document["roots"].update({"kek/1": older["kek/1"]}))
    monkeypatch.setattr(keyring_document, "check", lambda *_: None)
    assert Keyring.open(path, a_passphrase()).epochs == (1, 2)


def test_a_change_leaves_what_it_does_not_change_as_it_is(path):
    keyring = Keyring.create(path, a_passphrase())
    before = json.loads(path.read_text())
    keyring.new_kek_epoch()
    after = json.loads(path.read_text())
    assert after["roots"].items() >= before["roots"].items()
    assert after["roots"].keys() - before["roots"].keys() == {"kek/2"}
    assert {entry["key"] for entry in after["roots"].values()} == {before["roots"]["kek/1"]["key"]}


def test_roots_of_another_size_are_refused(path):
    with pytest.warns(InsecureKeyringWarning):
        Keyring.create(path, UnsafeUnsealedKeyring())
    rewrite(path, lambda document: document["roots"]["index/1"].update(sealed="00"))
    with pytest.warns(InsecureKeyringWarning), pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, UnsafeUnsealedKeyring())


@pytest.mark.parametrize("names", [["kek/1"], ["index/1"], ["pseudonym"]])
def test_a_keyring_that_lacks_roots_is_refused_even_if_nothing_is_sealed(path, names):
    with pytest.warns(InsecureKeyringWarning):
        Keyring.create(path, UnsafeUnsealedKeyring())
    rewrite(path, lambda document: [document["roots"].pop(name) for name in names])
    with pytest.warns(InsecureKeyringWarning), pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, UnsafeUnsealedKeyring())


# -- format 1: what the first release wrote still opens, and becomes format 2 --------------------------------------


@pytest.fixture
def golden(path):
    path.write_bytes(GOLDEN.read_bytes())
    path.chmod(0o600)
    return path


def test_a_keyring_of_the_first_release_opens_with_the_same_keys(golden):
    opened = Keyring.open(golden, a_passphrase())
    assert opened.roots == a_keyring(epochs=2, generations=2).roots
    assert opened.fingerprint() == "fd3ff70621aeb9fd40b0ca6302ab2605"
    assert (opened.destructions, opened.recovery) == ({}, None)
    assert opened.reload() is opened.reopen() is opened.settle_destructions() is opened


def test_its_next_change_writes_format_2_and_loses_nothing(golden):
    old = Keyring.open(golden, a_passphrase())
    changed = old.new_kek_epoch()
    assert json.loads(golden.read_text())["version"] == 2
    again = Keyring.open(golden, a_passphrase())
    assert again.roots == changed.roots
    assert again.epochs == (1, 2, 3)
    assert {number: again.roots.kek[number] for number in (1, 2)} == old.roots.kek
    assert old.reload().roots == changed.roots, "who read format 1 follows"
    assert again.fingerprint() == old.fingerprint()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", 2), ("memory_kib", 128), ("lanes", 2), ("salt", "00" * 16), ("salt", "zz"), ("salt", "00"),
        ("memory_kib", 1 << 40), ("iterations", 0), ("iterations", True), ("lanes", "1"), ("lanes", 64), ("kind", "unsafe-unsealed"),
        ("kind", "secret-file"),
    ],
)  # fmt: skip
def test_the_header_of_format_1_cannot_be_edited(golden, name, value):
    rewrite(golden, lambda document: document["protection"].update({name: value}))
    with pytest.raises(KeyringError) as failure:
        Keyring.open(golden, a_passphrase())
    assert str(failure.value) == NOT_OPENED


@pytest.mark.parametrize(
    "edit", [{"protection": 7}, {"protection": {}}, {"body": "zz"}, {"body": "00"}, {"body": None}]
)
def test_a_damaged_format_1_has_the_one_message(golden, tmp_path, edit):
    rewrite(golden, lambda document: document.update(edit))
    for protector in (a_passphrase(), a_secret(tmp_path)):
        with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
            Keyring.open(golden, protector)


@pytest.mark.parametrize("salt", [None, "zz", "00"])
def test_a_format_1_sealed_by_a_secret_opens_with_it_alone(golden, tmp_path, salt):
    secret = a_secret(tmp_path)
    header = {"kind": "secret-file", "salt": "ab" * 16}
    payload = Keyring.open(golden, a_passphrase()).roots
    body = json.dumps(
        {
            "kek": {str(n): root.hex() for n, root in payload.kek.items()},
            "index": {str(n): root.hex() for n, root in payload.index.items()},
            **{name: getattr(payload, name).hex() for name in LASTING},
        }
    ).encode()
    key = AESSIV(derive(b"s" * 32, 64, b"keyring-secret-file", bytes.fromhex("ab" * 16)))
    aad = frame(b"consent-gateway-keyring", (1).to_bytes(4, "big"))
    sealed = key.encrypt(body, [aad, f"kind=secret-file\nsalt={'ab' * 16}".encode()])
    rewrite(golden, lambda document: document.update(protection=header, body=sealed.hex()))
    assert Keyring.open(golden, secret).roots == payload
    rewrite(
        golden,
        lambda document: document.update(protection={**header, "salt": salt} if salt else {"kind": "secret-file"}),
    )
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(golden, secret)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kek": {}, "index": {}}',
        b'{"kek": 1}',
        b"\xff",
        b'{"kek": {"1": "00"}, "index": {"1": "00"}}',
    ],
)
def test_an_unsealed_payload_that_is_no_keyring_has_the_one_message(golden, payload):
    rewrite(golden, lambda document: document.update(body=payload.hex(), protection={"kind": "unsafe-unsealed"}))
    with pytest.warns(InsecureKeyringWarning), pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(golden, UnsafeUnsealedKeyring())


def test_a_format_1_does_not_pass_for_an_unsealed_one(golden):
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(golden, UnsafeUnsealedKeyring())


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


def test_a_file_that_could_not_be_read_again_is_never_written(path, monkeypatch):
    """Past the limit of a reader the whole keyring would be lost with the next start."""
    keyring = Keyring.create(path, a_passphrase())
    before = path.read_bytes()
    monkeypatch.setattr(keyring_file, "MAX_BYTES", len(before))
    with pytest.raises(KeyringError, match="too many keys"):
        keyring.new_kek_epoch()
    assert path.read_bytes() == before
    assert Keyring.open(path, a_passphrase()).epochs == (1,)
