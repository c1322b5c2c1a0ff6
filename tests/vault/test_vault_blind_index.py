"""Blind indexes: equal iff the normalised values are, per field and generation; nothing for weak fields."""

from __future__ import annotations

import hashlib
import hmac
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_builders import a_keyring

from consent_gateway.errors import KeyringError
from consent_gateway.vault import blind_index
from consent_gateway.vault.blind_index import (
    INDEXED_FIELDS,
    BlindIndexer,
    Leakage,
    lint_field,
    measure_leakage,
    objections,
)
from consent_gateway.vault.custody import Custody
from consent_gateway.vault.derivation import derive, frame
from consent_gateway.vault.failures import LowEntropyFieldError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.normalisers import VERSIONS, Normalised, normalise

FIELDS = st.sampled_from(sorted(INDEXED_FIELDS))
LOCALS = st.text("abcAB.", min_size=1, max_size=3)


@settings(derandomize=True, deadline=None)
@given(FIELDS, st.text(max_size=20), st.text(max_size=20))
def test_equal_iff_the_value_is_equal(field, one, other):
    indexer = BlindIndexer(a_keyring())
    assert (indexer.index(field, one) == indexer.index(field, other)) == (one == other)
    assert (indexer.tombstone(field, one) == indexer.tombstone(field, other)) == (one == other)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(LOCALS, LOCALS)
def test_spellings_of_one_address_meet_and_others_do_not(one, other):
    indexer = BlindIndexer(a_keyring())
    first, second = (normalise("email", f" {local}@Example.com ") for local in (one, other))
    if isinstance(first, Normalised) and isinstance(second, Normalised):
        same = indexer.index("email", first.value) == indexer.index("email", second.value)
        assert same == (one.lower() == other.lower())


def test_it_is_the_documented_hmac_written_out_by_hand():
    key = derive(b"\x01" * 32, 32, b"index", b"email", (1).to_bytes(4, "big"))
    message = frame(b"consent-gateway/blind-index", b"email", (VERSIONS["email"]).to_bytes(4, "big")) + b"a@b.example"
    expected = hmac.digest(key, message, hashlib.sha256)[:16]
    assert BlindIndexer(a_keyring()).index("email", "a@b.example") == expected


def test_field_generation_version_keyring_and_purpose_separate_the_domains():
    indexer = BlindIndexer(a_keyring(generations=2))
    value = "4915112345678"
    seen = [indexer.index(field, value, generation) for field in sorted(INDEXED_FIELDS) for generation in (1, 2)]
    seen += [indexer.index("phone", value, 1, version=9), BlindIndexer(Keyring.in_memory()).index("phone", value)]
    seen += [indexer.tombstone(field, value)[:16] for field in sorted(INDEXED_FIELDS)]
    assert len(set(seen)) == len(seen)


def test_a_dictionary_without_the_key_finds_nothing():
    indexer = BlindIndexer(a_keyring())
    dump = set(indexer.index_many("phone", (f"+49151{number:07d}" for number in range(2000))))
    attacker = BlindIndexer(Keyring.in_memory())
    guesses = [f"+49151{number:07d}" for number in range(2000)]
    assert not dump & set(attacker.index_many("phone", guesses))
    assert not dump & {hashlib.sha256(guess.encode()).digest()[:16] for guess in guesses}
    assert len(dump) == 2000


def test_many_agrees_with_one_and_sizes_are_as_documented():
    indexer = BlindIndexer(a_keyring())
    values = ["a", "b", "a"]
    assert indexer.index_many("openid", values) == [indexer.index("openid", value) for value in values]
    assert indexer.index_many("openid", []) == []
    before = BlindIndexer(a_keyring(generations=2))
    assert before.index_many("openid", values, 1) == [before.index("openid", value, 1) for value in values]
    assert before.index_many("openid", values, 1) != before.index_many("openid", values)
    assert len(indexer.index("openid", "a")) == 16
    assert len(indexer.tombstone("openid", "a")) == 32


