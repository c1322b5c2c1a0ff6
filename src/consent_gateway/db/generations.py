"""Generations of the blind index as rows, and the identifiers under each of them.

A contact point is the first row of an identifier, and its number is that row's; rows under later generations name it in
`point`. So the ledger's contact points stay what they are when the row they began with is gone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, tuple_, update

from consent_gateway.db.dialects import chunks
from consent_gateway.db.engine import Session
from consent_gateway.db.subjects import Token, point_of
from consent_gateway.db.tables import (
    identifiers,
    index_generations,
    quarantine,
    quarantine_identifiers,
    signals,
    suppressions,
    waiting_opt_outs,
)
from consent_gateway.domain.generations import Generation, Generations, GenerationState, generations
from consent_gateway.domain.ids import SubjectId

STRANGERS = (suppressions, waiting_opt_outs, quarantine_identifiers, signals)
_own = identifiers.c
_other = identifiers.alias("other")


def load(session: Session) -> Generations:
    """Return every generation as it stands."""
    found = {}
    for row in session.execute(select(index_generations)):
        state = GenerationState(row.state)
        found[state] = Generation(row.generation, state, row.at, json.loads(row.versions))
    return generations(found)


def begin(session: Session, counts: Generation, number: int, versions: Mapping[str, int], now: int) -> None:
    """Let `number` be the generation that is moving; `counts` is written down if it never was."""
    rows = [_row(number, GenerationState.MOVING, versions, now)]
    if session.execute(select(index_generations.c.generation)).scalar() is None:
        rows.append(_row(counts.number, GenerationState.COUNTS, counts.versions, counts.at))
    session.execute(insert(index_generations), rows)


def switch(session: Session, now: int) -> None:
    """Let the generation that is moving count, and the one that counted leave."""
    _move(session, GenerationState.COUNTS, GenerationState.LEAVING, now)
    _move(session, GenerationState.MOVING, GenerationState.COUNTS, now)


def end(session: Session, number: int) -> None:
    """Forget a generation that has no rows any more."""
    session.execute(delete(index_generations).where(index_generations.c.generation == number))


def _row(number: int, state: GenerationState, versions: Mapping[str, int], now: int) -> dict[str, Any]:
    written = json.dumps(dict(versions), sort_keys=True)
    return {"generation": number, "state": state.value, "versions": written, "position": 0, "at": now}


def _move(session: Session, before: GenerationState, after: GenerationState, now: int) -> None:
    chosen = index_generations.c.state == before.value
    session.execute(update(index_generations).where(chosen).values(state=after.value, position=0, at=now))


# -- identifiers under generations -------------------------------------------------------------------------------------


def count(session: Session, number: int) -> int:
    """Return how many identifiers have a row under a generation."""
    return session.execute(select(func.count()).where(_own.generation == number)).scalar() or 0


def count_missing(session: Session, number: int, new: int) -> int:
    """Return how many contact points have a row under `number` and none under `new`."""
    return session.execute(select(func.count()).where(_lacking(number, new))).scalar() or 0


def lacking(session: Session, number: int, new: int, after: int, limit: int) -> list[SubjectId]:
    """Return the next `limit` subjects above `after` who have a contact point without a row under `new`."""
    statement = select(_own.subject_id).distinct().where(_lacking(number, new), _own.subject_id > after)
    found = session.execute(statement.order_by(_own.subject_id).limit(limit))
    return [SubjectId(i) for i in found.scalars()]


def rows_lacking(session: Session, ids: Collection[SubjectId], number: int, new: int) -> list[dict[str, Any]]:
    """Return `point`, `subject_id`, `kind`, `token`, `suppressed` of the contact points without a row under `new`."""
    columns = (point_of().label("point"), _own.subject_id, _own.kind, _own.token, _own.suppressed)
    found: list[dict[str, Any]] = []
    for part in chunks(ids):
        statement = select(*columns).where(_lacking(number, new), _own.subject_id.in_(part)).order_by(_own.id)
        found += [dict(row) for row in session.execute(statement).mappings()]
    return found


def drop(session: Session, number: int, limit: int) -> int:
    """Delete at most `limit` rows of a generation and return how many went."""
    some = select(_own.id).where(_own.generation == number).limit(limit)
    return session.execute(delete(identifiers).where(_own.id.in_(some))).rowcount


def _lacking(number: int, new: int) -> ColumnElement[bool]:
    same = (_other.c.subject_id == _own.subject_id) & (point_of(_other) == point_of())
    held = select(_other.c.id).where(same, _other.c.generation == new).exists()
    return (_own.generation == number) & ~held


# -- what strangers left under a generation ----------------------------------------------------------------------------


def strangers(session: Session, number: int) -> dict[str, int]:
    """Return how many rows of people nobody knows still carry tokens of a generation, by table; none: not there."""
    counted: dict[str, int] = {}
    for table in STRANGERS:
        found = session.execute(select(func.count()).where(table.c.generation == number)).scalar() or 0
        counted |= {table.name: found} if found else {}
    return counted


def tokens_of_strangers(session: Session, number: int, tokens: Collection[Token]) -> set[Token]:
    """Return which tokens of a generation rows of strangers are kept by."""
    found: set[Token] = set()
    for table in STRANGERS:
        kinds = _kinds(table)
        for part in chunks(tokens, 200):
            pairs = tuple_(kinds, table.c.token).in_([(t.kind, t.value) for t in part])
            statement = select(kinds, table.c.token).where(table.c.generation == number, pairs)
            found.update(Token(kind, bytes(token)) for kind, token in session.execute(statement))
    return found


def rename(session: Session, number: int, names: Sequence[tuple[str, bytes, bytes]]) -> int:
    """Give rows under a generation (kind, token) their lasting token; returns how many got one."""
    changed = 0
    for kind, token, lasting in names:
        for table in STRANGERS:
            chosen = (table.c.generation == number) & (_kinds(table) == kind) & (table.c.token == token)
            changed += _rename(session, table, chosen, lasting)
    return changed


def _kinds(table: Any) -> Any:
    return table.c.identifier_kind if table is signals else table.c.kind


def _rename(session: Session, table: Any, chosen: ColumnElement[bool], lasting: bytes) -> int:
    if table is suppressions:
        kinds = select(table.c.kind).where(chosen)
        twice = (table.c.token == lasting) & table.c.kind.in_(kinds)
        if session.execute(select(table.c.kind).where(twice)).scalar() is not None:
            return session.execute(delete(table).where(chosen)).rowcount
    if table is quarantine_identifiers:
        other = table.alias("renamed")
        held = select(other.c.quarantine_id).where(other.c.token == lasting)
        session.execute(delete(table).where(chosen, table.c.quarantine_id.in_(held)))
    return session.execute(update(table).where(chosen).values(token=lasting, generation=None)).rowcount


def quarantined(session: Session, number: int, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Return id and ciphertext of the next kept rows above `after` that are tied by tokens of a generation."""
    tied = select(quarantine_identifiers.c.quarantine_id).where(quarantine_identifiers.c.generation == number)
    statement = select(quarantine.c.id, quarantine.c.sealed).where(quarantine.c.id.in_(tied), quarantine.c.id > after)
    return [(row.id, bytes(row.sealed)) for row in session.execute(statement.order_by(quarantine.c.id).limit(limit))]


def untie(session: Session, number: int, quarantine_ids: Collection[int]) -> int:
    """Delete the ties by tokens of a generation of kept rows; returns how many there were."""
    ties = quarantine_identifiers
    untied = 0
    for part in chunks(quarantine_ids):
        chosen = (ties.c.generation == number) & ties.c.quarantine_id.in_(part)
        untied += session.execute(delete(ties).where(chosen)).rowcount
    return untied
