"""Formulas over the fact space, and an exact search for a point that satisfies one.

A formula is a membership of one fact (`fact in values`), a conjunction or a disjunction; negation is pushed inwards,
because the complement of a membership is one. What rules and packs say is written in these terms, literally as
`Rule.holds`, `Pack.binds` and `combine` have it.

The search works on *boxes*: a set of values left open for each fact. Under a box every formula is true, false or
undecided. Memberships that must hold narrow the box; where nothing must, the smallest undecided disjunction is split:
one part holds, or it does not and another does. Each split narrows the box, and a part is only refuted by an empty
fact, so the search ends and misses nothing: **complete over all well-formed points**, about 10^30 of them.

The quotient: a fact that no rule in question reads occurs in no formula and is never split, and of a fact that is read
only such values are told apart as some condition tells apart. A box that is found stands for all of its points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

from consent_gateway.domain.decisions import Effect
from consent_gateway.policies.rules import POLICY, Condition, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import ALL, FIELD


class Member(NamedTuple):
    """One fact has one of some values: `field` are all bits of the fact, `allowed` those of the values."""

    field: int
    allowed: int


class Every(NamedTuple):
    """All parts hold; without parts it is true."""

    parts: tuple[Formula, ...]


class Some(NamedTuple):
    """At least one part holds; without parts it is false."""

    parts: tuple[Formula, ...]


Formula: TypeAlias = Member | Every | Some

TRUE, FALSE = Every(()), Some(())  # as tuples they are equal, so they are told apart by identity


def every(*parts: Formula) -> Formula:
    """Return the conjunction of `parts`."""
    return Every(parts)


def some(parts: Iterable[Formula]) -> Formula:
    """Return the disjunction of `parts`."""
    return Some(tuple(parts))


def negated(formula: Formula) -> Formula:
    """Return the formula that holds exactly where `formula` does not."""
    if isinstance(formula, Member):
        return Member(formula.field, formula.field & ~formula.allowed)
    parts = tuple(negated(part) for part in formula.parts)
    return Some(parts) if isinstance(formula, Every) else Every(parts)


# -- what rules and packs say ------------------------------------------------------------------------------------------


def holds(condition: Condition) -> Formula:
    """Return the formula of a condition."""
    blocked = condition.blocked
    return Every(tuple(Member(f, f & ~blocked) for f in FIELD.values() if f & blocked))


def fires(rule: Rule) -> Formula:
    """Return the formula of `Rule.holds`."""
    return every(holds(rule.when), *(negated(holds(condition)) for condition in rule.unless))


def binds(pack: Pack) -> Formula:
    """Return the formula of `Pack.binds`."""
    return some(holds(condition) for condition in pack.territory)


def fire(rules: Iterable[Rule]) -> Formula:
    """Return the formula that some of `rules` fires."""
    return some(fires(rule) for rule in rules)


def of_effect(pack: Pack, effect: Effect) -> tuple[Rule, ...]:
    """Return the rules of one effect."""
    return tuple(rule for rule in pack.rules if rule.effect is effect)


def silent(pack: Pack) -> Formula:
    """Return the formula that a pack does not deny, given that it binds."""
    quiet = negated(fire(of_effect(pack, Effect.DENY)))
    return quiet if pack.default_reason is None else every(quiet, fire(of_effect(pack, Effect.PERMIT)))


def permits(packs: PackSet) -> Formula:
    """Return the formula that the answer is a permit: no binding pack denies, and a law permits (see `combine`)."""
    open_packs = (some((negated(binds(pack)), silent(pack))) for pack in packs.packs)
    return every(*open_packs, law_permits(packs))


def law_permits(packs: PackSet) -> Formula:
    """Return the formula that a permit rule of a law fires; product policy never stands in for one."""
    laws = (pack for pack in packs.packs if pack.jurisdiction != POLICY)
    return some(every(binds(law), fire(of_effect(law, Effect.PERMIT))) for law in laws)


def brings(packs: PackSet, duty: str, *, permitted: bool) -> Formula:
    """Return the formula that a fired rule carries a duty into an answer that permits, or into one that does not."""
    return some(
        every(binds(pack), fires(rule))
        for pack in packs.packs
        for rule in pack.rules
        if duty in rule.obligations and _counts(rule, permitted=permitted)
    )


def _counts(rule: Rule, *, permitted: bool) -> bool:
    return permitted or (rule.effect is Effect.OBLIGE and not rule.when_permitted)


def cites(packs: PackSet, code: str) -> Formula:
    """Return the formula that a rule with the reason `code` fires, or a pack denies by default with it."""
    found = [every(binds(p), fires(rule)) for p in packs.packs for rule in p.rules if rule.reason == code]
    for pack in (p for p in packs.packs if p.default_reason == code):
        ruled = (rule for rule in pack.rules if rule.effect is not Effect.OBLIGE)
        found.append(every(binds(pack), negated(fire(ruled))))
    return some([*found, *_of_engine(packs, code)])


def _of_engine(packs: PackSet, code: str) -> Iterable[Formula]:
    """Yield where the engine itself denies with `code`: no law binds, or all that bind abstain."""
    laws = [pack for pack in packs.packs if pack.jurisdiction != POLICY]
    bound = some(binds(law) for law in laws)
    if code == "jurisdiction_unknown":
        yield negated(bound)
    if code == "no_legal_basis" and any(law.default_reason is None for law in laws):
        open_packs = (some((negated(binds(pack)), silent(pack))) for pack in packs.packs)
        yield every(bound, negated(law_permits(packs)), *open_packs)


# -- the search --------------------------------------------------------------------------------------------------------

_ORDER = tuple(FIELD[name] for name in ("purpose", "channel"))  # split first: most rules are about few of them


class OutOfTimeError(Exception):
    """The time that a search was given is over; raised by a `tick`, never by the search itself."""


_TICK: ContextVar[Callable[[], None]] = ContextVar("tick", default=lambda: None)


@contextmanager
def watched(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` at every step of the searches within; it ends one by raising `OutOfTimeError`."""
    token = _TICK.set(tick)
    try:
        yield
    finally:
        _TICK.reset(token)


