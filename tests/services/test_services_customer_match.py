"""Customer lists: whom they may go to, who is in them, by which addresses, and that the entry comes first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from builders import (
    NOW,
    NOW_S,
    a_consent,
    a_person,
    a_recipient,
    an_officer,
    choose,
    id_of,
    ref,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.domain.approvals import Action
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.fields import RevealField
from consent_gateway.domain.ids import PurposeId, RecipientId
from consent_gateway.domain.purposes import Basis, Channel, RecipientKind
from consent_gateway.domain.quotas import Limits, QuotaKind
from consent_gateway.domain.registers import Principal
from consent_gateway.domain.segments import Everyone
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import (
    ForbiddenError,
    GatewayError,
    InputError,
    NotFoundError,
    QuotaError,
    WeakPseudonymError,
)
from consent_gateway.services.deciding.questions import Use
from consent_gateway.services.disclosing import audiences, customer_match, pseudonyms
from consent_gateway.services.disclosing.customer_match import Digests, Grounds
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.persons.merges import merge
from consent_gateway.services.registry import registers
from consent_gateway.services.work import approvals, quotas
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.services.work.items import SubjectRef
from consent_gateway.vault.customer_match import MatchField, Platform

SHARING = PurposeId("third_party_audience_sharing")
ADNET = RecipientId("adnet")
USE = Use(SHARING, Channel.ONLINE_ADS, ADNET)
OFFICER = Principal("ads_officer", RecipientId("self"), frozenset({"disclose"}))
GROUNDS = Grounds(Platform.META, (MatchField.EMAIL,), "campaign", "ADS-1")
PEOPLE = 4


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "CHUNK", 2)


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Four people in Germany who agreed that the ad network gets their data; the purpose lists both contact fields."""
    with_source(gateway)
    with gateway.work() as work:
        held = work.registers.purposes.purposes[SHARING]
        fields = (RevealField.EMAIL, RevealField.PHONE)
        registers.put_purpose(work, replace(held, reveals=fields), [])
        registers.put_recipient(work, a_recipient("adnet", kind=RecipientKind.AD_PLATFORM))
        registers.put_recipient(work, a_recipient("mailer"))
    take(gateway, [a_person(n) for n in range(1, PEOPLE + 1)])
    take(gateway, [a_yes(ref(n)) for n in range(1, PEOPLE + 1)])
    return gateway


def a_yes(subject: SubjectRef, **changes: Any) -> Any:
    values = {"purpose": SHARING, "channel": "online_ads", "recipient": "adnet"}
    return a_consent(subject, **(values | changes))


def a_no(gateway: Gateway, subject: SubjectRef, **changes: Any) -> None:
    take(gateway, [a_yes(subject, kind=ConsentKind.WITHDRAWN, at=NOW_S, **changes)])


def resolve(gateway: Gateway, use: Use = USE) -> str:
    with gateway.work() as work:
        return audiences.resolve(work, Everyone(), use).row.id


def disclose(gateway: Gateway, audience: str, grounds: Grounds = GROUNDS, actor: Principal = OFFICER) -> list[Digests]:
    begun = customer_match.begin(gateway, audience, grounds, actor)
    return [person for chunk in customer_match.stream(gateway, begun, actor) for person in chunk]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def of(*numbers: int) -> list[Digests]:
    """The list in which these people are, by e-mail."""
    return [{"email": [digest(f"person{n}@example.org")]} for n in numbers]


def in_any_order(found: list[Digests]) -> list[str]:
    return sorted(map(json.dumps, found))


def entries(gateway: Gateway) -> list[dict[str, Any]]:
    with gateway.look() as work:
        rows = [json.loads(row) for row in work.session.execute(select(tables.audit_pending.c.entry)).scalars()]
    return [row["fields"] for row in rows if row["kind"] == "identifiers.disclosed"]


# -- who is in it --------------------------------------------------------------------------------------------------


def test_digests_of_those_who_agreed(crm: Gateway) -> None:
    assert in_any_order(disclose(crm, resolve(crm))) == in_any_order(of(1, 2, 3, 4))


