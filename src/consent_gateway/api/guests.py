"""Readers without a key take turns, so that they never hold the threads that decisions and opt-outs need.

A few are served at a time, some wait for their turn, and more are sent away at once. Everybody counts alike: there is
nothing about a stranger that could be trusted to tell two of them apart, least of all the address behind a proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consent_gateway.errors import UnavailableError

_AT_ONCE, _WAITING = 2, 64


class Guests:
    """Readers without a key: `at_once` of them are served at a time, `waiting` more wait, the rest are sent away."""

    def __init__(self, at_once: int = _AT_ONCE, waiting: int = _WAITING) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._room = at_once + waiting

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Wait for a turn; UnavailableError at once when too many wait already."""
        if self._room == 0:
            raise UnavailableError("too many read the log at this moment", retry_after=1)
        self._room -= 1
        try:
            async with self._turn:
                yield
        finally:
            self._room += 1
