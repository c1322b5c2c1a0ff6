"""Erased people stay erased after a restore: the tombstone file knows them, and nothing is served before it was asked."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from tombstone_builders import KEYRING, opened

from backups import back_up, copy_files, restore
from builders import (
    EMAIL_MARKETING,
    SOURCE,
    a_consent,
    a_person,
    answer_for,
    by,
    id_of,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import erasures, subjects, tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.ids import RecipientId, SubjectId
from consent_gateway.domain.segments import Everyone
from consent_gateway.errors import NotFoundError, StoreError, TombstoneError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.erasing import tombstones
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.erasing.tombstones import Replay, compare, rebuild, settle, settle_again
from consent_gateway.services.identity.people import normal_form
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.rows.intake import Incoming
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SubjectItem
from consent_gateway.vault.tombstone_file import TombstoneFile
from consent_gateway.vault.tombstones import BEGUN, Burial
from fakes import faults_of


@pytest.fixture
def crm(store: Store, tmp_path: Path) -> Gateway:
    """Ten people who may be written to; the tombstone file lies apart from the store."""
    (tmp_path / "kept").mkdir()
    gateway = opened(store, tmp_path)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(1, 11)])
    take(gateway, [a_consent(ref(n)) for n in range(1, 11)])
    return gateway


def file_of(gateway: Gateway) -> TombstoneFile:
    assert gateway.tombstones is not None
    return gateway.tombstones


def forget(gateway: Gateway, *numbers: int) -> None:
    for number in numbers:
        with gateway.work() as work:
            erase(work, subject_id(work, ref(number)), "request")


def served(gateway: Gateway) -> int:
    """How many people an audience of everyone has."""
    with gateway.work() as work:
        return audiences.resolve(work, Everyone(), EMAIL_MARKETING).row.size


def rows_about(gateway: Gateway, subject: SubjectId) -> dict[str, int]:
    """How many rows each table has about a subject."""
    found = {}
    with gateway.look() as work:
        for table in tables.metadata.sorted_tables:
            column = table.c.get("subject_id", table.c.id if table.name == "subjects" else None)
            if column is not None:
                rows = work.session.execute(select(column).where(column == subject)).all()
                found[table.name] = len(rows)
    return {name: n for name, n in found.items() if n}


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.look() as work:
        raw = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        found = [json.loads(bytes(e)) for e in raw]
    return [e["fields"] for e in found if e["kind"] == kind]


# -- what is written, and when -------------------------------------------------------------------------------------


def test_an_erasure_is_in_the_file_before_it_is_acknowledged(crm: Gateway) -> None:
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        stones = {crm.vault.tombstone(f.kind, f.value) for f in forms(1)}
        last = subjects.last_id(work.session)
    forget(crm, 1)
    burial = file_of(crm).read()[-1]
    assert burial.subject == tombstones.SubjectHasher(KEYRING).hash(gone)
    assert {token for _, token in burial.points} == stones
    assert [(kind, generation) for kind, generation, _ in burial.suppressed] == [
        ("member_no", tombstones.LASTING),
        ("email", tombstones.LASTING),
    ]
    assert (burial.reason, burial.at, burial.last_id) == ("request", int(crm.clock().timestamp()), last)
    assert compare(crm, file_of(crm)) == tombstones.Comparison(lines=2, rows=2, open=0, lost=0)


def forms(number: int) -> list[Any]:
    return [normal_form(kind, value, "DE", "$") for kind, value in a_person(number).identifiers.items()]


def test_every_subject_of_a_merged_person_has_a_line(crm: Gateway) -> None:
    with crm.work() as work:
        merge(work, [ref(1), ref(2)], "duplicate")
    forget(crm, 1)
    assert file_of(crm).lines == 3


def test_a_failed_erasure_leaves_no_line(crm: Gateway) -> None:
    def fail() -> None:
        with crm.work() as work:
            erase(work, subject_id(work, ref(1)), "request")
            raise StoreError

    with pytest.raises(StoreError):
        fail()
    assert compare(crm, file_of(crm)).lines == 1


def test_a_file_that_cannot_be_written_lets_the_erasure_stand_and_wait(crm: Gateway, tmp_path: Path) -> None:
    (tmp_path / "kept").chmod(0o500)
    path = file_of(crm).path
    path.chmod(0o644)  # refused even for those whom modes do not bind
    with pytest.raises(TombstoneError) as caught:
        forget(crm, 1)
    assert caught.value.retry_after == 5
    assert caught.value.status == 503
    with pytest.raises(NotFoundError):
        forget_by_id(crm, 1)
    path.chmod(0o600)
    (tmp_path / "kept").chmod(0o700)
    with crm.look() as work:
        unwritten = [r.filed_at for r in work.session.execute(select(tables.erasures))]
    assert unwritten.count(None) == 1
    assert crm.file_tombstones() == 1
    assert crm.file_tombstones() == 0
    assert compare(crm, file_of(crm)) == tombstones.Comparison(lines=2, rows=2, open=0, lost=0)


def forget_by_id(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        erase(work, SubjectId(number), "request")


def test_the_worker_finishes_what_waits_and_says_so_while_it_cannot(crm: Gateway) -> None:
    told: list[Exception] = []
    worker = Worker(crm, told.append)
    path = file_of(crm).path
    path.chmod(0o644)
    with pytest.raises(TombstoneError):
        forget(crm, 1)
    worker._round(tally=True, housekeep=False)
    assert [type(e) for e in told] == [TombstoneError]
    assert not worker.failed  # the log goes on
    path.chmod(0o600)
    worker._round(tally=True, housekeep=False)
    assert len(told) == 1
    assert compare(crm, file_of(crm)).open == 0


@pytest.mark.parametrize("at", [1, 2])
def test_a_crash_between_commit_and_file_is_made_up_for_at_the_start(crm: Gateway, tmp_path: Path, at: int) -> None:
    """Before the line is written, and after it is written but before the row says so."""
    file = file_of(crm)
    gone = id_of(crm, ref(1))
    crm.tombstones = None  # the process dies at its commit
    forget(crm, 1)
    crm.tombstones = file
    if at == 2:
        faults = faults_of(crm.store)
        with faults.cut(when=lambda sql: sql.startswith("UPDATE erasures")), pytest.raises(BaseException):  # noqa: B017
            crm.file_tombstones()
        assert file.lines == 2
    started = opened(crm.store, tmp_path)
    assert compare(started, file_of(started)) == tombstones.Comparison(lines=2, rows=2, open=0, lost=0)
    assert rows_about(started, gone) == {}


# -- restored ------------------------------------------------------------------------------------------------------


def test_a_restored_backup_brings_nobody_back(crm: Gateway, tmp_path: Path) -> None:
    ids = {n: id_of(crm, ref(n)) for n in (1, 2, 3)}
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1, 2)
    restore(crm.store, backup)
    raw = opened(crm.store, tmp_path, settled=False)
    assert rows_about(raw, ids[1])["subject_keys"] == 1  # what a restore would serve
    started = opened(crm.store, tmp_path, settled=False)
    assert settle(started) == Replay(erasures=2, subjects=2)
    for n in (1, 2):
        assert rows_about(started, ids[n]) == {}
        assert answer_for(started, ref(n)).reason_code == "unknown_subject"
        assert not may_write(started, by("email", f"person{n}@example.org"))
    assert may_write(started, ref(3))
    assert served(started) == 8
    again = take(started, [a_person(1), SubjectItem({"email": "PERSON2@example.org"}, "DE")])
    assert [r.reasons[0].code for r in again.rejections] == ["erased", "erased"]
    assert reconcile(started).clean
    assert entries(started, "tombstones.replayed") == [{"erasures": 2, "subjects": 2}]
    uids = {b.uid.hex() for b in file_of(started).read() if b.subject}
    assert {e["erasure"] for e in entries(started, "erasure.replayed")} == uids
    assert all(e["rows"] > 3 for e in entries(started, "erasure.replayed"))
    assert settle(started) == Replay()


def test_without_the_file_a_restore_does_bring_them_back(crm: Gateway, tmp_path: Path) -> None:
    """The planted bug: a start that does not look."""
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1)
    restore(crm.store, backup)
    assert may_write(opened(crm.store, tmp_path, settled=False), ref(1))


def test_five_backups_of_different_age(crm: Gateway, tmp_path: Path) -> None:
    backups = []
    for n in range(1, 6):
        backups.append(back_up(crm.store, tmp_path / f"backup{n}"))
        forget(crm, n)
    for age, backup in enumerate(backups):
        restore(crm.store, backup)
        started = opened(crm.store, tmp_path)
        assert served(started) == 5, age
        assert compare(started, file_of(started)).lacking == ()
        assert [answer_for(started, ref(n)).reason_code for n in range(1, 6)] == ["unknown_subject"] * 5


def test_a_snapshot_of_the_files_with_the_log_behind_is_a_backup_too(sqlite_gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    crm = opened(sqlite_gateway.store, tmp_path)
    with_source(crm)
    take(crm, [a_person(1), a_person(2)])
    copied = copy_files(crm.store, tmp_path / "copy")
    assert copied.with_name("copy-wal").stat().st_size > 0
    forget(crm, 1)
    restore(crm.store, copied)
    started = opened(crm.store, tmp_path)
    assert answer_for(started, ref(1)).reason_code == "unknown_subject"
    assert id_of(started, ref(2))


def test_the_keys_of_the_restored_need_not_open(crm: Gateway, tmp_path: Path) -> None:
    """After an epoch was destroyed the backup's keys are noise; erasing again opens nothing."""
    gone = id_of(crm, ref(1))
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1)
    restore(crm.store, backup)
    with crm.store.transaction() as session:
        session.execute(update(tables.subject_keys).values(wrapped_dek=b"\0" * 55))
        session.execute(update(tables.sealed_groups).values(sealed=b"\0" * 64))
    started = opened(crm.store, tmp_path)
    assert rows_about(started, gone) == {}


