"""A merge and another transaction at once on PostgreSQL, step by step: whichever is second sees what the first did.

SQLite lets one writer in at a time, so these interleavings do not exist there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from builders import NOW_S, a_consent, a_person, choose, id_of, incoming, may_write, ref, take, with_source
from consent_gateway.db import merges as merge_rows
from consent_gateway.db import subjects as subject_rows
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import PurposeId, TraitId
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind
from consent_gateway.domain.segments import TraitOrigin, TraitType
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import NotFoundError, RaceError, StoreError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger.choices import record_choices
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.persons import merges as merging
from consent_gateway.services.persons.events import import_contacts, import_events
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.items import ChoiceItem, ContactItem, EventItem
from replicas import a_replica, impatient

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("store_url", ["postgres"], indirect=True),
]
DIGEST = "0" * 64
NEWS = Purpose(
    PurposeId("news"), PurposeKind.DIRECT_MARKETING, "News", "新闻", "", Basis.CONSENT, PurposeId("marketing")
)
WITHDRAWAL = a_consent(ref(2), purpose="marketing", channel=None, kind=ConsentKind.WITHDRAWN, at=NOW_S)
WRITES: dict[str, Callable[[Work], Any]] = {
    "consent": lambda w: record_consents(w, "crm", incoming([WITHDRAWAL]), DIGEST),
    "choice": lambda w: record_choices(w, "crm", incoming([ChoiceItem(ref(2), Choice.GPC, True, NOW_S)]), DIGEST),  # noqa: FBT003 - a row
    "event": lambda w: import_events(w, "crm", incoming([EventItem(ref(2), "buy", NOW_S, "k")]), DIGEST),
    "contact": lambda w: import_contacts(w, "crm", incoming([ContactItem(ref(2), "email", NOW_S, "s", "k")]), DIGEST),
    "import": lambda w: import_subjects(w, "crm", incoming([a_person(2, country="FR")]), DIGEST),
}


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Four people who agreed, and a trait of their behaviour."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_trait(work, TraitId("buys"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, "buy", "")
        registers.put_purpose(work, NEWS, [])
    take(gateway, [a_person(n) for n in (1, 2, 3, 4)])
    take(gateway, [a_consent(ref(n), at=NOW_S - 86_400) for n in (1, 2, 3, 4)])
    return gateway


@pytest.fixture
def replica(crm: Gateway) -> Iterator[Gateway]:
    """Another process on the same database."""
    with a_replica(crm) as made:
        yield made


def join(work: Work, one: int = 1, other: int = 2) -> int:
    number = merge(work, [ref(one), ref(other)], "duplicate").merge
    assert number is not None
    return number


def joined(gateway: Gateway, one: int = 1, other: int = 2) -> int:
    with gateway.work() as work:
        return join(work, one, other)


@pytest.mark.parametrize("name", sorted(WRITES))
def test_whoever_writes_about_a_member_holds_off_a_merge(crm: Gateway, replica: Gateway, name: str) -> None:
    with crm.work() as writer:
        assert WRITES[name](writer).rejected == 0
        with pytest.raises(StoreError), replica.work() as merger:
            join(impatient(merger))


@pytest.mark.parametrize("name", sorted(WRITES))
def test_a_merge_holds_off_whoever_writes_about_a_member(crm: Gateway, replica: Gateway, name: str) -> None:
    with crm.work() as merger:
        join(merger)
        with pytest.raises(StoreError), replica.work() as writer:
            WRITES[name](impatient(writer))


@pytest.mark.parametrize("name", sorted(WRITES))
def test_what_is_written_after_a_merge_that_came_in_between_counts_for_the_person(
    crm: Gateway, replica: Gateway, name: str
) -> None:
    with crm.work() as late:
        joined(replica)
        assert WRITES[name](late).rejected == 0
    assert reconcile(crm).clean
    if name == "consent":
        assert not may_write(crm, ref(1))


def test_a_withdrawal_before_a_merge_that_began_earlier_holds(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as merger:
        with replica.work() as writer:
            WRITES["consent"](writer)
        join(merger)
    assert not may_write(crm, ref(1))
    assert reconcile(crm).clean


def test_a_withdrawal_after_the_undoing_that_came_in_between_is_the_members(crm: Gateway, replica: Gateway) -> None:
    number = joined(crm)
    with crm.work() as late:
        with replica.work() as early:
            unmerge(early, number, "wrong_match")
        WRITES["consent"](late)
    assert (may_write(crm, ref(1)), may_write(crm, ref(2))) == (True, False)
    assert reconcile(crm).clean


def test_two_writers_about_two_members_count_both(crm: Gateway, replica: Gateway) -> None:
    """They lock different subjects and the same row."""
    joined(crm)
    with crm.work() as first:
        record_choices(first, "crm", incoming([ChoiceItem(ref(1), Choice.GPC, active=True, at=NOW_S)]), DIGEST)
        with pytest.raises(StoreError), replica.work() as second:
            record_choices(
                impatient(second),
                "crm",
                incoming([ChoiceItem(ref(2), Choice.OBJECTION, active=True, at=NOW_S)]),
                DIGEST,
            )
    choose(crm, ref(2), Choice.OBJECTION)
    assert reconcile(crm).clean


def test_the_same_merge_twice_at_once_is_one(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        number = joined(replica)
        done = merge(late, [ref(2), ref(1)], "duplicate")
    assert (done.changed, done.merge) == (False, number)
    assert reconcile(crm).clean


def a_merge_between_reading_and_locking(crm: Gateway, replica: Gateway, patch: pytest.MonkeyPatch) -> None:
    """The cluster of 2 grows after it was read and before it is locked."""
    lock_all = subject_rows.lock_all

    def later(session: Any, ids: Any) -> Any:
        patch.setattr(subject_rows, "lock_all", lock_all)
        joined(replica, 2, 3)
        return lock_all(session, ids)

    patch.setattr(subject_rows, "lock_all", later)
    with crm.work() as work:
        join(work, 1, 2)


def test_a_merge_whose_cluster_grew_meanwhile_is_tried_again(
    crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RaceError):
        a_merge_between_reading_and_locking(crm, replica, monkeypatch)
    joined(crm, 1, 2)
    assert {len(found) for found in clusters_of(crm).values()} == {3, 1}
    assert reconcile(crm).clean


def test_a_lock_that_trusts_what_was_read_before_it_is_found(
    crm: Gateway, replica: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(work: Work, ids: Any) -> Any:
        found = merge_rows.clusters(work.session, ids)
        subject_rows.lock_all(work.session, [i for members in found.values() for i in members])
        return {i: members for members in found.values() for i in members}

    monkeypatch.setattr(merging, "lock_people", trusting)

    def collide() -> None:
        a_merge_between_reading_and_locking(crm, replica, monkeypatch)
        assert reconcile(crm).clean

    with pytest.raises((AssertionError, KeyError)):
        collide()


def clusters_of(gateway: Gateway) -> dict[Any, Any]:
    ids = [id_of(gateway, ref(n)) for n in (1, 2, 3, 4)]
    with gateway.look() as work:
        return merge_rows.clusters(work.session, ids)


def test_merges_of_four_that_cross_are_one_person(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        joined(replica, 2, 4)
        join(late, 3, 1)
    joined(crm, 4, 3)
    assert [len(found) for found in clusters_of(crm).values()] == [4]
    assert reconcile(crm).clean


def test_an_erasure_and_a_merge_wait_for_each_other(crm: Gateway, replica: Gateway) -> None:
    gone = id_of(crm, ref(2))
    with crm.work() as eraser:
        erase(eraser, gone, "request")
        with pytest.raises(StoreError), replica.work() as merger:
            join(impatient(merger))
    with crm.work() as merger:
        join(merger, 1, 3)
        with pytest.raises(StoreError), replica.work() as other:
            erase(impatient(other), id_of(crm, ref(3)), "request")


def test_nobody_is_merged_with_somebody_who_was_erased_meanwhile(crm: Gateway, replica: Gateway) -> None:
    gone = id_of(crm, ref(2))

    def collide() -> None:
        with crm.look() as work:
            name = crm.vault.pseudonym(gone, work.actor.recipient, work.registers)
        with crm.work() as late:
            with replica.work() as early:
                erase(early, gone, "request")
            merge(late, [ref(1), type(ref(1))("pseudonym", name)], "duplicate")

    with pytest.raises(NotFoundError) as caught:
        collide()
    assert [problem.path for problem in caught.value.fields] == ["$.subjects[1]"]


def test_a_pair_that_is_enabled_meanwhile_knows_the_merged(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as late:
        with replica.work() as early:
            registers.put_purpose(early, NEWS, [Channel.EMAIL])
        join(late)
    assert reconcile(crm).clean


def test_who_merges_holds_off_who_enables_a_pair(crm: Gateway, replica: Gateway) -> None:
    with crm.work() as merger:
        join(merger)
        with pytest.raises(StoreError), replica.work() as officer:
            registers.put_purpose(impatient(officer), NEWS, [Channel.EMAIL])
