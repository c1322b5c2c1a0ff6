"""Refused rows are kept for a while, sealed; an erasure reaches each that names its person, however it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from builders import SOURCE, a_person, id_of, ref, take, with_source
from consent_gateway.db import intake, tables
from consent_gateway.domain.ids import RecipientId
from consent_gateway.errors import FieldProblem, StoreError
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.identity.people import identifiers_in
from consent_gateway.services.ledger.consents import record_consents
from consent_gateway.services.persons.subjects import import_subjects
from consent_gateway.services.rows.intake import Incoming
from consent_gateway.services.work.gateway import Gateway
from replicas import a_replica, impatient

WRONG = (FieldProblem("$.birth_date", "birth_date_impossible", "no such day"),)
TELEPHONE = {"member_no": "M00001", "phone": "+4930901820", "openid": "4711"}


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Two people, the first with a telephone."""
    with_source(gateway)
    take(gateway, [a_person(1, identifiers=TELEPHONE | {"email": "person1@example.org"}), a_person(2)])
    return gateway


def refused(row: Any) -> Incoming[Any]:
    return Incoming(1, json.dumps(row).encode(), None, WRONG)


def refuse(gateway: Gateway, row: Any) -> None:
    with gateway.work() as work:
        assert import_subjects(work, SOURCE, [refused(row)], "0" * 64).rejected == 1


def forget(gateway: Gateway, number: int) -> None:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        erase(work, who, "request")


def kept(gateway: Gateway) -> list[bool]:
    """Of each refused row, whether its content is still there."""
    with gateway.look() as work:
        sealed = work.session.execute(select(tables.quarantine.c.sealed).order_by(tables.quarantine.c.id)).scalars()
        return [bytes(s) != b"" for s in sealed]


def name_of(gateway: Gateway, number: int) -> str:
    who = id_of(gateway, ref(number))
    with gateway.look() as work:
        return gateway.vault.pseudonym(who, RecipientId("self"), work.registers)


NAMED: dict[str, Any] = {
    "phone of a country in lower case": {"phone": "030 901820", "country": "de"},
    "phone of a state": {"phone": "030 901820", "country": " DE "},
    "address in a column of another": {"phone": "person1@example.org", "member_no": "0"},
    "address under a name that is not known": {"e_mail": " Person1@Example.ORG"},
    "number under a name that is not known": {"mobile": "+49 30 901820"},
    "number as a number": {"openid": 4711},
    "what no column names": {"member_no": "0", "surplus": ["Anna", "person1@example.org"]},
}


@pytest.mark.parametrize("row", NAMED.values(), ids=NAMED)
def test_an_erasure_empties_what_names_its_person(crm: Gateway, row: dict[str, Any]) -> None:
    refuse(crm, row)
    refuse(crm, {"email": "somebody.else@example.org"})
    assert kept(crm) == [True, True]
    forget(crm, 1)
    assert kept(crm) == [False, True]


def test_an_erasure_empties_what_names_its_person_by_a_pseudonym(crm: Gateway) -> None:
    """A refused consent carries evidence: an address, a wording, a name."""
    row = {"subject": {"pseudonym": name_of(crm, 1)}, "purpose": "?", "evidence": {"ip": "192.0.2.7"}}
    other = {"subject": {"pseudonym": name_of(crm, 2)}}
    with crm.work() as work:
        record_consents(work, SOURCE, [refused(row), Incoming(2, json.dumps(other).encode(), None, WRONG)], "0" * 64)
    assert kept(crm) == [True, True]
    forget(crm, 1)
    assert kept(crm) == [False, True]


def test_nothing_is_kept_about_somebody_who_is_gone(crm: Gateway) -> None:
    name = name_of(crm, 1)
    forget(crm, 1)
    refuse(crm, {"guardian": {"pseudonym": name}, "evidence": {"ip": "192.0.2.7"}})
    refuse(crm, {"mail": "person1@example.org"})
    refuse(crm, {"guardian": {"pseudonym": "p1-" + "0" * 32}})  # made up: of nobody
    assert kept(crm) == [False, False, True]


def ties(gateway: Gateway) -> int:
    with gateway.look() as work:
        return work.session.execute(select(func.count()).select_from(tables.quarantine_identifiers)).scalar_one()


def test_what_was_emptied_is_tied_to_nobody(crm: Gateway) -> None:
    """The ties are keyed hashes of identifiers: without the row nothing needs them (GDPR Art 5(1)(e))."""
    refuse(crm, {"email": "person1@example.org", "phone": "+4930901821"})
    refuse(crm, {"email": "stranger@example.org", "phone": "+4930901822"})
    assert ties(crm) == 4
    forget(crm, 1)
    assert ties(crm) == 2
    with crm.work() as work:
        assert intake.empty_quarantine(work.session, work.now) == 0
        assert intake.empty_quarantine(work.session, work.now + 1) == 1
    assert ties(crm) == 0


def test_what_is_read_as_an_identifier() -> None:
    found = identifiers_in(json.dumps([{"x": {"mail": "a@b.de"}}, "A@b.de", {"n": "+4930901820"}, "a", 1]).encode())
    assert [(f.kind, f.value) for f in found] == [("email", "a@b.de"), ("email", "a@b.de"), ("phone", "+4930901820")]
    deep = b'{"a":' * 40 + b'"a@b.de"' + b"}" * 40
    digits = b'{"n":' + b"9" * 5000 + b',"mail":"a@b.de"}'  # more than Python makes a number of
    for row in (deep, digits, b'{"email": "a@b.de", "country": ', b"\xff <a@b.de>", b"Anna;a@b.de;1980"):
        assert [f.value for f in identifiers_in(row)] == ["a@b.de"]
    assert identifiers_in(b"{") == []


# -- two at once -----------------------------------------------------------------------------------------------------


@pytest.fixture
def replica(crm: Gateway) -> Iterator[Gateway]:
    with a_replica(crm) as made:
        yield made


@pytest.mark.postgres
@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_an_erasure_waits_for_a_row_that_is_being_kept(crm: Gateway, replica: Gateway) -> None:
    who = id_of(crm, ref(1))
    with crm.work() as work:
        import_subjects(work, SOURCE, [refused({"email": "person1@example.org"})], "0" * 64)
        with pytest.raises(StoreError), replica.work() as other:
            erase(impatient(other), who, "request")
    forget(crm, 1)
    assert kept(crm) == [False]


@pytest.mark.postgres
@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_row_is_kept_only_after_an_erasure_that_is_under_way(crm: Gateway, replica: Gateway) -> None:
    who = id_of(crm, ref(1))
    with crm.work() as work:
        erase(work, who, "request")
        with pytest.raises(StoreError), replica.work() as other:
            import_subjects(impatient(other), SOURCE, [refused({"email": "person1@example.org"})], "0" * 64)
    refuse(crm, {"email": "person1@example.org"})
    assert kept(crm) == [False]
