"""The registers behind records and receipts: replaced whole, logged without words, and wrong ones refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from builders import a_gateway, a_person, a_recipient, dump, take, with_source
from consent_gateway.audit.entries import Entry, parse_entry
from consent_gateway.db import records as record_rows
from consent_gateway.db import tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Channel
from consent_gateway.domain.records import Address, Controller, DataCategory, Processing
from consent_gateway.domain.records.parties import processing_of
from consent_gateway.domain.segments import Everyone
from consent_gateway.errors import ConflictError, InputError
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.deciding.rules import Rules
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.registry import records, registers
from consent_gateway.services.registry.activities import activity_record, is_third
from consent_gateway.services.work.gateway import Gateway

CONTROLLER = Controller(
    name="Acme GmbH",
    country="DE",
    address=Address("Street 1, Berlin", "Ada Officer", "privacy@acme.example", "+49 30 1", "https://acme.example"),
    policy_url="https://acme.example/privacy",
    officer="Ada Officer",
)
PROCESSING = Processing(
    data_categories=(DataCategory("EmailAddress"), DataCategory("HealthRecord", special=True, sensitive=True)),
    subject_categories=("Customer",),
    retention="P2Y",
    withdrawal_method="the link in every message",
    storage_locations=("DE", "FR"),
    recipients=(RecipientId("self"),),
    service="Shop",
)


def entries(store: Store) -> list[Entry]:
    with store.reading() as session:
        return [parse_entry(bytes(e)) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]


def test_what_is_registered_comes_back(gateway: Gateway) -> None:
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("house"))
        records.put_controller(work, CONTROLLER)
        records.put_processing(work, PurposeId("marketing"), PROCESSING)
        records.put_party(work, RecipientId("house"), Address(contact="Jo"))
    with gateway.look() as work:
        assert record_rows.find_controller(work.session) == CONTROLLER
        assert record_rows.processing(work.session) == {PurposeId("marketing"): PROCESSING}
        assert record_rows.parties(work.session) == {RecipientId("house"): Address(contact="Jo")}


def test_the_last_one_registered_counts(gateway: Gateway) -> None:
    later = replace(CONTROLLER, name="Acme SE", officer="")
    for controller in (CONTROLLER, later):
        with gateway.work() as work:
            records.put_controller(work, controller)
            records.put_processing(work, PurposeId("marketing"), replace(PROCESSING, service=controller.name))
    with gateway.look() as work:
        assert record_rows.find_controller(work.session) == later
        assert [p.service for p in record_rows.processing(work.session).values()] == ["Acme SE"]


def test_nobody_is_registered_at_first(sqlite_gateway: Gateway) -> None:
    with sqlite_gateway.look() as work:
        assert record_rows.find_controller(work.session) is None
        assert record_rows.processing(work.session) == {}


def test_the_log_says_that_it_happened_and_names_nobody(gateway: Gateway) -> None:
    with gateway.work() as work:
        records.put_controller(work, CONTROLLER)
        records.put_processing(work, PurposeId("marketing"), PROCESSING)
    found = {e.kind.value: dict(e.fields) for e in entries(gateway.store)}
    assert found["controller.registered"] == {"country": "DE"}
    assert found["processing.registered"] == {
        "purpose": "marketing",
        "data": ["EmailAddress", "HealthRecord"],
        "retention": "P2Y",
    }
    assert "Ada" not in json.dumps(found)


def test_a_country_that_the_settings_contradict_is_refused(store: Store) -> None:
    gateway = a_gateway(store, rules=Rules(controller_country="FR"))
    before = dump(store)
    with pytest.raises(ConflictError, match="controller_country"), gateway.work() as work:
        records.put_controller(work, CONTROLLER)
    assert dump(store) == before


def test_data_goes_to_registered_recipients_only(gateway: Gateway) -> None:
    stranger = replace(PROCESSING, recipients=(RecipientId("nobody"),))
    before = dump(gateway.store)
    with pytest.raises(InputError) as refused, gateway.work() as work:
        records.put_processing(work, PurposeId("marketing"), stranger)
    assert [f.path for f in refused.value.fields] == ["$.processing.recipients"]
    assert dump(gateway.store) == before


def test_a_narrower_purpose_takes_over_what_it_does_not_say(sqlite_gateway: Gateway) -> None:
    with sqlite_gateway.look() as work:
        tree = work.registers.purposes
    held = {PurposeId("marketing"): PROCESSING}
    assert processing_of(PurposeId("direct_marketing"), tree, held) is PROCESSING
    own = replace(PROCESSING, retention="P1Y")
    assert processing_of(PurposeId("direct_marketing"), tree, held | {PurposeId("direct_marketing"): own}) is own
    assert processing_of(PurposeId("service_message"), tree, held) is None


# -- the record of processing activities ---------------------------------------------------------------------------


def gaps(gateway: Gateway) -> set[tuple[str, str]]:
    with gateway.look() as work:
        return {(f.code, f.where) for f in activity_record(work).findings}


def test_a_store_that_nobody_described_is_full_of_gaps(gateway: Gateway) -> None:
    with_source(gateway)
    found = gaps(gateway)
    assert {("controller_missing", "controller"), ("source_without_notice", "crm")} <= found
    assert ("purpose_without_processing", "direct_marketing") in found


def test_describing_it_closes_the_gaps(gateway: Gateway) -> None:
    with gateway.work() as work:
        records.put_controller(work, replace(CONTROLLER, measures="ISMS 4.2"))
        for root in ("marketing", "service_message", "service_delivery"):
            records.put_processing(work, PurposeId(root), replace(PROCESSING, data_categories=(DataCategory("Name"),)))
    assert gaps(gateway) == set()
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("cloud", country="US"))
    assert gaps(gateway) == {("third_country_without_mechanism", "cloud")}


def test_an_audience_for_somebody_who_is_not_declared_is_seen(gateway: Gateway) -> None:
    with_source(gateway)
    take(gateway, [a_person(1)])
    with gateway.work() as work:
        registers.put_recipient(work, a_recipient("house"))
        records.put_processing(work, PurposeId("marketing"), PROCESSING)
        use = Use(PurposeId("direct_marketing"), Channel.EMAIL, RecipientId("house"))
        audiences.resolve(work, Everyone(), use)
    assert ("recipient_undeclared", "direct_marketing: house") in gaps(gateway)


@pytest.mark.parametrize(
    ("home", "third", "near"),
    [
        ("DE", {"US", "CN", "IN"}, {"FR", "GB", "JP", "NO", ""}),
        ("GB", {"US", "CN", "IN"}, {"FR", "GB", "JP", ""}),
        ("CN", {"US", "DE", "GB"}, {"CN", ""}),
        ("US", set(), {"US", "CN", "DE"}),
        (None, {"US", "CN"}, {"FR"}),
    ],
)
def test_third_countries_are_seen_from_the_controller(home: str | None, third: set[str], near: set[str]) -> None:
    assert {c for c in third | near if is_third(home, c)} == third
