"""What a change of the law would do to today's people, set-wise and without naming one.

For every enabled purpose and channel, and one registered recipient of each kind, everyone is grouped into classes by
the scan that audiences use, each class is decided under both pack sets, and people are counted by how their answer
changes and because of which rules. Counts below the k-floor are withheld, and so is what would give them away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from consent_gateway.db.classes import EVERYONE, class_sizes
from consent_gateway.domain.audiences import is_ambiguous, withhold
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.errors import FieldProblem, InputError
from consent_gateway.policies import engine
from consent_gateway.policies.diff import Change, Edited, change_of, edited_packs, edited_rules, responsible, who
from consent_gateway.policies.report import edited_as_data
from consent_gateway.policies.rules import PackSet
from consent_gateway.policies.vocabulary import Facts, UnknownFactError
from consent_gateway.services.deciding.law import day_of, with_text
from consent_gateway.services.deciding.questions import Asked, Use
from consent_gateway.services.policy import policies
from consent_gateway.services.work.gateway import Work

ACTIVE, SHIPPED = "active", "shipped"


@dataclass(frozen=True, slots=True)
class Group:
    """People whose answer changes alike: how many (None: fewer than the k-floor), why, and who they are in words."""

    change: Change
    reason: str
    would_be: str
    rules: tuple[str, ...]
    people: int | None
    who: str | None
    who_zh: str | None


@dataclass(frozen=True, slots=True)
class UseDiff:
    """One use: how many people there are, for how many nothing changes, and the groups for whom something does."""

    use: Use
    people: int | None
    unchanged: int | None
    groups: tuple[Group, ...]

    def total(self, change: Change) -> int | None:
        """Return how many people change in one way; None if a part of them is withheld."""
        parts = [group.people for group in self.groups if group.change is change]
        return None if None in parts else sum(part for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """Two pack sets compared: the packs and rules that differ, and the uses for which an answer does."""

    packs: tuple[Edited, ...]
    rules: tuple[Edited, ...]
    uses: tuple[UseDiff, ...]

    @property
    def same(self) -> bool:
        """Tell whether nothing differs."""
        return not (self.packs or self.rules or any(use.groups for use in self.uses))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which uses to look at; empty stands for all that are enabled."""

    purposes: Collection[str] = ()
    channels: Collection[Channel] = ()
    recipients: Collection[str] = ()


def side(work: Work, name: str) -> PackSet:
    """Return the pack set of a name: "active", "shipped", or "id@version" in the place of the active one.

    InputError for a name of another form, NotFoundError for a text that is not in the store.
    """
    today = day_of(work.now)
    if name == ACTIVE:
        return work.law.packs
    if name == SHIPPED:
        return work.gateway.decider.shipped.as_of(today)
    pack_id, _, version = name.partition("@")
    if not version.isdecimal() or not version.isascii():
        problem = FieldProblem("$", "unknown_side", "active, shipped, or a pack as id@version")
        raise InputError(fields=(problem,))
    return side_of_text(work, policies.find(work, pack_id, int(version)).row["text"], name)


def side_of_text(work: Work, text: str, label: str = "pack") -> PackSet:
    """Return the active packs with a text in the place of its pack; InputError says at which line it is wrong."""
    pack = policies.validate(work, text, label)
    decider = work.gateway.decider
    texts = decider.law(work.registers).texts(work.now)
    return with_text(texts, pack.id, text, decider.shipped, day_of(work.now))


def compare(work: Work, old: PackSet, new: PackSet, wanted: Wanted | None = None) -> PolicyDiff:
    """Compare two pack sets over today's people; with `wanted` None over nobody, the texts alone."""
    alone = texts_alone(old, new)
    if wanted is None:
        return alone
    edited = frozenset(rule.id for rule in alone.rules)
    return replace(alone, uses=tuple(_uses(work, old, new, edited, wanted)))


def texts_alone(old: PackSet, new: PackSet) -> PolicyDiff:
    """Compare two pack sets as texts, over nobody."""
    return PolicyDiff(tuple(edited_packs(old, new)), tuple(edited_rules(old, new)), ())