def test_an_id_of_the_time_before_the_restore_is_given_to_nobody_else(crm: Gateway, tmp_path: Path) -> None:
    backup = back_up(crm.store, tmp_path / "backup")
    take(crm, [a_person(n) for n in (21, 22)])
    latest = id_of(crm, ref(22))
    forget(crm, 21)
    restore(crm.store, backup)
    started = opened(crm.store, tmp_path)
    take(started, [a_person(31)])
    assert id_of(started, ref(31)) > latest
    assert opened(crm.store, tmp_path)
    assert id_of(started, ref(31))


def test_whoever_was_one_person_with_them_only_in_the_backup_stays(crm: Gateway, tmp_path: Path) -> None:
    with crm.work() as work:
        number = merge(work, [ref(1), ref(2)], "duplicate").merge
    assert number is not None
    backup = back_up(crm.store, tmp_path / "backup")
    with crm.work() as work:
        unmerge(work, number, "wrong_match")
    forget(crm, 1)
    restore(crm.store, backup)
    started = opened(crm.store, tmp_path)
    assert answer_for(started, ref(1)).reason_code == "unknown_subject"
    assert may_write(started, ref(2))
    assert reconcile(started).clean


def test_who_was_merged_and_erased_together_is_erased_together(crm: Gateway, tmp_path: Path) -> None:
    with crm.work() as work:
        merge(work, [ref(1), ref(2)], "duplicate")
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 2)
    restore(crm.store, backup)
    started = opened(crm.store, tmp_path)
    assert served(started) == 8
    assert reconcile(started).clean


