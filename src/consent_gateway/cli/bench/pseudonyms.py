"""Pseudonyms in process: a table made, read back and moved to the next epoch, beside the bare cipher on as many bytes.

Milliseconds are for `_PEOPLE` people (fewer in a quick run; the note says how many), as one table of one recipient.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

from consent_gateway.cli.bench.plan import Plan
from consent_gateway.cli.bench.stats import Figure, Limit, Spread, spread
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.pseudonyms import BLOCK_BYTES, Pseudonymiser

AIM_TEXT_MS, AIM_BYTES_MS = 1500.0, 200.0  # for a million people
_PEOPLE = 1_000_000
_QUICK_SHARE = 5  # a quick run has 10,000 people, and a full one 200,000: as many times more are named
_SECTOR = "bench"


def measure(plan: Plan) -> list[Figure]:
    """Measure naming to bytes and to text, and the move of a table from one epoch to the next."""
    people = min(_PEOPLE, plan.people * _QUICK_SHARE)
    maker, ids = Pseudonymiser(Keyring.in_memory()), range(1, people + 1)
    texts, blocks = maker.bulk(ids, _SECTOR, 1), bytes(BLOCK_BYTES * people)

    def move() -> object:
        found = maker.resolve_all(texts, _SECTOR, (2, 1))
        return maker.bulk([i for i in found if i is not None], _SECTOR, 2)

    bare = (Limit("bare AES-256", _milliseconds(plan, lambda: _bare(blocks))),)
    share, note = people / _PEOPLE, f"{people:,} people"
    made = _milliseconds(plan, lambda: maker.bulk_bytes(ids, _SECTOR, 1))
    told = _milliseconds(plan, lambda: maker.bulk(ids, _SECTOR, 1))
    return [
        Figure("pseudonyms to bytes", made, "ms", bare, AIM_BYTES_MS * share, note),
        Figure("pseudonyms to text", told, "ms", bare, AIM_TEXT_MS * share, note),
        Figure("pseudonyms moved to the next epoch", _milliseconds(plan, move), "ms", bare, note=note),
    ]


def _bare(blocks: bytes) -> bytes:
    # One block is the whole message, as in `vault.pseudonyms`.
    return Cipher(AES256(bytes(32)), ECB()).encryptor().update(blocks)  # noqa: S305 - a raw limit, nothing is kept


def _milliseconds(plan: Plan, act: Callable[[], object]) -> Spread:
    runs = []
    for _ in range(plan.rounds):
        begun = perf_counter()
        act()
        runs.append((perf_counter() - begun) * 1000)
    return spread(runs)
