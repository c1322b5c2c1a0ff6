"""What the operator decided where the law leaves a choice."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    pseudonym_epoch: int = 1
    max_future_seconds: int = 300
    confirmation_seconds: int = 7 * 86_400  # how long a second step is waited for
