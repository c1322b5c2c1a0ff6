"""The driver below the gateway: the same connections with the same durable settings, and nothing in between.

What this does is the limit of the store: nothing that goes through the same driver and flushes as often is faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from consent_gateway.db.engine import Store

Row = Sequence[Any]


class Raw:
    """One driver connection out of a store's pool; single-threaded."""

    def __init__(self, store: Store) -> None:
        self._pooled = store.engine.raw_connection()
        self._driver: Any = self._pooled.driver_connection
        self.is_sqlite = store.is_sqlite
        self.mark = "?" if store.is_sqlite else "%s"

    def close(self) -> None:
        """Give the connection back."""
        self._pooled.close()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Yield a cursor inside one durable transaction."""
        cursor = self._driver.cursor()
        if self.is_sqlite:
            cursor.execute("BEGIN IMMEDIATE")
        yield cursor
        self._driver.commit()

    def insert(self, cursor: Any, table: str, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows the way the gateway must: a prepared statement with many parameters."""
        marks = ", ".join([self.mark] * len(names))
        cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608 - our names

    def load(self, table: str, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Fill a table as fast as the store takes it; COPY on PostgreSQL."""
        with self.transaction() as cursor:
            if self.is_sqlite:
                self.insert(cursor, table, names, rows)
                return
            with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    def all(self, statement: str, parameters: Row = ()) -> list[Any]:
        """Run one reading statement and return its rows."""
        cursor = self._driver.cursor()
        rows: list[Any] = cursor.execute(statement, tuple(parameters)).fetchall()
        self._driver.commit()
        return rows

    def settle(self) -> None:
        """Let PostgreSQL do what autovacuum does after a load: map what is visible, and count."""
        if self.is_sqlite:
            return
        self._driver.autocommit = True
        self._driver.execute("VACUUM ANALYZE")
        self._driver.autocommit = False
