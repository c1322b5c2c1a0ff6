"""The gateway checks its own log: set back, forked, of another log, altered. Then nothing is written, until it stands."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from backups import back_up, restore
from builders import SYSTEM, a_gateway, twin
from consent_gateway.audit.checkpoints import Checkpoint, Signer
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.epochs import Anchor
from consent_gateway.audit.kept.port import Kept, KeptError, Trouble
from consent_gateway.audit.merkle import leaf_hash
from consent_gateway.db import log_store
from consent_gateway.db.engine import Store
from consent_gateway.db.tables import audit_entries, audit_head, audit_tiles, log_epochs
from consent_gateway.errors import AuditBacklogError, LogHaltedError
from consent_gateway.services.log import log_view, self_check
from consent_gateway.services.log.audit_log import Sequencer, pending
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.log_view import LogView
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.threads.log_keeper import Care, CopyTroubleError, LogKeeper, measure_backlog
from consent_gateway.services.threads.loops import Loop
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Change, Fault, FaultKind, LogGate
from consent_gateway.vault.keyring import Keyring


@dataclass
class Drawer:
    """A copy in memory, with orders to fail."""

    name: str = "drawer"
    place: str = "d" * 64
    held: bytes | None = None
    trouble: Trouble | None = None
    written: list[bytes] = field(default_factory=list)

    def read(self) -> Kept | None:
        if self.trouble is not None:
            raise KeptError(self.trouble)
        return None if self.held is None else Kept(self.held, "v")

    def write(self, note: bytes, seen: Kept | None) -> None:
        assert seen == self.read()
        self.held = note
        self.written.append(note)


SEEDED = 8  # entries that a seeded store comes with


@pytest.fixture(name="gateway")
def integrated(gateway: Gateway) -> Gateway:
    """A gateway whose log holds what the store was seeded with, and nothing waits."""
    assert Sequencer(twin(gateway)).drain() == SEEDED
    return gateway


def acts(gateway: Gateway, count: int = 1) -> None:
    """Do something that leaves entries."""
    with gateway.work() as work:
        for _ in range(count):
            work.record(EntryKind.ADMIN_ACTION, {"action": "test"})


def grow(gateway: Gateway, count: int = 1) -> int:
    acts(gateway, count)
    Sequencer(gateway).drain()
    return size_of(gateway)


def size_of(gateway: Gateway) -> int:
    with gateway.store.reading() as session:
        found = log_store.checkpoint(session)
    return 0 if found is None else found[0]


def set_back(store: Store, backup: Path) -> None:
    """Restore a backup under everything that has the store open: the same file, the same database."""
    if not store.is_sqlite:
        restore(store, backup)
        return
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(str(store.engine.url.database))) as file:
        source.backup(file)


def checked(gateway: Gateway, *copies: Drawer, bundles: int = 64) -> SelfCheck:
    check = SelfCheck(gateway, Copies(gateway, copies), bundles)
    check.run()
    return check


def refused(gateway: Gateway) -> FaultKind:
    """Nothing is written, nothing is integrated; return why."""
    before = pending(gateway), size_of(gateway)
    with pytest.raises(LogHaltedError) as caught:
        acts(gateway)
    assert Sequencer(gateway).run_once() == 0
    assert (pending(gateway), size_of(gateway)) == before
    assert gateway.gate.fault is not None
    assert str(gateway.gate.fault) == caught.value.detail
    return gateway.gate.fault.kind


# -- a log that grows while it is looked at --------------------------------------------------------------------------


def grown_meanwhile(monkeypatch: pytest.MonkeyPatch, module: object, busy: Gateway) -> None:
    """Have a batch published right after a check took its snapshot of the log."""
    taken = log_view.view

    def late(*given: Any) -> LogView:
        found = taken(*given)
        acts(twin(busy))
        Sequencer(busy).drain()
        return found

    monkeypatch.setattr(module, "view", late)


def test_what_is_published_while_the_log_is_checked_is_no_set_back(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = checked(gateway)
    grow(gateway)
    grown_meanwhile(monkeypatch, self_check, gateway)
    for _ in range(3):
        check.check_store()
        assert gateway.gate.faults == {}
    assert gateway.published is not None
    assert gateway.published.size == size_of(gateway)


# -- the gate ------------------------------------------------------------------------------------------------------


def test_the_gate_tells_the_heaviest_fault_and_opens_when_the_last_is_gone() -> None:
    gate, heard = LogGate(), list[Change]()
    gate.on_change = heard.append
    assert gate.refusal is None
    gate.report("a", Fault(FaultKind.UNCHECKED))
    gate.report("b", Fault(FaultKind.ROLLED_BACK, "5 of 7"))
    gate.report("b", Fault(FaultKind.ROLLED_BACK, "5 of 8"))
    assert gate.fault == Fault(FaultKind.ROLLED_BACK, "5 of 8")
    assert gate.refusal is not None
    assert "(5 of 8)" in gate.refusal().detail
    gate.report("b", None)
    gate.report("b", None)
    assert gate.fault == Fault(FaultKind.UNCHECKED)
    gate.report("a", None)
    assert (gate.fault, gate.refusal, gate.faults) == (None, None, {})
    assert [(c.halted, c.kind, c.source) for c in heard] == [
        (True, "unchecked", "a"), (True, "rolled_back", "b"), (False, "rolled_back", "b"), (False, "unchecked", "a"),
    ]  # fmt: skip


def test_pressure_refuses_and_a_fault_outweighs_it() -> None:
    gate = LogGate()
    gate.press(pressed=True)
    assert gate.fault is None
    assert gate.refusal is not None
    assert isinstance(gate.refusal(), AuditBacklogError)
    gate.report("a", Fault(FaultKind.FORKED))
    assert isinstance(gate.refusal(), LogHaltedError)
    gate.report("a", None)
    gate.press(pressed=False)
    assert gate.refusal is None


# -- copies --------------------------------------------------------------------------------------------------------


def test_a_copy_follows_the_log_and_is_never_written_twice_for_one_head(gateway: Gateway) -> None:
    copies = Copies(gateway, [copy := Drawer()])
    assert refused(gateway) is FaultKind.UNCHECKED
    copies.bring(copy)
    assert len(copy.written) == 1
    for count in (1, 300, 5):
        size = grow(gateway, count)
        state = copies.bring(copy)
        assert (state.size, state.lag, state.trouble) == (size, 0, None)
        copies.bring(copy)
    assert len(copy.written) == 4
    acts(gateway)
    Sequencer(gateway).drain()
    assert copies.compare(copy).lag == 1, "comparing writes nothing"
    assert len(copy.written) == 4


def test_a_replica_that_is_behind_does_not_set_a_copy_back(gateway: Gateway) -> None:
    grow(gateway, 3)
    copies = Copies(gateway, [copy := Drawer()])
    copies.bring(copy)
    newest = copy.held
    old = twin(gateway)
    assert Copies(old, [copy]).bring(copy).lag == 0
    assert copy.held == newest


def restored(gateway: Gateway, tmp_path: Path, *, before: int = 300, after: int = 20) -> Drawer:
    """A log of which a copy knows more than the store: yesterday's backup was put in its place."""
    grow(gateway, before)
    back_up(gateway.store, tmp_path / "backup")
    grow(gateway, after)
    copy = Drawer()
    Copies(gateway, [copy]).bring(copy)
    set_back(gateway.store, tmp_path / "backup")
    return copy


