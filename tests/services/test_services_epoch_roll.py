"""A key epoch is rolled while everything goes on: nothing fails to open, whatever dies, is erased or comes in meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from builders import a_gateway, a_keyring_place, a_person, another, id_of, ref, sealed, take, with_source
from consent_gateway.clock import FixedClock
from consent_gateway.db import key_jobs as rows
from consent_gateway.db import subjects, tables
from consent_gateway.domain.key_jobs import LEASE_SECONDS, START, JobKind, KeyJob
from consent_gateway.errors import ConflictError, NotFoundError
from consent_gateway.services.erasing import erasure
from consent_gateway.services.keys import epoch_roll
from consent_gateway.services.keys.key_jobs import Pace, Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.own_key import own_key
from consent_gateway.services.work.vault import CONTACT, open_group
from consent_gateway.vault.keyring import Keyring

PEOPLE = 25


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_keyring_place(tmp_path)


@pytest.fixture
def crm(store: Any, clock: FixedClock, path: Path) -> Gateway:
    """A gateway over a keyring file, with people and with something under its own key."""
    gateway = a_gateway(store, keyring=Keyring.create(path, sealed(path)), clock=clock)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(PEOPLE)])
    with gateway.work() as work:
        own_key(work)
    return gateway


def begin(gateway: Gateway) -> KeyJob:
    with gateway.work() as work:
        return epoch_roll.start(work)


def roll(gateway: Gateway, page: int = 10) -> KeyJob:
    return Runner(gateway, PAGES).run(begin(gateway).id, Pace(page))


def epochs(gateway: Gateway) -> dict[int, int]:
    with gateway.store.reading() as session:
        return rows.wraps_by_epoch(session)


def read_all(gateway: Gateway) -> int:
    """Open everybody's contact data, as a reader would; VaultError if any does not open."""
    with gateway.store.reading() as session:
        ids = [i for i, _ in rows.wraps_after(session, 0, 1000)]
        keys = gateway.vault.keys(session, ids)
        groups = subjects.sealed(session, ids, CONTACT)
        for subject_id in ids:
            assert open_group(keys[subject_id], groups[subject_id])["points"]
    return len(ids)


def entries(gateway: Gateway, *kinds: str) -> list[dict[str, Any]]:
    with gateway.store.reading() as session:
        found = session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        read = [json.loads(entry) for entry in found]
    return [entry["fields"] for entry in read if entry["kind"] in kinds]


# -- a roll ------------------------------------------------------------------------------------------------------


def test_every_wrap_moves_and_nothing_else_changes(crm: Gateway) -> None:
    assert epochs(crm) == {1: PEOPLE + 1}
    with crm.look() as work:
        before = crm.vault.keys(work.session, range(PEOPLE + 1))
    done = roll(crm)
    assert (done.done, done.failed, done.total) == (PEOPLE + 1, 0, PEOPLE + 1)
    assert epochs(crm) == {2: PEOPLE + 1}
    assert crm.vault.provider.keyring.epochs == (1, 2)
    with crm.look() as work:
        assert crm.vault.keys(work.session, range(PEOPLE + 1)) == before
    assert read_all(crm) == PEOPLE
    job = {"job": done.id, "kind": "epoch_roll", "from": 1, "to": 2}
    assert entries(crm, "key_job.started") == [job | {"total": PEOPLE + 1}]
    assert entries(crm, "kek.created") == [{"epoch": 2, "job": done.id}]
    assert entries(crm, "key_job.finished") == [job | {"done": PEOPLE + 1, "failed": 0}]


def test_to_begin_what_is_not_finished_is_to_get_it(crm: Gateway) -> None:
    job = begin(crm)
    assert begin(crm) == job
    roll(crm)
    assert begin(crm).id != job.id


def test_a_roll_of_a_store_without_people(store: Any, path: Path) -> None:
    gateway = a_gateway(store, keyring=Keyring.create(path, sealed(path)))
    assert roll(gateway).finished_at is not None
    assert Keyring.open(path, sealed(path)).current_epoch == 2


def test_an_unknown_job_is_not_found(crm: Gateway) -> None:
    with pytest.raises(NotFoundError):
        Runner(crm, PAGES).page(7)


# -- while others work -------------------------------------------------------------------------------------------


def test_no_read_fails_while_it_runs(crm: Gateway, path: Path) -> None:
    """Readers in two other processes that hold the older keyring, and one in ours, read everybody all the time."""
    readers = [another(crm, path), another(crm, path), crm]
    stop, failures, reads = threading.Event(), [], [0] * len(readers)
    started = threading.Barrier(len(readers) + 1)

    def read(number: int) -> None:
        try:
            read_all(readers[number])
            started.wait()
            while not stop.is_set():
                reads[number] += read_all(readers[number])
        except Exception as error:  # noqa: BLE001 - any failure is what the test is about
            failures.append(error)
            started.abort()

    threads = [threading.Thread(target=read, args=(n,)) for n in range(len(readers))]
    for thread in threads:
        thread.start()
    started.wait()
    for _ in range(3):
        roll(crm, page=3)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(read_all(reader) == PEOPLE for reader in readers)
    assert {reader.vault.provider.keyring.current_epoch for reader in readers} == {4}
    assert epochs(crm) == {4: PEOPLE + 1}


