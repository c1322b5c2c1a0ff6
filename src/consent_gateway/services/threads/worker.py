"""The background jobs of one process: integrate the log as soon as there is something, forget what has expired.

Erasures are finished here: a line of the tombstone file that could not be written, bytes in the write-ahead log.

Each job is idempotent and safe to run in any number of processes: the log's writer lock lets one sequencer work at a
time, and what another process acknowledged is found by looking at least once per `IDLE_SECONDS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from consent_gateway.db import audiences, deferrals, intake
from consent_gateway.errors import GatewayError
from consent_gateway.services.erasing import holds, retention, tombstones
from consent_gateway.services.erasing.erasure import forget_spellings
from consent_gateway.services.log import denials
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_search import index_some
from consent_gateway.services.work import approvals
from consent_gateway.services.work.gateway import Gateway

IDLE_SECONDS = 0.05
# After a round, wait a little: under load the next batch is larger and takes fewer flushes from those who write.
PACE_SECONDS = 0.02
BACKOFF_SECONDS = 1.0
QUARANTINE_SECONDS = 30 * 86_400  # how long a refused row can be looked at
# How long erased bytes may stay in SQLite's write-ahead log: emptied after the first, with force after the second.
RESIDUE_SECONDS, RESIDUE_DEADLINE_SECONDS = 2, 30
REPLY_SECONDS = 7 * 86_400  # how long a repeated request gets its first answer
_DONE = object()
_TALLY_ROUNDS = 100  # about every five seconds when idle
_HOUSEKEEPING_ROUNDS = 1200  # about once a minute when idle


class Worker:
    """One thread; `start`, `wake` (after a commit), `stop` (drains what is pending)."""

    def __init__(self, gateway: Gateway, on_error: Callable[[Exception], None]) -> None:
        self._gateway = gateway
        self._sequencer = Sequencer(gateway)
        self._on_error = on_error
        self.failed = False  # whether the last round failed: the gateway is not ready while the log stands still
        self._retention: Iterator[None] | None = None  # the day's run, while it is under way
        self._indexing = False  # whether there may be more blocks of the log to index
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something was recorded."""
        self._wake.set()

    def stop(self) -> None:
        """Integrate what is pending and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def run_forever(self) -> None:
        """Work on the caller's thread until `stop` is called from another."""
        self._run()

    def _run(self) -> None:
        rounds = 0
        while not self._stopping.is_set():
            self._wake.wait(IDLE_SECONDS)
            self._wake.clear()
            rounds += 1
            self._round(tally=rounds % _TALLY_ROUNDS == 0, housekeep=rounds % _HOUSEKEEPING_ROUNDS == 0)
        self._finish()

    def _round(self, *, tally: bool, housekeep: bool) -> None:
        if tally:
            self._care_for_tombstones()
        gate = self._gateway.gate
        if gate.fault is not None:  # nothing is written, and what is pending waits for the log to stand again
            self._stopping.wait(BACKOFF_SECONDS)
            return
        try:
            if self._sequencer.drain():
                self._stopping.wait(PACE_SECONDS)
            if gate.refusal is not None:
                return
            if tally:
                self._gateway.tally.write(self._gateway.store)
                denials.record(self._gateway)
                holds.carry_out_due(self._gateway)
                forget_spellings(self._gateway)
            if housekeep:
                self._housekeep()
            self._index(tally=tally)
            self._retain()
            self._clear_residue()
            self.failed = False
        except Exception as error:  # noqa: BLE001 - a job that ends with its first error would stop the log in silence
            # Entries stay pending and are integrated later; nothing is lost by waiting.
            self.failed = True
            self._on_error(error)
            self._stopping.wait(BACKOFF_SECONDS)

    def _care_for_tombstones(self) -> None:
        """Carry out again what came back with a store that was restored under us, before anything else is done.

        And finish erasures whose line could not be written; that they wait does not stop the log.
        """
        try:
            tombstones.settle_again(self._gateway)
            self._gateway.file_tombstones()
        except GatewayError as error:
            self._on_error(error)

    def _clear_residue(self) -> None:
        """Empty SQLite's write-ahead log soon after an erasure, once for all erasures of some seconds.

        A reader who is in the way is not waited for until the deadline is near; then writers wait with us for a moment.
        """
        since, now = self._gateway.residue_since, int(self._gateway.clock().timestamp())
        if since is None or now - since < RESIDUE_SECONDS:
            return
        self._gateway.residue_since = None
        if not self._gateway.store.truncate_log(patient=now - since >= RESIDUE_DEADLINE_SECONDS):
            self._gateway.residue_since = since

    def _index(self, *, tally: bool) -> None:
        """Index a few blocks of the log, every round until it has caught up; look again every few seconds."""
        if tally or self._indexing:
            self._indexing = index_some(self._gateway) > 0

    def _retain(self) -> None:
        """Do a page of the day's run: the log does not wait for all of it."""
        if self._retention is not None and next(self._retention, _DONE) is _DONE:
            self._retention = None

    def _finish(self) -> None:
        try:
            self._sequencer.drain()
            self._gateway.tally.write(self._gateway.store)
            denials.record(self._gateway, everything=True)
            self._sequencer.drain()
            self._care_for_tombstones()
            if self._gateway.residue_since is not None:
                self._gateway.store.truncate_log()
        except GatewayError as error:
            self._on_error(error)

    def _housekeep(self) -> None:
        with self._gateway.work() as work:
            audiences.drop_expired(work.session, work.now)
            intake.forget_replies(work.session, work.now - REPLY_SECONDS)
            intake.empty_quarantine(work.session, work.now - QUARANTINE_SECONDS)
            deferrals.forget_refused(work.session, work.now - QUARANTINE_SECONDS)
            approvals.lapse(work)
        if self._retention is None:
            self._retention = retention.due(self._gateway)
        self._gateway.store.truncate_log()
