"""A past answer computed again: the same after the law, the person and the vocabulary have moved on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Table, delete, func, select, update

from builders import (
    EMAIL_MARKETING,
    a_consent,
    a_pack_text,
    a_person,
    an_officer,
    by,
    choose,
    id_of,
    put_in_force,
    ref,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.audit.commitments import commit
from consent_gateway.audit.entries import parse_entry
from consent_gateway.clock import FixedClock
from consent_gateway.db import replays, tables
from consent_gateway.db.policies import _known
from consent_gateway.db.subjects import wrapped_keys
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import InputError, NotFoundError
from consent_gateway.policies import points
from consent_gateway.policies.facts import Facts, UnknownFactError
from consent_gateway.policies.vocabulary import FACTS, VOCABULARY
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide, decide_batch
from consent_gateway.services.erasing import erasure
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.policy import policies
from consent_gateway.services.policy.replays import Replay, ReplayState, replay
from consent_gateway.services.work.gateway import SYSTEM, Gateway


@pytest.fixture
def ours(gateway: Gateway) -> Gateway:
    """A gateway with one person who may be written to."""
    with gateway.work() as work:
        policies.record_shipped(work)
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2, birth_date="2012-01-01")])
    take(gateway, [a_consent(ref(1))])
    return gateway


def asked(gateway: Gateway, number: int = 1, use: Use = EMAIL_MARKETING, *, explain: bool = False) -> Decision:
    """Ask about one person, and let the log integrate it."""
    with gateway.work() as work:
        (found,) = decide(work, [Ask(use, ref(number), SYSTEM, explain)])
    Sequencer(gateway).drain()
    assert isinstance(found, Decision)
    return found


def again(gateway: Gateway, decision: Decision, *, against_active: bool = False) -> Replay:
    with gateway.work() as work:
        return replay(work, decision.uid, against_active=against_active)


def rows(gateway: Gateway, table: Table) -> int:
    with gateway.store.reading() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_an_answer_is_the_same_when_it_is_computed_again(ours: Gateway, number: int, *, explain: bool) -> None:
    decision = asked(ours, number, explain=explain)
    done = again(ours, decision)
    assert (done.state, done.differences) == (ReplayState.SAME, ())
    assert done.answer == replace(decision.answer, changes=())


def test_an_answer_is_the_same_after_everything_has_moved_on(ours: Gateway, clock: FixedClock) -> None:
    decision = asked(ours)
    withdraw(ours, ref(1))
    choose(ours, ref(1), Choice.OBJECTION)
    against_email = a_pack_text(channel="email")
    put_in_force(ours, against_email, proposer=an_officer(ours, "lawyer"), approver=an_officer(ours, "officer"))
    clock.advance(timedelta(days=4000))  # every pack is past its review by now
    done = again(ours, decision, against_active=True)
    assert done.state is ReplayState.SAME
    assert done.answer == decision.answer
    assert done.against is not None
    assert not done.against.permitted
    assert {"trial.channel"} < {reason.rule_id for reason in done.against.reasons}


def test_without_recorded_packs_the_texts_are_kept_with_the_first_answer(gateway: Gateway) -> None:
    with_source(gateway)
    take(gateway, [a_person(1)])
    decision = asked(gateway)
    assert rows(gateway, tables.policy_sets) == 1
    assert again(gateway, decision).state is ReplayState.SAME


def test_another_replica_replays_what_this_one_answered(ours: Gateway) -> None:
    assert again(twin(ours), asked(ours)).state is ReplayState.SAME


def test_after_an_erasure_the_opening_is_gone(ours: Gateway) -> None:
    decision = asked(ours)
    with ours.work() as work:
        erasure.erase(work, id_of(ours, ref(1)), "request")
    done = again(ours, decision)
    assert (done.state, done.answer) == (ReplayState.ERASED, None)


def test_a_person_nobody_knew_had_no_facts(ours: Gateway) -> None:
    with ours.work() as work:
        (found,) = decide(work, [Ask(EMAIL_MARKETING, by("email", "nobody@example.org"), SYSTEM)])
    Sequencer(ours).drain()
    assert isinstance(found, Decision)
    assert again(ours, found).state is ReplayState.NO_FACTS


def test_looking_into_a_decision_is_recorded(ours: Gateway) -> None:
    decision = asked(ours)
    again(ours, decision)
    with ours.store.reading() as session:
        entries = [parse_entry(bytes(e)) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    assert [e.fields for e in entries if e.kind == "decision.replayed"] == [
        {"decision": decision.uid.hex(), "state": "same", "against": ""}
    ]


def test_what_is_no_single_decision_is_refused(ours: Gateway) -> None:
    with ours.work() as work:
        _, uid = decide_batch(work, EMAIL_MARKETING, [ref(1)])
    with ours.work() as work, pytest.raises(NotFoundError, match="retry"):
        replay(work, uid)
    Sequencer(ours).drain()
    with ours.work() as work, pytest.raises(InputError):
        replay(work, uid)
    with ours.work() as work, pytest.raises(NotFoundError):
        replay(work, bytes(16))


def test_facts_are_written_once_and_known_ones_never_again(ours: Gateway) -> None:
    asked(ours)
    before = rows(ours, tables.decision_facts)
    with ours.work() as work:
        decide(work, [Ask(EMAIL_MARKETING, ref(1), SYSTEM)])
        assert (work.points, work.cited) == ({}, {})
    assert rows(ours, tables.decision_facts) == before
    asked(twin(ours))
    assert rows(ours, tables.decision_facts) == before


def test_a_rolled_back_answer_is_not_taken_for_kept(ours: Gateway) -> None:
    def fail() -> None:
        with ours.work() as work:
            decide(work, [Ask(EMAIL_MARKETING, ref(1), SYSTEM)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert again(ours, asked(ours)).state is ReplayState.SAME


# -- planted: what was altered since is found --------------------------------------------------------------------


def test_altered_facts_are_found(ours: Gateway) -> None:
    decision, other = asked(ours, 1), asked(ours, 2)
    with ours.store.transaction() as session:
        facts = tables.decision_facts
        bits = session.execute(select(facts.c.bits).where(facts.c.digest == other.answer.facts_digest)).scalar()
        session.execute(update(facts).where(facts.c.digest == decision.answer.facts_digest).values(bits=bits))
    done = again(ours, decision)
    assert (done.state, done.differences) == (ReplayState.DIFFERS, ("facts",))


def test_an_altered_opening_is_found(ours: Gateway) -> None:
    decision, other = asked(ours, 1), asked(ours, 2)
    with ours.store.transaction() as session:
        openings = tables.audit_openings
        payload = session.execute(select(openings.c.payload).where(openings.c.uid == other.uid)).scalar()
        session.execute(update(openings).where(openings.c.uid == decision.uid).values(payload=payload))
    done = again(ours, decision)
    assert (done.state, done.differences) == (ReplayState.DIFFERS, ("commitment",))


@pytest.mark.parametrize("table", [tables.decision_facts, tables.policy_sets])
def test_what_was_lost_is_said(ours: Gateway, table: Table) -> None:
    decision = asked(ours)
    with ours.store.transaction() as session:
        session.execute(delete(table))
    assert again(ours, decision).state is ReplayState.NOT_KEPT


def test_an_altered_text_is_not_replayed(ours: Gateway) -> None:
    decision = asked(ours)
    with ours.store.transaction() as session:
        session.execute(update(tables.policy_texts).where(tables.policy_texts.c.name == "gdpr").values(text="id: x"))
    _known.clear()
    assert again(ours, decision).state is ReplayState.NOT_KEPT


def test_an_entry_that_says_something_else_differs(ours: Gateway) -> None:
    """A log entry can't be altered unseen; a gateway that wrote a wrong answer down would be found here."""
    decision = asked(ours)
    with ours.store.transaction() as session:
        entries = tables.audit_entries
        entry = session.execute(select(entries.c.entry).where(entries.c.uid == decision.uid)).scalar_one()
        forged = bytes(entry).replace(b'"outcome":"permit"', b'"outcome":"deny"')
        session.execute(update(entries).where(entries.c.uid == decision.uid).values(entry=forged))
    done = again(ours, decision)
    assert (done.state, done.differences) == (ReplayState.DIFFERS, ("outcome",))


