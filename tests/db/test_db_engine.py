"""The store: durable settings that are read back, one commit, writers that queue, and errors that carry no values."""

from __future__ import annotations

import logging
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, func, insert, select, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from consent_gateway.db import engine as engine_module
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.tables import purposes, suppressions
from consent_gateway.errors import ConflictError, GatewayError, StoreError

CANARY = "canary-7f3a@example.org"


def row(token: bytes = b"t" * 16, reason: str = "unsubscribe") -> dict[str, object]:
    return {"token": token, "kind": "email", "reason": reason, "at": 1}


def count(store: Store) -> int:
    with store.reading() as session:
        return session.execute(select(func.count()).select_from(suppressions)).scalar() or 0


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(sqlite_url(str(tmp_path / "one.sqlite3")))
    yield store
    store.dispose()


# -- settings ------------------------------------------------------------------------------------------------------


def test_a_store_as_it_is_opened_is_durable(store: Store) -> None:
    store.verify()
    store.ping()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("temp_store", 2),
        ("busy_timeout", 10_000),
    ],
)
def test_every_connection_has_the_settings(sqlite_store: Store, pragma: str, value: object) -> None:
    with sqlite_store.reading() as one, sqlite_store.reading() as other:
        assert [s.exec_driver_sql(f"PRAGMA {pragma}").scalar() for s in (one, other)] == [value, value]


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("synchronous", "NORMAL"),  # acknowledged commits are lost at power loss
        ("synchronous", "OFF"),
        ("journal_mode", "DELETE"),
        ("journal_mode", "MEMORY"),
        ("temp_store", "FILE"),  # personal data in temporary files
        ("secure_delete", "OFF"),  # erased bytes stay in the file
        ("secure_delete", "FAST"),  # and so do those of freed pages
    ],
)
def test_a_planted_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, value: str) -> None:
    monkeypatch.setitem(engine_module._SQLITE_PRAGMAS, pragma, value)
    store = Store(sqlite_url(str(tmp_path / "weak.sqlite3")))
    with pytest.raises(StoreError, match=pragma):
        store.verify()
    store.dispose()


@pytest.mark.postgres
def test_a_postgres_that_forgets_commits_is_refused(postgres_server: str) -> None:
    store = Store(postgres_server)
    event.listen(store.engine, "begin", lambda c: c.exec_driver_sql("SET LOCAL synchronous_commit = off"))
    with pytest.raises(StoreError, match="synchronous_commit"):
        store.verify()
    store.dispose()


# -- transactions --------------------------------------------------------------------------------------------------


def test_a_use_case_is_committed_as_a_whole(store: Store) -> None:
    with store.transaction() as session:
        session.execute(insert(suppressions), [row(), row(b"u" * 16)])
        assert count(store) == 0  # nobody sees half of it
    assert count(store) == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ConflictError])
def test_any_exception_rolls_back(store: Store, error: type[BaseException]) -> None:
    def fail() -> None:
        with store.transaction() as session:
            session.execute(insert(suppressions), [row()])
            raise error

    with pytest.raises(error):
        fail()
    assert count(store) == 0
    with store.transaction() as session:  # and the connection comes back clean
        session.execute(insert(suppressions), [row()])
    assert count(store) == 1


def test_a_reader_sees_one_snapshot_and_waits_for_no_writer(sqlite_store: Store) -> None:
    with sqlite_store.transaction() as session:
        session.exec_driver_sql("CREATE TABLE t (n)")
        session.exec_driver_sql("INSERT INTO t VALUES (1)")
    with sqlite_store.reading() as reader:
        before = reader.exec_driver_sql("SELECT count(*) FROM t").scalar()
        with sqlite_store.transaction() as writer:
            writer.exec_driver_sql("INSERT INTO t VALUES (2)")
        assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar() == before == 1


