"""Which kind of job begins and does its pages how: the one list, for workers and commands alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from consent_gateway.domain.key_jobs import JobKind, KeyJob
from consent_gateway.services.keys import dek_rotation, epoch_roll, index_rotation
from consent_gateway.services.keys.key_jobs import PageOf
from consent_gateway.services.work.gateway import Work

Starts = Callable[[Work, int | None], KeyJob]

PAGES: Mapping[JobKind, PageOf] = {
    JobKind.EPOCH_ROLL: epoch_roll.page,
    JobKind.DEK: dek_rotation.page,
    JobKind.INDEX_GENERATION: index_rotation.page,
}
STARTS: Mapping[JobKind, Starts] = {
    JobKind.EPOCH_ROLL: epoch_roll.start,
    JobKind.DEK: dek_rotation.start,
    JobKind.INDEX_GENERATION: index_rotation.start,
}
