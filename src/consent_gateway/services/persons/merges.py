"""Merging two people who are one, and taking it back.

Nothing moves: a merge is a record and the links that follow from it, and the one audience row of the person is computed
over every member (`domain.merges` has the rules). So undoing a merge gives both rows as if it had never been, and what
arrived meanwhile is with the subject whose identifier or pseudonym it came by (promise P11).

A human says that two are one person; the gateway never guesses. What it changes is shown before (`dry_run`) and kept
with the merge: every purpose on every channel before and after, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, merges, subjects
from consent_gateway.db.audience_rows import Values
from consent_gateway.db.merges import Merge
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.merges import MAX_MEMBERS, RULES, Clusters, components, why
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.scopes import OWN_SIDE, Side, Slot, read
from consent_gateway.domain.subjects import CHOICE_FLAG
from consent_gateway.errors import ConflictError, ErasedError, FieldProblem, InputError, NotFoundError
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.audience_rows import whole_rows
from consent_gateway.services.identity.people import UNKNOWN, Resolver, lock_people
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.vault.envelope import derive_audit_key

Json = dict[str, Any]
_PLACE = "$.subjects[{}]"


@dataclass(frozen=True, slots=True)
class Done:
    """What a merge or its undoing changed: `people` are those who come of it, `result` is before, after and why."""

    changed: bool
    merge: int | None
    people: Clusters
    result: Json = field(default_factory=lambda: {"standings": [], "choices": []})
    entries: tuple[bytes, ...] = ()


def merge(work: Work, refs: Sequence[SubjectRef], reason: str, *, dry_run: bool = False) -> Done:
    """Say that two are one person; with `dry_run`, only what that would change.

    Who is one person already stays so, without a second record. NotFoundError names who is unknown, ErasedError says
    that one was erased, ConflictError that the person would have more than `MAX_MEMBERS` subjects.
    """
    work.hold_registers()
    named = _named(work, refs)
    found = lock_people(work, named)
    _refuse_unknown(n for n, i in enumerate(named) if i not in found)  # a pseudonym outlives its person
    low, high = sorted(named)
    if found[low] == found[high]:
        held = merges.between(work.session, low, high)
        return Done(changed=False, merge=held.id if held else None, people={found[low][0]: found[low]})
    before = {members[0]: members for members in (found[low], found[high])}
    together = components([*found[low], *found[high]], [(i, found[low][0]) for i in (*found[low], *found[high])])
    if any(len(members) > MAX_MEMBERS for members in together.values()):
        raise ConflictError(f"a person has at most {MAX_MEMBERS} subjects: more share an identifier, not a life")
    rows, result = _compared(work, before, together)
    if dry_run:
        return Done(changed=True, merge=None, people=together, result=result)
    row = {"subject_id": low, "other_id": high, "reason": reason, "rules": RULES, "at": work.now}
    number = merges.add(work.session, row | {"result": canonical_json(result).decode()})
    _rewrite(work, before, together, rows)
    entries = _record(work, EntryKind.SUBJECTS_MERGED, number, reason, together, result)
    return Done(changed=True, merge=number, people=together, result=result, entries=entries)


def unmerge(work: Work, number: int, reason: str, *, dry_run: bool = False) -> Done:
    """Take a merge back; with `dry_run`, only what that would change. NotFoundError if there is no such merge.

    Other merges of the same person stay in force: whoever they connect stays one person.
    """
    work.hold_registers()
    named = _require_merge(work, number)
    found = lock_people(work, {named.subject_id, named.other_id})
    held = _require_merge(work, number)  # as it is now that nobody else can undo it
    before = {members[0]: members for members in found.values()}
    if held.undone_at is not None:
        return Done(changed=False, merge=number, people=before)
    members = found[held.subject_id]
    pairs = merges.pairs_of(work.session, members) - {(held.subject_id, held.other_id)}
    apart = components(members, pairs)
    rows, result = _compared(work, before, apart)
    if dry_run:
        return Done(changed=True, merge=number, people=apart, result=result)
    merges.undo(work.session, number, reason, work.now)
    _rewrite(work, before, apart, rows)
    entries = _record(work, EntryKind.SUBJECTS_UNMERGED, number, reason, apart, result)
    return Done(changed=True, merge=number, people=apart, result=result, entries=entries)


# -- who is meant ------------------------------------------------------------------------------------------------


def _named(work: Work, refs: Sequence[SubjectRef]) -> list[SubjectId]:
    resolver = Resolver(work, refs)
    found: list[SubjectId] = []
    unknown: list[int] = []
    for place, ref in enumerate(refs):
        who = resolver.resolve(ref)
        if not isinstance(who, FieldProblem):
            found.append(who)
        elif who is UNKNOWN:
            _refuse_erased(work, resolver, ref)
            unknown.append(place)
        else:
            raise InputError(fields=(FieldProblem(_PLACE.format(place), who.code, who.message),))
    _refuse_unknown(unknown)
    if len(set(found)) == 1:
        raise InputError(fields=(FieldProblem("$.subjects", "same_subject", "both name the same subject"),))
    return found


def _refuse_erased(work: Work, resolver: Resolver, ref: SubjectRef) -> None:
    if lasting_names.erased(work, resolver.forms(ref)):
        raise ErasedError


def _refuse_unknown(places: Iterable[int]) -> None:
    problems = tuple(FieldProblem(_PLACE.format(n), UNKNOWN.code, UNKNOWN.message) for n in places)
    if problems:
        raise NotFoundError("nobody with this identifier or pseudonym is known", fields=problems)


def _require_merge(work: Work, number: int) -> Merge:
    held = merges.get(work.session, number)
    if held is None:
        raise NotFoundError
    return held


# -- what changes ------------------------------------------------------------------------------------------------


def _compared(work: Work, before: Clusters, after: Clusters) -> tuple[dict[SubjectId, Values], Json]:
    """Return the rows as they will be, and every standing and choice before and after."""
    # Locked in the order of their ids: whoever else writes these rows holds one of the subjects, or waits here.
    held = audience_rows.rows(work.session, sorted(before))
    rows = whole_rows(work, after)
    old, new = [held[i] for i in sorted(before)], [rows[i] for i in sorted(after)]
    return rows, {"standings": _standings(work, old, new), "choices": _choices(old, new)}


def _standings(work: Work, before: Sequence[Values], after: Sequence[Values]) -> list[Json]:
    found = []
    for (purpose, channel), slot in sorted(work.registers.slots.items()):
        for recipient, side in _sides(work.registers):
            old, new = ([_state(row, slot, side, work.now) for row in rows] for rows in (before, after))
            if recipient is None or any(state != "none" for state in (*old, *new)):
                said = {"purpose": purpose, "channel": channel.value, "recipient": recipient}
                found.append(said | {"before": old, "after": new, "reason": why(old, new)})
    return found


def _sides(registers: Registers) -> list[tuple[str | None, Side]]:
    """Return ourselves and every third party that consent can name."""
    named = sorted((r.id, Side(r.scope_bit)) for r in registers.recipients.values() if r.scope_bit is not None)
    return [(None, OWN_SIDE), *named]


def _state(row: Values, slot: int, side: Side, now: int) -> str:
    held = Slot(row[f"c{slot}"], row[f"r{slot}"], row[f"p{slot}"])
    if side is not OWN_SIDE and not held.scope & (side.yes | side.no):
        return "none"
    return read(held, side, now)[0].value


def _choices(before: Sequence[Values], after: Sequence[Values]) -> list[Json]:
    found = []
    for choice, flag in CHOICE_FLAG.items():
        old, new = ([bool(row["flags"] & flag) for row in rows] for rows in (before, after))
        if any((*old, *new)):
            found.append({"choice": choice.value, "before": old, "after": new})
    return found


# -- writing -----------------------------------------------------------------------------------------------------


def _rewrite(work: Work, before: Clusters, after: Clusters, rows: Mapping[SubjectId, Values]) -> None:
    """Write the links and the rows of the people who come of it; whoever is a head no more has no row."""
    merges.relink(work.session, after)
    subjects.drop_rows(work.session, sorted(before.keys() | after.keys()))
    audience_rows.insert_rows(work.session, [rows[head] for head in sorted(after)])


def _record(work: Work, kind: EntryKind, number: int, reason: str, people: Clusters, result: Json) -> tuple[bytes, ...]:
    """Record it once for each subject, so that the history of each is complete; who they are is a commitment."""
    members = sorted(i for found in people.values() for i in found)
    deks = work.gateway.vault.keys(work.session, members)
    fields = {"merge": number, "reason": reason, "rules": RULES, "subjects": len(members), "people": len(people)}
    digest = hashlib.sha256(canonical_json(result)).hexdigest()
    return tuple(
        work.record_about(
            kind,
            fields,
            i,
            derive_audit_key(deks[i]),
            canonical_json({"merge": number, "result_sha256": digest}),
        )
        for i in members
    )