# -- the parts ---------------------------------------------------------------------------------------------------


def _uses(work: Work, old: PackSet, new: PackSet, edited: frozenset[str], wanted: Wanted) -> Iterator[UseDiff]:
    for purpose, channel in sorted(work.registers.slots):
        if (wanted.purposes and purpose not in wanted.purposes) or (wanted.channels and channel not in wanted.channels):
            continue
        for recipient in _recipients(work, wanted.recipients):
            use = Use(purpose, channel, recipient)
            asked = work.gateway.decider.ask(use, work.registers, work.gateway.rules, work.now)
            yield _use(work, asked, old, new, edited)


def _recipients(work: Work, wanted: Collection[str]) -> list[RecipientId]:
    """Return the wanted recipients, or the first of each kind: one stands for all where nobody asks for more."""
    if wanted:
        return [RecipientId(name) for name in sorted(wanted)]
    firsts = {r.kind: r.id for r in sorted(work.registers.recipients.values(), key=lambda r: r.id, reverse=True)}
    return sorted(firsts.values())


_Key = tuple[Change, str, str, tuple[str, ...]]


def _use(work: Work, asked: Asked, old: PackSet, new: PackSet, edited: frozenset[str]) -> UseDiff:
    counts: Counter[_Key] = Counter()
    points: dict[_Key, set[Facts]] = {}
    unchanged = 0
    for key, people in class_sizes(work.session, asked.reading, EVERYONE, work.now):
        try:
            facts = work.gateway.decider.facts(asked, key, work.now)
        except UnknownFactError:
            unchanged += people  # both deny what neither understands
            continue
        before, after = engine.decide(old, facts), engine.decide(new, facts)
        change = change_of(before, after)
        if change is Change.SAME:
            unchanged += people
            continue
        group = (change, before.reason_code, after.reason_code, responsible(before, after, edited))
        counts[group] += people
        points.setdefault(group, set()).add(facts)
    return _shown(work, asked.use, unchanged, counts, lambda group: who((old, new), group[3], points[group]))


def _shown(
    work: Work, use: Use, unchanged: int, counts: Counter[_Key], words: Callable[[_Key], tuple[str, str]]
) -> UseDiff:
    """Return the counts as they may be shown: with every withheld one, enough others to leave it open."""
    floor, names = work.gateway.rules.k_floor, {repr(key): key for key in counts}
    all_counts = {"": unchanged, **{name: counts[key] for name, key in names.items()}}
    hidden = withhold(all_counts, floor)
    open_total = is_ambiguous(all_counts, hidden, floor)
    groups = [_group(key, None if name in hidden else counts[key], words) for name, key in names.items()]
    groups.sort(key=lambda g: (list(Change).index(g.change), -(g.people or 0), g.reason, g.would_be, g.rules))
    return UseDiff(
        use,
        unchanged + counts.total() if open_total else None,
        None if "" in hidden else unchanged,
        tuple(groups),
    )


def _group(key: _Key, people: int | None, words: Callable[[_Key], tuple[str, str]]) -> Group:
    change, reason, would_be, rules = key
    english, chinese = (None, None) if people is None else words(key)
    return Group(change, reason, would_be, rules, people, english, chinese)


def as_data(found: PolicyDiff) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    return {
        "same": found.same,
        "packs": [edited_as_data(edited) for edited in found.packs],
        "rules": [edited_as_data(edited) for edited in found.rules],
        "uses": [_use_as_data(use) for use in found.uses],
    }


def _use_as_data(found: UseDiff) -> dict[str, Any]:
    return {
        "purpose": found.use.purpose,
        "channel": found.use.channel.value,
        "recipient": found.use.recipient,
        "people": found.people,
        "unchanged": found.unchanged,
        "changes": {change.value: found.total(change) for change in Change if change is not Change.SAME},
        "groups": [
            asdict(group) | {"change": group.change.value, "rules": list(group.rules)} for group in found.groups
        ],
    }
