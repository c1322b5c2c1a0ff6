"""Questions by identifier about nobody: counted, so that trying addresses does not tell who is a customer.

Only strangers count, and only for keys: who asks about people they know never touches the store for it. The order of
the questions is kept: once one does not fit, it and every later question by identifier is refused, known or not, until
the window has room again (`services.work.closed_keys`). A batch needs room for all its identifiers before it is
resolved, as if nobody were known: what is refused must not depend on who is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from consent_gateway.domain.consents import NO
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import FieldProblem, QuotaError
from consent_gateway.services.identity.people import PSEUDONYM, UNKNOWN, UNKNOWN_POINT, Resolver
from consent_gateway.services.rows.intake import Incoming, Rejection
from consent_gateway.services.work import quotas
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import ChoiceItem, ConsentItem, SignalItem, SubjectItem, SubjectRef

_KIND = QuotaKind.LOOKUP
EXHAUSTED = FieldProblem("$", QuotaError.code, "the key's quota of strangers has no room for the call: send pseudonyms")
_STRANGE = frozenset({UNKNOWN.code, UNKNOWN_POINT.code})


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


# -- rows of another recipient's key -------------------------------------------------------------------------------


def limited(work: Work, rows: Sequence[Incoming[Any]]) -> Sequence[Incoming[Any]]:
    """Return the rows of another recipient's key, refused where they name more identifiers than its quota has room for.

    What becomes of a row tells whether its person is known. Our own keys bring strangers in all day, so they are free;
    a no is never refused for it (promise P1).
    """
    if work.actor.recipient == OWN:
        return rows
    asking = {row.row: row for row in rows if row.item is not None and not _says_no(row.item)}
    named = named_by_identifier(ref for row in asking.values() for ref in _refs(row.item))
    if not named or not quotas.wait_for_room(work, work.actor.id, _KIND, named):
        return rows
    return [replace(row, problems=(EXHAUSTED,)) if row.row in asking else row for row in rows]


def count_rows(work: Work, rows: Sequence[Incoming[Any]], rejections: Sequence[Rejection]) -> None:
    """Count the strangers whom such rows named; of customers everyone, for each row asks who has its identifiers."""
    if work.actor.recipient == OWN:
        return
    unknown = {r.row for r in rejections if any(p.code in _STRANGE for p in r.reasons)}
    asked = (r for r in rows if r.row in unknown or isinstance(r.item, SubjectItem))
    named = dict.fromkeys(ref for row in asked for ref in _refs(row.item) if ref.kind != PSEUDONYM)
    units = [work.gateway.vault.digest(b"lookup-row/v1\0" + repr((ref.kind, ref.value)).encode()) for ref in named]
    if units and quotas.take_some(work, work.actor.id, _KIND, units) < len(units):
        work.gateway.closed.close(work.actor.id, work.now)


def _refs(item: Any) -> list[SubjectRef]:
    if isinstance(item, SubjectItem):
        return [SubjectRef(kind, value, item.country) for kind, value in item.identifiers.items()]
    named = (getattr(item, name, None) for name in ("subject", "contact_point", "guardian"))
    return [ref for ref in named if ref is not None]


def _says_no(item: Any) -> bool:
    if isinstance(item, ConsentItem):
        return item.kind in NO
    return isinstance(item, SignalItem) or (isinstance(item, ChoiceItem) and item.active)