LEAVING: dict[str, Callable[[Gateway], object]] = {
    "withdrawn": lambda g: a_no(g, ref(1)),
    "objection": lambda g: choose(g, ref(1), Choice.OBJECTION),
    "restriction": lambda g: choose(g, ref(1), Choice.RESTRICTION),
    "erased": lambda g: erased(g, 1),
}


def erased(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        erase(work, id_of(gateway, ref(number)), "request")


@pytest.mark.parametrize("how", LEAVING)
def test_who_leaves_before_it_is_not_in_it(crm: Gateway, how: str) -> None:
    audience = resolve(crm)
    LEAVING[how](crm)
    assert in_any_order(disclose(crm, audience)) == in_any_order(of(2, 3, 4))
    assert entries(crm)[0]["people"] == 3


@pytest.mark.parametrize("how", LEAVING)
def test_who_leaves_between_the_entry_and_the_chunk_is_not_in_it(crm: Gateway, how: str) -> None:
    begun = customer_match.begin(crm, resolve(crm), GROUNDS, OFFICER)
    LEAVING[how](crm)
    found = [person for chunk in customer_match.stream(crm, begun, OFFICER) for person in chunk]
    assert in_any_order(found) == in_any_order(of(2, 3, 4))
    assert entries(crm)[0]["people"] == 4  # at most


def test_a_yes_that_does_not_name_the_platform_is_not_enough(crm: Gateway) -> None:
    take(crm, [a_person(5)])
    take(crm, [a_yes(ref(5), recipient=None)])
    assert in_any_order(disclose(crm, resolve(crm))) == in_any_order(of(1, 2, 3, 4))


def test_where_the_law_does_with_less_a_disclosure_does_not(crm: Gateway) -> None:
    """In California nobody need be asked before data is shared; an identifier is disclosed to those who agreed."""
    take(crm, [a_person(5, country="US-CA"), a_person(6, country="US-CA")])
    take(crm, [a_yes(ref(6))])
    found = disclose(crm, resolve(crm))
    assert not {digest("person5@example.org")} & {d for person in found for d in person["email"]}


# -- by which addresses --------------------------------------------------------------------------------------------


def with_phone(gateway: Gateway) -> None:
    person = a_person(1)
    take(gateway, [replace(person, identifiers={**person.identifiers, "phone": "+4915123456789"})])


def test_each_platform_by_its_own_rules(crm: Gateway) -> None:
    with_phone(crm)
    audience, both = resolve(crm), (MatchField.EMAIL, MatchField.PHONE)
    meta = disclose(crm, audience, replace(GROUNDS, fields=both))
    google = disclose(crm, audience, replace(GROUNDS, fields=both, platform=Platform.GOOGLE))
    assert {p["phone"][0] for p in meta if "phone" in p} == {digest("4915123456789")}
    assert {p["phone"][0] for p in google if "phone" in p} == {digest("+4915123456789")}
    assert [set(person) for person in disclose(crm, audience, replace(GROUNDS, fields=both[1:]))] == [{"phone"}]
    (uid2,) = {
        p["phone"][0]
        for p in disclose(crm, audience, replace(GROUNDS, fields=both, platform=Platform.UID2))
        if "phone" in p
    }
    assert len(uid2) == 44


def test_an_address_that_is_closed_alone_stays_inside(crm: Gateway) -> None:
    """Two addresses, one no: the other one is still agreed to."""
    take(crm, [replace(a_person(1), identifiers={"member_no": "M00001", "email": "second@example.org"})])
    a_no(crm, ref(1), contact_point=SubjectRef("email", "person1@example.org"))
    (first,) = [p for p in disclose(crm, resolve(crm)) if digest("second@example.org") in p["email"]]
    assert first == {"email": [digest("second@example.org")]}


def test_a_suppressed_address_stays_inside(crm: Gateway) -> None:
    audience = resolve(crm)
    with crm.work() as work:
        held = tables.identifiers.c
        theirs = update(tables.identifiers).where(held.subject_id == id_of(crm, ref(2)), held.kind == "email")
        work.session.execute(theirs.values(suppressed=True))
    assert in_any_order(disclose(crm, audience)) == in_any_order(of(1, 3, 4))


def test_merged_people_are_one_line(crm: Gateway) -> None:
    with crm.work() as work:
        merge(work, [ref(1), ref(2)], "same person")
    found = disclose(crm, resolve(crm))
    both = sorted(digest(f"person{n}@example.org") for n in (1, 2))
    assert in_any_order(found) == in_any_order([{"email": both}, *of(3, 4)])


# -- whom it may go to ---------------------------------------------------------------------------------------------


def refused(gateway: Gateway, audience: str, grounds: Grounds = GROUNDS, actor: Principal = OFFICER) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        customer_match.begin(gateway, audience, grounds, actor)
    assert entries(gateway) == []
    return caught.value


def test_others_than_ad_platforms_get_pseudonyms(crm: Gateway) -> None:
    error = refused(crm, resolve(crm, replace(USE, recipient=RecipientId("mailer"))))
    assert isinstance(error, WeakPseudonymError)
    assert error.code == "weak_pseudonym"


def test_an_ad_platform_without_contract_gets_nothing(crm: Gateway) -> None:
    audience = resolve(crm)
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("adnet", kind=RecipientKind.AD_PLATFORM, contract=False))
    assert isinstance(refused(crm, audience), WeakPseudonymError)


