"""Keys over HTTP: how it stands with them, and what can be begun."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from consent_gateway.api.wire.base import Strict


class KeyJobIn(Strict):
    """What to begin: `epoch_roll`, new data keys for everyone (`dek`), or another key of the index.

    `rate`: most rows a second; a job that is under way takes it over.
    """

    kind: Literal["epoch_roll", "dek", "index_generation"]
    rate: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class DestructionIn(Strict):
    """`propose` to destroy what the path names, or `decide` it once another key approved."""

    step: Literal["propose", "decide"]


class KeyJobOut(BaseModel):
    """One job over all keys; `progress` 0 to 1, `failed` rows that could not be changed and were left as they are.

    `rests_until`: before that there is nothing to do, such as in the grace for readers after the index was switched.
    """

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
    rate: int | None
    rests_until: str | None


class KeyEpochOut(BaseModel):
    """A key epoch and how many data keys are wrapped under it."""

    epoch: int
    data_keys: int


class GenerationDestroyedOut(BaseModel):
    """A generation whose key two people decided to destroy; `destroyed_at` is null until it is done, a moment later."""

    generation: int
    approval: str
    decided_at: str
    destroyed_at: str | None


class IndexOut(BaseModel):
    """The blind index: which generation counts, what a move still has to do, and whose key can not go yet.

    `outdated`: kinds of identifiers whose newer normaliser waits for a move.
    """

    generations: list[int]
    counts: int
    moving: int | None
    leaving: int | None
    missing: int
    left: int
    strangers: dict[str, int]
    outdated: list[str]
    destroyed: list[GenerationDestroyedOut]


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


class DeferredOut(BaseModel):
    """Calls that were put off while the keys were away: how many wait, and how many were set aside as refused."""

    waiting: int
    refused: int


class OwnKeyOut(BaseModel):
    """The gateway's own key: `none`, `held` or `lost`; the epoch of its wrap, and how much lies under it."""

    state: str
    epoch: int | None
    quarantined: int
    signals: int
    replies: int


class KeysOut(BaseModel):
    """How it stands with the keys; `processes` are the epochs that each live process holds."""

    current_epoch: int
    epochs: list[KeyEpochOut]
    processes: list[list[int]]
    jobs: list[KeyJobOut]
    destroyed: list[DestroyedOut]
    deferred: DeferredOut
    erasure_deadline: DeadlineOut
    index: IndexOut
    own_key: OwnKeyOut


class RenewalOut(BaseModel):
    """What a step came to: `proposed` with the approval that waits for another key, or `renewed` with what was lost."""

    state: str
    approval: str | None
    given_up: OwnKeyOut | None


class GenerationDestructionOut(BaseModel):
    """What a step came to: `proposed` with the approval that waits for another key, or `decided`."""

    generation: int
    state: str
    approval: str | None


class DestructionOut(BaseModel):
    """What a step came to: `proposed` with the approval that waits for another key, or `decided`."""

    epoch: int
    state: str
    approval: str | None
