"""What makes a rule senseless, and what makes two packs clash; the loader refuses both.

The questions are about conjunctions of memberships, so masks answer them exactly: a condition leaves some values of
each fact *open*; it can never hold if a fact has none, it implies another if it leaves open nothing that the other
blocks, and two exclude each other if some fact has no value open to both. What several conditions do together is the
business of `lint`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from consent_gateway.policies.rules import Condition, Pack, Rule
from consent_gateway.policies.vocabulary import ALL, FIELD


def rule_problem(rule: Rule, territory: Iterable[Condition]) -> str | None:
    """Return why the rule of a pack with this `territory` can never fire by itself, or None."""
    nothing = next((name for name, values in rule.when.allowed.items() if not values), None)
    if nothing is not None:
        return f"its condition can never hold, because no value of {nothing!r} is left"
    for condition in rule.unless:
        if implies(rule.when, condition):
            return "an `unless` holds whenever its `when` does, so that it never fires"
    if not any(compatible(rule.when, place) for place in territory):
        return "it can never fire where the pack binds"
    return None


def implies(one: Condition, other: Condition) -> bool:
    """Tell whether `other` holds wherever `one` does; `one` can hold."""
    return not ALL & ~one.blocked & other.blocked


def compatible(one: Condition, other: Condition) -> bool:
    """Tell whether both can hold at one point."""
    left = ALL & ~one.blocked & ~other.blocked
    return all(field & left for field in FIELD.values())


def clash(pack: Pack, other: Pack) -> tuple[str, str] | None:
    """Return the key of `pack` that is wrong beside `other`, and why; None if both may be loaded together."""
    if pack.id != other.id or 0 in {pack.version, other.version}:  # a pack that could not be read has version 0
        return None
    if pack.version == other.version:
        return "version", f"version {pack.version} of the pack {pack.id!r} is given twice"
    begins, ends = max(pack.effective_from, other.effective_from), min(_end(pack), _end(other))
    if begins <= ends:
        return "effective_from", f"{pack.name} and {other.name} would both be in force on {begins}"
    return None


def _end(pack: Pack) -> date:
    return pack.effective_until or date.max
