"""Patience with a key service: a bounded number of attempts, with waits that double and are never the same for two.

Only `KeyServiceError` is tried again: the service did not answer. A refusal is final. Calls are safe to repeat:
wrapping twice makes two wraps, of which one is kept; `create_key` finds the key of its label; destroying a key that is
gone counts as destroyed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from consent_gateway.errors import KeyServiceError
from consent_gateway.vault.kms.port import Bound, Destruction, Kms

Answer = TypeVar("Answer")
_MILLIS = 1000


@dataclass(frozen=True, slots=True)
class Patient:
    """A `Kms` over another one: at most `attempts`, waiting up to `first` seconds, then twice as long, up to `most`.

    A wait is between half and all of its length, by chance, so that replicas do not come back all at once. A wait
    that the service asks for (`retry_after`) is the least that is waited, if it is not longer than `most`.
    """

    kms: Kms
    attempts: int = 4
    first: float = 0.25
    most: float = 2.0
    sleep: Callable[[float], None] = time.sleep

    @property
    def kind(self) -> str:
        """The word of the provider behind."""
        return self.kms.kind

    @property
    def has_own_keys(self) -> bool:
        """As the provider behind."""
        return self.kms.has_own_keys

    @property
    def destruction_seconds(self) -> int:
        """As the provider behind."""
        return self.kms.destruction_seconds

    def create_key(self, label: str) -> str:
        """As the provider's, with patience."""
        return self._patiently(lambda: self.kms.create_key(label))

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        """As the provider's, with patience."""
        return self._patiently(lambda: self.kms.wrap(secrets))

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        """As the provider's, with patience."""
        return self._patiently(lambda: self.kms.unwrap(wraps))

    def schedule_destroy(self, key: str) -> Destruction:
        """As the provider's, with patience."""
        return self._patiently(lambda: self.kms.schedule_destroy(key))

    def check(self) -> None:
        """Ask once: whoever looks whether a service is there wants to know how it is now."""
        self.kms.check()

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        wait = self.first
        for _ in range(self.attempts - 1):
            try:
                return ask()
            except KeyServiceError as error:
                self.sleep(self._wait(wait, error.retry_after))
                wait = min(wait * 2, self.most)
        return ask()

    def _wait(self, longest: float, asked: int | None) -> float:
        wait = longest * (_MILLIS + secrets.randbelow(_MILLIS)) / (2 * _MILLIS)
        return max(wait, asked) if asked is not None and asked <= self.most else wait
