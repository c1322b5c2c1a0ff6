"""What was kept outside of the store is in the store before anything is decided, whenever it came (P1, P2)."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consent_gateway.db import deferrals as rows
from consent_gateway.domain.ids import RecipientId
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import AuthenticationError, LogHaltedError, StoreError
from consent_gateway.services.log import deferrals, spool
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.threads.log_keeper import Care, LogKeeper
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import SPOOL, Fault, FaultKind, LogGate
from consent_gateway.vault.spool_file import AT_ONCE, SpoolFile

CRM = Principal("crm_system", RecipientId("self"), frozenset({"ingest"}))
ALTERED, SETTLING = Fault(FaultKind.ALTERED), Fault(FaultKind.SETTLING)


@pytest.fixture(name="started")
def process(gateway: Gateway, tmp_path: Path) -> Callable[[], Gateway]:
    """Start a process over the store and the one spool: a gate of its own, which knows nothing of another's."""
    return lambda: replace(gateway, spool=SpoolFile(tmp_path / "opt_outs.spool"), gate=LogGate())


def keeps_a_no(process: Gateway) -> None:
    """Take a no in as the desk does for whom the gate has refused."""
    with process.look(CRM) as work:
        spool.keep(work, secrets.token_bytes(16), deferrals.of_erasure("p0-" + "0" * 32, "request"))


def waiting(process: Gateway) -> bool:
    with process.look() as work:
        return rows.any_waiting(work.session)


def refused(process: Gateway) -> bool:
    try:
        with process.work():
            return False
    except (LogHaltedError, StoreError):
        return True


def test_what_a_process_left_is_brought_in_by_the_next_one_before_it_decides(started: Callable[[], Gateway]) -> None:
    """Restart is what cures a file that was replaced; no copies are kept, so nothing else closes the gate."""
    first = started()
    first.gate.report("file", Fault(FaultKind.REPLACED))
    keeps_a_no(first)
    second = started()
    SelfCheck(second, Copies(second, [])).run()
    assert waiting(second), "a no that was acknowledged is nowhere but in the file"
    assert second.spool is not None
    assert (second.spool.count(), second.gate.faults) == (0, {})


def test_what_the_check_of_the_next_one_finds_leaves_it_in_the_file(started: Callable[[], Gateway]) -> None:
    first = started()
    first.gate.report("file", ALTERED)
    keeps_a_no(first)
    second = started()
    second.gate.report("test", ALTERED)
    SelfCheck(second, Copies(second, [])).run()
    assert not waiting(second)
    second.gate.report("test", None)
    assert refused(second), "not before it is in the store"
    assert spool.settle(second) == 1
    assert waiting(second)
    assert not refused(second)


def test_a_no_whose_gate_opened_before_it_was_written_down_closes_it_again(started: Callable[[], Gateway]) -> None:
    process = started()
    assert not refused(process)
    keeps_a_no(process)
    assert process.gate.fault == SETTLING
    assert refused(process)
    assert spool.settle(process) == 1
    assert waiting(process)
    assert not refused(process)


def test_a_fault_that_comes_while_the_spool_is_emptied_strands_nothing(started: Callable[[], Gateway]) -> None:
    process = started()
    process.gate.report("store", ALTERED)
    process.gate.report(SPOOL, None)  # who emptied it before the fault came says so only now
    keeps_a_no(process)
    process.gate.report("store", None)
    assert process.gate.fault == SETTLING
    assert spool.settle(process) == 1


