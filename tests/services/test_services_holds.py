"""Legal holds: nothing of a held person is erased, nothing is done with their data, and who waited is erased afterwards."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    NOW_S,
    a_consent,
    a_person,
    answer_for,
    choose,
    id_of,
    may_write,
    ref,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import audience_rows, tables
from consent_gateway.domain.holds import Hold, HoldEnd, HoldReason
from consent_gateway.domain.subjects import Choice, Flag
from consent_gateway.errors import HeldError, InputError, NotFoundError
from consent_gateway.services.erasing import holds
from consent_gateway.services.erasing.erasure import Deferred, Erasure, erase, erase_or_defer
from consent_gateway.services.erasing.holds import carry_out_due
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Three people who may be written to."""
    with_source(gateway)
    take(gateway, [a_person(n) for n in (1, 2, 3)])
    take(gateway, [a_consent(ref(n)) for n in (1, 2, 3)])
    return gateway


def place(
    gateway: Gateway, number: int = 1, reason: HoldReason = HoldReason.LEGAL_CLAIM, until: int | None = None
) -> Hold:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        return holds.place(work, who, reason, until)[0]


def lift(gateway: Gateway, hold: Hold, number: int = 1, reason: HoldEnd = HoldEnd.CLOSED) -> None:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        holds.lift(work, who, hold.id, reason)


def ask_to_erase(gateway: Gateway, number: int = 1, reason: str = "request") -> Erasure | Deferred:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        return erase_or_defer(work, who, reason)


def flags(gateway: Gateway, number: int = 1) -> Flag:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        return Flag(audience_rows.rows(work.session, [who])[who]["flags"])


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.look() as work:
        raw = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        found = [json.loads(bytes(e)) for e in raw]
    return [e for e in found if e["kind"] == kind]


def advance(gateway: Gateway, seconds: int) -> None:
    clock = gateway.clock
    assert isinstance(clock, FixedClock)
    clock.advance(timedelta(seconds=seconds))


def gone(gateway: Gateway, number: int = 1) -> bool:
    return answer_for(gateway, ref(number)).reason_code == "unknown_subject"


def test_a_hold_keeps_the_person_and_restricts_what_is_done(crm: Gateway) -> None:
    assert may_write(crm, ref(1))
    hold = place(crm)
    answer = answer_for(crm, ref(1))
    assert (answer.permitted, answer.reason_code) == (False, "restriction")
    assert flags(crm) & Flag.RESTRICTION
    assert may_write(crm, ref(2))
    who = id_of(crm, ref(1))
    with pytest.raises(HeldError), crm.work() as work:
        erase(work, who, "request")
    assert reconcile(crm).clean
    lift(crm, hold)
    assert may_write(crm, ref(1))
    assert reconcile(crm).clean


def test_a_restriction_of_the_persons_own_outlives_the_hold(crm: Gateway) -> None:
    choose(crm, ref(1), Choice.RESTRICTION)
    lift(crm, place(crm))
    assert not may_write(crm, ref(1))
    hold = place(crm, 2)
    choose(crm, ref(2), Choice.RESTRICTION, active=False)
    assert not may_write(crm, ref(2))  # what is said meanwhile does not open what the hold closed
    lift(crm, hold, 2)
    assert may_write(crm, ref(2))


def test_an_erasure_waits_for_the_last_hold_and_is_then_carried_out(crm: Gateway) -> None:
    first, second = place(crm), place(crm, reason=HoldReason.LEGAL_DUTY, until=NOW_S + 600)
    done = ask_to_erase(crm)
    assert isinstance(done, Deferred)
    assert [h.reason for h in done.holds] == [HoldReason.LEGAL_CLAIM, HoldReason.LEGAL_DUTY]
    assert flags(crm) & Flag.DELETION_PENDING
    assert reconcile(crm).clean
    assert isinstance(ask_to_erase(crm, reason="retention"), Deferred)
    with crm.look() as work:
        found, waiting = holds.listing(work, id_of(crm, ref(1)))
    assert len(found) == 2
    assert waiting is not None
    assert (waiting.reason, waiting.asked_by) == ("request", "system")
    assert carry_out_due(crm) == 0
    lift(crm, first)
    assert carry_out_due(crm) == 0
    assert not gone(crm)
    advance(crm, 599)
    assert carry_out_due(crm) == 0
    advance(crm, 1)
    assert carry_out_due(crm) == 1
    assert gone(crm)
    assert carry_out_due(crm) == 0
    assert [e["fields"]["reason"] for e in entries(crm, "subject.erased")] == ["request"]
    assert [e["fields"]["reason"] for e in entries(crm, "hold.ended")] == ["closed", "expired"]
    ended = next(e for e in entries(crm, "hold.ended") if e["fields"]["reason"] == "expired")
    assert ended["fields"] == {"hold": second.id, "reason": "expired"}
    assert reconcile(crm).clean


