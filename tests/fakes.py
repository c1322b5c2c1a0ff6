"""Faults to order: statements that fail when and where a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event

from consent_gateway.db.engine import Store

WRITES = ("INSERT", "UPDATE", "DELETE")


class PowerCutError(Exception):
    """The process died here."""


class Faults:
    """Counts what a store is asked to write; `at` says before which write (from 1) or commit (0) it dies."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.when: Callable[[str], bool] = lambda _statement: False
        self.writes = 0

    def before_statement(self, statement: str) -> None:
        """A statement is about to run."""
        if not statement.startswith(WRITES):
            return
        self.writes += 1
        if self.writes == self.at or self.when(statement):
            raise PowerCutError

    def before_commit(self) -> None:
        """Everything is written and about to be made durable."""
        if self.at == 0:
            raise PowerCutError

    @contextmanager
    def cut(self, at: int | None = None, when: Callable[[str], bool] | None = None) -> Iterator[None]:
        """Fail inside the block as ordered; afterwards everything works again."""
        self.at, self.writes = at, 0
        self.when = when or (lambda _statement: False)
        try:
            yield
        finally:
            self.at, self.when = None, lambda _statement: False


def faults_of(store: Store) -> Faults:
    """Put a store under the control of a test."""
    faults = Faults()
    event.listen(store.engine, "before_cursor_execute", lambda _c, _cur, sql, *_more: faults.before_statement(sql))
    event.listen(store.engine, "commit", lambda _c: faults.before_commit())
    return faults
