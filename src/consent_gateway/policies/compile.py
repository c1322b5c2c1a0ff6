"""A pack set as bit masks, evaluated all rules at once.

A rule fires when none of the bits that its condition excludes is set, and none of its `unless` conditions holds.
For each purpose and channel the rules that can fire at all are selected once (a first partial evaluation) and made
into a `Sieve`; answers are remembered by the packed facts in a bounded cache that belongs to the program, and so to
one pack set.

`specialise` fixes a whole question: what is left is the residual, the rules and the facts that can still matter.
Two situations that agree on those have the same answer, so an audience is decided once per class.

Any error while rules are evaluated is a denial with the reason `rule_error` (promise P1).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from consent_gateway.domain.decisions import Answer
from consent_gateway.policies.cedar import to_cedar
from consent_gateway.policies.combine import DEFAULT, Reasons, denial, with_digest
from consent_gateway.policies.facts import QUESTION_MASK, Question, Situation, build
from consent_gateway.policies.rules import MARKETING, Pack, PackSet, Rule
from consent_gateway.policies.sieve import Row, Sieve, Table
from consent_gateway.policies.vocabulary import FACTS, FIELD, Facts, bit, digest_of, field_mask, well_formed

__all__ = ["Program", "Row", "Specialised", "Table", "program", "specialise", "to_cedar"]

CACHE_SIZE = 65_536
_MARKETING = sum(bit("purpose", purpose) for purpose in MARKETING)
_INDEX = field_mask(("purpose", "channel"))


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
        self._by_index: dict[int, Sieve] = {}
        self._remembered = lru_cache(maxsize=CACHE_SIZE)(self.evaluate)

    def decide(self, facts: Facts) -> Answer:
        """Return the answer, remembered by the facts."""
        return self._remembered(facts.bits)

    def evaluate(self, bits: int) -> Answer:
        """Return the answer, computed afresh. Bits that are no point of the fact space deny."""
        if not well_formed(bits):
            return denial(self.reasons, "facts_unknown", "facts outside of the vocabulary", "")
        try:
            return with_digest(self.sieve(bits).answer(bits), digest_of(bits))
        except Exception as error:  # noqa: BLE001 - promise P1: whatever goes wrong in a rule denies
            return denial(self.reasons, "rule_error", type(error).__name__, digest_of(bits))

    def sieve(self, bits: int) -> Sieve:
        """Return the rules that can fire for the purpose and channel of a point; made once for each pair."""
        key = bits & _INDEX
        found = self._by_index.get(key)
        if found is None:
            left = residuals(self.tables, key, _INDEX)
            found = self._by_index[key] = Sieve(self.reasons, left, marketing=bool(key & _MARKETING))
        return found


def residuals(tables: Iterable[Table], fixed: int, fields: int) -> tuple[Table, ...]:
    """Return the tables that can still bind when the facts of `fields` are `fixed`."""
    return tuple(left for table in tables if (left := table.residual(fixed, fields)) is not None)


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
        self._sieve = Sieve(self._reasons, self.tables, marketing=bool(fixed & _MARKETING))
        self._mask = self._sieve.read | FIELD["purpose"]

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

    def rule_on(self, facts: Facts) -> Answer:
        """Return the answer of the class of `facts`, complete but for the digest of the facts, which is "".

        Equal reasons share one object. `facts` of another question are refused (ValueError).
        """
        bits = facts.bits
        if bits & QUESTION_MASK != self._question_bits:
            raise ValueError("the facts belong to another question")
        if not well_formed(bits):
            return denial(self._reasons, "facts_unknown", "facts outside of the vocabulary", "")
        try:
            return self._sieve.answer(bits)
        except Exception as error:  # noqa: BLE001 - promise P1: whatever goes wrong in a rule denies
            return denial(self._reasons, "rule_error", type(error).__name__, "")

    def decide(self, facts: Facts) -> Answer:
        """Return exactly what the whole program answers; `facts` of another question are refused (ValueError)."""
        answer = self.rule_on(facts)
        return with_digest(answer, digest_of(facts.bits)) if well_formed(facts.bits) else answer


def specialise(packs: PackSet, question: Question) -> Specialised:
    """Evaluate `packs` partially for `question`."""
    return Specialised(packs, question)