def test_the_gate_opens_while_nobody_can_add_a_line(
    started: Callable[[], Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, heard = started(), list[bool]()
    assert process.spool is not None
    process.gate.report(SPOOL, SETTLING)
    path = process.spool.path
    monkeypatch.setattr(LogGate, "report", lambda *_: heard.append(_is_locked(path)))
    spool.settle(process)
    keeps_a_no(process)
    assert heard == [True, True]


def test_where_no_spool_can_be_made_the_gate_opens_for_nothing_can_be_in_it(started: Callable[[], Gateway]) -> None:
    process = started()
    assert process.spool is not None
    process.spool.path = process.spool.path / "there" / "is" / "no" / "folder"
    process.gate.report("test", ALTERED)
    process.gate.report("test", None)
    assert spool.settle(process) == 0
    assert process.gate.faults == {}


def test_a_spool_that_cannot_be_looked_at_stops_the_start(started: Callable[[], Gateway]) -> None:
    process = started()
    assert process.spool is not None
    process.spool.path.mkdir()
    with pytest.raises(StoreError):
        SelfCheck(process, Copies(process, [])).run()


@pytest.mark.parametrize("whole", [b"", b'{"a":1}\n', b'{"a":1}\n' * 200_000])
@pytest.mark.parametrize("cut", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_what_a_crash_cut_off_is_no_line_however_long_it_is(tmp_path: Path, whole: bytes, cut: int) -> None:
    (tmp_path / "spool").write_bytes(whole + b"x" * cut)
    SpoolFile(tmp_path / "spool").append({"b": 2})
    assert (tmp_path / "spool").read_bytes() == whole + b'{"b":2}\n'


def test_a_line_costs_the_same_however_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool").write_bytes(b'{"a":1}\n' * 2_000_000)
    read, taken = os.pread, list[int]()
    monkeypatch.setattr(os, "pread", lambda fd, n, at: taken.append(n) or read(fd, n, at))
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("all of it is read"))
    SpoolFile(tmp_path / "spool").append({"b": 2})
    assert sum(taken) <= 1 << 20


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# -- many ----------------------------------------------------------------------------------------------------------


def numbered(numbers: Sequence[int]) -> list[dict[str, int]]:
    return [{"n": number} for number in numbers]


@pytest.fixture
def file(tmp_path: Path) -> SpoolFile:
    made = SpoolFile(tmp_path / "many.spool")
    for line in numbered(range(5 * AT_ONCE)):
        made.append(line)
    return made


def test_who_adds_a_line_does_not_wait_for_who_takes_many(file: SpoolFile) -> None:
    """Lines that come while others are taken are taken too, in their order, before the file is empty."""
    taken: list[Mapping[str, object]] = []
    added: list[int] = []

    def act(lines: Sequence[Mapping[str, object]]) -> None:
        taken.extend(lines)
        if len(added) < 3 * AT_ONCE and not _is_locked(file.path):
            added.append(len(added))
            file.append({"n": 1000 + len(added)})

    emptied: list[int] = []
    assert file.take(act, lambda: emptied.append(len(taken))) == len(taken)
    assert added
    assert taken == numbered([*range(5 * AT_ONCE), *(1001 + number for number in added)])
    assert (file.count(), emptied) == (0, [len(taken)])


def test_lines_stay_until_all_are_taken(file: SpoolFile) -> None:
    def fail(lines: Sequence[Mapping[str, object]]) -> None:
        if {"n": 3 * AT_ONCE} in lines:
            raise StoreError

    with pytest.raises(StoreError):
        file.take(fail)
    assert file.count() == 5 * AT_ONCE
    seen: list[Mapping[str, object]] = []
    file.take(seen.extend)
    assert seen == numbered(range(5 * AT_ONCE))


def test_what_came_after_another_process_emptied_the_file_is_not_passed_over(file: SpoolFile) -> None:
    other, seen = SpoolFile(file.path), list[Mapping[str, object]]()

    def act(lines: Sequence[Mapping[str, object]]) -> None:
        seen.extend(lines)
        if lines[-1] == {"n": 5 * AT_ONCE - 1} and not _is_locked(file.path):
            other.take(lambda _: None)
            for line in numbered(range(900, 900 + 6 * AT_ONCE)):
                other.append(line)

    file.take(act)
    assert seen[-6 * AT_ONCE :] == numbered(range(900, 900 + 6 * AT_ONCE))
    assert file.count() == 0


# -- a gate that opens meanwhile -----------------------------------------------------------------------------------


def test_a_call_whose_gate_has_opened_is_carried_out_and_not_kept(started: Callable[[], Gateway]) -> None:
    """Else noes that come without a pause would close it again for ever."""
    process = started()
    letter = deferrals.of_erasure("p0-" + "0" * 32, "request")
    with process.look(CRM) as work, pytest.raises(spool.OpenedError):
        spool.keep_while_closed(work, secrets.token_bytes(16), letter)
    assert process.spool is not None
    assert (process.spool.count(), process.gate.faults) == (0, {})
    process.gate.report("test", ALTERED)
    with process.look(CRM) as work:
        spool.keep_while_closed(work, secrets.token_bytes(16), letter)
    assert process.spool.count() == 1


def test_without_a_store_a_letter_can_be_kept_and_nothing_else_done(started: Callable[[], Gateway]) -> None:
    process = started()
    with process.look():
        pass
    with process.recall(CRM) as work, pytest.raises(StoreError):
        rows.any_waiting(work.session)
    with process.recall(CRM) as work:
        spool.keep(work, secrets.token_bytes(16), deferrals.of_erasure("p0-" + "0" * 32, "request"))
    assert process.gate.fault == SETTLING
    assert spool.settle(process) == 1
    assert waiting(process)


def test_without_a_store_nobody_is_known_who_was_not_seen(started: Callable[[], Gateway]) -> None:
    process = started()
    process.forget()
    with pytest.raises(StoreError), process.recall(CRM):
        pass
    with process.look():
        pass
    stranger = replace(CRM, key=b"x" * 32)
    with pytest.raises(AuthenticationError), process.recall(stranger):
        pass


def test_what_another_process_left_is_brought_in_while_this_one_runs(started: Callable[[], Gateway]) -> None:
    """Not at once: whoever put it there may know of something against the log that this one is told within a check."""
    process = started()
    check = SelfCheck(process, Copies(process, []))
    check.run()
    keeper = LogKeeper(process, check, Care(), lambda error: pytest.fail(repr(error)))
    keeper._checked()
    keeps_a_no(started())
    keeper._checked()
    assert process.gate.fault is None
    keeper._checked()
    assert refused(process)
    keeper._measured()
    assert waiting(process)
    assert not refused(process)
