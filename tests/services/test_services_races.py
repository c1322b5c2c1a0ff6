"""Two transactions at once on PostgreSQL, step by step: no sleeping, no luck.

SQLite lets one writer in at a time, so these interleavings do not exist there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    EMAIL_MARKETING,
    NOW_S,
    SYSTEM,
    a_consent,
    a_person,
    a_recipient,
    dump,
    id_of,
    incoming,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.api import batcher as batching
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import PurposeId, RecipientId, TraitId
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, RecipientKind
from consent_gateway.domain.segments import TraitOrigin, TraitType
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import ConflictError, GatewayError, RaceError, StoreError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger.choices import record_choices
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.log import chain_checks
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons.events import import_contacts, import_events
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.items import ChoiceItem, ContactItem, EventItem
from replicas import a_replica, impatient

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("store_url", ["postgres"], indirect=True),
]
WITHDRAWAL = a_consent(ref(1), purpose="marketing", channel=None, kind=ConsentKind.WITHDRAWN, at=NOW_S)
DIGEST = "0" * 64


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Two people; the first agreed to a purpose that has no place in the audience row yet."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_purpose(work, news(), [])
    take(gateway, [a_person(1), a_person(2)])
    take(gateway, [a_consent(ref(1), purpose="news"), a_consent(ref(2))])
    return gateway


@pytest.fixture
def replica(crm: Gateway) -> Iterator[Gateway]:
    """Another process on the same database, which gives up waiting for a lock at once."""
    with a_replica(crm) as made:
        yield made


def news(kind: PurposeKind = PurposeKind.DIRECT_MARKETING) -> Purpose:
    return Purpose(PurposeId("news"), kind, "News", "新闻", "", Basis.CONSENT, PurposeId("marketing"))


# -- registers -----------------------------------------------------------------------------------------------------


def third_party(name: str) -> Any:
    return a_recipient(name, kind=RecipientKind.THIRD_PARTY)


def test_a_bit_is_given_once_though_both_began_before_either_ended(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        with replica.work() as early:
            registers.put_recipient(early, third_party("early"))
        registers.put_recipient(late, third_party("late"))
    with crm.look() as work:
        bits = [work.registers.recipients[RecipientId(n)].scope_bit for n in ("early", "late")]
    assert bits == [0, 1]


def test_a_purpose_keeps_its_kind_though_both_began_before_either_ended(crm: Gateway, replica: Gateway) -> None:
    def collide() -> None:
        with crm.work() as late:
            with replica.work() as early:
                registers.put_purpose(
                    early, Purpose(PurposeId("x"), PurposeKind.STORAGE, "", "", "", Basis.CONSENT), []
                )
            other = Purpose(PurposeId("x"), PurposeKind.DIRECT_MARKETING, "", "", "", Basis.CONSENT)
            registers.put_purpose(late, other, [])

    with pytest.raises(ConflictError):
        collide()


def test_who_registers_waits_for_who_registers(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as first:
        registers.put_recipient(first, third_party("first"))
        with pytest.raises(StoreError), replica.work() as second:
            registers.put_recipient(impatient(second), third_party("second"))


def misses_nothing(crm: Gateway, replica: Gateway) -> None:
    """A withdrawal that began before a pair was enabled, and ends after: the new place must know it."""
    with crm.work() as late:
        with replica.work() as early:
            registers.put_purpose(early, news(), [Channel.EMAIL])
        record_consents(late, "crm", incoming([WITHDRAWAL]), DIGEST)
    with crm.look() as work:
        column = tables.audience_rows.c[f"c{work.registers.slots[PurposeId('news'), Channel.EMAIL]}"]
        assert set(work.session.execute(select(column)).scalars()) == {-1, 0}
    assert reconcile(crm).clean


def test_a_withdrawal_sees_a_pair_that_was_enabled_meanwhile(crm: Gateway, replica: Gateway) -> None:
    misses_nothing(crm, replica)


def test_a_withdrawal_that_trusts_its_first_snapshot_is_found(
    crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "catch_up", lambda _work: None)
    with pytest.raises(AssertionError):
        misses_nothing(crm, replica)


def test_behaviour_counts_in_a_trait_that_was_declared_meanwhile(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        with replica.work() as early:
            registers.put_trait(early, TraitId("buys"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, "buy", "")
        import_events(late, "crm", incoming([EventItem(ref(1), "buy", NOW_S, "k")]), DIGEST)
    assert reconcile(crm).clean


# -- people --------------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Work], Any]] = {
    "consent": lambda w: record_consents(w, "crm", incoming([WITHDRAWAL]), DIGEST),
    "choice": lambda w: record_choices(w, "crm", incoming([ChoiceItem(ref(1), Choice.GPC, True, NOW_S)]), DIGEST),  # noqa: FBT003 - a row
    "event": lambda w: import_events(w, "crm", incoming([EventItem(ref(1), "buy", NOW_S, "k")]), DIGEST),
    "contact": lambda w: import_contacts(
        w, "crm", incoming([ContactItem(ref(1), "email", NOW_S, "spring", "k")]), DIGEST
    ),
    "import": lambda w: import_subjects(w, "crm", incoming([a_person(1, country="FR")]), DIGEST),
}


def orphans(gateway: Gateway, gone: int) -> list[str]:
    """The tables that still name somebody."""
    found = dump(gateway.store)
    names = []
    for table in tables.metadata.sorted_tables:
        if "subject_id" in table.c:
            place = list(table.c.keys()).index("subject_id")
            names += [table.name for row in found[table.name] if row[place] == gone]
    return names


def test_whoever_writes_about_a_person_holds_off_their_erasure(crm: Gateway, replica: Gateway) -> None:
    for name, write in WRITES.items():
        with crm.work() as writer:
            assert write(writer).rejected == 0, name
            with pytest.raises(StoreError), replica.work() as eraser:
                erase(impatient(eraser), subject_id(eraser, ref(1)), "request")


def test_an_erasure_holds_off_whoever_writes(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as eraser:
        erase(eraser, subject_id(eraser, ref(1)), "request")
        for write in WRITES.values():
            with pytest.raises(StoreError), replica.work() as writer:
                write(impatient(writer))


def test_nothing_is_written_about_somebody_who_was_erased_meanwhile(crm: Gateway, replica: Gateway) -> None:
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        pseudonym = crm.vault.pseudonym(gone, EMAIL_MARKETING.recipient, work.registers)
    assert pseudonym
    with crm.work() as late:
        with replica.work() as early:
            erase(early, gone, "request")
        codes = [r.reasons[0].code for write in WRITES.values() for r in write(late).rejections]
    # the withdrawal and the signal are taken in, with nobody left to apply them to
    assert codes == ["unknown_subject"] * 2 + ["erased"]
    assert orphans(crm, gone) == []


def test_a_decision_about_somebody_who_was_erased_meanwhile_is_not_given(crm: Gateway, replica: Gateway) -> None:
    """It was read before the erasure was acknowledged and would be answered after (P2), in a chain that has ended."""
    gone = id_of(crm, ref(1))
    ask = Ask(Use(PurposeId("news"), Channel("email"), RecipientId("self")), ref(1), SYSTEM)

    def overtaken() -> None:
        with crm.work() as late:
            decide(late, [ask])
            with replica.work() as early:
                erase(early, gone, "request")

    with pytest.raises(RaceError):
        overtaken()
    Sequencer(crm).drain()
    assert chain_checks.check(crm).clean
    with crm.work() as work:
        (again,) = decide(work, [ask])
    assert isinstance(again, Decision)
    assert again.answer.reason_code == "unknown_subject"
    assert orphans(crm, gone) == []


def test_the_others_of_a_batch_are_answered_when_one_was_erased_meanwhile(
    crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, late = id_of(crm, ref(1)), [True]
    use = Use(PurposeId("news"), Channel("email"), RecipientId("self"))

    def deciding(work: Work, asks: Sequence[Ask]) -> list[Decision | GatewayError]:
        found = decide(work, asks)
        if late and late.pop():
            with replica.work() as early:
                erase(early, gone, "request")
        return found

    async def ask_both() -> list[Decision]:
        batcher = batching.DecisionBatcher(crm)
        waiting = [batcher.submit(Ask(use, ref(n), SYSTEM)) for n in (1, 2)]
        return await asyncio.gather(*waiting)

    monkeypatch.setattr(batching, "decide", deciding)
    one, other = asyncio.run(ask_both())
    assert (one.answer.reason_code, other.answer.reason_code) == ("unknown_subject", "channel_not_enabled")
    Sequencer(crm).drain()
    assert chain_checks.check(crm).clean
