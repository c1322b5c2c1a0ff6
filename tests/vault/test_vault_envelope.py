"""Sealed groups: seal then open is identity, and every other context, key or byte is the one failure."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consent_gateway.vault import envelope
from consent_gateway.vault.derivation import frame
from consent_gateway.vault.envelope import (
    GROUPS,
    OVERHEAD,
    DataKey,
    SealContext,
    derive_audit_key,
    open_sealed,
    seal,
)
from consent_gateway.vault.failures import VaultError

DEKS = st.binary(min_size=32, max_size=32)
CONTEXTS = st.builds(
    SealContext,
    subject_id=st.integers(0, 2**63 - 1),
    group=st.sampled_from(sorted(GROUPS)),
    schema_version=st.integers(0, 2**32 - 1),
    row_version=st.integers(0, 2**64 - 1),
)
HERE = SealContext(subject_id=7, group="contact", schema_version=1, row_version=3)
DEK = bytes(range(32))


def neighbours(context: SealContext) -> list[SealContext]:
    """Return contexts that differ from `context` in exactly one part."""
    return [
        replace(context, subject_id=context.subject_id ^ 1),
        *(replace(context, group=group) for group in sorted(GROUPS - {context.group})),
        replace(context, schema_version=context.schema_version ^ 1),
        replace(context, row_version=context.row_version ^ 1),
    ]


@settings(derandomize=True, deadline=None)
@given(DEKS, CONTEXTS, st.binary(max_size=300))
def test_seal_then_open_is_identity(dek, context, plaintext):
    sealed = seal(dek, context, plaintext)
    assert open_sealed(dek, context, sealed) == plaintext
    assert len(sealed) == len(plaintext) + OVERHEAD


@settings(derandomize=True, deadline=None)
@given(DEKS, CONTEXTS, st.binary(max_size=40))
def test_any_swap_of_one_part_fails(dek, context, plaintext):
    sealed = seal(dek, context, plaintext)
    for elsewhere in neighbours(context):
        with pytest.raises(VaultError):
            open_sealed(dek, elsewhere, sealed)


@settings(derandomize=True, deadline=None)
@given(DEKS, DEKS, CONTEXTS)
def test_another_key_fails(dek, other, context):
    assume(dek != other)
    with pytest.raises(VaultError):
        open_sealed(other, context, seal(dek, context, b"plaintext"))


def test_a_key_id_put_over_another_keys_ciphertext_fails():
    other = bytes(32)
    sealed = seal(DEK, HERE, b"plaintext")
    forged = sealed[:2] + DataKey(other).key_id + sealed[10:]
    for dek in (DEK, other):
        with pytest.raises(VaultError):
            open_sealed(dek, HERE, forged)


def test_every_flipped_bit_truncation_and_extension_is_the_one_failure():
    plaintext = b"jane@example.com"
    sealed = seal(DEK, HERE, plaintext)
    flips = [
        sealed[:at] + bytes([sealed[at] ^ (1 << bit)]) + sealed[at + 1 :]
        for at in range(len(sealed))
        for bit in range(8)
    ]
    cuts = [sealed[:length] for length in range(len(sealed))]
    seen = set()
    for damaged in [*flips, *cuts, sealed + b"\x00"]:
        with pytest.raises(VaultError) as failure:
            open_sealed(DEK, HERE, damaged)
        seen.add((str(failure.value), failure.value.__cause__, failure.value.detail))
    assert seen == {(VaultError.title, None, VaultError.title)}


def test_no_two_of_a_thousand_cells_can_be_swapped():
    key = DataKey(DEK)
    cells = [
        SealContext(subject, group, 1, 1)
        for subject in range(250)
        for group in ("contact", "profile", "sensitive", "evidence")
    ]
    sealed = [key.seal(context, b"cell") for context in cells]
    for at, context in enumerate(cells):
        for other in ((at + 1) % 1000, (at + 4) % 1000, 999 - at):
            with pytest.raises(VaultError):
                key.open(context, sealed[other])


def test_an_older_version_cannot_be_put_back():
    old = seal(DEK, HERE, b"consented")
    with pytest.raises(VaultError):
        open_sealed(DEK, replace(HERE, row_version=4), old)


def test_the_aad_is_the_documented_frame_and_differs_for_all_neighbours():
    key_id = DataKey(DEK).key_id
    documented = frame(
        b"consent-gateway/sealed-group", b"\x01\x01", (7).to_bytes(8, "big"), key_id,
        (1).to_bytes(4, "big"), (3).to_bytes(8, "big"), b"contact",
    )  # fmt: skip
    assert envelope._aad(key_id, HERE) == documented
    every = [HERE, *neighbours(HERE)]
    assert all(envelope._aad(key_id, one) != envelope._aad(key_id, other) for one, other in combinations(every, 2))


@pytest.mark.parametrize("part", ["subject_id", "group", "schema_version", "row_version"])
def test_dropping_a_part_from_the_aad_lets_a_swap_through(monkeypatch, part):
    """The planted bug: without the part the swap opens, so the swap property above can go red."""
    genuine = envelope._aad
    monkeypatch.setattr(
        envelope, "_aad", lambda key_id, context: genuine(key_id, replace(context, **{part: getattr(HERE, part)}))
    )
    sealed = seal(DEK, HERE, b"plaintext")
    opened = 0
    for elsewhere in neighbours(HERE):
        if getattr(elsewhere, part) != getattr(HERE, part):
            opened += open_sealed(DEK, elsewhere, sealed) == b"plaintext"
        else:
            with pytest.raises(VaultError):
                open_sealed(DEK, elsewhere, sealed)
    assert opened >= 1


def test_equal_plaintexts_never_look_equal_and_nonces_do_not_repeat():
    key = DataKey(DEK)
    sealed = {key.seal(HERE, b"same") for _ in range(5000)}
    assert len({blob[10:22] for blob in sealed}) == 5000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subject_id": -1}, "subject or schema version out of range"),
        ({"subject_id": 2**63}, "subject or schema version out of range"),
        ({"schema_version": -1}, "subject or schema version out of range"),
        ({"schema_version": 2**32}, "subject or schema version out of range"),
        ({"group": "other"}, "unknown group"),
        ({"group": ""}, "unknown group"),
        ({"row_version": -1}, "row version out of range"),
        ({"row_version": 2**64}, "row version out of range"),
    ],
)
def test_a_context_out_of_range_cannot_be_made(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(HERE, **wrong)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_the_one_failure(size):
    with pytest.raises(VaultError):
        seal(bytes(size), HERE, b"")


def test_the_audit_key_is_stable_separate_and_reveals_nothing_of_the_sealing_key():
    assert derive_audit_key(DEK) == derive_audit_key(DEK) != derive_audit_key(bytes(32))
    assert len(derive_audit_key(DEK)) == 32
    sealed = seal(DEK, HERE, b"plaintext")
    with pytest.raises(VaultError):
        open_sealed(derive_audit_key(DEK), HERE, sealed)
    assert DEK not in sealed


def test_many_are_sealed_as_one_by_one_and_no_nonce_is_drawn_twice():
    deks = [n.to_bytes(32, "big") for n in range(40)]
    groups = [
        [(SealContext(n, group, 1, 1), f"{n} {group}".encode()) for group in ("contact", "profile")[: n % 3]]
        for n in range(40)
    ]
    sealed = DataKey.seal_all(list(zip(deks, groups, strict=True)))
    assert [len(found) for found in sealed] == [len(of) for of in groups]
    for dek, of, found in zip(deks, groups, sealed, strict=True):
        for (context, plaintext), one in zip(of, found, strict=True):
            assert DataKey(dek).open(context, one) == plaintext
            assert len(one) == len(plaintext) + OVERHEAD
    nonces = [one[10:22] for found in sealed for one in found]
    assert len(set(nonces)) == len(nonces) > 30
    assert DataKey.seal_all([]) == []
