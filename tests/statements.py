"""Statements compiled once per worker instead of once per store.

SQLAlchemy keeps what it compiled with the engine, and each test has an engine of its own: a third of a test's time went
into compiling the statements that the test before it had compiled too. Here all engines of one kind share what was
compiled; dialects of one kind are set up alike, so the text is the same. What runs against the store is unchanged.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event

_MOST = 4000


class Compiled(dict[Any, Any]):
    """What was compiled, by the kind of dialect where SQLAlchemy asks by the very dialect; emptied when it is full."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_alike(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) >= _MOST:
            self.clear()
        super().__setitem__(_alike(key), value)


_COMPILED = Compiled()


def share() -> None:
    """Let every engine of this process share what was compiled."""
    event.listen(Engine, "engine_connect", _shared)


def _shared(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_COMPILED)


def _alike(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return (type(key[0]), *key[1:])
