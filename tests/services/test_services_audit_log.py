"""P4 and the sequencer: no action without its entry, no entry lost or twice, whoever dies and whenever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from builders import (
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_gateway,
    a_pack_text,
    a_person,
    a_recipient,
    a_source,
    an_officer,
    answer_for,
    by,
    choose,
    dump,
    incoming,
    ref,
    subject_id,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.audit import verifier
from consent_gateway.audit.checkpoints import Signer
from consent_gateway.audit.entries import EntryKind, entry_bytes, parse_entry
from consent_gateway.db import log_store, tables
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.log_store import SqlLogStore
from consent_gateway.db.migrate import upgrade
from consent_gateway.domain.circumstances import Told
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.fields import RevealField
from consent_gateway.domain.ids import NoticeId, PurposeId, SegmentId, TraitId
from consent_gateway.domain.purposes import OWN, Basis, Channel, Purpose, PurposeKind
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing
from consent_gateway.domain.records.consent import Form
from consent_gateway.domain.registers import Exports
from consent_gateway.domain.reveals import Grounds, RevealReason
from consent_gateway.domain.segments import Everyone, TraitOrigin, TraitType
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, NotFoundError, StoreError
from consent_gateway.policies.signals.effects import PurposeRule, TcfMapping
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing import audiences, exports, reveals
from consent_gateway.services.disclosing.decisions import decide_batch
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations, notices, receipts, signal_mappings
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.log_search import Query, search_about
from consent_gateway.services.persons import canaries, history, merges, subjects
from consent_gateway.services.policy import policies
from consent_gateway.services.registry import records, registers
from consent_gateway.services.work import principals, quotas
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.items import ContactItem, EventItem, NoticeShownItem, SignalItem
from consent_gateway.vault.keyring import Keyring
from fakes import Faults, PowerCutError, faults_of
from replicas import same_database
from templates import fresh_database

A_SERVICE = Purpose(PurposeId("delivery"), PurposeKind.SERVICE_DELIVERY, "Delivery", "服务", "", Basis.CONTRACT)
ADDRESS = Address("Street 1", "Privacy")
CONTROLLER = Controller("Acme", "DE", ADDRESS, "https://acme.example")
PROCESSING = Processing((DataCategory("EmailAddress"),), ("Customer",), "P2Y", "", "a link", ("DE",))


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """A person who said yes, and registers that a receipt can be made of."""
    with_source(gateway)
    with gateway.work() as work:
        notices.put_notice(work, NoticeId("terms"), 1, "en", "Terms", "These.")
        registers.put_source(work, replace(a_source(), notice=NoticeId("terms")))
        registers.put_purpose(work, replace(A_SERVICE, reveals=(RevealField.EMAIL,)), [])
        records.put_controller(work, CONTROLLER)
        records.put_processing(work, PurposeId("marketing"), PROCESSING)
    take(gateway, [a_person(1), a_person(2)])
    take(gateway, [a_consent(ref(1))])
    return prepared(gateway)


DELIVERY = Use(PurposeId("delivery"), Channel.EMAIL, OWN)
GROUNDS = Grounds(RevealReason.DELIVERY, "SHIP-1", (RevealField.EMAIL,))


def pseudonym(work: Work, number: int) -> str:
    return work.gateway.vault.pseudonym(subject_id(work, ref(number)), OWN, work.registers)


MADE: dict[str, Any] = {}  # what the fixture made for use cases that go on from it


def prepared(gateway: Gateway) -> Gateway:
    """Add a request that waits for its second step, two who are one person, two who may be, and a candidate."""
    take(gateway, [a_person(n) for n in (6, 7, 8, 9)])
    taken = take(gateway, [a_consent(ref(2), channel="sms", kind=ConsentKind.PENDING, confirm=True)])
    with gateway.work() as work:
        policies.record_shipped(work)
        MADE["merge"] = merges.merge(work, [ref(8), ref(9)], "duplicate").merge
    MADE["token"] = taken.confirmations[0].token
    MADE["officers"] = [an_officer(gateway, name) for name in ("first", "second")]
    with gateway.work(MADE["officers"][0]) as work:
        policies.propose(work, a_pack_text("candidate"))
    return gateway


def by_officer(number: int, act: Callable[[Work], object]) -> Callable[[Gateway], object]:
    def run(gateway: Gateway) -> object:
        with gateway.work(MADE["officers"][number]) as work:
            return act(work)

    return run


def show(work: Work) -> object:
    shown = [NoticeShownItem(ref(1), "terms", 1, "en", NOW_S, None)]
    return notices.record_shown(work, "crm", incoming(shown), "0" * 64)


def in_work(act: Callable[[Work], object]) -> Callable[[Gateway], object]:
    def run(gateway: Gateway) -> object:
        with gateway.work() as work:
            return act(work)

    return run


def enable(work: Work) -> None:
    purpose = work.registers.purposes.purposes[PurposeId("marketing")]
    registers.put_purpose(work, purpose, [Channel.EMAIL])


USE_CASES: dict[str, Callable[[Gateway], object]] = {
    "import": lambda g: take(g, [a_person(3), a_person(1, country="FR", given_name="Anna")]),
    "refuse": lambda g: take(g, [a_person(3, country="ZZ")]),
    "consent": lambda g: take(g, [a_consent(ref(2))]),
    "withdraw": lambda g: withdraw(g, ref(1)),
    "stranger": lambda g: withdraw(g, by("email", "stranger@example.org")),
    "choice": lambda g: choose(g, ref(1), Choice.OBJECTION),
    "signal": lambda g: take(g, [SignalItem(ref(1), "1YYN", NOW_S)]),
    "stranger's signal": lambda g: take(g, [SignalItem(by("device_id", "dev-0123456789abcdef"), "1", NOW_S)]),
    "signal mapping": in_work(
        lambda w: signal_mappings.set_mapping(w, TcfMapping((PurposeRule((1,), PurposeId("marketing")),)))
    ),
    "event": lambda g: take(g, [EventItem(ref(1), "buy", NOW_S, "k")]),
    "contact": lambda g: take(g, [ContactItem(ref(1), "email", NOW_S, "spring", "k")]),
    "decide": lambda g: answer_for(g, ref(1)),
    "batch": in_work(lambda w: decide_batch(w, EMAIL_MARKETING, [ref(1)])),
    "audience": in_work(lambda w: audiences.resolve(w, Everyone(), EMAIL_MARKETING)),
    "purpose": in_work(enable),
    "recipient": in_work(lambda w: registers.put_recipient(w, a_recipient("mailer"))),
    "source": in_work(lambda w: registers.put_source(w, a_source("shop"))),
    "notice": in_work(lambda w: notices.put_notice(w, NoticeId("privacy"), 1, "en", "Privacy", "We do.")),
    "trait": in_work(
        lambda w: registers.put_trait(w, TraitId("buys"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, "buy", "")
    ),
    "segment": in_work(lambda w: registers.save_segment(w, SegmentId("all"), Everyone(), "")),
    "issue": in_work(lambda w: principals.issue(w, "shop", "self", frozenset({"ingest"}))),
    "controller": in_work(lambda w: records.put_controller(w, replace(CONTROLLER, name="Acme SE"))),
    "processing": in_work(
        lambda w: records.put_processing(w, PurposeId("marketing"), replace(PROCESSING, service="x"))
    ),
    "receipt": in_work(lambda w: receipts.issue(w, ref(1), "direct_marketing", Channel.EMAIL, Form.ISO27560)),
    "circumstance": lambda g: take(g, [a_person(1, told=Told(in_sale=True))]),
    "exports": in_work(lambda w: exports.declare_exports(w, Exports(2026, 1, 0))),
    "request": lambda g: take(g, [a_consent(ref(1), kind=ConsentKind.PENDING, confirm=True)]),
    "confirm": in_work(lambda w: confirmations.confirm(w, MADE["token"], {})),
    "shown": in_work(show),
    "history": in_work(lambda w: history.history(w, ref(1), 0, 10)),
    "state": in_work(lambda w: history.states(w, ref(1))),
    "merge": in_work(lambda w: merges.merge(w, [ref(6), ref(7)], "duplicate")),
    "unmerge": in_work(lambda w: merges.unmerge(w, MADE["merge"], "wrong_match")),
    "propose": by_officer(0, lambda w: policies.propose(w, a_pack_text("trial"))),
    "shadow": by_officer(0, lambda w: policies.set_shadow(w, "candidate", 1, on=True)),
    "activate": by_officer(1, lambda w: policies.activate(w, "candidate", 1)),
    "lookup": in_work(lambda w: subjects.lookup(w, ref(1), None)),
    "lookup of a stranger": in_work(lambda w: subjects.lookup(w, by("email", "stranger@example.org"), None)),
    "stream": in_work(lambda w: audiences.record_reading(w, audiences.resolve(w, Everyone(), EMAIL_MARKETING).row)),
    "quota": in_work(lambda w: quotas.set_limits(w, "first", QuotaKind.REVEAL, 5, 50)),
    "suspend": in_work(lambda w: quotas.set_suspended(w, "first", QuotaKind.REVEAL, suspended=True)),
    "canary": in_work(lambda w: canaries.plant(w, "crm", a_person(77), "0" * 64)),
    "reveal": in_work(lambda w: reveals.reveal(w, DELIVERY, GROUNDS, [pseudonym(w, 1)])),
    "search of the log": in_work(lambda w: search_about(w, ref(1), Query())),
    "reconcile": reconcile,
    "erase": in_work(lambda w: erase(w, subject_id(w, ref(1)), "request")),
}


def pending_kinds(gateway: Gateway) -> list[EntryKind]:
    with gateway.look() as work:
        entries = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id))
        return [parse_entry(bytes(e)).kind for e in entries.scalars()]


def test_every_use_case_leaves_an_entry(crm: Gateway) -> None:
    for name, use_case in USE_CASES.items():
        before = len(pending_kinds(crm))
        use_case(crm)
        assert pending_kinds(crm)[before:], name


def writes_no_entry(statement: str) -> bool:
    return statement.startswith("INSERT INTO audit_pending")


def undone(crm: Gateway, name: str, faults: Faults) -> None:
    """Run a use case whose entry cannot be written: it fails, and the store is as it was."""
    before = dump(crm.store)
    with faults.cut(when=writes_no_entry), pytest.raises(PowerCutError):
        USE_CASES[name](crm)
    assert dump(crm.store) == before


def test_without_its_entry_nothing_happens(crm: Gateway) -> None:
    faults = faults_of(crm.store)
    for name in USE_CASES:
        undone(crm, name, faults)


def test_an_action_that_goes_on_without_its_entry_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: a writer of the log that swallows its error, and the use case is committed."""
    original = Work.flush

    def careless(work: Work) -> None:
        with suppress(PowerCutError):
            original(work)

    monkeypatch.setattr(Work, "flush", careless)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        undone(crm, "withdraw", faults_of(crm.store))


