"""A key service to order: late, throttled, forgetful, away, wiped or lying, on a clock that tests move."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from consent_gateway.errors import KeyringError, KeyServiceError
from consent_gateway.vault.kms.port import NOT_OPENED, Bound, Destruction

NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)


class FakeClock:
    """Seconds that pass when a test says so; `sleep` lets them pass at once and remembers how long."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class FakeKms:
    """Keys in a dictionary. `days` before a key is destroyed (0: at once); the rest are faults to switch on."""

    kind = "fake"
    has_own_keys = True

    def __init__(self, clock: FakeClock | None = None, *, days: int = 0) -> None:
        self.clock = clock or FakeClock()
        self.days = days
        self.keys: dict[str, bytes] = {}
        self.pending: dict[str, datetime] = {}
        self.calls: Counter[str] = Counter()
        self.latency = 0.0  # seconds that each call takes
        self.throttled = 0  # the next calls that are refused, with `retry_after`
        self.retry_after: int | None = None
        self.lost = 0  # the next calls that are carried out, and whose answer is lost
        self.away = False
        self.away_for: set[str] = set()  # calls that are not answered
        self.lies = False  # answers with the plaintext of another key

    @property
    def destruction_seconds(self) -> int:
        return self.days * 86_400

    def create_key(self, label: str) -> str:
        return self._serve("create", lambda: self._create(f"key-{label}"))

    def wrap(self, secrets: Sequence[Bound]) -> list[bytes]:
        return self._serve("wrap", lambda: [self._cipher(s.key).encrypt(s.content, [s.context]) for s in secrets])

    def unwrap(self, wraps: Sequence[Bound]) -> list[bytes]:
        return self._serve("unwrap", lambda: [self._open(wrap) for wrap in wraps])

    def schedule_destroy(self, key: str) -> Destruction:
        return self._serve("destroy", lambda: self._destroy(key))

    def check(self) -> None:
        self._serve("check", lambda: None)

    def wipe(self) -> None:
        """Lose every key, and go on serving."""
        self.keys.clear()

    def _create(self, name: str) -> str:
        self.keys.setdefault(name, hashlib.sha512(f"{name} {len(self.keys)} {id(self)}".encode()).digest())
        return name

    def _cipher(self, key: str) -> AESSIV:
        if key not in self.keys or key in self.pending:
            raise KeyringError(NOT_OPENED)
        return AESSIV(self.keys[key])

    def _open(self, wrap: Bound) -> bytes:
        try:
            opened = self._cipher(wrap.key).decrypt(wrap.content, [wrap.context])
        except InvalidTag:
            raise KeyringError(NOT_OPENED) from None
        return hashlib.sha256(opened).digest() if self.lies else opened

    def _destroy(self, key: str) -> Destruction:
        if self.days:
            return Destruction(self.pending.setdefault(key, NOW + timedelta(days=self.days)))
        self.keys.pop(key, None)
        return Destruction()

    def _serve(self, call, answer):
        self.calls[call] += 1
        self.clock.now += self.latency
        if self.away or call in self.away_for:
            raise KeyServiceError
        if self.throttled:
            self.throttled -= 1
            raise KeyServiceError(retry_after=self.retry_after)
        answered = answer()
        if self.lost:
            self.lost -= 1
            raise KeyServiceError
        return answered
