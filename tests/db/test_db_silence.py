"""A PostgreSQL that keeps the connection open and says nothing: every wait ends, and long work that goes on is let go on.

The server falls silent at once, or at a point: before or after it was told the n-th statement or the COMMIT.
"""

from __future__ import annotations

import random  # noqa: TID251 - seeded: the points
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from consent_gateway.db import connections
from consent_gateway.db.connections import BoundConnection, Bounds
from consent_gateway.db.engine import Store
from consent_gateway.errors import CommitInDoubtError, StoreError
from stalling import COMMIT, Proxy, stalling
from templates import fresh_database

DEADLINE = 0.8
LATE = DEADLINE + 4  # what a busy machine adds
STATEMENTS = 5

pytestmark = pytest.mark.postgres


@pytest.fixture
def proxied(postgres_server: str) -> Iterator[tuple[Proxy, str]]:
    with fresh_database(postgres_server) as url, stalling(url) as found:
        yield found


@pytest.fixture
def proxy(proxied: tuple[Proxy, str]) -> Proxy:
    return proxied[0]


@pytest.fixture
def remote(proxied: tuple[Proxy, str]) -> Iterator[Store]:
    """A store behind the proxy, with a table and one connection that is in use."""
    store = Store(proxied[1], deadline=DEADLINE, statement=3 * DEADLINE)
    with store.transaction() as session:
        session.execute(text("CREATE TABLE told (n int)"))
    yield store
    store.dispose()


def tell(store: Store, number: int) -> None:
    with store.transaction() as session:
        for _ in range(STATEMENTS):
            session.execute(text("INSERT INTO told VALUES (:n)"), {"n": number})


def told(store: Store) -> dict[int, int]:
    with store.reading() as session:
        return {row.n: row.times for row in session.execute(text("SELECT n, count(*) AS times FROM told GROUP BY n"))}


def refused(act: Callable[[], object]) -> type[StoreError]:
    begun = time.monotonic()
    with pytest.raises(StoreError) as caught:
        act()
    assert time.monotonic() - begun < LATE
    assert caught.value.retry_after
    return type(caught.value)


