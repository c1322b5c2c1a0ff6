"""Whatever happens in whatever order: the audience row is what recomputing it from the truth gives.

A state machine drives the use cases over a few people. After each step every stored row is compared with
`services.identity.reconcile.truth`, no row speaks of somebody who does not exist, and what a small model knows for certain
(who was erased, who said no to everything last) is what the gateway says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, func, select

from builders import (
    ALL_PROPERTIES,
    DAY,
    EVIDENCE,
    NOW_S,
    a_person,
    a_recipient,
    a_source,
    by,
    choose,
    forget_people,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.db import audience_rows, tables
from consent_gateway.db.subjects import _OWNED, ids_after
from consent_gateway.domain.circumstances import Subscriber, Told
from consent_gateway.domain.consents import YES, ConsentKind, ConsentProperty
from consent_gateway.domain.ids import PurposeId, TraitId
from consent_gateway.domain.purposes import Channel, Party, PurposeKind, RecipientKind
from consent_gateway.domain.segments import TraitOrigin, TraitType
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity import circumstances
from consent_gateway.services.identity.reconcile import reconcile, truth
from consent_gateway.services.ledger import choices
from consent_gateway.services.persons import events, subjects
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ConsentItem, ContactItem, EventItem, SubjectItem

ALL_HEALTH = list(HealthCheck)
BASE = settings(derandomize=True, deadline=None, suppress_health_check=ALL_HEALTH, print_blob=False)
NEW_PAIRS = [("marketing", Channel.EMAIL), ("direct_marketing", Channel.IN_APP), ("service_message", Channel.EMAIL)]

numbers = st.sampled_from([1, 1, 1, 2, 3])
ages = st.sampled_from([0, 1, 60, DAY - 1, DAY, 3 * DAY])
addresses = st.sampled_from(["a", "b"])


def address(number: int, name: str) -> str:
    return f"person{number}.{name}@example.org"


class Life(RuleBasedStateMachine):
    """A few people, and everything that can happen to them."""

    gateway: Gateway

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.erased: set[int] = set()
        self.keys = 0

    @initialize()
    def begin(self) -> None:
        forget_people(self.gateway.store)
        with self.gateway.work() as work:
            work.session.execute(delete(tables.slots).where(tables.slots.c.slot >= self.first_free))
            work.session.execute(delete(tables.traits).where(tables.traits.c.id == "late"))
            work.changed_registers()

    first_free = 10

    def key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"

    # -- rules

    @rule(
        number=numbers,
        country=st.sampled_from(["DE", "US-CA", ""]),
        born=st.sampled_from([None, "1980", "2012-03-04"]),
        bare=st.booleans(),
    )
    def arrive(self, number: int, country: str, born: str | None, bare: bool) -> None:  # noqa: FBT001 - named
        person = a_person(number, country=country, birth_date=born, traits={"visits": number})
        item = replace(person, identifiers={"member_no": f"M{number:05}"}) if bare else person
        taken = take(self.gateway, [item])
        assert taken.rejected == (number in self.erased)
        self.known |= {number} - self.erased

    @rule(
        number=numbers,
        name=addresses,
        source=st.sampled_from(["crm", "cousin"]),
        told=st.builds(
            Told,
            st.none() | st.sampled_from(Subscriber),
            st.none() | st.booleans(),
            st.none() | st.booleans(),
            st.none() | st.booleans(),
            st.none() | st.sampled_from([20_000, 20_600]),
        ),
    )
    def tell(self, number: int, name: str, source: str, told: Told) -> None:
        item = SubjectItem({"member_no": f"M{number:05}", "email": address(number, name)}, told=told)
        taken = take(self.gateway, [item], source)
        assert taken.rejected == (number in self.erased)
        self.known |= {number} - self.erased

    @rule(party=st.sampled_from(Party))
    def reclassify_source(self, party: Party) -> None:
        with self.gateway.work() as work:
            registers.put_source(work, replace(a_source("cousin"), party=party))

    @rule(number=numbers, channel=st.sampled_from(["email", "sms", "push"]), age=ages)
    def confirm(self, number: int, channel: str, age: int) -> None:
        take(self.gateway, [ContactItem(ref(number), channel, NOW_S - age, "bye", self.key(), "confirm")])

    @rule(number=numbers, name=addresses)
    def give_address(self, number: int, name: str) -> None:
        item = SubjectItem({"member_no": f"M{number:05}", "email": address(number, name)})
        taken = take(self.gateway, [item])
        assert taken.rejected == (number in self.erased)
        self.known |= {number} - self.erased

    @rule(
        number=numbers,
        purpose=st.sampled_from(["direct_marketing", "direct_marketing", "marketing", "third_party_audience_sharing"]),
        channel=st.sampled_from([None, "email", "email", "sms", "online_ads", "in_app"]),
        kind=st.sampled_from(ConsentKind),
        age=ages,
        lasting=st.sampled_from([None, 30, DAY]),
        properties=st.sampled_from([ALL_PROPERTIES, ConsentProperty.AFFIRMATIVE]),
        recipient=st.sampled_from([None, None, "partner"]),
        point=st.one_of(st.none(), st.none(), addresses),
        imported=st.booleans(),
    )
    def say(
        self,
        number: int,
        purpose: str,
        channel: str | None,
        kind: ConsentKind,
        age: int,
        lasting: int | None,
        properties: ConsentProperty,
        recipient: str | None,
        point: str | None,
        imported: bool,  # noqa: FBT001 - hypothesis gives it by name
    ) -> None:
        at = NOW_S - age
        contact = None if point is None else by("email", address(number, point))
        until = None if lasting is None or kind not in YES else at + lasting
        fact = ConsentItem(ref(number), purpose, kind, at, channel, until, properties, recipient, contact)
        take(self.gateway, [replace(fact, imported=imported, evidence=EVIDENCE)])

    @rule(number=numbers, choice=st.sampled_from(Choice), active=st.booleans(), age=ages)
    def switch(self, number: int, choice: Choice, active: bool, age: int) -> None:  # noqa: FBT001 - as above
        choose(self.gateway, ref(number), choice, active=active, at=NOW_S - age)

    @rule(people=st.lists(numbers, min_size=1, max_size=3), kind=st.sampled_from(["buy", "visit"]), age=ages)
    def behave(self, people: list[int], kind: str, age: int) -> None:
        take(self.gateway, [EventItem(ref(n), kind, NOW_S - age, self.key()) for n in people])

    @rule(people=st.lists(numbers, min_size=1, max_size=6), channel=st.sampled_from(["email", "sms", "none"]), age=ages)
    def contact(self, people: list[int], channel: str, age: int) -> None:
        take(
            self.gateway,
            [ContactItem(ref(n), channel, NOW_S - age - i, "spring", self.key()) for i, n in enumerate(people)],
        )

    @rule()
    def repeat_a_key(self) -> None:
        take(self.gateway, [EventItem(ref(1), "buy", NOW_S, "same"), ContactItem(ref(1), "email", NOW_S, "c", "s")][:1])

    @rule(number=numbers)
    def stranger_withdraws(self, number: int) -> None:
        take(
            self.gateway,
            [ConsentItem(by("email", address(number, "b")), "direct_marketing", ConsentKind.WITHDRAWN, NOW_S)],
        )

    @rule(number=numbers)
    def erase(self, number: int) -> None:
        if number in self.known:
            with self.gateway.work() as work:
                erase(work, subject_id(work, ref(number)), "request")
            self.known.remove(number)
            self.erased.add(number)

    @rule(pair=st.sampled_from(NEW_PAIRS))
    def enable_pair(self, pair: tuple[str, Channel]) -> None:
        purpose, channel = pair
        with self.gateway.work() as work:
            registers.put_purpose(work, work.registers.purposes.purposes[PurposeId(purpose)], [channel])

    @rule()
    def declare_trait(self) -> None:
        with self.gateway.work() as work:
            registers.put_trait(work, TraitId("late"), TraitType.DATE, TraitOrigin.EVENT_FIRST, "buy", "")

    @rule(number=numbers)
    def end_everything(self, number: int) -> None:
        if number in self.known:
            choose(self.gateway, ref(number), Choice.OBJECTION)
            assert not may_write(self.gateway, ref(number))

    # -- what always holds

    @invariant()
    def rows_are_the_truth(self) -> None:
        with self.gateway.work() as work:
            ids = ids_after(work.session, 0, 100)
            assert len(ids) == len(self.known)
            wanted = truth(work, ids)
            stored = audience_rows.rows(work.session, ids)
        assert {
            i: {n: (v, wanted[i][n]) for n, v in row.items() if v != wanted[i][n]} for i, row in stored.items()
        } == {i: {} for i in ids}

    @invariant()
    def nobody_is_half_there(self) -> None:
        with self.gateway.look() as work:
            for table in _OWNED:
                strays = select(func.count()).where(
                    table.c.subject_id.not_in(select(tables.subjects.c.id)), table.c.subject_id != 0
                )
                assert work.session.execute(strays).scalar() == 0, table.name


def machine(gateway: Gateway) -> Callable[[], Life]:
    """Prepare the registers once, and return what makes a machine for each example."""
    with_source(gateway)
    with_source(gateway, "cousin")
    with gateway.work() as work:
        held = work.registers.purposes.purposes[PurposeId("service_message")]
        registers.put_purpose(work, replace(held, id=PurposeId("confirm"), kind=PurposeKind.OPT_OUT_CONFIRMATION), [])
        registers.put_trait(work, TraitId("visits"), TraitType.INTEGER, TraitOrigin.DECLARED, None, "")
        registers.put_trait(work, TraitId("buys"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, "buy", "")
        registers.put_trait(work, TraitId("last_buy"), TraitType.DATE, TraitOrigin.EVENT_LAST, "buy", "")
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
        free = 1 + max(work.registers.slots.values())

    class Bound(Life):
        pass

    Bound.gateway, Bound.first_free = gateway, free
    return Bound


def test_the_row_is_the_truth_after_any_story(gateway: Gateway) -> None:
    examples, steps = (40, 25) if gateway.store.is_sqlite else (8, 20)
    run_state_machine_as_test(
        machine(gateway), settings=settings(BASE, max_examples=examples, stateful_step_count=steps)
    )


# -- each check goes red -------------------------------------------------------------------------------------------


def _stays_where_it_was(*_: object) -> None:
    """A refresh that was forgotten."""


def closed_address_then_a_new_one(life: Life) -> None:
    life.arrive(number=1, country="DE", born=None, bare=True)
    life.give_address(number=1, name="a")
    a_fact(life, ConsentKind.GIVEN, 60)
    a_fact(life, ConsentKind.WITHDRAWN, 1, point="a")
    life.rows_are_the_truth()
    life.give_address(number=1, name="b")


def first_address(life: Life) -> None:
    life.arrive(number=1, country="DE", born=None, bare=True)
    life.rows_are_the_truth()
    life.give_address(number=1, name="a")


def objection(life: Life) -> None:
    life.arrive(number=1, country="DE", born=None, bare=False)
    life.rows_are_the_truth()
    life.switch(number=1, choice=Choice.OBJECTION, active=True, age=0)


def purchases(life: Life) -> None:
    life.arrive(number=1, country="DE", born=None, bare=False)
    life.behave(people=[1, 1], kind="buy", age=60)


def messages(life: Life) -> None:
    life.arrive(number=1, country="DE", born=None, bare=False)
    life.contact(people=[1, 1, 1], channel="email", age=60)


def sold(life: Life) -> None:
    life.tell(number=1, name="a", source="crm", told=Told(in_sale=True))
    life.rows_are_the_truth()
    life.give_address(number=1, name="a")


def second_address(life: Life) -> None:
    life.tell(number=1, name="a", source="crm", told=Told(in_sale=True))
    life.rows_are_the_truth()
    life.give_address(number=1, name="b")


def confirmed(life: Life) -> None:
    life.arrive(number=1, country="DE", born=None, bare=False)
    life.confirm(number=1, channel="sms", age=1)


def a_fact(life: Life, kind: ConsentKind, age: int, point: str | None = None) -> None:
    life.say(
        number=1,
        purpose="direct_marketing",
        channel="email",
        kind=kind,
        age=age,
        lasting=None,
        properties=ALL_PROPERTIES,
        recipient=None,
        point=point,
        imported=False,
    )


def tell(life: Life, story: Callable[[Life], None]) -> None:
    """Tell the story, with the check that hypothesis would make after its last step."""
    story(life)
    life.rows_are_the_truth()


@pytest.mark.parametrize(
    ("story", "module", "name", "planted"),
    [
        (closed_address_then_a_new_one, subjects, "refresh_standings", _stays_where_it_was),
        (first_address, subjects, "refresh_flags", _stays_where_it_was),
        (objection, choices, "refresh_choices", _stays_where_it_was),
        (purchases, events, "merge_aggregate", lambda _origin, held, _found: (held or 0) + 1),
        (sold, circumstances, "refresh_circumstances", _stays_where_it_was),
        (second_address, subjects, "refresh_circumstances", _stays_where_it_was),
        (objection, choices, "refresh_recency", _stays_where_it_was),
        (confirmed, events, "refresh_recency", _stays_where_it_was),
        (messages, events, "newest_columns", lambda channel, times: {f"{channel}_1": times[-1]}),
    ],
)
def test_a_planted_bug_is_found(
    sqlite_gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[Life], None],
    module: Any,
    name: str,
    planted: object,
) -> None:
    make = machine(sqlite_gateway)
    life = make()
    life.begin()
    tell(life, story)  # as it should be, it holds
    life = make()
    life.begin()
    monkeypatch.setattr(module, name, planted)
    with pytest.raises(AssertionError):
        tell(life, story)


# -- reconcile -----------------------------------------------------------------------------------------------------


def test_a_planted_wrong_row_is_found_and_repaired(gateway: Gateway) -> None:
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(1, 6)])
    assert reconcile(gateway).clean
    with gateway.store.transaction() as session:
        rows = tables.audience_rows
        first, second, third = list(session.execute(select(rows.c.subject_id).order_by(rows.c.subject_id)).scalars())[
            :3
        ]
        session.execute(rows.update().where(rows.c.subject_id == first).values(c0=NOW_S + DAY))  # a false yes
        session.execute(rows.update().where(rows.c.subject_id == second).values(flags=0, email_1=5))
        session.execute(rows.delete().where(rows.c.subject_id == third))
    found = reconcile(gateway)
    assert (found.compared, found.differing, found.missing, found.repaired) == (5, 2, 1, False)
    assert found.columns == {"c0": 1, "flags": 1, "email_1": 1}
    assert not reconcile(gateway, repair=True).clean
    assert reconcile(gateway).clean


def test_reconcile_is_recorded(gateway: Gateway) -> None:
    with gateway.store.transaction() as session:
        session.execute(delete(tables.audit_pending))
    reconcile(gateway)
    with gateway.look() as work:
        entries = list(work.session.execute(select(tables.audit_pending.c.entry)).scalars())
    assert [b'"kind":"reconcile.run"' in e for e in entries] == [True]