def test_lookups_cover_every_generation_newest_first():
    indexer = BlindIndexer(a_keyring(generations=2))
    found = indexer.lookups("email", "a@b.example")
    assert list(found) == [2, 1]
    assert found[2] == indexer.index("email", "a@b.example")
    assert found[1] == BlindIndexer(a_keyring()).index("email", "a@b.example")


def test_a_tombstone_survives_the_rotation_of_the_index():
    before = a_keyring()
    after = before.new_index_generation().destroy_index_generation(1)
    assert BlindIndexer(before).tombstone("email", "a@b.example") == BlindIndexer(after).tombstone(
        "email", "a@b.example"
    )
    with pytest.raises(KeyringError):
        BlindIndexer(after).index("email", "a@b.example", 1)
    with pytest.raises(KeyringError):
        BlindIndexer(after).index("email", "a@b.example", 0)


@pytest.mark.parametrize("field", ["gender", "city", "birth_year", "name", "country", "birth_date", "", "Email"])
def test_weak_and_undeclared_fields_are_refused(field):
    indexer = BlindIndexer(a_keyring())
    for ask in (
        lambda: indexer.index(field, "x"),
        lambda: indexer.tombstone(field, "x"),
        lambda: indexer.index_many(field, ["x"]),
    ):
        with pytest.raises(LowEntropyFieldError, match=r"^The field is not declared as a unique identifier$"):
            ask()


def test_every_indexed_field_has_a_versioned_normaliser():
    assert set(VERSIONS) >= INDEXED_FIELDS


def test_the_lint_passes_identifiers_and_refuses_attributes():
    assert lint_field(f"user{number}" for number in range(2000)).distinct == 2000
    weak = {
        "two values": ["f", "m"] * 1000,
        "one frequent value": [*(str(number) for number in range(2000)), *["none"] * 100],
        "too few to judge": [str(number) for number in range(999)],
        "nothing": [],
    }
    message = "^The sample's values repeat too often, or are too few, for a blind index$"
    for values in weak.values():
        with pytest.raises(LowEntropyFieldError, match=message):
            lint_field(values)


FEW, REPEATED, FREQUENT = (
    "fewer than 1,000 values are too few to judge by",
    "fewer than half of the values are distinct",
    "one value makes up more than 1 % of them",
)


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (Leakage(1000, 1000, 0.001, 9.9), ()),
        (Leakage(999, 999, 0.001, 9.9), (FEW,)),
        (Leakage(1000, 500, 0.01, 6.6), ()),
        (Leakage(1000, 499, 0.01, 6.6), (REPEATED,)),
        (Leakage(1000, 500, 0.0101, 6.6), (FREQUENT,)),
        (Leakage(2000, 1000, 0.01, 6.6), ()),
        (Leakage(10, 1, 1.0, 0.0), (FEW, REPEATED, FREQUENT)),
    ],
)
def test_objections_begin_where_they_are_said_to(found, want):
    assert objections(found) == want


def test_an_empty_sample_is_one_that_tells_everything():
    found = measure_leakage([])
    assert (found.rows, found.distinct, found.top_share, abs(found.min_entropy_bits)) == (0, 0, 1.0, 0.0)


def test_a_mac_is_keyed_once_for_each_field_generation_and_use(monkeypatch):
    """Keying costs twice what a copy does, and this is the hot path of every import."""
    made: list[bytes] = []
    genuine = blind_index.HMAC
    monkeypatch.setattr(blind_index, "HMAC", lambda key, hashed: (made.append(key), genuine(key, hashed))[1])
    custody = Custody(a_keyring(generations=2))
    indexer = BlindIndexer(custody)
    for value in ("a", "b", "c"):
        indexer.lookups("email", value)
        indexer.index_many("email", [value])
        indexer.tombstone("email", value)
        indexer.lasting("email", value)
    assert len(made) == len(set(made)) == 4
    assert indexer.lasting("phone", "a") != indexer.tombstone("phone", "a")[:16]
    assert len(made) == 6
    custody.use(custody.keyring.new_index_generation())
    indexer.index("email", "a", 1)
    assert len(made) == 7, "nothing that was prepared outlives its keyring"


