"""A pack set as bit masks: the same table as the files, evaluated with one AND per rule.

A rule fires when none of the bits that its condition excludes is set, and none of its `unless` conditions holds.
For each purpose and channel the rules that can fire at all are selected once (a first partial evaluation); answers
are remembered by the packed facts in a bounded cache that belongs to the program, and so to one pack set.

`specialise` fixes a whole question: what is left is the residual, the rules and the facts that can still matter.
Two situations that agree on those have the same answer, so an audience is decided once per class.

Any error while rules are evaluated is a denial with the reason `rule_error` (promise P1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from consent_gateway.domain.decisions import Answer
from consent_gateway.policies.cedar import to_cedar
from consent_gateway.policies.combine import DEFAULT, Reasons, Verdict, combine, denial, with_digest
from consent_gateway.policies.facts import QUESTION_MASK, Question, Situation, build
from consent_gateway.policies.rules import MARKETING, Pack, PackSet, Rule
from consent_gateway.policies.vocabulary import FACTS, FIELD, Facts, bit, digest_of, field_mask, well_formed

__all__ = ["Program", "Specialised", "program", "specialise", "to_cedar"]

CACHE_SIZE = 65_536
_MARKETING = sum(bit("purpose", purpose) for purpose in MARKETING)
_INDEX = field_mask(("purpose", "channel"))


class Row(NamedTuple):
    """One compiled rule: it fires when `bits & blocked` is zero and `bits & u` is not, for every `u` of `lifted`.

    `number` is the place of its reason in the final order, which also tells its effect.
    """

    blocked: int
    lifted: tuple[int, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Table:
    """One compiled pack; it binds when `bits & t` is zero for one of its territory masks `t`."""

    name: str
    jurisdiction: str
    territory: tuple[int, ...]
    default: int | None
    first_permit: int
    first_duty: int
    rows: tuple[Row, ...]

    def residual(self, fixed: int, fields: int) -> Table | None:
        """Return what is left when the facts of `fields` have the values `fixed`; None if it cannot bind."""
        territory = tuple(t & ~fields for t in self.territory if not t & fixed)
        if not territory:
            return None
        rows = tuple(left for row in self.rows if (left := _residual(row, fixed, fields)) is not None)
        return replace(self, territory=territory, rows=rows)

    def verdict(self, bits: int) -> Verdict:
        """Return what the pack says, given that it binds."""
        fired = [
            number
            for blocked, lifted, number in self.rows
            if not bits & blocked and (not lifted or 0 not in [bits & u for u in lifted])
        ]
        first = min(fired, default=self.first_duty)
        if self.default is not None and first >= self.first_duty:
            fired.append(self.default)
            return Verdict(self.name, self.jurisdiction, denies=True, fired=fired)
        return Verdict(self.name, self.jurisdiction, first < self.first_permit, fired)


def _residual(row: Row, fixed: int, fields: int) -> Row | None:
    """Drop what the fixed facts decide: the row if it is excluded or lifted, an `unless` that cannot hold."""
    open_lifted = tuple(u & ~fields for u in row.lifted if not u & fixed)
    if row.blocked & fixed or 0 in open_lifted:
        return None
    return Row(row.blocked & ~fields, open_lifted, row.number)


def _row(rule: Rule, reasons: Reasons) -> Row:
    lifted = tuple(condition.blocked for condition in rule.unless)
    return Row(rule.when.blocked, lifted, reasons.number[rule.id])


def _table(pack: Pack, reasons: Reasons) -> Table:
    rows = tuple(_row(rule, reasons) for rule in pack.rules)
    territory = tuple(condition.blocked for condition in pack.territory)
    default = None if pack.default_reason is None else reasons.number[f"{pack.id}.{DEFAULT}"]
    bounds = (reasons.first_permit, reasons.first_duty)
    return Table(pack.name, pack.jurisdiction, territory, default, *bounds, rows)


class Program:
    """A compiled pack set. Immutable but for its caches; safe to share between threads."""

    def __init__(self, packs: PackSet) -> None:
        self.reasons = Reasons.of(packs)
        self.tables = tuple(_table(pack, self.reasons) for pack in packs.packs)
        self._by_index: dict[int, tuple[Table, ...]] = {}
        self._remembered = lru_cache(maxsize=CACHE_SIZE)(self.evaluate)

    def decide(self, facts: Facts) -> Answer:
        """Return the answer, remembered by the facts."""
        return self._remembered(facts.bits)

    def evaluate(self, bits: int) -> Answer:
        """Return the answer, computed afresh. Bits that are no point of the fact space deny."""
        if not well_formed(bits):
            return denial(self.reasons, "facts_unknown", "facts outside of the vocabulary", "")
        return answer(self.reasons, self._selected(bits), bits, digest_of(bits))

    def _selected(self, bits: int) -> tuple[Table, ...]:
        key = bits & _INDEX
        found = self._by_index.get(key)
        if found is None:
            found = self._by_index[key] = residuals(self.tables, key, _INDEX)
        return found


def residuals(tables: Iterable[Table], fixed: int, fields: int) -> tuple[Table, ...]:
    """Return the tables that can still bind when the facts of `fields` are `fixed`."""
    return tuple(left for table in tables if (left := table.residual(fixed, fields)) is not None)


def answer(reasons: Reasons, tables: Sequence[Table], bits: int, digest: str) -> Answer:
    """Evaluate the binding tables and join their verdicts; an error denies."""
    try:
        verdicts = [table.verdict(bits) for table in tables if 0 in [bits & t for t in table.territory]]
        return combine(reasons, verdicts, digest, marketing=bool(bits & _MARKETING))
    except Exception as error:  # noqa: BLE001 - promise P1: whatever goes wrong in a rule denies
        return denial(reasons, "rule_error", type(error).__name__, digest)


@lru_cache(maxsize=8)  # keyed by the identity of the pack set, so new packs mean a new program and new caches
def program(packs: PackSet) -> Program:
    """Return the compiled form of `packs`, made once."""
    return Program(packs)


class Specialised:
    """A pack set with one question answered as far as the question alone can."""

    def __init__(self, packs: PackSet, question: Question) -> None:
        self.question = question
        compiled = program(packs)
        fixed = build(question, Situation()).bits & QUESTION_MASK
        self._question_bits = fixed
        self._reasons = compiled.reasons
        self.tables = residuals(compiled.tables, fixed, QUESTION_MASK)
        self._mask = _read_fields(self.tables) | FIELD["purpose"]
        self._remembered = lru_cache(maxsize=CACHE_SIZE)(self._evaluate)

    @property
    def relevant_facts(self) -> tuple[str, ...]:
        """Return the names of the situation's facts that the residual reads, in the order of the vocabulary."""
        return tuple(f.name for f in FACTS if not f.of_question and FIELD[f.name] & self._mask)

    def build(self, situation: Situation) -> Facts:
        """Return the facts of the question in this situation; raises `UnknownFactError`."""
        return build(self.question, situation)

    def class_of(self, facts: Facts) -> int:
        """Return the key of the class: facts of one class have the same outcome, reasons and obligations."""
        return facts.bits & self._mask

    def decide(self, facts: Facts) -> Answer:
        """Return exactly what the whole program answers; `facts` of another question are refused (ValueError)."""
        if facts.bits & QUESTION_MASK != self._question_bits:
            raise ValueError("the facts belong to another question")
        if not well_formed(facts.bits):
            return denial(self._reasons, "facts_unknown", "facts outside of the vocabulary", "")
        return with_digest(self._remembered(facts.bits & self._mask), digest_of(facts.bits))

    def _evaluate(self, bits: int) -> Answer:
        return answer(self._reasons, self.tables, bits, digest_of(bits))


def _read_fields(tables: Iterable[Table]) -> int:
    """Return the union of the fields of which a residual mask excludes any value."""
    read = 0
    for table in tables:
        for mask in (*table.territory, *(m for row in table.rows for m in (row.blocked, *row.lifted))):
            read |= mask
    return sum(field for field in FIELD.values() if field & read)


def specialise(packs: PackSet, question: Question) -> Specialised:
    """Evaluate `packs` partially for `question`."""
    return Specialised(packs, question)
