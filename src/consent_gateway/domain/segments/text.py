r"""The text form of segments, for people.

::

    segment  = both { "or" both }                  both = single { "and" single }
    single   = "not" single | "(" segment ")" | clause
    clause   = "everyone"
             | name op value                       op: == != < <= > >=
             | name "in" "[" value {"," value} "]"
             | name "is" "known"
             | name ("older" | "newer") "than" duration
             | "count" "(" name ["," duration] ")" op integer
             | ("first" | "last") "(" name ")" ("older" | "newer") "than" duration
    value    = integer | "text" | true | false | 2026-01-31
    duration = 90d (also w, h, min, s)             name = city, or `city` where the name is a word of the language

Texts are written as in JSON. `to_text` puts every group inside another and everything after `not` in parentheses,
so that nobody needs to remember which word binds stronger. The parser descends recursively, with its depth bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import NoReturn

from consent_gateway.domain.ids import TraitId
from consent_gateway.domain.segments.checks import MAX_DEPTH, form_problems, refuse, tree_problems
from consent_gateway.domain.segments.trees import (
    Age,
    And,
    Clause,
    Edge,
    EventClause,
    EventCount,
    EventWithin,
    Everyone,
    Not,
    Op,
    Or,
    Segment,
    TraitClause,
    TraitCompare,
    TraitIn,
    TraitKnown,
    TraitWithin,
    Value,
    read_date,
    read_duration,
    write_duration,
)
from consent_gateway.errors import FieldProblem, InputError

MAX_LENGTH = 50_000  # characters; the largest tree within the limits is shorter
_MAX_NESTING = 2 * MAX_DEPTH  # a level of the tree is written with a `not` and a parenthesis at most
_RESERVED = frozenset({"and", "or", "not", "everyone"})
_LITERALS = {"true": True, "false": False}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?!\w))
    | (?P<integer>-?[0-9]{1,19}(?!\w))
    | (?P<duration>[0-9]{1,10}(?:min|[wdhs])(?!\w))
    | (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<quoted>`[a-z0-9_]*`)
    | (?P<word>[a-z][a-z0-9_]*(?!\w))
    | (?P<sign>==|!=|<=|>=|<|>|[()\[\],])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


def to_text(segment: Segment) -> str:
    """Write a segment in the readable form; `parse_text` reads it back."""
    match segment:
        case And(parts):
            return " and ".join(map(_operand, parts))
        case Or(parts):
            return " or ".join(map(_operand, parts))
        case Not(part):
            return f"not ({to_text(part)})"
        case Everyone():
            return "everyone"
        case EventCount() | EventWithin():
            return _event_text(segment)
        case _:
            return f"{_name(segment.trait)} {_question_text(segment)}"


def _operand(segment: Segment) -> str:
    text = to_text(segment)
    return f"({text})" if isinstance(segment, And | Or) else text


def _event_text(clause: EventClause) -> str:
    if isinstance(clause, EventWithin):
        return f"{clause.edge}({_name(clause.type)}) {clause.age} than {write_duration(clause.seconds)}"
    window = "" if clause.within is None else f", {write_duration(clause.within)}"
    return f"count({_name(clause.type)}{window}) {clause.op} {clause.count}"


def _question_text(clause: TraitClause) -> str:
    match clause:
        case TraitCompare(op=op, value=value):
            return f"{op} {_value_text(value)}"
        case TraitIn(values=values):
            return f"in [{', '.join(map(_value_text, values))}]"
        case TraitKnown():
            return "is known"
        case TraitWithin(age=age, seconds=seconds):
            return f"{age} than {write_duration(seconds)}"


def _value_text(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False)


def _name(name: str) -> str:
    return f"`{name}`" if name in _RESERVED else name


def parse_text(text: str) -> Segment:
    """Read a segment from its text form.

    Raises `InputError` whose `fields` give the place as `column n`, counted in characters from 1: `syntax`, and
    those of `checks.tree_problems` and `form_problems`.
    """
    if len(text) > MAX_LENGTH:
        _fail(_Token("end", "", MAX_LENGTH + 1), f"at most {MAX_LENGTH} characters are read")
    parser = _Parser(_tokens(text))
    segment = parser.segment(0)
    parser.expect("", "`and`, `or` or the end")
    _refuse_at(tree_problems(segment), 1)
    return segment


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            _fail(_Token("", "", start + 1), "this is not a word, number, date, duration, text or sign")
        tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens; each method reads one rule of the grammar and leaves the rest."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def segment(self, nesting: int) -> Segment:
        return self._group("or", Or, lambda: self._group("and", And, lambda: self._single(nesting)))

    def expect(self, text: str, wanted: str = "") -> _Token:
        """Take the next token, which must be the word or sign `text`."""
        if self._peek().text != text:
            _fail(self._peek(), f"{wanted or f'`{text}`'} is expected here")
        return self._take()

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _accept(self, *texts: str) -> str | None:
        """Take the next token if it is one of these words or signs."""
        token = self._peek()
        return self._take().text if token.kind in ("word", "sign") and token.text in texts else None

    def _group(self, word: str, kind: Callable[[tuple[Segment, ...]], Segment], part: Callable[[], Segment]) -> Segment:
        parts = [part()]
        while self._accept(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _single(self, nesting: int) -> Segment:
        if nesting > _MAX_NESTING:
            _fail(self._peek(), f"a segment is at most {MAX_DEPTH} levels deep", "too_deep")
        if self._accept("not"):
            return Not(self._single(nesting + 1))
        if self._accept("("):
            inner = self.segment(nesting + 1)
            self.expect(")", "`and`, `or` or `)`")
            return inner
        column = self._peek().column
        clause = self._clause()
        _refuse_at(form_problems(clause, "$"), column)
        return clause

    def _clause(self) -> Clause:
        if self._accept("everyone"):
            return Everyone()
        called = self._tokens[self._at + 1].text == "(" if self._peek().kind == "word" else False
        if called and self._accept("count"):
            return self._count()
        if called and (edge := self._accept(*Edge)):
            self.expect("(")
            kind = self._read_name("an event type")
            self.expect(")")
            age = self._accept(*Age) or _fail(self._peek(), "`older` or `newer` is expected here")
            return EventWithin(kind, Edge(edge), Age(age), self._than())
        return self._question(TraitId(self._read_name("a trait, `count`, `first`, `last`, `everyone`, `not` or `(`")))

    def _count(self) -> EventCount:
        self.expect("(")
        kind = self._read_name("an event type")
        within = self._duration() if self._accept(",") else None
        self.expect(")", "`,` or `)`" if within is None else "`)`")
        op = self._accept(*Op) or _fail(self._peek(), f"one of {' '.join(Op)} is expected here")
        return EventCount(kind, Op(op), int(self._take_kind("integer", "an integer").text), within)

    def _question(self, trait: TraitId) -> Clause:
        if op := self._accept(*Op):
            return TraitCompare(trait, Op(op), self._value())
        if self._accept("in"):
            return TraitIn(trait, self._values())
        if self._accept("is"):
            self.expect("known")
            return TraitKnown(trait)
        if age := self._accept(*Age):
            return TraitWithin(trait, Age(age), self._than())
        return _fail(self._peek(), f"one of {' '.join(Op)} in is older newer is expected here")

    def _values(self) -> tuple[int | str, ...]:
        self.expect("[")
        values = [self._listed()]
        while self._accept(","):
            values.append(self._listed())
        self.expect("]", "`,` or `]`")
        return tuple(values)

    def _listed(self) -> int | str:
        token = self._peek()
        value = self._value()
        return _fail(token, "a list has no dates") if isinstance(value, date) else value

    def _value(self) -> Value:
        token = self._take()
        if token.kind == "date":
            return read_date(token.text) or _fail(token, "there is no such day")
        if token.kind == "integer":
            return int(token.text)
        if token.kind == "text":
            return _unquote(token)
        if token.kind == "word" and token.text in _LITERALS:
            return _LITERALS[token.text]
        return _fail(token, "an integer, a text in double quotes, true, false or a date is expected here")

    def _than(self) -> int:
        self.expect("than")
        return self._duration()

    def _duration(self) -> int:
        token = self._take_kind("duration", "a duration such as 90d")
        seconds = read_duration(token.text)
        return seconds if seconds is not None else _fail(token, "a duration such as 90d is expected here")

    def _read_name(self, wanted: str) -> str:
        if self._peek().kind == "quoted":
            return self._take().text.strip("`")
        if self._peek().text in _RESERVED:
            _fail(self._peek(), f"{wanted} is expected here; a name that is a word of the language needs backquotes")
        return self._take_kind("word", wanted).text

    def _take_kind(self, kind: str, wanted: str) -> _Token:
        if self._peek().kind != kind:
            _fail(self._peek(), f"{wanted} is expected here")
        return self._take()


def _unquote(token: _Token) -> str:
    try:
        return str(json.loads(token.text))
    except ValueError:
        _fail(token, "the text is not written as in JSON")


def _refuse_at(problems: Iterable[FieldProblem], column: int) -> None:
    refuse([replace(problem, path=f"column {column}") for problem in problems])


def _fail(token: _Token, message: str, code: str = "syntax") -> NoReturn:
    path = f"column {token.column}"
    raise InputError(f"The segment is not valid at {path}: {message}.", fields=(FieldProblem(path, code, message),))