def satisfy(formula: Formula, box: int = ALL) -> int | None:
    """Return a box whose every point satisfies `formula`, or None if there is no such point in `box`."""
    return _search(box, (formula,), _ORDER)


def _search(box: int, formulas: Sequence[Formula], first: tuple[int, ...]) -> int | None:
    """Search depth first. A part that holds narrows the box, so that calls nest no deeper than it has bits."""
    while True:
        narrowed = _narrow(box, formulas)
        if narrowed is None or not narrowed[1]:
            return None if narrowed is None else narrowed[0]
        box, left = narrowed
        if first:
            return _split_values(box, left, first)
        chosen = min(left, key=_size)
        rest = [formula for formula in left if formula is not chosen]
        part = min(chosen.parts, key=_size)
        found = _search(box, [*rest, part], ())
        if found is not None:
            return found
        others = Some(tuple(each for each in chosen.parts if each is not part))
        formulas = [*rest, negated(part), others]


def _split_values(box: int, left: Sequence[Formula], first: tuple[int, ...]) -> int | None:
    field, *later = first
    values = box & field
    while values:
        value = values & -values
        values ^= value
        found = _search(box & ~field | value, left, tuple(later))
        if found is not None:
            return found
    return None


def _narrow(box: int, formulas: Sequence[Formula]) -> tuple[int, list[Some]] | None:
    """Apply what must hold until nothing more must: the box and the undecided disjunctions, or None if it is false."""
    left: Sequence[Formula] = formulas
    tick = _TICK.get()
    while True:
        tick()
        before, pending = box, list[Some]()
        for formula in left:
            found = _under(formula, box)
            parts = found.parts if isinstance(found, Every) else (found,)
            for part in parts:
                if isinstance(part, Member):
                    box &= ~(part.field & ~part.allowed)
                    if not box & part.field:
                        return None
                elif not part.parts:
                    return None
                elif isinstance(part, Some):
                    pending.append(part)
        if box == before:
            return box, pending
        left = pending


def _under(formula: Formula, box: int) -> Formula:
    """Return what is left of a formula in a box; conjunctions are flat and hold no conjunction."""
    if isinstance(formula, Member):
        values = box & formula.field
        inside = values & formula.allowed
        if not inside:
            return FALSE
        return TRUE if inside == values else formula
    conjunction = isinstance(formula, Every)
    ends, skips = (FALSE, TRUE) if conjunction else (TRUE, FALSE)
    parts: list[Formula] = []
    for part in formula.parts:
        found = _under(part, box)
        if found is ends:
            return ends
        if found is skips:
            continue
        if isinstance(found, Member) or isinstance(found, Every) is not conjunction:
            parts.append(found)
        else:
            parts += found.parts
    if len(parts) <= 1:
        return parts[0] if parts else skips
    return Every(tuple(parts)) if conjunction else Some(tuple(parts))


def _size(formula: Formula) -> int:
    return 1 if isinstance(formula, Member) else sum(_size(part) for part in formula.parts)
