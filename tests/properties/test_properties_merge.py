"""Merging and taking it back, against a plain model: whatever happens in whatever order, no revoked consent revives.

The model keeps what each subject said and did, and which merges are in force, and computes each person's row from
lists: the choices of each subject on their own, the ledger of all by event time, sums and newest of what all did. After
each step the stored rows, the single decisions (by identifier, by old pseudonyms), an audience and `reconcile` agree
with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from builders import (
    ALL_PROPERTIES,
    DAY,
    EMAIL_MARKETING,
    EVIDENCE,
    NOW_S,
    a_person,
    by,
    choose,
    dump,
    forget_people,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.db import audience_rows
from consent_gateway.db import merges as merge_rows
from consent_gateway.domain import consents as consents_domain
from consent_gateway.domain.consents import CLOCKS_APART, DATE_ONLY, ConsentEvent, ConsentKind, fold
from consent_gateway.domain.ids import PurposeId, SubjectId, TraitId
from consent_gateway.domain.merges import components
from consent_gateway.domain.purposes import Basis, Channel, Purpose, PurposeKind, PurposeTree
from consent_gateway.domain.segments import Everyone, TraitOrigin, TraitType
from consent_gateway.domain.subjects import CHOICE_FLAG, Choice, Flag
from consent_gateway.errors import RaceError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity import audience_rows as row_writers
from consent_gateway.services.identity import clusters
from consent_gateway.services.identity import people as people_module
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.persons import events as event_writers
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ConsentItem, ContactItem, EventItem

BASE = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
PEOPLE = 4
MARKETING, DIRECT = "marketing", "direct_marketing"
NOES = (ConsentKind.WITHDRAWN, ConsentKind.REFUSED)
numbers = st.integers(1, PEOPLE)
ages = st.sampled_from([0, 60, CLOCKS_APART - 1, CLOCKS_APART, 3600, DAY - 1, DAY, 3 * DAY])


@dataclass
class Said:
    """One fact of the ledger as the model keeps it."""

    purpose: str
    kind: ConsentKind
    at: int
    imported: bool
    point: bool  # about the subject's own address, not about the channel


@dataclass
class Life:
    """One subject as the model knows it."""

    subject: SubjectId
    pseudonym: str
    region: str
    visits: int
    said: list[Said] = field(default_factory=list)
    chosen: list[tuple[Choice, bool, int]] = field(default_factory=list)
    bought: list[int] = field(default_factory=list)
    mailed: list[int] = field(default_factory=list)

    def choices(self) -> int:
        """The bits of what is on: the latest of each decides, on wins a tie, GPC stays."""
        bits = 0
        for choice in Choice:
            mine = [(at, active) for name, active, at in self.chosen if name == choice]
            if mine and (max(mine)[1] or (choice is Choice.GPC and any(active for _, active in mine))):
                bits |= CHOICE_FLAG[choice]
        return bits


class Merging(RuleBasedStateMachine):
    """A few subjects, and everything that can happen to them."""

    gateway: Gateway

    def __init__(self) -> None:
        super().__init__()
        self.lives: dict[int, Life] = {}
        self.erased: set[int] = set()
        self.merges: dict[int, tuple[int, int]] = {}
        self.keys = 0

    @initialize()
    def begin(self) -> None:
        forget_people(self.gateway.store)

    # -- what happens

    @rule(number=numbers, region=st.sampled_from(["DE", "FR", "PT"]), visits=st.integers(1, 2))
    def arrive(self, number: int, region: str, visits: int) -> None:
        if number in self.lives:
            return
        taken = take(self.gateway, [a_person(number, country=region, traits={"visits": visits})])
        assert taken.rejected == (number in self.erased)
        if number not in self.erased:
            with self.gateway.look() as work:
                found = subject_id(work, ref(number))
                pseudonym = self.gateway.vault.pseudonym(found, EMAIL_MARKETING.recipient, work.registers)
            self.lives[number] = Life(found, pseudonym, region, visits)

    @rule(
        number=numbers,
        purpose=st.sampled_from([DIRECT, DIRECT, MARKETING]),
        kind=st.sampled_from([ConsentKind.GIVEN, ConsentKind.GIVEN, *NOES]),
        age=ages,
        imported=st.sampled_from([False, False, True]),
        point=st.sampled_from([False, False, True]),
        named=st.booleans(),
    )
    def say(
        self,
        number: int,
        purpose: str,
        kind: ConsentKind,
        age: int,
        imported: bool,  # noqa: FBT001 - hypothesis gives it by name
        point: bool,  # noqa: FBT001
        named: bool,  # noqa: FBT001
    ) -> None:
        life = self.lives.get(number)
        if life is None:
            return
        contact = by("email", f"person{number}@example.org") if point else None
        who = by("pseudonym", life.pseudonym) if named else ref(number)
        item = ConsentItem(
            who,
            purpose,
            kind,
            NOW_S - age,
            "email",
            properties=ALL_PROPERTIES,
            contact_point=contact,
            imported=imported,
            evidence=EVIDENCE,
        )
        assert take(self.gateway, [item]).rejected == 0
        life.said.append(Said(purpose, kind, NOW_S - age, imported, point))

    @rule(number=numbers, choice=st.sampled_from(Choice), active=st.booleans(), age=ages)
    def switch(self, number: int, choice: Choice, active: bool, age: int) -> None:  # noqa: FBT001 - as above
        if number in self.lives:
            choose(self.gateway, ref(number), choice, active=active, at=NOW_S - age)
            self.lives[number].chosen.append((choice, active, NOW_S - age))

    @rule(number=numbers, age=ages)
    def buy(self, number: int, age: int) -> None:
        if number in self.lives:
            self.keys += 1
            take(self.gateway, [EventItem(ref(number), "buy", NOW_S - age, f"k{self.keys}")])
            self.lives[number].bought.append(NOW_S - age)

    @rule(number=numbers, age=ages)
    def mail(self, number: int, age: int) -> None:
        if number in self.lives:
            self.keys += 1
            take(self.gateway, [ContactItem(ref(number), "email", NOW_S - age, "spring", f"k{self.keys}")])
            self.lives[number].mailed.append(NOW_S - age)

    @rule(one=numbers, other=numbers, dry=st.booleans())
    def merge(self, one: int, other: int, dry: bool = False) -> None:  # noqa: FBT001, FBT002 - as above
        if one == other or not {one, other} <= self.lives.keys():
            return
        before = dump(self.gateway.store) if dry else None
        with self.gateway.work() as work:
            done = merge(work, [ref(one), ref(other)], "duplicate", dry_run=dry)
        assert done.changed == (self.cluster(one) != self.cluster(other))
        if dry:
            assert dump(self.gateway.store) == before
        elif done.changed:
            assert done.merge is not None
            self.merges[done.merge] = (one, other)

    @rule(pick=st.integers(0, 10))
    def unmerge(self, pick: int) -> None:
        if self.merges:
            number = sorted(self.merges)[pick % len(self.merges)]
            with self.gateway.work() as work:
                assert unmerge(work, number, "wrong_match").changed
            del self.merges[number]

    @rule(number=numbers, rare=st.integers(0, 3))
    def erase(self, number: int, rare: int) -> None:
        if number not in self.lives or rare:
            return
        gone = self.cluster(number)
        with self.gateway.work() as work:
            erase(work, self.lives[number].subject, "request")
        self.erased |= gone
        self.lives = {n: life for n, life in self.lives.items() if n not in gone}
        self.merges = {m: pair for m, pair in self.merges.items() if not gone & set(pair)}

    # -- the model

    def clusters(self) -> list[set[int]]:
        pairs = [(SubjectId(a), SubjectId(b)) for a, b in self.merges.values()]
        found = components([SubjectId(n) for n in self.lives], pairs)
        return [set(members) for members in found.values()]

    def cluster(self, number: int) -> set[int]:
        return next(members for members in self.clusters() if number in members)

    def expected(self) -> dict[SubjectId, dict[str, Any]]:
        """The columns that the model knows of each person's row, by the smallest subject."""
        rows = {}
        for members in self.clusters():
            lives = [self.lives[n] for n in sorted(members)]
            mailed = sorted((at for life in lives for at in life.mailed), reverse=True)[:4]
            bought = [at for life in lives for at in life.bought]
            visits = {life.visits for life in lives}
            rows[min(life.subject for life in lives)] = {
                "regions": "|".join(sorted({life.region for life in lives})),
                "choices": _or(life.choices() for life in lives),
                "visits": visits.pop() if len(visits) == 1 else None,
                "buys": len(bought) or None,
                "last_activity": max(bought, default=None),
                "mailed": mailed + [None] * (4 - len(mailed)),
            }
        return rows

    def latest_word(self, members: set[int]) -> ConsentKind | None:
        """What was said last about the channel as a whole, of all that counts; a no wins where clocks leave it open."""
        facts = [
            (n, said)
            for n in members
            for said in self.lives[n].said
            if not said.point and (said.purpose == DIRECT or said.kind in NOES)
        ]
        noes = [(n, said) for n, said in facts if said.kind in NOES]
        yes = [
            (n, said) for n, said in facts if said.kind is ConsentKind.GIVEN and not (said.imported and len(facts) > 1)
        ]
        if not noes:
            return None if not yes else ConsentKind.GIVEN
        last_no = max(said.at for _, said in noes)
        open_to_doubt = [
            any(m != n and 0 <= said.at - no.at < (DATE_ONLY if no.imported else CLOCKS_APART) for m, no in noes)
            for n, said in yes
        ]
        counted = [said for (_, said), doubt in zip(yes, open_to_doubt, strict=True) if not doubt and not said.imported]
        return ConsentKind.GIVEN if any(said.at > last_no for said in counted) else ConsentKind.WITHDRAWN

    # -- what always holds

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        with self.gateway.look() as work:
            traits = work.registers.traits
            visits, buys = traits[TraitId("visits")].slot, traits[TraitId("buys")].slot
            ids = [life.subject for life in self.lives.values()]
            stored = audience_rows.rows(work.session, ids) if work.gateway.store.is_sqlite else None
        if stored is None:
            with self.gateway.work() as work:
                stored = audience_rows.rows(work.session, ids)
        mask = sum(CHOICE_FLAG.values())
        assert {
            i: {
                "regions": row["regions"],
                "choices": row["flags"] & mask,
                "visits": row[visits],
                "buys": row[buys],
                "last_activity": row["last_activity"],
                "mailed": [row[f"email_{n}"] for n in range(1, 5)],
            }
            for i, row in stored.items()
        } == self.expected()

    @invariant()
    def no_answer_says_yes_where_the_latest_word_is_no(self) -> None:
        for members in self.clusters():
            answers = {may_write(self.gateway, ref(n)) for n in members}
            answers |= {may_write(self.gateway, by("pseudonym", self.lives[n].pseudonym)) for n in members}
            assert len(answers) == 1  # every name of a person gives the person's answer
            spoke_of_an_address = any(said.point for n in members for said in self.lives[n].said)
            on = _or(self.lives[n].choices() for n in members)
            if on & (CHOICE_FLAG[Choice.OBJECTION] | CHOICE_FLAG[Choice.RESTRICTION]):
                assert answers == {False}
            if not spoke_of_an_address and self.latest_word(members) is not ConsentKind.GIVEN:
                assert answers == {False}

    @invariant()
    def an_audience_has_each_person_once(self) -> None:
        with self.gateway.work() as work:
            audience = audiences.resolve(work, Everyone(), EMAIL_MARKETING)
        told = [p for chunk in audiences.stream_members(self.gateway, audience.row.id) for p in chunk]
        heads = [min(members, key=lambda n: self.lives[n].subject) for members in self.clusters()]
        assert sorted(told) == sorted(self.lives[n].pseudonym for n in heads if may_write(self.gateway, ref(n)))

    @invariant()
    def no_record_names_who_is_gone(self) -> None:
        live = {life.subject for life in self.lives.values()}
        with self.gateway.look() as work:
            assert {
                i for row in merge_rows.after(work.session, 0, 1000) for i in (row.subject_id, row.other_id)
            } <= live

    @invariant()
    def the_second_computation_agrees(self) -> None:
        assert reconcile(self.gateway).clean


