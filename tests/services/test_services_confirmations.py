"""The second step of an opt-in: looking changes nothing, confirming does once, and a no in between wins."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    ALL_PROPERTIES,
    DAY,
    EVIDENCE,
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    answer_for,
    dump,
    id_of,
    may_write,
    ref,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import confirmations as rows
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind, ConsentProperty
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel, RecipientKind
from consent_gateway.errors import (
    AlreadyConfirmedError,
    ConfirmationExpiredError,
    GatewayError,
    NotFoundError,
    OvertakenError,
)
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.vault import open_bytes

PENDING, ONE_STEP = ConsentKind.PENDING, ALL_PROPERTIES & ~ConsentProperty.TWO_STEP


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("partner", kind=RecipientKind.THIRD_PARTY))
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2)])
    return gateway


def asked(gateway: Gateway, **changes: Any) -> str:
    """The token of a request to person 1, a minute ago."""
    values = {"kind": PENDING, "confirm": True, "at": NOW_S - 60, "properties": ONE_STEP} | changes
    taken = take(gateway, [a_consent(ref(1), **values)])
    (found,) = taken.confirmations
    assert (found.row, found.expires_at) == (1, NOW_S + 7 * DAY)
    return found.token


def confirm(gateway: Gateway, token: str) -> bytes:
    with gateway.work(confirmations.CONFIRMER) as work:
        return confirmations.confirm(work, token, {"user_agent": "Test/1"})


def look(gateway: Gateway, token: str) -> confirmations.Request:
    with gateway.look(confirmations.CONFIRMER) as work:
        return confirmations.look(work, token)


def refused(gateway: Gateway, token: str) -> type[GatewayError]:
    """Looking and confirming are refused alike, and change nothing."""
    before = dump(gateway.store)
    kinds = set()
    for step in (look, confirm):
        with pytest.raises(GatewayError) as found:
            step(gateway, token)
        kinds.add(found.type)
    assert dump(gateway.store) == before
    assert len(kinds) == 1
    kind: type[GatewayError] = kinds.pop()
    return kind


def test_a_request_is_a_yes_after_its_second_step(shop: Gateway) -> None:
    token = asked(shop, place="/signup", method="form")
    assert not may_write(shop, ref(1))
    assert look(shop, token).purpose == "direct_marketing"
    assert not may_write(shop, ref(1))
    confirm(shop, token)
    assert may_write(shop, ref(1))
    c = tables.consent_events.c
    with shop.look() as work:
        row = work.session.execute(select(tables.consent_events).where(c.kind == "given")).one()
    assert (row.at, row.properties, row.place, row.method) == (NOW_S, int(ALL_PROPERTIES), "/signup", "form")
    with shop.look() as work:
        dek = shop.vault.keys(work.session, [row.subject_id])[row.subject_id]
    sealed = json.loads(open_bytes(dek, row.subject_id, row.evidence))
    assert sealed == {"request": json.loads(EVIDENCE), "confirmation": {"user_agent": "Test/1"}}
    assert reconcile(shop).clean


def test_a_token_confirms_once(shop: Gateway) -> None:
    token = asked(shop)
    confirm(shop, token)
    assert refused(shop, token) is AlreadyConfirmedError
    withdraw(shop, ref(1))
    assert refused(shop, token) is AlreadyConfirmedError
    assert not may_write(shop, ref(1))


def test_a_token_confirms_just_what_was_asked(shop: Gateway) -> None:
    token = asked(shop, purpose="third_party_audience_sharing", recipient="partner")
    confirm(shop, token)
    assert not may_write(shop, ref(1))
    sharing = Use(PurposeId("third_party_audience_sharing"), Channel.EMAIL, RecipientId("partner"))
    assert answer_for(shop, ref(1), sharing).permitted
    assert not answer_for(shop, ref(2), sharing).permitted


def test_a_token_ends(shop: Gateway, clock: FixedClock) -> None:
    token = asked(shop)
    short = asked(shop, valid_until=NOW_S + DAY)
    clock.advance(timedelta(days=1))
    assert refused(shop, short) is ConfirmationExpiredError  # what it would give has ended
    clock.advance(timedelta(days=6, seconds=-1))
    look(shop, token)
    clock.advance(timedelta(seconds=1))
    assert refused(shop, token) is ConfirmationExpiredError


@pytest.mark.parametrize(
    "no",
    [
        {},
        {"at": NOW_S - 60},  # at the same instant the no wins
        {"at": NOW_S - DAY},  # said before, and heard only after the request
        {"kind": ConsentKind.REFUSED},
        {"purpose": "marketing", "channel": None},
        {"channel": None},
    ],
)
def test_a_no_after_the_request_ends_it(shop: Gateway, no: dict[str, Any]) -> None:
    token = asked(shop)
    take(shop, [a_consent(ref(1), **({"kind": ConsentKind.WITHDRAWN, "at": NOW_S - 5} | no))])
    assert refused(shop, token) is OvertakenError
    assert not may_write(shop, ref(1))


@pytest.mark.parametrize("other", [{"channel": "sms"}, {"purpose": "personalised_marketing"}, {"recipient": "partner"}])
def test_a_no_about_something_else_ends_nothing(shop: Gateway, other: dict[str, Any]) -> None:
    token = asked(shop)
    take(shop, [a_consent(ref(1), kind=ConsentKind.WITHDRAWN, at=NOW_S - 5, **other)])
    confirm(shop, token)
    assert may_write(shop, ref(1))


def test_after_a_no_a_new_request_can_be_confirmed(shop: Gateway) -> None:
    withdraw(shop, ref(1), recipient=None)
    shop_token = asked(shop, at=NOW_S)
    assert refused(shop, shop_token) is OvertakenError  # at the instant of the no


def test_nothing_follows_from_an_address_and_nothing_is_kept_of_a_token(shop: Gateway) -> None:
    tokens = [asked(shop) for _ in range(4)]
    assert len(set(tokens)) == 4
    assert {len(t) for t in tokens} == {43}  # 256 bits
    everything = repr(dump(shop.store))
    assert not any(t in everything for t in tokens)


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "A" * 5000, "\x00", "\ud800", "' OR 1=1"])
def test_what_is_no_token_is_nothing(shop: Gateway, token: str) -> None:
    asked(shop)
    assert refused(shop, token) is NotFoundError


def test_an_erasure_takes_the_tokens_with_it(shop: Gateway) -> None:
    token = asked(shop)
    person = id_of(shop, ref(1))
    with shop.work() as work:
        erase(work, person, "request")
    assert refused(shop, token) is NotFoundError
    assert dump(shop.store)["consent_confirmations"] == []


def test_only_what_is_pending_has_a_second_step(shop: Gateway) -> None:
    taken = take(shop, [a_consent(ref(1), confirm=True)])
    assert [(r.reasons[0].path, r.reasons[0].code) for r in taken.rejections] == [("$.confirm", "not_pending")]
    assert take(shop, [a_consent(ref(1), kind=ConsentKind.WITHDRAWN, confirm=True)]).accepted == 1


def test_two_replicas_confirm_once(shop: Gateway) -> None:
    token = asked(shop)
    confirm(twin(shop), token)
    assert refused(shop, token) is AlreadyConfirmedError


# -- each check goes red -------------------------------------------------------------------------------------------

Check = Callable[[Gateway], None]


@pytest.mark.parametrize(
    ("module", "name", "planted", "check"),
    [
        (confirmations, "_overtakes", lambda *_: False, lambda g: test_a_no_after_the_request_ends_it(g, {})),
        (confirmations, "_living", lambda _work, waiting: waiting, test_a_token_confirms_once),
        (
            rows,
            "digest",
            lambda token: token.encode(),
            test_nothing_follows_from_an_address_and_nothing_is_kept_of_a_token,
        ),
    ],
)
def test_a_planted_hole_is_found(
    shop: Gateway, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, planted: object, check: Check
) -> None:
    monkeypatch.setattr(module, name, planted)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(shop)
