"""The way back to personal data: a field leaves for one person only after a decision made now, and an entry in the log.

One transaction does all of it, in this order: the quota is taken, the people are locked, the registers are read anew,
each person is decided by the engine that answers every other question (P10), the entries are queued, the fields are
opened. The caller gets them after the commit alone; no entry, no plaintext (P4). Because a withdrawal, an objection, an
opt-out and an erasure lock the person too, whichever of them was committed before is seen (P2).

Invariants: nobody, a stranger's pseudonym, a forged one and somebody erased cost the same statements and get the same
answer; a canary is answered like everybody else; a masked field is decided and recorded like a plain one, for it is
personal data still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.domain.approvals import Approval
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.merges import Clusters
from consent_gateway.domain.purposes import Purpose
from consent_gateway.domain.reveals import TICKET, Grounds, View, not_allowed, not_reached
from consent_gateway.errors import AuthenticationError, FieldProblem, ForbiddenError, InputError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing import reveal_windows
from consent_gateway.services.disclosing.decisions import Decision, decide_about
from consent_gateway.services.disclosing.disclosure import Values, open_fields
from consent_gateway.services.identity.people import lock_people
from consent_gateway.services.persons.canaries import alarm
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.vault import GATEWAY_ITSELF
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.masking import mask

MAX_SUBJECTS = 1000
PLAIN_SCOPE = "reveal_plain"


@dataclass(frozen=True, slots=True)
class Revealed:
    """One person's answer: the decision, the fields if it permits, and the uid of the entry of the reveal."""

    decision: Decision
    values: Values
    uid: bytes


@dataclass(frozen=True, slots=True)
class Revealing:
    """What a call gave: the answers in order, and how many canaries it touched, which the caller must not learn."""

    answers: list[Revealed]
    canaries: int


def reveal(work: Work, use: Use, grounds: Grounds, pseudonyms: Sequence[str]) -> Revealing:
    """Reveal fields of people to the caller, each for a decision made now.

    InputError for a use that is not registered, and for a field that the purpose does not list or that belongs to
    another channel: refused as a whole. ForbiddenError for a plain view without its scope, a suspended key, or too many
    people without a window; QuotaError.
    """
    _check_call(work, grounds)
    window = reveal_windows.spend(work, use, pseudonyms)
    named, members = _lock(work, pseudonyms)
    _check_fields(work, use, grounds)
    use = _with_sensitive(work, use, grounds)
    decisions = decide_about(work, use, named)
    touched = alarm(work, {i for found in members.values() for i in found}, use.purpose, use.recipient)
    permitted = {i: members[i] for i, d in zip(named, decisions, strict=True) if i is not None and d.answer.permitted}
    asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
    opened = open_fields(work, asked, permitted, grounds.fields) if permitted else {}
    uids = _record(work, _said(use, grounds, window), named, decisions)
    shown = {i: values if grounds.view is View.PLAIN else _masked(values) for i, values in opened.items()}
    found = zip(named, decisions, uids, strict=True)
    return Revealing([Revealed(d, shown.get(i, {}) if i else {}, uid) for i, d, uid in found], touched)


# -- the parts ---------------------------------------------------------------------------------------------------


def _check_call(work: Work, grounds: Grounds) -> None:
    # By name: `admin` opens every door but this one, for who runs the gateway need not read people.
    if grounds.view is View.PLAIN and PLAIN_SCOPE not in work.actor.scopes:
        raise ForbiddenError(f"a plain view needs a key with the scope {PLAIN_SCOPE}; masked is the default")
    if TICKET.fullmatch(grounds.ticket) is None:
        raise InputError(fields=(FieldProblem("$.ticket", "invalid_ticket", "two to five letters, -, a number"),))