def test_a_use_without_consent_discloses_nothing(crm: Gateway) -> None:
    with crm.work() as work:
        held = work.registers.purposes.purposes[SHARING]
        registers.put_purpose(work, replace(held, bases=(Basis.LEGITIMATE_INTEREST,)), [])
    use = replace(USE, basis=Basis.LEGITIMATE_INTEREST)
    assert isinstance(refused(crm, resolve(crm, use)), WeakPseudonymError)


def test_a_field_that_the_purpose_does_not_list_is_refused(crm: Gateway) -> None:
    with crm.work() as work:
        held = work.registers.purposes.purposes[SHARING]
        registers.put_purpose(work, replace(held, reveals=(RevealField.EMAIL,)), [])
    fields = (MatchField.EMAIL, MatchField.PHONE)
    error = refused(crm, resolve(crm), replace(GROUNDS, fields=fields))
    assert isinstance(error, InputError)
    assert [(f.path, f.code) for f in error.fields] == [("$.fields[1]", "field_not_allowed")]


@pytest.mark.parametrize(
    "actor",
    [
        Principal("admin", RecipientId("self"), frozenset({"admin", "audience", "reveal_plain"})),
        Principal("platform", ADNET, frozenset({"disclose", "admin"})),
    ],
)
def test_only_our_own_keys_disclose_and_only_by_name(crm: Gateway, actor: Principal) -> None:
    assert isinstance(refused(crm, resolve(crm), actor=actor), ForbiddenError)


@pytest.mark.parametrize("ticket", ["", "anna", "ADS-1\n", "ADS-1234567", "ads-1"])
def test_a_ticket_has_no_room_for_a_name(crm: Gateway, ticket: str) -> None:
    assert isinstance(refused(crm, resolve(crm), replace(GROUNDS, ticket=ticket)), InputError)


def test_an_audience_that_ended_discloses_nothing(crm: Gateway) -> None:
    audience = resolve(crm)
    begun = customer_match.begin(crm, audience, GROUNDS, OFFICER)
    late = replace(crm, clock=FixedClock(NOW + timedelta(days=2)))
    with pytest.raises(NotFoundError):
        customer_match.begin(late, audience, GROUNDS, OFFICER)
    with pytest.raises(NotFoundError):
        next(customer_match.stream(late, begun, OFFICER))
    with crm.work() as work:
        pseudonyms.roll(work, ADNET, 0)
    with pytest.raises(NotFoundError):
        next(customer_match.stream(crm, begun, OFFICER))


def test_what_is_registered_otherwise_meanwhile_ends_the_list(crm: Gateway) -> None:
    stream = customer_match.stream(crm, customer_match.begin(crm, resolve(crm), GROUNDS, OFFICER), OFFICER)
    assert len(next(stream)) == 2
    with crm.work() as work:
        registers.put_recipient(work, a_recipient("adnet", kind=RecipientKind.AD_PLATFORM, contract=False))
    with pytest.raises(WeakPseudonymError):
        next(stream)


# -- the entry -----------------------------------------------------------------------------------------------------