def _or(bits: Any) -> int:
    found = 0
    for some in bits:
        found |= int(some)
    return found


def machine(gateway: Gateway) -> Callable[[], Merging]:
    """Prepare the registers once, and return what makes a machine for each example."""
    with_source(gateway)
    with gateway.work() as work:
        registers.put_trait(work, TraitId("visits"), TraitType.INTEGER, TraitOrigin.DECLARED, None, "")
        registers.put_trait(work, TraitId("buys"), TraitType.INTEGER, TraitOrigin.EVENT_COUNT, "buy", "")

    class Bound(Merging):
        pass

    Bound.gateway = gateway
    return Bound


def test_merging_follows_the_model_after_any_story(gateway: Gateway) -> None:
    examples, steps = (25, 25) if gateway.store.is_sqlite else (4, 20)
    run_state_machine_as_test(
        machine(gateway), settings=settings(BASE, max_examples=examples, stateful_step_count=steps)
    )


# -- each check goes red -------------------------------------------------------------------------------------------


def two(life: Merging) -> None:
    life.arrive(number=1, region="DE", visits=1)
    life.arrive(number=2, region="DE", visits=1)


def fact(life: Merging, number: int, kind: ConsentKind, age: int) -> None:
    life.say(number=number, purpose=DIRECT, kind=kind, age=age, imported=False, point=False, named=False)


