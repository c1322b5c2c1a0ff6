"""Rows by the thousand: the driver's own statements, with rows as tuples in the order of the columns they name.

Building a statement's parameters from a dictionary a row costs more than the insert itself, and that is most of what
taking in a person costs the store. Invariants: the connection, transaction and errors are those of every other
statement; no value is part of a statement's text; a column that is not named gets its table's default.

PostgreSQL takes new rows by COPY, and rows that may exist as one array a column; SQLite a prepared statement that is
run for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Table

from consent_gateway.db.engine import Session
from consent_gateway.db.failures import of_statement

Names = tuple[str, ...]
Rows = Sequence[tuple[Any, ...]]


def insert_many(session: Session, table: Table, names: Names, rows: Rows) -> None:
    """Insert new rows of the columns `names`; RaceError if a unique key is taken."""
    if not rows:
        return
    if session.dialect.name == "sqlite":
        session.exec_driver_sql(_insert(table.name, names), list(rows))
        return
    _copy(session, f"COPY {table.name} ({', '.join(names)}) FROM STDIN", rows)


def upsert_many(session: Session, table: Table, names: Names, rows: Rows) -> None:
    """Insert rows of the columns `names`, or overwrite those columns, by primary key; each key once."""
    if not rows:
        return
    keys = tuple(c.name for c in table.primary_key.columns)
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}"
    if session.dialect.name == "sqlite":
        session.exec_driver_sql(f"{_insert(table.name, names)} {conflict}", list(rows))
        return
    arrays = ", ".join(f"%s::{table.c[name].type.compile(session.dialect)}[]" for name in names)
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays}) {conflict}"  # noqa: S608 - our names
    session.exec_driver_sql(statement, tuple(list(column) for column in zip(*rows, strict=True)))


@lru_cache(maxsize=64)
def _insert(table: str, names: Names) -> str:
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - our names


def _copy(session: Session, statement: str, rows: Rows) -> None:
    errors: Any = session.dialect.loaded_dbapi
    driver: Any = session.connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except errors.Error as error:
        raise of_statement(statement, error, errors.Error) from None
