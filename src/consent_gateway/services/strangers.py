"""Questions by identifier about nobody: counted, so that trying addresses does not tell who is a customer.

Only strangers count, and only for keys: who asks about people they know never touches the store for it. The order of
the questions is kept: once one does not fit, it and every later question by identifier is refused, known or not, until
the window has room again (`services.closed_keys`). A batch needs room for all its identifiers before it is resolved,
as if nobody were known: what is refused must not depend on who is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import QuotaError
from consent_gateway.services import quotas
from consent_gateway.services.gateway import Work
from consent_gateway.services.items import SubjectRef
from consent_gateway.services.people import PSEUDONYM, Resolver

_KIND = QuotaKind.LOOKUP


def named_by_identifier(refs: Iterable[SubjectRef]) -> int:
    """Return how many different identifiers are named."""
    return len({ref for ref in refs if ref.kind != PSEUDONYM})


def refusal(work: Work, actor: Principal) -> QuotaError | None:
    """Return why a key may not ask by identifier now, None if it may; asks the store only about a closed key."""
    closed = work.gateway.closed
    if actor.id not in closed.recheck_at:
        return None
    if closed.due(actor.id, work.now):
        wait = quotas.wait_for_room(work, actor.id, _KIND, 1)
        if wait == 0:
            closed.open(actor.id)
            return None
        closed.close(actor.id, work.now)
    return QuotaError(retry_after=closed.recheck_at[actor.id] - work.now)


def require_room(work: Work, refs: Sequence[SubjectRef]) -> None:
    """Refuse a call that names more identifiers than the caller's quota has room for; QuotaError."""
    named = named_by_identifier(refs)
    if not named or not work.actor.key:
        return
    wait = quotas.wait_for_room(work, work.actor.id, _KIND, named)
    if wait:
        raise QuotaError(retry_after=wait)


def count(work: Work, actor: Principal, resolver: Resolver, refs: Sequence[SubjectRef]) -> int:
    """Count the strangers that a key asked for, in their order; returns how many fit. The next ones close the key."""
    if not actor.key:
        return len(refs)
    digest = work.gateway.vault.digest
    forms = [resolver.forms(ref) for ref in refs]
    units = [digest(b"lookup/v1\0" + repr([(f.kind, f.value) for f in found]).encode()) for found in forms]
    fitted = quotas.take_some(work, actor.id, _KIND, units)
    if fitted < len(refs):
        work.gateway.closed.close(actor.id, work.now)
    return fitted
