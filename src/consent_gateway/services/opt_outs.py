"""What every "no" has in common: it is taken in even where a "yes" would be refused (promise P1).

A no from somebody nobody knows puts the contact point they named on the suppression list, where it holds when the
person turns up later. A no with an impossible instant is a no from now on.
"""

from __future__ import annotations

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import subjects
from consent_gateway.errors import FieldProblem
from consent_gateway.services.gateway import Work
from consent_gateway.services.items import SubjectRef
from consent_gateway.services.people import UNKNOWN, UNKNOWN_POINT, Resolver

_CONTACT_KINDS = frozenset({"email", "phone"})
_EARLIEST = 631_152_000  # 1990-01-01: an older instant is a typing error


def settled_instant(work: Work, at: int, *, opting_out: bool) -> int | FieldProblem:
    """Return the instant at which a row holds: its own, now for a no that names an impossible one, or the problem."""
    problem = _instant_problem(work, at)
    if problem is None:
        return at
    return work.now if opting_out else problem


def _instant_problem(work: Work, at: int) -> FieldProblem | None:
    if at > work.now + work.gateway.rules.max_future_seconds:
        return FieldProblem("$.at", "future_date", "the instant lies in the future")
    if at < _EARLIEST:
        return FieldProblem("$.at", "impossible_date", "the instant is before 1990")
    return None


def suppress_unknown(work: Work, resolver: Resolver, found: FieldProblem, ref: SubjectRef, *, opting_out: bool) -> bool:
    """Put the contact point of an unknown person on the suppression list if they opt out; tell whether it was."""
    unknown = found is UNKNOWN or found is UNKNOWN_POINT
    token = resolver.token(ref) if unknown and opting_out and ref.kind in _CONTACT_KINDS else None
    if token is None:
        return False
    row = {"token": token.value, "kind": token.kind, "reason": "unsubscribe", "at": work.now}
    subjects.suppress(work.session, [row])
    work.record(EntryKind.RIGHT_EXERCISED, {"right": "opt_out", "effect": "suppressed", "kind": token.kind})
    return True
