"""Taking in customers: cleaned, joined to one person by their identifiers, sealed, and given an audience row.

The join is deterministic: an identifier belongs to at most one person (its keyed hash is UNIQUE). A row whose
identifiers belong to nobody makes a new person; to one person, it joins them; to two, it is refused, for only a human
can say which is right. An identifier of an erased person is refused by its tombstone (promise P8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, events, merges, retention, subjects
from consent_gateway.db import strangers as stranger_rows
from consent_gateway.db.subjects import SealedGroup, Token
from consent_gateway.domain.circumstances import Told
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.services.identity import circumstances, lasting_names
from consent_gateway.services.identity.audience_rows import refresh_flags, refresh_merged, refresh_standings
from consent_gateway.services.identity.circumstances import refresh_circumstances
from consent_gateway.services.identity.people import BEFORE_ERASURE, NOBODY, PSEUDONYM, UNKNOWN, Resolver, find_points
from consent_gateway.services.ledger.opt_outs import apply_waiting
from consent_gateway.services.persons.arrivals import add_identifiers, create
from consent_gateway.services.rows import strangers
from consent_gateway.services.rows.cleaning import Clean, clean_all
from consent_gateway.services.rows.drafts import (
    POSTAL_ADDRESS,
    Draft,
    Facts,
    contact_points,
    put_together,
    trait_columns,
)
from consent_gateway.services.rows.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SubjectItem, SubjectRef
from consent_gateway.services.work.vault import CONTACT, PROFILE, open_group, seal_group
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.normal_forms import Normalised

_DAY = 86_400
CONFLICT = FieldProblem(
    "$",
    "identity_conflict",
    "the identifiers belong to different people; if they are one person, say so by POST /v1/subjects/merge"
    " and send the row again",
)


@dataclass(frozen=True, slots=True)
class Known:
    """Who holds the identifiers of a batch, and who of them is served as another because of a merge."""

    holders: Mapping[Token, SubjectId]
    heads: Mapping[SubjectId, SubjectId]


def import_subjects(work: Work, source: str, rows: Sequence[Incoming[SubjectItem]], content_sha256: str) -> Intake:
    """Take in a batch of customer rows; every row is created, joined, known already, or quarantined."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals = Refusals()
    cleaned = clean_all(work, refusals, refusals.readable(rows))
    stranger_rows.hold_strangers(work.session, arriving=True)
    # Locked before the tombstones are read: an erasure that is under way ends first, and its tombstones are seen.
    stored = _lock_known(work, cleaned)
    cleaned = _without_erased(work, refusals, cleaned)
    drafts = _join(refusals, cleaned, Known(stored, merges.heads(work.session, set(stored.values()))))
    intake = Intake("subjects", source_id, len(rows))
    new = [d for d in drafts if d.subject_id is None]
    known = [d for d in drafts if d.subject_id is not None]
    create(work, new)
    for draft in new:
        intake.created += 1
        intake.joined += len(draft.rows) - 1
        intake.accepted += len(draft.rows)
    unchanged = _update(work, intake, known)
    _record_circumstances(work, intake, source_id, drafts, unchanged)
    retention.supplied(work.session, source_id, {d.subject_id for d in drafts if d.subject_id is not None}, work.now)
    apply_waiting(work, {f: d.subject_id for d in drafts if d.subject_id is not None for f in d.identifiers.values()})
    intake.rejections = refusals.quarantine(work, "subjects", source_id)
    intake.entries = [work.record(EntryKind.SUBJECT_IMPORTED, {"source": source_id, **intake.counts()})]
    keep_counts(work, intake, content_sha256)
    return intake


def lookup(work: Work, ref: SubjectRef, recipient: str | None) -> str | None:
    """Return the pseudonym under which `recipient` (the caller's own by default) knows a person: that of the head.

    None for nobody, which counts against the caller's quota; either way the question is recorded. InputError for an
    identifier that cannot be one, such as a phone without a country; QuotaError.
    """
    strangers.require_room(work, [ref])
    resolver = Resolver(work, [ref])
    found = resolver.resolve(ref)
    if isinstance(found, FieldProblem) and found is not UNKNOWN:
        raise InputError(fields=(FieldProblem(f"$.identifier.{ref.kind}", found.code, found.message),))
    found = NOBODY if isinstance(found, FieldProblem) else found
    target = RecipientId(recipient) if recipient else work.actor.recipient
    asked = {"kind": ref.kind, "recipient": target}
    live = subjects.lock_all(work.session, [found])  # nothing is recorded about somebody who is gone
    keys = work.gateway.vault.keys(work.session, [found])
    if found not in live or found not in keys:
        if ref.kind != PSEUDONYM:
            strangers.count(work, work.actor, resolver, [ref])
        work.record(EntryKind.PSEUDONYM_READ, asked | {"found": False})
        return None
    payload, key = NO_DETAILS, derive_audit_key(keys[found])
    work.record_about(EntryKind.PSEUDONYM_READ, asked | {"found": True}, found, key, payload)
    found = merges.heads(work.session, [found]).get(found, found)
    return work.gateway.vault.pseudonym(found, target, work.registers)


