"""A thread that acts when it is woken, at least every `idle` and at most every `pace` seconds.

What happens between two rounds is done by one: callers wake as often as they like. An action that fails is reported and
tried again, later each time up to `idle`; the thread never ends with an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_FIRST_BACKOFF = 1.0


class Loop:
    """Runs `act` until `stop`; `act` returns whether it succeeded.

    `first`: at once when it is started; `last`: once more when it is stopped.
    """

    def __init__(
        self,
        name: str,
        act: Callable[[], bool],
        on_error: Callable[[Exception], None],
        *,
        idle: float,
        pace: float = 0,
        first: bool = True,
        last: bool = False,
    ) -> None:
        self._act, self._on_error = act, on_error
        self._idle, self._pace, self._first, self._last = idle, pace, first, last
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._backoff = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; with a first round at once, unless it was made otherwise."""
        if self._first:
            self._wake.set()
        self._thread.start()

    @property
    def stops(self) -> bool:
        """Tell a long round that it is to end."""
        return self._stopping.is_set()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wake.set()

    def stop(self, *, seconds: float) -> None:
        """End, after one last round if there is to be one; waits for at most `seconds`."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._idle)
            self._wake.clear()
            self._round()
            self._stopping.wait(max(self._pace, self._backoff))
        if self._last:
            self._round()

    def _round(self) -> None:
        try:
            succeeded = self._act()
        except Exception as error:  # noqa: BLE001 - a thread that ends with its first error would stop in silence
            self._on_error(error)
            succeeded = False
        if succeeded:
            self._backoff = 0.0
        else:
            self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF), self._idle)
            self._wake.set()  # it is tried again without anybody asking
