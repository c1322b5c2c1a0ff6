"""Erasure by destroying keys: the order of its steps, its tombstones, and when it has reached every copy.

Deleting a wrapped key erases it from the live tables only: the write-ahead log and the backups keep the bytes. They
become unreadable when the key epoch over them is destroyed, so an erasure ends at a number that can be promised:
epoch length + grace. What an operator can prove is what was committed to and when, not that no copy of a key exists.

Pure: this module computes, others delete. The order in `ShredStep` is part of the contract: a tombstone must exist
before the data goes, or a crash between the two lets an import bring the person back.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from consent_gateway.vault.blind_index import INDEXED_FIELDS, BlindIndexer
from consent_gateway.vault.keys import wrapped_epoch
from consent_gateway.vault.normal_forms import Normalised


class ShredStep(enum.StrEnum):
    """The steps of an erasure, in the order in which they are carried out."""

    HOLD = "check_legal_hold"
    TOMBSTONE = "write_tombstones_and_receipt"
    KEYS = "delete_wrapped_keys"
    ROWS = "delete_index_and_sealed_rows"
    COPIES = "notify_recipients_and_clear_caches"
    EPOCH = "roll_and_destroy_key_epochs"


@dataclass(frozen=True, slots=True, order=True)
class Tombstone:
    """A keyed 32-byte digest that recognises an erased identifier and reveals nothing of it."""

    field: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class ShredPlan:
    """What to do for one subject: `steps` in order, the `tombstones`, and the last key epoch that must die.

    `last_epoch` is None if the subject never had a wrapped key, so that nothing sealed can remain.
    """

    steps: tuple[ShredStep, ...]
    tombstones: tuple[Tombstone, ...]
    last_epoch: int | None


def tombstones_for(indexer: BlindIndexer, identifiers: Iterable[Normalised]) -> tuple[Tombstone, ...]:
    """Return one tombstone for each distinct identifier, sorted; kinds that are not indexed leave none."""
    distinct = {(held.kind, held.value) for held in identifiers if held.kind in INDEXED_FIELDS}
    return tuple(sorted(Tombstone(kind, indexer.tombstone(kind, value)) for kind, value in distinct))


def plan_shred(indexer: BlindIndexer, identifiers: Iterable[Normalised], wrapped: Iterable[bytes]) -> ShredPlan:
    """Return the plan for a subject with these identifiers and wrapped keys; `VaultError` for a damaged wrap."""
    epochs = [wrapped_epoch(held) for held in wrapped]
    return ShredPlan(tuple(ShredStep), tombstones_for(indexer, identifiers), max(epochs, default=None))


def is_unreadable(last_epoch: int | None, epochs: Iterable[int]) -> bool:
    """Tell whether every copy is dead: no epoch up to `last_epoch` exists in the keyring's `epochs`.

    Older epochs count too: an older backup holds the same key under an earlier wrap.
    """
    return last_epoch is None or all(epoch > last_epoch for epoch in epochs)


def destroyable_epochs(epochs: Iterable[int], live_wraps: Mapping[int, int]) -> tuple[int, ...]:
    """Return the past epochs that no live key needs, ascending; `live_wraps` counts wraps by epoch.

    The newest epoch is never among them: it takes the next wrap.
    """
    held = sorted(epochs)
    return tuple(epoch for epoch in held[:-1] if not live_wraps.get(epoch))


def unreadable_by(erased_at: datetime, epoch_length: timedelta, grace: timedelta) -> datetime:
    """Return the instant by which every copy is unreadable, if epochs are rolled on time: length + grace later."""
    return erased_at + epoch_length + grace