def test_a_server_that_accepts_and_says_nothing(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    proxy.freeze()
    store = Store(url, deadline=DEADLINE)
    assert refused(store.ping) is StoreError
    assert proxy.accepted >= 1
    proxy.thaw()
    store.ping()
    store.dispose()


def test_a_connection_that_falls_silent_while_it_is_idle(remote: Store, proxy: Proxy) -> None:
    proxy.freeze()
    assert refused(remote.ping) is StoreError
    assert refused(lambda: tell(remote, 1)) is StoreError
    proxy.thaw()
    tell(remote, 2)
    assert told(remote) == {2: STATEMENTS}


@pytest.mark.parametrize("heard", [True, False])
def test_a_server_that_falls_silent_in_the_middle(remote: Store, proxy: Proxy, *, heard: bool) -> None:
    """Wherever it is, nothing was done: nobody asked for a COMMIT."""
    chance = random.Random(20261130 + heard)  # noqa: S311
    for number in range(3):
        proxy.freeze_at(rb"INSERT INTO told", chance.randint(1, STATEMENTS), heard=heard)
        assert refused(lambda n=number: tell(remote, n)) is StoreError
        assert proxy.frozen.is_set()
        proxy.thaw()
    tell(remote, 9)
    assert told(remote) == {9: STATEMENTS}


@pytest.mark.parametrize(("heard", "lost"), [(True, False), (False, False), (False, True)])
def test_a_commit_without_an_answer_is_said_to_be_in_doubt(
    remote: Store, proxy: Proxy, *, heard: bool, lost: bool
) -> None:
    proxy.freeze_at(COMMIT, heard=heard)
    assert refused(lambda: tell(remote, 1)) is CommitInDoubtError
    proxy.thaw(drop=lost)
    with remote.transaction() as session:  # waits for what may still hold the table
        session.execute(text("LOCK TABLE told IN ACCESS EXCLUSIVE MODE"))
    assert told(remote) == ({} if lost else {1: STATEMENTS}), "all of it or nothing"


def test_a_commit_that_the_server_refuses_is_not_in_doubt(remote: Store) -> None:
    with remote.transaction() as session:
        session.execute(text("CREATE TEMPORARY TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        session.execute(text("INSERT INTO later VALUES (1)"))
    with pytest.raises(Exception) as caught, remote.transaction() as session:
        session.execute(text("INSERT INTO later VALUES (1)"))
    assert not isinstance(caught.value, CommitInDoubtError)


def test_long_work_goes_on_and_ends_where_the_server_ends_it(remote: Store) -> None:
    def sleep(seconds: float) -> None:
        with remote.transaction() as session:
            session.execute(text("SELECT pg_sleep(:s)"), {"s": seconds})

    sleep(DEADLINE * 1.5)
    begun = time.monotonic()
    with pytest.raises(StoreError):
        sleep(60)
    assert DEADLINE * 3 <= time.monotonic() - begun < DEADLINE * 3 + LATE
    remote.ping()


def test_long_work_is_given_up_when_the_server_falls_silent_meanwhile(remote: Store, proxy: Proxy) -> None:
    def work() -> None:
        with remote.transaction() as session:
            session.execute(text("SELECT pg_sleep(60)"))

    proxy.freeze_at(rb"pg_sleep", heard=True)
    assert refused(work) is StoreError


def test_while_somebody_will_ask_it_again_a_silent_store_refuses_at_once(remote: Store, proxy: Proxy) -> None:
    bell = threading.Event()
    remote.watch_silence(bell.set)
    proxy.freeze()
    assert refused(remote.ping) is StoreError
    assert bell.is_set()
    begun = time.monotonic()
    for _ in range(10):
        assert refused(remote.ping) is StoreError
        assert refused(lambda: tell(remote, 1)) is StoreError
    assert time.monotonic() - begun < DEADLINE / 2
    assert refused(remote.ask) is StoreError
    proxy.thaw()
    assert remote.is_silent, "until it was asked"
    remote.ask()
    tell(remote, 2)
    assert told(remote) == {2: STATEMENTS}


def test_whoever_may_do_little_can_ask(remote: Store, proxied: tuple[Proxy, str]) -> None:
    with remote.transaction() as session:
        session.execute(text("CREATE ROLE little LOGIN"))
    plain = Store(proxied[1].replace("postgres:", "little:", 1), deadline=DEADLINE)
    plain.ask()
    with plain.transaction() as session:
        session.execute(text("SELECT pg_sleep(:s)"), {"s": DEADLINE * 1.5})
    plain.dispose()
    with remote.transaction() as session:
        session.execute(text("DROP ROLE little"))


def test_without_a_bound_of_our_own_the_wait_has_no_end(
    remote: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: neither the driver, nor TCP, nor the server's limits end it. It is why the bound is on our side."""
    monkeypatch.setattr(BoundConnection, "_require_life", lambda _self, _waited: None)
    ended = threading.Event()

    def wait() -> None:
        tell(remote, 1)
        ended.set()

    proxy.freeze_at(COMMIT, heard=True)
    thread = threading.Thread(target=wait)
    thread.start()
    assert proxy.frozen.wait(LATE)
    assert not ended.wait(DEADLINE * 4)
    proxy.thaw()
    assert ended.wait(LATE)
    thread.join()


def test_the_limits_of_a_connection_follow_the_deadline() -> None:
    found = Bounds(10, 300).parameters()
    assert (found["connect_timeout"], found["keepalives_idle"], found["tcp_user_timeout"]) == (5, 10, 10_000)
    assert "lock_timeout=10000ms" in found["options"]
    assert "statement_timeout=300000ms" in found["options"]
    assert Bounds(0.1).parameters()["connect_timeout"] == connections._LEAST_CONNECT_SECONDS
