"""Custody: reads outlive an outage for a while, new keys do not, and nothing outlives its root."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from vault_builders import a_keyring, a_passphrase

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault import custody as module
from consent_gateway.vault.blind_index import BlindIndexer
from consent_gateway.vault.custody import Custody, custody_of
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keys import LocalKeyProvider
from consent_gateway.vault.pseudonyms import Pseudonymiser
from fake_kms import FakeClock, FakeKms

TTL = 900


class Place:
    """A process with its custody over a keyring at a fake service, and another process beside it."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.kms = FakeKms(self.clock)
        self.path = path
        Keyring.create(path, self.kms)
        self.custody = Custody(Keyring.open(path, self.kms), TTL, self.clock)
        self.provider = LocalKeyProvider(self.custody)
        self.indexer = BlindIndexer(self.custody)
        self.pseudonymiser = Pseudonymiser(self.custody)

    def other(self) -> Keyring:
        return Keyring.open(self.path, self.kms)

    def read(self) -> None:
        """Every kind of read."""
        self.indexer.index("email", "a@b.example")
        self.indexer.tombstone("email", "a@b.example")
        self.pseudonymiser.pseudonym(1, "crm", 1)

    def fail_to_tend(self) -> None:
        with pytest.raises((KeyServiceError, KeyringError)):
            self.custody.tend()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "keyring.json")


def test_no_read_and_no_new_data_key_asks_the_service(place):
    place.kms.calls.clear()
    dek, wrapped = place.provider.new_dek(b"here")
    for _ in range(50):
        place.read()
        assert place.provider.unwrap(wrapped, b"here") == dek
        assert not place.custody.tend()
    assert place.kms.calls == {}


def test_at_half_of_its_time_the_keyring_is_proven_anew(place):
    place.kms.calls.clear()
    place.clock.now += TTL / 2
    assert place.custody.tend()
    assert place.kms.calls == {"unwrap": 1}
    place.clock.now += TTL / 2 + 1
    place.read()
    place.clock.now += TTL
    with pytest.raises(KeyServiceError):
        place.read()


def test_during_an_outage_reads_go_on_and_new_keys_are_refused(place):
    dek, wrapped = place.provider.new_dek(b"here")
    place.kms.away = True
    place.clock.now += TTL / 2
    place.fail_to_tend()
    assert place.custody.failing
    place.read()
    assert place.provider.unwrap(wrapped, b"here") == dek
    for refused in (
        lambda: place.provider.new_dek(b"here"),
        lambda: place.provider.new_deks([b"here"]),
        lambda: place.provider.wrap(dek, b"here"),
        lambda: place.provider.rewrap(wrapped, b"here"),
        lambda: place.provider.rewrap_many([(wrapped, b"here")]),
        place.custody.keyring.new_kek_epoch,
        place.custody.keyring.new_index_generation,
    ):
        with pytest.raises(KeyServiceError):
            refused()


def test_at_the_end_of_the_time_everything_is_one_clear_refusal(place):
    _, wrapped = place.provider.new_dek(b"here")
    place.kms.away = True
    place.clock.now += TTL - 0.001
    place.read()
    place.clock.now += 0.001
    for use in (place.read, lambda: place.provider.unwrap(wrapped, b"here"), lambda: place.provider.keyring):
        with pytest.raises(KeyServiceError) as failure:
            use()
        assert (failure.value.status, failure.value.code) == (503, "key_service_unavailable")
        assert failure.value.retry_after


def test_it_recovers_by_itself_and_waits_longer_between_attempts(place):
    place.kms.away = True
    place.clock.now += TTL + 1
    asked = []
    for _ in range(100):
        try:
            place.custody.tend()
        except KeyServiceError:
            asked.append(place.clock.now)
        place.clock.now += 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30]
    place.kms.away = False
    place.clock.now += 30
    assert place.custody.tend()
    assert not place.custody.failing
    place.read()
    place.provider.new_dek(b"here")


def test_a_wiped_service_stops_new_keys_and_not_reads(place):
    dek, wrapped = place.provider.new_dek(b"here")
    place.kms.wipe()
    place.clock.now += TTL / 2
    place.fail_to_tend()
    assert place.provider.unwrap(wrapped, b"here") == dek
    with pytest.raises(KeyServiceError):
        place.provider.new_dek(b"here")


def test_without_the_check_a_data_key_would_be_made_under_lost_keys(place, monkeypatch):
    """The planted bug: the guard gone, the new key is made, so the test above can fail."""
    place.kms.wipe()
    place.clock.now += TTL / 2
    place.fail_to_tend()
    monkeypatch.setattr(Custody, "require_sound", lambda _: None)
    assert place.provider.new_dek(b"here")


def test_another_process_change_is_followed_by_every_part(place):
    place.read()
    value = place.indexer.index("email", "a@b.example", 1)
    other = place.other().new_index_generation()
    assert place.custody.tend()
    assert not place.custody.tend()
    assert place.indexer.lookups("email", "a@b.example").keys() == {1, 2}
    assert place.indexer.index("email", "a@b.example", 1) == value
    other.destroy_index_generation(1)
    assert place.custody.tend()
    with pytest.raises(KeyringError):
        place.indexer.index("email", "a@b.example", 1)