def test_a_hold_that_ends_by_itself_opens_again(crm: Gateway) -> None:
    place(crm, until=NOW_S + 60)
    advance(crm, 60)
    assert not may_write(crm, ref(1))  # strict until the job has run
    assert carry_out_due(crm) == 0
    assert may_write(crm, ref(1))
    with crm.look() as work:
        (found,), waiting = holds.listing(work, id_of(crm, ref(1)))
    assert (found.ended_by, found.end_reason, found.ended_at) == ("system", HoldEnd.EXPIRED, NOW_S + 60)
    assert waiting is None


def test_a_hold_on_one_subject_holds_the_whole_person(crm: Gateway) -> None:
    hold = place(crm, 2)
    with crm.work() as work:
        number = merge(work, [ref(1), ref(2)], "duplicate").merge
    assert number is not None
    assert not may_write(crm, ref(1))
    assert isinstance(ask_to_erase(crm, 1), Deferred)
    assert reconcile(crm).clean
    lift(crm, hold, 1)  # named by the other of them
    assert carry_out_due(crm) == 1
    assert gone(crm, 1)
    assert gone(crm, 2)
    assert not gone(crm, 3)


def test_unmerged_each_has_what_is_theirs(crm: Gateway) -> None:
    place(crm, 2)
    with crm.work() as work:
        number = merge(work, [ref(1), ref(2)], "duplicate").merge
    assert number is not None
    assert isinstance(ask_to_erase(crm, 1), Deferred)
    with crm.work() as work:
        unmerge(work, number, "wrong_match")
    assert carry_out_due(crm) == 1  # whoever was named is not held any more
    assert gone(crm, 1)
    assert not gone(crm, 2)
    assert reconcile(crm).clean


def test_who_was_erased_meanwhile_is_no_error(crm: Gateway) -> None:
    hold = place(crm)
    ask_to_erase(crm)
    lift(crm, hold)
    waiting = id_of(crm, ref(1))
    assert isinstance(ask_to_erase(crm), Erasure)
    assert carry_out_due(crm) == 0
    with crm.look() as work, pytest.raises(NotFoundError):
        holds.listing(work, waiting)


def test_one_who_races_the_job_is_held_again(crm: Gateway) -> None:
    hold = place(crm)
    ask_to_erase(crm)
    lift(crm, hold)
    place(crm)
    assert carry_out_due(crm) == 0
    assert not gone(crm)


def test_refusals(crm: Gateway) -> None:
    hold = place(crm)
    with pytest.raises(InputError):
        place(crm, until=NOW_S)
    with pytest.raises(NotFoundError):
        lift(crm, hold, 2)
    lift(crm, hold)
    with pytest.raises(NotFoundError):
        lift(crm, hold)
    who = id_of(crm, ref(3))
    ask_to_erase(crm, 3)
    with pytest.raises(NotFoundError), crm.work() as work:
        holds.place(work, who, HoldReason.LEGAL_CLAIM, None)
    with pytest.raises(NotFoundError), crm.work() as work:
        erase_or_defer(work, who, "request")


def test_entries_name_nobody(crm: Gateway) -> None:
    hold = place(crm, until=NOW_S + 60)
    ask_to_erase(crm)
    (placed,) = entries(crm, "hold.placed")
    assert placed["fields"] == {"hold": hold.id, "reason": "legal_claim", "until": NOW_S + 60}
    assert set(placed["commitments"]) == {"chain", "subject"}
    (deferred,) = entries(crm, "erasure.deferred")
    assert deferred["fields"] == {"reason": "request", "holds": [hold.id]}


def test_the_worker_does_it(crm: Gateway) -> None:
    place(crm, until=NOW_S + 60)
    ask_to_erase(crm)
    advance(crm, 60)
    Worker(crm, lambda error: pytest.fail(str(error)))._round(tally=True, housekeep=False)
    assert gone(crm)


def test_many_waiting_are_taken_page_by_page(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "_PAGE", 2)
    for n in (1, 2, 3):
        hold = place(crm, n)
        ask_to_erase(crm, n)
        lift(crm, hold, n)
    assert carry_out_due(crm) == 3
