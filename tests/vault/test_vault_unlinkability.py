"""Names of two recipients, or of two epochs, tell nothing about each other: statistics over fixed seeds, and bugs.

Each statistic has a bound of six standard deviations, so a sound permutation passes and a linkable one does not. The
planted bugs are the ways in which pseudonyms go wrong in the field: one key for two recipients, one key for all epochs,
a mask instead of a cipher, ids that show their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import pytest
from vault_builders import a_keyring

from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.pseudonyms import BLOCK_BYTES, Pseudonymiser

PEOPLE = 4_096
SIGMAS = 6.0
SPACES = [("crm", 1), ("crm", 2), ("ads", 1), ("ads", 2)]
Maker = Callable[[Sequence[int], str, int], bytes]
IDS = range(1, PEOPLE + 1)


def blocks_of(made: bytes) -> list[bytes]:
    return [made[i : i + BLOCK_BYTES] for i in range(0, len(made), BLOCK_BYTES)]


def unbalanced_bits(blocks: Sequence[bytes]) -> int:
    """How many of the 128 positions are set too often or too seldom."""
    bound = SIGMAS * math.sqrt(len(blocks)) / 2
    numbers = [int.from_bytes(block, "big") for block in blocks]
    sums = (sum(n >> bit & 1 for n in numbers) for bit in range(128))
    return sum(abs(total - len(blocks) / 2) > bound for total in sums)


def rank_correlation(one: Sequence[bytes], other: Sequence[bytes]) -> float:
    """Spearman's coefficient: whether whoever comes early in one table comes early in the other."""
    ranks = []
    for table in (one, other):
        order = sorted(range(len(table)), key=table.__getitem__)
        place = [0] * len(table)
        for rank, n in enumerate(order):
            place[n] = rank
        ranks.append(place)
    squares = sum((a - b) ** 2 for a, b in zip(*ranks, strict=True))
    count = len(one)
    return 1 - 6 * squares / (count * (count * count - 1))


def findings(make: Maker) -> list[str]:
    """Everything by which the tables of these recipients and epochs could be linked to each other or to the ids."""
    tables = {space: blocks_of(make(IDS, *space)) for space in SPACES}
    bound = SIGMAS / math.sqrt(PEOPLE)
    ids = [number.to_bytes(BLOCK_BYTES, "big") for number in IDS]
    found = []
    for space, table in tables.items():
        if len(set(table)) != PEOPLE:
            found.append(f"{space}: two people share a name")
        if unbalanced_bits(table):
            found.append(f"{space}: bits are not balanced")
        if abs(rank_correlation(ids, table)) > bound:
            found.append(f"{space}: names are in the order of the ids")
        if unbalanced_bits([bytes(a ^ b for a, b in zip(x, y, strict=True)) for x, y in pairwise(table)]):
            found.append(f"{space}: neighbours resemble each other")
    for one, other in combinations(SPACES, 2):
        a, b = tables[one], tables[other]
        if set(a) & set(b):
            found.append(f"{one} and {other} share names")
        if abs(rank_correlation(a, b)) > bound:
            found.append(f"{one} and {other} are in one order")
        if unbalanced_bits([bytes(p ^ q for p, q in zip(x, y, strict=True)) for x, y in zip(a, b, strict=True)]):
            found.append(f"{one} and {other} differ by a pattern")
    return found


def test_tables_of_recipients_and_epochs_cannot_be_linked() -> None:
    assert findings(Pseudonymiser(a_keyring()).bulk_bytes) == []


def one_key_for_two_recipients(monkeypatch: pytest.MonkeyPatch) -> Maker:
    original = Keyring.pseudonym_key
    monkeypatch.setattr(Keyring, "pseudonym_key", lambda self, _sector, epoch: original(self, "all", epoch))
    return Pseudonymiser(a_keyring()).bulk_bytes


def one_key_for_all_epochs(monkeypatch: pytest.MonkeyPatch) -> Maker:
    original = Keyring.pseudonym_key
    monkeypatch.setattr(Keyring, "pseudonym_key", lambda self, sector, _epoch: original(self, sector, 1))
    return Pseudonymiser(a_keyring()).bulk_bytes


def a_mask_instead_of_a_cipher(_: pytest.MonkeyPatch) -> Maker:
    keyring = a_keyring()

    def make(ids: Sequence[int], sector: str, epoch: int) -> bytes:
        mask = int.from_bytes(keyring.pseudonym_key(sector, epoch)[:BLOCK_BYTES], "big")
        return b"".join((number ^ mask).to_bytes(BLOCK_BYTES, "big") for number in ids)

    return make


def one_cipher_under_a_mask(_: pytest.MonkeyPatch) -> Maker:
    """Secret names, but the mask of a recipient is all that tells its table from the others'."""
    keyring, maker = a_keyring(), Pseudonymiser(a_keyring())

    def make(ids: Sequence[int], sector: str, epoch: int) -> bytes:
        mask = keyring.pseudonym_key(sector, epoch)[:BLOCK_BYTES]
        blocks = blocks_of(maker.bulk_bytes(ids, "all", 1))
        return b"".join(bytes(a ^ b for a, b in zip(block, mask, strict=True)) for block in blocks)

    return make


def names_that_show_the_order(_: pytest.MonkeyPatch) -> Maker:
    maker = Pseudonymiser(a_keyring())

    def make(ids: Sequence[int], sector: str, epoch: int) -> bytes:
        blocks = blocks_of(maker.bulk_bytes(ids, sector, epoch))
        return b"".join(n.to_bytes(2, "big") + block[2:] for n, block in zip(ids, blocks, strict=True))

    return make


@pytest.mark.parametrize(
    "plant",
    [
        one_key_for_two_recipients,
        one_key_for_all_epochs,
        a_mask_instead_of_a_cipher,
        one_cipher_under_a_mask,
        names_that_show_the_order,
    ],
)
def test_a_way_to_link_them_is_found(
    plant: Callable[[pytest.MonkeyPatch], Maker], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings(plant(monkeypatch)) != []
