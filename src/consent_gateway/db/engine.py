"""The store: one engine, durable by construction, and the one place that commits.

A use case runs inside `Store.transaction()`: everything it writes (state, audit entry, idempotency key) is committed
together or not at all. Nothing else in the package calls `commit`.

- **SQLite**: WAL with `synchronous=FULL` (NORMAL loses acknowledged commits at power loss), `BEGIN IMMEDIATE` so that
  a writer never fails half-way for a lock, `secure_delete=ON` so that erased bytes are overwritten (FAST leaves copies
  of them in freed pages), temporary data in memory. Writers of one process queue on a lock instead of polling the file.
- **PostgreSQL**: READ COMMITTED for writers, one snapshot for readers; `fsync` and `synchronous_commit` on; rows are
  locked where a promise needs it. No wait for it is without an end (`db.connections`).

A store that did not answer in time is *silent*: whoever comes next would wait as long, and hold a thread that a no may
need. Once somebody has said that they will ask it again (`watch_silence`), it refuses at once until then.

`Store.verify()` reads the settings back and refuses to start on anything less durable (promise P5).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Error as PostgresError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from consent_gateway.db.connections import Bounds, Server, SilentServerError
from consent_gateway.db.failures import is_locked, of_statement, translated
from consent_gateway.db.turns import Turns
from consent_gateway.errors import CommitInDoubtError, StoreError

Session = Connection  # what services call a session: one connection inside one transaction

_SQLITE_PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "foreign_keys": "ON",
    "secure_delete": "ON",
    "temp_store": "MEMORY",
    "cache_size": "-65536",
}
_SQLITE_MUST_BE = {"journal_mode": ("wal",), "synchronous": (2, 3), "temp_store": (2,), "secure_delete": (1,)}
_SNAPSHOT = "REPEATABLE READ"  # PostgreSQL's: of the first statement, and never in anybody's way
_HARDLY_MS = 20
_RETRY_SILENT = 2
DEADLINE_SECONDS = 10.0
_DURABLE_COMMIT = {"on", "remote_apply", "remote_write", "local"}


class Store:
    """One database. Thread-safe; connections come from a pool and go back clean."""

    def __init__(
        self, url: str, *, pool_size: int = 8, deadline: float = DEADLINE_SECONDS, statement: float = 0.0
    ) -> None:
        """Open it.

        `deadline` (seconds) is how long a writer waits for others, and anybody for an answer. `statement` is how long
        one statement may take that PostgreSQL works on; 0: as long as it likes.
        """
        self._deadline = deadline
        self._told: Callable[[], None] | None = None
        self.is_silent = False
        self.engine = _engine(url, pool_size, deadline)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._server = None if self.is_sqlite else self._bound(Bounds(deadline, statement))
        # The same pool and the same statements. The option is set once: to set it again for each use case is dear.
        self._writing = self.engine.execution_options(begin_immediate=True)
        self._snapshots = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level=_SNAPSHOT)
        self._path = url.partition("///")[2] if self.is_sqlite else ""
        self._file = _identity(self._path)
        self._turns = Turns()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run one use case: commit at the end, roll back on any exception.

        Raises StoreError when the store is unreachable, silent, locked or full, and RaceError when two writers
        raced for one unique key; in both cases nothing was written. CommitInDoubtError when it might have been.
        """
        self._require_answers()
        ending = False
        with self._translated(), self._alone(), self._writing.connect() as connection:
            try:
                with connection.begin():
                    yield connection
                    ending = True
            except DBAPIError as error:
                if ending and error.connection_invalidated:
                    self._hear(error)
                    raise CommitInDoubtError(retry_after=1) from None
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one writer of this process at a time into a SQLite file, in turns; StoreError at the deadline."""
        if not self.is_sqlite:
            yield
            return
        if not self._turns.take(self._deadline):
            raise StoreError("the store is locked: other writers did not end in time", retry_after=1)
        try:
            yield
        finally:
            self._turns.leave()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Read one consistent snapshot; on SQLite this never waits for a writer."""
        if not self.is_sqlite:
            self._require_answers()
        with self._translated(), self._snapshots.connect() as connection, connection.begin():
            yield connection

    def verify(self) -> None:
        """Read the durability settings back; raise StoreError if an acknowledged commit could be lost."""
        with self.reading() as session:
            if self.is_sqlite:
                _verify_sqlite(session)
            else:
                _verify_postgresql(session)

    def truncate_log(self, *, patient: bool = True) -> bool:
        """Move SQLite's write-ahead log into the file and empty it, so that old pages of it do not outlive an erasure.

        Returns False when a reader was in the way (try again later); True elsewhere, where there is nothing to do.
        `patient`: wait for readers as long as any statement would, while writers wait too; else hardly at all.
        """
        if not self.is_sqlite:
            return True
        with self._translated(), self._alone(), self.engine.connect() as connection:
            driver = connection.connection.driver_connection
            return driver is not None and _truncate(driver, patient=patient)

    def is_replaced(self) -> bool:
        """Tell whether another file is at the path than the one that was opened (SQLite): what is written is lost."""
        return self._file is not None and _identity(self._path) != self._file

    def ping(self) -> None:
        """Raise StoreError unless the store answers."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        self._file = _identity(self._path)

    # -- silence -----------------------------------------------------------------------------------------------------

    def watch_silence(self, told: Callable[[], None] | None) -> None:
        """From here on refuse at once while the store is silent: `told` is called then, and has to see to `ask`.

        None: nobody will ask, so everybody waits for themselves.
        """
        self._told, self.is_silent = told, False

    def ask(self) -> None:
        """Let a store that was silent take a commit; StoreError while it does not, and it stays silent."""
        with self._translated():
            if self._server is not None:
                self._server.try_commit()
            else:
                with self._writing.connect() as connection, connection.begin():
                    pass
        self.is_silent = False

    def _require_answers(self) -> None:
        if self.is_silent:
            raise StoreError("the store does not answer", retry_after=_RETRY_SILENT)

    def _fell_silent(self) -> None:
        if self._told is not None and not self.is_silent:
            self.is_silent = True
            self._told()

    def _bound(self, bounds: Bounds) -> Server:
        """Have every connection of the pool made with limits; while the server is silent none is made."""
        server = Server(bounds, self.engine.dialect.create_connect_args(self.engine.url)[1], self._fell_silent)

        def connect(*_: object) -> object:
            if self.is_silent:
                raise SilentServerError("the server is silent")
            return server.connect()

        event.listen(self.engine, "do_connect", connect)
        return server

    def _hear(self, error: DBAPIError) -> None:
        """Notice that the store did not answer in time."""
        if isinstance(error.orig, SilentServerError) or is_locked(error.orig):
            self._fell_silent()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn driver errors into ours; their texts can hold values, so none of them goes on (P7)."""
        try:
            yield
        except DBAPIError as error:
            self._hear(error)
            raise translated(error) from None
        except SQLAlchemyError as error:
            raise StoreError(f"the store failed: {type(error).__name__}", retry_after=1) from None
        except PostgresError as error:  # of a connection of our own (`ask`)
            raise StoreError(f"the store is unreachable ({type(error).__name__})", retry_after=1) from None


