"""Custody: who holds the opened keyring in a process, for how long, and what happens when its service is away.

Everything that needs a key asks the one `Custody` of the process for the keyring at the moment of use, so that a
change reaches all of it at once and no key outlives its root. Asking costs a comparison and no IO.

Without a time to live (local keyrings) the keyring stays until its file changes. With one:

- at half of it, `tend` opens every root anew, which proves that the service still does;
- while that fails, reads go on, and nothing new is made: no data key, no wrap, no epoch, no generation. A service that
  lost its keys could never open again what was put under them;
- at the end of it, every use is one `KeyServiceError` until `tend` succeeds. Revoking the gateway's right to its keys
  therefore takes effect within this time, everywhere.

`tend` is called about once a second by one thread. Between attempts that fail it waits, twice as long each time. Who
meets a number that is not here looks at the file at once (`follow`): one at a time, and not while an attempt that
failed is waited out, so that a service that is away holds up nobody who asks for an answer.

Time is that of the machine, its sleep included, and counts from when the service was asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from consent_gateway.clock import Clock, system_clock
from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.letterbox import Letterbox

Answer = TypeVar("Answer")
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 30.0
_LONGEST_TURN = 1.0  # how long a caller waits for another one who is asking


def since_boot() -> float:
    """Return the seconds since the machine was started, those in which it slept among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Custody:
    """Holds one keyring; `ttl` in seconds, None for no end; `monotonic` counts seconds, never back. Thread-safe."""

    def __init__(
        self,
        keyring: Keyring,
        ttl: float | None = None,
        monotonic: Callable[[], float] = since_boot,
        clock: Clock = system_clock,
    ) -> None:
        self._keyring, self._letterbox = keyring, Letterbox.of(keyring)
        self._ttl = ttl
        self._monotonic = monotonic
        self._clock = clock
        self._tending = threading.Lock()
        self._holding = threading.Lock()
        self._wait = _FIRST_WAIT
        self.failing = False  # whether the last attempt to read or refresh the keyring failed
        self._renew(self._monotonic())

    @property
    def keyring(self) -> Keyring:
        """The keyring in use now; `KeyServiceError` if its time is over."""
        self.require_held()
        return self._keyring

    @property
    def letterbox(self) -> Letterbox:
        """What can be sealed into although the keyring's time is over: it holds no secret."""
        return self._letterbox

    def require_held(self) -> None:
        """Raise `KeyServiceError` if the keyring's time is over."""
        if self._ends is not None and self._monotonic() >= self._ends:
            raise KeyServiceError(
                "The keys' time is over and the key service has not renewed it", retry_after=int(self._wait)
            )

    def require_sound(self) -> None:
        """Raise `KeyServiceError` while the last refresh failed: nothing new may be put under these keys."""
        if self.failing:
            raise KeyServiceError(
                "The key service did not renew the keys; what needs a new key has to wait",
                retry_after=int(self._wait),
            )

    def use(self, keyring: Keyring) -> None:
        """Go on with `keyring` (after a rotation)."""
        with self._holding:
            self._hold(keyring)

    def follow(self) -> bool:
        """Read the keyring again if its file changed, and tell whether it did; raises what `Keyring.reload` does.

        `KeyServiceError` at once while an attempt that failed is waited out, and soon while another one is at it.
        """
        if not self._keyring.is_stale():
            return False
        if not self._tending.acquire(timeout=_LONGEST_TURN):
            raise KeyServiceError("The key service is being asked for newer keys", retry_after=int(_LONGEST_TURN))
        try:
            if self.failing and self._monotonic() < self._next:
                self.require_sound()
            former = self._keyring
            return self._attempted(lambda: self._exchange(former, former.reload()))
        finally:
            self._tending.release()

    def tend(self) -> bool:
        """Follow the file and refresh if it is time; tell whether anything was done.

        Raises `KeyringError` or `KeyServiceError` if it was time and could not be done: then `failing` is true. Raises
        the same if a destruction that is owed was asked for in vain.
        """
        with self._tending:
            due = self._monotonic() >= self._next
            if not due and (self.failing or not self._keyring.is_stale()):
                return False
            self._attempted(lambda: self._refresh(due=due))
            self._settle()
            return True

    def _attempted(self, attempt: Callable[[], Answer]) -> Answer:
        try:
            return attempt()
        except (KeyringError, KeyServiceError):
            self._put_off()
            raise

    def _refresh(self, *, due: bool) -> None:
        """Prove every root where the keyring has a time to live, else follow the file."""
        former, asked = self._keyring, self._monotonic()
        proven = due and self._ttl is not None
        self._exchange(former, former.reopen() if proven else former.reload())
        self.failing = False
        if proven or self._ttl is None:
            self._renew(asked)

    def _settle(self) -> None:
        """Ask for the destructions that are owed; a service that refuses them does not make the keys unsound."""
        held = self._keyring
        self._exchange(held, held.settle_destructions(self._clock()))

    def _exchange(self, former: Keyring, found: Keyring) -> bool:
        """Hold `found` unless another thread changed the keyring while it was read; tell whether it is another one."""
        with self._holding:
            if self._keyring is former and found is not former:
                self._hold(found)
        return found is not former

    def _hold(self, keyring: Keyring) -> None:
        self._keyring, self._letterbox = keyring, Letterbox.of(keyring)

    def _renew(self, now: float) -> None:
        self._wait = _FIRST_WAIT
        self._ends = None if self._ttl is None else now + self._ttl
        self._next = float("inf") if self._ttl is None else now + self._ttl / 2

    def _put_off(self) -> None:
        self.failing = True
        self._next = self._monotonic() + self._wait
        self._wait = min(self._wait * 2, _LONGEST_WAIT)


def custody_of(held: Keyring | Custody) -> Custody:
    """Return `held`, or a custody without end over a bare keyring."""
    return held if isinstance(held, Custody) else Custody(held)
