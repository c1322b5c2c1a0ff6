"""The sequencer over a store in memory: batches, failures, anchors."""

from __future__ import annotations

import pytest
from audit_fakes import ORIGIN, SEED, MemoryLogStore, filled, mth
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.audit.checkpoints import Checkpoint, Signer, open_checkpoint
from consent_gateway.audit.log import (
    EMPTY_HEAD,
    NO_CHAIN,
    integrate,
    load_head,
    make_prefix_proof,
    sequence,
)
from consent_gateway.audit.merkle import EMPTY_ROOT, leaf_hash, leaf_hashes
from consent_gateway.audit.proofs import verify_consistency

ENTRIES = [b'{"n":%d}' % number for number in range(900)]


def test_one_batch() -> None:
    store, signer = MemoryLogStore(), Signer(ORIGIN, SEED)
    store.queue += ENTRIES[:3]
    done = sequence(store, signer, 2)
    assert done is not None
    assert done.rows == ((0, ENTRIES[0], leaf_hash(ENTRIES[0])), (1, ENTRIES[1], leaf_hash(ENTRIES[1])))
    opened = open_checkpoint(done.checkpoint, signer.key).checkpoint
    assert opened == Checkpoint(ORIGIN, 2, mth(leaf_hashes(ENTRIES[:2])))
    assert store.queue == ENTRIES[2:3]
    assert store.checkpoint == done.checkpoint


def test_nothing_pending_publishes_nothing() -> None:
    store = MemoryLogStore()
    assert sequence(store, Signer(ORIGIN, SEED)) is None
    assert store.checkpoint is None


def test_a_failed_commit_leaves_everything_as_it_was() -> None:
    store, signer = filled(ENTRIES[:5])
    before = store.head(), store.checkpoint, list(store.rows)
    store.queue += ENTRIES[5:7]
    store.fail_next = True
    with pytest.raises(OSError, match="disk full"):
        sequence(store, signer)
    assert (store.head(), store.checkpoint, store.rows) == before
    done = sequence(store, signer)
    assert done is not None
    assert [row[0] for row in done.rows] == [5, 6]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 900), st.integers(1, 400))
def test_the_batch_size_does_not_change_the_log(count: int, batch: int) -> None:
    store, _ = filled(ENTRIES[:count], batch)
    assert store.head().root == mth(leaf_hashes(ENTRIES[:count]))
    assert store.tiles == filled(ENTRIES[:count], 1000)[0].tiles
    assert [row[:2] for row in store.rows] == list(enumerate(ENTRIES[:count]))
    head = store.head()
    assert load_head(head.size, head.root, head.edge.partials) == head


def test_a_head_that_was_tampered_with_is_not_loaded() -> None:
    head = filled(ENTRIES[:300])[0].head()
    partial = head.edge.partials[0]
    for root, partials in [
        (EMPTY_ROOT, head.edge.partials),
        (head.root, {**head.edge.partials, 0: partial[:-1] + b"\0"}),
        (head.root, {**head.edge.partials, 0: partial[:-32]}),
    ]:
        with pytest.raises(ValueError):
            load_head(300, root, partials)


def test_integrating_is_pure() -> None:
    pending = [(entry, NO_CHAIN) for entry in ENTRIES]
    assert integrate(EMPTY_HEAD, pending, {}) == integrate(EMPTY_HEAD, pending, {})
    assert EMPTY_HEAD.size == 0
    assert EMPTY_HEAD.root == EMPTY_ROOT
    assert integrate(EMPTY_HEAD, [], {}).head == EMPTY_HEAD


@pytest.mark.parametrize("entry", [b"", bytes(65_536)])
def test_an_entry_no_bundle_can_hold_is_refused(entry: bytes) -> None:
    with pytest.raises(ValueError):
        integrate(EMPTY_HEAD, [(b"ok", NO_CHAIN), (entry, NO_CHAIN)], {})


def test_prefix_proofs_for_witnesses() -> None:
    store, _ = filled(ENTRIES[:600])
    assert make_prefix_proof(0, 600, store.read_tile) == ()
    proof = make_prefix_proof(257, 600, store.read_tile)
    assert verify_consistency(257, 600, mth(leaf_hashes(ENTRIES[:257])), store.head().root, proof)
