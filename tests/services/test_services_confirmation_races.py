"""A second step and another transaction at once on PostgreSQL, step by step: a no that is first is seen, and one yes is.

SQLite lets one writer in at a time, so these interleavings do not exist there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from builders import (
    ALL_PROPERTIES,
    NOW_S,
    a_consent,
    a_person,
    id_of,
    incoming,
    may_write,
    ref,
    take,
    with_source,
)
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.errors import AlreadyConfirmedError, NotFoundError, OvertakenError, StoreError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.persons.merges import merge
from consent_gateway.services.work.gateway import Gateway, Work
from replicas import a_replica, impatient

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.parametrize("store_url", ["postgres"], indirect=True),
]
NO = a_consent(ref(1), kind=ConsentKind.WITHDRAWN, at=NOW_S)


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    return gateway


@pytest.fixture
def token(shop: Gateway) -> str:
    """A request to person 1 that waits for its second step."""
    one_step = ALL_PROPERTIES & ~ConsentProperty.TWO_STEP
    item = a_consent(ref(1), kind=ConsentKind.PENDING, confirm=True, at=NOW_S - 60, properties=one_step)
    return take(shop, [item]).confirmations[0].token


@pytest.fixture
def replica(shop: Gateway) -> Iterator[Gateway]:
    """Another process on the same database."""
    with a_replica(shop) as made:
        yield made


def confirm(work: Work, token: str) -> bytes:
    return confirmations.confirm(work, token, {})


def yeses(gateway: Gateway) -> int:
    with gateway.look() as work:
        c = tables.consent_events.c
        return work.session.execute(select(func.count()).where(c.kind == "given")).scalar_one()


def test_a_no_that_is_being_written_holds_the_second_step_off(shop: Gateway, replica: Gateway, token: str) -> None:
    with shop.work() as writer:
        assert record_consents(writer, "crm", incoming([NO]), "0" * 64).rejected == 0
        with pytest.raises(StoreError), replica.work() as late:
            confirm(impatient(late), token)
    with pytest.raises(OvertakenError), replica.work() as late:
        confirm(late, token)
    assert not may_write(shop, ref(1))


def test_a_no_after_the_second_step_began_is_seen_by_it(shop: Gateway, replica: Gateway, token: str) -> None:
    """The second step began first, and locks the person later: what was said in between counts."""
    with shop.work() as early:
        with replica.work() as writer:
            record_consents(writer, "crm", incoming([NO]), "0" * 64)
        with pytest.raises(OvertakenError):
            confirm(early, token)
    assert not may_write(shop, ref(1))
    assert yeses(shop) == 0


def test_a_no_during_the_second_step_waits_and_wins(shop: Gateway, replica: Gateway, token: str) -> None:
    with shop.work() as first:
        confirm(first, token)
        with pytest.raises(StoreError), replica.work() as writer:
            record_consents(impatient(writer), "crm", incoming([NO]), "0" * 64)
    with replica.work() as writer:
        record_consents(writer, "crm", incoming([NO]), "0" * 64)
    assert not may_write(shop, ref(1))
    assert reconcile(shop).clean


def test_one_of_two_second_steps_at_once_says_yes(shop: Gateway, replica: Gateway, token: str) -> None:
    with shop.work() as late:
        with replica.work() as first:
            confirm(first, token)
        with pytest.raises(AlreadyConfirmedError):
            confirm(late, token)
    assert yeses(shop) == 1


def test_two_second_steps_wait_for_each_other(shop: Gateway, replica: Gateway, token: str) -> None:
    with shop.work() as first:
        confirm(first, token)
        with pytest.raises(StoreError), replica.work() as second:
            confirm(impatient(second), token)
    with pytest.raises(AlreadyConfirmedError), replica.work() as second:
        confirm(second, token)
    assert yeses(shop) == 1


def test_an_erasure_in_between_leaves_nothing_to_confirm(shop: Gateway, replica: Gateway, token: str) -> None:
    person = id_of(shop, ref(1))
    with shop.work() as early:
        with replica.work() as eraser:
            erase(eraser, person, "request")
        with pytest.raises(NotFoundError):
            confirm(early, token)
    assert yeses(shop) == 0


def test_a_no_of_whoever_is_merged_in_between_ends_the_request(shop: Gateway, replica: Gateway, token: str) -> None:
    refused = a_consent(ref(2), kind=ConsentKind.REFUSED, at=NOW_S)
    with shop.work() as early:
        with replica.work() as officer:
            record_consents(officer, "crm", incoming([refused]), "0" * 64)
        with replica.work() as officer:
            merge(officer, [ref(1), ref(2)], "duplicate")
        with pytest.raises(OvertakenError):
            confirm(early, token)
    assert not may_write(shop, ref(1))
