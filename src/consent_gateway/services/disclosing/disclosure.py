"""What the vault holds of people, opened field by field: the last step before personal data leaves.

Who calls this has decided for each of these people, holds their rows, and has queued the entry in the log. Of several
contact points only those are given that the decision itself would permit alone: one address can be closed while the
person's other one is open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from consent_gateway.db import audience_rows
from consent_gateway.db import subjects as subject_rows
from consent_gateway.domain.audiences import COVERED, OUTDATED_NOTICE, ClassKey, consent_code
from consent_gateway.domain.consents import ConsentEvent, fold
from consent_gateway.domain.fields import CONTACT_FIELDS, IDENTIFIER_FIELDS, PROFILE_FIELDS, RevealField
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.merges import Clusters
from consent_gateway.domain.reveals import REACHES
from consent_gateway.domain.scopes import read
from consent_gateway.services.deciding.questions import Asked
from consent_gateway.services.disclosing.sensitive import held_in
from consent_gateway.services.identity.clusters import ledgers_of_people
from consent_gateway.services.identity.people import find_points
from consent_gateway.services.work.gateway import Work
from consent_gateway.services.work.vault import CONTACT, PROFILE, SENSITIVE, open_group
from consent_gateway.vault.normalisers import stored

Values = dict[str, list[str]]
"""Field to its values, each once, in the order in which the person's subjects came in."""


def open_fields(
    work: Work,
    asked: Asked,
    members: Clusters,
    fields: Collection[str],
    also: Callable[[ClassKey], bool] = lambda _: True,
) -> dict[SubjectId, Values]:
    """Return the fields of each of `members` (by the subject that was named), in the clear.

    A field of which nothing is known, or nothing that may be given, is an empty list. `also` is what must hold for the
    class of a contact point besides the permission.
    """
    everyone = sorted({i for found in members.values() for i in found})
    opened = _opened(work, everyone, fields)
    found = {i: _merged([opened[m] for m in of if m in opened], fields) for i, of in members.items()}
    for field in sorted(REACHES.keys() & IDENTIFIER_FIELDS & set(fields)):
        _drop_closed(work, asked, members, field, found, also)
    return found


def _opened(work: Work, ids: Sequence[SubjectId], fields: Collection[str]) -> dict[SubjectId, list[tuple[str, str]]]:
    """Return `(field, value)` of each subject; only the groups that are needed are read."""
    deks = work.gateway.vault.keys(work.session, ids)
    found: dict[SubjectId, list[tuple[str, str]]] = {i: [] for i in ids if i in deks}
    declared = set(fields) - set(RevealField)
    for name, needed in ((CONTACT, CONTACT_FIELDS), (PROFILE, PROFILE_FIELDS), (SENSITIVE, declared)):
        if needed.isdisjoint(fields):
            continue
        for subject_id, group in subject_rows.sealed(work.session, ids, name).items():
            found[subject_id] += _pairs(name, open_group(deks[subject_id], group))
    return found


def _pairs(group: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield `(field, value)` of the content of a group."""
    if group == SENSITIVE:
        yield from ((name, value) for name, (value, _) in held_in(content).items())
        return
    for name, value in content.items():
        if name == "points":
            yield from ((kind, text) for kind, text in value)
        else:
            yield name, value


def _merged(parts: Sequence[list[tuple[str, str]]], fields: Collection[str]) -> Values:
    values: Values = {str(field): [] for field in sorted(fields)}
    for name, value in (pair for part in parts for pair in part):
        if name in values and value not in values[name]:
            values[name].append(value)
    return values


# -- contact points ------------------------------------------------------------------------------------------------


def _drop_closed(
    work: Work,
    asked: Asked,
    members: Clusters,
    field: str,
    found: Mapping[SubjectId, Values],
    also: Callable[[ClassKey], bool],
) -> None:
    """Keep those values of a contact field that the decision would permit if the person had no other."""
    if asked.reading.slot is None:  # nothing that a person says is read, for this purpose: every point is alike
        return
    people = audience_rows.read_people(work.session, asked.reading, sorted(members), work.now)
    ledgers = ledgers_of_people(work, {of[0]: of for of in members.values()})
    for i, values in found.items():
        ledger = ledgers[members[i][0]]
        if any(event.contact_point is not None for event in ledger):
            points = _points(work, str(field), values[field])
            key = people[i].key
            alone = {v: _alone(work, asked, key, ledger, point) for v, point in points.items()}
            values[field] = [v for v, one in alone.items() if also(one) and _is_open(work, asked, one)]


def _points(work: Work, kind: str, values: Sequence[str]) -> dict[str, int]:
    """Return the contact point of each value by its keyed hash; one that is not found is none that may be given."""
    forms = {v: stored(kind, v) for v in values}
    held = find_points(work, {work.token(form): form for form in forms.values()})
    return {v: held[token].id for v, form in forms.items() if (token := work.token(form)) in held}


def _alone(work: Work, asked: Asked, key: ClassKey, ledger: Sequence[ConsentEvent], point: int) -> ClassKey:
    """Return the class that the person would be in with this contact point and no other."""
    registers, reading = work.registers, asked.reading
    purpose, channel = next(pair for pair, slot in registers.slots.items() if slot == reading.slot)
    standings = fold(ledger, purpose, channel, registers.purposes, [point], registers.notices)
    state, properties, covered, outdated = read(registers.pack(standings), reading.side, work.now)
    bits = int(properties) | (COVERED if covered else 0) | (OUTDATED_NOTICE if outdated else 0)
    return key._replace(consent=consent_code(state), properties=bits)


def _is_open(work: Work, asked: Asked, key: ClassKey) -> bool:
    return work.gateway.decider.answer(asked, key, work.now).permitted
