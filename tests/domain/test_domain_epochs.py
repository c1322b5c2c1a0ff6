"""Epochs: what counts, for how long, and that nothing that stopped to count counts again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from consent_gateway.domain.epochs import FIRST_EPOCH, FIRST_EPOCHS, Epochs

STEPS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), max_size=12)  # seconds that pass, overlap


def test_a_sector_that_was_never_rolled_is_in_its_first_epoch() -> None:
    assert list(FIRST_EPOCHS.counting(0)) == [FIRST_EPOCH]


def test_a_former_epoch_counts_up_to_its_end_and_not_at_it() -> None:
    epochs = FIRST_EPOCHS.rolled(100, 50)
    assert [sorted(epochs.counting(now)) for now in (100, 149, 150)] == [[1, 2], [1, 2], [2]]


def test_an_overlap_of_nothing_ends_every_former_epoch_at_once() -> None:
    epochs = FIRST_EPOCHS.rolled(100, 50).rolled(110, 50).rolled(120, 0)
    assert epochs.current == 4
    assert sorted(epochs.counting(120)) == [4]


def test_a_longer_overlap_does_not_lengthen_an_earlier_one() -> None:
    assert FIRST_EPOCHS.rolled(100, 50).rolled(110, 500).former == {1: 150, 2: 610}


@settings(derandomize=True)
@given(STEPS)
def test_what_stopped_to_count_never_counts_again(steps: list[tuple[int, int]]) -> None:
    """Against a model: an epoch counts while every roll since it was current leaves it time."""
    epochs, now, gone = Epochs(), 0, set[int]()
    ends: dict[int, list[int]] = {}
    for passed, overlap in steps:
        now += passed
        before = set(epochs.counting(now))
        for epoch in range(1, epochs.current + 1):
            ends.setdefault(epoch, []).append(now + overlap)
        epochs = epochs.rolled(now, overlap)
        counting = set(epochs.counting(now))
        assert counting == {epochs.current} | {e for e, all_ends in ends.items() if min(all_ends) > now}
        gone |= before - counting
        assert not gone & counting
        assert epochs.current == len(ends) + 1
