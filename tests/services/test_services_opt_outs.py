"""A no is taken in even where a yes would be refused; and what an erasure and a reconcile leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text

from builders import NOW_S, a_consent, a_person, by, choose, id_of, may_write, ref, take, with_source, withdraw
from consent_gateway.db import tables
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.erasing import erasure
from consent_gateway.services.identity.reconcile import reconcile
from consent_gateway.services.work.gateway import Gateway

FAR = 400 * 86_400
ADA = ref(1)


@pytest.fixture
def consented(gateway: Gateway) -> Gateway:
    take(with_source(gateway), [a_person(1)])
    take(gateway, [a_consent(ADA)])
    assert may_write(gateway, ADA)
    return gateway


@pytest.mark.parametrize("at", [NOW_S + FAR, 0], ids=["in the future", "before 1990"])
def test_a_withdrawal_with_an_impossible_instant_holds_from_now_on(consented: Gateway, at: int) -> None:
    taken = take(consented, [a_consent(ADA, kind=ConsentKind.WITHDRAWN, at=at)])
    assert (taken.accepted, taken.rejected) == (1, 0)
    assert not may_write(consented, ADA)


@pytest.mark.parametrize("at", [NOW_S + FAR, 0], ids=["in the future", "before 1990"])
def test_an_objection_with_an_impossible_instant_holds_from_now_on(consented: Gateway, at: int) -> None:
    assert choose(consented, ADA, Choice.OBJECTION, at=at).accepted == 1
    assert not may_write(consented, ADA)


@pytest.mark.parametrize("at", [NOW_S + FAR, 0], ids=["in the future", "before 1990"])
def test_a_grant_with_an_impossible_instant_is_refused(consented: Gateway, at: int) -> None:
    withdraw(consented, ADA)
    taken = take(consented, [a_consent(ADA, at=at)])
    assert [r.reasons[0].path for r in taken.rejections] == ["$.at"]
    assert not may_write(consented, ADA)


def test_switching_an_objection_off_is_no_opt_out(consented: Gateway) -> None:
    choose(consented, ADA, Choice.OBJECTION)
    assert choose(consented, ADA, Choice.OBJECTION, active=False, at=NOW_S + FAR).rejected == 1
    assert not may_write(consented, ADA)


def test_a_row_that_belongs_to_nobody_is_found_and_dropped(consented: Gateway) -> None:
    with consented.work() as work:
        work.session.execute(text("DELETE FROM subjects"))
    report = reconcile(consented)
    assert (report.stray, report.clean) == (1, False)
    reconcile(consented, repair=True)
    assert reconcile(consented).clean


def test_the_write_ahead_log_is_emptied_after_an_erasure(sqlite_gateway: Gateway) -> None:
    take(with_source(sqlite_gateway), [a_person(1)])
    ada = id_of(sqlite_gateway, ADA)
    with sqlite_gateway.work() as work:
        erasure.erase(work, ada, "request")
    log = Path(f"{sqlite_gateway.store.engine.url.database}-wal")
    assert log.stat().st_size
    assert sqlite_gateway.store.truncate_log()
    assert not log.stat().st_size


@pytest.mark.parametrize("lost", [True, False], ids=["a no is lost", "a no that nobody said"])
def test_reconcile_compares_contact_points_with_the_suppression_list(consented: Gateway, lost: bool) -> None:  # noqa: FBT001
    withdraw(consented, by("email", "stranger@example.org"))
    take(consented, [a_person(7, identifiers={"member_no": "M00007", "email": "stranger@example.org"}), a_person(8)])
    assert reconcile(consented).clean
    kinds = tables.identifiers.c.kind == "email"
    with consented.store.transaction() as session:
        session.execute(tables.identifiers.update().where(kinds).values(suppressed=not lost))
    found = reconcile(consented, repair=True)
    assert (found.clean, found.suppressed, found.unread) == (False, 1 if lost else len(emails(consented)) - 1, 0)
    assert reconcile(consented).clean
    assert sum(emails(consented)) == 1


def test_reconcile_passes_over_whom_it_cannot_open(consented: Gateway) -> None:
    withdraw(consented, by("email", "stranger@example.org"))
    take(consented, [a_person(7, identifiers={"member_no": "M00007", "email": "stranger@example.org"})])
    who = id_of(consented, ref(7))
    with consented.store.transaction() as session:
        key = tables.subject_keys.c
        wrapped = bytes(session.execute(select(key.wrapped_dek).where(key.subject_id == who)).scalar_one())
        broken = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        session.execute(tables.subject_keys.update().where(key.subject_id == who).values(wrapped_dek=broken))
    assert reconcile(consented).unread == 1


def emails(gateway: Gateway) -> list[bool]:
    """Of each e-mail address, whether it says that it is suppressed."""
    with gateway.look() as work:
        c = tables.identifiers.c
        return [bool(s) for s in work.session.execute(select(c.suppressed).where(c.kind == "email")).scalars()]
