"""The thread that does the work on keys in one process: jobs page by page, the schedule, destructions that are decided.

It says which epochs this process holds, so that none is destroyed under it. A thread of its own: a long job must not
hold up the log. Any number of processes may run one; leases and locks let one at a time do a page.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from consent_gateway.db import key_epochs
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.domain.key_jobs import KeyJob
from consent_gateway.errors import GatewayError
from consent_gateway.services.keys import epoch_schedule
from consent_gateway.services.keys.epoch_destruction import EPOCHS
from consent_gateway.services.keys.index_destruction import GENERATIONS
from consent_gateway.services.keys.key_jobs import PACED_PAGE, PAGE, HeldError, Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.log import deferrals
from consent_gateway.services.work.gateway import Gateway

PAUSE_SECONDS = 1.0
BEAT_SECONDS = 15
_PAGES_A_LOOK = 20  # with `PAGE` rows each: what a server may spend on a job in a second
_FORGET_SECONDS = 86_400


class KeyKeeper:
    """Looks every `PAUSE_SECONDS` until `stop`."""

    def __init__(self, gateway: Gateway, on_error: Callable[[Exception], None]) -> None:
        self._gateway = gateway
        self._runner = Runner(gateway, PAGES)
        self._on_error = on_error
        self.holder = secrets.token_hex(16)
        self._told: tuple[tuple[int, ...], int] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the page that is being done, and say that this process holds nothing any more."""
        self._stopping.set()
        self._thread.join()
        try:
            with self._gateway.store.transaction() as session:
                key_epochs.gone(session, self.holder)
        except GatewayError as error:
            self._on_error(error)

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a thread that ends with its first error would stop in silence
                self._on_error(error)

    def look(self) -> None:
        """Do what is to be done now: what was put off, tell what is held, destructions, jobs, the schedule."""
        self._gateway.vault.provider.refresh()
        deferrals.carry_out(self._gateway)  # first: nothing is decided until then
        self._beat()
        if self._gateway.gate.refusal is not None:
            return  # what is done to keys needs its entry
        EPOCHS.carry_out(self._gateway)
        GENERATIONS.carry_out(self._gateway)
        epoch_schedule.begin_if_due(self._gateway)
        self._work()
        epoch_schedule.destroy_if_ordered(self._gateway)

    def _beat(self) -> None:
        now, epochs = int(self._gateway.clock().timestamp()), self._gateway.vault.provider.keyring.epochs
        if self._told is not None and self._told[0] == epochs and now - self._told[1] < BEAT_SECONDS:
            return
        with self._gateway.store.transaction() as session:
            key_epochs.seen(session, self.holder, epochs, now, now - _FORGET_SECONDS)
        self._told = (epochs, now)

    def _work(self) -> None:
        with self._gateway.look() as work:
            waiting = [job for job in job_rows.unfinished(work.session) if job.kind in PAGES]
        for job in waiting:
            try:
                self._pages(job)
            except HeldError:
                continue  # another process is at it
            except GatewayError as error:
                self._on_error(error)  # such as a key that this process cannot get: other jobs go on

    def _pages(self, job: KeyJob) -> None:
        """Do as much of a job as a look may, and no more than its rate in a second, for there is a look a second."""
        rows, pages = PAGE, _PAGES_A_LOOK
        if job.rate is not None:
            rows = min(PACED_PAGE, job.rate)
            pages = min(job.rate, PAGE * _PAGES_A_LOOK) // rows
        for _ in range(pages):
            done = self._runner.page(job.id, rows)
            if done.finished_at is not None or done.rests_until is not None or self._stopping.is_set():
                return
