"""A small language of claims about all answers, readable aloud, and its parser.

    never permit when at_cn = yes and purpose = direct_marketing and channel = email and consent != given
    always deny when deletion = completed and purpose in @marketing
    always permit when purpose = request_record_keeping and at_eu = yes
    permit implies consent = given when at_cn = yes and channel = sms
    always oblige ad_label when ...          every *permit* there carries the duty (a denial has nothing to carry it)
    never oblige ad_label when ...           no answer there carries it
    always cite erased when ...              every answer there names the reason, leading or not
    under pipl: never permit when ...        the pack alone, where it binds

A condition is made of `fact = value`, `fact != value`, `fact in (a, b)`, `fact not in (a, b)`, `and`, `or`, `not` and
brackets; `and` binds closer than `or`. A duty whose name is more than a word stands in double quotes. `@name` in place
of a list stands for a set: `@marketing`, or one of the claims file.
Without `when` a claim is about every point. Names are those of the vocabulary; what is unknown is an error that names
the position, because a claim about a misspelt fact would be proven about nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeAlias

from consent_gateway.errors import InputError
from consent_gateway.policies.proof.formulas import TRUE, Every, Formula, Member, Some, negated
from consent_gateway.policies.rules import MARKETING
from consent_gateway.policies.vocabulary import BITS, BY_NAME, FIELD, Facts

Sets: TypeAlias = Mapping[str, frozenset[str]]
SETS: Sets = {"marketing": frozenset(str(purpose) for purpose in MARKETING)}
MAX_DEPTH = 32
_TOKEN = re.compile(r"""\s*(?:([A-Za-z0-9_]+|@[a-z0-9_]+|"[^"]+")|(!=|[=(),:]))""")


class Verb(StrEnum):
    """What a claim says of the points that it is about."""

    NEVER_PERMIT = "never permit"
    ALWAYS_PERMIT = "always permit"
    PERMIT_IMPLIES = "permit implies"
    DENY_IMPLIES = "deny implies"
    ALWAYS_OBLIGE = "always oblige"
    NEVER_OBLIGE = "never oblige"
    ALWAYS_CITE = "always cite"
    NEVER_CITE = "never cite"


_VERBS = {tuple(verb.split()): verb for verb in Verb} | {("always", "deny"): Verb.NEVER_PERMIT}
_IMPLIES = frozenset({Verb.PERMIT_IMPLIES, Verb.DENY_IMPLIES})
_NAMING = frozenset({Verb.ALWAYS_OBLIGE, Verb.NEVER_OBLIGE, Verb.ALWAYS_CITE, Verb.NEVER_CITE})


@dataclass(frozen=True, slots=True)
class Is:
    """A fact has one of some values."""

    fact: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Where


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; without parts, everywhere."""

    parts: tuple[Where, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """Some part holds."""

    parts: tuple[Where, ...]


Where: TypeAlias = Is | Not | All | Either


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: `name` is the duty or reason code it speaks of, `implied` the consequence, `pack` the pack alone."""

    text: str
    verb: Verb
    where: Where
    implied: Where = All()
    name: str = ""
    pack: str = ""


def parse_claim(text: str, sets: Sets = SETS) -> Claim:
    """Read a claim; raises `InputError` that names the position, counted in characters from 1."""
    return _Parser(text, sets).claim()


def formula_of(where: Where) -> Formula:
    """Return the formula of a condition."""
    if isinstance(where, Is):
        field = FIELD[where.fact]
        return Member(field, sum(BITS[where.fact][value] for value in where.values))
    if isinstance(where, Not):
        return negated(formula_of(where.part))
    parts = tuple(formula_of(part) for part in where.parts)
    return (Every(parts) if parts else TRUE) if isinstance(where, All) else Some(parts)


def reads(where: Where, facts: Facts) -> bool:
    """Tell whether a condition holds at one point, by reading its facts."""
    if isinstance(where, Is):
        return facts[where.fact] in where.values
    if isinstance(where, Not):
        return not reads(where.part, facts)
    found = (reads(part, facts) for part in where.parts)
    return all(found) if isinstance(where, All) else any(found)


