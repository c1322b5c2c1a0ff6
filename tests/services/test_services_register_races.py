"""Registering while others register, publish, and write about people; on PostgreSQL, step by step.

SQLite lets one writer in at a time, so these interleavings do not exist there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from builders import (
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    a_source,
    incoming,
    ref,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import notices as notice_rows
from consent_gateway.db import registers as register_rows
from consent_gateway.db import tables
from consent_gateway.db.dialects import upsert
from consent_gateway.db.engine import Session
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import NoticeId, PurposeId, SourceId, TraitId
from consent_gateway.domain.purposes import Basis, Channel, Party, Purpose, PurposeKind, Source
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.segments import TraitDefinition, TraitOrigin, TraitType
from consent_gateway.errors import AuthenticationError, ConflictError, NotFoundError, RaceError, StoreError
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import notices
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.persons.events import import_contacts, import_events
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway, Work
from consent_gateway.services.work.items import ContactItem, EventItem
from replicas import a_replica

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("store_url", ["postgres"], indirect=True),
]
DIGEST = "0" * 64
NEWS = PurposeId("news")
Step = Callable[[Work], Any]


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """A source, a live key, and a purpose that has no place in the audience row yet."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_purpose(work, a_purpose("news", "marketing"), [])
        principals.issue(work, "shop", "self", frozenset({"admin"}))
    return gateway


@pytest.fixture
def replica(crm: Gateway) -> Iterator[Gateway]:
    """Another process on the same database."""
    with a_replica(crm, clock=crm.clock) as made:
        yield made


def a_purpose(name: str, parent: str | None = None) -> Purpose:
    above = None if parent is None else PurposeId(parent)
    return Purpose(PurposeId(name), PurposeKind.DIRECT_MARKETING, name, name, "", Basis.CONSENT, above)


def declare(work: Work, name: str, kind: TraitType = TraitType.INTEGER) -> TraitDefinition:
    return registers.put_trait(work, TraitId(name), kind, TraitOrigin.DECLARED, None, "")


def issue(work: Work, name: str, recipient: str = "self") -> str:
    return principals.issue(work, name, recipient, frozenset({"ingest"}))


def publish(work: Work, words: str, version: int = 1, title: str = "Privacy") -> str:
    return notices.put_notice(work, NoticeId("privacy"), version, "en", title, words)


def must_wait(gateway: Gateway, step: Step, actor: Principal = SYSTEM) -> bool:
    """Take a step that gives up at once where it has to wait for somebody; tell whether it did."""
    try:
        with gateway.work(actor) as work:
            work.session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            step(work)
    except StoreError:
        return True
    return False


def rows(gateway: Gateway, statement: Any) -> list[tuple[Any, ...]]:
    with gateway.look() as work:
        return [tuple(row) for row in work.session.execute(statement)]


# -- one at a time -------------------------------------------------------------------------------------------------

REGISTER: dict[str, Step] = {
    "purpose": lambda w: registers.put_purpose(w, a_purpose("more"), []),
    "slot": lambda w: registers.put_purpose(w, a_purpose("more"), [Channel.EMAIL]),
    "recipient": lambda w: registers.put_recipient(w, a_recipient("mailer")),
    "source": lambda w: registers.put_source(w, a_source("shop")),
    "trait": lambda w: declare(w, "vip"),
    "issue": lambda w: issue(w, "till"),
    "revoke": lambda w: principals.revoke(w, "shop"),
}


def who_do_not_wait(crm: Gateway, replica: Gateway) -> set[str]:
    with crm.work() as first:
        registers.put_recipient(first, a_recipient("first"))
        return {name for name, step in REGISTER.items() if not must_wait(replica, step)}


def test_who_registers_waits_for_who_registers(crm: Gateway, replica: Gateway) -> None:
    assert who_do_not_wait(crm, replica) == set()
    for name, step in REGISTER.items():
        assert not must_wait(replica, step), name  # nobody is in the way any more


def test_registering_without_the_lock_is_found(crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_rows, "bump", lambda _session: None)
    assert who_do_not_wait(crm, replica) == set(REGISTER)


def test_the_first_change_of_all_is_counted_too(crm: Gateway, replica: Gateway) -> None:
    """Two that find no version yet: the later one goes on counting from the earlier."""
    with crm.store.transaction() as session:
        session.execute(delete(tables.registry_state))

    def late() -> None:
        with replica.store.transaction() as session:
            register_rows.bump(session)

    thread = threading.Thread(target=late)
    with crm.store.transaction() as session:
        for _ in range(3):
            register_rows.bump(session)
        thread.start()
    thread.join()
    assert rows(crm, select(tables.registry_state.c.version)) == [(4,)]


# -- both began before either ended --------------------------------------------------------------------------------


