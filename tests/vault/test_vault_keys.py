"""Data keys: a wrap opens in its own context only, survives rotation, and dies with its epoch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_builders import a_keyring, a_passphrase

from consent_gateway.vault import keys
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keys import (
    WRAPPED_BYTES,
    KeyProvider,
    LocalKeyProvider,
    WrappedDek,
    dek_context,
    wrapped_epoch,
)


class TableKeyProvider:
    """A fake key service: it hands out handles and remembers what they stand for."""

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[bytes, bytes]] = {}

    def new_dek(self, context: bytes) -> tuple[bytes, WrappedDek]:
        dek = len(self._held).to_bytes(32, "big")
        return dek, self.wrap(dek, context)

    def wrap(self, dek: bytes, context: bytes) -> WrappedDek:
        handle = b"handle-%d" % len(self._held)
        self._held[handle] = (dek, context)
        return WrappedDek(handle)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        dek, bound = self._held.get(wrapped, (b"", None))
        if bound != context:
            raise VaultError
        return dek

    def rewrap(self, wrapped: bytes, context: bytes) -> WrappedDek:
        return self.wrap(self.unwrap(wrapped, context), context)


@pytest.fixture(params=["local", "table"])
def provider(request: pytest.FixtureRequest) -> KeyProvider:
    return LocalKeyProvider(a_keyring()) if request.param == "local" else TableKeyProvider()


def test_the_contract_of_every_provider(provider):
    dek, wrapped = provider.new_dek(b"here")
    again, other = provider.new_dek(b"here")
    assert dek != again
    assert len(dek) == 32
    assert provider.unwrap(wrapped, b"here") == dek
    assert provider.unwrap(provider.rewrap(wrapped, b"here"), b"here") == dek
    for wrong in (lambda: provider.unwrap(wrapped, b"there"), lambda: provider.rewrap(other, b"there")):
        with pytest.raises(VaultError):
            wrong()
    with pytest.raises(VaultError):
        provider.unwrap(b"made up", b"here")


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=40), st.binary(max_size=40))
def test_a_wrap_opens_in_its_own_context_only(dek, context, other):
    provider = LocalKeyProvider(a_keyring())
    wrapped = provider.wrap(dek, context)
    assert len(wrapped) == WRAPPED_BYTES
    assert provider.unwrap(wrapped, context) == dek
    if other != context:
        with pytest.raises(VaultError):
            provider.unwrap(wrapped, other)


def test_every_flipped_bit_and_every_truncation_is_the_one_failure():
    provider = LocalKeyProvider(a_keyring(epochs=3))
    _, wrapped = provider.new_dek(b"here")
    flips = [
        wrapped[:at] + bytes([wrapped[at] ^ (1 << bit)]) + wrapped[at + 1 :]
        for at in range(len(wrapped))
        for bit in range(8)
    ]
    cuts = [wrapped[:length] for length in range(len(wrapped))]
    messages = set()
    for damaged in [*flips, *cuts, wrapped + b"\x00"]:
        with pytest.raises(VaultError) as failure:
            provider.unwrap(damaged, b"here")
        messages.add(str(failure.value))
    assert messages == {VaultError.title}


def test_two_subjects_contexts_differ_and_their_wraps_cannot_be_swapped():
    provider = LocalKeyProvider(a_keyring())
    _, wrapped = provider.new_dek(dek_context(1))
    with pytest.raises(VaultError):
        provider.unwrap(wrapped, dek_context(2))


def test_a_context_outside_the_aad_would_let_wraps_be_swapped(monkeypatch):
    """The planted bug: with the context dropped from the AAD the swap goes through, so the test above can fail."""

    class Careless:
        def __init__(self, key):
            self._siv = genuine(key)

        def encrypt(self, data, aad):
            return self._siv.encrypt(data, aad[:2])

        def decrypt(self, data, aad):
            return self._siv.decrypt(data, aad[:2])

    genuine = keys.AESSIV
    monkeypatch.setattr(keys, "AESSIV", Careless)
    provider = LocalKeyProvider(a_keyring())
    dek, wrapped = provider.new_dek(dek_context(1))
    assert provider.unwrap(wrapped, dek_context(2)) == dek


def test_rotation_moves_a_wrap_and_destroying_the_epoch_kills_the_old_copy():
    provider = LocalKeyProvider(a_keyring())
    dek, old = provider.new_dek(b"here")
    provider.use(provider.keyring.new_kek_epoch())
    new = provider.rewrap(old, b"here")
    assert (wrapped_epoch(old), wrapped_epoch(new)) == (1, 2)
    assert provider.rewrap(new, b"here") == new, "rewrapping is idempotent"
    provider.use(provider.keyring.destroy_kek_epoch(1))
    assert provider.unwrap(new, b"here") == dek
    with pytest.raises(VaultError):
        provider.unwrap(old, b"here")


def test_a_replica_follows_another_ones_rotation_without_a_restart(tmp_path):
    path = tmp_path / "keyring"
    mine = LocalKeyProvider(Keyring.create(path, a_passphrase()))
    other = LocalKeyProvider(Keyring.open(path, a_passphrase()))
    _, old = mine.new_dek(b"here")
    other.use(other.keyring.new_kek_epoch())
    dek, wrapped = other.new_dek(b"here")
    assert mine.unwrap(wrapped, b"here") == dek
    other.use(other.keyring.destroy_kek_epoch(1))
    assert mine.refresh()
    assert not mine.refresh()
    with pytest.raises(VaultError):
        mine.unwrap(old, b"here")


def test_a_made_up_epoch_does_not_reopen_an_unchanged_keyring(tmp_path, monkeypatch):
    provider = LocalKeyProvider(Keyring.create(tmp_path / "keyring", a_passphrase()))
    _, wrapped = provider.new_dek(b"here")
    monkeypatch.setattr(Keyring, "open", lambda *_: pytest.fail("the keyring was opened for a made-up epoch"))
    with pytest.raises(VaultError):
        provider.unwrap(wrapped[:2] + b"\x00\x00\x00\x09" + wrapped[6:], b"here")


def test_wraps_spread_over_the_shards():
    provider = LocalKeyProvider(a_keyring())
    shards = {provider.wrap(bytes(32), dek_context(subject))[6] for subject in range(200)}
    assert shards == set(range(16))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_only_32_byte_keys_are_wrapped(size):
    with pytest.raises(VaultError):
        LocalKeyProvider(a_keyring()).wrap(bytes(size), b"here")


# -- many at once ------------------------------------------------------------------------------------------------


def test_many_are_rewrapped_as_one_by_one() -> None:
    provider = LocalKeyProvider(Keyring.in_memory())
    old = [(provider.new_dek(dek_context(n))[1], dek_context(n)) for n in range(40)]
    deks = [provider.unwrap(wrapped, context) for wrapped, context in old]
    provider.use(provider.keyring.new_kek_epoch())
    current = provider.new_dek(dek_context(99))[1]
    moved = provider.rewrap_many([*old, (current, dek_context(99))])
    assert moved[:-1] == [provider.rewrap(wrapped, context) for wrapped, context in old]
    assert moved[-1] is current
    for wrapped, (_, context), dek in zip(moved[:-1], old, deks, strict=True):
        assert wrapped is not None
        assert (wrapped_epoch(wrapped), provider.unwrap(wrapped, context)) == (2, dek)


def test_of_many_those_that_do_not_open_are_told() -> None:
    provider = LocalKeyProvider(Keyring.in_memory())
    good, other = (provider.new_dek(dek_context(n))[1] for n in (1, 2))
    provider.use(provider.keyring.new_kek_epoch())
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    found = provider.rewrap_many(
        [(good, dek_context(1)), (other, dek_context(1)), (flipped, dek_context(1)), (b"", b""), (b"\x09" * 55, b"")]
    )
    assert found[0] is not None
    assert found[1:] == [None] * 4


def test_one_that_does_not_open_stops_none_after_it() -> None:
    provider = LocalKeyProvider(Keyring.in_memory())
    dek, good = provider.new_dek(dek_context(1))
    provider.use(provider.keyring.new_kek_epoch())
    current = provider.new_dek(dek_context(2))[1]
    found = provider.rewrap_many([(b"", b""), (current, dek_context(2)), (good, dek_context(1))])
    assert found[:2] == [None, current]
    assert found[2] is not None
    assert provider.unwrap(found[2], dek_context(1)) == dek


def test_the_file_is_looked_at_for_an_epoch_that_nobody_here_knows_and_for_no_other(tmp_path, monkeypatch) -> None:
    path = tmp_path / "keyring"
    mine = LocalKeyProvider(Keyring.create(path, a_passphrase()))
    other = LocalKeyProvider(Keyring.open(path, a_passphrase()))
    looks: list[bool] = []
    genuine = LocalKeyProvider.refresh
    monkeypatch.setattr(LocalKeyProvider, "refresh", lambda self: (looks.append(True), genuine(self))[1])
    dek, known = mine.new_dek(b"here")
    assert mine.rewrap_many([(known, b"here")]) == [known]
    assert mine.unwrap(known, b"here") == dek
    assert looks == []
    other.use(other.keyring.new_kek_epoch())
    later, unknown = other.new_dek(b"there")
    (same,) = mine.rewrap_many([(unknown, b"there")])
    assert (same, len(looks)) == (unknown, 1)
    assert mine.unwrap(unknown, b"there") == later
    assert len(looks) == 1


def test_a_cipher_is_made_once_for_each_shard(monkeypatch) -> None:
    """Making one costs as much as the wrap itself."""
    made: list[bytes] = []
    genuine = keys.AESSIV
    monkeypatch.setattr(keys, "AESSIV", lambda key: (made.append(key), genuine(key))[1])
    provider = LocalKeyProvider(a_keyring())
    for _ in range(3):
        dek, wrapped = provider.new_dek(b"here")
        assert provider.unwrap(wrapped, b"here") == dek
    assert len(made) == 1
    for subject in range(200):
        provider.new_dek(dek_context(subject))
    assert len(made) == len(set(made)) == 16


@pytest.mark.parametrize(("at", "byte"), [(0, 0), (0, 2), (1, 0), (1, 2), (6, 16), (6, 255)])
def test_a_header_of_another_version_algorithm_or_shard_is_no_header(at, byte) -> None:
    """Told before any key is asked for, so by what only reads headers too."""
    _, wrapped = LocalKeyProvider(a_keyring()).new_dek(b"here")
    with pytest.raises(VaultError):
        wrapped_epoch(wrapped[:at] + bytes([byte]) + wrapped[at + 1 :])
    for length in (WRAPPED_BYTES - 1, WRAPPED_BYTES + 1):
        with pytest.raises(VaultError):
            wrapped_epoch((wrapped + b"\0")[:length])


def test_many_keys_are_made_as_one_by_one() -> None:
    provider = LocalKeyProvider(a_keyring())
    contexts = [dek_context(n) for n in range(100)]
    made = provider.new_deks(contexts)
    assert [provider.unwrap(wrapped, context) for (_, wrapped), context in zip(made, contexts, strict=True)] == [
        dek for dek, _ in made
    ]
    assert len({dek for dek, _ in made}) == len(contexts)
    assert all(len(dek) == keys.DEK_BYTES for dek, _ in made)
    for (dek, wrapped), context in zip(made, contexts, strict=True):
        assert provider.wrap(dek, context) == wrapped  # AES-SIV needs no nonce: the same epoch and shard, the same wrap
    with pytest.raises(VaultError):
        provider.unwrap(made[0][1], contexts[1])
    assert provider.new_deks([]) == []
