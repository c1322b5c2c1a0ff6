"""Four eyes: two keys, one subject, a time, one use; and an entry for each step."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from builders import NOW_S, a_gateway, an_officer, twin
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.approvals import (
    ACTS,
    PROPOSAL_SECONDS,
    USE_SECONDS,
    Action,
    Approval,
    ApprovalState,
)
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    GatewayError,
    InputError,
    NotFoundError,
    StoreError,
)
from consent_gateway.services.registry import registers
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work import approvals, principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway
from replicas import impatient

EPOCH_1 = {"epoch": 1}
WINDOW = {"principal": "crm", "purpose": "service_delivery", "recipient": "self", "subjects": 500}


@pytest.fixture
def two(gateway: Gateway) -> tuple[Principal, Principal]:
    return an_officer(gateway, "first", "approve"), an_officer(gateway, "second", "approve")


def propose(gateway: Gateway, who: Principal, action: Action = Action.DESTROY_KEY_EPOCH, **more: Any) -> Approval:
    with gateway.work(who) as work:
        return approvals.propose(work, action, more.pop("subject", EPOCH_1), more.pop("until", None))


def approve(gateway: Gateway, who: Principal, approval: Approval) -> Approval:
    with gateway.work(who) as work:
        return approvals.approve(work, approval.id)


def refuse(gateway: Gateway, who: Principal, approval: Approval) -> Approval:
    with gateway.work(who) as work:
        return approvals.refuse(work, approval.id)


def use(gateway: Gateway, action: Action = Action.DESTROY_KEY_EPOCH, subject: Any = EPOCH_1) -> Approval:
    with gateway.work() as work:
        return approvals.use(work, action, subject)


def state(gateway: Gateway, approval: Approval) -> ApprovalState:
    with gateway.look() as work:
        return approvals.state(work, approvals.find(work, approval.id))


def entries(gateway: Gateway) -> list[dict[str, Any]]:
    """The entries about approvals, oldest first."""
    with gateway.store.reading() as session:
        rows = select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)
        found = [json.loads(row) for row in session.execute(rows).scalars()]
    return [entry for entry in found if entry["kind"].startswith("approval.")]


# -- two keys ----------------------------------------------------------------------------------------------------


def test_one_proposes_another_approves_it_is_used_once(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    with pytest.raises(ForbiddenError, match="four eyes"):
        use(gateway)
    assert approve(gateway, two[1], made).approved_by == "second"
    assert use(gateway).id == made.id
    assert state(gateway, made) is ApprovalState.USED
    with pytest.raises(ForbiddenError):
        use(gateway)
    steps = [(e["kind"], e["actor"], e["fields"]["approval"], e["fields"]["subject"]) for e in entries(gateway)]
    assert steps == [
        ("approval.proposed", "first", made.id, EPOCH_1),
        ("approval.given", "second", made.id, EPOCH_1),
        ("approval.ended", "system", made.id, EPOCH_1),
    ]
    assert (
        entries(gateway)[-1]["fields"] | {"how": "used", "proposed_by": "first", "approved_by": "second"}
        == (entries(gateway)[-1]["fields"])
    )


def test_the_same_key_is_refused(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    with pytest.raises(ForbiddenError, match="somebody else"):
        approve(gateway, two[0], made)
    assert state(gateway, made) is ApprovalState.PROPOSED
    assert len(entries(gateway)) == 1


def test_the_gateway_itself_has_no_eyes(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    for act in (lambda: propose(gateway, SYSTEM), lambda: approve(gateway, SYSTEM, made)):
        with pytest.raises(ForbiddenError):
            act()


def test_an_approval_is_for_its_subject_and_action_alone(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    approve(gateway, two[1], propose(gateway, two[0]))
    for action, subject in (
        (Action.DESTROY_KEY_EPOCH, {"epoch": 2}),
        (Action.DESTROY_INDEX_GENERATION, {"generation": 1}),
        (Action.DESTROY_KEY_EPOCH, {"epoch": 1, "more": 1}),
    ):
        with pytest.raises(ForbiddenError):
            use(gateway, action, subject)
    assert use(gateway)


@pytest.mark.parametrize("who", [0, 1])
def test_a_refusal_ends_it_and_the_proposers_is_a_withdrawal(
    gateway: Gateway, two: tuple[Principal, Principal], who: int
) -> None:
    made = propose(gateway, two[0])
    ended = refuse(gateway, two[who], made)
    assert ended.ended is (ApprovalState.WITHDRAWN, ApprovalState.REFUSED)[who]
    for act in (approve, refuse):
        with pytest.raises(ConflictError):
            act(gateway, two[1], made)
    assert propose(gateway, two[0]).id != made.id


def test_an_approval_can_be_taken_back_until_it_is_used(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    approve(gateway, two[1], made)
    refuse(gateway, two[1], made)
    with pytest.raises(ForbiddenError):
        use(gateway)


def test_the_same_is_not_open_twice(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    for _ in range(2):
        with pytest.raises(ConflictError):
            propose(gateway, two[1])
        if made.approved_by is None:
            made = approve(gateway, two[1], made)
    use(gateway)
    assert propose(gateway, two[1])


def test_nothing_of_a_step_that_fails_stays(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    """What is used up by a transaction that fails is there again."""
    made = propose(gateway, two[0])
    approve(gateway, two[1], made)

    def fail() -> None:
        with gateway.work() as work:
            approvals.use(work, Action.DESTROY_KEY_EPOCH, EPOCH_1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state(gateway, made) is ApprovalState.APPROVED
    assert use(gateway).id == made.id


# -- time --------------------------------------------------------------------------------------------------------


def test_a_proposal_and_an_approval_lapse(
    gateway: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    late = propose(gateway, two[0])
    clock.advance(timedelta(seconds=PROPOSAL_SECONDS - 1))
    assert state(gateway, late) is ApprovalState.PROPOSED
    clock.advance(timedelta(seconds=1))
    assert state(gateway, late) is ApprovalState.EXPIRED
    with pytest.raises(ConflictError, match="expired"):
        approve(gateway, two[1], late)
    made = approve(gateway, two[1], propose(gateway, two[0]))
    clock.advance(timedelta(seconds=USE_SECONDS))
    assert state(gateway, made) is ApprovalState.EXPIRED
    with pytest.raises(ForbiddenError):
        use(gateway)


def test_a_standing_one_holds_until_its_instant_and_is_not_used_up(
    gateway: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    made = propose(gateway, two[0], Action.BULK_REVEAL_WINDOW, subject=WINDOW, until=NOW_S + 3600)
    approve(gateway, two[1], made)
    for _ in range(2):
        with gateway.work() as work:
            approvals.hold(work)
            assert [a.id for a in approvals.standing(work, Action.BULK_REVEAL_WINDOW)] == [made.id]
    with pytest.raises(ForbiddenError):
        use(gateway, Action.BULK_REVEAL_WINDOW, WINDOW)
    clock.advance(timedelta(seconds=3600))
    with gateway.look() as work:
        assert approvals.standing(work, Action.BULK_REVEAL_WINDOW) == []


def test_a_window_that_was_over_before_it_was_approved_is_not_approved(
    gateway: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    made = propose(gateway, two[0], Action.BULK_REVEAL_WINDOW, subject=WINDOW, until=NOW_S + 60)
    clock.advance(timedelta(seconds=60))
    with pytest.raises(ConflictError, match="expired"):
        approve(gateway, two[1], made)


def test_the_worker_records_what_lapsed_once(
    gateway: Gateway, clock: FixedClock, two: tuple[Principal, Principal]
) -> None:
    late = propose(gateway, two[0])
    with gateway.work() as work:
        principals.revoke(work, "second")
    worker = Worker(gateway, lambda error: pytest.fail(repr(error)))
    worker._housekeep()
    assert state(gateway, late) is ApprovalState.PROPOSED
    clock.advance(timedelta(seconds=PROPOSAL_SECONDS))
    worker._housekeep()
    worker._housekeep()
    ended = [e["fields"]["how"] for e in entries(gateway) if e["kind"] == "approval.ended"]
    assert ended == ["expired"]


# -- keys that are revoked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("revoked", ["first", "second"])
def test_what_a_revoked_key_said_is_void(gateway: Gateway, two: tuple[Principal, Principal], revoked: str) -> None:
    made = approve(gateway, two[1], propose(gateway, two[0]))
    with gateway.work() as work:
        principals.revoke(work, revoked)
    assert state(gateway, made) is ApprovalState.VOID
    with pytest.raises(ForbiddenError):
        use(gateway)
    with gateway.work() as work:
        assert approvals.lapse(work) == 1
    assert entries(gateway)[-1]["fields"]["how"] == "void"


def test_a_proposal_of_a_revoked_key_cannot_be_approved(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    with gateway.work() as work:
        principals.revoke(work, "first")
    with pytest.raises(ConflictError, match="void"):
        approve(gateway, two[1], made)


@pytest.mark.postgres
def test_a_key_revoked_in_the_middle_does_not_approve(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    """The approver read the registers; then their key went; then they approve."""
    if gateway.store.is_sqlite:
        pytest.skip("one writer at a time")
    made = propose(gateway, two[0])

    def approve_late() -> None:
        with gateway.work(two[1]) as work:
            with twin(gateway).work() as other:
                principals.revoke(other, "second")
            approvals.approve(work, made.id)

    with pytest.raises(AuthenticationError):
        approve_late()
    assert state(gateway, made) is ApprovalState.PROPOSED


def test_of_two_who_use_it_at_once_one_does(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    approve(gateway, two[1], propose(gateway, two[0]))
    results: list[str] = []
    start = threading.Barrier(4)

    def act() -> None:
        mine = twin(gateway)
        start.wait()
        try:
            use(mine)
            results.append("used")
        except GatewayError as error:
            results.append(type(error).__name__)

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["ForbiddenError"] * 3 + ["used"]


# -- what comes in wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        ({}, "$.subject.epoch"),
        ({"epoch": 1, "more": 1}, "$.subject"),
        ({"epoch": "one"}, "$.subject.epoch"),
        ({"epoch": 0}, "$.subject.epoch"),
        ({"epoch": True}, "$.subject.epoch"),
        ({"epoch": 1 << 53}, "$.subject.epoch"),
    ],
)
def test_a_subject_that_does_not_fit_names_its_member(
    gateway: Gateway, two: tuple[Principal, Principal], subject: Any, path: str
) -> None:
    with pytest.raises(InputError) as refused:
        propose(gateway, two[0], subject=subject)
    assert [field.path for field in refused.value.fields] == [path]


@pytest.mark.parametrize(
    ("action", "subject", "until"),
    [
        (Action.DESTROY_KEY_EPOCH, EPOCH_1, NOW_S + 60),
        (Action.BULK_REVEAL_WINDOW, WINDOW, None),
        (Action.BULK_REVEAL_WINDOW, WINDOW, NOW_S),
        (Action.BULK_REVEAL_WINDOW, WINDOW, NOW_S + 4 * 3600 + 1),
    ],
)
def test_an_end_that_does_not_fit_is_refused(
    gateway: Gateway, two: tuple[Principal, Principal], action: Action, subject: Any, until: int | None
) -> None:
    with pytest.raises(InputError) as refused:
        propose(gateway, two[0], action, subject=subject, until=until)
    assert refused.value.fields[0].path == "$.valid_until"


def test_unknown_is_unknown(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    for act in (approvals.find, approvals.approve, approvals.refuse):
        with pytest.raises(NotFoundError), gateway.work(two[0]) as work:
            act(work, "0" * 32)


def test_every_action_says_what_it_needs() -> None:
    assert set(ACTS) == set(Action)
    assert all(act.numbers or act.names for act in ACTS.values())


def test_who_takes_it_for_something_else_does_not_answer_it(gateway: Gateway, two: tuple[Principal, Principal]) -> None:
    made = propose(gateway, two[0])
    for act in (approvals.approve, approvals.refuse):
        with pytest.raises(ConflictError, match="destroy_key_epoch"), gateway.work(two[1]) as work:
            act(work, made.id, Action.DESTROY_INDEX_GENERATION)
    with gateway.work(two[1]) as work:
        assert approvals.approve(work, made.id, Action.DESTROY_KEY_EPOCH).approved_by == "second"


# -- against a model ---------------------------------------------------------------------------------------------


class Model(RuleBasedStateMachine):
    """Any order of steps by three keys over time: what can be used is what the model says, and it is used once."""

    gateway: Gateway

    @initialize()
    def begin(self) -> None:
        with self.gateway.store.transaction() as session:
            session.execute(tables.approvals.delete())
        self.clock = FixedClock(self.gateway.clock())
        self.gateway.clock = self.clock
        self.people = {p.id: p for p in self.gateway.registers.snapshot.principals.values()}  # type: ignore[union-attr]
        self.known: dict[str, dict[str, Any]] = {}

    def attempt(self, act: Any) -> Any:
        try:
            return act()
        except GatewayError as error:
            return type(error)

    def is_open(self, one: dict[str, Any]) -> bool:
        until = one["given"] + USE_SECONDS if one["given"] is not None else one["made"] + PROPOSAL_SECONDS
        return not one["over"] and self.now < until

    @property
    def now(self) -> int:
        return int(self.clock().timestamp())

    @rule(who=st.sampled_from("abc"), epoch=st.integers(1, 2))
    def propose(self, who: str, epoch: int) -> None:
        taken = any(self.is_open(one) and one["epoch"] == epoch for one in self.known.values())
        found = self.attempt(lambda: propose(self.gateway, self.people[who], subject={"epoch": epoch}))
        assert (found is ConflictError) == taken
        if not taken:
            self.known[found.id] = {"by": who, "epoch": epoch, "made": self.now, "given": None, "over": False}

    @rule(who=st.sampled_from("abc"), data=st.data(), verb=st.sampled_from(["approve", "refuse"]))
    def answer(self, who: str, data: st.DataObject, verb: str) -> None:
        if not self.known:
            return
        name = data.draw(st.sampled_from(sorted(self.known, key=lambda n: self.known[n]["made"])))
        one = self.known[name]
        yes = verb == "approve"
        found = self.attempt(lambda: self.act(getattr(approvals, verb), who, name))
        if not self.is_open(one) or (yes and one["given"] is not None):
            assert found is ConflictError
        elif yes and one["by"] == who:
            assert found is ForbiddenError
        elif yes:
            one["given"] = self.now
        else:
            one["over"] = True

    def act(self, act: Any, who: str, name: str) -> Any:
        with self.gateway.work(self.people[who]) as work:
            return act(work, name)

    @rule(epoch=st.integers(1, 2))
    def use(self, epoch: int) -> None:
        ready = [one for one in self.known.values() if one["given"] is not None and self.is_open(one)]
        ready = [one for one in ready if one["epoch"] == epoch]
        found = self.attempt(lambda: use(self.gateway, subject={"epoch": epoch}))
        assert (found is ForbiddenError) == (not ready)
        for one in ready:
            one["over"] = True

    @rule(seconds=st.sampled_from([1, USE_SECONDS - 1, USE_SECONDS, PROPOSAL_SECONDS]))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule()
    def lapse(self) -> None:
        with self.gateway.work() as work:
            approvals.lapse(work)

    @invariant()
    def at_most_one_is_open_of_a_subject(self) -> None:
        open_ones = [one["epoch"] for one in self.known.values() if self.is_open(one)] if hasattr(self, "known") else []
        assert len(open_ones) == len(set(open_ones))


def three_keys(store: Store) -> Gateway:
    gateway = a_gateway(store)
    with gateway.work() as work:
        registers.seed(work)
    for name in "abc":
        an_officer(gateway, name, "approve")
    return gateway


def test_steps_in_any_order(store: Store) -> None:
    machine = type("Machine", (Model,), {"gateway": three_keys(store)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None, derandomize=True)
    )


def test_a_use_that_forgets_to_use_up_is_seen(sqlite_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: the machine must turn red."""
    monkeypatch.setattr(approvals, "_end", lambda *_: None)
    machine = type("Machine", (Model,), {"gateway": three_keys(sqlite_gateway.store)})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=50,
                stateful_step_count=20,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],  # to be seen it need not be short
                report_multiple_bugs=False,
            ),
        )


@pytest.mark.postgres
@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_the_same_is_proposed_once_though_both_began_before_either_ended(
    gateway: Gateway, two: tuple[Principal, Principal]
) -> None:
    """Two windows for one purpose would be room for twice as many people as anybody meant to allow."""
    until = NOW_S + 3600
    with gateway.work(two[0]) as early:
        approvals.propose(early, Action.BULK_REVEAL_WINDOW, WINDOW, until)
        with pytest.raises(StoreError), twin(gateway).work(two[1]) as late:
            approvals.propose(impatient(late), Action.BULK_REVEAL_WINDOW, WINDOW, until)
    with pytest.raises(ConflictError):
        propose(gateway, two[1], Action.BULK_REVEAL_WINDOW, subject=WINDOW, until=until)