def test_a_use_case_happens_as_a_whole_or_not_at_all(crm: Gateway) -> None:
    """Each dies before each of its writes in turn; then it succeeds, and the next goes on from there."""
    faults = faults_of(crm.store)
    for name, use_case in USE_CASES.items():
        before = dump(crm.store)
        at = first_success(faults, partial(use_case, crm), partial(is_unchanged, crm, before))
        assert at > 1, name
        assert dump(crm.store) != before, name
    assert reconcile(crm).clean


def is_unchanged(gateway: Gateway, before: dict[str, list[tuple[Any, ...]]]) -> bool:
    return dump(gateway.store) == before


def first_success(faults: Faults, act: Callable[[], object], unchanged: Callable[[], bool]) -> int:
    """Let `act` die before write 1, 2, … until it lives through; after each death nothing has changed."""
    for at in count(1):
        try:
            with faults.cut(at=at):
                act()
        except PowerCutError:
            assert unchanged(), f"write {at}"
        else:
            return at
    raise AssertionError


def test_a_use_case_that_dies_at_its_commit_did_not_happen(crm: Gateway) -> None:
    faults = faults_of(crm.store)
    before = dump(crm.store)
    with faults.cut(at=0), pytest.raises(PowerCutError):
        withdraw(crm, ref(1))
    assert dump(crm.store) == before


