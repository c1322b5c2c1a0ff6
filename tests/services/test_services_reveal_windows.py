"""Many people at once: only in a window of two keys, for this key and use, until it is used up or over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import NOW_S, a_person, an_officer, dump, id_of, ref, take, with_source
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.clock import FixedClock
from consent_gateway.domain.approvals import Action, Approval
from consent_gateway.domain.fields import RevealField
from consent_gateway.domain.ids import PurposeId
from consent_gateway.domain.purposes import OWN, Basis, Channel, Purpose, PurposeKind
from consent_gateway.domain.quotas import QuotaKind
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.reveals import Grounds, RevealReason, View
from consent_gateway.errors import ForbiddenError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing.reveals import Revealed, reveal
from consent_gateway.services.registry import registers
from consent_gateway.services.work import approvals, principals, quotas
from consent_gateway.services.work.gateway import Gateway
from replicas import a_replica

USE = Use(PurposeId("service_delivery"), Channel.NONE, OWN)
WHY = Grounds(RevealReason.DELIVERY, "SHIP-9", (RevealField.GIVEN_NAME,), View.PLAIN)
WINDOW = {"principal": "desk", "purpose": "service_delivery", "recipient": "self", "subjects": 5}
NOBODY = tuple(f"p1-{n:032}" for n in range(2))


@pytest.fixture
def desk(gateway: Gateway) -> Principal:
    with_source(gateway)
    purpose = Purpose(
        USE.purpose,
        PurposeKind.SERVICE_DELIVERY,
        "Delivery",
        "服务",
        "",
        Basis.CONTRACT,
        reveals=(RevealField.GIVEN_NAME,),
    )
    with gateway.work() as work:
        registers.put_purpose(work, purpose, [])
    take(gateway, [a_person(1, given_name="Anna")])
    gateway.rules = replace(gateway.rules, reveal_batch=1)
    for name in ("first", "second"):
        an_officer(gateway, name, "approve")
    return an_officer(gateway, "desk", "reveal", "reveal_plain")


@pytest.fixture
def replica(gateway: Gateway) -> Iterator[Gateway]:
    with a_replica(gateway, rules=replace(gateway.rules, reveal_batch=1)) as made:
        yield made


def officer(gateway: Gateway, name: str) -> Principal:
    with gateway.look() as work:
        return next(p for p in work.registers.principals.values() if p.id == name)


def opened(gateway: Gateway, until: int = NOW_S + 3600, **changes: Any) -> Approval:
    with gateway.work(officer(gateway, "first")) as work:
        made = approvals.propose(work, Action.BULK_REVEAL_WINDOW, WINDOW | changes, until)
    with gateway.work(officer(gateway, "second")) as work:
        return approvals.approve(work, made.id)


def ask(gateway: Gateway, who: Principal, *names: str) -> list[Revealed]:
    with gateway.work(who) as work:
        return reveal(work, USE, WHY, names).answers


def anna(gateway: Gateway) -> str:
    with gateway.look() as work:
        return gateway.vault.pseudonym(id_of(gateway, ref(1)), OWN, work.registers)


def test_without_a_window_the_refusal_says_what_to_do(gateway: Gateway, desk: Principal) -> None:
    before = dump(gateway.store)
    with pytest.raises(ForbiddenError, match=r"POST /v1/approvals"):
        ask(gateway, desk, *NOBODY)
    assert dump(gateway.store) == before


def test_in_a_window_each_is_decided_and_names_it(gateway: Gateway, desk: Principal) -> None:
    window = opened(gateway)
    found = ask(gateway, desk, anna(gateway), *NOBODY)
    assert [f.values for f in found] == [{"given_name": ["Anna"]}, {}, {}]
    told = [parse_entry(row[2]) for row in dump(gateway.store)["audit_pending"]]
    assert [e.fields["window"] for e in told if e.kind is EntryKind.REVEAL_MADE] == [window.id] * 3


def test_a_window_takes_the_place_of_the_quota(gateway: Gateway, desk: Principal) -> None:
    with gateway.work() as work:
        quotas.set_limits(work, "desk", QuotaKind.REVEAL, 0, 0)
    opened(gateway)
    assert len(ask(gateway, desk, *NOBODY)) == 2


@pytest.mark.parametrize("changes", [{"principal": "first"}, {"purpose": "service_message"}, {"recipient": "mailer"}])
def test_a_window_is_for_one_key_and_use(gateway: Gateway, desk: Principal, changes: dict[str, str]) -> None:
    opened(gateway, **changes)
    with pytest.raises(ForbiddenError, match="need a window"):
        ask(gateway, desk, *NOBODY)


def test_one_key_alone_opens_nothing(gateway: Gateway, desk: Principal) -> None:
    with gateway.work(officer(gateway, "first")) as work:
        approvals.propose(work, Action.BULK_REVEAL_WINDOW, WINDOW, NOW_S + 60)
    with pytest.raises(ForbiddenError, match="need a window"):
        ask(gateway, desk, *NOBODY)


def test_a_window_ends_by_time_use_and_a_revoked_key(gateway: Gateway, desk: Principal, clock: FixedClock) -> None:
    opened(gateway)
    for _ in range(2):
        ask(gateway, desk, *NOBODY)
    with pytest.raises(ForbiddenError, match="no room"):
        ask(gateway, desk, *NOBODY)  # one of five is left, and two do not fit
    clock.advance(timedelta(hours=1))
    with pytest.raises(ForbiddenError, match="need a window"):
        ask(gateway, desk, *NOBODY)
    opened(gateway, NOW_S + 7200)
    assert ask(gateway, desk, *NOBODY)
    with gateway.work() as work:
        principals.revoke(work, "second")
    with pytest.raises(ForbiddenError, match="need a window"):
        ask(gateway, desk, *NOBODY)


def test_a_suspended_key_has_no_windows(gateway: Gateway, desk: Principal) -> None:
    opened(gateway)
    with gateway.work() as work:
        quotas.set_suspended(work, "desk", QuotaKind.REVEAL, suspended=True)
    with pytest.raises(ForbiddenError, match="suspended"):
        ask(gateway, desk, *NOBODY)


def test_replicas_at_once_never_exceed_a_window(gateway: Gateway, replica: Gateway, desk: Principal) -> None:
    opened(gateway, subjects=7)
    gate, done, refused = threading.Barrier(4), list[int](), list[ForbiddenError]()

    def run(at: Gateway) -> None:
        gate.wait()
        for _ in range(3):
            try:
                done.append(len(ask(at, desk, *NOBODY)))
            except ForbiddenError as error:
                refused.append(error)

    threads = [threading.Thread(target=run, args=(g,)) for g in (gateway, replica) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, len(refused)) == ([2, 2, 2], 9)
