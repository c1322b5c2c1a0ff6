"""Quotas of keys: how many different people a key may reveal, and how many strangers it may ask for.

An attempt counts, whatever its answer: what is refused to one who tries names must not be free. Only a call that is
over the quota as a whole counts nothing, for it learns nothing. What counts is a keyed hash of what was asked about,
the same for somebody and for nobody, so that counting tells neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import quotas as quota_rows
from consent_gateway.db import registers as register_rows
from consent_gateway.domain.quotas import DAY, Limits, QuotaKind, excess
from consent_gateway.errors import FieldProblem, ForbiddenError, InputError, QuotaError
from consent_gateway.services.work.gateway import Work


@dataclass(frozen=True, slots=True)
class Usage:
    """A key's quota as it stands: the limits that hold, what counts now, and since when it is suspended, if it is."""

    principal: str
    kind: QuotaKind
    limits: Limits
    hour: int
    day: int
    suspended_at: int | None


def take(work: Work, principal: str, kind: QuotaKind, units: Collection[bytes]) -> None:
    """Count different `units` (32 bytes each) as asked about now by a key.

    QuotaError with the seconds to wait if they do not fit into every window; ForbiddenError for a suspended key. Counts
    nothing then. Holds the key's row of the quota until the transaction ends.
    """
    row = _open(work, principal, kind)
    limits = _limits(work, kind, row)
    quota_rows.forget(work.session, principal, kind, work.now - DAY)
    asked = quota_rows.last_asked(work.session, principal, kind, units)
    for seconds, most in limits.windows():
        after = work.now - seconds
        fresh = sum(asked.get(unit, 0) <= after for unit in units)
        over = excess(quota_rows.used(work.session, principal, kind, after), fresh, most)
        if over > 0:  # also where nobody is new, if the limit was lowered below what counts
            raise QuotaError(retry_after=_wait(work, principal, kind, seconds, over))
    quota_rows.count(work.session, principal, kind, units, work.now)


def take_some(work: Work, principal: str, kind: QuotaKind, units: Sequence[bytes]) -> int:
    """Count units in their order as far as they fit, and return how many did; those that count already always do."""
    limits = _limits(work, kind, _open(work, principal, kind))
    quota_rows.forget(work.session, principal, kind, work.now - DAY)
    asked = quota_rows.last_asked(work.session, principal, kind, set(units))
    starts = [work.now - seconds for seconds, _ in limits.windows()]
    room = [most - quota_rows.used(work.session, principal, kind, work.now - s) for s, most in limits.windows()]
    counted: set[bytes] = set()
    fitted = 0
    for unit in units:
        fresh = [unit not in counted and asked.get(unit, 0) <= start for start in starts]
        if any(new and left <= 0 for new, left in zip(fresh, room, strict=True)):
            break
        room = [left - new for new, left in zip(fresh, room, strict=True)]
        counted.add(unit)
        fitted += 1
    quota_rows.count(work.session, principal, kind, counted, work.now)
    return fitted


def wait_for_room(work: Work, principal: str, kind: QuotaKind, units: int) -> int:
    """Return the seconds until so many new units fit, 0 for now; holds the key's row of the quota."""
    limits = _limits(work, kind, _open(work, principal, kind))
    for seconds, most in limits.windows():
        over = excess(quota_rows.used(work.session, principal, kind, work.now - seconds), units, most)
        if over > 0:
            return _wait(work, principal, kind, seconds, over)
    return 0


def require_open(work: Work, principal: str) -> None:
    """Refuse a key that is suspended for revealing; holds its row of the quota until the transaction ends."""
    _open(work, principal, QuotaKind.REVEAL)


def _open(work: Work, principal: str, kind: QuotaKind) -> quota_rows.QuotaRow:
    row = quota_rows.hold(work.session, principal, kind)
    if row.suspended_at is not None:
        raise ForbiddenError("this key is suspended: an officer has to let it go on (POST /v1/quotas)")
    return row


def _wait(work: Work, principal: str, kind: QuotaKind, seconds: int, over: int) -> int:
    """Return the seconds until `over` of those that count have left the window; the whole of it if they never do."""
    leaves = quota_rows.nth_oldest(work.session, principal, kind, work.now - seconds, over)
    return seconds if leaves is None else max(1, leaves + seconds - work.now)


def _limits(work: Work, kind: QuotaKind, row: quota_rows.QuotaRow) -> Limits:
    default = work.gateway.rules.limits(kind)
    return Limits(
        default.per_hour if row.per_hour is None else row.per_hour,
        default.per_day if row.per_day is None else row.per_day,
    )


def usage(work: Work) -> list[Usage]:
    """Return the quota of every key that ever used one or was given one."""
    found = []
    for row in quota_rows.listed(work.session):
        principal, kind = row["principal"], QuotaKind(row["kind"])
        held = quota_rows.QuotaRow(row["per_hour"], row["per_day"], row["suspended_at"])
        limits = _limits(work, kind, held)
        hour, day = (quota_rows.used(work.session, principal, kind, work.now - s) for s, _ in limits.windows())
        found.append(Usage(principal, kind, limits, hour, day, held.suspended_at))
    return found


def set_limits(work: Work, principal: str, kind: QuotaKind, per_hour: int | None, per_day: int | None) -> None:
    """Give a key limits of its own, None for the setting; they count from the next call on."""
    _require_key(work, principal)
    quota_rows.hold(work.session, principal, kind)
    quota_rows.put_limits(work.session, principal, kind, per_hour, per_day)
    given = {"per_hour": per_hour, "per_day": per_day}
    work.record(EntryKind.QUOTA_SET, {"principal": principal, "quota": kind.value, **given})


def set_suspended(work: Work, principal: str, kind: QuotaKind, *, suspended: bool) -> None:
    """Suspend a key for revealing, or let it go on; questions about strangers have limits alone."""
    if kind is not QuotaKind.REVEAL:
        raise InputError(fields=(FieldProblem("$.suspended", "not_suspended", "give it limits of 0 instead"),))
    _require_key(work, principal)
    quota_rows.hold(work.session, principal, kind)
    quota_rows.suspend(work.session, principal, kind, work.now if suspended else None)
    work.record(EntryKind.QUOTA_SET, {"principal": principal, "quota": kind.value, "suspended": suspended})


def suspend(work: Work, principal: str, kind: QuotaKind) -> None:
    """Suspend a key by the gateway's own rule; the entry that tells why is the caller's."""
    quota_rows.hold(work.session, principal, kind)
    quota_rows.suspend(work.session, principal, kind, work.now)


def _require_key(work: Work, principal: str) -> None:
    if principal not in {row["id"] for row in register_rows.list_principals(work.session)}:
        raise InputError(fields=(FieldProblem("$.principal", "unknown_principal", "there is no key of that name"),))