def test_a_store_that_was_set_back_is_found_at_the_start(gateway: Gateway, tmp_path: Path) -> None:
    copy = restored(gateway, tmp_path)
    newest = copy.held
    started = twin(gateway)
    check = checked(started, copy)
    assert refused(started) is FaultKind.ROLLED_BACK
    assert check.copies.states["drawer"].anchor is Anchor.ROLLED_BACK
    assert f"keeps {SEEDED + 320} entries of epoch 1, the store has {SEEDED + 300} of epoch 1" in str(
        started.gate.fault
    )
    check.copies.bring(copy)
    assert copy.held == newest, "evidence is never overwritten"
    copy.trouble = Trouble.UNREACHABLE
    check.copies.bring(copy)
    assert refused(started) is FaultKind.ROLLED_BACK, "evidence stays while its place is away"


def test_the_gate_opens_when_the_right_store_is_back(gateway: Gateway, tmp_path: Path) -> None:
    grow(gateway, 10)
    copy = Drawer()
    Copies(gateway, [copy]).bring(copy)
    back_up(gateway.store, tmp_path / "right")
    set_back(gateway.store, tmp_path / "right")
    with gateway.store.transaction() as session:
        session.execute(delete(audit_head))
    started = twin(gateway)
    check = checked(started, copy)
    assert refused(started) is FaultKind.ROLLED_BACK
    set_back(gateway.store, tmp_path / "right")
    check.run()
    assert started.gate.fault is None
    acts(started)


