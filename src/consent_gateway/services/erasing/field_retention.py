"""Delete fields of people that no purpose needs any more, while the people stay.

What a field is held for is registered (`services.registry.fields`), and so are the periods of purposes. Of each purpose
of a field the period is the purpose's own, or that of the field where it is shorter; it runs from the last of

- when the field was supplied: a sensitive value knows that itself; of one of our own fields it is when a source that
  collects for one of its purposes told about the person last;
- what the ledger says of the purpose: a yes without an end keeps the field, a no keeps it for a period from then on.

So what was held for a consent goes a period after its withdrawal. A purpose without a period keeps the field, and is
shown as a gap; a field that is not registered stays with its person. Nobody who is held loses anything.

A person of whom a field went gets a new data key, so that older backups of their group open no more once the epoch is
destroyed, as with an erasure. The month of birth outside the vault stays: the law asks for the age.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import merges, subjects
from consent_gateway.db import retention as rows
from consent_gateway.db.retention import Fact
from consent_gateway.db.subjects import SealedGroup
from consent_gateway.domain.consents import ENDS, NO
from consent_gateway.domain.fields import CONTACT_FIELDS, FieldDefinition
from consent_gateway.domain.ids import PurposeId, SourceId, SubjectId
from consent_gateway.domain.purposes import PurposeTree, Source
from consent_gateway.domain.registers import Registers
from consent_gateway.domain.retention import Periods, field_periods
from consent_gateway.services.disclosing.sensitive import collected, held_in
from consent_gateway.services.erasing.retained import Outcome, held, is_needed
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.vault import CONTACT, PROFILE, SENSITIVE, open_group, seal_group
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.failures import VaultError

_PAGE = 500
GroupName = str
Over = dict[SubjectId, dict[GroupName, set[str]]]
"""What goes: by subject and sealed group, the names of the fields."""


@dataclass(frozen=True, slots=True)
class FieldCut:
    """A registered field and up to which instant (seconds) it is over for each purpose; one without a period keeps."""

    field: FieldDefinition
    purposes: Mapping[PurposeId, int]

    @property
    def group(self) -> GroupName:
        """Return the sealed group that the field lies in."""
        if self.field.category is not None:
            return SENSITIVE
        return CONTACT if self.field.id in CONTACT_FIELDS else PROFILE


@dataclass(frozen=True, slots=True)
class _Member:
    """One subject of a person: its key, what each source said last, its groups, and what the person said in all."""

    subject_id: SubjectId
    dek: bytes
    told: Mapping[str, int]
    came_at: int
    facts: Sequence[Fact]


def field_cuts(registers: Registers, periods: Periods, now: int) -> list[FieldCut]:
    """Return every registered field with what is over of it at `now`."""
    found = []
    for field in registers.fields.values():
        by_purpose = field_periods(field, periods, now)
        found.append(FieldCut(field, {purpose: period.cutoff(now) for purpose, period in by_purpose.items()}))
    return found


def sweep_fields(gateway: Gateway, outcome: Outcome, cuts: Sequence[FieldCut]) -> Iterator[None]:
    """Delete what is over of everyone, or only count it; page by page."""
    after = 0
    while True:
        with gateway.look() as work:
            ids = subjects.ids_after(work.session, after, _PAGE)
            over = _fields_over(work, outcome, ids, cuts)
        if not ids:
            return
        after = ids[-1]
        for head in over:
            _drop_fields(gateway, outcome, head, cuts)
        yield


def fields_over(work: Work, ids: Sequence[SubjectId], cuts: Sequence[FieldCut]) -> Iterator[tuple[SubjectId, Over]]:
    """Yield each head among `ids` of a person of whom some field is over, with all that is."""
    people = {head: found for head, found in merges.clusters(work.session, ids).items() if head in set(ids)}
    members = _members(work, people)
    groups = {name: subjects.sealed(work.session, sorted(members), name) for name in sorted({c.group for c in cuts})}
    for head, subjects_of in people.items():
        over: Over = {}
        for i in (i for i in subjects_of if i in members):
            found = {name: _over_in(work, members[i], of[i], cuts) for name, of in groups.items() if i in of}
            if goes := {name: fields for name, fields in found.items() if fields}:
                over[i] = goes
        if over:
            yield head, over


def drop_fields(work: Work, head: SubjectId, over: Over) -> None:
    """Delete fields of one person, with an entry for each subject, and give the person a new key.

    The caller holds the registers and the person.
    """
    deks = work.gateway.vault.keys(work.session, sorted(over))
    for subject_id, by_group in over.items():
        for name, fields in by_group.items():
            _drop(work, deks[subject_id], subjects.sealed(work.session, [subject_id], name)[subject_id], fields)
        names = sorted(_names({subject_id: by_group}))
        payload = NO_DETAILS
        key = derive_audit_key(deks[subject_id])
        work.record_about(EntryKind.FIELDS_DELETED, {"fields": names, "reason": "retention"}, subject_id, key, payload)
    dek_rotation.rotate(work, head, "fields_deleted")


# -- the parts -----------------------------------------------------------------------------------------------------


def _fields_over(
    work: Work, outcome: Outcome, ids: Sequence[SubjectId], cuts: Sequence[FieldCut]
) -> dict[SubjectId, Over]:
    """Return what is over of people; whose groups do not open is counted, and looked at one by one."""
    try:
        return dict(fields_over(work, ids, cuts))
    except VaultError:
        if len(ids) == 1:
            outcome.counts["failed"] += 1
            return {}
    return {head: over for i in ids for head, over in _fields_over(work, outcome, [i], cuts).items()}


def _drop_fields(gateway: Gateway, outcome: Outcome, head: SubjectId, cuts: Sequence[FieldCut]) -> None:
    """Delete what is over of one person, looked at again under their lock: something may have come in since."""
    with gateway.work() as work:
        work.hold_registers()
        is_held = head in held(work, [head])
        over = _fields_over(work, outcome, [head], cuts).get(head, {})
        names = _names(over)
        if is_held:
            outcome.counts["held"] += len(names)
            return
        if over and not outcome.dry_run:
            drop_fields(work, head, over)
    outcome.counts["fields"] += len(names)
    outcome.fields.update(names)


def _members(work: Work, people: Mapping[SubjectId, Sequence[SubjectId]]) -> dict[SubjectId, _Member]:
    ids = sorted({i for found in people.values() for i in found})
    deks = work.gateway.vault.keys(work.session, ids)
    told, came = rows.sources_of(work.session, ids), rows.came_at(work.session, ids)
    facts = rows.facts_of(work.session, ids)
    found: dict[SubjectId, _Member] = {}
    for of in people.values():
        said = [fact for i in of for fact in facts.get(i, ())]
        found |= {i: _Member(i, deks[i], told.get(i, {}), came[i], said) for i in of if i in deks and i in came}
    return found


def _over_in(work: Work, member: _Member, group: SealedGroup, cuts: Sequence[FieldCut]) -> set[str]:
    """Return the fields of one group that are over; VaultError if it does not open."""
    content = open_group(member.dek, group)
    supplied = {name: at for name, (_, at) in held_in(content).items()} if group.name == SENSITIVE else {}
    return {
        cut.field.id
        for cut in cuts
        if cut.group == group.name
        and cut.field.id in content
        and not _is_kept(
            work.registers.purposes, cut, member.facts, supplied.get(cut.field.id, _told(work, member, cut))
        )
    }


def _told(work: Work, member: _Member, cut: FieldCut) -> int:
    """Return when a source that collects for a purpose of the field told about the subject last."""
    if not member.told:
        return member.came_at
    registers = work.registers
    told = ((registers.sources.get(SourceId(source)), at) for source, at in member.told.items())
    return max((at for s, at in told if s is not None and _collects(registers, s, cut.field)), default=-1)


def _collects(registers: Registers, source: Source, field: FieldDefinition) -> bool:
    """Tell whether a source collects for a purpose of a field; one that says no purposes may for any."""
    return not source.purposes or bool(collected(registers, source, field))


def _is_kept(tree: PurposeTree, cut: FieldCut, facts: Sequence[Fact], supplied: int) -> bool:
    for purpose in cut.field.purposes:
        over = cut.purposes.get(purpose)
        if over is None or supplied > over:
            return True
        if any(is_needed(said, over) for said in _said_of(tree, purpose, facts)):
            return True
    return False


def _said_of(tree: PurposeTree, purpose: PurposeId, facts: Iterable[Fact]) -> Iterator[list[Fact]]:
    """Yield what was said of a purpose and of each narrower one; an end of a wider one is one of these too."""
    said = list(facts)
    for narrow in tree.descendants(purpose):
        wider = set(tree.ancestors(narrow)) - {narrow}
        yield [f for f in said if f.purpose == narrow or (f.purpose in wider and f.kind in NO | ENDS)]


def _names(over: Over) -> list[str]:
    return [name for by_group in over.values() for fields in by_group.values() for name in fields]


def _drop(work: Work, dek: bytes, group: SealedGroup, fields: Iterable[str]) -> None:
    content: dict[str, Any] = open_group(dek, group)
    for field in fields:
        content.pop(field, None)
    if content:
        sealed = seal_group(dek, group.subject_id, group.name, group.row_version + 1, content)
        subjects.put_sealed(work.session, [sealed])
    else:
        subjects.drop_sealed(work.session, [group.subject_id], group.name)
