"""What the operator decided where the law leaves a choice."""

from __future__ import annotations

from dataclasses import dataclass, field

from consent_gateway.domain.quotas import Limits, QuotaKind


@dataclass(frozen=True, slots=True)
class CapRule:
    """At most `limit` contacts on each channel within `window_seconds`, rolling; `limit` is 1 to 4."""

    limit: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's settings as use cases need them."""

    k_floor: int = 10
    audience_ttl_seconds: int = 86_400
    cap: CapRule = field(default_factory=lambda: CapRule(3, 7 * 86_400))
    controller_country: str | None = None
    sender_type: str = "commercial"  # or "charity"
    max_future_seconds: int = 300
    confirmation_seconds: int = 7 * 86_400  # how long a second step is waited for
    reveal_quota: Limits = field(default_factory=lambda: Limits(60, 300))
    lookup_quota: Limits = field(default_factory=lambda: Limits(2_000, 10_000))
    reveal_batch: int = 20  # people of one call; more need a window that two opened
    key_epoch_seconds: int | None = None  # how long a key epoch is the current one; None: no schedule
    key_epoch_grace_seconds: int = 86_400  # how long after its last wrap an epoch is destroyed at the earliest
    map_seconds: int = 3_600  # how old the published map of the log's chains is at most, while chains grow
    canary_suspends: bool = True  # who reads a canary reveals nobody any more until an officer says so

    def limits(self, kind: QuotaKind) -> Limits:
        """Return the limits of a key that has none of its own."""
        return self.reveal_quota if kind is QuotaKind.REVEAL else self.lookup_quota