def test_what_was_quarantined_about_them_goes_too(crm: Gateway, tmp_path: Path) -> None:
    named = {"member_no": "M00001", "email": "person2@example.org"}  # two people: refused
    with crm.work() as work:
        own = crm.vault.pseudonym(subject_id(work, ref(1)), RecipientId("self"), work.registers)
        unread = Incoming(2, json.dumps({"guardian": {"pseudonym": own}}).encode(), None)
        rows = [Incoming(1, json.dumps(named).encode(), SubjectItem(named, "DE")), unread]
        import_subjects(work, SOURCE, rows, "0" * 64)
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1)
    restore(crm.store, backup)
    started = opened(crm.store, tmp_path)
    with started.look() as work:
        assert [bytes(s) for s in work.session.execute(select(tables.quarantine.c.sealed)).scalars()] == [b"", b""]


# -- under a running process -----------------------------------------------------------------------------------------


def test_a_store_that_is_restored_under_a_running_process_is_settled_again(crm: Gateway, tmp_path: Path) -> None:
    told = [0]
    crm.on_replayed = lambda: told.append(1)
    Worker(crm, fail)._round(tally=True, housekeep=False)
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1, 2)
    assert settle_again(crm) == Replay()
    restore(crm.store, backup)
    assert served(crm) == 10
    Worker(crm, fail)._round(tally=True, housekeep=False)
    assert served(crm) == 8
    assert told == [0, 1]
    assert reconcile(crm).clean
    assert settle_again(crm) == Replay()