# -- an older vocabulary -----------------------------------------------------------------------------------------


def older(*, without: str = "", shorter: str = "") -> points.Table:
    """This vocabulary before a fact was added, or before a fact got its last value."""
    return [(name, values[:-1] if name == shorter else values) for name, values in points.current() if name != without]


def packed(table: points.Table, facts: Facts) -> int:
    bits, offset = 0, 0
    for name, values in table:
        bits |= 1 << (offset + values.index(facts[name]))
        offset += len(values) + 1
    return bits


def a_point(ours: Gateway) -> Facts:
    decision = asked(ours)
    with ours.store.reading() as session:
        facts = tables.decision_facts
        statement = select(facts.c.bits).where(facts.c.digest == decision.answer.facts_digest)
        return Facts.from_hex(session.execute(statement).scalar_one())


def test_this_vocabulary_is_one_of_the_tables(ours: Gateway) -> None:
    point = a_point(ours)
    assert points.identify(points.current()) == VOCABULARY
    assert points.digest(points.current(), point.bits) == point.digest()
    assert points.values_of(points.current(), point.bits) == dict(point.items())
    assert points.read(dict(point.items())) == point


@pytest.mark.parametrize("shorter", ["notice", "collected"])
def test_a_point_of_a_vocabulary_with_fewer_values_reads_the_same(ours: Gateway, shorter: str) -> None:
    point = a_point(ours)
    table = older(shorter=shorter)
    bits = packed(table, point)
    assert bits != point.bits or shorter == FACTS[-1].name
    assert points.read(points.values_of(table, bits)) == point


