"""Two pack sets side by side: which rules differ, and how two answers about the same facts differ.

A difference of answers is one of four, the weightiest first: from permit to deny, from deny to permit, the same outcome
for another reason, the same reason with other duties. The rules that are responsible are those that fired on one side
only, and those that fired on both and are written otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consent_gateway.domain.decisions import Answer
from consent_gateway.policies.data import pack_as_data, rule_as_data
from consent_gateway.policies.rules import Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import BY_NAME, Facts

_ENGINE = "engine."


class Change(StrEnum):
    """How the answer to one question changes."""

    TO_DENY = "permit_to_deny"
    TO_PERMIT = "deny_to_permit"
    REASON = "other_reason"
    DUTIES = "other_obligations"
    SAME = "same"


class Edit(StrEnum):
    """What happened to a pack or a rule."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Edited:
    """One pack or rule that is not the same in both sets: its members before and after, as plain data."""

    pack: str
    id: str
    edit: Edit
    fields: tuple[str, ...]
    old: Mapping[str, Any]
    new: Mapping[str, Any]


def change_of(old: Answer, new: Answer) -> Change:
    """Return how the answer changes; the order of duties is no change."""
    if old.outcome is not new.outcome:
        return Change.TO_DENY if old.permitted else Change.TO_PERMIT
    if old.reason_code != new.reason_code:
        return Change.REASON
    return Change.SAME if set(old.obligations) == set(new.obligations) else Change.DUTIES


def responsible(old: Answer, new: Answer, edited: frozenset[str]) -> tuple[str, ...]:
    """Return the ids of the rules because of which two answers differ; those in `edited` are written otherwise."""
    before, after = ({reason.rule_id for reason in answer.reasons} for answer in (old, new))
    found = (before ^ after) | (before & after & edited)
    of_packs = {rule for rule in found if not rule.startswith(_ENGINE)}
    return tuple(sorted(of_packs or found))


def edited_packs(old: PackSet, new: PackSet) -> list[Edited]:
    """Return the packs that differ in anything but their rules."""
    before, after = ({pack.id: _frame(pack) for pack in side.packs} for side in (old, new))
    return list(_edits(before, after, lambda _: ""))


def edited_rules(old: PackSet, new: PackSet) -> list[Edited]:
    """Return the rules that were added, removed or are written otherwise."""
    before, after = ({rule.id: rule_as_data(rule) for rule in _rules(side)} for side in (old, new))
    owner = {rule.id: pack.id for side in (old, new) for pack in side.packs for rule in pack.rules}
    return list(_edits(before, after, owner.__getitem__))


def who(packs: Iterable[PackSet], rules: Iterable[str], points: Iterable[Facts]) -> tuple[str, str]:
    """Describe a group of points in words, English and Chinese, by the facts of the situation that `rules` look at."""
    names, seen = _looked_at(packs, set(rules)), list(points)
    english, chinese = [], []
    for fact in (fact for fact in BY_NAME.values() if fact.name in names and not fact.of_question):
        values = [value for value in fact.values if any(point[fact.name] == value for point in seen)]
        if len(values) == len(fact.values):
            continue
        english.append(f"{fact.en}: {' or '.join(values)}")
        chinese.append(f"{fact.zh}:{' 或 '.join(values)}")
    return "; ".join(english) or "everyone", ";".join(chinese) or "所有人"


def _looked_at(packs: Iterable[PackSet], rules: set[str]) -> set[str]:
    found = [rule for side in packs for rule in _rules(side) if rule.id in rules]
    return {name for rule in found for condition in (rule.when, *rule.unless) for name in condition.allowed}


def _rules(packs: PackSet) -> list[Rule]:
    return [rule for pack in packs.packs for rule in pack.rules]


def _frame(pack: Pack) -> dict[str, Any]:
    return {name: value for name, value in pack_as_data(pack).items() if name != "rules"}


def _edits(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]], owner: Any) -> Iterable[Edited]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, {}), after.get(name, {})
        fields = tuple(field for field in (old or new) if old.get(field) != new.get(field))
        if fields:
            edit = Edit.CHANGED if old and new else Edit.REMOVED if old else Edit.ADDED
            yield Edited(owner(name) or name, name, edit, fields, old, new)
