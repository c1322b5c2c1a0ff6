"""The log cannot take an entry: full, blocked, slow, gone. Then the action does not happen, and it ends by itself.

Counted: what was acknowledged is exactly what has an entry (THREATS 8).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from builders import a_consent, a_gateway, a_person, ref, take, with_source
from consent_gateway.audit import verifier
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.db import log_store
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.errors import AuditError, GatewayError, StoreError
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway
from templates import SEEDED

DEADLINE = 0.4


@pytest.fixture
def quick(store_url: str, gateway: Gateway) -> Iterator[Gateway]:
    """The seeded store, through a gateway with a short deadline."""
    store = Store(store_url, deadline=DEADLINE)
    found = a_gateway(store, keyring=gateway.vault.provider.keyring, clock=gateway.clock)
    yield with_source(found)
    store.dispose()


def act(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        work.record(EntryKind.ADMIN_ACTION, {"action": "counted", "number": number})


def counted(gateway: Gateway) -> list[int]:
    """The numbers that have an entry, integrated or pending."""
    with gateway.store.reading() as session:
        rows = [bytes(row.entry) for row in session.execute(text("SELECT entry FROM audit_pending"))]
        rows += [bytes(row.entry) for row in session.execute(text("SELECT entry FROM audit_entries"))]
    found = [parse_entry(entry) for entry in rows]
    return sorted(int(str(e.fields["number"])) for e in found if e.fields.get("action") == "counted")


def acknowledged(gateway: Gateway, numbers: range, *, within: float = 5.0) -> list[int]:
    """Try each; return which succeeded. A failure is one of the catalogue (503), within the deadline."""
    done = []
    for number in numbers:
        begun = time.monotonic()
        try:
            act(gateway, number)
        except (StoreError, AuditError):
            assert time.monotonic() - begun < within
        else:
            done.append(number)
    return done


@contextmanager
def blocked(gateway: Gateway) -> Iterator[None]:
    """Somebody else holds the store, or the table of pending entries, and does not let go."""
    url = gateway.store.engine.url
    if gateway.store.is_sqlite:
        with closing(sqlite3.connect(str(url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    engine = create_engine(url)
    with engine.connect() as other, other.begin():
        other.execute(text("LOCK TABLE audit_pending IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


def test_a_blocked_store_refuses_within_the_deadline_and_heals(quick: Gateway) -> None:
    before = acknowledged(quick, range(5))
    with blocked(quick):
        assert acknowledged(quick, range(5, 8), within=DEADLINE * 4) == []
    after = acknowledged(quick, range(8, 12))
    assert counted(quick) == before + after == [0, 1, 2, 3, 4, 8, 9, 10, 11]


def test_many_writers_that_are_blocked_are_all_refused_in_time(quick: Gateway) -> None:
    ends: list[float] = []
    done: list[int] = []

    def one(number: int) -> None:
        begun = time.monotonic()
        done.extend(acknowledged(quick, range(number, number + 1), within=30))
        ends.append(time.monotonic() - begun)

    with blocked(quick):
        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert done == []
    assert max(ends) < DEADLINE * 6, "waiting for each other does not add up"
    assert counted(quick) == []


def test_while_the_sequencer_cannot_work_actions_go_on_and_their_entries_wait(quick: Gateway) -> None:
    errors: list[Exception] = []
    worker = Worker(quick, errors.append)
    worker._stopping.set()
    with quick.store.transaction() as session:
        session.execute(text("ALTER TABLE audit_tiles RENAME TO audit_tiles_away"))
    done = acknowledged(quick, range(5))
    worker._round(tally=False, housekeep=False)
    assert worker.failed
    assert errors
    assert counted(quick) == done == [0, 1, 2, 3, 4]
    with quick.store.transaction() as session:
        session.execute(text("ALTER TABLE audit_tiles_away RENAME TO audit_tiles"))
    worker._round(tally=False, housekeep=False)
    assert not worker.failed
    assert counted(quick) == done


@pytest.mark.parametrize("table", ["audit_pending", "audit_openings"])
def test_a_table_of_the_log_that_is_gone_stops_every_action(quick: Gateway, table: str) -> None:
    take(quick, [a_person(1)])
    with quick.store.transaction() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO away"))
    with pytest.raises(GatewayError) as caught:
        take(quick, [a_consent(ref(1))])
    assert caught.value.status == 503
    with quick.store.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM consent_events")).scalar() == 0
        session.execute(text(f"ALTER TABLE away RENAME TO {table}"))
    take(quick, [a_consent(ref(1))])


# -- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("A SMALL FILE SYSTEM CANNOT BE MOUNTED HERE: run as root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(gateway: Gateway, start: int, most: int = 4000) -> tuple[list[int], int]:
    """Act until the store refuses three times in a row; return what was acknowledged, and the next number."""
    done, refused, number = list[int](), 0, start
    while refused < 3:
        assert number < start + most, "it never became full"
        batch = acknowledged(gateway, range(number, number + 1), within=30)
        done += batch
        refused = 0 if batch else refused + 1
        number += 1
    return done, number


def heals(gateway: Gateway, fill_up: Callable[[], None], make_room: Callable[[], None], tmp_path: Path) -> None:
    """Act until full, three times over; whatever was acknowledged has its entry, and nothing else has."""
    done, number = list[int](), 0
    for _ in range(3):
        fill_up()
        more, number = fill(gateway, number)
        done += more
        assert counted(gateway) == done
        with pytest.raises((StoreError, AuditError)):
            take(gateway, [a_person(n) for n in range(number, number + 200)])
        make_room()
        done += acknowledged(gateway, range(number, number + 5))
        number += 5
        assert counted(gateway) == done, "it works again by itself"
        Sequencer(gateway).drain()
    assert counted(gateway) == done
    with gateway.store.reading() as session:
        if gateway.store.is_sqlite:
            assert session.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        assert log_store.pending_count(session) == 0
    audit_log.export(gateway, tmp_path / "export")
    assert verifier.verify_directory(gateway.signer.vkey, tmp_path / "export").ok


def test_a_full_disk_loses_nothing_and_lets_nothing_through(
    small_disk: Path, tmp_path: Path, sqlite_stores: dict[str, Path]
) -> None:
    path, ballast = small_disk / "gateway.sqlite3", small_disk / "ballast"
    shutil.copyfile(sqlite_stores[SEEDED], path)
    store = Store(sqlite_url(str(path)))
    gateway = with_source(a_gateway(store))

    def fill_up() -> None:
        free = shutil.disk_usage(small_disk).free - 200_000
        ballast.write_bytes(b"x" * max(free, 0))

    heals(gateway, fill_up, lambda: ballast.unlink(missing_ok=True), tmp_path)
    store.dispose()


def test_a_store_that_may_not_grow_loses_nothing_and_lets_nothing_through(
    tmp_path: Path, sqlite_stores: dict[str, Path]
) -> None:
    """The same where nothing can be mounted: SQLite's own limit of pages, which it reports as a full disk."""
    path = tmp_path / "gateway.sqlite3"
    shutil.copyfile(sqlite_stores[SEEDED], path)
    store = Store(sqlite_url(str(path)), pool_size=1)
    gateway = with_source(a_gateway(store))

    def limit(room: int | None) -> None:
        with store.reading() as session:
            pages = int(session.execute(text("PRAGMA page_count")).scalar() or 0)
            session.execute(text(f"PRAGMA max_page_count={pages + room if room is not None else 1 << 30}"))

    heals(gateway, lambda: limit(30), lambda: limit(None), tmp_path)
    store.dispose()