def _without_erased(work: Work, refusals: Refusals, rows: list[Clean]) -> list[Clean]:
    """Refuse rows about somebody who was erased, and rows that say that they are older than the erasure."""
    forms = [form for row in rows for form in row.identifiers.values()]
    gone, back = lasting_names.erased(work, forms), lasting_names.returned(work, forms)
    if not gone and not back:
        return rows
    kept = []
    for row in rows:
        if not gone.isdisjoint(row.identifiers.values()):
            refusals.refuse(row.row, FieldProblem("$", "erased", "this person was erased and stays erased"))
        elif _is_stale(row, back):
            refusals.refuse(row.row, FieldProblem("$.collection.on", BEFORE_ERASURE.code, BEFORE_ERASURE.message))
        else:
            kept.append(row)
    return kept


def _is_stale(row: Clean, back: Mapping[Normalised, int]) -> bool:
    """Tell whether a row says that it was collected before the day on which one of its identifiers was erased."""
    day = None if row.told is None else row.told.collected_day
    erased = [back[form] // _DAY for form in row.identifiers.values() if form in back]
    return day is not None and day < max(erased, default=day)


# -- joining -----------------------------------------------------------------------------------------------------


def _lock_known(work: Work, rows: list[Clean]) -> dict[Token, SubjectId]:
    found = find_points(work, {token: form for row in rows for token, form in row.identifiers.items()})
    live = subjects.lock_all(work.session, {p.subject_id for p in found.values()})
    return {token: p.subject_id for token, p in found.items() if p.subject_id in live}


def _join(refusals: Refusals, rows: list[Clean], known: Known) -> list[Draft]:
    """Give every row its person: a stored one, one that an earlier row of the batch began, or a new one.

    What a row says about somebody who was merged goes to the subject whose identifiers it names, the first of several.
    """
    drafts: list[Draft] = []
    by_subject: dict[SubjectId, Draft] = {}
    by_token: dict[Token, Draft] = {}
    for row in rows:
        if by_token.keys().isdisjoint(row.identifiers) and known.holders.keys().isdisjoint(row.identifiers):
            begun = Draft(None, [row], dict(row.identifiers))  # the short way for most: nobody had any of them
            drafts.append(begun)
            by_token.update(dict.fromkeys(row.identifiers, begun))
            continue
        meant = {id(d): d for t in row.identifiers if (d := by_token.get(t)) is not None}
        for subject_id in {known.holders[t] for t in row.identifiers if t in known.holders}:
            draft = by_subject.setdefault(subject_id, Draft(subject_id))
            meant[id(draft)] = draft
        found = _one_person(list(meant.values()), known.heads)
        if found is None:
            refusals.refuse(row.row, CONFLICT)
            continue
        if not found.rows:
            drafts.append(found)
        found.rows.append(row)
        fresh = {t: f for t, f in row.identifiers.items() if t not in known.holders and by_token.get(t, found) is found}
        found.identifiers |= fresh
        by_token.update(dict.fromkeys(fresh, found))
    return drafts


def _one_person(meant: list[Draft], heads: Mapping[SubjectId, SubjectId]) -> Draft | None:
    """Return the draft that a row belongs to, None if it means several people."""
    if len(meant) < 2:  # noqa: PLR2004 - one, or nobody yet
        return meant[0] if meant else Draft(None)
    people = {None if d.subject_id is None else heads.get(d.subject_id, d.subject_id) for d in meant}
    if len(people) > 1 or None in people:
        return None
    return min(meant, key=lambda d: d.subject_id or 0)


# -- writing -----------------------------------------------------------------------------------------------------


def _record_circumstances(
    work: Work, intake: Intake, source: str, drafts: list[Draft], unchanged: Mapping[SubjectId, Draft]
) -> None:
    """Keep what the rows tell about the contact points in them; a row that tells only that is an update too."""
    told: dict[SubjectId, list[tuple[Told, Collection[Token]]]] = {}
    for draft in drafts:
        for row in draft.rows:
            if row.told is not None and draft.subject_id is not None:
                told.setdefault(draft.subject_id, []).append((row.told, row.identifiers))
    changed = circumstances.record(work, source, told)
    for draft in (unchanged[i] for i in changed if i in unchanged):
        intake.duplicates -= len(draft.rows)
        intake.updated += 1
        intake.joined += len(draft.rows)
        intake.accepted += len(draft.rows)


def _update(work: Work, intake: Intake, drafts: list[Draft]) -> dict[SubjectId, Draft]:
    """Change known people; returns those about whom the rows told nothing new."""
    ids = [d.subject_id for d in drafts if d.subject_id is not None]
    unchanged: dict[SubjectId, Draft] = {}
    if not ids:
        return unchanged
    known = subjects.profiles(work.session, ids)
    deks = work.gateway.vault.keys(work.session, ids)
    contact = subjects.sealed(work.session, ids, CONTACT)
    profile = subjects.sealed(work.session, ids, PROFILE)
    points = subjects.contact_points(work.session, ids, work.registers.index.counts.number)
    blocked = lasting_names.suppressed(work, [form for draft in drafts for form in draft.identifiers.values()])
    declared = events.declared_traits(work.session, ids)
    merged = merges.clustered(work.session, ids)
    changes: dict[SubjectId, dict[str, Any]] = {}
    groups: list[SealedGroup] = []
    joined: list[SubjectId] = []
    for draft, subject_id in zip(drafts, ids, strict=True):
        held = {Token(p.kind, p.token) for p in points.get(subject_id, [])}
        added = {t: f for t, f in draft.identifiers.items() if t not in held}
        fact = put_together(draft, *known[subject_id])
        fresh = {k: v for k, v in fact.traits.items() if declared.get(subject_id, {}).get(k) != v}
        sealed_changes = _reseal(deks[subject_id], contact[subject_id], profile.get(subject_id), added, fact)
        moved = (fact.regions, fact.birth_month) != known[subject_id]
        if not (added or fresh or sealed_changes or moved):
            intake.duplicates += len(draft.rows)
            unchanged[subject_id] = draft
            continue
        groups += sealed_changes
        joined += [subject_id] if added else []
        add_identifiers(work, {subject_id: added}, blocked)
        events.put_traits(work.session, _trait_rows(subject_id, fresh))
        subjects.update_profile(work.session, subject_id, fact.regions, fact.birth_month)
        changes[subject_id] = {
            "regions": fact.regions,
            "birth_month": fact.birth_month,
            **trait_columns(work.registers, fresh),
        }
        intake.updated += 1
        intake.joined += len(draft.rows)
        intake.accepted += len(draft.rows)
    for group in groups:
        subjects.put_sealed(work.session, [group])
    audience_rows.update_rows(work.session, {i: values for i, values in changes.items() if i not in merged})
    refresh_merged(work, sorted(merged & set(changes)))
    refresh_flags(work, list(changes))
    # A further address can be open where the person's others are closed: the standings are folded again.
    refresh_standings(work, joined, work.registers.purposes.purposes)
    refresh_circumstances(work, sorted(joined))
    return unchanged


def _reseal(
    dek: bytes, contact: SealedGroup, profile: SealedGroup | None, added: Mapping[Token, Normalised], fact: Facts
) -> list[SealedGroup]:
    """Return the sealed groups that change, one row version on."""
    changed = []
    content = open_group(dek, contact) if added or fact.address else {}
    if added or content.get(POSTAL_ADDRESS) != fact.address:
        content["points"] += contact_points(added)
        content |= {POSTAL_ADDRESS: fact.address} if fact.address else {}
        changed.append(seal_group(dek, contact.subject_id, CONTACT, contact.row_version + 1, content))
    held = open_group(dek, profile) if profile else {}
    if held | fact.profile != held:
        version = profile.row_version + 1 if profile else 1
        changed.append(seal_group(dek, contact.subject_id, PROFILE, version, held | fact.profile))
    return changed


def _trait_rows(subject_id: SubjectId, traits: Mapping[str, int | str]) -> list[dict[str, Any]]:
    return [
        {
            "subject_id": subject_id,
            "trait": name,
            "number": value if isinstance(value, int) else None,
            "text": value if isinstance(value, str) else None,
        }
        for name, value in traits.items()
    ]
