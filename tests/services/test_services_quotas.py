"""Quotas over rolling windows, against a plain model that remembers every question."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import NOW, an_officer
from consent_gateway.clock import FixedClock
from consent_gateway.domain.quotas import DAY, HOUR, QuotaKind, excess
from consent_gateway.errors import ForbiddenError, InputError, QuotaError
from consent_gateway.services.work import quotas
from consent_gateway.services.work.gateway import SYSTEM, Gateway

LIMITS = (3, 5)
STEPS = st.lists(
    st.tuples(st.integers(0, 5 * HOUR), st.sets(st.integers(0, 9), min_size=1, max_size=4)), min_size=1, max_size=25
)


def unit(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Model:
    """Every unit with the instant of its last counted question."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}

    def fits(self, now: int, units: set[int]) -> bool:
        for seconds, most in zip((HOUR, DAY), LIMITS, strict=True):
            held = {u for u, at in self.last.items() if at > now - seconds}
            if units - held and len(held | units) > most:
                return False
        return True


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_windows_roll_as_in_the_model(gateway: Gateway, clock: FixedClock, steps: list[tuple[int, set[int]]]) -> None:
    with gateway.work() as work:
        work.session.execute(quotas.quota_rows.quota_units.delete())
        quotas.quota_rows.hold(work.session, "system", QuotaKind.REVEAL)
        quotas.quota_rows.put_limits(work.session, "system", QuotaKind.REVEAL, *LIMITS)
    clock.instant, now, model = NOW, int(NOW.timestamp()), Model()
    for later, units in steps:
        now += later
        clock.instant = NOW + timedelta(seconds=now - int(NOW.timestamp()))
        fits = model.fits(now, units)
        try:
            with gateway.work() as work:
                quotas.take(work, "system", QuotaKind.REVEAL, {unit(u) for u in units})
        except QuotaError as error:
            assert not fits
            check_wait(model, now, units, error.retry_after or 0)
        else:
            assert fits
            model.last |= dict.fromkeys(units, now)


def check_wait(model: Model, now: int, units: set[int], wait: int) -> None:
    """After the wait one window at least is free that was not, unless the question never fits."""
    assert 1 <= wait <= DAY
    if len(units) <= min(LIMITS):
        before = [len({u for u, at in model.last.items() if at > now - s}) for s in (HOUR, DAY)]
        after = [len({u for u, at in model.last.items() if at > now + wait - s}) for s in (HOUR, DAY)]
        assert after != before


@pytest.mark.parametrize("most", [0, 2])
def test_a_limit_that_is_lowered_holds_for_whoever_was_asked_about_before(gateway: Gateway, most: int) -> None:
    """Otherwise a key that is given 0 goes on with the people of its last hour, and renews it with each question."""
    who = an_officer(gateway, "desk", "reveal")
    with gateway.work(who) as work:
        quotas.take(work, who.id, QuotaKind.REVEAL, {unit(n) for n in range(3)})
    with gateway.work() as work:
        quotas.set_limits(work, who.id, QuotaKind.REVEAL, most, 100)
    with pytest.raises(QuotaError) as caught, gateway.work(who) as work:
        quotas.take(work, who.id, QuotaKind.REVEAL, {unit(0)})
    assert caught.value.retry_after == HOUR


def test_kinds_and_keys_count_apart(gateway: Gateway) -> None:
    for name in ("one", "two"):
        an_officer(gateway, name)
        for kind in QuotaKind:
            with gateway.work() as work:
                quotas.set_limits(work, name, kind, 1, 1)
            with gateway.work() as work:
                quotas.take(work, name, kind, [unit(1)])
    with gateway.look() as work:
        assert [(u.principal, u.kind.value, u.hour, u.day) for u in quotas.usage(work)] == [
            ("one", "lookup", 1, 1), ("one", "reveal", 1, 1), ("two", "lookup", 1, 1), ("two", "reveal", 1, 1),
        ]  # fmt: skip


def test_a_limit_of_none_is_the_setting(gateway: Gateway) -> None:
    an_officer(gateway, "one")
    with gateway.work() as work:
        quotas.set_limits(work, "one", QuotaKind.REVEAL, 0, None)
    with pytest.raises(QuotaError), gateway.work() as work:
        quotas.take(work, "one", QuotaKind.REVEAL, [unit(1)])
    with gateway.work() as work:
        quotas.set_limits(work, "one", QuotaKind.REVEAL, None, None)
        quotas.take(work, "one", QuotaKind.REVEAL, [unit(1)])
        (used,) = quotas.usage(work)
    assert used.limits == gateway.rules.reveal_quota


def test_a_suspended_key_does_nothing_and_keeps_its_limits(gateway: Gateway) -> None:
    an_officer(gateway, "one")
    with gateway.work() as work:
        quotas.set_limits(work, "one", QuotaKind.REVEAL, 7, 8)
        quotas.set_suspended(work, "one", QuotaKind.REVEAL, suspended=True)
    with pytest.raises(ForbiddenError), gateway.work() as work:
        quotas.take(work, "one", QuotaKind.REVEAL, [unit(1)])
    with gateway.work() as work:
        quotas.set_suspended(work, "one", QuotaKind.REVEAL, suspended=False)
        quotas.take(work, "one", QuotaKind.REVEAL, [unit(1)])
        assert quotas.usage(work)[0].limits.per_hour == 7


def test_there_is_no_quota_for_nobody(gateway: Gateway) -> None:
    for act in (
        lambda w: quotas.set_limits(w, "nobody", QuotaKind.REVEAL, 1, 1),
        lambda w: quotas.set_suspended(w, "nobody", QuotaKind.REVEAL, suspended=True),
    ):
        with pytest.raises(InputError), gateway.work(SYSTEM) as work:
            act(work)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
@settings(derandomize=True)
def test_what_is_in_excess_has_to_leave(used: int, fresh: int, most: int) -> None:
    over = excess(used, fresh, most)
    assert (over <= 0) == (used + fresh <= most)
    assert (used - over) + fresh == most
