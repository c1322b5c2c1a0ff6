"""What `Decider` remembers is the answer to the very same question: of these registers, and of no others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from builders import EMAIL_MARKETING, NOW_S, a_person, answer_for, ref, take, with_source
from consent_gateway.db import registers as rows
from consent_gateway.domain.ids import PurposeId
from consent_gateway.domain.purposes import Basis, Channel
from consent_gateway.services.registry import registers
from consent_gateway.services.work.gateway import Gateway, Work

PURPOSE = EMAIL_MARKETING.purpose


class TakenBackError(Exception):
    """The use case changed its mind."""


def rest_on(work: Work, basis: Basis) -> None:
    held = work.registers.purposes.purposes[PURPOSE]
    registers.put_purpose(work, replace(held, basis=basis, bases=()), [Channel.EMAIL])


def asked_basis(work: Work) -> Basis:
    return work.gateway.decider.ask(EMAIL_MARKETING, work.registers, work.gateway.rules, NOW_S).question.basis


def taken_back(gateway: Gateway) -> int:
    """Register another basis, ask under it, and take it back; returns the number that the version had."""
    number = 0
    with suppress(TakenBackError), gateway.work() as work:
        rest_on(work, Basis.LEGITIMATE_INTEREST)
        number = work.registers.version
        assert asked_basis(work) is Basis.LEGITIMATE_INTEREST
        raise TakenBackError
    return number


def test_a_change_that_was_taken_back_is_not_remembered_under_the_number_of_the_next(gateway: Gateway) -> None:
    number = taken_back(gateway)
    with gateway.work() as work:
        rest_on(work, Basis.CONTRACT)
        while work.registers.version < number:
            work.changed_registers()
        assert work.registers.version == number
        assert asked_basis(work) is Basis.CONTRACT
    with gateway.look() as work:
        assert asked_basis(work) is Basis.CONTRACT


def test_the_same_registers_give_the_same_question(gateway: Gateway) -> None:
    """Answers are remembered by the question's identity: a question put anew each time would remember nothing."""
    with gateway.look() as one:
        first = gateway.decider.ask(EMAIL_MARKETING, one.registers, gateway.rules, NOW_S)
    with gateway.look() as other:
        assert gateway.decider.ask(EMAIL_MARKETING, other.registers, gateway.rules, NOW_S) is first


@pytest.mark.parametrize("basis", list(Basis))
def test_every_basis_fits_where_it_is_kept(gateway: Gateway, basis: Basis) -> None:
    with_source(gateway)
    take(gateway, [a_person(1)])
    with gateway.work() as work:
        rest_on(work, basis)
    with gateway.look() as work:
        assert rows.load(work.session).purposes.purposes[PurposeId(PURPOSE)].basis is basis
    assert answer_for(gateway, ref(1)).reason_code
