"""Which kind of job does its pages how: the one list, for workers and commands alike."""

from __future__ import annotations

from collections.abc import Mapping

from consent_gateway.domain.key_jobs import JobKind
from consent_gateway.services import dek_rotation, epoch_roll
from consent_gateway.services.key_jobs import PageOf

PAGES: Mapping[JobKind, PageOf] = {JobKind.EPOCH_ROLL: epoch_roll.page, JobKind.DEK: dek_rotation.page}