def test_two_histories_of_one_size_are_found(gateway: Gateway, tmp_path: Path) -> None:
    grow(gateway, 5)
    back_up(gateway.store, tmp_path / "backup")
    grow(gateway, 3)
    copy = Drawer()
    Copies(gateway, [copy]).bring(copy)
    set_back(gateway.store, tmp_path / "backup")
    grow(started := twin(gateway), 3)
    checked(started, copy)
    assert refused(started) is FaultKind.FORKED
    grown = twin(gateway)
    grow(grown, 30)
    checked(grown, copy)
    assert refused(grown) is FaultKind.FORKED, "a longer history that is not the published one"


def test_a_checkpoint_of_another_log_is_foreign(gateway: Gateway) -> None:
    grow(gateway, 5)
    other = Keyring.in_memory()
    for signer in (Signer(gateway.signer.key.name, other.log_signing_seed()), Signer("other.example/log", b"s" * 32)):
        started = twin(gateway)
        checked(started, Drawer(held=signer.sign_checkpoint(5, b"r" * 32)))
        assert refused(started) is FaultKind.FOREIGN


def test_a_copy_of_an_epoch_that_the_store_does_not_know_is_a_rollback(gateway: Gateway) -> None:
    size = grow(gateway, 5)
    with gateway.store.reading() as session:
        root = log_store.stored_head(session)
    assert root is not None
    started = twin(gateway)
    checked(started, Drawer(held=started.log_keys.signer(2).sign_checkpoint(size, root.root)))
    assert refused(started) is FaultKind.ROLLED_BACK


@pytest.mark.parametrize("held", [b"", b"nonsense\n", b"x\n\n\xe2\x80\x94 a b\n"])
def test_a_copy_that_holds_no_checkpoint_says_nothing(gateway: Gateway, held: bytes) -> None:
    grow(gateway)
    started = twin(gateway)
    check = checked(started, Drawer(held=held))
    assert check.copies.states["drawer"].trouble == "unreadable"
    assert refused(started) is FaultKind.UNCHECKED


def test_one_copy_that_was_compared_is_enough_to_start(gateway: Gateway) -> None:
    grow(gateway)
    away, there = Drawer("away", "a" * 64, trouble=Trouble.TIMEOUT), Drawer("there", "b" * 64)
    started = twin(gateway)
    check = checked(started, away)
    assert refused(started) is FaultKind.UNCHECKED
    away.trouble = None
    check.run()
    acts(started)
    both = twin(gateway)
    check = checked(both, Drawer("away", "c" * 64, trouble=Trouble.TIMEOUT), there)
    acts(both)
    assert check.copies.states["away"].trouble == "timeout"


def test_a_copy_that_was_deleted_is_no_new_one(gateway: Gateway) -> None:
    """Who sets the store back would delete the copy as well."""
    grow(gateway, 3)
    copies = Copies(gateway, [copy := Drawer()])
    copies.bring(copy)
    copy.held = None
    assert copies.bring(copy).trouble == "lost"
    assert copy.held is None
    acts(gateway)
    started = twin(gateway)
    check = checked(started, copy)
    assert refused(started) is FaultKind.UNCHECKED
    assert check.copies.bring(copy, renew=True).trouble is None
    assert copy.held is not None
    acts(started)


# -- the store itself ----------------------------------------------------------------------------------------------


def test_a_store_that_is_set_back_under_a_running_server_is_found_before_anything_is_signed(
    gateway: Gateway, tmp_path: Path
) -> None:
    sequencer = Sequencer(gateway)
    acts(gateway, 5)
    sequencer.drain()
    back_up(gateway.store, tmp_path / "backup")
    acts(gateway, 5)
    sequencer.drain()
    published = gateway.published
    assert published is not None
    set_back(gateway.store, tmp_path / "backup")
    acts(gateway)
    assert sequencer.run_once() == 0
    assert refused(gateway) is FaultKind.ROLLED_BACK
    assert size_of(gateway) == SEEDED + 5, "nothing was signed"
    SelfCheck(gateway, Copies(gateway, [])).run()
    assert refused(gateway) is FaultKind.ROLLED_BACK, "the self-check finds it as well"


def test_a_fork_made_by_another_process_is_found_by_the_sequencer(gateway: Gateway, tmp_path: Path) -> None:
    sequencer = Sequencer(gateway)
    acts(gateway, 5)
    sequencer.drain()
    back_up(gateway.store, tmp_path / "backup")
    acts(gateway, 5)
    sequencer.drain()
    set_back(gateway.store, tmp_path / "backup")
    grow(twin(gateway), 30)
    acts(gateway)
    assert sequencer.run_once() == 0
    assert refused(gateway) is FaultKind.FORKED