def test_leakage_is_measured_as_defined():
    found = measure_leakage(["a", "a", "b", "c"])
    assert (found.rows, found.distinct, found.top_share) == (4, 3, 0.5)
    assert math.isclose(found.min_entropy_bits, 1.0)


def test_a_lost_field_in_the_domain_would_be_seen(monkeypatch):
    """The planted bug: one key and one domain for all fields makes equal values look equal across fields."""
    monkeypatch.setattr(blind_index, "frame", lambda *_: b"")
    monkeypatch.setattr(Keyring, "index_key", lambda *_: b"k" * 32)
    indexer = BlindIndexer(a_keyring())
    assert indexer.index("phone", "x") == indexer.index("email", "x")


def test_lasting_tokens_survive_every_generation_and_meet_nothing_else():
    before = a_keyring()
    after = before.new_index_generation().destroy_index_generation(1)
    token = BlindIndexer(before).lasting("email", "a@b.example")
    assert token == BlindIndexer(after).lasting("email", "a@b.example")
    assert len(token) == 16
    indexer = BlindIndexer(after)
    others = {indexer.tombstone("email", "a@b.example")[:16], indexer.index("email", "a@b.example")}
    others |= {indexer.lasting(field, "a@b.example") for field in INDEXED_FIELDS - {"email"}}
    assert len(others) == len(INDEXED_FIELDS) + 1
    assert token not in others
    with pytest.raises(LowEntropyFieldError):
        indexer.lasting("city", "x")


def rank_correlation(one: list[bytes]) -> float:
    """Spearman's rank correlation between the order of the list and the order of its bytes."""
    ranks = {value: place for place, value in enumerate(sorted(one))}
    count = len(one)
    gaps = sum((place - ranks[value]) ** 2 for place, value in enumerate(one))
    return 1 - 6 * gaps / (count * (count**2 - 1))


def test_the_order_of_index_values_says_nothing_of_the_order_of_the_values():
    """Of n independent values the correlation stays within 4 / sqrt(n) but for one time in 15,000."""
    count = 10_000
    for field in sorted(INDEXED_FIELDS):
        for generation in (1, 2):
            values = [f"{number:08}" for number in range(count)]
            found = BlindIndexer(a_keyring(generations=2)).index_many(field, values, generation)
            assert abs(rank_correlation(found)) < 4 / math.sqrt(count)
    assert rank_correlation([number.to_bytes(16, "big") for number in range(count)]) == 1, "an order that leaks is seen"


def test_no_prefix_or_partial_index_is_declared():
    """The refusal of what is not declared: docs/adr/0015 says why there is none."""
    assert {"email", "phone", "member_no", "external_id", "device_id", "openid"} == INDEXED_FIELDS
    indexer = BlindIndexer(a_keyring())
    for field in ("email_domain", "phone_last4", "name", "name_word", "email_prefix"):
        with pytest.raises(LowEntropyFieldError):
            indexer.index(field, "x")
        with pytest.raises(LowEntropyFieldError):
            indexer.lasting(field, "x")


def test_a_change_of_the_keyring_in_custody_is_seen_at_once():
    custody = Custody(a_keyring())
    indexer = BlindIndexer(custody)
    first = indexer.index("email", "a@b.example")
    custody.use(custody.keyring.new_index_generation())
    assert indexer.index("email", "a@b.example") != first
    assert indexer.index("email", "a@b.example", 1) == first
    custody.use(custody.keyring.destroy_index_generation(1))
    with pytest.raises(KeyringError):
        indexer.index("email", "a@b.example", 1)
