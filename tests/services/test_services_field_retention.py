"""Fields go on the day on which no purpose needs them any more; the person, and what else is held of them, stays."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from builders import a_consent, a_person, answer_for, dump, id_of, incoming, ref, take
from consent_gateway.clock import FixedClock
from consent_gateway.db import resealing, subjects, tables
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.fields import Category, FieldDefinition
from consent_gateway.domain.holds import HoldReason
from consent_gateway.domain.ids import NoticeId, PurposeId, SourceId
from consent_gateway.domain.purposes import Party, Source
from consent_gateway.domain.records import Processing
from consent_gateway.services.disclosing.sensitive import held_in, record_sensitive
from consent_gateway.services.erasing import field_retention, holds, retention
from consent_gateway.services.erasing.retention import run
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import notices
from consent_gateway.services.persons.merges import merge
from consent_gateway.services.registry import records, registers
from consent_gateway.services.registry.fields import put_field
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SensitiveItem
from consent_gateway.services.work.vault import SENSITIVE, open_group
from consent_gateway.vault.failures import VaultError

DAY = 86_400
DIETS, SERVICE = PurposeId("direct_marketing"), PurposeId("service_delivery")
NUTS = "Tree nuts"


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Marketing is kept a year, the service five; two people agreed to marketing and told what they must not eat."""
    with gateway.work() as work:
        notices.put_notice(work, NoticeId("diets"), 1, "en", "Diets", "We hold what you must not eat.")
        records.put_processing(work, DIETS, Processing(retention="P1Y"))
        records.put_processing(work, SERVICE, Processing(retention="P5Y"))
        put_field(work, FieldDefinition("allergies", Category.HEALTH, (DIETS,), "P90D"))
    source(gateway, "crm", (DIETS, SERVICE))
    take(
        gateway,
        [a_person(n, given_name="Anna", family_name="Albers", postal_address="Hof 1, 1000 Wien") for n in (1, 2)],
    )
    take(gateway, [a_consent(ref(n)) for n in (1, 2)])
    tell(gateway, 1, 2)
    return gateway


def source(gateway: Gateway, name: str, purposes: tuple[PurposeId, ...]) -> None:
    with gateway.work() as work:
        registers.put_source(work, Source(SourceId(name), name, "web", Party.FIRST, NoticeId("diets"), purposes))


def tell(gateway: Gateway, *numbers: int, value: str | None = NUTS) -> None:
    rows = incoming([SensitiveItem(ref(n), {"allergies": value}) for n in numbers])
    with gateway.work() as work:
        assert record_sensitive(work, "crm", rows, "0" * 64).rejected == 0


def later(gateway: Gateway, *, days: int = 0, seconds: int = 0) -> int:
    clock = gateway.clock
    assert isinstance(clock, FixedClock)
    clock.advance(timedelta(days=days, seconds=seconds))
    return int(clock().timestamp())


def ran(gateway: Gateway, *, dry_run: bool = False) -> dict[str, int]:
    """What a run deleted, without the zeros; the audience rows are true afterwards."""
    outcome = run(gateway, dry_run=dry_run)
    assert reconcile(gateway).clean
    assert sum(outcome.fields.values()) == outcome.counts["fields"]
    return {kind: count for kind, count in outcome.as_dict().items() if count}


def withdraw(gateway: Gateway, number: int, at: int) -> None:
    take(gateway, [a_consent(ref(number), kind=ConsentKind.WITHDRAWN, at=at, evidence=None)])


def held(gateway: Gateway, number: int) -> dict[str, Any]:
    """Every field that is held of a person."""
    subject_id = id_of(gateway, ref(number))
    found: dict[str, Any] = {}
    with gateway.look() as work:
        dek = gateway.vault.keys(work.session, [subject_id])[subject_id]
        for group in resealing.groups_of(work.session, subject_id):
            content = open_group(dek, group)
            found |= {n: v for n, (v, _) in held_in(content).items()} if group.name == SENSITIVE else content
    return found


