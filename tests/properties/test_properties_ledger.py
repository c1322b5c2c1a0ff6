"""The ledger against a plain model of answers: whatever is said in whatever order, both say the same.

A state machine drives intake, the second step of opt-ins, time and notices; `ledger_model` says by the words of the
rules what each person told whom. After each step the stored rows, what `consents/state` tells, single decisions and
their reasons under three laws, and `reconcile` agree with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete

from builders import (
    ALL_PROPERTIES,
    DAY,
    EMAIL_MARKETING,
    EVIDENCE,
    NOW,
    NOW_S,
    a_recipient,
    answer_for,
    by,
    forget_people,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import audience_rows, tables
from consent_gateway.domain import consents as rules
from consent_gateway.domain.audiences import COVERED, OUTDATED_NOTICE, consent_code
from consent_gateway.domain.consents import ConsentEvent, ConsentProperty, ConsentState
from consent_gateway.domain.ids import NoticeId, PurposeId, RecipientId
from consent_gateway.domain.notices import NoticeBook
from consent_gateway.domain.purposes import Channel, RecipientKind
from consent_gateway.errors import (
    AlreadyConfirmedError,
    ConfirmationExpiredError,
    GatewayError,
    OvertakenError,
)
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations, notices
from consent_gateway.services.persons import history
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ConsentItem, SubjectItem
from ledger_model import (
    ENDS,
    EXPIRED,
    GIVEN,
    INVALIDATED,
    NOES,
    PENDING,
    QUESTIONS,
    RENEWED,
    UNSHOWN,
    WITHDRAWN,
    YESES,
    Fact,
    Model,
    Published,
    Told,
    read,
)

BASE = settings(
    derandomize=True,
    phases=[Phase.generate],  # shrinking such a story takes minutes: read the end of it
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
COUNTRIES = {1: "DE", 2: "US-CA", 3: "CN"}
POINTS = ("a", "b")
NOTICE = NoticeId("terms")
THIRD_PARTIES = ("partner", "exchange")
SHARING = Use(PurposeId("third_party_audience_sharing"), Channel.EMAIL, RecipientId("partner"))
BARE = ConsentProperty.AFFIRMATIVE
WEEK = 7 * DAY
# The reasons of an opt-in law for what a person told (GDPR Art 4(11), 6, 7; PIPL Art 13 to 15).
OPT_IN = {
    ConsentState.NONE: "no_prior_consent",
    ConsentState.PENDING: "consent_pending",
    ConsentState.REFUSED: "consent_refused",
    ConsentState.WITHDRAWN: "consent_withdrawn",
    ConsentState.EXPIRED: "consent_expired",
}

numbers = st.sampled_from([1, 1, 2, 3])
purposes = st.sampled_from(["direct_marketing", "direct_marketing", "marketing", "third_party_audience_sharing"])
channels = st.sampled_from(["email", "email", None, "sms"])
points = st.sampled_from([None, None, "a", "b"])
recipients = st.sampled_from([None, None, "self", "mailer", *THIRD_PARTIES])
ages = st.sampled_from([0, 0, 1, 60, DAY, 3 * DAY])  # before the start: facts of one instant meet
moments = st.one_of(st.none(), ages)  # None: now


@dataclass
class Request:
    """A pending fact with a second step, as the model keeps it."""

    fact: Fact
    token: str
    expires_at: int
    number: int
    done: bool = False


@dataclass
class Person:
    """What one person said, in the order of arrival."""

    facts: list[Fact] = field(default_factory=list)


class Ledger(RuleBasedStateMachine):
    """Three people under three laws, and everything they can say."""

    gateway: Gateway
    clock: FixedClock

    def __init__(self) -> None:
        super().__init__()
        self.people = {number: Person() for number in COUNTRIES}
        self.requests: list[Request] = []
        self.arrived = 0
        self.last = 1
        self.repeatable: tuple[int, ConsentItem, Fact] | None = None

    @initialize()
    def begin(self) -> None:
        self.clock.instant = NOW
        forget_people(self.gateway.store)
        with self.gateway.work() as work:
            work.session.execute(delete(tables.notices).where(tables.notices.c.id == NOTICE))
            work.changed_registers()
        for number, country in COUNTRIES.items():
            for point in POINTS:
                member = {"member_no": f"M{number:05}", "email": address(number, point)}
                take(self.gateway, [SubjectItem(member, country=country, birth_date="1980-05-17")])
        with self.gateway.look() as work:
            self.model = Model({p.id: p.parent for p in work.registers.purposes.purposes.values()})

    @property
    def now(self) -> int:
        return int(self.clock.instant.timestamp())

    # -- what people say

    @rule(
        number=numbers, purpose=purposes, channel=channels, point=points, recipient=recipients, age=moments,
        kind=st.sampled_from([*YESES, GIVEN]), lasting=st.sampled_from([None, None, 60, DAY, 5 * DAY]),
        properties=st.sampled_from([ALL_PROPERTIES, ALL_PROPERTIES, BARE]), proven=st.sampled_from([True, True, False]),
        imported=st.sampled_from([False, False, True]), version=st.sampled_from([None, 0, 1, 2]),
    )  # fmt: skip
    def say_yes(self, number: int, **said: Any) -> None:
        self.say(number, **said)

    @rule(
        number=numbers, purpose=purposes, channel=channels, point=points, recipient=recipients, age=moments,
        kind=st.sampled_from([*NOES, WITHDRAWN]), imported=st.booleans(),
    )  # fmt: skip
    def say_no(self, number: int, **said: Any) -> None:
        self.say(number, **said)

    @rule(
        number=numbers, purpose=purposes, channel=channels, point=points, recipient=recipients, age=moments,
        kind=st.sampled_from([*ENDS, *QUESTIONS]),
    )  # fmt: skip
    def end_or_ask(self, number: int, **said: Any) -> None:
        self.say(number, **said)

    @rule(
        number=numbers, purpose=purposes, channel=channels, point=points, recipient=recipients, age=moments,
        lasting=st.sampled_from([None, None, DAY]), confirm=st.booleans(), version=st.sampled_from([None, 0, 1]),
    )  # fmt: skip
    def request(self, number: int, **said: Any) -> None:
        self.say(number, kind=PENDING, **said)

    @rule()
    def repeat(self) -> None:
        """The same fact comes in again."""
        if self.repeatable is not None:
            number, item, fact = self.repeatable
            assert take(self.gateway, [item]).rejected == 0
            self.heard(number, fact)

    def say(
        self, number: int, *, age: int | None, version: int | None = None, confirm: bool = False, **said: Any
    ) -> None:
        at = self.now if age is None else NOW_S - age
        item = self.item(number, at, version, said)
        fact = self.stored(item)
        taken = take(self.gateway, [replace(item, confirm=confirm)])
        assert (taken.accepted, taken.rejected) == ((1, 0) if fact else (0, 1)), taken.rejections
        self.last = number
        if fact is None:
            return
        self.heard(number, fact)
        if confirm:
            (asked,) = taken.confirmations
            assert asked.expires_at == self.now + WEEK
            self.requests.append(Request(self.people[number].facts[-1], asked.token, asked.expires_at, number))
        else:
            self.repeatable = number, item, fact

    def item(self, number: int, at: int, version: int | None, said: dict[str, Any]) -> ConsentItem:
        """The fact as it is sent; version 0: the notice without one."""
        lasting, point = said.get("lasting"), said["point"]
        known = [p.version for p in self.model.published]
        noticed = version is not None and bool(known) and version in (0, *known)
        return ConsentItem(
            ref(number),
            said["purpose"],
            said["kind"],
            at,
            said["channel"],
            None if lasting is None else at + lasting,
            said.get("properties", ALL_PROPERTIES),
            said["recipient"],
            None if point is None else by("email", address(number, point)),
            imported=said.get("imported", False),
            evidence=EVIDENCE if said.get("proven", True) else None,
            notice=NOTICE if noticed else None,
            notice_version=version or None if noticed else None,
        )

    def stored(self, item: ConsentItem) -> Fact | None:
        """The fact as it must be stored; None if it must be refused."""
        point = None if item.contact_point is None else item.contact_point.value.split(".")[1].split("@")[0]
        recipient = item.recipient if item.recipient in THIRD_PARTIES else None
        no, proven = item.kind in NOES, item.evidence is not None
        if not no:
            claims = item.kind in (*YESES, PENDING) and not item.imported and not proven and item.properties & UNSHOWN
            if item.recipient == "mailer" or (point is not None and item.channel == "sms") or claims:
                return None
        point = None if item.channel == "sms" else point  # a text is not sent to an address: the no is wider
        return Fact(
            0, item.purpose, item.channel, item.kind, item.at, item.valid_until, point, recipient, item.imported,
            proven, item.properties, item.notice_version, item.notice is not None,
        )  # fmt: skip

    def heard(self, number: int, fact: Fact) -> None:
        self.arrived += 1
        self.people[number].facts.append(replace(fact, number=self.arrived))

    # -- the second step

    @rule(pick=st.integers(0, 5))
    def confirm(self, pick: int) -> None:
        if not self.requests:
            return
        request = self.requests[-1 - pick % len(self.requests)]
        wanted, before = self.refusal(request), ledger_size(self.gateway)
        for step in (self.look, self.bring):
            try:
                step(request)
                found: type[GatewayError] | None = None
            except GatewayError as error:
                found = type(error)
            assert found is wanted
        assert ledger_size(self.gateway) == before + (wanted is None)
        self.last = request.number
        if wanted is None:
            request.done = True
            fact = replace(request.fact, kind=GIVEN, at=self.now, proven=True)
            self.heard(request.number, replace(fact, properties=fact.properties | ConsentProperty.TWO_STEP))

    @rule(pick=st.integers(0, 5))
    def confirm_twice(self, pick: int) -> None:
        self.confirm(pick=pick)
        self.confirm(pick=pick)

    def look(self, request: Request) -> None:
        with self.gateway.look(confirmations.CONFIRMER) as work:
            confirmations.look(work, request.token)

    def bring(self, request: Request) -> None:
        with self.gateway.work(confirmations.CONFIRMER) as work:
            confirmations.confirm(work, request.token, {"user_agent": "Test/1"})

    def refusal(self, request: Request) -> type[GatewayError] | None:
        """Once, in time, and while nobody has said no to it since."""
        asked = request.fact
        if request.done:
            return AlreadyConfirmedError
        if self.now >= request.expires_at or (asked.until is not None and self.now >= asked.until):
            return ConfirmationExpiredError
        for no in self.people[request.number].facts:
            since = no.number > asked.number or no.at >= asked.at
            overlaps = all(
                a is None or b is None or a == b for a, b in ((no.channel, asked.channel), (no.point, asked.point))
            )
            heard = no.recipient in (None, asked.recipient) and no.purpose in self.model.wider(asked.purpose)
            if no.kind in NOES and since and overlaps and heard:
                return OvertakenError
        return None

    # -- what else happens

    @rule(seconds=st.sampled_from([1, 60, 3600, DAY, 4 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule(
        material=st.sampled_from([True, True, False]), about=st.sampled_from(["", "", "marketing", "direct_marketing"])
    )
    def publish(self, material: bool, about: str) -> None:  # noqa: FBT001 - hypothesis gives it by name
        version = len(self.model.published) + 1
        named = [PurposeId(about)] if about and material else []
        with self.gateway.work() as work:
            notices.put_notice(work, NOTICE, version, "en", "Terms", f"{version}", material=material, purposes=named)
        self.model.published.append(Published(version, self.now, material, frozenset(named)))

    # -- what always holds

    def told(self, number: int, purpose: str, channel: str) -> tuple[Told, dict[str, Told]]:
        facts, reached = self.people[number].facts, POINTS if channel in ("email", "online_ads") else ()
        own = self.model.told(facts, purpose, channel, reached, None)
        named = {r: self.model.told(facts, purpose, channel, reached, r) for r in THIRD_PARTIES}
        return own or Told(), {r: told for r, told in named.items() if told is not None}

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        with self.gateway.look() as work:
            ids = {number: subject_id(work, ref(number)) for number in COUNTRIES}
            for use in USES:
                asked = self.gateway.decider.ask(use, work.registers, self.gateway.rules, work.now)
                found = audience_rows.read_people(work.session, asked.reading, [*ids.values()], work.now)
                for number, person in ids.items():
                    key = found[person].key
                    assert (key.consent, key.properties) == self.expected_key(number, use), (number, use)

    def expected_key(self, number: int, use: Use) -> tuple[int, int]:
        recipient = use.recipient if use.recipient in THIRD_PARTIES else None
        own, named = self.told(number, use.purpose, use.channel.value)
        state, properties, covered, outdated = read(own, named, recipient, self.now)
        return consent_code(state), properties | COVERED * covered | OUTDATED_NOTICE * outdated

    @invariant()
    def decisions_and_their_reasons_follow(self) -> None:
        for use in (EMAIL_MARKETING, SHARING):
            answer = answer_for(self.gateway, ref(self.last), use)
            recipient = use.recipient if use.recipient in THIRD_PARTIES else None
            own, named = self.told(self.last, use.purpose, use.channel.value)
            wanted = reason(COUNTRIES[self.last], read(own, named, recipient, self.now), third=recipient is not None)
            assert (answer.reason_code, answer.permitted) == (wanted, wanted in PERMITTED)

    @invariant()
    def the_state_is_told_as_it_is(self) -> None:
        with self.gateway.work() as work:
            states, _ = history.states(work, ref(self.last))
        found = {(s.purpose, s.channel.value, s.recipient): s for s in states}
        wanted = set()
        for purpose, channel in {(s.purpose, s.channel.value) for s in states}:
            own, named = self.told(self.last, purpose, channel)
            for recipient, told in {None: own, **named}.items():
                wanted.add((purpose, channel, recipient))
                state = found[purpose, channel, recipient]
                standing = state.standing
                assert standing.state(self.now) is told.at(self.now)
                if told.state is ConsentState.GIVEN:
                    held = (standing.until, standing.properties, standing.after_no, standing.outdated)
                    assert held == (told.until, told.properties, told.behind, told.outdated)
        assert wanted == set(found)
        direct = found["direct_marketing", "email", None]
        assert direct.answer.reason_code == answer_for(self.gateway, ref(self.last)).reason_code

    @invariant()
    def the_second_computation_agrees(self) -> None:
        assert reconcile(self.gateway).clean


USES = (
    EMAIL_MARKETING,
    SHARING,
    replace(SHARING, recipient=RecipientId("exchange")),
    replace(EMAIL_MARKETING, recipient=RecipientId("mailer")),
    replace(EMAIL_MARKETING, channel=Channel.SMS),
    replace(EMAIL_MARKETING, purpose=PurposeId("personalised_marketing")),
)
PERMITTED = {"consent_valid", "opt_out_regime"}


def reason(country: str, held: tuple[ConsentState, int, bool, bool], *, third: bool) -> str:
    """The reason that the law of a country gives for what was told (LAW parts 1.1, 1.3, 1.5)."""
    state, properties, covered, outdated = held
    if country == "US-CA":
        said_no = state in (ConsentState.WITHDRAWN, ConsentState.REFUSED)
        return (OPT_IN[state] if third else "opted_out") if said_no else "opt_out_regime"
    if state is not ConsentState.GIVEN:
        return OPT_IN[state]
    obstacles = {
        "consent_not_demonstrable": not properties & ConsentProperty.EVIDENCE,
        "consent_scope_recipient": not covered,
        "consent_outdated": outdated,
        "transfer_no_mechanism": country == "CN" and third,
    }
    return next((why for why, holds in obstacles.items() if holds), "consent_valid")


def address(number: int, point: str) -> str:
    return f"person{number}.{point}@example.org"


def ledger_size(gateway: Gateway) -> int:
    with gateway.look() as work:
        return len(work.session.execute(tables.consent_events.select()).all())


def machine(gateway: Gateway) -> Callable[[], Ledger]:
    """Prepare the registers once, and return what makes a machine for each example."""
    with_source(gateway)
    with gateway.work() as work:
        for name in THIRD_PARTIES:
            registers.put_recipient(work, a_recipient(name, kind=RecipientKind.THIRD_PARTY))
        registers.put_recipient(work, a_recipient("mailer"))

    class Bound(Ledger):
        pass

    clock = gateway.clock
    assert isinstance(clock, FixedClock)
    Bound.gateway, Bound.clock = gateway, clock
    return Bound


def test_the_ledger_follows_the_model_after_any_story(gateway: Gateway) -> None:
    examples, steps = (25, 20) if gateway.store.is_sqlite else (4, 15)
    run_state_machine_as_test(
        machine(gateway), settings=settings(BASE, max_examples=examples, stateful_step_count=steps)
    )


# -- each check goes red -------------------------------------------------------------------------------------------


def yes(life: Ledger, age: int | None, **changes: Any) -> None:
    said = {"purpose": "direct_marketing", "channel": "email", "point": None, "recipient": None, "kind": GIVEN}
    life.say_yes(number=1, **{"age": age, **said, **changes})


def no(life: Ledger, age: int | None, **changes: Any) -> None:
    yes(life, age, **{"kind": WITHDRAWN, **changes})


def a_wide_yes(life: Ledger) -> None:
    yes(life, 60, purpose="marketing", channel=None)


def a_no_and_an_import(life: Ledger) -> None:
    no(life, 60)
    yes(life, 1, imported=True)


def a_yes_and_an_import(life: Ledger) -> None:
    yes(life, 60, lasting=DAY)
    yes(life, 1, imported=True)


def both_at_once(life: Ledger) -> None:
    yes(life, 60)
    no(life, 60)


def a_renewal_after_a_no(life: Ledger) -> None:
    no(life, 60)
    yes(life, 1, kind=RENEWED)


def a_bare_yes_after_a_no(life: Ledger) -> None:
    no(life, 60)
    yes(life, 1, proven=False, properties=BARE)


def a_general_yes_after_a_no_for_an_address(life: Ledger) -> None:
    no(life, 60, point="a")
    no(life, 60, point="b")
    yes(life, 1)


def a_yes_that_names_nobody(life: Ledger) -> None:
    no(life, 60, purpose="third_party_audience_sharing", recipient="partner")
    yes(life, 1, purpose="third_party_audience_sharing")


def an_end_and_an_invalidation(life: Ledger) -> None:
    yes(life, 90)
    yes(life, 60, kind=EXPIRED)
    yes(life, 1, kind=INVALIDATED)


def confirmed_twice(life: Ledger) -> None:
    life.request(
        number=1, purpose="direct_marketing", channel="email", point="a", recipient=None, age=60, lasting=None,
        confirm=True, version=None,
    )  # fmt: skip
    life.confirm_twice(pick=0)


def a_no_before_the_second_step(life: Ledger) -> None:
    life.request(
        number=1, purpose="direct_marketing", channel="email", point=None, recipient=None, age=60, lasting=None,
        confirm=True, version=None,
    )  # fmt: skip
    no(life, 1)
    life.confirm(pick=0)


def a_new_version(life: Ledger) -> None:
    life.publish(material=False, about="")
    yes(life, None, version=1)
    life.publish(material=True, about="marketing")


def a_short_yes(life: Ledger) -> None:
    yes(life, 60, lasting=DAY)
    life.time_passes(seconds=DAY)


def tell(life: Ledger, story: Callable[[Ledger], None]) -> None:
    """Tell the story, with the checks that hypothesis would make after its last step."""
    life.begin()
    story(life)
    life.rows_are_what_the_model_says()
    life.decisions_and_their_reasons_follow()
    life.the_state_is_told_as_it_is()
    life.the_second_computation_agrees()


def _everything_goes_down(events: Any, purpose: Any, channel: Any, tree: Any) -> list[ConsentEvent]:
    wider = set(tree.ancestors(purpose))
    return [e for e in events if e.channel in (None, channel) and e.purpose in wider and e.kind not in QUESTIONS]


_latest, _is_heard, _at_point = rules._latest, rules._is_heard, rules._at_point


def _an_import_is_like_any(events: Any) -> Any:
    return _latest([replace(e, imported=False) for e in events])


def _renewals_revive(event: ConsentEvent, *before: Any) -> bool:
    return event.kind is RENEWED or _is_heard(event, *before)


def _no_proof_is_asked(event: ConsentEvent, *before: Any) -> bool:
    return _is_heard(replace(event, proven=True), *before)


def _the_general_word_counts(events: Any, point: int) -> Any:
    return _latest([e for e in events if e.contact_point in (None, point)])


PERMISSIVE = dict(zip(rules._RESTRICTIVE, (4, 4, 3, 2, 1, 0), strict=True))
PLANTED = [
    (a_wide_yes, rules, "_relevant", _everything_goes_down),
    (a_no_and_an_import, rules, "_latest", _an_import_is_like_any),
    (a_yes_and_an_import, rules, "_latest", _an_import_is_like_any),
    (both_at_once, rules, "_RESTRICTIVE", PERMISSIVE),
    (a_renewal_after_a_no, rules, "_is_heard", _renewals_revive),
    (a_bare_yes_after_a_no, rules, "_is_heard", _no_proof_is_asked),
    (a_general_yes_after_a_no_for_an_address, rules, "_at_point", _the_general_word_counts),
    (a_yes_that_names_nobody, rules, "_concerns", lambda event, recipient: event.recipient in (None, recipient)),
    (an_end_and_an_invalidation, rules, "_DEEPER", ()),
    (confirmed_twice, confirmations, "_living", lambda _work, waiting: waiting),
    (a_no_before_the_second_step, confirmations, "_overtakes", lambda *_: False),
    (a_new_version, NoticeBook, "outdates", lambda *_: False),
    (a_new_version, notices, "refresh_standings", lambda *_: None),
    (a_short_yes, rules, "state_of", lambda until, _now: ConsentState.GIVEN if until > 0 else ConsentState.NONE),
]


@pytest.mark.parametrize(("story", "module", "name", "planted"), PLANTED)
def test_a_planted_bug_is_found(
    sqlite_gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[Ledger], None],
    module: Any,
    name: str,
    planted: object,
) -> None:
    make = machine(sqlite_gateway)
    tell(make(), story)  # as it should be, it holds
    monkeypatch.setattr(module, name, planted)
    with pytest.raises(AssertionError):
        tell(make(), story)