def test_nothing_is_served_from_a_store_that_was_set_back_until_it_is_settled(crm: Gateway, tmp_path: Path) -> None:
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1)
    restore(crm.store, backup)
    file = file_of(crm).path
    crm.tombstones = Torn(KEYRING, file)
    errors: list[Exception] = []
    Worker(crm, errors.append)._round(tally=True, housekeep=False)
    assert {type(e) for e in errors} == {TombstoneError}
    for unit in (crm.work, crm.look):
        with pytest.raises(TombstoneError) as caught, unit():
            pass
        assert caught.value.retry_after
    crm.tombstones = TombstoneFile(KEYRING, file)
    Worker(crm, fail)._round(tally=True, housekeep=False)
    assert served(crm) == 9


def test_a_log_that_became_shorter_is_looked_into(crm: Gateway, tmp_path: Path) -> None:
    """More lines than are looked at regularly may lie behind it."""
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1)
    for _ in range(2):
        Worker(crm, fail)._round(tally=True, housekeep=False)
    restore(crm.store, backup)
    crm.tombstones = Narrow(KEYRING, file_of(crm).path)
    assert settle_again(crm) == Replay(1, 1)


class Narrow(TombstoneFile):
    """A file of which only the first line is looked at regularly."""

    def newest(self) -> list[bytes]:
        return [b.uid for b in self.read() if b.reason == BEGUN]


class Torn(TombstoneFile):
    """A file that is lost after its last lines were looked at."""

    def read(self) -> list[Burial]:
        raise TombstoneError("there is no tombstone file at the configured path")


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("copied", [True, False], ids=["another file", "the same file, cut"])
def test_no_erasure_is_acknowledged_on_a_file_that_lost_lines(crm: Gateway, copied: bool) -> None:  # noqa: FBT001
    """Whoever puts an older file back under a running process would lose the erasures between for good."""
    path = file_of(crm).path
    older = path.read_bytes()
    forget(crm, 1)
    newer = path.read_bytes()
    if copied:
        path.unlink()
    path.write_bytes(older)
    path.chmod(0o600)
    with pytest.raises(TombstoneError) as caught:
        forget(crm, 2)
    assert caught.value.retry_after
    with crm.look() as work:
        assert len(erasures.unfiled(work.session, 10)) == 1
    path.write_bytes(newer)
    assert crm.file_tombstones() == 1
    assert compare(crm, file_of(crm)).lost == 0