def test_no_cipher_outlives_its_epoch(place):
    _, wrapped = place.provider.new_dek(b"here")
    place.other().new_kek_epoch().destroy_kek_epoch(1)
    assert place.custody.tend()
    with pytest.raises(VaultError):
        place.provider.unwrap(wrapped, b"here")


def test_pseudonyms_follow_another_keyring(place):
    before = place.pseudonymiser.pseudonym(1, "crm", 1)
    place.custody.use(a_keyring())
    assert place.pseudonymiser.pseudonym(1, "crm", 1) == Pseudonymiser(a_keyring()).pseudonym(1, "crm", 1) != before


def test_a_change_that_cannot_be_read_is_a_failure_until_it_can(place):
    place.other().new_kek_epoch()
    place.kms.away = True
    place.fail_to_tend()
    assert not place.custody.tend(), "it waits before the next attempt"
    place.read()
    place.kms.away = False
    place.clock.now += 1
    assert place.custody.tend()
    assert place.custody.keyring.epochs == (1, 2)


def test_what_the_service_owes_is_asked_for_and_does_not_stop_new_keys(place):
    place.kms.away_for = {"destroy"}
    place.custody.use(place.custody.keyring.new_kek_epoch().destroy_kek_epoch(1))
    assert list(place.custody.keyring.destructions.values()) == [None]
    place.clock.now += TTL / 2
    place.fail_to_tend()
    assert not place.custody.failing
    place.provider.new_dek(b"here")
    place.kms.away_for = set()
    place.clock.now += TTL / 2
    assert place.custody.tend()
    assert place.custody.keyring.destructions == {}


def test_a_local_keyring_has_no_end_and_follows_its_file(tmp_path):
    path, clock = tmp_path / "keyring.json", FakeClock()
    custody = Custody(Keyring.create(path, a_passphrase()), None, clock)
    clock.now += 10**9
    assert custody.keyring.epochs == (1,)
    assert not custody.tend()
    Keyring.open(path, a_passphrase()).new_kek_epoch()
    assert custody.tend()
    assert custody.keyring.epochs == (1, 2)
    path.rename(tmp_path / "away")
    with pytest.raises(KeyringError):
        custody.tend()
    assert custody.failing
    (tmp_path / "away").rename(path)
    clock.now += 1
    assert custody.tend()
    assert not custody.failing


def test_a_rotation_wins_over_a_refresh_that_began_before_it(place, monkeypatch):
    rolled = place.other().new_kek_epoch()
    slow = Keyring.reload

    def overtaken(keyring):
        found = slow(keyring)
        place.custody.use(rolled)
        return found

    monkeypatch.setattr(Keyring, "reload", overtaken)
    place.custody.follow()
    assert place.custody.keyring is rolled


def test_a_service_that_is_away_is_not_asked_by_each_who_meets_a_newer_epoch(place):
    """Every wrap under an epoch that another process began would hold up its request for the whole of our patience."""
    wrapped = LocalKeyProvider(place.other().new_kek_epoch()).new_dek(b"here")[1]
    place.kms.away = True
    place.kms.calls.clear()
    for _ in range(50):
        with pytest.raises(KeyServiceError):
            place.provider.unwrap(wrapped, b"here")
    assert place.kms.calls == {"unwrap": 1}
    assert place.custody.failing
    place.kms.away = False
    place.clock.now += 1
    assert place.provider.unwrap(wrapped, b"here")


def test_of_many_who_meet_a_newer_epoch_one_asks(place):
    wrapped = LocalKeyProvider(place.other().new_kek_epoch()).new_dek(b"here")[1]
    place.kms.calls.clear()
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: place.provider.unwrap(wrapped, b"here"), range(8)))
    assert len(set(opened)) == 1
    assert place.kms.calls == {"unwrap": 1}


def test_who_waits_for_another_one_that_asks_is_told_to_come_back(place, monkeypatch):
    place.other().new_kek_epoch()
    monkeypatch.setattr(module, "_LONGEST_TURN", 0.01)
    place.custody._tending.acquire()
    with pytest.raises(KeyServiceError, match="being asked"):
        place.custody.follow()
    place.custody._tending.release()
    assert place.custody.follow()


def test_the_time_counts_from_the_question_and_not_from_a_late_answer(place):
    place.kms.latency = 200.0
    place.clock.now += TTL / 2
    asked = place.clock.now
    assert place.custody.tend()
    place.clock.now = asked + TTL - 0.001
    place.read()
    place.clock.now = asked + TTL
    with pytest.raises(KeyServiceError):
        place.read()


def test_a_machine_that_sleeps_does_not_stop_the_clock():
    """CLOCK_MONOTONIC stands still while a machine is suspended: keys would outlive their right by a night."""
    assert abs(module.since_boot() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
    assert Custody(a_keyring())._monotonic is module.since_boot


def test_a_bare_keyring_gets_a_custody_and_a_custody_is_shared():
    custody = Custody(a_keyring())
    assert custody_of(custody) is custody
    assert custody_of(a_keyring()).keyring.epochs == (1,)
