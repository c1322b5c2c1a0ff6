"""What an error of a driver means. Their texts can hold values, so none of them goes on (P7)."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from consent_gateway.errors import InputError, RaceError, StoreError

# PostgreSQL: unique violation, deadlock, serialisation failure. Sent again, each can succeed.
_RACES = frozenset({"23505", "40P01", "40001"})


def is_locked(error: object) -> bool:
    """Tell whether somebody held the file of SQLite for longer than we wait."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


def of_statement(statement: str, error: Exception, base: type[Exception]) -> StatementError:
    """Return what SQLAlchemy raises for a driver's error where a statement went to the driver itself.

    `base` is the driver's own `Error`; what `translated` tells from it is then the same for every statement.
    """
    return DBAPIError.instance(statement, None, error, base, hide_parameters=True)


def translated(error: DBAPIError) -> StoreError | RaceError | InputError:
    """Return an error of the driver as one of ours."""
    original = error.orig
    if getattr(original, "sqlstate", None) in _RACES or "UNIQUE constraint" in str(original):
        return RaceError()
    if str(getattr(original, "sqlstate", "")).startswith("22"):
        return InputError("a value does not fit the column it is for")
    kind = "unreachable, locked or full" if isinstance(error, OperationalError) else "not able to do this"
    return StoreError(f"the store is {kind} ({type(original).__name__})", retry_after=1)
