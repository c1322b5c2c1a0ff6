"""A clock that jumps (THREATS 30): between request and second step, between what was said and a question, at the end.

However the clock of one replica jumps and comes back: no request is confirmed after its time, no second step undoes a
no, and what has ended by the clock of the moment does not permit.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import (
    ALL_PROPERTIES,
    DAY,
    NOW_S,
    a_consent,
    a_person,
    may_write,
    ref,
    take,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.errors import ConfirmationExpiredError, OvertakenError
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations, consents
from consent_gateway.services.work.gateway import Gateway

HOURS, DAYS = timedelta(hours=2), timedelta(days=2)
JUMPS = [HOURS, -HOURS, DAYS, -DAYS]
ONE_STEP = ALL_PROPERTIES & ~ConsentProperty.TWO_STEP


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with_source(gateway)
    take(gateway, [a_person(1)])
    return gateway


def asked(gateway: Gateway, at: int = NOW_S, valid_until: int | None = None) -> str:
    item = a_consent(
        ref(1), kind=ConsentKind.PENDING, confirm=True, at=at, properties=ONE_STEP, valid_until=valid_until
    )
    (found,) = take(gateway, [item]).confirmations
    return found.token


def confirm(gateway: Gateway, token: str) -> None:
    with gateway.work(confirmations.CONFIRMER) as work:
        confirmations.confirm(work, token, {})


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_between_request_and_second_step_loses_no_yes(shop: Gateway, clock: FixedClock, jump: timedelta) -> None:
    token = asked(shop)
    clock.advance(jump)
    confirm(shop, token)
    assert may_write(shop, ref(1))
    clock.advance(-jump)
    assert may_write(shop, ref(1))
    assert reconcile(shop).clean


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("said_at", [NOW_S - DAY, NOW_S - 60, NOW_S])
def test_a_no_before_the_second_step_holds_on_every_clock(
    shop: Gateway, clock: FixedClock, jump: timedelta, said_at: int
) -> None:
    token = asked(shop)
    clock.advance(jump)
    take(shop, [a_consent(ref(1), kind=ConsentKind.WITHDRAWN, at=said_at)])
    for step in (-jump, jump, timedelta(0)):
        with pytest.raises(OvertakenError):
            confirm(shop, token)
        assert not may_write(shop, ref(1))
        clock.advance(step)
    assert reconcile(shop).clean


@pytest.mark.parametrize("jump", JUMPS)
def test_a_no_after_the_second_step_holds_though_the_clock_came_back(
    shop: Gateway, clock: FixedClock, jump: timedelta
) -> None:
    token = asked(shop)
    clock.advance(jump)
    confirm(shop, token)
    clock.advance(-jump + timedelta(minutes=1))
    withdraw(shop, ref(1))
    assert not may_write(shop, ref(1))
    clock.advance(DAYS + HOURS)
    assert not may_write(shop, ref(1))
    assert reconcile(shop).clean


@pytest.mark.parametrize("early", [HOURS, DAYS])
def test_a_request_ends_by_the_clock_of_the_moment(shop: Gateway, clock: FixedClock, early: timedelta) -> None:
    token, short = asked(shop), asked(shop, valid_until=NOW_S + 3600)
    clock.advance(timedelta(days=7) - early)
    with pytest.raises(ConfirmationExpiredError):
        confirm(shop, short)
    clock.advance(early)
    with pytest.raises(ConfirmationExpiredError):
        confirm(shop, token)
    assert not may_write(shop, ref(1))


@pytest.mark.parametrize("jump", JUMPS)
def test_what_has_ended_does_not_permit_before_or_after_a_jump(
    shop: Gateway, clock: FixedClock, jump: timedelta
) -> None:
    end = NOW_S + 3600
    take(shop, [a_consent(ref(1), at=NOW_S - 60, valid_until=end)])
    assert may_write(shop, ref(1))
    clock.advance(jump)
    assert may_write(shop, ref(1)) is (clock().timestamp() < end)
    clock.advance(-jump + timedelta(seconds=3599))
    assert may_write(shop, ref(1))
    clock.advance(timedelta(seconds=1))
    assert not may_write(shop, ref(1))
    clock.advance(abs(jump))
    assert not may_write(shop, ref(1))


@pytest.mark.parametrize("jump", JUMPS)
def test_of_a_yes_and_a_no_the_later_by_what_they_say_decides(
    shop: Gateway, clock: FixedClock, jump: timedelta
) -> None:
    withdraw(shop, ref(1))
    clock.advance(jump)
    at = int(clock().timestamp())
    assert take(shop, [a_consent(ref(1), at=at)]).accepted == 1
    assert may_write(shop, ref(1)) is (jump > timedelta(0))
    clock.advance(-jump)
    assert may_write(shop, ref(1)) is (jump > timedelta(0))


# -- each check goes red -------------------------------------------------------------------------------------------


def test_a_no_that_stays_behind_what_lies_ahead_is_noticed(
    shop: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consents, "_nothing_lies_ahead", lambda _work, accepted: accepted)
    with pytest.raises(AssertionError):
        test_a_no_after_the_second_step_holds_though_the_clock_came_back(shop, clock, DAYS)


def test_a_request_without_an_end_is_noticed(shop: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmations, "_living", lambda _work, waiting: waiting)
    with pytest.raises(pytest.fail.Exception):
        test_a_request_ends_by_the_clock_of_the_moment(shop, clock, HOURS)
