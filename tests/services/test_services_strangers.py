"""Trying identifiers costs: strangers count, a key that used its quota up is refused whoever it asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from builders import EMAIL_MARKETING, a_person, an_officer, by, id_of, ref, take, twin, with_source
from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.clock import FixedClock
from consent_gateway.db import log_store, tables
from consent_gateway.domain.purposes import OWN
from consent_gateway.domain.quotas import HOUR, Limits
from consent_gateway.domain.registers import Principal
from consent_gateway.errors import QuotaError
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide, decide_batch
from consent_gateway.services.persons.subjects import lookup
from consent_gateway.services.work import quotas
from consent_gateway.services.work.gateway import SYSTEM, Gateway
from consent_gateway.services.work.items import SubjectRef


@pytest.fixture
def key(gateway: Gateway) -> Principal:
    """A key with room for three strangers an hour; Anna and Bert are known."""
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    gateway.rules = replace(gateway.rules, lookup_quota=Limits(3, 10))
    return an_officer(gateway, "crm", "decide")


def stranger(number: int) -> SubjectRef:
    return by("email", f"stranger{number}@example.org")


def named(gateway: Gateway, number: int) -> SubjectRef:
    with gateway.look() as work:
        return by("pseudonym", gateway.vault.pseudonym(id_of(gateway, ref(number)), OWN, work.registers))


def ask(gateway: Gateway, actor: Principal, *refs: SubjectRef) -> list[str]:
    """The reason of each question's answer, or the code of its refusal; all come in one transaction."""
    with gateway.work() as work:
        found = decide(work, [Ask(EMAIL_MARKETING, r, actor) for r in refs])
    return [f.answer.reason_code if isinstance(f, Decision) else f.code for f in found]


NEVER, UNKNOWN, FULL = "no_prior_consent", "unknown_subject", "quota_exhausted"


def test_people_who_are_known_cost_nothing(gateway: Gateway, key: Principal) -> None:
    for _ in range(5):
        assert ask(gateway, key, ref(1), ref(2), named(gateway, 1)) == [NEVER] * 3
    with gateway.look() as work:
        assert quotas.usage(work) == []


def test_the_first_that_does_not_fit_closes_every_question_by_identifier(gateway: Gateway, key: Principal) -> None:
    asked = [stranger(1), ref(1), stranger(2), stranger(1), stranger(3), ref(1), stranger(4), ref(2), stranger(1)]
    assert ask(gateway, key, *asked) == [UNKNOWN, NEVER, UNKNOWN, UNKNOWN, UNKNOWN, NEVER, FULL, FULL, FULL]
    assert ask(gateway, key, ref(1), named(gateway, 1), by("pseudonym", "p1-" + "0" * 32)) == [FULL, NEVER, UNKNOWN]


def test_one_key_does_not_close_another(gateway: Gateway, key: Principal) -> None:
    other = an_officer(gateway, "shop", "decide")
    assert ask(gateway, key, *map(stranger, range(4)))[-1] == FULL
    assert ask(gateway, other, ref(1), stranger(9)) == [NEVER, UNKNOWN]
    with gateway.work() as work:
        found = decide(work, [Ask(EMAIL_MARKETING, ref(1), who) for who in (key, other)])
    assert [isinstance(f, Decision) for f in found] == [False, True]


def test_a_closed_key_opens_when_strangers_leave_the_window(
    gateway: Gateway, key: Principal, clock: FixedClock
) -> None:
    assert ask(gateway, key, *map(stranger, range(4)))[-1] == FULL
    clock.advance(timedelta(minutes=30))
    assert ask(gateway, key, ref(1)) == [FULL]  # the store was asked again, and says so still
    clock.advance(timedelta(minutes=30))
    assert ask(gateway, key, ref(1), stranger(7)) == [NEVER, UNKNOWN]


def test_another_replica_learns_it_from_the_store(gateway: Gateway, key: Principal) -> None:
    ask(gateway, key, *map(stranger, range(3)))
    other = twin(gateway)
    assert ask(other, key, ref(1), stranger(5), ref(1)) == [NEVER, FULL, FULL]
    assert ask(other, key, ref(1)) == [FULL]


def test_a_batch_needs_room_for_all_it_names_whoever_is_known(gateway: Gateway, key: Principal) -> None:
    def batch(*refs: SubjectRef) -> int:
        with gateway.work(key) as work:
            return len(decide_batch(work, EMAIL_MARKETING, refs)[0])

    assert batch(stranger(1), ref(1), named(gateway, 2)) == 3
    for refs in ([ref(1), ref(2), stranger(1)], [stranger(5), stranger(6), stranger(7)]):
        with pytest.raises(QuotaError) as caught:
            batch(*refs)
        assert caught.value.retry_after == HOUR
    assert batch(*[named(gateway, 1)] * 9) == 9
    with gateway.look() as work:
        assert quotas.usage(work)[0].hour == 1


def test_a_lookup_of_nobody_counts_and_a_full_key_looks_nobody_up(gateway: Gateway, key: Principal) -> None:
    def look(who: SubjectRef) -> str | None:
        with gateway.work(key) as work:
            return lookup(work, who, None)

    assert look(ref(1)) == named(gateway, 1).value
    assert [look(stranger(n)) for n in range(3)] == [None] * 3
    for who in (ref(1), stranger(4), stranger(1)):
        with pytest.raises(QuotaError):
            look(who)
    assert look(named(gateway, 1)) == named(gateway, 1).value


def test_every_lookup_is_in_the_log_and_names_nobody(gateway: Gateway, key: Principal) -> None:
    with gateway.work(key) as work:
        lookup(work, ref(1), None)
        lookup(work, stranger(1), None)
    found, missed = [e for e in entries(gateway) if e.kind is EntryKind.PSEUDONYM_READ]
    assert found.fields == {"kind": "member_no", "recipient": "self", "found": True}
    assert missed.fields == {"kind": "email", "recipient": "self", "found": False}
    assert (found.actor, list(found.commitments), dict(missed.commitments)) == ("crm", ["chain", "subject"], {})


def entries(gateway: Gateway) -> list[Entry]:
    with gateway.look() as work:
        rows = work.session.execute(log_store.select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id))
        return [parse_entry(bytes(row)) for row in rows.scalars()]


def test_the_gateway_itself_has_no_quota(gateway: Gateway, key: Principal) -> None:
    assert ask(gateway, SYSTEM, *map(stranger, range(9))) == [UNKNOWN] * 9


def test_a_decision_about_somebody_known_makes_no_statement_for_it(gateway: Gateway, key: Principal) -> None:
    """The way of nearly every decision: by a pseudonym, or by an identifier that is known."""
    seen: list[str] = []

    def listen(_c: Any, _cur: Any, sql: str, *_more: Any) -> None:
        seen.append(sql)

    ask(gateway, key, ref(1))
    event.listen(gateway.store.engine, "before_cursor_execute", listen)
    ask(gateway, key, ref(1), named(gateway, 2))
    event.remove(gateway.store.engine, "before_cursor_execute", listen)
    assert seen
    assert not [sql for sql in seen if "quota" in sql]
