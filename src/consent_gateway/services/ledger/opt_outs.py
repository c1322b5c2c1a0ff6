"""What every "no" has in common: it is taken in even where a "yes" would be refused (promise P1).

A no from somebody nobody knows waits under the keyed hash of the identifier they named, and is applied to whoever turns
up with it; the contact point itself goes on the suppression list at once. A no with an impossible instant is a no from
now on. Nothing lies ahead of now: a sender's clock that runs fast cannot make a later no the earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import consents, strangers
from consent_gateway.db.subjects import Token
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import FieldProblem, RaceError
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.audience_rows import refresh_choices, refresh_standings
from consent_gateway.services.identity.circumstances import refresh_recency
from consent_gateway.services.identity.people import UNKNOWN, UNKNOWN_POINT, find_points
from consent_gateway.services.ledger.signal_records import link_signals
from consent_gateway.services.work.gateway import Work
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.normal_forms import Normalised

_CONTACT_KINDS = frozenset({"email", "phone"})
_EARLIEST = 631_152_000  # 1990-01-01: an older instant is a typing error
Fact = Mapping[str, Any]


def settled_instant(work: Work, at: int, *, opting_out: bool) -> int | FieldProblem:
    """Return the instant at which a row holds: its own, now for a no that names an impossible one, or the problem."""
    problem = _instant_problem(work, at)
    if problem is None:
        return min(at, work.now)
    return work.now if opting_out else problem


def _instant_problem(work: Work, at: int) -> FieldProblem | None:
    if at > work.now + work.gateway.rules.max_future_seconds:
        return FieldProblem("$.at", "future_date", "the instant lies in the future")
    if at < _EARLIEST:
        return FieldProblem("$.at", "impossible_date", "the instant is before 1990")
    return None


def keep_for_stranger(
    work: Work, found: FieldProblem, forms: Sequence[Normalised], fact: Fact, *, suppress: bool = True
) -> bool:
    """Keep a no of somebody nobody knows, by every identifier they named; tell whether there was one to keep it by.

    With `suppress`, nothing is written to the contact points any more, whoever they turn out to belong to.

    Raises RaceError if somebody turned up with one of them in the meantime: tried again, the no is theirs.
    """
    if found not in (UNKNOWN, UNKNOWN_POINT) or not forms:
        return False
    strangers.hold_strangers(work.session, arriving=False)
    # Somebody who was erased stays away by their tombstone; nothing more is kept about them.
    gone = lasting_names.erased(work, forms)
    forms = [form for form in forms if form not in gone]
    if find_points(work, {work.token(form): form for form in forms}):
        raise RaceError
    if forms:
        _wait(work, [lasting_names.names(work, form)[0] for form in forms], fact, suppress=suppress)
    kinds = sorted({form.kind for form in forms})
    work.record(EntryKind.RIGHT_EXERCISED, {"right": "opt_out", "effect": "waiting", "kinds": kinds})
    return True


def _wait(work: Work, tokens: Sequence[Token], fact: Fact, *, suppress: bool) -> None:
    written = json.dumps(fact)
    strangers.put_waiting(
        work.session, [{"kind": t.kind, "token": t.value, "fact": written, "at": work.now} for t in tokens]
    )
    # Who is on a do-not-call register has not refused texts and messages they agreed to: the fact alone waits.
    suppress = suppress and fact.get("choice") != Choice.DO_NOT_CALL
    reached = [t for t in tokens if suppress and t.kind in _CONTACT_KINDS]
    rows = [{"token": t.value, "kind": t.kind, "reason": "unsubscribe", "at": work.now} for t in reached]
    strangers.suppress(work.session, rows)


def apply_waiting(work: Work, holders: Mapping[Normalised, SubjectId]) -> None:
    """Apply the opt-outs that waited for these identifiers to the people who brought them; signals become theirs."""
    link_signals(work, holders)
    if not strangers.any_waiting(work.session):
        return
    named = lasting_names.by_name(work, holders)
    waiting = strangers.take_waiting(work.session, named)
    if not waiting:
        return
    facts = [(named[token], json.loads(fact)) for token, fact in waiting]
    people = sorted({subject_id for subject_id, _ in facts})
    deks = work.gateway.vault.keys(work.session, people)
    for subject_id, fact in facts:
        said = {name: value for name, value in fact.items() if value is not None}
        payload = NO_DETAILS
        key = derive_audit_key(deks[subject_id])
        work.record_about(EntryKind.RIGHT_EXERCISED, {"effect": "applied", **said}, subject_id, key, payload)
    _append(work, facts)
    purposes = {PurposeId(fact["purpose"]) for _, fact in facts if "purpose" in fact}
    refresh_standings(work, people, purposes)
    refresh_choices(work, people)
    refresh_recency(work, people)


def _append(work: Work, facts: Iterable[tuple[SubjectId, Fact]]) -> None:
    said, chosen = [], []
    for subject_id, fact in facts:
        row = {"subject_id": subject_id, "received_at": work.now, "source": fact["source"], "at": fact["at"]}
        if "choice" in fact:
            chosen.append(row | {"choice": fact["choice"], "active": True})
        else:
            said.append(row | _BLANK | {name: fact[name] for name in ("purpose", "channel", "recipient", "kind")})
    consents.append(work.session, said)
    consents.append_choices(work.session, chosen)


# What a no needs no more of.
_BLANK: dict[str, Any] = {
    "contact_point": None,
    "valid_until": None,
    "properties": 0,
    "imported": False,
    "notice": None,
    "notice_version": None,
    "language": None,
    "method": "opt_out_of_a_stranger",
    "evidence": None,
    "place": None,
    "guardian": None,
}
