"""Erasure: the order, the tombstones, and when no copy can be read any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_builders import a_keyring

from consent_gateway.vault.blind_index import BlindIndexer
from consent_gateway.vault.envelope import SealContext, derive_audit_key, open_sealed, seal
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keys import LocalKeyProvider, dek_context
from consent_gateway.vault.normalisers import Normalised, normalise
from consent_gateway.vault.shredding import (
    ShredStep,
    Tombstone,
    destroyable_epochs,
    is_unreadable,
    plan_shred,
    tombstones_for,
    unreadable_by,
)

EMAIL = Normalised("email", "jane@example.com", 1)
PHONE = Normalised("phone", "+4915112345678", 1)
NAME = Normalised("name", "Jane Doe", 1)


def test_tombstones_are_sorted_distinct_and_for_indexed_kinds_only():
    indexer = BlindIndexer(a_keyring())
    found = tombstones_for(indexer, [PHONE, EMAIL, NAME, EMAIL])
    assert [held.field for held in found] == ["email", "phone"]
    assert found == tombstones_for(indexer, [EMAIL, PHONE])
    assert found[0] == Tombstone("email", indexer.tombstone("email", EMAIL.value))


def test_a_reimport_in_another_spelling_meets_the_tombstone():
    buried = tombstones_for(BlindIndexer(a_keyring()), [EMAIL])
    back = normalise("email", "  JANE@Example.com ")
    assert isinstance(back, Normalised)
    assert tombstones_for(BlindIndexer(a_keyring().new_index_generation()), [back]) == buried


def test_the_plan_checks_the_hold_first_and_buries_before_it_deletes():
    provider = LocalKeyProvider(a_keyring(epochs=3))
    _, wrapped = provider.new_dek(dek_context(1))
    plan = plan_shred(BlindIndexer(provider.keyring), [EMAIL, PHONE], [wrapped])
    assert plan.steps[0] is ShredStep.HOLD
    assert plan.steps.index(ShredStep.TOMBSTONE) < plan.steps.index(ShredStep.KEYS) < plan.steps.index(ShredStep.EPOCH)
    assert plan.steps[-1] is ShredStep.EPOCH
    assert (plan.last_epoch, len(plan.tombstones)) == (3, 2)
    with pytest.raises(VaultError):
        plan_shred(BlindIndexer(provider.keyring), [], [b"damaged"])


def test_a_subject_without_keys_is_unreadable_at_once():
    plan = plan_shred(BlindIndexer(a_keyring()), [EMAIL], [])
    assert plan.last_epoch is None
    assert is_unreadable(plan.last_epoch, [1, 2])


EPOCHS = st.sets(st.integers(1, 20), min_size=1, max_size=8)


@settings(derandomize=True, deadline=None)
@given(EPOCHS, st.integers(1, 20))
def test_unreadable_iff_no_epoch_up_to_the_last_one_is_left(epochs, last):
    assert is_unreadable(last, epochs) == (min(epochs) > last)


@settings(derandomize=True, deadline=None)
@given(EPOCHS, st.dictionaries(st.integers(1, 20), st.integers(0, 3)))
def test_no_epoch_with_live_wraps_and_never_the_newest_is_destroyable(epochs, live):
    found = destroyable_epochs(epochs, live)
    assert set(found) == {epoch for epoch in epochs if epoch != max(epochs) and not live.get(epoch)}
    assert list(found) == sorted(found)


def test_the_promise_is_epoch_length_plus_grace():
    erased = datetime(2026, 3, 1, tzinfo=UTC)
    assert unreadable_by(erased, timedelta(days=7), timedelta(days=1)) == datetime(2026, 3, 9, tzinfo=UTC)


def test_an_erasure_reaches_the_backup_and_nobody_elses_data():
    """One life: two people, a backup, an erasure of one, a roll of the epoch, a restore of the backup."""
    provider = LocalKeyProvider(a_keyring())
    context = {person: SealContext(person, "contact", 1, 1) for person in (1, 2)}
    live: dict[int, bytes] = {}
    rows: dict[int, bytes] = {}
    for person in (1, 2):
        dek, live[person] = provider.new_dek(dek_context(person))
        rows[person] = seal(dek, context[person], b"jane@example.com")
    backup = dict(live)
    plan = plan_shred(BlindIndexer(provider.keyring), [EMAIL], [live.pop(1)])

    provider.use(provider.keyring.new_kek_epoch())
    live = {person: provider.rewrap(wrapped, dek_context(person)) for person, wrapped in live.items()}
    assert not is_unreadable(plan.last_epoch, provider.keyring.epochs)
    assert open_sealed(provider.unwrap(backup[1], dek_context(1)), context[1], rows[1]), (
        "rolled, not destroyed: still readable"
    )

    for epoch in destroyable_epochs(provider.keyring.epochs, {2: len(live)}):
        provider.use(provider.keyring.destroy_kek_epoch(epoch))
    assert is_unreadable(plan.last_epoch, provider.keyring.epochs)
    with pytest.raises(VaultError):
        provider.unwrap(backup[1], dek_context(1))
    survivor = provider.unwrap(live[2], dek_context(2))
    assert open_sealed(survivor, context[2], rows[2]) == b"jane@example.com"
    assert derive_audit_key(survivor)
