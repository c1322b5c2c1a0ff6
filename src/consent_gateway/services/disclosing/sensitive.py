"""Sensitive values: taken in for known people only, sealed in a group of their own, given out by `disclosing.reveals`.

A row is accepted if everything holds that the law asks before such data may be held (GDPR Art 9(1)-(2), 13-14;
PIPL Art 28-30; Civ. 1798.100(a), 1798.121):

- the field is declared, with its category and the purposes it is collected for (`services.registry.fields`);
- the source collects for one of these purposes, under a notice that was published;
- for one of these purposes the law permits now that data of this category be used by ourselves, for this person: the
  same engine that decides a reveal. So explicit consent, separate consent, or whatever else a pack asks has to be on
  record first. That somebody cannot be written to at this hour or this week is no reason.

Who takes a value back gets a new data key, so that their group in older backups opens no more once the epoch is gone.

Invariants: a value is in the ciphertext of the group `sensitive` and nowhere else; a refused row keeps no content. In
the group each value has the instant at which it was supplied last, so that retention can tell it from the others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consent_gateway.audit.commitments import NO_DETAILS
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import audience_rows, merges, subjects
from consent_gateway.domain.decisions import Answer, Stage, stage_of
from consent_gateway.domain.fields import FieldDefinition
from consent_gateway.domain.ids import PurposeId, SubjectId
from consent_gateway.domain.purposes import OWN, Channel, Source
from consent_gateway.domain.registers import Registers
from consent_gateway.errors import FieldProblem
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.identity.people import Resolver
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.rows.intake import Incoming, Intake, Refusals, keep_counts, require_size, require_source
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.items import SensitiveItem
from consent_gateway.services.work.vault import SENSITIVE, open_group, seal_group
from consent_gateway.vault.envelope import derive_audit_key

_MAX_TEXT = 500
_DAY = 86_400  # a value that is supplied again is written again once a day: retention counts in days
_OF_THE_MOMENT = frozenset({None, Stage.SUPPRESSION, Stage.CAP, Stage.QUIET_HOURS})  # None: permitted
NO_FIELD = FieldProblem("$.fields", "no_field", "a row needs at least one field")
UNDECLARED = FieldProblem("$.fields", "undeclared_field", "no such sensitive field is declared")
NO_NOTICE = FieldProblem("$.fields", "no_notice", "the source collects under no notice: tell people first")
NO_PURPOSE = FieldProblem("$.fields", "purpose_not_collected", "the source collects for no purpose of the field")
NO_GROUND = FieldProblem(
    "$.fields",
    "no_ground",
    "for no purpose of the field the law permits such data of this person: ask for consent first",
)
Held = dict[str, tuple[str, int]]
"""Sensitive values of one subject by field, each with the instant (seconds) at which it was supplied last."""


@dataclass(frozen=True, slots=True)
class _Row:
    row: Incoming[SensitiveItem]
    subject_id: SubjectId
    values: Mapping[str, str | None]


def record_sensitive(work: Work, source: str, rows: Sequence[Incoming[SensitiveItem]], content_sha256: str) -> Intake:
    """Take in sensitive values of known people; None takes a value back. A row with anything wrong is refused whole."""
    source_id = require_source(work, source)
    require_size(rows)
    refusals, intake = Refusals(), Intake("sensitive", source_id, len(rows))
    read = _resolve(work, refusals, work.registers.sources[source_id], rows)
    grounds = _Grounds(work, work.registers.sources[source_id], {r.subject_id for r in read})
    kept = []
    for row in read:
        if all(value is None or grounds.hold(name, row.subject_id) for name, value in row.values.items()):
            kept.append(row)
        else:
            refusals.refuse(row.row, NO_GROUND)
    _write(work, intake, kept)
    intake.rejections = refusals.quarantine(work, "sensitive", source_id, content=False)
    keep_counts(work, intake, content_sha256)
    return intake


def held_in(content: Mapping[str, Any]) -> Held:
    """Return what the content of a sensitive group holds."""
    return {name: (str(value), int(at)) for name, (value, at) in content.items()}


# -- what may come in ----------------------------------------------------------------------------------------------


def _resolve(work: Work, refusals: Refusals, source: Source, rows: Sequence[Incoming[SensitiveItem]]) -> list[_Row]:
    readable = refusals.readable(rows)
    resolver = Resolver(work, [item.subject for _, item in readable], writing=True)
    work.catch_up()
    found = []
    for row, item in readable:
        values, problems = _values(work.registers, source, item)
        who = resolver.resolve(item.subject)
        problems += [who] if isinstance(who, FieldProblem) else []
        if isinstance(who, FieldProblem) or problems:
            refusals.refuse(row, *problems)
        else:
            found.append(_Row(row, who, values))
    return found


def _values(
    registers: Registers, source: Source, item: SensitiveItem
) -> tuple[dict[str, str | None], list[FieldProblem]]:
    values: dict[str, str | None] = {}
    problems: list[FieldProblem] = [] if item.fields else [NO_FIELD]
    for name, text in item.fields.items():
        field = registers.fields.get(name)
        if field is None or field.category is None:
            problems.append(UNDECLARED)  # a name that nobody declared is not repeated: it can be anything
            continue
        values[name] = value = None if text is None else unicodedata.normalize("NFC", text).strip()
        if value is not None:
            problems += _about(value, name)
            problems += _from(registers, source, field)
    return values, list(dict.fromkeys(problems))


def _about(value: str, name: str) -> Iterator[FieldProblem]:
    if not 0 < len(value) <= _MAX_TEXT or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        message = f"a text of 1 to {_MAX_TEXT} characters, none of them a control"
        yield FieldProblem(f"$.fields.{name}", "invalid_value", message)


def _from(registers: Registers, source: Source, field: FieldDefinition) -> Iterator[FieldProblem]:
    if source.notice is None:
        yield NO_NOTICE
    if not collected(registers, source, field):
        yield NO_PURPOSE


def collected(registers: Registers, source: Source, field: FieldDefinition) -> set[PurposeId]:
    """Return the purposes of a field for which a source collects: those that it names, and narrower ones."""
    below = {p for named in source.purposes for p in registers.purposes.descendants(named)}
    return below & set(field.purposes)


class _Grounds:
    """Whether the law lets us hold a field of somebody: decided once for each use and person of a batch."""

    def __init__(self, work: Work, source: Source, ids: Collection[SubjectId]) -> None:
        self._work, self._source = work, source
        heads = merges.heads(work.session, ids)
        self._heads = {i: heads.get(i, i) for i in ids}
        self._found: dict[str, set[SubjectId]] = {}

    def hold(self, name: str, subject_id: SubjectId) -> bool:
        """Tell whether a declared field of a person may be held."""
        if name not in self._found:
            self._found[name] = self._people(self._work.registers.fields[name])
        return self._heads[subject_id] in self._found[name]

    def _people(self, field: FieldDefinition) -> set[SubjectId]:
        found: set[SubjectId] = set()
        for use in uses_of(self._work.registers, collected(self._work.registers, self._source, field), field):
            found |= {i for i, answer in self._answers(use) if stage_of(answer) in _OF_THE_MOMENT}
        return found

    def _answers(self, use: Use) -> Iterator[tuple[SubjectId, Answer]]:
        work = self._work
        asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
        people = audience_rows.read_people(work.session, asked.reading, sorted(set(self._heads.values())), work.now)
        for i, person in people.items():
            yield i, work.gateway.decider.answer(asked, person.key, work.now)


def uses_of(registers: Registers, purposes: Iterable[PurposeId], field: FieldDefinition) -> Iterator[Use]:
    """Yield our own uses of a sensitive field: each purpose over each channel that was registered for it, or none."""
    for purpose in sorted(purposes):
        channels = sorted(channel for p, channel in registers.slots if p == purpose)
        for channel in channels or [Channel.NONE]:
            yield Use(purpose, channel, OWN, sensitive=() if field.category is None else (field.category.value,))


# -- writing -------------------------------------------------------------------------------------------------------


def _write(work: Work, intake: Intake, rows: Sequence[_Row]) -> None:
    ids = sorted({row.subject_id for row in rows})
    deks = work.gateway.vault.keys(work.session, ids)
    groups = subjects.sealed(work.session, ids, SENSITIVE)
    held = {i: held_in(open_group(deks[i], groups[i])) if i in groups else {} for i in ids}
    before = {i: dict(values) for i, values in held.items()}
    for row in rows:
        changed = _apply(held[row.subject_id], row.values, work.now)
        intake.accepted += changed
        intake.updated += changed
        intake.duplicates += not changed
        intake.entries.append(_record(work, intake.source, row, deks[row.subject_id]))
    put_held(work, {i: values for i, values in held.items() if values != before[i]}, deks)
    for subject_id in (i for i in ids if before[i].keys() - held[i].keys()):
        dek_rotation.rotate(work, subject_id, "value_taken_back")


def _apply(held: Held, values: Mapping[str, str | None], now: int) -> bool:
    """Change what is held of a subject; tells whether anything is another value than before."""
    changed = False
    for name, value in values.items():
        known, at = held.get(name, (None, 0))
        changed |= known != value
        if value is None:
            held.pop(name, None)
        elif known != value or now - at >= _DAY:
            held[name] = value, now
    return changed


def _record(work: Work, source: str, row: _Row, dek: bytes) -> bytes:
    """Queue the entry of one row: which fields, from where; about whom is a commitment, and the values are nowhere."""
    said = {
        "source": source,
        "fields": sorted(name for name, value in row.values.items() if value is not None),
        "taken_back": sorted(name for name, value in row.values.items() if value is None),
        **work.cite_law(),
    }
    payload = NO_DETAILS
    return work.record_about(EntryKind.SENSITIVE_RECORDED, said, row.subject_id, derive_audit_key(dek), payload)


def put_held(work: Work, held: Mapping[SubjectId, Held], deks: Mapping[SubjectId, bytes]) -> None:
    """Seal what is held of people in place of what was; of whom nothing is held any more the group goes."""
    groups = subjects.sealed(work.session, sorted(held), SENSITIVE)
    version = {i: groups[i].row_version + 1 if i in groups else 1 for i in held}
    sealed = [seal_group(deks[i], i, SENSITIVE, version[i], values) for i, values in held.items() if values]
    subjects.put_sealed(work.session, sealed)
    subjects.drop_sealed(work.session, [i for i, values in held.items() if not values], SENSITIVE)
