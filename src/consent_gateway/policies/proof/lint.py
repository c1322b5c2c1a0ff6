"""Findings about packs that load: what no reader of one rule can see.

Every question is put to the exact search (`formulas`), so a finding holds for every point of the fact space and the
absence of one is a proof. Rules are asked about where their pack binds.

| kind | level | meaning |
|---|---|---|
| `unreadable` | error | a file could not be read; its pack permits no marketing |
| `dead` | error | the rule fires nowhere: its `unless` conditions together cover its `when` |
| `contradicted` | error | a permit rule fires only where its own pack denies, so that it never permits |
| `missing_text` | error | a reason, pack or fact has no English or no Chinese text |
| `review_overdue`, `review_due` | error, warning | `review_by` has passed, or comes within the days asked for |
| `shadowed` | warning | where it fires, a rule of its pack of the same effect and a higher rank does: it never leads |
| `idle_unless` | warning | an `unless` of the rule can never hold together with its `when` |
| `unverified` | warning | the citation was not confirmed (mark UNVERIFIED), and no setting lets the operator choose |
| `unfinished` | error | the time ended before all was looked at; no finding of the kinds it names is then no proof |
| `implied` | info | without the rule no answer has another outcome; without a duty's rule no answer lacks the duty |
| `overlap` | info | two rules of a pack give the same reason, or bring the same duty, at one point |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import combinations

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.proof.formulas import (
    Formula,
    OutOfTimeError,
    binds,
    brings,
    every,
    fire,
    fires,
    holds,
    law_permits,
    negated,
    of_effect,
    permits,
    satisfy,
)
from consent_gateway.policies.rules import POLICY, Mark, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import FACTS


class Level(StrEnum):
    """How bad a finding is; an error ends the command with status 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its kind, the pack and rule it is about ("" if none), and what is to be seen there."""

    kind: str
    level: Level
    pack: str
    rule: str
    message: str


UNFINISHED = "unfinished"
Check = Callable[[PackSet], Iterator[Finding]]


def lint(packs: PackSet, today: date, days: int) -> list[Finding]:
    """Return all findings about `packs` as they are written; reviews within `days` of `today` are due.

    Within `formulas.watched` the time may end: then the findings so far, and one that says what was not finished.
    """
    found = [*_reviews(packs, today, days), *_searched(packs)]
    order = list(Level)
    return sorted(found, key=lambda f: (order.index(f.level), f.kind, f.pack, f.rule, f.message))


def _searched(packs: PackSet) -> Iterator[Finding]:
    left = [kind for kind, _ in CHECKS]
    try:
        for _, check in CHECKS:
            yield from check(packs)
            del left[0]
    except OutOfTimeError:
        message = f"the time ended; not looked at to the end: {', '.join(left)}"
        yield Finding(UNFINISHED, Level.ERROR, "", "", message)


def _about(pack: Pack, rule: Rule, kind: str, level: Level, message: str) -> Finding:
    return Finding(kind, level, pack.name, rule.id, message)


def _readable(packs: PackSet) -> Iterator[Pack]:
    return (pack for pack in packs.packs if pack.version)


def _never(*parts: Formula) -> bool:
    return satisfy(every(*parts)) is None


# -- single rules and packs --------------------------------------------------------------------------------------------


def _unreadable(packs: PackSet) -> Iterator[Finding]:
    return (Finding("unreadable", Level.ERROR, fault.partition(",")[0], "", fault) for fault in packs.faults)


def _texts(packs: PackSet) -> Iterator[Finding]:
    named = [(f"reason {r.code}", "", r.en, r.zh) for r in packs.reasons.values()]
    named += [("title", pack.name, pack.title, pack.title_zh) for pack in _readable(packs)]
    named += [(f"fact {fact.name}", "", fact.en, fact.zh) for fact in FACTS]
    for what, pack, english, chinese in named:
        for language, given in (("English", english.strip()), ("Chinese", _chinese(chinese))):
            if not given:
                yield Finding("missing_text", Level.ERROR, pack, "", f"{what}: there is no {language} text")


def _chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def _unverified(packs: PackSet) -> Iterator[Finding]:
    for pack in _readable(packs):
        for rule in pack.rules:
            if rule.mark is Mark.UNVERIFIED and not rule.settings:
                yield _about(pack, rule, "unverified", Level.WARNING, f"not confirmed, and no setting: {rule.cites}")


def _reviews(packs: PackSet, today: date, days: int) -> Iterator[Finding]:
    for pack in _readable(packs):
        if pack.review_by < today:
            yield Finding("review_overdue", Level.ERROR, pack.name, "", f"was to be reviewed by {pack.review_by}")
        elif pack.review_by <= today + timedelta(days=days):
            yield Finding("review_due", Level.WARNING, pack.name, "", f"to be reviewed by {pack.review_by}")


def _dead(packs: PackSet) -> Iterator[Finding]:
    for pack in _readable(packs):
        for rule in pack.rules:
            if _never(binds(pack), fires(rule)):
                yield _about(pack, rule, "dead", Level.ERROR, "it fires nowhere where its pack binds")


def _idle(packs: PackSet) -> Iterator[Finding]:
    for pack in _readable(packs):
        for rule in pack.rules:
            for place, condition in enumerate(rule.unless, 1):
                if _never(binds(pack), holds(rule.when), holds(condition)):
                    message = f"its `unless` {place} can never hold together with its `when`"
                    yield _about(pack, rule, "idle_unless", Level.WARNING, message)


# -- rules beside each other -------------------------------------------------------------------------------------------


def _contradicted(packs: PackSet) -> Iterator[Finding]:
    for pack in _readable(packs):
        denying = of_effect(pack, Effect.DENY)
        for rule in of_effect(pack, Effect.PERMIT):
            here = (binds(pack), fires(rule))
            if not _never(*here) and _never(*here, negated(fire(denying))):
                by = _single(here, denying)
                yield _about(pack, rule, "contradicted", Level.ERROR, f"it fires only where its pack denies{by}")


def _shadowed(packs: PackSet) -> Iterator[Finding]:
    for pack in _readable(packs):
        for effect in (Effect.DENY, Effect.PERMIT):
            ranked = sorted(of_effect(pack, effect), key=lambda rule: _rank(packs, rule))
            for place, rule in enumerate(ranked):
                above = [other for other in ranked[:place] if _rank(packs, other) < _rank(packs, rule)]
                here = (binds(pack), fires(rule))
                if above and not _never(*here) and _never(*here, negated(fire(above))):
                    message = f"wherever it fires a rule of higher rank does{_single(here, above)}; it never leads"
                    yield _about(pack, rule, "shadowed", Level.WARNING, message)


def _rank(packs: PackSet, rule: Rule) -> int:
    return packs.reasons[rule.reason].rank


def _single(here: Sequence[Formula], others: Sequence[Rule]) -> str:
    """Name the one rule that fires wherever `here` holds, if one does alone."""
    found = next((other for other in others if _never(*here, negated(fires(other)))), None)
    return f" ({found.id})" if found else ""


def _overlap(packs: PackSet) -> Iterator[Finding]:
    for pack in _readable(packs):
        for one, other in combinations(pack.rules, 2):
            same = _same_thing(one, other)
            if same and not _never(binds(pack), fires(one), fires(other)):
                yield _about(pack, other, "overlap", Level.INFO, f"it gives {same} together with {one.id}")


def _same_thing(one: Rule, other: Rule) -> str:
    if one.effect is other.effect and one.effect is not Effect.OBLIGE and one.reason == other.reason:
        return f"the reason {one.reason}"
    shared = sorted(set(one.obligations) & set(other.obligations))
    return f"the duty {shared[0]}" if shared else ""


def _implied(packs: PackSet) -> Iterator[Finding]:
    whole = permits(packs)
    for pack in _readable(packs):
        for rule in pack.rules:
            if not rule.obligations and rule.effect is not Effect.OBLIGE and _outcomes_stay(packs, whole, pack, rule):
                yield _about(pack, rule, "implied", Level.INFO, "without it no answer has another outcome")
            if rule.effect is Effect.OBLIGE and rule.obligations and _duties_stay(packs, pack, rule):
                yield _about(pack, rule, "implied", Level.INFO, "without it no answer lacks its duties")


def _outcomes_stay(packs: PackSet, whole: Formula, pack: Pack, rule: Rule) -> bool:
    """Tell whether no outcome changes: where the rule fires, a lost denial could permit, a lost permit deny.

    A lost permit denies only where its pack then denies by default, or where no law is left that permits.
    """
    here, lesser = (binds(pack), fires(rule)), _without(packs, pack, rule)
    if rule.effect is Effect.DENY:
        return _never(*here, permits(lesser))
    if pack.jurisdiction == POLICY:
        return True  # product policy never stands in for a law
    if pack.default_reason is not None:
        others = tuple(each for each in of_effect(pack, Effect.PERMIT) if each is not rule)
        return _never(*here, negated(fire(others)), whole)
    return _never(*here, negated(law_permits(lesser)), whole)


def _duties_stay(packs: PackSet, pack: Pack, rule: Rule) -> bool:
    less = _without(packs, pack, rule)
    here = (binds(pack), fires(rule))
    return all(_never(*here, negated(brings(less, duty, permitted=rule.when_permitted))) for duty in rule.obligations)


def _without(packs: PackSet, pack: Pack, rule: Rule) -> PackSet:
    lesser = replace(pack, rules=tuple(each for each in pack.rules if each is not rule))
    return replace(packs, packs=tuple(lesser if each is pack else each for each in packs.packs))


CHECKS: tuple[tuple[str, Check], ...] = (
    ("unreadable", _unreadable),
    ("missing_text", _texts),
    ("unverified", _unverified),
    ("dead", _dead),
    ("idle_unless", _idle),
    ("contradicted", _contradicted),
    ("shadowed", _shadowed),
    ("overlap", _overlap),
    ("implied", _implied),
)
