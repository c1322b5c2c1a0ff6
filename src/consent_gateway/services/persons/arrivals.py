"""New people: a data key for each, their fields sealed under it, their identifiers as keyed hashes, and their row.

The rows are made a person at a time and written a table at a time. Everything is in the transaction of the intake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from consent_gateway.db import arrivals, subjects
from consent_gateway.db.subjects import Token
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.identity import lasting_names
from consent_gateway.services.identity.audience_rows import contact_bits
from consent_gateway.services.rows.drafts import Draft, Facts, contact_content, put_together, trait_columns
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.vault import CONTACT, PROFILE
from consent_gateway.vault.normal_forms import Normalised


def create(work: Work, drafts: Sequence[Draft]) -> None:
    """Make a person of each draft; the drafts know afterwards who they are."""
    facts = [put_together(draft) for draft in drafts]
    ids = arrivals.create(work.session, work.now, [(f.regions, f.birth_month) for f in facts])
    for draft, subject_id in zip(drafts, ids, strict=True):
        draft.subject_id = subject_id
    blocked = lasting_names.suppressed(work, [form for draft in drafts for form in draft.identifiers.values()])
    _seal(work, ids, drafts, facts)
    add_identifiers(work, {i: draft.identifiers for i, draft in zip(ids, drafts, strict=True)}, blocked)
    traits = [(i, *_stored(trait)) for i, fact in zip(ids, facts, strict=True) for trait in fact.traits.items()]
    arrivals.add_traits(work.session, traits)
    arrivals.add_rows(work.session, [_row(work, *each, blocked) for each in zip(ids, drafts, facts, strict=True)])


def _seal(work: Work, ids: Sequence[SubjectId], drafts: Sequence[Draft], facts: Sequence[Facts]) -> None:
    people: dict[SubjectId, dict[str, dict[str, Any]]] = {}
    for subject_id, draft, fact in zip(ids, drafts, facts, strict=True):
        groups: dict[str, dict[str, Any]] = {CONTACT: contact_content(draft.identifiers, fact.address)}
        if fact.profile:
            groups[PROFILE] = fact.profile
        people[subject_id] = groups
    keys, sealed = work.gateway.vault.new_people(people, work.registers.least_epoch)
    arrivals.add_keys(work.session, keys)
    arrivals.add_sealed(work.session, sealed)


def _stored(trait: tuple[str, int | str]) -> tuple[str, int | None, str | None]:
    name, value = trait
    return (name, value, None) if isinstance(value, int) else (name, None, value)


def _row(
    work: Work, subject_id: SubjectId, draft: Draft, fact: Facts, blocked: Collection[Normalised]
) -> tuple[arrivals.Known, Mapping[str, int | str]]:
    flags = contact_bits((form.kind, form in blocked) for form in draft.identifiers.values())
    known = (subject_id, fact.regions, fact.birth_month, flags)
    return known, trait_columns(work.registers, fact.traits)


def add_identifiers(
    work: Work, found: Mapping[SubjectId, Mapping[Token, Normalised]], blocked: Collection[Normalised]
) -> None:
    """Write the identifiers under the generation that counts, and under one that is moving if its key is here.

    Where it is not, the job of the move adds the rows: it does not end while any is missing.
    """
    index, vault = work.registers.index, work.gateway.vault
    counts, moving = index.counts.number, index.moving
    held = [(i, t, f) for i, tokens in found.items() for t, f in tokens.items()]
    if moving is None or not vault.holds(moving):
        arrivals.add_identifiers(work.session, [(i, t.kind, counts, t.value, f in blocked) for i, t, f in held])
        return
    rows = [
        {"subject_id": i, "kind": t.kind, "generation": counts, "token": t.value, "suppressed": f in blocked}
        for i, t, f in held
    ]
    points = subjects.add_points(work.session, rows)
    added = [
        row | {"generation": moving.number, "token": vault.token(form, moving).value, "point": point}
        for row, (_, _, form), point in zip(rows, held, points, strict=True)
    ]
    subjects.add_identifiers(work.session, added)