def test_replicas_that_take_turns_find_nothing(gateway: Gateway) -> None:
    first, second = Sequencer(gateway), Sequencer(other := twin(gateway))
    for turn in range(20):
        acts(gateway, 30)
        assert (first if turn % 2 else second).drain() == 30
    SelfCheck(gateway, Copies(gateway, [])).run()
    SelfCheck(other, Copies(other, [])).run()
    assert (gateway.gate.fault, other.gate.fault) == (None, None)


def altered(gateway: Gateway, statement: object) -> str:
    with gateway.store.transaction() as session:
        session.execute(statement)  # type: ignore[call-overload]
    started = twin(gateway)
    checked(started, bundles=1000)
    assert refused(started) is FaultKind.ALTERED
    return str(started.gate.fault)


@pytest.mark.parametrize("number", [0, 255, 256, 600])
def test_a_changed_entry_is_named(gateway: Gateway, number: int) -> None:
    grow(gateway, 601)
    changed = update(audit_entries).where(audit_entries.c.idx == number).values(entry=b"{}")
    assert f"entry {number} does not hash" in altered(gateway, changed)


def test_a_missing_entry_a_changed_tile_and_a_changed_head_are_found(gateway: Gateway, tmp_path: Path) -> None:
    grow(gateway, 601)
    back_up(gateway.store, tmp_path / "whole")
    tiles = audit_tiles.c
    planted = [
        delete(audit_entries).where(audit_entries.c.idx == 30),
        update(audit_entries).where(audit_entries.c.idx == 30).values(entry=b"x" * 70_000),
        delete(audit_tiles).where(tiles.level == 0, tiles.idx == 0),
        update(audit_tiles).where(tiles.level == 0, tiles.idx == 0).values(hashes=b"x" * 8192),
        update(audit_tiles).where(tiles.level == 1, tiles.idx == 0).values(hashes=b"x" * 64),
        update(audit_head).values(root=b"x" * 32),
        update(audit_head).values(size=600),
        update(audit_head).values(checkpoint=b"nonsense"),
    ]
    for statement in planted:
        altered(gateway, statement)
        set_back(gateway.store, tmp_path / "whole")
    checked(started := twin(gateway), bundles=1000)
    assert started.gate.fault is None


def test_entry_and_tile_that_were_changed_together_stand_below_a_wrong_hash(gateway: Gateway) -> None:
    grow(gateway, 601)
    with gateway.store.transaction() as session:
        entries = session.execute(select(audit_entries.c.entry).where(audit_entries.c.idx < 256)).scalars().all()
        from_tile = session.execute(select(audit_tiles.c.hashes).where(audit_tiles.c.level == 0)).scalars().first()
        assert from_tile is not None
        leaf = leaf_hash(b"{}")
        session.execute(update(audit_entries).where(audit_entries.c.idx == 0).values(entry=b"{}"))
        tile = audit_tiles.c
        session.execute(
            update(audit_tiles).where(tile.level == 0, tile.idx == 0).values(hashes=leaf + bytes(from_tile)[32:])
        )
    assert len(entries) == 256
    started = twin(gateway)
    checked(started)
    assert "stands below a wrong hash" in str(started.gate.fault)


def test_older_entries_are_read_again_over_the_rounds(gateway: Gateway) -> None:
    grow(gateway, 256 * 8)
    started = twin(gateway)
    check = checked(started, bundles=2)
    with gateway.store.transaction() as session:
        session.execute(update(audit_entries).where(audit_entries.c.idx == 300).values(entry=b"{}"))
    rounds = 0
    while started.gate.fault is None:
        check.check_store()
        rounds += 1
        assert rounds < 10
    assert rounds <= 5, "two of eight bundles a round: each comes again after at most five rounds"


def test_a_log_under_another_keyring_is_foreign(gateway: Gateway) -> None:
    grow(gateway, 3)
    started = a_gateway(gateway.store, clock=gateway.clock)
    checked(started)
    assert refused(started) is FaultKind.FOREIGN


def test_an_epoch_without_a_statement_that_holds_is_foreign(gateway: Gateway) -> None:
    grow(gateway, 3)
    row = {"epoch": 2, "origin": "x", "vkey": "x", "reason": "x", "surviving": 3, "statement": b"x",
           "entry_uid": b"u" * 16, "opened_at": 0}  # fmt: skip
    with gateway.store.transaction() as session:
        session.execute(log_epochs.insert(), [row])
    started = twin(gateway)
    checked(started)
    assert refused(started) is FaultKind.FOREIGN


