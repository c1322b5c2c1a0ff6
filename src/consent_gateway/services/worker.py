"""The background jobs of one process: integrate the log as soon as there is something, forget what has expired.

Each job is idempotent and safe to run in any number of processes: the log's writer lock lets one sequencer work at a
time, and what another process acknowledged is found by looking at least once per `IDLE_SECONDS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from consent_gateway.db import audiences
from consent_gateway.errors import GatewayError
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.gateway import Gateway

IDLE_SECONDS = 0.05
# After a round, wait a little: under load the next batch is larger and takes fewer flushes from those who write.
PACE_SECONDS = 0.02
BACKOFF_SECONDS = 1.0
_HOUSEKEEPING_ROUNDS = 1200  # about once a minute when idle


class Worker:
    """One thread; `start`, `wake` (after a commit), `stop` (drains what is pending)."""

    def __init__(self, gateway: Gateway, on_error: Callable[[GatewayError], None]) -> None:
        self._gateway = gateway
        self._sequencer = Sequencer(gateway)
        self._on_error = on_error
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
            try:
                if self._sequencer.drain():
                    self._stopping.wait(PACE_SECONDS)
                if rounds % _HOUSEKEEPING_ROUNDS == 0:
                    self._housekeep()
            except GatewayError as error:
                # Entries stay pending and are integrated later; nothing is lost by waiting.
                self._on_error(error)
                self._stopping.wait(BACKOFF_SECONDS)
        self._finish()

    def _finish(self) -> None:
        try:
            self._sequencer.drain()
        except GatewayError as error:
            self._on_error(error)

    def _housekeep(self) -> None:
        with self._gateway.work() as work:
            audiences.drop_expired(work.session, work.now)
