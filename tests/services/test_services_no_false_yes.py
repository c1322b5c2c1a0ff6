"""Ways to a yes that nobody gave, each of them closed: claims without proof, guardians who are none, two steps in one."""

from __future__ import annotations

import pytest

from builders import (
    ALL_PROPERTIES,
    EVIDENCE,
    NOW_S,
    a_consent,
    a_person,
    answer_for,
    may_write,
    ref,
    take,
    with_source,
)
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.policies import SOFTWARE
from consent_gateway.errors import InputError
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.ledger import confirmations
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.work import principals
from consent_gateway.services.work.gateway import SYSTEM, Gateway

CHILD, GUARDIAN, OTHER = ref(1), ref(2), ref(3)
_BARE = {"evidence": None, "notice": None, "notice_version": None, "method": None}


@pytest.fixture
def family(gateway: Gateway) -> Gateway:
    """A child, an adult who speaks for the child, and another child."""
    with_source(gateway)
    people = ((1, "2015-05-17"), (2, "1980-05-17"), (3, "2016-05-17"))
    take(gateway, [a_person(n, birth_date=born) for n, born in people])
    return gateway


def join(gateway: Gateway, one: int, other: int) -> int:
    with gateway.work() as work:
        number = merge(work, [ref(one), ref(other)], "duplicate").merge
    assert number is not None
    return number


# -- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", [{}, {"evidence": EVIDENCE}])
def test_what_an_import_claims_gets_no_proof_by_a_second_step(family: Gateway, proof: dict[str, bytes]) -> None:
    """An imported claim is stored and not believed; a click on a link says nothing about it."""
    item = a_consent(CHILD, **(_BARE | proof), kind=ConsentKind.PENDING, confirm=True, imported=True)
    taken = take(family, [item])
    assert taken.confirmations == []
    assert [(r.reasons[0].path, r.reasons[0].code) for r in taken.rejections] == [("$.confirm", "imported")]


def test_a_request_whose_claims_are_proven_is_confirmed_with_them(family: Gateway) -> None:
    taken = take(family, [a_consent(CHILD, kind=ConsentKind.PENDING, confirm=True, evidence=EVIDENCE)])
    assert not may_write(family, CHILD)
    with family.work(confirmations.CONFIRMER) as work:
        confirmations.confirm(work, taken.confirmations[0].token, {})
    assert may_write(family, CHILD)


# -- guardians -------------------------------------------------------------------------------------------------------


def test_whoever_was_merged_with_their_guardian_has_none(family: Gateway) -> None:
    take(family, [a_consent(CHILD, guardian=GUARDIAN, evidence=b'{"form":"signup"}')])
    assert may_write(family, CHILD)
    number = join(family, 1, 2)
    assert answer_for(family, CHILD).reason_code == "child_needs_parent"
    assert reconcile(family).clean
    with family.work() as work:
        unmerge(work, number, "wrong_match")
    assert may_write(family, CHILD)
    assert reconcile(family).clean


def test_a_guardian_who_may_be_a_child_is_none(family: Gateway) -> None:
    """Merged from two, a person is as old as the younger: also where they speak for somebody else."""
    join(family, 2, 3)
    taken = take(family, [a_consent(CHILD, guardian=GUARDIAN, evidence=b'{"form":"signup"}')])
    assert [(r.reasons[0].path, r.reasons[0].code) for r in taken.rejections] == [("$.guardian", "guardian_is_minor")]
    assert not may_write(family, CHILD)


def test_an_adult_merged_with_a_child_is_a_child(family: Gateway) -> None:
    take(family, [a_consent(GUARDIAN, properties=ALL_PROPERTIES & ~16, at=NOW_S - 600)])
    assert may_write(family, GUARDIAN)
    join(family, 2, 3)
    assert not may_write(family, GUARDIAN)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["system", "confirmation", "software"])
def test_no_key_writes_what_the_log_would_take_for_the_gateway(gateway: Gateway, name: str) -> None:
    """An entry of the second step says that the person confirmed: no key may be named like it."""
    with pytest.raises(InputError) as found, gateway.work() as work:
        principals.issue(work, name, "self", frozenset({"ingest"}))
    assert [problem.code for problem in found.value.fields] == ["reserved_name"]


def test_every_name_the_gateway_acts_under_is_reserved() -> None:
    assert {SYSTEM.id, confirmations.CONFIRMER.id, SOFTWARE} == principals.RESERVED
