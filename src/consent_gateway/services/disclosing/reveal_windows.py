"""Revealing many people at once: only in a window that one key proposed and another approved, and that ends.

A customer list discloses identifiers as a reveal does, and is counted like one.

A window is a standing approval (`services.work.approvals`) for one key, one purpose and one recipient, for at most so
many people, counted by attempts. It takes the place of the key's quota; a suspended key has no windows either.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent_gateway.db import reveal_windows as rows
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.work import approvals, quotas
from consent_gateway.services.work.gateway import Work


def spend(work: Work, use: Use, pseudonyms: Sequence[str]) -> Approval | None:
    """Count people against the caller's quota or, if they are many, against a window, which is returned.

    `pseudonyms`: our own names of them; whoever is shown or disclosed counts once, whichever way. QuotaError and
    ForbiddenError as `quotas.take` and `take`.
    """
    if len(pseudonyms) > work.gateway.rules.reveal_batch:
        return take(work, use, len(pseudonyms))
    units = {work.gateway.vault.digest(b"reveal/v1\0" + text.encode()) for text in pseudonyms}
    quotas.take(work, work.actor.id, QuotaKind.REVEAL, units)
    return None


def take(work: Work, use: Use, people: int) -> Approval:
    """Count `people` against a window of the caller for this use, and return it; ForbiddenError says what is needed."""
    approvals.hold(work)
    quotas.require_open(work, work.actor.id)
    wanted = {"principal": work.actor.id, "purpose": use.purpose, "recipient": use.recipient}
    found = [a for a in approvals.standing(work, Action.BULK_REVEAL_WINDOW) if wanted.items() <= a.subject.items()]
    for window in found:
        if rows.take(work.session, window.id, people, int(window.subject["subjects"])):
            return window
    most = work.gateway.rules.reveal_batch
    state = "the window has no room for so many" if found else f"more than {most} people at once need a window"
    raise ForbiddenError(
        f"{state}: propose bulk_reveal_window for this key, purpose and recipient (POST /v1/approvals), and let another"
        " key approve it"
    )
