"""How it stands with the keys: what lies under each epoch, who holds which, what is being done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consent_gateway.db import deferrals
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db.destructions import INDEX_GENERATIONS, KEY_EPOCHS, Destruction
from consent_gateway.domain.key_jobs import KeyJob
from consent_gateway.services.keys import epoch_destruction, epoch_schedule, index_rotation
from consent_gateway.services.keys.epoch_schedule import Deadline
from consent_gateway.services.keys.index_rotation import Progress
from consent_gateway.services.work import own_key
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.own_key import OwnKey

_JOBS = 20


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Data keys by epoch, epochs by live process, the newest jobs, what was destroyed, the deadline, the index."""

    epochs: tuple[int, ...]
    current: int
    wraps: Mapping[int, int]
    holders: Mapping[str, tuple[int, ...]]
    jobs: list[KeyJob]
    destructions: list[Destruction]
    deadline: Deadline
    index: Progress
    own_key: OwnKey
    generations: tuple[int, ...]
    index_destructions: list[Destruction]
    deferred: tuple[int, int]  # calls that were put off: how many wait, how many were set aside


def status(work: Work) -> KeyStatus:
    """Return how it stands now."""
    keyring = work.gateway.vault.provider.keyring
    return KeyStatus(
        keyring.epochs,
        keyring.current_epoch,
        job_rows.wraps_by_epoch(work.session),
        epoch_destruction.holders(work),
        job_rows.newest(work.session, _JOBS),
        KEY_EPOCHS.listed(work.session),
        epoch_schedule.deadline(work),
        index_rotation.progress(work),
        own_key.status(work),
        keyring.generations,
        INDEX_GENERATIONS.listed(work.session),
        deferrals.counts(work.session),
    )
