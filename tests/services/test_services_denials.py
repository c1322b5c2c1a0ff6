"""Who is turned away is in the log, counted, and nobody can fill the log by knocking."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from builders import NOW_S
from consent_gateway.api.auth import authenticate
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.errors import AuthenticationError, ForbiddenError
from consent_gateway.services.log import denials
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work import principals
from consent_gateway.services.work.denial_counts import _MOST
from consent_gateway.services.work.gateway import Gateway
from fakes import PowerCutError, faults_of


def told(gateway: Gateway) -> list[tuple[str, str, str, int, int]]:
    with gateway.look() as work:
        entries = [parse_entry(bytes(e)) for e in work.session.execute(select(tables.audit_pending.c.entry)).scalars()]
    found = [e.fields for e in entries if e.kind is EntryKind.ACCESS_DENIED]
    return [(f["principal"], f["scope"], f["why"], f["count"], f["minute"]) for f in found]  # type: ignore[misc]


def knock(gateway: Gateway, key: str, scope: str = "audit") -> None:
    with pytest.raises((AuthenticationError, ForbiddenError)):
        authenticate(gateway, [(b"authorization", b"Bearer " + key.encode())], scope)


def test_a_minute_of_knocking_is_one_entry(gateway: Gateway, clock: FixedClock) -> None:
    with gateway.work() as work:
        key = principals.issue(work, "shop", "self", frozenset({"ingest"}))
    for n in range(50):
        knock(gateway, f"nobody's {n}")
        knock(gateway, key)
    knock(gateway, key, "erase")
    with pytest.raises(AuthenticationError):
        authenticate(gateway, [], "audit")
    denials.record(gateway)
    assert told(gateway) == []  # the minute goes on
    clock.advance(timedelta(minutes=1))
    knock(gateway, key)
    denials.record(gateway)
    first = [
        ("", "audit", "unauthenticated", 51),
        ("shop", "audit", "forbidden", 50),
        ("shop", "erase", "forbidden", 1),
    ]
    assert [t[:4] for t in told(gateway)] == first
    assert {t[4] for t in told(gateway)} == {NOW_S}
    denials.record(gateway, everything=True)
    assert told(gateway)[3:] == [("shop", "audit", "forbidden", 1, NOW_S + 60)]


def test_however_many_knock_memory_and_log_are_bounded(gateway: Gateway) -> None:
    for n in range(3 * _MOST):
        gateway.denials.note(f"key{n}", "audit", "forbidden", NOW_S)
    denials.record(gateway, everything=True)
    assert len(told(gateway)) == _MOST + 1
    assert ("", "", "more", 2 * _MOST, NOW_S) in told(gateway)


def test_what_cannot_be_written_is_counted_still(gateway: Gateway) -> None:
    knock(gateway, "nobody")
    with faults_of(gateway.store).cut(at=1), pytest.raises(PowerCutError):
        denials.record(gateway, everything=True)
    knock(gateway, "nobody")
    Worker(gateway, lambda error: pytest.fail(str(error)))._finish()
    with gateway.look() as work:
        last = work.session.execute(tables.audit_entries.select().order_by(tables.audit_entries.c.idx.desc())).first()
    assert last is not None
    assert parse_entry(bytes(last.entry)).fields["count"] == 2