def asked(session: Session, statement: str) -> Any:
    """Return the first row that the driver answers to a constant statement, None for none.

    For what every use case asks: SQLAlchemy's way there and back costs ten times what SQLite takes to answer.
    """
    errors: Any = session.dialect.loaded_dbapi
    driver: Any = session.connection.driver_connection
    try:
        return driver.execute(statement).fetchone()
    except errors.Error as error:
        raise of_statement(statement, error, errors.Error) from None


def sqlite_url(path: str) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite+pysqlite:///{path}"


def _identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of a file, None if there is none."""
    if not path or not Path(path).exists():
        return None
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def _engine(url: str, pool_size: int, deadline: float) -> Engine:
    # No parameters in error texts: they would carry what must not be logged (P7).
    options: dict[str, Any] = {
        "hide_parameters": True,
        "pool_size": pool_size,
        "max_overflow": 4,
        "pool_timeout": deadline,
    }
    if url.startswith("sqlite"):
        _make_private(url.partition("///")[2])
        engine = create_engine(url, **options)
        event.listen(engine, "connect", lambda connection, _record: _configure_sqlite(connection, deadline))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(url, pool_pre_ping=True, **options)


def _make_private(path: str) -> None:
    """Create a missing database file readable by its owner alone, before anything is in it."""
    if path and path != ":memory:" and not Path(path).exists() and Path(path).parent.is_dir():
        Path(path).touch(mode=0o600)


def _configure_sqlite(connection: sqlite3.Connection, deadline: float) -> None:
    connection.isolation_level = None  # the module must not begin transactions on its own
    for name, value in _SQLITE_PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")
    connection.execute(f"PRAGMA busy_timeout={round(deadline * 1000)}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("begin_immediate", False)
    asked(connection, "BEGIN IMMEDIATE" if immediate else "BEGIN")


def _truncate(driver: sqlite3.Connection, *, patient: bool) -> bool:
    (before,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout={before if patient else _HARDLY_MS}")
    try:
        return not driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        driver.execute(f"PRAGMA busy_timeout={before}")


def _verify_sqlite(session: Session) -> None:
    for name, allowed in _SQLITE_MUST_BE.items():
        value = session.exec_driver_sql(f"PRAGMA {name}").scalar()
        if value not in allowed:
            raise StoreError(f"SQLite setting {name} is {value!r}; the gateway needs one of {allowed} to keep promises")


def _verify_postgresql(session: Session) -> None:
    fsync = session.exec_driver_sql("SHOW fsync").scalar()
    commit = session.exec_driver_sql("SHOW synchronous_commit").scalar()
    encoding = session.exec_driver_sql("SHOW server_encoding").scalar()
    if fsync != "on" or commit not in _DURABLE_COMMIT:
        raise StoreError(f"PostgreSQL must run with fsync=on and synchronous_commit on (they are {fsync}, {commit})")
    if encoding != "UTF8":
        raise StoreError(f"PostgreSQL must store UTF8 (it stores {encoding})")
