"""A candidate in shadow is asked what was really asked, and only reported: no answer changes, and nothing breaks."""

from __future__ import annotations

from collections import Counter

import pytest

from builders import (
    EMAIL_MARKETING,
    a_consent,
    a_pack_text,
    a_person,
    an_officer,
    answer_for,
    put_in_force,
    ref,
    take,
    twin,
    with_source,
)
from consent_gateway.domain.decisions import Answer
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.segments import parse_text
from consent_gateway.errors import ConflictError
from consent_gateway.policies import engine
from consent_gateway.policies.facts import Facts
from consent_gateway.policies.rules import PackSet
from consent_gateway.services.deciding import law, shadows
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.disclosing.decisions import decide_batch
from consent_gateway.services.policy import policies
from consent_gateway.services.work.gateway import Gateway

PEOPLE = 10


@pytest.fixture
def town(gateway: Gateway) -> Gateway:
    """Ten people, half of whom may be written to."""
    with gateway.work() as work:
        policies.record_shipped(work)
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(PEOPLE)])
    take(gateway, [a_consent(ref(n)) for n in range(0, PEOPLE, 2)])
    return gateway


@pytest.fixture
def officer(town: Gateway) -> Principal:
    """Who watches."""
    return an_officer(town, "officer")


def watch(gateway: Gateway, officer: Principal, text: str, *, on: bool = True) -> None:
    with gateway.work(officer) as work:
        found = policies.propose(work, text)
        policies.set_shadow(work, found.row["name"], found.row["version"], on=on)


def counted(gateway: Gateway, name: str = "trial") -> Counter[tuple[str, str, str]]:
    """What the report says, as change, reason and would-be reason."""
    with gateway.look() as work:
        text = policies.find(work, name, 1)
        lines = shadows.report(work.session, gateway.tally, text.row["sha256"], gateway.rules.k_floor)
    return Counter({(line.seen.change, line.seen.reason, line.seen.would_be): line.questions or 0 for line in lines})


def test_single_decisions_batches_and_audiences_are_watched(town: Gateway, officer: Principal) -> None:
    watch(town, officer, a_pack_text(channel="email"))
    permitted = answer_for(town, ref(0))
    assert permitted.permitted
    found = counted(town)
    assert found.total() == 1
    assert {change for change, _, would_be in found} == {"permit_to_deny"}
    with town.work() as work:
        answers, _ = decide_batch(work, EMAIL_MARKETING, [ref(n) for n in range(PEOPLE)])
    assert sum(answer.permitted for answer in answers) == PEOPLE // 2
    assert counted(town).total() == 1 + PEOPLE
    with town.work() as work:
        audience = audiences.resolve(work, parse_text("everyone"), EMAIL_MARKETING)
    assert audience.row.size == PEOPLE // 2
    total = counted(town)
    assert total.total() == 1 + 2 * PEOPLE
    assert sum(n for (change, _, _), n in total.items() if change == "permit_to_deny") == 1 + PEOPLE


def test_the_counts_are_those_of_the_candidate_in_force(town: Gateway, officer: Principal) -> None:
    """What shadow said it would answer is what it answers once it is activated."""
    text = a_pack_text(channel="email")
    watch(town, officer, text)
    before = [answer_for(town, ref(n)) for n in range(PEOPLE)]
    said = counted(town)
    with town.work(an_officer(town, "second")) as work:
        policies.activate(work, "trial", 1)
    after = [answer_for(town, ref(n)) for n in range(PEOPLE)]
    real = Counter((old.reason_code, new.reason_code) for old, new in zip(before, after, strict=True))
    assert real == Counter({pair: n for (_, *rest), n in said.items() for pair in [tuple(rest)]})


def test_what_did_not_commit_is_not_counted(town: Gateway, officer: Principal) -> None:
    watch(town, officer, a_pack_text(channel="email"))

    def fail() -> None:
        with town.work() as work:
            decide_batch(work, EMAIL_MARKETING, [ref(0)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert counted(town) == Counter()


def test_counts_of_replicas_add_up_in_the_store(town: Gateway, officer: Principal) -> None:
    watch(town, officer, a_pack_text(channel="email"))
    other = twin(town)
    for _ in range(2):
        answer_for(town, ref(0))
        answer_for(other, ref(0))
        town.tally.write(town.store)
        other.tally.write(other.store)
    assert counted(town).total() == counted(other).total() == 4


def test_switched_off_nothing_is_counted_and_on_it_begins_anew(town: Gateway, officer: Principal) -> None:
    watch(town, officer, a_pack_text(channel="email"))
    answer_for(town, ref(0))
    town.tally.write(town.store)
    watch(town, officer, a_pack_text(channel="email"), on=False)
    answer_for(town, ref(0))
    assert counted(town).total() == 1
    watch(town, officer, a_pack_text(channel="email"))
    assert counted(town).total() == 0


def test_only_a_candidate_is_watched(town: Gateway, officer: Principal) -> None:
    put_in_force(town, a_pack_text(), proposer=officer, approver=an_officer(town, "second"))
    with town.work(officer) as work, pytest.raises(ConflictError):
        policies.set_shadow(work, "trial", 1, on=True)


def test_an_error_in_a_candidate_breaks_no_answer(
    town: Gateway, officer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(town, officer, a_pack_text(channel="email"))
    real = engine.decide

    def failing(packs: PackSet, facts: Facts) -> Answer:
        if packs.pack("trial") is not None:
            raise ZeroDivisionError
        return real(packs, facts)

    monkeypatch.setattr(engine, "decide", failing)
    assert answer_for(town, ref(0)).permitted
    assert {change for change, _, _ in counted(town)} == {"error"}


def test_a_candidate_that_cannot_be_read_breaks_no_answer(
    town: Gateway, officer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(town, officer, a_pack_text(channel="email"))

    def unreadable(*_: object) -> PackSet:
        raise RecursionError

    monkeypatch.setattr(law, "with_text", unreadable)
    assert answer_for(town, ref(0)).permitted
    assert counted(town) == Counter()


def test_small_counts_are_withheld(town: Gateway, officer: Principal) -> None:
    watch(town, officer, a_pack_text(channel="email"))
    for n in range(3):
        answer_for(town, ref(2 * n))
    with town.look() as work:
        sha256 = policies.find(work, "trial", 1).row["sha256"]
        data = shadows.as_data(shadows.report(work.session, town.tally, sha256, 10))
    assert data["questions"] is None
    assert data["changes"]["permit_to_deny"] is None
    assert [line["questions"] for line in data["lines"]] == [None]


def test_without_a_candidate_nothing_is_looked_up(town: Gateway) -> None:
    with town.work() as work:
        decide_batch(work, EMAIL_MARKETING, [ref(0)])
        assert not work.seen
        asked = town.decider.ask(EMAIL_MARKETING, work.registers, town.rules, work.now)
        assert asked.law.watched is False