@pytest.mark.parametrize(("without", "value"), [("objection", "no"), ("collected_in_sale", "no"), ("gpc", "no")])
def test_a_fact_that_is_new_since_then_is_what_nobody_knew(ours: Gateway, without: str, value: str) -> None:
    point = a_point(ours)
    table = older(without=without)
    read = points.read(points.values_of(table, packed(table, point)))
    assert read == point.replace(**{without: value})


def test_an_answer_of_an_older_vocabulary_is_replayed(ours: Gateway) -> None:
    """Point, vocabulary, opening and entry are rewritten as a software that did not know the fact had left them."""
    decision = asked(ours)
    table = older(without="loyalty")
    subject = id_of(ours, ref(1))
    facts, entries, openings = tables.decision_facts, tables.audit_entries, tables.audit_openings
    bits = packed(table, a_point(ours))  # before the transaction: on SQLite there is one writer at a time
    with ours.store.transaction() as session:
        digest = points.digest(table, bits)
        vocabulary = points.identify(table).hex()
        replays.put_facts(session, vocabulary, json.dumps(table), {digest: f"{bits:x}"}, 0)
        session.execute(delete(facts).where(facts.c.digest != digest))
        payload = json.dumps({"facts": digest}, separators=(",", ":")).encode()
        session.execute(update(openings).where(openings.c.uid == decision.uid).values(payload=payload))
        entry = bytes(session.execute(select(entries.c.entry).where(entries.c.uid == decision.uid)).scalar_one())
        key = ours.vault.audit_key(subject, wrapped_keys(session, [subject])[subject])
        sealed = commit(key, decision.uid, "subject", payload).hex().encode()
        entry = entry.replace(parse_entry(entry).commitments["subject"].hex().encode(), sealed)
        session.execute(update(entries).where(entries.c.uid == decision.uid).values(entry=entry))
    done = again(ours, decision)
    assert done.state is ReplayState.SAME
    assert done.answer == decision.answer


@pytest.mark.parametrize("bits", [0, 1 << 400, (1 << 400) - 1])
def test_bits_that_are_no_point_are_refused(bits: int) -> None:
    with pytest.raises(UnknownFactError):
        points.values_of(points.current(), bits)


def test_a_fact_that_is_gone_is_not_guessed(ours: Gateway) -> None:
    with pytest.raises(UnknownFactError):
        points.read({**dict(a_point(ours).items()), "moon_phase": "full"})
