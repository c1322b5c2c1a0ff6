"""Ways in which a no could get lost, each of them closed: beside a row that is refused, and before anybody is known."""

from __future__ import annotations

from typing import Any

import pytest

from builders import NOW_S, a_consent, a_person, answer_for, by, incoming, ref, subject_id, take, with_source
from consent_gateway.db import audience_rows
from consent_gateway.domain.subjects import Choice, Flag
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger.choices import record_choices
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.rows.intake import Intake
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ChoiceItem

DIGEST = "0" * 64
UNPROVEN: dict[str, Any] = {"evidence": None}
REFUSED: list[dict[str, Any]] = [
    UNPROVEN,
    {"purpose": "nothing_of_the_kind"},
    {"notice": "unpublished"},
    {"at": NOW_S + 9999},
]


@pytest.fixture
def shop(gateway: Gateway) -> Gateway:
    """A known person in California."""
    with_source(gateway)
    take(gateway, [a_person(1, country="US-CA")])
    return gateway


def with_signal(gateway: Gateway, *items: Any) -> Intake:
    """Rows of a call that carried `Sec-GPC: 1`."""
    use_case = record_choices if isinstance(items[0], ChoiceItem) else record_consents
    with gateway.work() as work:
        taken: Intake = use_case(work, "crm", incoming(items), DIGEST, gpc=True)
    return taken


def opted_out(gateway: Gateway, number: int) -> bool:
    with gateway.look() as work:
        who = subject_id(work, ref(number))
        return bool(audience_rows.rows(work.session, [who], ["flags"])[who]["flags"] & Flag.GPC)


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_signal_holds_where_the_row_beside_it_is_refused(shop: Gateway, wrong: dict[str, Any]) -> None:
    assert not opted_out(shop, 1)
    taken = with_signal(shop, a_consent(ref(1), **wrong))
    assert len(taken.rejections) == 1
    assert opted_out(shop, 1)
    assert reconcile(shop).clean


@pytest.mark.parametrize("item", [a_consent(ref(2)), ChoiceItem(ref(2), Choice.OBJECTION, active=False, at=NOW_S)])
def test_a_signal_of_somebody_nobody_knows_waits(shop: Gateway, item: Any) -> None:
    assert len(with_signal(shop, item).rejections) == 1
    take(shop, [a_person(2, country="US-CA")])
    assert opted_out(shop, 2)
    assert reconcile(shop).clean


def test_a_signal_suppresses_no_address(shop: Gateway) -> None:
    """It speaks of selling and sharing, not of writing."""
    with_signal(shop, a_consent(by("email", "person2@example.org")))
    take(shop, [a_person(2, country="US-CA")])
    take(shop, [a_consent(ref(2))])
    assert answer_for(shop, ref(2)).permitted
