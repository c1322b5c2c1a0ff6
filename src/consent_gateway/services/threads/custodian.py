"""The thread that looks after the keys of one process: follows changes of the keyring, renews it, settles what is owed.

A thread of its own, because a key service that is slow must not hold up the log. What `Custody.tend` raises is reported
and nothing else: the custody itself says what goes on and what has to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from consent_gateway.errors import GatewayError
from consent_gateway.vault.custody import Custody

PAUSE_SECONDS = 1.0


class Custodian:
    """Calls `Custody.tend` every `PAUSE_SECONDS` until `stop`."""

    def __init__(self, custody: Custody, on_error: Callable[[GatewayError], None]) -> None:
        self._custody = custody
        self._on_error = on_error
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="custodian", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; does not wait for a service that is being asked."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            self.look()

    def look(self) -> None:
        """Tend once."""
        try:
            self._custody.tend()
        except GatewayError as error:
            self._on_error(error)
