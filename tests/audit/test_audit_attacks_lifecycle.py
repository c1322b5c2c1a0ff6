"""What happens to a log in its life and must not look like an attack, and what must: erasure, restore, rotation, clocks,
a move between stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from audit_attackers import TABLES, Attacker
from audit_outsiders import go_says
from sqlalchemy import delete, func, insert, select

from builders import (
    EMAIL_MARKETING,
    NOW,
    a_consent,
    a_gateway,
    a_person,
    answer_for,
    id_of,
    ref,
    take,
    with_source,
)
from consent_gateway.audit.commitments import opening_salt
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.verifier import Finding, verify_directory, verify_payload, verify_receipt
from consent_gateway.clock import FixedClock
from consent_gateway.db import tables
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.migrate import upgrade
from consent_gateway.domain.ids import SubjectId
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.keys.dek_rotation import rotate
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons.merges import merge
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.vault.envelope import derive_audit_key

pytestmark = pytest.mark.planted_entry  # only their bytes count here


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Person 1 acts (consent), is asked about (a decision) and stands in what is about another (a merge)."""
    with_source(gateway)
    take(gateway, [a_person(1), a_person(2), a_person(3)])
    take(gateway, [a_consent(ref(number)) for number in (1, 2, 3)])
    with gateway.work() as work:
        merge(work, [ref(1), ref(3)], "duplicate")
    answer_for(gateway, ref(1), EMAIL_MARKETING)
    return gateway


def checkpoint(gateway: Gateway) -> bytes:
    Sequencer(gateway).drain()
    with gateway.look() as work:
        return audit_log.checkpoint(work.session)


def verified(gateway: Gateway, folder: Path, *kept: bytes) -> Finding:
    """Export what is there and have it checked in full, by the Go program as well."""
    Sequencer(gateway).drain()
    served = Attacker(gateway, {}).serve(folder)
    assert go_says("tree", gateway.signer.vkey, served)[0]
    return verify_directory(gateway.signer.vkey, served, earlier=kept, strict=True)


def openings(gateway: Gateway, subject: SubjectId) -> list[tuple[bytes, str, bytes]]:
    table = tables.audit_openings
    with gateway.look() as work:
        rows = work.session.execute(select(table).where(table.c.subject_id == subject)).all()
    return [(bytes(row.uid), row.name, bytes(row.payload)) for row in rows]


def test_an_erased_person_leaves_a_log_that_verifies(crm: Gateway, tmp_path: Path) -> None:
    kept = [checkpoint(crm)]
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        key = derive_audit_key(crm.vault.keys(work.session, [gone])[gone])
        receipts = {uid: audit_log.receipt(work.session, uid) for uid, _, _ in openings(crm, gone)}
    before = openings(crm, gone)
    assert len(before) >= 2
    with crm.work() as work:
        erase(work, gone, "request")
    assert openings(crm, gone) == []
    finding = verified(crm, tmp_path / "log", *kept)
    assert finding.ok, str(finding)
    with crm.look() as work:
        for uid, name, payload in before:
            entry = audit_log.find(work.session, uid).entry
            assert verify_receipt(crm.signer.vkey, receipts[uid], entry).ok
            salt = opening_salt(key, uid, name)
            assert verify_payload(entry, name, salt, payload).ok  # whoever was given the salt can still prove it
            assert crm.vault.keys(work.session, [gone]) == {}  # and nobody can make it again


def _rows(gateway: Gateway, *wanted: Any) -> dict[Any, list[dict[str, Any]]]:
    with gateway.look() as work:
        return {table: [dict(row) for row in work.session.execute(select(table)).mappings()] for table in wanted}


def test_a_backup_that_revives_erased_salts_is_older_than_what_was_published(crm: Gateway, tmp_path: Path) -> None:
    gone = id_of(crm, ref(1))
    checkpoint(crm)
    backup = _rows(crm, *TABLES, tables.audit_openings)
    with crm.work() as work:
        erase(work, gone, "request")
    kept = checkpoint(crm)
    assert verified(crm, tmp_path / "today", kept).ok
    with crm.store.transaction() as session:
        for table, rows in backup.items():
            session.execute(delete(table))
            session.execute(insert(table), rows)
    assert openings(crm, gone) != []  # the openings are back
    size = len(backup[tables.audit_entries])
    finding = verified(crm, tmp_path / "restored", kept)
    assert (finding.code, finding.index) == ("rolled_back", size)


def test_keys_of_people_change_and_the_log_goes_on(crm: Gateway, tmp_path: Path) -> None:
    mine = id_of(crm, ref(2))
    kept = checkpoint(crm)
    with crm.work() as work:
        rotate(work, mine, "test")
    finding = verified(crm, tmp_path, kept)
    assert finding.ok, str(finding)


def test_a_clock_that_goes_back_is_told_and_breaks_nothing(store: Store, tmp_path: Path) -> None:
    gateway = a_gateway(store, clock=FixedClock(NOW))
    record(gateway, 3)
    kept = checkpoint(gateway)
    back = a_gateway(store, keyring=gateway.vault.provider.keyring, clock=FixedClock(NOW - timedelta(days=2)))
    record(back, 2)
    finding = verified(back, tmp_path, kept)
    assert finding.ok, str(finding)
    assert finding.details["strict"] == {"entries": 5, "step_back_ms": 2 * 86_400_000, "step_back_index": 3}


def record(gateway: Gateway, count: int) -> None:
    with gateway.work() as work:
        for number in range(count):
            work.record(EntryKind.ADMIN_ACTION, {"action": "test", "number": number})


@pytest.fixture
def other_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(sqlite_url(str(tmp_path / "other.sqlite3")))
    upgrade(store)
    yield store
    store.dispose()


def test_a_log_moves_to_another_store_byte_for_byte(store: Store, other_store: Store, tmp_path: Path) -> None:
    """From PostgreSQL, or SQLite, to SQLite: one history, the same files, and it goes on there."""
    attacker = Attacker.over(store)
    here = attacker.serve(tmp_path / "here")
    moved = a_gateway(other_store, keyring=attacker.gateway.vault.provider.keyring)
    with other_store.transaction() as session:
        for table, rows in _rows(attacker.gateway, *TABLES).items():
            session.execute(insert(table), rows)
    there = Attacker(moved, attacker.notes).serve(tmp_path / "there")
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file())
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in files)
    record(moved, 5)
    finding = verified(moved, tmp_path / "grown", *attacker.kept)
    assert (finding.ok, finding.details["size"]) == (True, 605)
    with store.reading() as session:
        assert session.execute(select(func.count()).select_from(tables.audit_entries)).scalar_one() == 600