def test_many_are_erased_again_in_several_pieces(crm: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that dies half-way goes on where it stopped."""
    monkeypatch.setattr(tombstones, "_BATCH", 2)
    monkeypatch.setattr(tombstones, "_PAGE", 3)
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, *range(1, 8))
    restore(crm.store, backup)
    faults = faults_of(crm.store)
    died = [0]

    def third(sql: str) -> bool:
        died[0] += sql.startswith("INSERT INTO erasures")
        return died[0] == 3

    with faults.cut(when=third), pytest.raises(BaseException):  # noqa: B017
        opened(crm.store, tmp_path)
    started = opened(crm.store, tmp_path, settled=False)
    assert settle(started) == Replay(erasures=3, subjects=3)
    assert served(started) == 3


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "cut", "altered", "exchanged"])
def test_a_start_without_the_file_that_was_written_is_refused(crm: Gateway, tmp_path: Path, damage: str) -> None:
    forget(crm, 1, 2)
    path = file_of(crm).path
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    if damage == "missing":
        path.unlink()
    elif damage == "exchanged":
        path.unlink()
        TombstoneFile(KEYRING, path).create()
    else:
        path.write_bytes(b"".join(lines[:-1]) if damage == "cut" else content.replace(b"request", b"rEquest", 1))
    with pytest.raises(TombstoneError):
        opened(crm.store, tmp_path)
    started = opened(crm.store, tmp_path, settled=False)
    found = rebuild(started, file_of(started), ".aside")
    assert (found.lines, found.rows, found.open, found.lost, found.lacking) == (3, 3, 0, 0, ())
    assert settle(opened(crm.store, tmp_path)) == Replay()
    assert entries(started, "admin.action")[-1]["action"] == "tombstones_rebuilt"
    kept = [p for p in path.parent.iterdir() if p.name.endswith(".aside")]
    assert len(kept) == (0 if damage == "missing" else 1)


def test_a_missing_file_stops_a_store_in_which_nobody_was_erased_yet(crm: Gateway, tmp_path: Path) -> None:
    """Whoever restores a backup from before the first erasure must not get away with a new file."""
    backup = back_up(crm.store, tmp_path / "backup")
    forget(crm, 1)
    restore(crm.store, backup)
    file_of(crm).path.unlink()
    with pytest.raises(TombstoneError, match="no tombstone file"):
        opened(crm.store, tmp_path)


def test_a_rebuild_takes_lines_of_which_only_a_copy_knows(crm: Gateway, tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    started = opened(crm.store, tmp_path, copies=(copy,))
    backup = back_up(crm.store, tmp_path / "backup")
    forget(started, 1, 2)
    restore(crm.store, backup)
    file_of(started).path.unlink()
    with pytest.raises(TombstoneError):
        opened(crm.store, tmp_path, copies=(copy,))
    mended = opened(crm.store, tmp_path, copies=(copy,), settled=False)
    assert len(rebuild(mended, file_of(mended), ".aside").lacking) == 2
    assert settle(mended) == Replay(erasures=2, subjects=2)


def test_a_start_that_dies_before_the_first_line_begins_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    gateway = opened(store, tmp_path, settled=False)
    tombstones._begin(gateway, file_of(gateway))
    file_of(gateway).path.unlink()
    assert settle(gateway) == Replay()
    assert compare(gateway, file_of(gateway)) == tombstones.Comparison(lines=1, rows=1, open=0, lost=0)


def test_a_store_from_before_the_file_gets_one_with_its_tombstones(store: Store, tmp_path: Path) -> None:
    """What the migration writes for tombstones of which nobody knows any more whose they were."""
    (tmp_path / "kept").mkdir()
    line = json.dumps(
        {"at": 1, "last_id": 0, "points": [["email", "ab" * 32]], "reason": "request", "subject": None}
        | {"suppressed": [], "uid": "ab" * 16},
        separators=(",", ":"),
        sort_keys=True,
    )
    with store.transaction() as session:
        session.execute(tables.erasures.insert().values(uid=b"\xab" * 16, at=1, line=line.encode()))
    gateway = opened(store, tmp_path)
    assert [b.points for b in file_of(gateway).read()] == [(("email", b"\xab" * 32),)]


def test_a_gateway_without_a_file_has_nothing_to_compare(sqlite_gateway: Gateway) -> None:
    assert settle(sqlite_gateway) == Replay()
    assert sqlite_gateway.file_tombstones() == 0


# -- the write-ahead log -------------------------------------------------------------------------------------------


def test_the_write_ahead_log_is_emptied_soon_after_an_erasure(sqlite_gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    crm = opened(sqlite_gateway.store, tmp_path)
    with_source(crm)
    take(crm, [a_person(1), a_person(2)])
    log = tmp_path / "gateway.sqlite3-wal"
    clock = crm.clock
    assert isinstance(clock, FixedClock)
    worker = Worker(crm, lambda error: pytest.fail(str(error)))
    worker._round(tally=False, housekeep=False)
    assert log.stat().st_size > 0  # nobody was erased
    forget(crm, 1)
    worker._round(tally=False, housekeep=False)
    assert log.stat().st_size > 0  # several erasures share one emptying
    clock.advance(timedelta(seconds=2))
    with crm.store.reading() as session:
        session.execute(select(tables.subjects.c.id)).all()
        worker._round(tally=False, housekeep=False)
        assert log.stat().st_size > 0  # a reader is in the way
        assert crm.residue_since is not None
    worker._round(tally=False, housekeep=False)
    assert log.stat().st_size == 0
    assert crm.residue_since is None