def entries(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    with gateway.look() as work:
        raw = work.session.execute(select(tables.audit_pending.c.entry).order_by(tables.audit_pending.c.id)).scalars()
        found = [json.loads(bytes(e)) for e in raw]
    return [e["fields"] for e in found if e["kind"] == kind]


def test_a_sensitive_value_goes_ninety_days_after_its_purpose_and_the_person_stays(crm: Gateway) -> None:
    now = later(crm, days=200)
    assert ran(crm) == {}  # a yes without an end keeps it, however old it is
    withdraw(crm, 1, now)
    later(crm, days=90, seconds=-1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm, dry_run=True) == {"fields": 1}
    assert "allergies" in held(crm, 1)
    assert ran(crm) == {"fields": 1}
    assert "allergies" not in held(crm, 1)
    assert held(crm, 1).items() >= {"given_name": "Anna", "postal_address": "Hof 1, 1000 Wien"}.items()
    assert held(crm, 2)["allergies"] == NUTS
    assert answer_for(crm, ref(1)).reason_code == "consent_withdrawn"  # still known
    assert entries(crm, "fields.deleted") == [{"fields": ["allergies"], "reason": "retention"}]
    assert entries(crm, "retention.run")[-1]["by_field"] == {"allergies": 1}
    assert ran(crm) == {}


def test_an_end_that_was_said_with_the_yes_ends_the_purpose(crm: Gateway) -> None:
    now = later(crm, days=1)
    take(crm, [a_person(3)])
    take(crm, [a_consent(ref(3), at=now, valid_until=now + 10 * DAY)])
    tell(crm, 3)
    later(crm, days=100, seconds=-1)
    assert ran(crm) == {}
    later(crm, seconds=1)
    assert ran(crm) == {"fields": 1}
    assert "allergies" not in held(crm, 3)


def test_a_value_that_is_told_again_is_kept_from_then_on(crm: Gateway) -> None:
    """Without any word in the ledger the period runs from the last time it was supplied, counted in days."""
    with crm.work() as work:
        put_field(work, FieldDefinition("pin", Category.FINANCIAL_ACCOUNT, (SERVICE,), "P30D"))

    def told(number: int) -> None:
        rows = incoming([SensitiveItem(ref(number), {"pin": "4711"})])
        with crm.work() as work:
            assert record_sensitive(work, "crm", rows, "0" * 64).rejected == 0

    told(1)
    told(2)
    later(crm, days=20)
    told(1)
    later(crm, days=10)
    assert ran(crm) == {"fields": 1}
    assert [("pin" in held(crm, n)) for n in (1, 2)] == [True, False]
    later(crm, days=20)
    assert ran(crm) == {"fields": 1}


def test_one_of_our_own_fields_goes_when_only_purposes_are_left_that_do_not_need_it(crm: Gateway) -> None:
    """A name is held for marketing; the service that goes on needs the address alone."""
    with crm.work() as work:
        put_field(work, FieldDefinition("family_name", None, (DIETS,), "P90D"))
        put_field(work, FieldDefinition("postal_address", None, (SERVICE,)))
    withdraw(crm, 1, later(crm, days=1))
    later(crm, days=90)
    found = ran(crm)
    assert found == {"fields": 2}  # the name and the allergies of 1
    assert held(crm, 1).items() >= {"given_name": "Anna", "postal_address": "Hof 1, 1000 Wien"}.items()
    assert "family_name" not in held(crm, 1)
    assert held(crm, 2)["family_name"] == "Albers"
    later(crm, days=5 * 366)
    take(crm, [a_consent(ref(n), at=later(crm, days=0), kind=ConsentKind.GIVEN) for n in (1, 2)])
    assert ran(crm)["fields"] == 2
    assert "postal_address" not in held(crm, 1)
    assert len(held(crm, 1)["points"]) == 2


def test_what_comes_in_again_from_a_source_that_collects_for_it_starts_anew(crm: Gateway) -> None:
    with crm.work() as work:
        put_field(work, FieldDefinition("given_name", None, (SERVICE,), "P30D"))
    source(crm, "elsewhere", (PurposeId("marketing"),))
    later(crm, days=20)
    take(crm, [a_person(1)], source="crm")
    take(crm, [a_person(2)], source="elsewhere")  # collects nothing for the service
    later(crm, days=10)
    assert ran(crm) == {"fields": 1}
    assert [("given_name" in held(crm, n)) for n in (1, 2)] == [True, False]


def test_a_purpose_without_a_period_keeps_and_is_shown(crm: Gateway) -> None:
    with crm.work() as work:
        records.put_processing(work, SERVICE, Processing(retention=""))
        put_field(work, FieldDefinition("language", None, (SERVICE, DIETS)))
        put_field(work, FieldDefinition("given_name", None, (DIETS,), "P2Y"))
    with crm.look() as work:
        found = retention.status(work)
    assert found.gaps["fields"] == ["language"]
    assert found.fields == {"allergies": {DIETS: "P90D"}, "given_name": {DIETS: "P1Y"}, "language": {DIETS: "P1Y"}}
    take(crm, [a_person(1, language="de")])
    withdraw(crm, 1, later(crm, days=1))
    later(crm, days=400)
    assert ran(crm)["fields"] == 2
    assert held(crm, 1)["language"] == "de"


def test_a_field_that_is_not_registered_stays_with_its_person(crm: Gateway) -> None:
    withdraw(crm, 1, later(crm, days=1))
    later(crm, days=400)
    assert ran(crm)["fields"] == 1
    assert held(crm, 1)["given_name"] == "Anna"


def test_a_no_to_the_wider_purpose_ends_it_and_a_no_to_texts_does_not(crm: Gateway) -> None:
    now = later(crm, days=1)
    take(crm, [a_consent(ref(1), purpose="marketing", channel=None, kind=ConsentKind.WITHDRAWN, at=now, evidence=None)])
    take(crm, [a_consent(ref(2), channel="sms", kind=ConsentKind.WITHDRAWN, at=now, evidence=None)])
    later(crm, days=90)
    assert ran(crm) == {"fields": 1}
    assert ["allergies" in held(crm, n) for n in (1, 2)] == [False, True]


def test_merged_people_need_it_together(crm: Gateway) -> None:
    """What one subject agreed to keeps what lies with the other; without it, both values go."""
    with crm.work() as work:
        merge(work, [ref(1), ref(2)], "duplicate")
    withdraw(crm, 1, later(crm, days=1))
    take(crm, [a_consent(ref(2), at=later(crm, seconds=5))])
    later(crm, days=90)
    assert ran(crm) == {}
    withdraw(crm, 2, later(crm))
    later(crm, days=90)
    assert ran(crm) == {"fields": 2}
    assert len(entries(crm, "fields.deleted")) == 2


def test_nobody_who_is_held_loses_a_field(crm: Gateway) -> None:
    withdraw(crm, 1, later(crm, days=1))
    with crm.work() as work:
        holds.place(work, id_of(crm, ref(1)), HoldReason.LEGAL_CLAIM, None)
    later(crm, days=90)
    assert ran(crm) == {"held": 1}
    assert "allergies" in held(crm, 1)


def test_something_that_comes_in_meanwhile_saves_the_field(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    withdraw(crm, 1, later(crm, days=1))
    now = later(crm, days=90)
    found = field_retention.fields_over

    def with_news(*arguments: Any) -> Any:
        answer = list(found(*arguments))
        monkeypatch.setattr(field_retention, "fields_over", found)
        take(crm, [a_consent(ref(1), at=now)])
        return answer

    monkeypatch.setattr(field_retention, "fields_over", with_news)
    assert ran(crm) == {}
    assert "allergies" in held(crm, 1)


def test_a_person_whose_group_does_not_open_is_counted_and_the_others_go_on(crm: Gateway) -> None:
    for n in (1, 2):
        withdraw(crm, n, later(crm, days=1))
    broken = id_of(crm, ref(1))
    with crm.store.transaction() as session:
        c = tables.sealed_groups.c
        session.execute(
            tables.sealed_groups.update().where(c.subject_id == broken, c.name == SENSITIVE).values(sealed=b"\0" * 60)
        )
    later(crm, days=91)
    assert ran(crm) == {"fields": 1, "failed": 1}


def test_a_former_ciphertext_opens_by_nothing_that_is_left(crm: Gateway) -> None:
    """A backup holds the group as it was; the key that it is under is nobody's any more, also after a taking back."""
    for n, end in ((1, "retention"), (2, "taken back")):
        subject_id = id_of(crm, ref(n))
        with crm.look() as work:
            (old,) = subjects.sealed(work.session, [subject_id], SENSITIVE).values()
            assert open_group(crm.vault.keys(work.session, [subject_id])[subject_id], old)
        if end == "retention":
            withdraw(crm, n, later(crm, days=1))
            later(crm, days=90)
            assert ran(crm)["fields"] == 1
        else:
            tell(crm, n, value=None)
        with crm.look() as work:
            dek = crm.vault.keys(work.session, [subject_id])[subject_id]
        with pytest.raises(VaultError):
            open_group(dek, old)
    assert [e["reason"] for e in entries(crm, "dek.rotated")] == ["fields_deleted", "value_taken_back"]


def test_without_registered_fields_a_run_opens_nobody(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    source_without_notice = Source(SourceId("crm"), "crm", "web", Party.FIRST, None, ())
    with gateway.work() as work:
        registers.put_source(work, source_without_notice)
    take(gateway, [a_person(1)])
    monkeypatch.setattr(field_retention, "open_group", lambda *_: pytest.fail("opened"))
    before = dump(gateway.store)["sealed_groups"]
    assert run(gateway).as_dict()["fields"] == 0
    assert dump(gateway.store)["sealed_groups"] == before
