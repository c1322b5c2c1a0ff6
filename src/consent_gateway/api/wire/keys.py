"""Keys over HTTP: how it stands with them, and what can be begun."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from consent_gateway.api.wire.base import Strict


class KeyJobIn(Strict):
    """What to begin: `epoch_roll`, or new data keys for everyone, `dek`."""

    kind: Literal["epoch_roll", "dek"]


class DestructionIn(Strict):
    """`propose` to destroy the epoch in the path, or `decide` it once another key approved."""

    step: Literal["propose", "decide"]


class KeyJobOut(BaseModel):
    """One job over all keys; `progress` 0 to 1, `failed` rows that could not be read and were left as they are."""

    id: int
    kind: str
    from_number: int | None
    to_number: int | None
    total: int
    done: int
    failed: int
    progress: float
    started_at: str
    started_by: str
    finished_at: str | None


class KeyEpochOut(BaseModel):
    """A key epoch and how many data keys are wrapped under it."""

    epoch: int
    data_keys: int


class DestroyedOut(BaseModel):
    """An epoch that two keys decided to destroy; `destroyed_at` is null until it is done, a moment later."""

    epoch: int
    approval: str
    decided_at: str
    destroyed_at: str | None


class DeadlineOut(BaseModel):
    """By when what is erased now is unreadable in every older backup; null with the reason why nothing is promised."""

    at: str | None
    why: str
    order: str | None


class KeysOut(BaseModel):
    """How it stands with the keys; `processes` are the epochs that each live process holds."""

    current_epoch: int
    epochs: list[KeyEpochOut]
    processes: list[list[int]]
    jobs: list[KeyJobOut]
    destroyed: list[DestroyedOut]
    erasure_deadline: DeadlineOut


class DestructionOut(BaseModel):
    """What a step came to: `proposed` with the approval that waits for another key, or `decided`."""

    epoch: int
    state: str
    approval: str | None