def objection_and_a_later_off(life: Merging) -> None:
    two(life)
    fact(life, 1, ConsentKind.GIVEN, DAY)
    life.switch(number=1, choice=Choice.OBJECTION, active=True, age=DAY)
    life.switch(number=2, choice=Choice.OBJECTION, active=False, age=60)
    life.merge(one=1, other=2)


def yes_and_a_later_no(life: Merging) -> None:
    two(life)
    fact(life, 1, ConsentKind.GIVEN, DAY)
    fact(life, 2, ConsentKind.WITHDRAWN, 3600)
    life.merge(one=1, other=2)


def no_and_a_yes_of_the_same_minute(life: Merging) -> None:
    two(life)
    fact(life, 1, ConsentKind.WITHDRAWN, 60)
    fact(life, 2, ConsentKind.GIVEN, 0)
    life.merge(one=1, other=2)


def mails_to_both(life: Merging) -> None:
    two(life)
    life.mail(number=1, age=60)
    life.merge(one=1, other=2)
    life.mail(number=2, age=0)


def merged_and_separated(life: Merging) -> None:
    two(life)
    life.switch(number=2, choice=Choice.RESTRICTION, active=True, age=60)
    life.merge(one=1, other=2)
    life.unmerge(pick=0)


def merged_and_erased(life: Merging) -> None:
    two(life)
    life.merge(one=1, other=2)
    life.erase(number=2, rare=0)
    life.arrive(number=1, region="DE", visits=1)