def _lock(work: Work, pseudonyms: Sequence[str]) -> tuple[list[SubjectId | None], Clusters]:
    """Return who is meant, None for nobody, and every subject of each; locked, and with the registers as they are."""
    vault, recipient = work.gateway.vault, work.actor.recipient
    meant = [vault.resolve(text, recipient, work.registers, work.now) or GATEWAY_ITSELF for text in pseudonyms]
    members = lock_people(work, set(meant))
    work.catch_up()
    if not work.is_live(work.actor):
        raise AuthenticationError
    return [i if i in members else None for i in meant], members


def _check_fields(work: Work, use: Use, grounds: Grounds) -> None:
    purpose = _purpose(work, use)
    problems = [
        FieldProblem(f"$.fields[{n}]", "field_not_allowed", f"the purpose does not list {grounds.fields[n]}")
        for n in not_allowed(grounds.fields, purpose.reveals)
    ]
    problems += [
        FieldProblem(f"$.fields[{n}]", "other_channel", f"{grounds.fields[n]} is not what this channel writes to")
        for n in not_reached(grounds.fields, use.channel)
    ]
    problems += [
        FieldProblem(f"$.fields[{n}]", "other_purpose", f"{grounds.fields[n]} is not held for this purpose")
        for n in _held_for_others(work, use, grounds)
    ]
    if problems or not grounds.fields:
        raise InputError(fields=tuple(problems))


def _held_for_others(work: Work, use: Use, grounds: Grounds) -> Iterator[int]:
    """Yield the places of the fields that are held, but not for this purpose nor a wider one (GDPR Art 5(1)(b))."""
    wider = set(work.registers.purposes.ancestors(use.purpose))
    for n, name in enumerate(grounds.fields):
        field = work.registers.fields.get(name)
        if field is not None and wider.isdisjoint(field.purposes):
            yield n


def _with_sensitive(work: Work, use: Use, grounds: Grounds) -> Use:
    """Return the use with the categories of the sensitive fields that are asked for: the law decides by them too.

    GDPR Art 9(2)(a), Civ. 1798.121, PIPL Art 28-29; as with the traits of a segment.
    """
    asked = (work.registers.fields[name].category for name in grounds.fields if name in work.registers.fields)
    found = {category.value for category in asked if category is not None}
    return replace(use, sensitive=tuple(sorted({*use.sensitive, *found}))) if found else use


def _purpose(work: Work, use: Use) -> Purpose:
    found = work.registers.purposes.purposes.get(use.purpose)
    if found is None:
        raise InputError(fields=(FieldProblem("$.purpose", "unknown_purpose", "no such purpose is registered"),))
    return found


def _masked(values: Values) -> Values:
    return {name: list(dict.fromkeys(mask(name, value) for value in found)) for name, found in values.items()}


def _said(use: Use, grounds: Grounds, window: Approval | None) -> dict[str, object]:
    said: dict[str, object] = {
        "purpose": use.purpose,
        "channel": use.channel.value,
        "recipient": use.recipient,
        "fields": sorted(str(f) for f in grounds.fields),
        "view": grounds.view.value,
        "reason": grounds.reason.value,
        "ticket": grounds.ticket,
    }
    return said if window is None else said | {"window": window.id}


def _record(
    work: Work, fields: Mapping[str, object], named: Sequence[SubjectId | None], decisions: Sequence[Decision]
) -> list[bytes]:
    """Queue one entry a person: who asked is the actor, about whom is a commitment, the rest is in the clear."""
    deks = work.gateway.vault.keys(work.session, sorted({i for i in named if i is not None}))
    uids = []
    for subject_id, decision in zip(named, decisions, strict=True):
        said = {**fields, "outcome": decision.answer.outcome.value, "decision": decision.uid.hex()}
        if subject_id is None:
            uids.append(work.record(EntryKind.REVEAL_MADE, said))
            continue
        payload = NO_DETAILS
        key = derive_audit_key(deks[subject_id])
        uids.append(work.record_about(EntryKind.REVEAL_MADE, said, subject_id, key, payload))
    return uids