def began(store: Store) -> list[str]:
    """The BEGIN statements that the driver is sent from here on, on connections that are made from here on."""
    seen: list[str] = []

    def watch(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(lambda sql: seen.append(sql) if sql.startswith("BEGIN") else None)

    event.listen(store.engine, "connect", watch)
    return seen


def test_a_writer_takes_the_lock_at_once_and_a_reader_does_not(sqlite_store: Store) -> None:
    seen = began(sqlite_store)
    with sqlite_store.transaction():
        pass
    with sqlite_store.reading():
        pass
    assert seen == ["BEGIN IMMEDIATE", "BEGIN"]


def test_writers_of_one_process_queue(sqlite_store: Store) -> None:
    """Read, then write, many at a time: without the lock at BEGIN, increments would be lost or refused."""
    with sqlite_store.transaction() as session:
        session.exec_driver_sql("CREATE TABLE t (n)")
        session.exec_driver_sql("INSERT INTO t VALUES (0)")
    threads, rounds = 6, 10
    start = threading.Barrier(threads)
    failures: list[BaseException] = []

    def work() -> None:
        start.wait()
        try:
            for _ in range(rounds):
                with sqlite_store.transaction() as session:
                    n = session.exec_driver_sql("SELECT n FROM t").scalar()
                    session.exec_driver_sql("UPDATE t SET n = ?", (n + 1,))
        except GatewayError as error:
            failures.append(error)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert failures == []
    with sqlite_store.reading() as session:
        assert session.exec_driver_sql("SELECT n FROM t").scalar() == threads * rounds


def test_a_writer_who_never_pauses_lets_those_who_wait_go_first(sqlite_store: Store) -> None:
    """Whoever waited when a transaction ended comes before the next one of the same thread, every time."""
    order: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        with sqlite_store.transaction():
            order.append("waited")

    for _ in range(20):
        waiting.clear()
        with sqlite_store.transaction():
            waiter = threading.Thread(target=wait)
            waiter.start()
            waiting.wait()
            while not sqlite_store._turns._turn.locked():  # until it waits for its turn
                pass
        with sqlite_store.transaction():
            order.append("came back")
        waiter.join()
    assert order == ["waited", "came back"] * 20


def test_whoever_had_no_turn_in_time_takes_nothing(tmp_path: Path) -> None:
    store = Store(sqlite_url(str(tmp_path / "one.sqlite3")), deadline=0.01)
    refused: list[StoreError] = []

    def too_late() -> None:
        try:
            with store.transaction():
                pass
        except StoreError as error:
            refused.append(error)

    with store.transaction():
        late = threading.Thread(target=too_late)
        late.start()
        late.join()
    assert [error.retry_after for error in refused] == [1]
    with store.transaction(), store.reading():  # neither the turn nor the place was kept
        pass
    store.dispose()


def test_what_the_driver_refuses_is_an_error_of_ours(store: Store) -> None:
    with pytest.raises(StoreError, match=r"not able to do this|unreachable") as raised, store.transaction() as session:
        engine_module.asked(session, f"SELECT {CANARY!r} FROM nowhere")
    assert CANARY not in str(raised.value)
    with store.reading() as session:
        assert engine_module.asked(session, "SELECT 1 WHERE 1 = 0") is None


def test_a_lock_that_somebody_else_holds_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine_module._SQLITE_PRAGMAS, "busy_timeout", "20")
    path = tmp_path / "locked.sqlite3"
    store = Store(sqlite_url(str(path)))
    store.ping()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as caught, store.transaction():
        pass
    assert caught.value.retry_after == 1
    other.execute("ROLLBACK")
    other.close()
    with store.transaction():
        pass
    store.dispose()


# -- errors --------------------------------------------------------------------------------------------------------


def told(error: BaseException) -> str:
    """Everything that a log would show of an error."""
    return "".join(traceback.format_exception(error))


def test_a_taken_key_is_a_conflict_without_the_value(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def twice() -> None:
        with store.transaction() as session:
            for _ in range(2):
                values = {"id": CANARY[:40], "kind": "x", "title": CANARY, "title_zh": "", "dpv_iri": "", "basis": ""}
                session.execute(insert(purposes), [values])

    with caplog.at_level(logging.DEBUG), pytest.raises(ConflictError) as caught:
        twice()
    assert CANARY not in told(caught.value)
    assert CANARY not in caplog.text


def test_the_driver_itself_would_have_told_the_value(store: Store) -> None:
    """The planted counterpart: without the translation the value is in the text, on PostgreSQL even when hidden."""
    bare = create_engine(store.engine.url)
    values = {"id": CANARY[:40], "kind": "x", "title": "", "title_zh": "", "dpv_iri": "", "basis": ""}

    def twice() -> None:
        with bare.begin() as connection:
            for _ in range(2):
                connection.execute(insert(purposes), [values])

    with pytest.raises(Exception, match=r"UNIQUE|duplicate") as caught:
        twice()
    assert CANARY in told(caught.value)
    bare.dispose()


@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere WHERE x = :v", "INSERT INTO purposes (id) VALUES (:v)"])
def test_a_failing_statement_tells_neither_text_nor_values(store: Store, statement: str) -> None:
    with pytest.raises(StoreError) as caught, store.transaction() as session:
        session.execute(text(statement), {"v": CANARY})
    assert CANARY not in told(caught.value)
    assert statement not in caught.value.detail


def test_errors_that_are_not_the_drivers_pass_through(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        _ = 1 // 0


def test_a_store_that_cannot_be_reached(tmp_path: Path) -> None:
    store = Store(sqlite_url(str(tmp_path / "no" / "such" / "folder.sqlite3")))
    with pytest.raises(StoreError) as caught:
        store.ping()
    assert "folder" not in told(caught.value)


def test_a_pool_that_is_empty_is_an_error_of_ours(tmp_path: Path) -> None:
    store = Store(sqlite_url(str(tmp_path / "small.sqlite3")))

    def exhausted(*_: object) -> None:
        raise PoolTimeoutError(f"pool limit reached for {CANARY}")

    event.listen(store.engine, "checkout", exhausted)
    with pytest.raises(StoreError) as caught:
        store.ping()
    assert CANARY not in told(caught.value)
    store.dispose()
