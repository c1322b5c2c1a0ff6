"""People who are one: second steps, history, state and material notices speak of all they said, and part with them."""

from __future__ import annotations

from typing import Any

import pytest

from builders import ALL_PROPERTIES, NOW_S, a_consent, a_person, answer_for, may_write, ref, take, with_source, withdraw
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.ids import NoticeId
from consent_gateway.errors import OvertakenError
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations, notices
from consent_gateway.services.persons import history
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.work.gateway import Gateway

ONE, OTHER = ref(1), ref(2)
TERMS = NoticeId("terms")


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    publish(gateway, 1)
    return gateway


def publish(gateway: Gateway, version: int, *, material: bool = False) -> None:
    with gateway.work() as work:
        notices.put_notice(work, TERMS, version, "en", "Terms", f"text {version}", material=material)


def joined(gateway: Gateway) -> int:
    with gateway.work() as work:
        number = merge(work, [ONE, OTHER], "duplicate").merge
    assert number is not None
    return number


def parted(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        assert unmerge(work, number, "wrong_match").changed


def asked(gateway: Gateway, who: Any = OTHER) -> str:
    steps = ALL_PROPERTIES & ~ConsentProperty.TWO_STEP
    item = a_consent(who, kind=ConsentKind.PENDING, confirm=True, at=NOW_S - 60, properties=steps)
    (found,) = take(gateway, [item]).confirmations
    return found.token


def confirm(gateway: Gateway, token: str) -> None:
    with gateway.work(confirmations.CONFIRMER) as work:
        confirmations.confirm(work, token, {})


def kinds(gateway: Gateway, who: Any) -> list[str]:
    with gateway.work() as work:
        rows, _, _ = history.history(work, who, 0, 100)
    return [row.kind for row in rows]


def told(gateway: Gateway, who: Any) -> list[tuple[str, str, str]]:
    """What `consents/state` says about marketing by e-mail: as said, why, and as the law has it."""
    with gateway.work() as work:
        states, _ = history.states(work, who)
        return [
            (s.standing.state(work.now).value, s.why, s.answer.reason_code)
            for s in states
            if (s.purpose, s.channel.value) == ("direct_marketing", "email")
        ]


def both(gateway: Gateway) -> set[bool]:
    assert reconcile(gateway).clean
    return {may_write(gateway, ONE), may_write(gateway, OTHER)}


@pytest.mark.parametrize("before", [True, False])
def test_a_second_step_of_one_is_a_yes_of_the_person_and_goes_with_whom_it_came_by(
    shop: Gateway, *, before: bool
) -> None:
    token = asked(shop) if before else None
    number = joined(shop)
    confirm(shop, token or asked(shop))
    assert both(shop) == {True}
    assert kinds(shop, ONE) == kinds(shop, OTHER) == ["pending", "given"]
    assert told(shop, ONE) == told(shop, OTHER) == [("given", "the_latest_said", "consent_valid")]
    parted(shop, number)
    assert (may_write(shop, ONE), may_write(shop, OTHER)) == (False, True)
    assert (kinds(shop, ONE), kinds(shop, OTHER)) == ([], ["pending", "given"])
    assert told(shop, ONE) == [("none", "nothing_was_said", "no_prior_consent")]
    assert reconcile(shop).clean


def test_a_no_of_one_ends_the_request_of_the_other_while_they_are_one(shop: Gateway) -> None:
    token = asked(shop)
    withdraw(shop, ONE)
    number = joined(shop)
    with pytest.raises(OvertakenError):
        confirm(shop, token)
    assert both(shop) == {False}
    assert sorted(kinds(shop, OTHER)) == ["pending", "withdrawn"]
    parted(shop, number)
    confirm(shop, token)
    assert (may_write(shop, ONE), may_write(shop, OTHER)) == (False, True)
    assert told(shop, ONE) == [("withdrawn", "the_latest_said", "consent_withdrawn")]
    assert reconcile(shop).clean


@pytest.mark.parametrize("merged_first", [True, False])
def test_a_material_version_outdates_the_yes_of_either(shop: Gateway, *, merged_first: bool) -> None:
    take(shop, [a_consent(OTHER, notice=TERMS, notice_version=1)])
    number = joined(shop) if merged_first else 0
    publish(shop, 2, material=True)
    number = number or joined(shop)
    assert both(shop) == {False}
    for who in (ONE, OTHER):
        assert answer_for(shop, who).reason_code == "consent_outdated"
        assert told(shop, who) == [("given", "the_latest_said", "consent_outdated")]
    parted(shop, number)
    assert answer_for(shop, ONE).reason_code == "no_prior_consent"
    assert answer_for(shop, OTHER).reason_code == "consent_outdated"
    take(shop, [a_consent(OTHER, at=NOW_S, notice=TERMS, notice_version=2)])
    assert may_write(shop, OTHER)
    assert reconcile(shop).clean


def test_a_no_of_one_holds_for_the_other_whatever_lies_ahead_of_now(shop: Gateway, clock: Any) -> None:
    """A yes that a fast clock wrote for one is not later than the no that the other says when it was set back."""
    before = clock.instant
    clock.instant = before.replace(day=before.day + 2)
    confirm(shop, asked(shop))
    clock.instant = before
    joined(shop)
    assert both(shop) == {True}
    withdraw(shop, ONE)
    assert both(shop) == {False}
