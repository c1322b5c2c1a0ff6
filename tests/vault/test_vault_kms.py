"""A keyring at a key service: what each change asks for, and what an absent, wiped or lying service can do to it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from vault_builders import a_passphrase

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.kms import retry
from consent_gateway.vault.kms.port import NOT_OPENED
from consent_gateway.vault.kms.retry import Patient
from consent_gateway.vault.protectors import SecretFileProtector
from fake_kms import NOW, FakeClock, FakeKms


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


def entries(path: Path) -> dict[str, dict[str, str]]:
    return json.loads(path.read_text())["roots"]


def test_each_root_that_can_be_destroyed_has_a_key_of_its_own(path, kms):
    Keyring.create(path, kms).new_kek_epoch()
    keys = {name: entry["key"] for name, entry in entries(path).items()}
    lasting = {keys[name] for name in ("pseudonym", "audit_commitment", "tombstone", "log_signing_seed")}
    own = [keys[name] for name in ("kek/1", "kek/2", "index/1")]
    assert len(lasting) == 1
    assert len({*own, *lasting}) == 4
    assert set(kms.keys) == {*own, *lasting}


def test_no_root_is_readable_in_the_file(path, kms):
    roots = Keyring.create(path, kms).roots.by_name()
    assert not any(root.hex() in path.read_text() for root in roots.values())


def test_destroying_an_epoch_makes_every_old_copy_of_the_file_useless(path, tmp_path, kms):
    keyring = Keyring.create(path, kms).new_kek_epoch()
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    assert Keyring.open(copy, kms).epochs == (1, 2)
    gone = keyring.destroy_kek_epoch(1)
    assert gone.epochs == (2,)
    assert gone.destructions == {}
    assert Keyring.open(path, kms).roots == gone.roots
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(copy, kms)


def test_an_index_generation_goes_the_same_way(path, kms):
    keyring = Keyring.create(path, kms).new_index_generation()
    before = set(kms.keys)
    assert keyring.destroy_index_generation(1).generations == (2,)
    assert len(before - set(kms.keys)) == 1


def test_a_service_that_waits_before_it_destroys_says_until_when(path):
    kms = FakeKms(days=7)
    gone = Keyring.create(path, kms).new_kek_epoch().destroy_kek_epoch(1)
    assert list(gone.destructions.values()) == [NOW + timedelta(days=7)]
    assert Keyring.open(path, kms).destructions == gone.destructions
    assert gone.settle_destructions(NOW) is gone, "nothing is owed, and its time has not come"
    assert gone.settle_destructions(NOW + timedelta(days=7)).destructions == {}


def test_a_destruction_that_the_service_could_not_take_is_owed_and_asked_for_again(path, kms):
    keyring = Keyring.create(path, kms).new_kek_epoch()
    doomed = entries(path)["kek/1"]["key"]
    kms.away_for = {"destroy"}
    gone = keyring.destroy_kek_epoch(1)
    assert (gone.epochs, gone.destructions) == ((2,), {doomed: None})
    with pytest.raises(KeyServiceError):
        gone.settle_destructions()
    with pytest.raises(KeyringError, match="owes"):
        gone.reseal(a_passphrase())
    assert doomed in kms.keys
    kms.away_for = set()
    assert Keyring.open(path, kms).settle_destructions().destructions == {}
    assert doomed not in kms.keys


def test_a_change_asks_for_what_is_new_and_a_reader_for_no_more(path, kms):
    writer = Keyring.create(path, kms)
    reader = Keyring.open(path, kms)
    kms.calls.clear()
    writer = writer.new_kek_epoch()
    assert kms.calls == {"create": 1, "wrap": 1, "unwrap": 1}
    kms.calls.clear()
    assert reader.reload().epochs == (1, 2)
    assert kms.calls == {"unwrap": 1}
    kms.calls.clear()
    writer.destroy_kek_epoch(1)
    assert kms.calls == {"unwrap": 1, "destroy": 1}


def test_reopening_proves_every_root_and_changes_nothing(path, kms):
    keyring = Keyring.create(path, kms)
    assert keyring.reopen() is keyring
    other = Keyring.open(path, kms).new_kek_epoch()
    assert keyring.reopen().roots == other.roots
    assert Keyring.in_memory().reopen().epochs == (1,)
    kms.away = True
    with pytest.raises(KeyServiceError):
        keyring.reopen()


@pytest.mark.parametrize("missing", ["create", "wrap", "unwrap"])
@pytest.mark.parametrize("change", [Keyring.new_kek_epoch, Keyring.new_index_generation])
def test_an_outage_during_a_roll_changes_nothing(path, kms, missing, change):
    keyring = Keyring.create(path, kms)
    before = path.read_bytes()
    kms.away_for = {missing}
    with pytest.raises(KeyServiceError):
        change(keyring)
    assert path.read_bytes() == before
    kms.away_for = set()
    assert len(change(keyring).roots.by_name()) == 7, "and it goes on afterwards, with the key that was made already"


def test_an_outage_at_the_start_is_told_from_a_wrong_secret(path, kms):
    Keyring.create(path, kms)
    kms.away = True
    with pytest.raises(KeyServiceError):
        Keyring.open(path, kms)
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, a_passphrase())


@pytest.mark.parametrize("change", [Keyring.new_kek_epoch, Keyring.new_index_generation])
def test_a_wiped_service_gets_no_new_key(path, kms, change):
    keyring = Keyring.create(path, kms)
    before = path.read_bytes()
    kms.wipe()
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        change(keyring)
    assert path.read_bytes() == before
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        keyring.reopen()


def test_a_service_that_answers_with_another_plaintext_is_found_out(path, kms):
    keyring = Keyring.create(path, kms)
    before = path.read_bytes()
    kms.lies = True
    with pytest.raises(KeyServiceError, match="give back"):
        keyring.new_kek_epoch()
    assert path.read_bytes() == before
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, kms)


@pytest.mark.parametrize("call", ["wrap", "unwrap"])
@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 0)])
def test_a_service_that_does_not_answer_for_each_key_is_refused(path, kms, monkeypatch, call, cut):
    """Else a change would rest on what was proven for some keys, or for none."""
    keyring = Keyring.create(path, kms)
    before = path.read_bytes()
    genuine = getattr(FakeKms, call)
    monkeypatch.setattr(FakeKms, call, lambda self, items: genuine(self, items)[cut])
    message = "^The key service does not answer for each key that it was asked about$"
    with pytest.raises(KeyServiceError, match=message):
        keyring.new_kek_epoch()
    assert path.read_bytes() == before
    if call == "unwrap":
        with pytest.raises(KeyServiceError, match=message):
            Keyring.open(path, kms)


def test_keys_are_labelled_by_keyring_use_and_number(path, kms, monkeypatch):
    labels: list[str] = []
    genuine = FakeKms.create_key
    monkeypatch.setattr(FakeKms, "create_key", lambda self, label: (labels.append(label), genuine(self, label))[1])
    Keyring.create(path, kms).new_kek_epoch().new_index_generation()
    begin = json.loads(path.read_text())["id"][:8]
    assert labels == [f"{begin}-{end}" for end in ("lasting", "index-1", "kek-1", "kek-2", "index-2")]


def test_what_a_service_still_destroys_is_not_carried_to_another(path):
    gone = Keyring.create(path, FakeKms(days=7)).new_kek_epoch().destroy_kek_epoch(1)
    assert len(gone.destructions) == 1
    assert gone.reseal(a_passphrase()).destructions == {}


def test_a_key_of_another_name_does_not_open(path, kms):
    Keyring.create(path, kms)
    document = json.loads(path.read_text())
    document["roots"]["kek/1"]["key"] = document["roots"]["index/1"]["key"]
    path.write_text(json.dumps(document))
    with pytest.raises(KeyringError, match=re.escape(NOT_OPENED)):
        Keyring.open(path, kms)


def test_moving_to_a_service_and_back_keeps_the_roots(path, tmp_path, kms):
    local = Keyring.create(path, a_passphrase())
    remote = local.reseal(kms)
    assert Keyring.open(path, kms).roots == local.roots
    with pytest.raises(KeyringError):
        Keyring.open(path, a_passphrase())
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 32)
    secret.chmod(0o600)
    assert remote.reseal(SecretFileProtector(secret)).roots == local.roots
    assert Keyring.in_memory().reseal(kms).epochs == (1,)


def test_a_format_1_file_is_never_opened_by_a_service(path, kms):
    path.write_text('{"format": "consent-gateway-keyring", "version": 1, "protection": {"kind": "fake"}, "body": ""}')
    path.chmod(0o600)
    with pytest.raises(KeyringError):
        Keyring.open(path, kms)


# -- patience ------------------------------------------------------------------------------------------------------


def patient(kms: FakeKms, **changes) -> Patient:
    return Patient(kms, sleep=kms.clock.sleep, **changes)


def test_throttling_is_waited_out_with_growing_waits(path, kms):
    kms.throttled = 3
    keyring = Keyring.create(path, patient(kms))
    assert keyring.epochs == (1,)
    first, second, third = kms.clock.slept
    assert 0.125 <= first <= 0.25
    assert 0.25 <= second <= 0.5
    assert 0.5 <= third <= 1.0


def test_patience_has_an_end_and_is_bounded_in_time(path, kms):
    kms.away, kms.latency = True, 0.5
    began = kms.clock.now
    with pytest.raises(KeyServiceError):
        Keyring.create(path, patient(kms, attempts=6))
    assert kms.calls == {"create": 6}
    assert len(kms.clock.slept) == 5
    assert max(kms.clock.slept) <= 2.0
    assert kms.clock.now - began <= 6 * 0.5 + 0.25 + 0.5 + 1 + 2 + 2


def test_a_wait_that_the_service_asks_for_counts_if_it_is_short(kms):
    for asked, expected in ((2, 2.0), (60, 0.25), (None, 0.25)):
        kms.throttled, kms.retry_after, kms.clock.slept = 1, asked, []
        patient(kms).create_key("x")
        assert kms.clock.slept[0] <= expected
        assert (kms.clock.slept[0] == expected) == (asked == 2)


@pytest.mark.parametrize(("chance", "share"), [(0, 0.5), (500, 0.75), (999, 0.9995)])
def test_a_wait_is_between_half_and_all_of_its_length_and_no_shorter_than_asked(kms, monkeypatch, chance, share):
    bounds: list[int] = []
    monkeypatch.setattr(retry.secrets, "randbelow", lambda bound: (bounds.append(bound), chance)[1])
    for first, asked, expected in (
        (2.0, None, 2 * share),
        (2.0, 2, 2.0),
        (1.0, 1, 1.0),
        (2.0, 0, 2 * share),
        (1.0, 3, share),
    ):
        kms.throttled, kms.retry_after, kms.clock.slept = 1, asked, []
        patient(kms, first=first).create_key("x")
        assert kms.clock.slept == [pytest.approx(expected)]
    assert set(bounds) == {1000}


def test_patience_is_as_long_as_it_is_said_to_be(kms, monkeypatch):
    monkeypatch.setattr(retry.secrets, "randbelow", lambda _: 0)
    kms.away = True
    with pytest.raises(KeyServiceError):
        patient(kms).create_key("x")
    assert kms.calls == {"create": 4}
    assert kms.clock.slept == [0.125, 0.25, 0.5]
    kms.clock.slept = []
    with pytest.raises(KeyServiceError):
        patient(kms, attempts=7).wrap([])
    assert kms.clock.slept == [0.125, 0.25, 0.5, 1.0, 1.0, 1.0]
    assert (patient(kms).kind, patient(kms).has_own_keys) == ("fake", True)
    kms.clock.slept = []
    for ask in (lambda: patient(kms).unwrap([]), lambda: patient(kms).schedule_destroy("x")):
        with pytest.raises(KeyServiceError):
            ask()
    assert len(kms.clock.slept) == 6


def test_an_answer_that_was_lost_is_asked_for_again_without_harm(path, kms):
    kms.lost = 3
    keyring = Keyring.create(path, patient(kms))
    kms.lost = 1
    rolled = keyring.new_kek_epoch()
    kms.lost = 1
    gone = rolled.destroy_kek_epoch(1)
    assert Keyring.open(path, kms).roots == gone.roots
    assert set(kms.keys) == {entry["key"] for entry in entries(path).values()}, "no key is left over"


def test_a_refusal_is_final(path, kms):
    Keyring.create(path, kms)
    kms.wipe()
    kms.calls.clear()
    with pytest.raises(KeyringError):
        Keyring.open(path, patient(kms))
    assert kms.calls == {"unwrap": 1}
    assert kms.clock.slept == []


def test_whether_a_service_is_there_is_asked_once(kms):
    kms.away = True
    with pytest.raises(KeyServiceError):
        patient(kms).check()
    assert kms.calls == {"check": 1}
    assert FakeClock()() == 1000.0


def test_a_service_that_lost_its_keys_has_destroyed_nothing(path, kms):
    """It says of every key that it is gone; the one that it was at another address still holds them."""
    keyring = Keyring.create(path, kms).new_kek_epoch()
    kms.keys, kept = {}, kms.keys
    gone = keyring.destroy_kek_epoch(1)
    assert list(gone.destructions.values()) == [None]
    with pytest.raises(KeyServiceError, match="not the one that sealed"):
        gone.settle_destructions()
    kms.keys = kept
    assert gone.settle_destructions().destructions == {}


def test_another_service_of_the_same_kind_takes_no_debts_over(path, kms):
    keyring = Keyring.create(path, kms).new_kek_epoch()
    kms.away_for = {"destroy"}
    owing = keyring.destroy_kek_epoch(1)
    with pytest.raises(KeyringError, match="still owes"):
        owing.reseal(FakeKms())
    kms.away_for = set()
    assert owing.settle_destructions().reseal(FakeKms()).destructions == {}


def test_an_epoch_of_a_number_is_made_once(path, kms):
    """Two who begin the same epoch get the same one; a past number is never given again."""
    one, other = Keyring.create(path, kms), Keyring.open(path, kms)
    first = one.new_kek_epoch(2)
    second = other.new_kek_epoch(2)
    assert first.key_fingerprints() == second.key_fingerprints()
    assert second.new_kek_epoch(5).epochs == (1, 2, 5)
    with pytest.raises(KeyringError, match="past number"):
        second.new_kek_epoch(3)
    assert Keyring.open(path, kms).new_kek_epoch().current_epoch == 6