def separated_and_erased(life: Merging) -> None:
    merged_and_separated(life)
    life.erase(number=2, rare=0)


def tell(life: Merging, story: Callable[[Merging], None]) -> None:
    """Tell the story, with the checks that hypothesis would make after its last step."""
    life.begin()
    story(life)
    life.rows_are_what_the_model_says()
    life.no_answer_says_yes_where_the_latest_word_is_no()
    life.an_audience_has_each_person_once()
    life.the_second_computation_agrees()
    life.no_record_names_who_is_gone()


def _latest_choice_of_all(work: Any, people: Any) -> dict[SubjectId, Flag]:
    """The later switch of any member decides."""
    members = {head: sorted(members) for head, members in people.items()}
    return {
        head: clusters.choices_of_people(work, {found[-1]: [found[-1]]})[found[-1]] for head, found in members.items()
    }


def _yes_of_any(work: Any, people: Any) -> dict[SubjectId, list[ConsentEvent]]:
    """Grants are united, a no counts for its own subject only."""
    return {
        head: [e for e in events if e.subject_id == head or e.kind is ConsentKind.GIVEN]
        for head, events in clusters.ledgers_of_people(work, people).items()
    }


def _contacts_of_the_head(work: Any, people: Any) -> dict[SubjectId, dict[str, list[int]]]:
    return clusters.contacts_of_people(work, {head: [head] for head in people})