class _Parser:
    """Recursive descent over the words of one claim."""

    def __init__(self, text: str, sets: Sets) -> None:
        self._text, self._sets = text, sets
        self._tokens = [*_tokens(text), ("", len(text))]
        self._next = self._depth = 0

    def claim(self) -> Claim:
        pack = self._under()
        verb = self._verb()
        name = self._name() if verb in _NAMING else ""
        implied = self._either() if verb in _IMPLIES else All()
        where = self._either() if self._taken("when") else All()
        if self._word_here():
            self._refuse("the end or `when`" if where == All() else "the end, `and` or `or`")
        return Claim(self._text.strip(), verb, where, implied, name, pack)

    def _under(self) -> str:
        if not self._taken("under"):
            return ""
        pack = self._word("the id of a pack")
        self._require(":")
        return pack

    def _verb(self) -> Verb:
        pair = (self._word_here(), self._tokens[min(self._next + 1, len(self._tokens) - 1)][0])
        if pair not in _VERBS:
            self._refuse("one of " + ", ".join(" ".join(words) for words in _VERBS))
        self._next += 2
        return _VERBS[pair]

    def _either(self) -> Where:
        parts = [self._all()]
        while self._taken("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _all(self) -> Where:
        parts = [self._part()]
        while self._taken("and"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self) -> Where:
        """Read a part; what nests too deeply is refused before it exhausts the stack."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"at most {MAX_DEPTH} parts within each other")
        found = self._one()
        self._depth -= 1
        return found

    def _one(self) -> Where:
        if self._taken("not"):
            return Not(self._part())
        if self._taken("("):
            inner = self._either()
            self._require(")")
            return inner
        fact = self._word_here()
        if fact not in BY_NAME:
            self._refuse("the name of a fact")
        self._next += 1
        return self._membership(fact)

    def _membership(self, fact: str) -> Where:
        if self._taken("="):
            return Is(fact, self._values(fact))
        if self._taken("!="):
            return Not(Is(fact, self._values(fact)))
        outside = self._taken("not")
        if not self._taken("in"):
            self._refuse("`in`" if outside else "`=`, `!=`, `in` or `not in`")
        found = Is(fact, self._list(fact))
        return Not(found) if outside else found

    def _list(self, fact: str) -> frozenset[str]:
        if self._word_here().startswith("@"):
            return self._values(fact)
        self._require("(")
        values = self._values(fact)
        while self._taken(","):
            values |= self._values(fact)
        self._require(")")
        return values

    def _values(self, fact: str) -> frozenset[str]:
        word, domain = self._word_here(), frozenset(BY_NAME[fact].values)
        values = self._sets.get(word[1:], frozenset()) if word.startswith("@") else frozenset({word})
        if not values or not values <= domain:
            self._refuse(f"a value of {fact!r} ({', '.join(BY_NAME[fact].values)})")
        self._next += 1
        return values

    def _word_here(self) -> str:
        return self._tokens[self._next][0]

    def _taken(self, token: str) -> bool:
        found = self._word_here() == token
        self._next += found
        return found

    def _require(self, token: str) -> None:
        if not self._taken(token):
            self._refuse(f"`{token}`")

    def _name(self) -> str:
        """Return the name of a duty or reason; one that holds more than a word stands in double quotes."""
        word = self._word_here()
        if not word.startswith('"'):
            return self._word("the name of a duty or reason")
        self._next += 1
        return word[1:-1]

    def _word(self, what: str) -> str:
        word = self._word_here()
        if not re.fullmatch(r"[a-z0-9_]+", word):
            self._refuse(what)
        self._next += 1
        return word

    def _refuse(self, wanted: str) -> NoReturn:
        word, place = self._tokens[self._next]
        found = f"found {word!r}" if word else "the claim ends"
        raise InputError(f"claim, character {place + 1}: expected {wanted}, {found}")


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            at = place + len(text[place:]) - len(text[place:].lstrip())
            raise InputError(f"claim, character {at + 1}: {text[at]!r} has no meaning here")
        yield found[found.lastindex or 0], found.start(found.lastindex or 0)
        place = found.end()