# -- the sequencer -------------------------------------------------------------------------------------------------


def verified(gateway: Gateway, directory: Path) -> list[bytes]:
    """Export the log, have it checked by the verifier, and return its entries."""
    audit_log.export(gateway, directory)
    finding = verifier.verify_directory(gateway.signer.vkey, directory)
    assert finding.ok, str(finding)
    with gateway.look() as work:
        found = list(work.session.execute(select(tables.audit_entries).order_by(tables.audit_entries.c.idx)))
    assert [row.idx for row in found] == list(range(len(found)))
    assert [bytes(row.uid) for row in found] == [parse_entry(bytes(row.entry)).uid for row in found]
    return [bytes(row.entry) for row in found]


def pending(gateway: Gateway) -> list[bytes]:
    with gateway.look() as work:
        found = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id))
        return [bytes(e) for e in found.scalars()]


def unplaced(entries: list[bytes]) -> list[bytes]:
    """The entries as they were while they waited: with no place in a chain yet."""
    blank = {"chain": bytes(32), "other_chain": bytes(32)}
    parsed = [parse_entry(e) for e in entries]
    return [entry_bytes(replace(e, commitments={n: blank.get(n, v) for n, v in e.commitments.items()})) for e in parsed]


def test_what_was_pending_is_the_log(crm: Gateway, tmp_path: Path) -> None:
    entries = pending(crm)
    assert Sequencer(crm).drain() == len(entries)
    assert pending(crm) == []
    found = verified(crm, tmp_path)
    assert unplaced(found) == entries
    assert unplaced(found) != found
    assert Sequencer(crm).drain() == 0