@pytest.mark.parametrize(
    ("story", "module", "name", "planted"),
    [
        (objection_and_a_later_off, row_writers, "choices_of_people", _latest_choice_of_all),
        (yes_and_a_later_no, row_writers, "ledgers_of_people", _yes_of_any),
        (no_and_a_yes_of_the_same_minute, consents_domain, "_certain", lambda events: events),
        (mails_to_both, row_writers, "contacts_of_people", _contacts_of_the_head),
        (mails_to_both, event_writers, "_by_person", lambda _work, fresh: list(fresh)),
        (merged_and_separated, merge_rows, "relink", lambda _session, _found: None),
        (mails_to_both, merge_rows, "any_link", lambda _session: False),
        (merged_and_erased, people_module, "lock_people", lambda _work, ids: {i: [i] for i in ids}),
        (separated_and_erased, merge_rows, "forget", lambda _session, _ids: None),
    ],
)
def test_a_planted_bug_is_found(
    sqlite_gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[Merging], None],
    module: Any,
    name: str,
    planted: object,
) -> None:
    make = machine(sqlite_gateway)
    tell(make(), story)  # as it should be, it holds
    monkeypatch.setattr(module, name, planted)
    with pytest.raises((AssertionError, KeyError, RaceError)):
        tell(make(), story)


# -- the laws of merging -------------------------------------------------------------------------------------------

facts = st.one_of(
    st.tuples(
        st.just("say"), numbers, st.sampled_from([DIRECT, MARKETING]), st.sampled_from(ConsentKind), ages, st.booleans()
    ),
    st.tuples(st.just("switch"), numbers, st.sampled_from(Choice), st.booleans(), ages),
    st.tuples(st.just("buy"), numbers, ages),
    st.tuples(st.just("mail"), numbers, ages),
    st.tuples(st.just("move"), numbers, st.sampled_from(["FR", "IT", "US-CA"])),
)
Facts = list[tuple[Any, ...]]


def happen(gateway: Gateway, told: Facts, start: int = 0) -> None:
    for key, (what, number, *rest) in enumerate(told, start):
        if what == "say":
            purpose, kind, age, point = rest
            contact = by("email", f"person{number}@example.org") if point else None
            fact = ConsentItem(ref(number), purpose, kind, NOW_S - age, "email", None, ALL_PROPERTIES, None, contact)
            take(gateway, [replace(fact, evidence=EVIDENCE)])
        elif what == "switch":
            choose(gateway, ref(number), rest[0], active=rest[1], at=NOW_S - rest[2])
        elif what == "buy":
            take(gateway, [EventItem(ref(number), "buy", NOW_S - rest[0], f"k{key}")])
        elif what == "mail":
            take(gateway, [ContactItem(ref(number), "email", NOW_S - rest[0], "spring", f"k{key}")])
        else:
            take(gateway, [a_person(number, country=rest[0], traits={"visits": key})])


def everyone(gateway: Gateway) -> None:
    forget_people(gateway.store)
    take(gateway, [a_person(n, country="DE") for n in range(1, PEOPLE + 1)])


def join(gateway: Gateway, one: int, other: int) -> int | None:
    with gateway.work() as work:
        return merge(work, [ref(one), ref(other)], "duplicate").merge


