"""Mistakes that peers of this vault made, one test for each that is the vault's own; `test_services_peers` has the rest.

Read in Databunker: AES-GCM with a constant nonce; no associated data; the key of a record beside the record; a search
index that is an unkeyed hash, salted from the master key.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections import Counter

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from vault_builders import a_keyring, a_passphrase

from consent_gateway.vault import envelope
from consent_gateway.vault.blind_index import INDEXED_FIELDS, BlindIndexer
from consent_gateway.vault.derivation import derive, expand
from consent_gateway.vault.envelope import DataKey, SealContext
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keys import LocalKeyProvider, dek_context
from consent_gateway.vault.kms.port import Bound
from consent_gateway.vault.recovery import RecoveryKey, public_of
from consent_gateway.vault.roots import Roots
from fake_kms import FakeKms

DEK = bytes(range(32))
HERE = SealContext(7, "contact", 1, 3)
PLAIN = b"jane@example.com"


def nonces(times: int) -> list[bytes]:
    """The nonces of one plaintext sealed again and again: in one context, and in another each time."""
    key = DataKey(DEK)
    contexts = [HERE] * times + [SealContext(7, "contact", 1, version) for version in range(times)]
    return [key.seal(context, PLAIN)[10:22] for context in contexts]


def looks_drawn(found: list[bytes]) -> bool:
    """Tell whether nonces never repeat and no bit of them is fixed: by chance a bit is one way 1,000 times: 2^-999."""
    words = [int.from_bytes(nonce, "big") for nonce in found]
    ones, zeros = 0, 0
    for word in words:
        ones |= word
        zeros |= ~word
    every = (1 << 96) - 1
    return len(set(found)) == len(found) and ones == every and zeros & every == every


# -- AES-GCM with a constant nonce ---------------------------------------------------------------------------------


def test_no_nonce_is_constant_counted_or_made_of_the_row() -> None:
    assert looks_drawn(nonces(1000))


@pytest.mark.parametrize("planted", ["constant", "counter"])
def test_a_constant_nonce_would_be_found(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    """The planted bug, and what it costs: two texts under one nonce give away their difference."""
    counter = itertools.count()
    nonce = {"constant": lambda _: bytes(12), "counter": lambda _: struct.pack(">4xQ", next(counter))}[planted]
    monkeypatch.setattr(envelope.secrets, "token_bytes", nonce)
    assert not looks_drawn(nonces(1000))
    if planted == "constant":
        one, other = (DataKey(DEK).seal(HERE, text)[22:38] for text in (PLAIN, b"john@example.com"))
        assert bytes(a ^ b for a, b in zip(one, other, strict=True)) == bytes(
            a ^ b for a, b in zip(PLAIN, b"john@example.com", strict=True)
        )


# -- no associated data anywhere -----------------------------------------------------------------------------------


def test_nothing_that_the_vault_seals_opens_without_its_associated_data() -> None:
    """With the very key at hand: groups, wrapped data keys, roots in a keyring file, roots sealed to recovery."""
    ring = a_keyring()
    sealed = DataKey(DEK).seal(HERE, PLAIN)
    wrapped = LocalKeyProvider(ring).wrap(DEK, dek_context(7))
    protector = a_passphrase()
    name = protector.create_key("any")
    root = protector.wrap([Bound(name, b"kek/1", b"s" * 32)])[0]
    with pytest.raises(InvalidTag):
        AESGCM(expand(DEK, b"consent-gateway/envelope")[:32]).decrypt(sealed[10:22], sealed[22:], None)
    for aad in (None, [], [b""], [dek_context(7)]):
        with pytest.raises(InvalidTag):
            AESSIV(ring.kek(1, wrapped[6])).decrypt(wrapped[7:], aad)
        with pytest.raises(InvalidTag):
            protector._cipher(name).decrypt(root, aad)
    assert DataKey(DEK).open(HERE, sealed) == PLAIN


# -- the key of a record in the row that it protects ---------------------------------------------------------------


def test_no_data_key_lies_beside_what_it_opens_and_no_root_in_what_is_stored(tmp_path) -> None:
    """What a row holds is the wrap; what a keyring at a service holds is wraps. Whoever reads both has no key."""
    kms = FakeKms()
    ring = Keyring.create(tmp_path / "keyring", kms).use_recovery(RecoveryKey(public_of(bytes(range(1, 33))), 2, 3))
    provider = LocalKeyProvider(ring)
    dek, wrapped = provider.new_dek(dek_context(7))
    key = DataKey(dek)
    stored = wrapped + key.seal(HERE, PLAIN) + (tmp_path / "keyring").read_bytes()
    living = [dek, expand(dek, b"consent-gateway/envelope")[:32], *ring.roots.by_name().values()]
    living += [ring.kek(1, shard) for shard in range(16)]
    for secret in living:
        assert secret not in stored
        assert secret.hex().encode() not in stored
    assert key.key_id in stored, "the search finds what is there"


# -- an index that is an unkeyed hash, salted from the master key --------------------------------------------------


def test_the_index_is_no_hash_that_a_dictionary_could_build() -> None:
    """Every usual digest of an address, plain or salted with what a dump shows: none of them is its index."""
    indexer = BlindIndexer(a_keyring())
    held = {indexer.index(field, "jane@example.com") for field in INDEXED_FIELDS}
    held |= {indexer.tombstone(field, "jane@example.com")[:16] for field in INDEXED_FIELDS}
    held |= {indexer.lasting(field, "jane@example.com") for field in INDEXED_FIELDS}
    guesses = set()
    shown = [b"", b"email", a_keyring().fingerprint().encode(), *(field.encode() for field in INDEXED_FIELDS)]
    for algorithm in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s"):
        for salt in shown:
            for text in (salt + PLAIN, PLAIN + salt):
                digest = hashlib.new(algorithm, text).digest()
                guesses |= {digest[:16], digest[-16:]}
    assert not held & guesses
    assert len(held) == 3 * len(INDEXED_FIELDS)


ROOT_NAMES = ("kek", "index", "pseudonym", "audit_commitment", "tombstone", "log_signing_seed")


def derived(changed: str | None = None) -> dict[str, bytes]:
    """One key of each use, of roots of which one is another."""
    held = {name: name.encode().ljust(32, b".")[:32] for name in ROOT_NAMES}
    if changed is not None:
        held[changed] = b"changed".ljust(32, b".")
    ring = Keyring(
        Roots({1: held["kek"]}, {1: held["index"]}, *(held[name] for name in ROOT_NAMES[2:])),
    )
    return {
        "kek": ring.kek(1, 0),
        "index": ring.index_key("email", 1),
        "pseudonym": ring.pseudonym_key("crm", 1),
        "audit_commitment": ring.audit_commitment_key(),
        "tombstone": ring.tombstone_key("email"),
        "log_signing_seed": ring.receipt_signing_seed(),
    }


@pytest.mark.parametrize("root", ROOT_NAMES)
def test_each_use_hangs_on_a_root_of_its_own(root: str) -> None:
    """The index key says nothing of the key-encryption keys: exchanging one root changes the keys of its use alone."""
    before, after = derived(), derived(root)
    assert {use for use in before if before[use] != after[use]} == {root}


def test_an_index_salted_from_the_master_key_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the index key derived from the root of the key-encryption keys."""
    monkeypatch.setattr(
        Keyring, "index_key", lambda ring, field, _: derive(ring.roots.kek[1], 32, b"index", field.encode())
    )
    with pytest.raises(AssertionError):
        test_each_use_hangs_on_a_root_of_its_own("kek")


def test_equal_values_of_two_fields_or_gateways_do_not_look_equal() -> None:
    """As they do under one unkeyed hash for everything."""
    rings = [a_keyring(), Keyring.in_memory()]
    seen = Counter(
        BlindIndexer(ring).index(field, "4915112345678") for ring in rings for field in sorted(INDEXED_FIELDS)
    )
    assert set(seen.values()) == {1}
    assert len(seen) == 2 * len(INDEXED_FIELDS)
