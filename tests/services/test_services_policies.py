"""Changing the law with four eyes: what is refused, what is recorded, and that every replica switches together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from builders import (
    DAY,
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_pack_text,
    a_person,
    an_officer,
    answer_for,
    may_write,
    put_in_force,
    ref,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.audit.entries import Entry, parse_entry
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.db.policies import _known, digest
from consent_gateway.domain.policies import PolicyState
from consent_gateway.domain.purposes import PurposeKind
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import ConflictError, ForbiddenError, GatewayError, InputError, NotFoundError
from consent_gateway.policies.packs import builtin_texts, load_builtin
from consent_gateway.policies.rules import Pack
from consent_gateway.services.deciding.law import read
from consent_gateway.services.disclosing.decisions import decide_batch
from consent_gateway.services.policy import policies
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway, RegisterCache, Work

AGAINST_EMAIL = {"channel": "email"}


@pytest.fixture
def ours(gateway: Gateway) -> Gateway:
    """A gateway with the shipped packs recorded and one person who may be written to."""
    with gateway.work() as work:
        policies.record_shipped(work)
    with_source(gateway)
    take(gateway, [a_person(1)])
    take(gateway, [a_consent(ref(1))])
    assert may_write(gateway, ref(1))
    return gateway


@pytest.fixture
def two(ours: Gateway) -> tuple[Principal, Principal]:
    """Two people who may change policies."""
    return an_officer(ours, "lawyer"), an_officer(ours, "officer")


def entries(gateway: Gateway, kind: str) -> list[Entry]:
    with gateway.store.reading() as session:
        found = [parse_entry(bytes(e)) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    return [entry for entry in found if entry.kind.value == kind]


def states(gateway: Gateway, name: str) -> dict[int, str]:
    with gateway.look() as work:
        return {t.row["version"]: t.state.value for t in policies.listing(work, name)}


def propose(gateway: Gateway, who: Principal, text: str) -> None:
    with gateway.work(who) as work:
        policies.propose(work, text)


def activate(gateway: Gateway, who: Principal, version: int, at: int | None = None, name: str = "trial") -> None:
    with gateway.work(who) as work:
        policies.activate(work, name, version, at)


# -- the shipped packs -------------------------------------------------------------------------------------------


def test_the_texts_behind_every_answer_are_in_the_store(ours: Gateway) -> None:
    with ours.look() as work:
        held = {t.row["name"]: (t.row["text"], t.state) for t in policies.listing(work)}
        assert work.law.packs.texts == builtin_texts()
    assert {name: text for name, (text, _) in held.items()} == builtin_texts()
    assert {state for _, state in held.values()} == {PolicyState.ACTIVE}


def test_recording_the_shipped_packs_again_changes_nothing(ours: Gateway) -> None:
    with ours.work() as work:
        assert policies.record_shipped(work) == []
        assert work.entries == []


def test_without_activations_the_shipped_packs_are_the_law(gateway: Gateway) -> None:
    with gateway.look() as work:
        plain = work.law
        assert work.registers.policies.activations == ()
    with gateway.work() as work:
        policies.record_shipped(work)
    with gateway.look() as work:
        assert (work.law.digest, work.law.names) == (plain.digest, plain.names)
        assert work.law.packs.packs == plain.packs.packs


def test_the_software_never_overrides_people(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    text = builtin_texts()["gdpr"]
    number = load_builtin().pack("gdpr")
    assert number is not None
    ours_now = text.replace(f"version: {number.version}\n", f"version: {number.version + 7}\n", 1)
    put_in_force(ours, ours_now, proposer=two[0], approver=two[1])
    with ours.work() as work:
        assert policies.record_shipped(work) == []
    assert states(ours, "gdpr") == {number.version + 7: "active", number.version: "retired"}


# -- four eyes ---------------------------------------------------------------------------------------------------


def test_a_pack_decides_once_another_person_activated_it(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    lawyer, officer = two
    propose(ours, lawyer, a_pack_text(**AGAINST_EMAIL))
    assert states(ours, "trial") == {1: "candidate"}
    assert may_write(ours, ref(1))
    activate(ours, officer, 1)
    answer = answer_for(ours, ref(1))
    assert (answer.permitted, answer.leading.rule_id) == (False, "trial.channel")
    assert "trial@1" in answer.packs
    assert states(ours, "trial") == {1: "active"}


def test_nobody_activates_what_they_proposed(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    propose(ours, two[0], a_pack_text())
    with pytest.raises(ForbiddenError, match="four eyes"):
        activate(ours, two[0], 1)
    assert states(ours, "trial") == {1: "candidate"}


def test_the_gateway_itself_changes_no_policy(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    with pytest.raises(ForbiddenError):
        propose(ours, SYSTEM, a_pack_text())
    propose(ours, two[0], a_pack_text())
    with pytest.raises(ForbiddenError):
        activate(ours, SYSTEM, 1)


def test_a_revoked_key_approves_nothing(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    propose(ours, two[0], a_pack_text())
    with ours.work() as work:
        principals.revoke(work, "officer")
    with pytest.raises(GatewayError):
        activate(ours, two[1], 1)
    assert states(ours, "trial") == {1: "candidate"}


def test_the_log_names_both_people_and_the_text(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    text = a_pack_text()
    put_in_force(ours, text, proposer=two[0], approver=two[1])
    (proposed,) = entries(ours, "policy.proposed")
    assert (proposed.actor, proposed.fields["sha256"]) == ("lawyer", digest(text))
    activated = entries(ours, "policy.activated")[-1]
    assert activated.actor == "officer"
    assert activated.fields == {
        "pack": "trial",
        "version": 1,
        "sha256": digest(text),
        "proposed_by": "lawyer",
        "approved_by": "officer",
        "effective_at": NOW_S,
        "replaces": "",
        "roll_back": False,
    }


def test_rolling_back_takes_four_eyes_too(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    lawyer, officer = two
    put_in_force(ours, a_pack_text(version=1), proposer=lawyer, approver=officer)
    put_in_force(ours, a_pack_text(version=2, **AGAINST_EMAIL), proposer=lawyer, approver=officer)
    assert not may_write(ours, ref(1))
    with pytest.raises(ConflictError, match="not a candidate"):
        activate(ours, officer, 1)
    with ours.work(lawyer) as work:
        policies.propose_again(work, "trial", 1)
    with pytest.raises(ForbiddenError):
        activate(ours, lawyer, 1)
    activate(ours, officer, 1)
    assert may_write(ours, ref(1))
    assert states(ours, "trial") == {2: "retired", 1: "active"}
    assert entries(ours, "policy.activated")[-1].fields["roll_back"] is True


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("- a\n", "pack"),
        (a_pack_text(channel="pigeon"), "line"),
        (a_pack_text().replace("channel:", "chanel:"), "no fact named 'chanel'"),
        (a_pack_text().replace("reason: frequency_cap", "reason: because"), "trial.channel"),
        (a_pack_text("reasons"), "catalogue"),
        ("[" * 50_000, "nests"),
        ("a: &a [*a]\n", "itself"),
        ("a: \x01\n", "characters"),
    ],
)
def test_a_wrong_text_is_refused_with_its_place_and_not_stored(
    ours: Gateway, two: tuple[Principal, Principal], text: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        propose(ours, two[0], text)
    assert caught.value.fields[0].path == "$.text"
    assert says in caught.value.fields[0].message
    assert states(ours, "trial") == {}


def test_versions_only_grow_and_name_one_text(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    put_in_force(ours, a_pack_text(version=3), proposer=two[0], approver=two[1])
    for text in (a_pack_text(version=2), a_pack_text(version=3, **AGAINST_EMAIL), a_pack_text(version=3)):
        with pytest.raises(ConflictError):
            propose(ours, two[0], text)


def test_a_lower_version_that_was_never_in_force_does_not_come_after(
    ours: Gateway, two: tuple[Principal, Principal]
) -> None:
    propose(ours, two[0], a_pack_text(version=1))
    put_in_force(ours, a_pack_text(version=2), proposer=two[0], approver=two[1])
    with pytest.raises(ConflictError, match="lower version"):
        activate(ours, two[1], 1)


@pytest.mark.parametrize(
    "dates", [{"effective_from": "2027-01-01"}, {"until": "effective_until: 2026-11-17"}, {"review_by": "2026-11-17"}]
)
def test_a_pack_whose_dates_are_elsewhere_is_not_activated(
    ours: Gateway, two: tuple[Principal, Principal], dates: dict[str, str]
) -> None:
    propose(ours, two[0], a_pack_text(**dates))
    with pytest.raises(ConflictError):
        activate(ours, two[1], 1)


def test_what_is_not_there_is_not_found(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    with pytest.raises(NotFoundError):
        activate(ours, two[1], 9)
    with pytest.raises(NotFoundError):
        activate(ours, two[1], 1, name="nobody")


# -- when it takes effect ----------------------------------------------------------------------------------------


def test_a_scheduled_activation_waits_for_its_minute(
    ours: Gateway, two: tuple[Principal, Principal], clock: FixedClock
) -> None:
    at = NOW_S + 120
    propose(ours, two[0], a_pack_text(**AGAINST_EMAIL))
    activate(ours, two[1], 1, at)
    assert states(ours, "trial") == {1: "scheduled"}
    for seconds, permitted in ((0, True), (119, True), (120, False), (DAY, False)):
        later = twin(ours)
        later.clock = FixedClock(clock() + timedelta(seconds=seconds))
        assert may_write(later, ref(1)) is permitted


@pytest.mark.parametrize("at", [NOW_S, NOW_S - 60, NOW_S + 61])
def test_an_instant_that_is_past_or_within_a_minute_is_refused(
    ours: Gateway, two: tuple[Principal, Principal], at: int
) -> None:
    propose(ours, two[0], a_pack_text())
    with pytest.raises(InputError):
        activate(ours, two[1], 1, at)


def test_effective_dates_do_not_overlap(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    propose(ours, two[0], a_pack_text(version=1))
    activate(ours, two[1], 1, NOW_S + 600)
    propose(ours, two[0], a_pack_text(version=2))
    for at in (None, NOW_S + 60, NOW_S + 600):
        with pytest.raises(ConflictError, match="lies ahead"):
            activate(ours, two[1], 2, at)
    activate(ours, two[1], 2, NOW_S + 660)


def test_a_replica_whose_clock_is_behind_decides_by_what_was_activated(
    ours: Gateway, two: tuple[Principal, Principal], clock: FixedClock
) -> None:
    put_in_force(ours, a_pack_text(**AGAINST_EMAIL), proposer=two[0], approver=two[1])
    late = twin(ours)
    late.clock = FixedClock(clock() - timedelta(seconds=30))
    assert not may_write(late, ref(1))


# -- a text that cannot be trusted -------------------------------------------------------------------------------


def _alter(gateway: Gateway, name: str, text: str) -> None:
    with gateway.store.transaction() as session:
        session.execute(update(tables.policy_texts).where(tables.policy_texts.c.name == name).values(text=text))
        session.execute(update(tables.registry_state).values(version=tables.registry_state.c.version + 1))
    _known.clear()


def test_a_text_that_was_altered_in_the_store_permits_no_marketing(ours: Gateway) -> None:
    altered = builtin_texts()["gdpr"].replace("effect: deny", "effect: permit", 1)
    _alter(ours, "gdpr", altered)
    answer = answer_for(twin(ours), ref(1))
    assert (answer.permitted, answer.reason_code) == (False, "pack_invalid")
    with twin(ours).look() as work:
        assert work.law.packs.faults
        assert {t.problem for t in policies.listing(work, "gdpr")} == {"the text was altered in the store"}


def test_a_lost_catalogue_closes_every_use_but_rights(ours: Gateway) -> None:
    _alter(ours, "reasons", "")
    lost = twin(ours)
    assert answer_for(lost, ref(1)).reason_code == "pack_invalid"
    withdraw(lost, ref(1))  # nothing that a person says is held up
    with lost.look() as work:
        (closed,) = (pack for pack in work.law.packs.packs if pack.id == "reasons")
    purposes = closed.rules[0].when.allowed["purpose"]
    assert set(PurposeKind) - set(purposes) == {
        PurposeKind.ERASURE_SUPPRESSION_CHECK,
        PurposeKind.REQUEST_RECORD_KEEPING,
        PurposeKind.OPT_OUT_CONFIRMATION,
    }


def test_a_pack_of_facts_that_this_software_does_not_know_permits_no_marketing() -> None:
    texts = {**builtin_texts(), "trial": a_pack_text().replace("channel:", "moon_phase:")}
    packs = read(texts, load_builtin())
    assert packs.faults
    assert any(rule.reason == "pack_invalid" for pack in packs.packs for rule in pack.rules)


# -- replicas ----------------------------------------------------------------------------------------------------


def test_every_replica_switches_with_its_next_transaction(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    other = twin(ours)
    assert may_write(other, ref(1))
    put_in_force(ours, a_pack_text(**AGAINST_EMAIL), proposer=two[0], approver=two[1])
    assert not may_write(other, ref(1))
    assert not may_write(ours, ref(1))


def test_an_entry_names_the_texts_it_was_decided_by(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    answer_for(ours, ref(1))
    put_in_force(ours, a_pack_text(), proposer=two[0], approver=two[1])
    answer_for(ours, ref(1))
    with ours.work() as work:
        decide_batch(work, EMAIL_MARKETING, [ref(1)])
    first, second = (entry.fields["policy"] for entry in entries(ours, "decision.made")[-2:])
    assert first != second
    assert entries(ours, "decisions.batch")[-1].fields["policy"] == second


def test_decisions_that_race_an_activation_are_each_of_one_law(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    """Two replicas decide without a pause while the law changes: an entry names the law that gave its answer, and
    nothing that begins after the change was acknowledged is decided by the old one."""
    propose(ours, two[0], a_pack_text(**AGAINST_EMAIL))
    with ours.look() as work:
        old = work.law.digest
    acknowledged, replicas, late = threading.Event(), (ours, twin(ours)), []

    def ask(replica: Gateway) -> None:
        for left in range(60):
            begun_after = acknowledged.is_set()
            if may_write(replica, ref(1)) and begun_after:
                late.append(left)

    with ThreadPoolExecutor(len(replicas)) as pool:
        running = [pool.submit(ask, replica) for replica in replicas]
        activate(twin(ours), two[1], 1)
        acknowledged.set()
        for task in running:
            task.result()
    assert late == []
    assert not any(may_write(replica, ref(1)) for replica in replicas)
    for entry in entries(ours, "decision.made"):
        assert (entry.fields["outcome"] == "permit") is (entry.fields["policy"] == old)
        assert ("trial@1" in str(entry.fields["packs"])) is (entry.fields["policy"] != old)


def test_a_replica_that_kept_the_old_law_is_found(
    ours: Gateway, two: tuple[Principal, Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: a snapshot of the registers that is not compared with the store's version."""
    stale = twin(ours)
    assert may_write(stale, ref(1))
    snapshot = stale.registers.snapshot
    assert snapshot is not None
    put_in_force(ours, a_pack_text(**AGAINST_EMAIL), proposer=two[0], approver=two[1])
    monkeypatch.setattr(RegisterCache, "fresh", lambda self, _: snapshot if self is stale.registers else None)
    assert may_write(stale, ref(1))
    monkeypatch.undo()
    assert not may_write(stale, ref(1))


def test_one_of_two_activations_at_once_is_refused(ours: Gateway, two: tuple[Principal, Principal]) -> None:
    """The same candidate by two approvers: the second sees what the first did, for they come one at a time."""
    third = an_officer(ours, "third")
    propose(ours, two[0], a_pack_text())
    activate(ours, two[1], 1)
    with pytest.raises(ConflictError):
        activate(twin(ours), third, 1)
    assert states(ours, "trial") == {1: "active"}


def test_a_text_is_read_before_anybody_waits_for_the_change(
    ours: Gateway, two: tuple[Principal, Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long text takes a second to read; whoever writes about people meanwhile, opt-outs too, must not wait for it."""
    held: list[str] = []
    parse, change = policies.parse_pack, Work.changed_registers

    def watched_parse(label: str, *rest: Any) -> Pack:
        assert held == [], label
        return parse(label, *rest)

    def watched_change(work: Work) -> None:
        held.append("held")
        change(work)

    monkeypatch.setattr(policies, "parse_pack", watched_parse)
    monkeypatch.setattr(Work, "changed_registers", watched_change)
    propose(ours, two[0], a_pack_text("slowly"))
    assert held