def test_a_sequencer_that_dies_anywhere_loses_and_forks_nothing(crm: Gateway, tmp_path: Path) -> None:
    sequencer, faults = Sequencer(crm), faults_of(crm.store)
    wanted: list[bytes] = []
    for number in range(2):  # an empty log first, then one that goes on
        answer_for(crm, ref(1))
        wanted += pending(crm)
        before = dump(crm.store)
        with faults.cut(at=0), pytest.raises(PowerCutError):
            sequencer.run_once()  # at its commit
        assert dump(crm.store) == before
        assert first_success(faults, sequencer.run_once, partial(is_unchanged, crm, before)) > 3
        assert pending(crm) == []
        assert unplaced(verified(crm, tmp_path / str(number))) == wanted


def test_a_commit_whose_answer_is_lost_is_read_again_before_anything_is_signed(
    crm: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks during COMMIT: whether it took effect is known only by reading, and here it did."""
    sequencer, wanted, signed = Sequencer(crm), pending(crm), []
    sign = Signer.sign_checkpoint
    commit = crm.store.engine.dialect.do_commit

    def lost(connection: Any) -> None:
        commit(connection)
        monkeypatch.undo()
        raise OperationalError("COMMIT", {}, Exception("the connection is gone"))

    monkeypatch.setattr(crm.store.engine.dialect, "do_commit", lost)
    with pytest.raises(StoreError):
        sequencer.run_once()
    monkeypatch.setattr(
        Signer, "sign_checkpoint", lambda self, size, root: signed.append(size) or sign(self, size, root)
    )
    assert sequencer.run_once() == 0
    assert signed == [], "one size is signed once"
    answer_for(crm, ref(1))
    wanted += pending(crm)
    assert sequencer.run_once() == 1
    assert signed == [len(wanted)]
    assert unplaced(verified(crm, tmp_path)) == wanted


@pytest.fixture
def other_store(crm: Gateway) -> Iterator[Store]:
    """The same database by another process's means: no lock, no cache and no connection is shared."""
    with same_database(crm.store) as store:
        yield store


def test_two_sequencers_and_two_writers_at_once(
    crm: Gateway, other_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "BATCH", 3)  # many small integrations
    other = a_gateway(other_store, keyring=crm.vault.provider.keyring)
    wanted = {parse_entry(e).uid for e in pending(crm)}
    rounds, lock, writing = 12, threading.Lock(), threading.Event()
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            start.wait()
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                failures.append(error)

        return run

    def write(gateway: Gateway) -> Callable[[], None]:
        def run() -> None:
            for _ in range(rounds):
                with gateway.work() as work:
                    uids = [work.record(EntryKind.ADMIN_ACTION, {"action": "test"}) for _ in range(3)]
                with lock:
                    wanted.update(uids)

        return run

    def integrate(gateway: Gateway) -> Callable[[], None]:
        def run() -> None:
            sequencer = Sequencer(gateway)
            while not writing.is_set():
                sequencer.drain()
            sequencer.drain()

        return run

    writers = [threading.Thread(target=guarded(write(g))) for g in (crm, other)]
    sequencers = [threading.Thread(target=guarded(integrate(g))) for g in (crm, other)]
    for thread in writers + sequencers:
        thread.start()
    for thread in writers:
        thread.join()
    writing.set()
    for thread in sequencers:
        thread.join()
    assert failures == []
    found = [parse_entry(e).uid for e in verified(crm, tmp_path)]
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert pending(crm) == []


def test_a_sequencer_that_trusts_its_memory_cannot_fork(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the head is not read again after another replica moved it. The index stops it."""
    stale = Sequencer(twin(crm))
    Sequencer(crm).drain()
    answer_for(crm, ref(1))
    monkeypatch.setattr(SqlLogStore, "head", lambda self: self._edge.head)
    before = dump(crm.store)
    with pytest.raises(ConflictError):
        stale.drain()
    assert dump(crm.store) == before


def test_receipts_are_proofs_without_us(crm: Gateway) -> None:
    uids = [parse_entry(e).uid for e in pending(crm)]
    Sequencer(crm).drain()
    vkey = crm.signer.vkey
    with crm.look() as work:
        found = [(audit_log.find(work.session, uid).entry, audit_log.receipt(work.session, uid)) for uid in uids]
    assert len(found) > 10
    for entry, receipt in found:
        assert verifier.verify_receipt(vkey, receipt, entry).ok
    assert not verifier.verify_receipt(vkey, found[0][1], found[1][0]).ok
    assert not verifier.verify_receipt(a_gateway(crm.store).signer.vkey, found[0][1], found[0][0]).ok


def test_old_checkpoints_stay_prefixes(crm: Gateway, tmp_path: Path) -> None:
    sequencer, kept = Sequencer(crm), []
    for _ in range(4):
        answer_for(crm, ref(1))
        sequencer.drain()
        with crm.look() as work:
            kept.append(audit_log.checkpoint(work.session))
    audit_log.export(crm, tmp_path)
    assert all(verifier.verify_directory(crm.signer.vkey, tmp_path, earlier=old).ok for old in kept)


def test_an_entry_is_found_once_it_is_integrated(crm: Gateway) -> None:
    uid = parse_entry(pending(crm)[0]).uid
    with crm.look() as work, pytest.raises(NotFoundError, match="retry"):
        audit_log.find(work.session, uid)
    with crm.look() as work, pytest.raises(NotFoundError, match="no entries"):
        audit_log.checkpoint(work.session)
    Sequencer(crm).drain()
    with crm.look() as work:
        assert audit_log.find(work.session, uid).index == 0
        with pytest.raises(NotFoundError):
            audit_log.find(work.session, bytes(16))
        assert audit_log.tile(work.session, 0, 0, 1)
        for level, index, width in ((0, 0, 256), (1, 0, 1), (0, 1, 1)):
            with pytest.raises(NotFoundError):
                audit_log.tile(work.session, level, index, width)
        with pytest.raises(NotFoundError):
            audit_log.entry_bundle(work.session, 1, 1)


def fill(store: Store, keyring: Keyring, entries: list[log_store.Recorded], batch: int) -> Gateway:
    """Append given entries and integrate them in batches of one size."""
    gateway = a_gateway(store, keyring=keyring)
    sequencer = Sequencer(gateway)
    for start in range(0, len(entries), batch):
        with store.transaction() as session:
            log_store.append(session, entries[start : start + batch])
        sequencer.drain()
    return gateway


@pytest.mark.planted_entry
@pytest.mark.postgres
def test_both_stores_make_the_same_bytes_of_the_same_entries(postgres_server: str, tmp_path: Path) -> None:
    keyring = Keyring.in_memory()
    entries = [_entry(n) for n in range(600)]
    with fresh_database(postgres_server) as url:
        stores = [Store(sqlite_url(str(tmp_path / "x.sqlite3"))), Store(url)]
        found = []
        for store, batch in zip(stores, (600, 77), strict=True):  # however they were cut into batches
            upgrade(store)
            gateway = fill(store, keyring, entries, batch)
            directory = tmp_path / store.engine.dialect.name
            audit_log.export(gateway, directory)
            assert verifier.verify_directory(gateway.signer.vkey, directory).ok
            found.append({str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()})
        for store in stores:
            store.dispose()
    assert found[0] == found[1]
    assert {"checkpoint", "tile/0/000", "tile/entries/001"} <= found[0].keys()


def _entry(number: int) -> log_store.Recorded:
    uid = number.to_bytes(16, "big")
    fields = b'{"actor":"a","at":%d,"commitments":{},"fields":{},"kind":"admin.action","uid":"%b","v":1}'
    return uid, fields % (number, uid.hex().encode()), None
