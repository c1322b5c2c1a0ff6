"""Taking in customers: cleaned, joined to one person by their identifiers, sealed, and given an audience row.

The join is deterministic: an identifier belongs to at most one person (its keyed hash is UNIQUE). A row whose
identifiers belong to nobody makes a new person; to one person, it joins them; to two, it is refused, for only a human
can say which is right. An identifier of an erased person is refused by its tombstone (promise P8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consent_gateway.audit.canonical import canonical_json
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, events, merges, retention, subjects
from consent_gateway.db.subjects import SealedGroup, Token
from consent_gateway.domain.ids import RecipientId, SubjectId, TraitId
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.subjects import (
    join_regions,
    split_regions,
)
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.services import circumstances, lasting_names, strangers
from consent_gateway.services.audience_rows import contact_flags, refresh_flags, refresh_merged, refresh_standings
from consent_gateway.services.circumstances import refresh_circumstances
from consent_gateway.services.cleaning import Clean, clean
from consent_gateway.services.gateway import Work
from consent_gateway.services.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.items import SubjectItem, SubjectRef
from consent_gateway.services.opt_outs import apply_waiting
from consent_gateway.services.people import NOBODY, PSEUDONYM, UNKNOWN, Resolver, find_points
from consent_gateway.services.vault import CONTACT, PROFILE, open_group, seal_group
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.normal_forms import Normalised

CONFLICT = FieldProblem(
    "$",
    "identity_conflict",
    "the identifiers belong to different people; if they are one person, say so by POST /v1/subjects/merge"
    " and send the row again",
)


@dataclass(slots=True)
class Draft:
    """One person as a batch changes them: who they are so far, and everything the rows add."""

    subject_id: SubjectId | None
    rows: list[Clean] = field(default_factory=list)
    identifiers: dict[Token, Normalised] = field(default_factory=dict)


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
    cleaned = [c for row, item in refusals.readable(rows) if (c := clean(work, refusals, row, item)) is not None]
    subjects.hold_strangers(work.session, arriving=True)
    # Locked before the tombstones are read: an erasure that is under way ends first, and its tombstones are seen.
    stored = _lock_known(work, cleaned)
    cleaned = _without_erased(work, refusals, cleaned)
    drafts = _join(refusals, cleaned, Known(stored, merges.heads(work.session, set(stored.values()))))
    intake = Intake("subjects", source_id, len(rows))
    new = [d for d in drafts if d.subject_id is None]
    known = [d for d in drafts if d.subject_id is not None]
    _create(work, intake, new)
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
    payload, key = canonical_json({"subject_id": found}), derive_audit_key(keys[found])
    work.record_about(EntryKind.PSEUDONYM_READ, asked | {"found": True}, found, key, payload)
    found = merges.heads(work.session, [found]).get(found, found)
    return work.gateway.vault.pseudonym(found, target, work.registers)


def _without_erased(work: Work, refusals: Refusals, rows: list[Clean]) -> list[Clean]:
    gone = lasting_names.erased(work, [form for row in rows for form in row.identifiers.values()])
    kept = []
    for row in rows:
        if gone.isdisjoint(row.identifiers.values()):
            kept.append(row)
        else:
            refusals.refuse(row.row, FieldProblem("$", "erased", "this person was erased and stays erased"))
    return kept


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


def _create(work: Work, intake: Intake, drafts: list[Draft]) -> None:
    facts = [_facts(draft) for draft in drafts]
    ids = subjects.create(
        work.session, [{"created_at": work.now, "regions": f.regions, "birth_month": f.birth_month} for f in facts]
    )
    keys, groups, rows, traits = [], [], [], []
    blocked = lasting_names.suppressed(work, [form for draft in drafts for form in draft.identifiers.values()])
    for draft, fact, subject_id in zip(drafts, facts, ids, strict=True):
        flag = contact_flags((form.kind, form in blocked) for form in draft.identifiers.values())
        draft.subject_id = subject_id
        dek, wrapped = work.gateway.vault.new_key(subject_id)
        keys.append({"subject_id": subject_id, "wrapped_dek": wrapped})
        groups.append(seal_group(dek, subject_id, CONTACT, 1, {"points": _points(draft.identifiers)}))
        if fact.profile:
            groups.append(seal_group(dek, subject_id, PROFILE, 1, fact.profile))
        traits += _trait_rows(subject_id, fact.traits)
        values = {"regions": fact.regions, "birth_month": fact.birth_month, "flags": int(flag)}
        rows.append(audience_rows.blank(subject_id) | values | _trait_columns(work.registers, fact.traits))
        intake.created += 1
        intake.joined += len(draft.rows) - 1
        intake.accepted += len(draft.rows)
    subjects.add_keys(work.session, keys)
    _add_identifiers(work, {d.subject_id: d.identifiers for d in drafts if d.subject_id is not None}, blocked)
    subjects.put_sealed(work.session, groups)
    events.put_traits(work.session, traits)
    audience_rows.insert_rows(work.session, rows)


@dataclass(frozen=True, slots=True)
class Facts:
    """What rows say about one person, put together."""

    regions: str
    birth_month: int | None
    profile: dict[str, str]
    traits: dict[str, int | str]


def _facts(draft: Draft, regions: str = "", born: int | None = None) -> Facts:
    """Put the rows together: every claimed region counts, and of two birth dates the later (LAW part 2)."""
    claimed = [r for r in split_regions(regions) if r] + [row.region for row in draft.rows]
    births = [b for b in (born, *(row.birth_month for row in draft.rows)) if b is not None]
    profile: dict[str, str] = {}
    traits: dict[str, int | str] = {}
    for row in draft.rows:
        profile |= row.profile
        traits |= row.traits
    return Facts(join_regions(claimed), max(births, default=None), profile, traits)


def _record_circumstances(
    work: Work, intake: Intake, source: str, drafts: list[Draft], unchanged: Mapping[SubjectId, Draft]
) -> None:
    """Keep what the rows tell about the contact points in them; a row that tells only that is an update too."""
    told = {
        d.subject_id: [
            (row.told, [(t.kind, t.value) for t in row.identifiers]) for row in d.rows if row.told is not None
        ]
        for d in drafts
        if d.subject_id is not None
    }
    changed = circumstances.record(work, source, {i: said for i, said in told.items() if said})
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
        fact = _facts(draft, *known[subject_id])
        fresh = {k: v for k, v in fact.traits.items() if declared.get(subject_id, {}).get(k) != v}
        sealed_changes = _reseal(deks[subject_id], contact[subject_id], profile.get(subject_id), added, fact)
        moved = (fact.regions, fact.birth_month) != known[subject_id]
        if not (added or fresh or sealed_changes or moved):
            intake.duplicates += len(draft.rows)
            unchanged[subject_id] = draft
            continue
        groups += sealed_changes
        joined += [subject_id] if added else []
        _add_identifiers(work, {subject_id: added}, blocked)
        events.put_traits(work.session, _trait_rows(subject_id, fresh))
        subjects.update_profile(work.session, subject_id, fact.regions, fact.birth_month)
        changes[subject_id] = {
            "regions": fact.regions,
            "birth_month": fact.birth_month,
            **_trait_columns(work.registers, fresh),
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
    if added:
        content = open_group(dek, contact)
        content["points"] += _points(added)
        changed.append(seal_group(dek, contact.subject_id, CONTACT, contact.row_version + 1, content))
    held = open_group(dek, profile) if profile else {}
    if held | fact.profile != held:
        version = profile.row_version + 1 if profile else 1
        changed.append(seal_group(dek, contact.subject_id, PROFILE, version, held | fact.profile))
    return changed


def _add_identifiers(
    work: Work, found: Mapping[SubjectId, Mapping[Token, Normalised]], blocked: Collection[Normalised]
) -> None:
    """Write the identifiers under the generation that counts, and under one that is moving if its key is here.

    Where it is not, the job of the move adds the rows: it does not end while any is missing.
    """
    index, vault = work.registers.index, work.gateway.vault
    held = [(i, token, form) for i, tokens in found.items() for token, form in tokens.items()]
    rows = [
        {
            "subject_id": i,
            "kind": t.kind,
            "generation": index.counts.number,
            "token": t.value,
            "suppressed": f in blocked,
        }
        for i, t, f in held
    ]
    moving = index.moving
    if moving is None or not vault.holds(moving):
        subjects.add_identifiers(work.session, rows)
        return
    points = subjects.add_points(work.session, rows)
    added = [
        row | {"generation": moving.number, "token": vault.token(form, moving).value, "point": point}
        for row, (_, _, form), point in zip(rows, held, points, strict=True)
    ]
    subjects.add_identifiers(work.session, added)


def _points(identifiers: Mapping[Token, Normalised]) -> list[list[str]]:
    return [[form.kind, form.value] for form in identifiers.values()]


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


def _trait_columns(registers: Registers, traits: Mapping[str, int | str]) -> dict[str, int | str]:
    return {registers.traits[TraitId(name)].slot: value for name, value in traits.items()}
