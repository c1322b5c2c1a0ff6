"""Thousands of random changes to logs, notes, receipts, proofs and openings: all found, none of them a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_mutations import campaign


def test_random_changes_are_found(tmp_path: Path) -> None:
    tally = campaign(tmp_path, 400, seed=20261130)
    assert tally.missed == []
    assert tally.counts["changed"] >= 360
    assert tally.counts["harmless"] >= 5


@pytest.mark.long
def test_ten_thousand_random_changes_are_found(tmp_path: Path) -> None:
    tally = campaign(tmp_path, 10_000, seed=1)
    print(dict(sorted(tally.counts.items())))
    assert tally.missed == []
    assert tally.counts["changed"] + tally.counts["harmless"] == 10_000
