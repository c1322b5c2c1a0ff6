"""The few statements that SQLite and PostgreSQL spell alike but SQLAlchemy keeps apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql, sqlite

from consent_gateway.db.engine import Session

T = TypeVar("T")
Row = Mapping[str, Any]
_IN_LIMIT = 500  # values of one IN list: within every driver's parameter limit


def insert_ignoring(session: Session, table: Table, rows: Sequence[Row], returning: Column[Any]) -> list[Any]:
    """Insert `rows`, skip those that a unique key already holds, and return `returning` of the inserted ones."""
    if not rows:
        return []
    statement = _insert(session.dialect.name, table).on_conflict_do_nothing().returning(returning)
    return list(session.execute(statement, list(rows)).scalars())


def upsert(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """Insert `rows` or overwrite the columns they name, by primary key; all rows name the same columns."""
    if rows:
        session.execute(_upserting(session.dialect.name, table, tuple(rows[0])), list(rows))


@cache  # of tables and sets of their columns there are a few dozen
def _upserting(dialect: str, table: Table, names: tuple[str, ...]) -> Any:
    """Build the statement once for each table and set of columns: building it costs as much as running it."""
    statement = _insert(dialect, table)
    keys = [c.name for c in table.primary_key.columns]
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    if not changed:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def add_up(session: Session, table: Table, rows: Sequence[Row], column: Column[int]) -> None:
    """Insert `rows`, or add their `column` to that of the row which has the same primary key."""
    if not rows:
        return
    statement = _insert(session.dialect.name, table)
    keys = [c.name for c in table.primary_key.columns]
    total = column + statement.excluded[column.name]
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_={column.name: total}), list(rows))


def chunks(values: Iterable[T], size: int = _IN_LIMIT) -> Iterator[list[T]]:
    """Cut `values` into lists of at most `size`."""
    batch: list[T] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _insert(dialect: str, table: Table) -> Any:
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)
