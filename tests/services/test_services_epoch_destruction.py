"""A past epoch is destroyed by two keys, when nothing and nobody needs it any more; and then nothing opens it again."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from builders import a_gateway, a_keyring_place, a_person, an_officer, another, id_of, ref, sealed, take, with_source
from consent_gateway.clock import FixedClock
from consent_gateway.db import key_epochs, tables
from consent_gateway.db import key_jobs as rows
from consent_gateway.domain.approvals import Action
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ConflictError, ForbiddenError, KeyringError, NotFoundError
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.erasing import erasure
from consent_gateway.services.keys import dek_rotation, epoch_destruction, epoch_roll, epoch_schedule
from consent_gateway.services.keys.epoch_destruction import ALIVE_SECONDS, DRAIN_SECONDS, EPOCHS
from consent_gateway.services.keys.key_jobs import Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.registry import registers
from consent_gateway.services.threads.key_keeper import KeyKeeper
from consent_gateway.services.work import approvals, principals
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import Keyring
from consent_gateway.vault.keys import dek_context
from fake_kms import FakeKms

PEOPLE, LENGTH, GRACE = 5, 7 * 86_400, 3_600
RULES = Rules(k_floor=1, key_epoch_seconds=LENGTH, key_epoch_grace_seconds=GRACE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_keyring_place(tmp_path)


@pytest.fixture
def crm(store: Any, clock: FixedClock, path: Path) -> Gateway:
    gateway = a_gateway(store, keyring=Keyring.create(path, sealed(path)), clock=clock, rules=RULES)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(PEOPLE)])
    return gateway


@pytest.fixture
def two(crm: Gateway) -> tuple[Principal, Principal]:
    return an_officer(crm, "first", "approve", "keys"), an_officer(crm, "second", "approve", "keys")


def keeper(gateway: Gateway) -> KeyKeeper:
    return KeyKeeper(gateway, lambda error: pytest.fail(repr(error)))


def roll(gateway: Gateway) -> None:
    with gateway.work() as work:
        job = epoch_roll.start(work)
    Runner(gateway, PAGES).run(job.id)


def drain(clock: FixedClock) -> None:
    clock.advance(timedelta(seconds=DRAIN_SECONDS))


def agree(gateway: Gateway, two: tuple[Principal, Principal], epoch: int) -> None:
    with gateway.work(two[0]) as work:
        made = EPOCHS.propose(work, epoch)
    with gateway.work(two[1]) as work:
        approvals.approve(work, made.id)


def decide(gateway: Gateway, actor: Principal, epoch: int = 1) -> None:
    with gateway.work(actor) as work:
        EPOCHS.decide(work, epoch)


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.store.reading() as session:
        found = session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        read = [json.loads(entry) for entry in found]
    return [entry["fields"] for entry in read if entry["kind"] == kind]


# -- destroying --------------------------------------------------------------------------------------------------


def test_what_was_erased_is_unreadable_in_an_older_copy(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    """The wrapped key of the erased person, as a backup still holds it, opens until the epoch is destroyed."""
    gone = id_of(crm, ref(3))
    with crm.store.reading() as session:
        backup = dict(rows.wraps_after(session, 0, 100))
    with crm.work() as work:
        erasure.erase(work, gone, "request")
    roll(crm)
    drain(clock)
    assert len(crm.vault.unwrap(gone, backup[gone])) == 32
    agree(crm, two, 1)
    decide(crm, two[0])
    assert EPOCHS.carry_out(crm) == [1]
    for process in (crm, another(crm, path)):
        with pytest.raises(VaultError):
            process.vault.unwrap(gone, backup[gone])
        with process.look() as work:
            assert len(process.vault.keys(work.session, backup)) == PEOPLE - 1
    (decided,), (done,) = entries(crm, "kek.destroying"), entries(crm, "kek.destroyed")
    assert decided == {
        "epoch": 1, "approval": done["approval"], "proposed_by": "first", "approved_by": "second", "standing": False,
    }  # fmt: skip
    assert EPOCHS.carry_out(crm) == []
    assert path.stat().st_size


def test_without_a_second_pair_of_eyes_nothing_goes(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    roll(crm)
    drain(clock)
    with pytest.raises(ForbiddenError, match="four eyes"):
        decide(crm, two[0])
    assert crm.vault.provider.keyring.epochs == (1, 2)


def test_what_is_in_the_way_is_said(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    late = another(crm, path)
    with pytest.raises(ConflictError, match="current epoch"):
        decide(crm, two[0])
    with pytest.raises(NotFoundError):
        decide(crm, two[0], 7)
    with crm.work() as work:
        job = epoch_roll.start(work)
    Runner(crm, PAGES).page(job.id, 2)
    with pytest.raises(ConflictError, match="still wrapped"):
        decide(crm, two[0])
    clock.advance(timedelta(seconds=60))
    Runner(crm, PAGES).run(job.id)
    with pytest.raises(ConflictError, match="a moment ago"):
        decide(crm, two[0])
    drain(clock)
    agree(crm, two, 1)
    with crm.store.transaction() as session:
        held = late.vault.provider.keyring.epochs
        key_epochs.seen(session, "late", held, int(clock().timestamp()), 0)
    with pytest.raises(ConflictError, match="1 processes"):
        decide(crm, two[0])
    clock.advance(timedelta(seconds=ALIVE_SECONDS + 1))
    decide(crm, two[0])
    with pytest.raises(ConflictError, match="already"):
        decide(crm, two[0])


def test_an_old_wrap_that_came_late_stops_it(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    late = another(crm, path)
    with crm.work() as work:
        job = epoch_roll.start(work)
    with late.look():  # its registers are those of before the roll's end
        pass
    Runner(crm, PAGES).run(job.id)
    take(late, [a_person(50)])
    drain(clock)
    agree(crm, two, 1)
    with pytest.raises(ConflictError, match="still wrapped"):
        decide(crm, two[0])
    roll(crm)
    drain(clock)
    decide(crm, two[0])
    assert EPOCHS.carry_out(crm) == [1]


def test_who_dies_between_deciding_and_doing_is_finished_by_another(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    roll(crm)
    drain(clock)
    agree(crm, two, 1)
    decide(crm, two[0])
    crm.vault.provider.use(crm.vault.provider.keyring.destroy_kek_epoch(1))  # and died before the entry
    assert entries(crm, "kek.destroyed") == []
    other = another(crm, path)
    keeper(other).look()
    assert len(entries(crm, "kek.destroyed")) == 1
    keeper(crm).look()
    assert len(entries(crm, "kek.destroyed")) == 1


def test_every_process_drops_a_destroyed_epoch(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    crm.rules = Rules(k_floor=1)  # no schedule
    other = another(crm, path)
    looking = keeper(other)
    looking.look()
    roll(crm)
    drain(clock)
    looking.look()
    agree(crm, two, 1)
    decide(crm, two[0])
    EPOCHS.carry_out(crm)
    looking.look()
    assert other.vault.provider.keyring.epochs == (2,)
    with crm.look() as work:
        assert epoch_destruction.holders(work)[looking.holder] == (2,)
    with pytest.raises(VaultError):
        other.vault.provider.unwrap(b"\1\1\0\0\0\1\0" + bytes(48), dek_context(1))


# -- by the clock ------------------------------------------------------------------------------------------------


def an_order(gateway: Gateway, two: tuple[Principal, Principal], days: int = 300, **subject: int) -> str:
    numbers = {"epoch_seconds": LENGTH, "grace_seconds": GRACE} | subject
    until = int(gateway.clock().timestamp()) + days * 86_400
    with gateway.work(two[0]) as work:
        made = approvals.propose(work, Action.SCHEDULED_EPOCH_ROLL, numbers, until)
    with gateway.work(two[1]) as work:
        return approvals.approve(work, made.id).id


def test_epochs_go_by_the_clock_under_an_order(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    order, looking = an_order(crm, two), keeper(crm)
    looking.look()  # nobody knows how old the first epoch is: it is rolled at once
    assert crm.vault.provider.keyring.epochs == (1, 2)
    clock.advance(timedelta(seconds=GRACE - 1))
    looking.look()
    assert crm.vault.provider.keyring.epochs == (1, 2)
    clock.advance(timedelta(seconds=1))
    looking.look()
    looking.look()
    assert crm.vault.provider.keyring.epochs == (2,)
    assert [(e["epoch"], e["approval"], e["standing"]) for e in entries(crm, "kek.destroying")] == [(1, order, True)]
    clock.advance(timedelta(seconds=LENGTH - GRACE - 1))
    looking.look()
    assert crm.vault.provider.keyring.current_epoch == 2
    clock.advance(timedelta(seconds=1))
    looking.look()
    assert crm.vault.provider.keyring.epochs == (2, 3)


@pytest.mark.parametrize("how", ["none", "other numbers", "taken back", "revoked", "over"])
def test_without_an_order_that_holds_nothing_is_destroyed(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], how: str
) -> None:
    looking = keeper(crm)
    if how != "none":
        order = an_order(crm, two, 1, **({"grace_seconds": GRACE + 1} if how == "other numbers" else {}))
    looking.look()
    with crm.work(two[1]) as work:
        if how == "taken back":
            approvals.refuse(work, order)
        if how == "revoked":
            principals.revoke(work, "first")
    clock.advance(timedelta(days=2 if how == "over" else 0.5))
    looking.look()
    looking.look()
    assert crm.vault.provider.keyring.epochs == (1, 2)
    with crm.look() as work:
        assert epoch_schedule.deadline(work).at is None
        assert epoch_schedule.deadline(work).why.startswith("no promise")


def test_the_deadline_is_kept(crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]) -> None:
    """Erase at some instant; at the deadline that was told then, the epochs of then are gone."""
    an_order(crm, two)
    looking = keeper(crm)
    looking.look()
    for hours in (1, 30, 100):
        clock.advance(timedelta(hours=hours))
        looking.look()
        with crm.look() as work:
            told = epoch_schedule.deadline(work).at
        held = crm.vault.provider.keyring.epochs
        assert told is not None
        while int(clock().timestamp()) < told:
            clock.advance(timedelta(minutes=30))
            looking.look()
        looking.look()
        assert not set(held) & set(crm.vault.provider.keyring.epochs)


def test_no_schedule_no_promise(gateway: Gateway) -> None:
    with gateway.look() as work:
        assert epoch_schedule.deadline(work) == epoch_schedule.Deadline(None, "no promise: no schedule is set")


def test_an_order_that_ends_before_promises_nothing(crm: Gateway, two: tuple[Principal, Principal]) -> None:
    an_order(crm, two, 1)
    keeper(crm).look()
    with crm.look() as work:
        assert "ends before" in epoch_schedule.deadline(work).why


# -- a process that slept through it -------------------------------------------------------------------------------


def destroyed_behind(crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]) -> None:
    """Roll, agree, destroy epoch 1, while nobody else is seen."""
    roll(crm)
    drain(clock)
    agree(crm, two, 1)
    decide(crm, two[0])
    assert EPOCHS.carry_out(crm) == [1]


def test_a_process_that_slept_through_it_writes_under_the_newer_epoch(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    """Stopped, or on a machine that was suspended: nobody sees it for a while, and it goes on where it was."""
    asleep = another(crm, path)
    with asleep.look():  # its registers are in its memory
        pass
    destroyed_behind(crm, clock, two)
    assert asleep.vault.provider.keyring.current_epoch == 1
    take(asleep, [a_person(70)])
    someone = id_of(crm, ref(70))
    with crm.look() as work:
        assert len(crm.vault.keys(work.session, [someone])[someone]) == 32
        assert set(rows.wraps_by_epoch(work.session)) == {2}


def test_a_process_that_cannot_read_the_newer_keyring_makes_no_data_key(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path, tmp_path: Path
) -> None:
    """A replica with a copy of its own, or an older file put back: nothing goes under a key that is no more."""
    (tmp_path / "old").mkdir()
    copy = tmp_path / "old" / "keyring.json"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    secret = copy.with_name("secret")
    secret.write_bytes(path.with_name("secret").read_bytes())
    secret.chmod(0o600)
    astray = another(crm, copy)
    destroyed_behind(crm, clock, two)
    with pytest.raises(KeyringError, match="older than the store"):
        take(astray, [a_person(71)])
    with astray.work() as work, pytest.raises(KeyringError, match="older than the store"):
        epoch_roll.start(work)
    with crm.look() as work:
        assert set(rows.wraps_by_epoch(work.session)) == {2}


def test_a_page_of_new_data_keys_goes_under_no_destroyed_epoch(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = another(crm, path)
    with crm.work() as work:
        job = dek_rotation.start(work)
    destroyed_behind(crm, clock, two)
    monkeypatch.setattr(asleep.vault.custody, "follow", lambda: False)  # it looked a moment before the roll
    with pytest.raises(KeyringError, match="older than the store"):
        Runner(asleep, PAGES).page(job.id)


# -- promises about time -------------------------------------------------------------------------------------------


def test_a_grace_longer_than_the_epoch_still_ends(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    """With an epoch of a day and a grace of a week some roll is always a moment old: each epoch has its own."""
    crm.rules = Rules(k_floor=1, key_epoch_seconds=86_400, key_epoch_grace_seconds=7 * 86_400)
    an_order(crm, two, epoch_seconds=86_400, grace_seconds=7 * 86_400)
    looking = keeper(crm)
    looking.look()
    with crm.look() as work:
        told = epoch_schedule.deadline(work).at
    held = crm.vault.provider.keyring.epochs
    assert told is not None
    while int(clock().timestamp()) < told:
        clock.advance(timedelta(seconds=min(21_600, told - int(clock().timestamp()))))
        looking.look()
        clock.advance(timedelta(seconds=DRAIN_SECONDS))
        looking.look()
        looking.look()
    assert not set(held) & set(crm.vault.provider.keyring.epochs)


def test_nothing_is_promised_while_an_epoch_is_overdue(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    """A data key that does not open keeps its epoch alive: a deadline that counts on its end would be a lie."""
    an_order(crm, two)
    looking = keeper(crm)
    with crm.work() as work:
        session = work.session
        broken = session.execute(select(tables.subject_keys).limit(1)).one()
        wrong = broken.wrapped_dek[:-1] + bytes([broken.wrapped_dek[-1] ^ 1])
        rows.swap_wraps(session, [(wrong, broken.subject_id, broken.wrapped_dek)])
    looking.look()
    with crm.look() as work:
        assert epoch_schedule.deadline(work).at is not None
    clock.advance(timedelta(seconds=GRACE + 301))
    looking.look()
    with crm.look() as work:
        found = epoch_schedule.deadline(work)
    assert (found.at, found.why) == (None, "no promise: epoch 1 should be destroyed by now, and is not")


def test_nothing_is_promised_while_a_roll_does_not_end(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    an_order(crm, two)
    keeper(crm).look()
    clock.advance(timedelta(seconds=LENGTH))
    with crm.work() as work:
        job = epoch_roll.start(work)
    Runner(crm, PAGES).page(job.id, 2)  # and nobody goes on
    with crm.look() as work:
        assert epoch_schedule.deadline(work).why == "no promise: epoch 1 should be destroyed by now, and is not"
    epoch_schedule.destroy_if_ordered(crm)
    EPOCHS.carry_out(crm)
    with crm.look() as work:
        assert epoch_schedule.deadline(work).at is not None
    clock.advance(timedelta(seconds=301))
    with crm.look() as work:
        found = epoch_schedule.deadline(work)
    assert (found.at, found.why) == (None, "no promise: the roll to epoch 3 should have ended by now, and has not")


@pytest.mark.parametrize("days", [0, 7])
def test_the_deadline_counts_what_the_key_service_takes(
    store: Any, clock: FixedClock, tmp_path: Path, days: int
) -> None:
    """A service that waits before it destroys (AWS KMS: 7 days at least) keeps old copies of the keyring alive."""
    kms, place = FakeKms(days=days), tmp_path / "keyring.json"
    gateway = a_gateway(store, keyring=Keyring.create(place, kms), clock=clock, rules=RULES)
    with gateway.work() as work:
        registers.seed(work)
    pair = an_officer(gateway, "first", "approve", "keys"), an_officer(gateway, "second", "approve", "keys")
    an_order(gateway, pair)
    keeper(gateway).look()
    with gateway.look() as work:
        told = epoch_schedule.deadline(work).at
    assert told == int(clock().timestamp()) + LENGTH + GRACE + 300 + days * 86_400
    kms.away = True
    agree(gateway, pair, 1)
    drain(clock)
    decide(gateway, pair[0])
    EPOCHS.carry_out(gateway)
    with gateway.look() as work:
        assert epoch_schedule.deadline(work).why == "no promise: the key service still owes the destruction of a key"
    assert entries(gateway, "kek.destroyed")[0]["service_owes"] == 1


def test_the_log_says_until_when_the_service_has_the_key(store: Any, clock: FixedClock, tmp_path: Path) -> None:
    kms = FakeKms(days=7)
    gateway = a_gateway(store, keyring=Keyring.create(tmp_path / "keyring.json", kms), clock=clock, rules=RULES)
    with gateway.work() as work:
        registers.seed(work)
    pair = an_officer(gateway, "first", "approve", "keys"), an_officer(gateway, "second", "approve", "keys")
    roll(gateway)
    drain(clock)
    agree(gateway, pair, 1)
    decide(gateway, pair[0])
    EPOCHS.carry_out(gateway)
    (gone,) = gateway.vault.provider.keyring.destructions.values()
    assert gone is not None
    (entry,) = entries(gateway, "kek.destroyed")
    assert (entry["service_until"], "service_owes" in entry) == (int(gone.timestamp()), False)


def test_a_roll_passes_over_an_epoch_that_is_lost_only_when_told_so(
    crm: Gateway, clock: FixedClock, two: tuple[Principal, Principal], path: Path
) -> None:
    """The number of a lost key is never given to another one: what is under it would be taken for what opens."""
    before = path.read_bytes()
    destroyed_behind(crm, clock, two)
    path.write_bytes(before)
    late = another(crm, path)
    with late.work() as work, pytest.raises(KeyringError, match="older than the store"):
        epoch_roll.start(work)
    with late.work() as work:
        job = epoch_roll.start(work, over_lost=True)
    assert (job.from_number, job.to_number) == (2, 3)
    done = Runner(late, PAGES).run(job.id)
    assert done.failed == PEOPLE
    assert late.vault.provider.keyring.epochs == (1, 3)
    take(late, [a_person(72)])