def test_the_entry_comes_first_and_tells_what_it_is(crm: Gateway) -> None:
    audience = resolve(crm)
    customer_match.begin(crm, audience, GROUNDS, OFFICER)
    (fields,) = entries(crm)
    assert fields.pop("packs")
    assert fields.pop("policy")
    assert fields == {
        "nature": "disclosure_of_identifier", "audience": audience, "purpose": SHARING, "channel": "online_ads",
        "recipient": "adnet", "platform": "meta", "fields": ["email"], "reason": "campaign", "ticket": "ADS-1",
        "people": PEOPLE,
    }  # fmt: skip


def test_no_address_digest_or_pseudonym_is_in_the_log(crm: Gateway) -> None:
    found = disclose(crm, resolve(crm))
    with crm.look() as work:
        written = b"".join(map(bytes, work.session.execute(select(tables.audit_pending.c.entry)).scalars()))
    assert b"example.org" not in written
    assert not any(d.encode() in written for person in found for d in person["email"])


def test_no_entry_no_digest(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    audience = resolve(crm)

    def broken(self: Work, *_: object) -> bytes:
        raise RuntimeError

    monkeypatch.setattr(Work, "record", broken)
    with pytest.raises(RuntimeError):
        disclose(crm, audience)


def test_a_list_without_the_second_look_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: who was permitted at the entry is taken to be permitted for good."""
    begun = customer_match.begin(crm, resolve(crm), GROUNDS, OFFICER)
    a_no(crm, ref(1))
    monkeypatch.setattr(customer_match, "_permitted", lambda _work, _asked, ids: list(ids))
    found = [person for chunk in customer_match.stream(crm, begun, OFFICER) for person in chunk]
    assert in_any_order(found) != in_any_order(of(2, 3, 4))


def test_the_ends_of_chunks_do_not_join_digests_with_pseudonyms(crm: Gateway) -> None:
    """The platform reads the members too: the last of an odd number must not be the last of both lists."""
    take(crm, [a_person(5)])
    take(crm, [a_yes(ref(5))])
    audience = resolve(crm)
    ends = {json.dumps(disclose(crm, audience)[-1]) for _ in range(30)}
    assert len(ends) > 1
    assert in_any_order(disclose(crm, audience)) == in_any_order(of(1, 2, 3, 4, 5))


# -- quota and window ----------------------------------------------------------------------------------------------


def test_many_people_need_a_window_of_two_keys(crm: Gateway) -> None:
    """A disclosure of identifiers is no smaller a thing than a reveal (THREATS 4)."""
    crm.rules = replace(crm.rules, reveal_batch=PEOPLE - 1)
    audience = resolve(crm)
    with pytest.raises(ForbiddenError, match="window"):
        disclose(crm, audience)
    assert entries(crm) == []
    first, second = (an_officer(crm, name, "approve") for name in ("first", "second"))
    wanted = {"principal": OFFICER.id, "purpose": SHARING, "recipient": "adnet", "subjects": PEOPLE}
    with crm.work(first) as work:
        window = approvals.propose(work, Action.BULK_REVEAL_WINDOW, wanted, NOW_S + 3600)
    with crm.work(second) as work:
        approvals.approve(work, window.id)
    assert len(disclose(crm, audience)) == PEOPLE
    assert [entry["window"] for entry in entries(crm)] == [window.id]
    with pytest.raises(ForbiddenError, match="no room"):
        disclose(crm, audience)


def test_a_few_count_against_the_quota_of_reveals(crm: Gateway) -> None:
    crm.rules = replace(crm.rules, reveal_quota=Limits(PEOPLE, 100))
    audience = resolve(crm)
    for _ in range(2):  # the same people count once
        assert len(disclose(crm, audience)) == PEOPLE
    take(crm, [a_person(5)])
    take(crm, [a_yes(ref(5))])
    with pytest.raises(QuotaError):
        disclose(crm, resolve(crm))
    assert len(entries(crm)) == 2


def test_a_key_that_is_suspended_for_revealing_discloses_nothing(crm: Gateway) -> None:
    with crm.work() as work:
        quotas.suspend(work, OFFICER.id, QuotaKind.REVEAL)
    with pytest.raises(ForbiddenError, match="suspended"):
        disclose(crm, resolve(crm))
    assert entries(crm) == []