def test_a_file_that_was_replaced_under_the_process_is_found(sqlite_gateway: Gateway, tmp_path: Path) -> None:
    acts(sqlite_gateway)
    file = Path(str(sqlite_gateway.store.engine.url.database))
    back_up(sqlite_gateway.store, tmp_path / "copy")
    check = checked(sqlite_gateway)
    (tmp_path / "copy").replace(file)
    check.check_store()
    assert refused_only(sqlite_gateway) is FaultKind.REPLACED


def refused_only(gateway: Gateway) -> FaultKind:
    with pytest.raises(LogHaltedError):
        acts(gateway)
    assert gateway.gate.fault is not None
    return gateway.gate.fault.kind


def test_work_that_cures_goes_on_and_its_entries_wait(gateway: Gateway) -> None:
    grow(gateway)
    gateway.gate.report("test", Fault(FaultKind.ROLLED_BACK))
    before = pending(gateway)
    with gateway.work(SYSTEM, curing=True) as work:
        work.record(EntryKind.ADMIN_ACTION, {"action": "test"})
    assert pending(gateway) == before + 1
    assert Sequencer(gateway).drain() == 0


# -- threads -------------------------------------------------------------------------------------------------------


class Heard:
    """Collects what a thread reports, and lets a test wait for it."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.event = threading.Event()

    def __call__(self, error: Exception) -> None:
        self.errors.append(error)
        self.event.set()


def until(condition: Callable[[], bool], bell: threading.Event) -> None:
    for _ in range(500):
        if condition():
            return
        bell.wait(0.02)
    raise AssertionError("it did not happen")


def test_copies_follow_in_their_own_threads(gateway: Gateway) -> None:
    heard, bell = Heard(), threading.Event()
    slow, quick = Drawer("slow", "a" * 64, trouble=Trouble.TIMEOUT), Drawer("quick", "b" * 64)
    check = checked(gateway, slow, quick)
    keeper = LogKeeper(gateway, check, Care(), heard)
    keeper.start()
    try:
        size = grow(gateway, 3)
        until(lambda: check.copies.states["quick"].size == size and quick.held is not None, bell)
        until(lambda: check.copies.states["slow"].trouble == "timeout", bell)
    finally:
        size = grow(gateway, 2)
        slow.trouble = None
        keeper.stop()
    assert check.copies.states["quick"].size == size, "the last checkpoint is written when the process ends"
    assert check.copies.states["slow"].size == size
    assert all(isinstance(error, CopyTroubleError) for error in heard.errors)


def test_a_backlog_above_its_limit_refuses_until_half_is_integrated(gateway: Gateway) -> None:
    acts(gateway, 30)
    assert measure_backlog(gateway, 50) == 30
    acts(gateway, 30)
    assert measure_backlog(gateway, 50) == 60
    with pytest.raises(AuditBacklogError) as caught:
        acts(gateway)
    assert caught.value.retry_after == 2
    assert gateway.gate.fault is None
    assert Sequencer(gateway).drain() == 60, "the log goes on"
    assert measure_backlog(gateway, 50) == 0
    acts(gateway)


def test_the_worker_rests_while_the_log_does_not_stand(gateway: Gateway) -> None:
    errors: list[Exception] = []
    acts(gateway, 3)
    gateway.gate.report("test", Fault(FaultKind.FORKED))
    worker = Worker(gateway, errors.append)
    worker._stopping.set()
    worker._round(tally=True, housekeep=True)
    assert (pending(gateway), worker.failed, errors) == (3, False, [])
    gateway.gate.report("test", None)
    worker._round(tally=True, housekeep=False)
    assert (pending(gateway), errors) == (0, [])


def test_a_loop_reports_tries_again_and_goes_on() -> None:
    heard, done = Heard(), threading.Event()
    rounds: list[int] = []

    def act() -> bool:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise ValueError
        done.set()
        return True

    loop = Loop("test", act, heard, idle=0.01, last=True)
    loop.start()
    assert done.wait(10)
    loop.stop(seconds=10)
    assert len(heard.errors) == 1
    assert len(rounds) >= 3, "one fails, one succeeds, one is the last"


def test_published_is_what_this_process_published(gateway: Gateway) -> None:
    told: list[Checkpoint | None] = []
    gateway.on_published = lambda: told.append(gateway.published)
    size = grow(gateway, 4)
    assert [c.size for c in told if c] == [size]
