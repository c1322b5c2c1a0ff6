"""Mistakes that peers of this gateway made, one test for each that is about rows; `test_vault_peers` has the others.

Read in Databunker: consent rows that are updated in place; errors of the audit log that are ignored; what was erased
left behind in the rows of the audit log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select

from builders import a_consent, a_person, choose, dump, id_of, may_write, ref, subject_id, take, with_source, withdraw
from consent_gateway.audit.entries import EntryKind
from consent_gateway.db import consents, tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.work.gateway import Gateway, Work
from consent_gateway.vault.envelope import derive_audit_key
from fakes import PowerCutError, faults_of
from residue import found_in_bytes

GIVEN = "Canarygivenname"
PLAIN = {
    "email": b"person1@example.org", "member": b"M00001", "name": GIVEN.encode(), "evidence": b"203.0.113.77",
    "born": b"1980-05-17",
}  # fmt: skip
LOG = ("audit_pending", "audit_entries", "audit_tiles", "audit_openings", "audit_head")
LEDGER = ("consent_events", "choice_events")


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Two people with names, consents and evidence."""
    with_source(gateway)
    take(gateway, [a_person(n, given_name=GIVEN) for n in (1, 2)])
    take(gateway, [a_consent(ref(n), evidence=b'{"guardian":"seen","ip":"203.0.113.77"}') for n in (1, 2)])
    return gateway


# -- consent rows updated in place ---------------------------------------------------------------------------------


@contextmanager
def changes_of(store: Store) -> Iterator[list[str]]:
    """The statements inside the block that change or delete a row of the ledger."""
    seen: list[str] = []

    def watch(_connection: Any, _cursor: Any, sql: str, *_more: Any) -> None:
        if sql.startswith(tuple(f"{verb} {table}" for verb in ("UPDATE", "DELETE FROM") for table in LEDGER)):
            seen.append(sql)

    event.listen(store.engine, "before_cursor_execute", watch)
    yield seen
    event.remove(store.engine, "before_cursor_execute", watch)


def live_through(crm: Gateway) -> None:
    """Everything that may happen to what somebody said, short of its deletion."""
    withdraw(crm, ref(1))
    take(crm, [a_consent(ref(1)), a_consent(ref(1)), a_consent(ref(2), channel="sms")])
    for active in (True, False):
        choose(crm, ref(1), Choice.LIMIT_SENSITIVE, active=active)
    with crm.work() as work:
        merged = merge(work, [ref(1), ref(2)], "duplicate").merge
        assert merged is not None
        unmerge(work, merged, "wrong_match")


def test_what_somebody_said_is_never_changed_in_place(crm: Gateway) -> None:
    before = {name: set(dump(crm.store)[name]) for name in LEDGER}
    with changes_of(crm.store) as changed:
        live_through(crm)
    after = {name: set(dump(crm.store)[name]) for name in LEDGER}
    assert changed == []
    assert all(before[name] < after[name] for name in LEDGER), "what stood there stands there, and more"
    assert len(after["consent_events"] - before["consent_events"]) == 4, "a repeated yes is a fact of its own"
    assert not may_write(crm, ref(1)), "what was said last counts, not what came in last"


def test_a_ledger_that_is_updated_in_place_would_be_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: a new fact takes the place of the one before it."""

    def in_place(session: Any, rows: Any) -> None:
        events = tables.consent_events
        for row in rows:
            session.execute(delete(events).where(events.c.subject_id == row["subject_id"]))
            session.execute(insert(events), [row])

    monkeypatch.setattr(consents, "append", in_place)
    with pytest.raises(AssertionError):
        test_what_somebody_said_is_never_changed_in_place(crm)


# -- errors of the audit log that are ignored ----------------------------------------------------------------------


def refused_by_the_log(crm: Gateway) -> None:
    """Say no while the log takes nothing: the error is heard, and nothing happened."""
    before = dump(crm.store)
    with (
        faults_of(crm.store).cut(when=lambda sql: sql.startswith("INSERT INTO audit_pending")),
        pytest.raises(PowerCutError),
    ):
        withdraw(crm, ref(1))
    assert dump(crm.store) == before
    assert may_write(crm, ref(1))


def test_an_entry_that_cannot_be_written_stops_what_it_is_about(crm: Gateway) -> None:
    refused_by_the_log(crm)
    withdraw(crm, ref(1))
    assert not may_write(crm, ref(1)), "and the next attempt is a whole one"


def test_an_error_of_the_log_that_is_swallowed_would_be_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the writer of the log swallows its error, and the rest is committed."""
    original = Work.flush

    def careless(work: Work) -> None:
        with suppress(PowerCutError):
            original(work)

    monkeypatch.setattr(Work, "flush", careless)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        refused_by_the_log(crm)


# -- what was erased left behind in the rows of the log ------------------------------------------------------------


def in_the_log(crm: Gateway, needles: dict[str, bytes]) -> set[str]:
    """The needles that stand in any row of the log, before and after it was integrated."""
    found: set[str] = set()
    for table in LOG:
        for row in dump(crm.store)[table]:
            for cell in row:
                content = cell if isinstance(cell, bytes) else str(cell).encode()
                found |= found_in_bytes(content, needles)
    return found


def erased(crm: Gateway) -> None:
    """Erase person 1 after a life; whatever the log holds of it, it holds nothing that was erased."""
    live_through(crm)
    one = id_of(crm, ref(1))
    with crm.look() as work:
        dek = crm.vault.keys(work.session, [one])[one]
    secrets = PLAIN | {"dek": dek, "audit key": derive_audit_key(dek)}
    assert in_the_log(crm, secrets) == set()
    with crm.work() as work:
        erase(work, subject_id(work, ref(1)), "request")
    assert in_the_log(crm, secrets) == set()
    assert Sequencer(crm).drain()
    assert in_the_log(crm, secrets) == set()
    with crm.look() as work:
        openings = tables.audit_openings
        assert work.session.execute(select(openings).where(openings.c.subject_id == one)).all() == []


def test_nothing_that_was_erased_is_left_in_the_log(crm: Gateway) -> None:
    erased(crm)


@pytest.mark.planted_entry
def test_an_entry_that_names_a_person_would_be_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: an entry about nobody in particular that quotes the address all the same."""
    original = Work.flush

    def chatty(work: Work) -> None:
        if work.entries:
            work.record(EntryKind.EVENTS_IMPORTED, {"note": "person1@example.org"})
        original(work)

    monkeypatch.setattr(Work, "flush", chatty)
    with pytest.raises(AssertionError):
        erased(crm)