def twin_traits(crm: Gateway, replica: Gateway, late_kind: TraitType) -> tuple[TraitDefinition, TraitDefinition]:
    with crm.work() as late:
        with replica.work() as early:
            first = declare(early, "vip", TraitType.INTEGER)
        return first, declare(late, "vip", late_kind)


def test_a_trait_is_declared_once(crm: Gateway, replica: Gateway) -> None:
    with pytest.raises(ConflictError) as refused:
        twin_traits(crm, replica, TraitType.TEXT)
    assert refused.type is ConflictError
    table = tables.traits.c
    assert rows(crm, select(table.id, table.type, table.slot)) == [("vip", "integer", "n0")]


def test_a_trait_that_is_declared_twice_alike_is_one(crm: Gateway, replica: Gateway) -> None:
    first, second = twin_traits(crm, replica, TraitType.INTEGER)
    assert first == second


def test_a_slot_holds_one_trait(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        with replica.work() as early:
            declare(early, "early")
        declare(late, "late")
    assert sorted(rows(crm, select(tables.traits.c.id, tables.traits.c.slot))) == [("early", "n0"), ("late", "n1")]


def test_a_trait_that_trusts_its_first_snapshot_overwrites_nothing(
    crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: who declares does not look again. The row itself still refuses to be overwritten."""
    monkeypatch.setattr(Work, "changed_registers", lambda work: register_rows.bump(work.session))
    with pytest.raises(RaceError):
        twin_traits(crm, replica, TraitType.TEXT)
    assert rows(crm, select(tables.traits.c.id, tables.traits.c.type)) == [("vip", "integer")]


def test_a_name_of_a_key_is_given_once(crm: Gateway, replica: Gateway) -> None:
    keys = []

    def collide() -> None:
        with crm.work() as late:
            with replica.work() as early:
                keys.append(issue(early, "till"))
            keys.append(issue(late, "till"))

    with pytest.raises(ConflictError) as refused:
        collide()
    assert refused.type is ConflictError
    table = tables.principals.c
    assert rows(crm, select(table.key_sha256).where(table.id == "till")) == [(principals.digest(keys[0]),)]


def test_a_key_is_revoked_once(crm: Gateway, replica: Gateway, clock: FixedClock) -> None:
    def collide() -> None:
        with crm.work() as late:
            clock.advance(timedelta(minutes=1))
            with replica.work() as early:
                principals.revoke(early, "shop")
            principals.revoke(late, "shop")

    with pytest.raises(NotFoundError):
        collide()
    table = tables.principals.c
    assert rows(crm, select(table.revoked_at).where(table.id == "shop")) == [(NOW_S + 60,)]


def test_a_key_that_was_revoked_meanwhile_leaves_no_other_behind(crm: Gateway, replica: Gateway) -> None:
    def outlive() -> None:
        with crm.look() as work:
            (thief,) = (p for p in work.registers.principals.values() if p.id == "shop")
        with crm.work(thief) as late:
            with replica.work() as early:
                principals.revoke(early, "shop")
            issue(late, "backdoor")

    with pytest.raises(AuthenticationError):
        outlive()
    assert rows(crm, select(tables.principals.c.id)) == [("shop",)]


def test_what_was_registered_meanwhile_can_be_named(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        with replica.work() as early:
            registers.put_recipient(early, a_recipient("mailer"))
            registers.put_purpose(early, a_purpose("more"), [])
        assert issue(late, "mail_key", "mailer")
        source = Source(SourceId("web"), "web", "web", Party.FIRST, None, (PurposeId("more"),))
        registers.put_source(late, source)
    with replica.look() as work:
        assert work.registers.sources[source.id] == source


# -- notices -------------------------------------------------------------------------------------------------------


def published(gateway: Gateway) -> list[tuple[Any, ...]]:
    table = tables.notices.c
    return rows(gateway, select(table.version, table.title, table.text, table.published_at).order_by(table.version))


def notice_twins(crm: Gateway, replica: Gateway, clock: FixedClock, words: str, title: str) -> None:
    """The later one began first."""
    with crm.work() as late:
        with replica.work() as early:
            publish(early, "We do.")
        clock.advance(timedelta(minutes=1))
        publish(late, words, title=title)


@pytest.mark.parametrize(("words", "title"), [("We don't.", "Privacy"), ("We do.", "Secrecy")])
def test_of_two_notices_at_once_the_first_stays(
    crm: Gateway, replica: Gateway, clock: FixedClock, words: str, title: str
) -> None:
    with pytest.raises(ConflictError) as refused:
        notice_twins(crm, replica, clock, words, title)
    assert refused.type is ConflictError
    assert published(crm) == [(1, "Privacy", "We do.", NOW_S)]


def test_the_same_notice_twice_at_once_is_one(crm: Gateway, replica: Gateway, clock: FixedClock) -> None:
    pending = select(func.count()).select_from(tables.audit_pending)
    ((before,),) = rows(crm, pending)
    notice_twins(crm, replica, clock, "We do.", "Privacy")
    assert published(crm) == [(1, "Privacy", "We do.", NOW_S)]
    assert rows(crm, pending) == [(before + 1,)]


class UndoneError(Exception):
    """The first one is never published after all."""


def test_a_notice_waits_for_whoever_publishes(crm: Gateway, replica: Gateway) -> None:
    with suppress(UndoneError), crm.work() as first:
        publish(first, "We do.")
        assert must_wait(replica, lambda w: publish(w, "We don't."))
        assert must_wait(replica, lambda w: publish(w, "We do."))
        assert must_wait(replica, lambda w: publish(w, "We did.", 2))
        raise UndoneError
    with replica.work() as second:
        publish(second, "We don't.")
        publish(second, "We did.", 2)
    assert [row[:3] for row in published(crm)] == [(1, "Privacy", "We don't."), (2, "Privacy", "We did.")]


def overwriting(session: Session, row: dict[str, Any]) -> bool:
    upsert(session, tables.notices, [row])
    return True


def test_a_notice_that_is_overwritten_is_found(
    crm: Gateway, replica: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice_rows, "add_notice", overwriting)
    with pytest.raises(AssertionError):
        test_the_same_notice_twice_at_once_is_one(crm, replica, clock)


# -- everyone is computed for a new slot ---------------------------------------------------------------------------

WITHDRAWAL = a_consent(ref(5), purpose="marketing", channel=None, kind=ConsentKind.WITHDRAWN, at=NOW_S)
# In this order: a person nobody knew, and what they say and do.
WRITE: dict[str, Step] = {
    "import": lambda w: import_subjects(w, "crm", incoming([a_person(5)]), DIGEST),
    "consent": lambda w: record_consents(w, "crm", incoming([WITHDRAWAL]), DIGEST),
    "event": lambda w: import_events(w, "crm", incoming([EventItem(ref(5), "buy", NOW_S, "k")]), DIGEST),
    "contact": lambda w: import_contacts(
        w, "crm", incoming([ContactItem(ref(5), "email", NOW_S, "spring", "k")]), DIGEST
    ),
}
ENABLE: dict[str, Step] = {
    "slot": lambda w: registers.put_purpose(w, a_purpose("news", "marketing"), [Channel.EMAIL]),
    "trait": lambda w: registers.put_trait(w, TraitId("buys"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, "buy", ""),
}


def told(gateway: Gateway) -> list[tuple[Any, ...]]:
    """What the audience row says of the withdrawal and of the purchase."""
    with gateway.look() as work:
        slot, trait = work.registers.slots[NEWS, Channel.EMAIL], work.registers.traits[TraitId("buys")].slot
    table = tables.audience_rows.c
    return rows(gateway, select(table[f"c{slot}"], table[trait]))


def nobody_is_missed_who_comes_later(crm: Gateway, replica: Gateway) -> int:
    """Somebody turns up while a slot and a trait were computed for everyone, and not committed yet."""
    waiting = []
    with crm.work() as enabling:
        for enable in ENABLE.values():
            enable(enabling)
        waiting = [write for write in WRITE.values() if must_wait(replica, write)]
    for write in waiting:
        with replica.work() as work:
            assert write(work).rejected == 0
    assert told(crm) == [(-1, 1)]
    assert reconcile(crm).clean
    return len(waiting)


def test_who_comes_while_a_slot_is_enabled_waits(crm: Gateway, replica: Gateway) -> None:
    assert nobody_is_missed_who_comes_later(crm, replica) == len(WRITE)


def test_an_intake_that_does_not_hold_the_registers_is_found(
    crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "hold_registers", lambda _work: None)
    with pytest.raises(AssertionError):
        nobody_is_missed_who_comes_later(crm, replica)


def test_an_enabling_waits_for_who_came_first(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as writing:
        for write in WRITE.values():
            assert write(writing).rejected == 0
            assert all(must_wait(replica, enable) for enable in ENABLE.values())
    for enable in ENABLE.values():
        assert not must_wait(replica, enable)
    assert told(crm) == [(-1, 1)]
    assert reconcile(crm).clean


def test_writers_do_not_wait_for_each_other(crm: Gateway, replica: Gateway) -> None:
    take(crm, [a_person(1)])
    with crm.work() as writing:
        record_consents(writing, "crm", incoming([a_consent(ref(1))]), DIGEST)
        assert not must_wait(replica, WRITE["import"])
        assert not must_wait(replica, WRITE["consent"])


def test_who_began_before_and_writes_after_is_not_missed(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        with replica.work() as early:
            for enable in ENABLE.values():
                enable(early)
        for write in WRITE.values():
            assert write(late).rejected == 0
    assert told(crm) == [(-1, 1)]
    assert reconcile(crm).clean