def test_who_is_erased_meanwhile_stays_erased(crm: Gateway) -> None:
    """Their key was read into the page; then they went; then the page is written."""
    crm.vault.provider.use(crm.vault.provider.keyring.new_kek_epoch())
    with crm.store.reading() as session:
        found = rows.wraps_after(session, 0, 1000)
    gone, kept = id_of(crm, ref(3)), id_of(crm, ref(4))
    with crm.work() as work:
        erasure.erase(work, gone, "request")
    with crm.store.transaction() as session:
        other = crm.vault.new_key(kept, 1)[1]
        session.execute(
            update(tables.subject_keys).where(tables.subject_keys.c.subject_id == kept).values(wrapped_dek=other)
        )
        assert rows.swap_wraps(session, [(b"x" * 55, i, wrapped) for i, wrapped in found]) == PEOPLE - 2
        after = dict(rows.wraps_after(session, 0, 1000))
    assert gone not in after
    assert after[kept] == other


def test_people_who_come_in_under_the_old_epoch_are_found(crm: Gateway, path: Path) -> None:
    """A process that has not read the keyring again writes behind the position, after the pass looked there."""
    late = another(crm, path)
    runner, job = Runner(crm, PAGES), begin(crm)
    while (now := runner.page(job.id, 10)).position < PEOPLE:
        pass
    take(late, [a_person(100)])
    with crm.store.transaction() as session:  # and one that it wrote where the pass has been
        old = late.vault.new_key(id_of(crm, ref(2)), 1)
        session.execute(
            update(tables.subject_keys)
            .where(tables.subject_keys.c.subject_id == id_of(crm, ref(5)))
            .values(wrapped_dek=late.vault.provider.wrap(bytes(32), b"elsewhere"))
        )
        assert old
    assert now.finished_at is None
    positions = []
    done = runner.run(job.id, Pace(10), lambda job: positions.append(job.position))
    assert START in positions
    assert late.vault.provider.keyring.current_epoch == 1
    assert done.failed == 1
    assert epochs(crm) == {1: 1, 2: PEOPLE + 1}


def test_a_wrap_that_does_not_open_is_counted_and_left(crm: Gateway) -> None:
    spoilt = id_of(crm, ref(7))
    with crm.store.transaction() as session:
        wrapped = dict(rows.wraps_after(session, 0, 1000))[spoilt]
        flipped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        assert rows.swap_wraps(session, [(flipped, spoilt, wrapped)]) == 1
    done = roll(crm)
    assert (done.done, done.failed) == (PEOPLE, 1)
    assert epochs(crm) == {1: 1, 2: PEOPLE}
    with crm.look() as work:
        assert epoch_roll.left_under(work, 1) == 1


# -- two processes, and death ------------------------------------------------------------------------------------


def test_a_second_process_waits_for_the_lease(crm: Gateway, path: Path, clock: FixedClock) -> None:
    job, first, second = begin(crm), Runner(crm, PAGES), Runner(another(crm, path), PAGES)
    first.page(job.id, 10)
    with pytest.raises(ConflictError, match="another process"):
        second.page(job.id, 10)
    clock.advance(timedelta(seconds=LEASE_SECONDS))
    assert second.page(job.id, 10).done == 20
    with pytest.raises(ConflictError):
        first.page(job.id, 10)
    assert second.run(job.id, Pace(10)).done == PEOPLE + 1
    assert first.run(job.id).finished_at is not None


def test_two_processes_without_a_lease_do_no_harm(crm: Gateway, path: Path) -> None:
    """Both believe that it is theirs: they share a name."""
    job = begin(crm)
    runners = [Runner(g, PAGES, "same") for g in (crm, another(crm, path))]
    threads = [threading.Thread(target=runner.run, args=(job.id, Pace(2))) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert epochs(crm) == {2: PEOPLE + 1}
    assert read_all(crm) == PEOPLE
    with crm.look() as work:
        assert rows.newest(work.session, 1)[0].done == PEOPLE + 1


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(gateway: Gateway, number: int) -> Iterator[list[int]]:
    """Die before statement `number` of what runs inside; the list holds how many there were."""
    seen = [0]

    def count(*_: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            raise Killed

    event.listen(gateway.store.engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        event.remove(gateway.store.engine, "before_cursor_execute", count)


def test_a_roll_that_dies_at_any_statement_is_taken_up(crm: Gateway, path: Path, clock: FixedClock) -> None:
    """Each life dies one statement later than the last; at the end every key is re-wrapped and opens."""
    for number in range(1, 400):
        process = another(crm, path)
        with killed_at(process, number) as seen:
            try:
                Runner(process, PAGES).run(begin(process).id, Pace(4))
            except Killed:
                clock.advance(timedelta(seconds=LEASE_SECONDS))
                assert read_all(another(crm, path)) == PEOPLE
                continue
        assert seen[0] < number
        break
    assert read_all(another(crm, path)) == PEOPLE
    (job,) = (j for j in entries(crm, "key_job.finished"))
    assert job["failed"] == 0
    assert epochs(crm) == {job["to"]: PEOPLE + 1}


def test_a_roll_slower_than_its_rate_rests(crm: Gateway) -> None:
    rests: list[float] = []
    pace = Pace(10, 5.0, rests.append, lambda: 0.0)
    Runner(crm, PAGES).run(begin(crm).id, pace)
    assert rests == [2.0] * 3


def test_kinds_have_their_pages() -> None:
    assert JobKind.EPOCH_ROLL in PAGES
