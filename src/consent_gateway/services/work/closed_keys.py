"""Keys whose quota of questions about strangers is used up, as far as this process knows.

While a key is closed, each of its questions by identifier is refused, known or not: a refusal that only strangers get
would be the answer. This is memory, so that a decision by a known identifier costs no statement: it only repeats what
the store said, and asks the store again after `RECHECK_SECONDS`. Questions by pseudonym never come here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

RECHECK_SECONDS = 60


@dataclass(slots=True)
class ClosedKeys:
    """When to ask the store again, by the name of the key."""

    recheck_at: dict[str, int] = field(default_factory=dict)

    def close(self, principal: str, now: int) -> None:
        """Remember that a key is closed."""
        self.recheck_at[principal] = now + RECHECK_SECONDS

    def open(self, principal: str) -> None:
        """Forget that a key was closed."""
        self.recheck_at.pop(principal, None)

    def due(self, principal: str, now: int) -> bool:
        """Tell whether the store has to be asked again about a closed key."""
        return now >= self.recheck_at.get(principal, 0)
