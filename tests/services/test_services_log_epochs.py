"""A new epoch of the log: only with four eyes, for exactly what was planned; what is lost is named, and proofs go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from test_services_self_check import Drawer, acts, checked, grow, grown_meanwhile, refused, set_back, size_of

from backups import back_up
from builders import twin
from consent_gateway.audit import verifier
from consent_gateway.audit.checkpoints import open_checkpoint
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.epochs import Anchor, follow, judge, statement_digest
from consent_gateway.audit.kept.port import Trouble
from consent_gateway.audit.merkle import leaf_hashes, root_from_leaves
from consent_gateway.audit.notes import parse_vkey
from consent_gateway.db import log_store
from consent_gateway.db.log_state import EpochRow
from consent_gateway.db.tables import audit_entries
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ConflictError, ForbiddenError, LogHaltedError
from consent_gateway.services.log import audit_log, log_epochs
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.work import approvals, principals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Fault, FaultKind

REASON = "restored_backup"


@pytest.fixture(name="gateway")
def with_officers(gateway: Gateway) -> Gateway:
    """A gateway with two officers, whose log holds everything so far."""
    with gateway.work() as work:
        for name in ("first", "second"):
            principals.issue(work, name, "self", frozenset({"approve"}))
    Sequencer(twin(gateway)).drain()
    return gateway


def officer(gateway: Gateway, name: str) -> Principal:
    with gateway.look() as work:
        return next(p for p in work.registers.principals.values() if p.id == name)


def propose(gateway: Gateway, copies: Copies, reason: str = REASON) -> str:
    with gateway.work(officer(gateway, "first"), curing=True) as work:
        return log_epochs.propose(work, copies, reason).id


def approve(gateway: Gateway, approval: str, by: str = "second") -> None:
    with gateway.work(officer(gateway, by), curing=True) as work:
        approvals.approve(work, approval)


def opened(gateway: Gateway, copies: Copies, reason: str = REASON) -> EpochRow:
    approve(gateway, propose(gateway, copies, reason))
    return log_epochs.open_epoch(gateway, officer(gateway, "first"), copies, reason)


def entries(gateway: Gateway) -> list[bytes]:
    with gateway.store.reading() as session:
        rows = session.execute(select(audit_entries.c.entry).order_by(audit_entries.c.idx)).scalars()
        return [bytes(entry) for entry in rows]


def note(gateway: Gateway) -> bytes:
    with gateway.store.reading() as session:
        return audit_log.checkpoint(session)


def set_back_by(gateway: Gateway, tmp_path: Path, lost: int = 20) -> tuple[Gateway, SelfCheck, Drawer, list[bytes]]:
    """A replica over a store that lost entries; the copy, and every entry as it was published."""
    grow(gateway, 50)
    back_up(gateway.store, tmp_path / "backup")
    grow(gateway, lost)
    published = entries(gateway)
    Copies(gateway, [copy := Drawer()]).bring(copy)
    set_back(gateway.store, tmp_path / "backup")
    started = twin(gateway)
    check = checked(started, copy)
    assert refused(started) is FaultKind.ROLLED_BACK
    return started, check, copy, published


def test_a_plan_names_no_loss_for_what_is_published_while_it_is_made(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = checked(gateway)
    grow(gateway)
    check.check_store()
    grown_meanwhile(monkeypatch, log_epochs, gateway)
    assert log_epochs.planned(gateway, check.copies).succession.lost is None


def test_a_copy_that_cannot_be_reached_any_more_stays_evidence_of_what_is_lost(
    gateway: Gateway, tmp_path: Path
) -> None:
    started, _, far, published = set_back_by(gateway, tmp_path)
    with gateway.store.reading() as session:
        size = (log_store.checkpoint(session) or (0, b""))[0]
    near = Drawer("near", "n" * 64, gateway.signer.sign_checkpoint(size + 1, leaf_hashes(published)[0]))
    both = checked(started, far, near)
    far.trouble = Trouble.UNREACHABLE
    assert both.copies.compare(far).trouble == "unreachable"
    lost = log_epochs.planned(started, both.copies).succession.lost
    assert lost is not None
    assert lost.until == len(published), "not only what the nearer copy knows"
    assert "copy_drawer" in started.gate.faults


def test_a_log_that_was_set_back_goes_on_in_a_new_epoch(gateway: Gateway, tmp_path: Path) -> None:
    started, check, copy, published = set_back_by(gateway, tmp_path)
    old, survived = copy.held, size_of(started)
    assert old is not None
    row = opened(started, check.copies)
    check.run()
    assert started.gate.fault is None
    assert (row.epoch, row.surviving, row.lost_from, row.lost_until) == (2, survived, survived, len(published))
    assert copy.held == note(started), "the copy follows the new epoch"
    acts(started, 3)
    Sequencer(started).drain()

    first, kept = gateway.signer.key, open_checkpoint(old, gateway.signer.key).checkpoint
    epochs = follow(first.vkey, [row.statement])
    assert [e.key.name for e in epochs] == ["test.example/log", "test.example/log/epoch-2"]
    head = open_checkpoint(note(started), epochs[-1].key).checkpoint
    leaves = leaf_hashes(entries(started))
    root_at = lambda size: root_from_leaves(leaves[:size])  # noqa: E731
    assert head.root == root_at(head.size)
    assert judge(epochs, first.name, head.size, root_at, kept) is Anchor.HOLDS
    assert judge(epochs[:1], first.name, survived, root_at, kept) is Anchor.ROLLED_BACK, "without the statement"


def test_the_first_entry_says_what_is_lost_and_who_decided_it(gateway: Gateway, tmp_path: Path) -> None:
    started, check, copy, published = set_back_by(gateway, tmp_path)
    assert copy.held is not None
    kept = open_checkpoint(copy.held, gateway.signer.key).checkpoint
    row = opened(started, check.copies)
    entry = parse_entry(entries(started)[row.surviving])
    assert (entry.kind, entry.actor, entry.uid) == (EntryKind.LOG_EPOCH_OPENED, "first", row.entry_uid)
    assert entry.fields["lost"] == {"from": row.surviving, "until": len(published), "root": kept.root.hex()}
    said = {name: entry.fields[name] for name in ("epoch", "previous", "reason", "proposed_by", "approved_by", "vkey")}
    assert said == {
        "epoch": 2, "previous": "test.example/log", "reason": REASON, "proposed_by": "first",
        "approved_by": "second", "vkey": row.vkey,
    }  # fmt: skip
    assert entry.fields["statement"] == statement_digest(row.statement).hex()
    Sequencer(started).drain()
    kinds = [parse_entry(found).kind.value for found in entries(started)[row.surviving + 1 :]]
    assert kinds == ["approval.proposed", "approval.given", "approval.ended"], "what waited comes after"


def test_no_size_has_two_roots_under_one_origin(gateway: Gateway, tmp_path: Path) -> None:
    started, check, _, published = set_back_by(gateway, tmp_path)
    opened(started, check.copies)
    size = grow(started, 40)
    assert size > len(published)
    assert note(started).startswith(b"test.example/log/epoch-2\n")


def test_receipts_and_exports_of_both_epochs_verify(gateway: Gateway, tmp_path: Path) -> None:
    grow(gateway, 300)
    uid = parse_entry(entries(gateway)[5]).uid
    with gateway.store.reading() as session:
        before = audit_log.receipt(session, uid)
    started, check, _, _ = set_back_by(gateway, tmp_path)
    row = opened(started, check.copies)
    Sequencer(started).drain()
    with started.store.reading() as session:
        after = audit_log.receipt(session, uid)
        mine = audit_log.receipt(session, row.entry_uid)
    entry = entries(started)[5]
    old_key, new_key = gateway.log_keys.signer(1).vkey, row.vkey
    assert verifier.verify_receipt(old_key, before, entry).ok
    assert verifier.verify_receipt(new_key, after, entry).ok
    assert verifier.verify_receipt(new_key, mine, entries(started)[row.surviving]).ok
    assert not verifier.verify_receipt(old_key, after, entry).ok
    audit_log.export(started, tmp_path / "export")
    assert verifier.verify_directory(new_key, tmp_path / "export").ok


def test_four_eyes_for_exactly_this(gateway: Gateway, tmp_path: Path) -> None:
    started, check, copy, _ = set_back_by(gateway, tmp_path)
    first, copies = officer(started, "first"), check.copies
    with pytest.raises(ForbiddenError):
        log_epochs.open_epoch(started, first, copies, REASON)
    approval = propose(started, copies)
    with pytest.raises(ForbiddenError):
        log_epochs.open_epoch(started, first, copies, REASON)
    with pytest.raises(ForbiddenError):
        approve(started, approval, by="first")
    approve(started, approval)
    with pytest.raises(ForbiddenError):
        log_epochs.open_epoch(started, first, copies, "another_reason")
    assert refused(started) is FaultKind.ROLLED_BACK
    more = Drawer("more", "m" * 64, held=started.log_keys.signer(1).sign_checkpoint(500, b"r" * 32))
    both = Copies(started, [copy, more])
    both.compare(copy), both.compare(more)
    with pytest.raises(ForbiddenError):
        log_epochs.open_epoch(started, first, both, REASON)
    log_epochs.open_epoch(started, first, copies, REASON)
    with pytest.raises((ForbiddenError, ConflictError)):
        log_epochs.open_epoch(started, first, copies, REASON)


def test_a_fork_is_given_up_from_what_is_known_to_be_common(gateway: Gateway, tmp_path: Path) -> None:
    grow(gateway, 10)
    early = Drawer("early", "e" * 64)
    Copies(gateway, [early]).bring(early)
    common = size_of(gateway)
    back_up(gateway.store, tmp_path / "backup")
    grow(gateway, 5)
    late = Drawer("late", "l" * 64)
    Copies(gateway, [late]).bring(late)
    until = size_of(gateway)
    set_back(gateway.store, tmp_path / "backup")
    grow(forked := twin(gateway), 30)
    started = twin(forked)
    check = checked(started, early, late)
    assert refused(started) is FaultKind.FORKED
    early.trouble = None
    held = early.held
    row = opened(started, check.copies)
    assert (row.lost_from, row.lost_until, row.surviving) == (common, until, size_of(started) - 1)
    check.run()
    assert started.gate.fault is None
    assert held != early.held


def test_a_planned_change_of_the_key_loses_nothing(gateway: Gateway) -> None:
    grow(gateway, 10)
    check = checked(gateway, copy := Drawer())
    check.copies.bring(copy)
    approval = propose(gateway, check.copies, "yearly")
    grow(gateway, 7)
    approve(gateway, approval)
    grow(gateway, 7)
    row = log_epochs.open_epoch(gateway, officer(gateway, "second"), check.copies, "yearly")
    assert (row.epoch, row.lost_from, row.lost_until) == (2, None, None)
    again = opened(gateway, check.copies, "yearly")
    assert again.epoch == 3
    statements = [row.statement, again.statement]
    assert [e.number for e in follow(gateway.log_keys.signer(1).vkey, statements)] == [1, 2, 3]
    grow(gateway, 3)
    check.run()
    assert gateway.gate.fault is None
    assert gateway.signer.key == parse_vkey(again.vkey)


def test_a_store_that_was_set_back_to_before_an_epoch(gateway: Gateway, tmp_path: Path) -> None:
    grow(gateway, 10)
    check = checked(gateway, copy := Drawer())
    check.copies.bring(copy)
    back_up(gateway.store, tmp_path / "backup")
    second = opened(gateway, check.copies, "yearly")
    grow(gateway, 3)
    check.copies.bring(copy)
    set_back(gateway.store, tmp_path / "backup")
    started = twin(gateway)
    check = checked(started, copy)
    assert refused(started) is FaultKind.ROLLED_BACK
    third = opened(started, check.copies)
    assert third.epoch == 3, "a number is never used twice"
    check.run()
    assert started.gate.fault is None
    pinned = gateway.log_keys.signer(1).vkey
    assert [e.number for e in follow(pinned, [third.statement])] == [1, 3]
    assert [e.number for e in follow(pinned, [second.statement, third.statement])] == [1, 2, 3]


def test_what_no_epoch_cures(gateway: Gateway) -> None:
    grow(gateway, 3)
    check = checked(gateway)
    for kind in (FaultKind.ALTERED, FaultKind.FOREIGN, FaultKind.UNCHECKED, FaultKind.REPLACED):
        gateway.gate.report("test", Fault(kind))
        with pytest.raises(ConflictError):
            log_epochs.open_epoch(gateway, officer(gateway, "first"), check.copies, REASON)


def test_a_plan_needs_a_log_that_is_sound(gateway: Gateway) -> None:
    grow(gateway, 3)
    with gateway.store.transaction() as session:
        session.execute(log_store.audit_head.update().values(root=b"x" * 32))
    with pytest.raises(LogHaltedError):
        log_epochs.planned(gateway, Copies(gateway, []))


def test_other_replicas_follow_into_the_epoch(gateway: Gateway, tmp_path: Path) -> None:
    """A replica that published what was lost sees the epoch, and goes on under its key."""
    started, check, _, _ = set_back_by(gateway, tmp_path)
    acts(gateway)
    own = SelfCheck(gateway, Copies(gateway, []))
    own.check_store()
    assert gateway.gate.fault is not None, "it remembers what it published"
    opened(started, check.copies)
    own.check_store()
    assert gateway.gate.fault is None
    size = grow(gateway, 2)
    assert note(gateway).startswith(b"test.example/log/epoch-2\n%d\n" % size)
