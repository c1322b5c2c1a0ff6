"""Who was turned away: an entry a minute for each key, scope and reason, however often it knocks.

There is no log-in: every request carries a key, and what it does has an entry of its own. A request that is turned away
does nothing, so nothing waits for its entry; were each of them an entry, whoever has no key could fill the log. Of keys
that nobody knows no part is kept.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.services.work.gateway import Gateway


def record(gateway: Gateway, *, everything: bool = False) -> None:
    """Record the minutes that are over, or `everything`; if the store refuses, it is counted still."""
    over = gateway.denials.take(int(gateway.clock().timestamp()), everything=everything)
    if not over:
        return
    try:
        with gateway.work() as work:
            for denial, count in sorted(over.items()):
                work.record(EntryKind.ACCESS_DENIED, {**denial._asdict(), "count": count})
    except Exception:
        gateway.denials.give_back(over)
        raise