def rows_by_place(gateway: Gateway) -> list[dict[str, Any]]:
    """Every audience row in the order of the subjects, who have other ids in another telling."""
    with gateway.work() as work:
        ids = sorted(subject_id(work, ref(n)) for n in range(1, PEOPLE + 1))
        found = audience_rows.rows(work.session, ids)
    return [{"place": ids.index(i), **row, "subject_id": None} for i, row in sorted(found.items())]


FEW = settings(BASE, max_examples=12)


@given(
    before=st.lists(facts, max_size=6), during=st.lists(facts, max_size=6), pair=st.permutations(range(1, PEOPLE + 1))
)
@FEW
def test_undone_a_merge_has_never_been(gateway: Gateway, before: Facts, during: Facts, pair: list[int]) -> None:
    """The same story with a merge in the middle of it and without: what came meanwhile is with whom it came by."""
    prepared(gateway)
    everyone(gateway)
    happen(gateway, before)
    number = join(gateway, pair[0], pair[1])
    happen(gateway, during, start=len(before))
    assert number is not None
    with gateway.work() as work:
        unmerge(work, number, "wrong_match")
    merged_once = rows_by_place(gateway)
    everyone(gateway)
    happen(gateway, before + during)
    assert rows_by_place(gateway) == merged_once


@given(
    told=st.lists(facts, max_size=8),
    order=st.permutations([(1, 2), (2, 3), (3, 4)]),
    swap=st.lists(st.booleans(), min_size=3, max_size=3),
)
@FEW
def test_the_order_of_merges_does_not_matter(
    gateway: Gateway, told: Facts, order: list[tuple[int, int]], swap: list[bool]
) -> None:
    prepared(gateway)
    found = []
    for pairs in (
        [(1, 2), (1, 3), (1, 4)],
        [(b, a) if turn else (a, b) for (a, b), turn in zip(order, swap, strict=True)],
    ):
        everyone(gateway)
        happen(gateway, told)
        for one, other in pairs:
            join(gateway, one, other)
        found.append(rows_by_place(gateway))
    assert found[0] == found[1]
    assert len(found[0]) == 1


said = st.builds(
    lambda who, kind, age, imported: ConsentEvent(
        SubjectId(who), PurposeId(DIRECT), Channel.EMAIL, kind, NOW_S - age, imported=imported
    ),
    st.integers(1, 3),
    st.sampled_from([ConsentKind.GIVEN, *NOES]),
    ages,
    st.booleans(),
)


@given(events=st.lists(said, max_size=8))
@settings(BASE, max_examples=500)
def test_reading_ledgers_together_only_ever_takes_a_yes_away(sqlite_registers: Any, events: list[ConsentEvent]) -> None:
    """Where the fold of all events by time says no, the fold of merged people does; the latest word, a no, holds."""
    tree = sqlite_registers
    as_one = [ConsentEvent(SubjectId(1), e.purpose, e.channel, e.kind, e.at, imported=e.imported) for e in events]
    merged = fold(events, PurposeId(DIRECT), Channel.EMAIL, tree).own
    by_time = fold(as_one, PurposeId(DIRECT), Channel.EMAIL, tree).own
    assert merged.until <= by_time.until or by_time.until <= 0
    if by_time.until <= 0:
        assert merged.until <= 0
    noes = [e.at for e in events if e.kind in NOES]
    if noes and max(noes) == max(e.at for e in events):
        assert merged.is_no


@pytest.fixture(scope="module")
def sqlite_registers() -> Any:
    """The two purposes that the events are about."""
    wide = Purpose(PurposeId(MARKETING), PurposeKind.DIRECT_MARKETING, "", "", "", Basis.CONSENT)
    return PurposeTree({wide.id: wide, PurposeId(DIRECT): replace(wide, id=PurposeId(DIRECT), parent=wide.id)})


def prepared(gateway: Gateway) -> None:
    """The source and the trait, once for all examples."""
    with gateway.look() as work:
        known = TraitId("visits") in work.registers.traits
    if not known:
        machine(gateway)
