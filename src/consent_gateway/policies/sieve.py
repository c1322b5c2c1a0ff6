"""All conditions of a residual at once: a few look-ups say which rules fire, whatever the number of rules.

Every condition of the tables (a rule's `when` with its pack's territory, each `unless`, each further territory) gets
one bit. Each value of each fact excludes some conditions, so it has the set of those it leaves *open*. The conditions
that hold at a point are the intersection of the sets of its values. Facts are gathered into groups of at most
`GROUP_LIMIT` combinations, and a group remembers the intersection for each combination it has met: a point is decided
by one look-up a group. The bits lie in segments of equal width, rule `i` at place `i` of each:

    when | unless 1 | unless 2 | ... | territory 1 | territory 2 | ...

so that one shift lines them up: a rule fires where its `when` is open, no `unless` is, and some territory is. The last
places of a segment stand for the packs themselves (they bind). The fired set determines verdicts, reasons and duties;
there are few of them, so each is joined into an answer once and kept.

Invariants: the fired set is that of `Rule.holds` and `Pack.binds` (proven by differential tests); memory is bounded by
`GROUP_LIMIT` a group and `INTERNED` answers; nothing depends on which points were asked before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from consent_gateway.domain.decisions import Answer
from consent_gateway.policies.combine import Reasons, Verdict, combine
from consent_gateway.policies.vocabulary import BITS, FIELD

GROUP_LIMIT = 1024
INTERNED = 65_536


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
        return replace(self, territory=(0,) if 0 in territory else territory, rows=rows)

    def verdict(self, fired: list[int]) -> Verdict:
        """Return what the pack says where it binds and the rows with the numbers `fired` fire."""
        first = min(fired, default=self.first_duty)
        if self.default is not None and first >= self.first_duty:
            return Verdict(self.name, self.jurisdiction, denies=True, fired=[*fired, self.default])
        return Verdict(self.name, self.jurisdiction, first < self.first_permit, fired)


def _residual(row: Row, fixed: int, fields: int) -> Row | None:
    """Drop what the fixed facts decide: the row if it is excluded or lifted, an `unless` that cannot hold."""
    open_lifted = tuple(u & ~fields for u in row.lifted if not u & fixed)
    if row.blocked & fixed or 0 in open_lifted:
        return None
    return Row(row.blocked & ~fields, open_lifted, row.number)


class _Group(dict[int, int]):
    """The conditions that one combination of some facts leaves open, filled as combinations are met."""

    def __init__(self, opens: dict[int, int], everything: int) -> None:
        super().__init__()
        self._opens = opens
        self._everything = everything

    def __missing__(self, key: int) -> int:
        left, rest = self._everything, key
        while rest:
            value = rest & -rest
            left &= self._opens[value]
            rest ^= value
        self[key] = left
        return left


class Sieve:
    """Compiled tables for points that are well formed and agree with what the tables were specialised to."""

    def __init__(self, reasons: Reasons, tables: Sequence[Table], *, marketing: bool) -> None:
        self.tables = tuple(tables)
        self._reasons, self._marketing = reasons, marketing
        self.rows = tuple(row for table in self.tables for row in table.rows)
        self._width = len(self.rows) + len(self.tables)
        self._places = (1 << self._width) - 1
        conditions = list(_conditions(self.tables, self._width))
        self._everything = sum(places for places, _ in conditions)
        self.read = _fields_read(blocked for _, blocked in conditions)
        self._groups = tuple(_groups(conditions, self.read, self._everything))
        self._unless = tuple(self._width * n for n in range(1, _most(r.lifted for r in self.rows) + 1))
        first = self._width * (len(self._unless) + 1)
        several = _most(t.territory for t in self.tables)
        self._territory = tuple(first + self._width * n for n in range(several)) if several > 1 else ()
        self._answers: dict[int, Answer] = {}
        self.denying = _places(self.rows, 0, reasons.first_permit)
        self.permitting = tuple(_permitting(self.tables, reasons))

    def fired(self, bits: int) -> int:
        """Return the fired set: one bit a row, in the order of `rows`, and then one a binding table."""
        held = self._everything
        for mask, group in self._groups:
            held &= group[bits & mask]
        found = held & self._places
        for shift in self._unless:
            found &= ~(held >> shift)
        if not self._territory:
            return found
        binding = 0
        for shift in self._territory:
            binding |= held >> shift
        return found & binding

    def answer(self, bits: int) -> Answer:
        """Return the answer without a digest of the facts; equal fired sets share one object."""
        fired = self.fired(bits)
        found = self._answers.get(fired)
        if found is None:
            found = combine(self._reasons, list(self._verdicts(fired)), "", marketing=self._marketing)
            if len(self._answers) >= INTERNED:
                self._answers.clear()
            self._answers[fired] = found
        return found

    def _verdicts(self, fired: int) -> Iterator[Verdict]:
        place, binds = 0, fired >> len(self.rows)
        for table in self.tables:
            if binds & 1:
                yield table.verdict([row.number for n, row in enumerate(table.rows, place) if fired >> n & 1])
            place += len(table.rows)
            binds >>= 1


def _places(rows: Iterable[Row], first: int, last: int) -> int:
    """Return the places of the rows whose number is from `first` up to but not `last`."""
    return sum(1 << place for place, row in enumerate(rows) if first <= row.number < last)


def _permitting(tables: Sequence[Table], reasons: Reasons) -> Iterator[tuple[Table, int, int]]:
    """Yield each table with the places of its permit rows and the place where it says that it binds."""
    place, pack_place = 0, sum(len(table.rows) for table in tables)
    for table in tables:
        yield table, _places(table.rows, reasons.first_permit, reasons.first_duty) << place, 1 << pack_place
        place, pack_place = place + len(table.rows), pack_place + 1


def _conditions(tables: Sequence[Table], width: int) -> Iterator[tuple[int, int]]:
    """Yield the places (a bit set) of every condition and the mask of the values that exclude it.

    A pack's only territory is part of each `when`; where some pack has several, all stand in segments of their own.
    """
    unless = _most(row.lifted for table in tables for row in table.rows)
    several = _most(table.territory for table in tables) > 1
    place, pack_place = 0, sum(len(table.rows) for table in tables)
    for table in tables:
        inner = 0 if several else table.territory[0]
        places = ((1 << len(table.rows)) - 1) << place | 1 << pack_place
        for row in table.rows:
            yield 1 << place, row.blocked | inner
            yield from ((1 << place << width * n, mask) for n, mask in enumerate(row.lifted, 1))
            place += 1
        yield 1 << pack_place, inner
        pack_place += 1
        separate = table.territory if several else ()
        yield from ((places << width * n, mask) for n, mask in enumerate(separate, unless + 1))


def _most(groups: Iterable[Sequence[int]]) -> int:
    return max(map(len, groups), default=0)


def _fields_read(masks: Iterable[int]) -> int:
    """Return the union of the fields of which a mask excludes any value."""
    read = 0
    for mask in masks:
        read |= mask
    return sum(field for field in FIELD.values() if field & read)


def _groups(conditions: Iterable[tuple[int, int]], read: int, everything: int) -> Iterator[tuple[int, _Group]]:
    """Gather the facts that are read, in their order, into groups of at most `GROUP_LIMIT` combinations."""
    excluded = _excluded(conditions)
    mask, size, opens = 0, 1, dict[int, int]()
    for name in (name for name, field in FIELD.items() if field & read):
        if size * len(BITS[name]) > GROUP_LIMIT:
            yield mask, _Group(opens, everything)
            mask, size, opens = 0, 1, {}
        mask, size = mask | FIELD[name], size * len(BITS[name])
        opens |= {bit: everything & ~excluded.get(bit, 0) for bit in BITS[name].values()}
    if mask:
        yield mask, _Group(opens, everything)


def _excluded(conditions: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return the conditions that each value excludes."""
    found: dict[int, int] = {}
    for places, blocked in conditions:
        rest = blocked
        while rest:
            value = rest & -rest
            found[value] = found.get(value, 0) | places
            rest ^= value
    return found
