"""Erased is erased: no row, no key, no opening, no way back in, and nothing left in the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from builders import (
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_person,
    answer_for,
    by,
    choose,
    id_of,
    incoming,
    may_write,
    ref,
    subject_id,
    take,
    twin,
    with_source,
)
from consent_gateway.audit import verifier
from consent_gateway.audit.chains import chain_key, chain_secret
from consent_gateway.audit.commitments import opening_salt
from consent_gateway.db import engine as engine_module
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db import tables
from consent_gateway.db.engine import Store
from consent_gateway.db.subjects import _OWNED
from consent_gateway.domain.circumstances import Told
from consent_gateway.domain.consents import ConsentKind
from consent_gateway.domain.ids import NoticeId, SubjectId
from consent_gateway.domain.segments import Everyone
from consent_gateway.domain.subjects import Choice
from consent_gateway.errors import NotFoundError
from consent_gateway.services.disclosing import audiences
from consent_gateway.services.erasing.erasure import Erasure, erase
from consent_gateway.services.ledger import notices
from consent_gateway.services.log import audit_log
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.persons.merges import merge, unmerge
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import ContactItem, EventItem, NoticeShownItem, SignalItem, SubjectItem
from consent_gateway.services.work.vault import open_group
from consent_gateway.vault import phones
from consent_gateway.vault.envelope import derive_audit_key
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.normalisers import normalise

EMAIL = "canary-9f1@example.org"
PHONE = "+4915112345678"
NAME = "Canaryname"


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """A person with something in every table, and a neighbour."""
    return filled(gateway)


def filled(gateway: Gateway) -> Gateway:
    with_source(gateway)
    item = SubjectItem(
        {"member_no": "M00001", "email": EMAIL, "phone": PHONE}, "DE", NAME, birth_date="1980-05-17", language="de"
    )
    item = replace(item, told=Told(in_sale=True))
    take(gateway, [item, a_person(2)])
    take(gateway, [a_consent(ref(n), evidence=b'{"ip":"203.0.113.9","guardian":"seen"}') for n in (1, 2)])
    choose(gateway, ref(1), Choice.LIMIT_SENSITIVE)
    take(gateway, [EventItem(ref(n), "buy", NOW_S, f"k{n}") for n in (1, 2)])
    take(gateway, [ContactItem(ref(n), "email", NOW_S, "spring", f"k{n}") for n in (1, 2)])
    take(gateway, [SignalItem(ref(n), "1", NOW_S) for n in (1, 2)])
    take(gateway, [a_consent(ref(n), kind=ConsentKind.PENDING, confirm=True) for n in (1, 2)])
    with gateway.work() as work:
        notices.put_notice(work, NoticeId("privacy"), 1, "en", "Privacy", "We do.")
        shown = [NoticeShownItem(ref(n), "privacy", 1, "en", NOW_S, None) for n in (1, 2)]
        notices.record_shown(work, "crm", incoming(shown), "0" * 64)
    answer_for(gateway, ref(1))
    return gateway


def forget(gateway: Gateway, number: int = 1) -> Erasure:
    with gateway.work() as work:
        return erase(work, subject_id(work, ref(number)), "request")


def rows_of(gateway: Gateway, subject: SubjectId) -> dict[str, int]:
    """How many rows each table has about a subject, by its column `subject_id`, and its own row."""
    counts = {}
    with gateway.look() as work:
        for table in tables.metadata.sorted_tables:
            column = table.c.get("subject_id", table.c.id if table.name == "subjects" else None)
            if column is not None:
                statement = select(func.count()).select_from(table).where(column == subject)
                counts[table.name] = work.session.execute(statement).scalar_one()
    return counts


NAMING = ("subject_id", "other_id", "head_id", "guardian")  # every column that holds the id of a person


def named_anywhere(gateway: Gateway, subject: SubjectId) -> set[str]:
    """Where the id of a subject stands in any column that names a person, its own row too."""
    found = set()
    with gateway.look() as work:
        for table in tables.metadata.sorted_tables:
            for column in [table.c[name] for name in NAMING if name in table.c]:
                if work.session.execute(select(column).where(column == subject).limit(1)).first() is not None:
                    found.add(f"{table.name}.{column.name}")
        row = work.session.execute(select(tables.subjects.c.id).where(tables.subjects.c.id == subject)).first()
    return found | ({"subjects"} if row else set())


def related(gateway: Gateway) -> tuple[SubjectId, SubjectId]:
    """Person 1, merged with a later subject of theirs, guardian of a child, with an undone merge behind; both ids."""
    take(gateway, [a_person(4), a_person(5, birth_date="2015-05-17")])
    take(gateway, [a_consent(ref(5), guardian=ref(1))])
    with gateway.work() as work:
        merge(work, [ref(1), ref(4)], "duplicate")
        undone = merge(work, [ref(1), ref(2)], "duplicate").merge
        assert undone is not None
        unmerge(work, undone, "wrong_match")
    return id_of(gateway, ref(1)), id_of(gateway, ref(4))


def test_an_erased_person_is_named_by_nobody_else(crm: Gateway) -> None:
    """As a member of a merge, as one in a merge that was undone, and as somebody's guardian."""
    first, second = related(crm)
    assert {"merges.other_id", "subject_links.head_id", "consent_events.guardian"} <= named_anywhere(
        crm, first
    ) | named_anywhere(crm, second)
    forget(crm)
    assert named_anywhere(crm, first) == named_anywhere(crm, second) == set()
    assert named_anywhere(crm, id_of(crm, ref(2)))


@pytest.mark.parametrize("forgotten", ["consent_confirmations", "notice_views", "signals", "circumstances"])
def test_a_table_that_is_forgotten_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch, forgotten: str) -> None:
    """The planted bug: an erasure that does not know one of the tables."""
    monkeypatch.setattr(subject_rows, "_OWNED", tuple(t for t in _OWNED if t.name != forgotten))
    gone = id_of(crm, ref(1))
    forget(crm)
    assert named_anywhere(crm, gone) == {f"{forgotten}.subject_id"}


def test_every_column_that_names_a_person_is_looked_at() -> None:
    """A new column of numbers that ends like the name of a person belongs to `NAMING`."""
    names = {c.name for t in tables.metadata.sorted_tables for c in t.columns if t.name != "audience_members"}
    assert {n for n in names if "subject_id" in n or n in {"other_id", "head_id", "guardian"}} == set(NAMING)


def test_every_table_that_names_a_person_is_emptied() -> None:
    """A new table with a subject_id must be added to what an erasure deletes."""
    naming = {t.name for t in tables.metadata.sorted_tables if "subject_id" in t.c}
    assert naming == {t.name for t in _OWNED}


def test_no_row_is_left_and_the_neighbour_keeps_all(crm: Gateway) -> None:
    gone, neighbour = id_of(crm, ref(1)), id_of(crm, ref(2))
    before = rows_of(crm, gone)
    assert {name for name, n in before.items() if n == 0} <= {
        "subject_traits",
        "merges",
        "subject_links",
        "canaries",
        "legal_holds",
        "pending_erasures",
        "retired_audit_keys",
    }
    kept = rows_of(crm, neighbour)
    done = forget(crm)
    assert (done.tombstones, done.rows) == (3, sum(before.values()) - before["subjects"])
    assert set(rows_of(crm, gone).values()) == {0}
    assert rows_of(crm, neighbour) == kept
    with pytest.raises(NotFoundError), crm.work() as work:
        erase(work, gone, "again")


def test_sealed_copies_cannot_be_read_without_the_key(crm: Gateway) -> None:
    """A backup holds the ciphertext; the key that opened it is nowhere in the store any more."""
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        dek = crm.vault.keys(work.session, [gone])[gone]
        mine = next(g for g in _groups(work) if g.subject_id == gone and g.name == "contact")
        assert EMAIL in json.dumps(open_group(dek, mine))
        other = subject_id(work, ref(2))
        others = crm.vault.keys(work.session, [other])
    forget(crm)
    with crm.look() as work:
        assert crm.vault.keys(work.session, [gone]) == {}
        assert all(g.subject_id != gone for g in _groups(work))
    for key in others.values():
        with pytest.raises(VaultError):
            open_group(key, mine)


def _groups(work: Any) -> list[Any]:
    return list(work.session.execute(select(tables.sealed_groups)))


def test_the_log_verifies_and_its_commitments_cannot_be_opened(crm: Gateway, tmp_path: Path) -> None:
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        audit_key = derive_audit_key(crm.vault.keys(work.session, [gone])[gone])
        mine = select(tables.audit_openings).where(tables.audit_openings.c.subject_id == gone)
        openings = [(bytes(o.uid), bytes(o.payload)) for o in work.session.execute(mine)]
    Sequencer(crm).drain()
    before = _checkpoint(crm)
    done = forget(crm)
    Sequencer(crm).drain()
    audit_log.export(crm, tmp_path / "log")
    vkey = crm.signer.vkey
    assert verifier.verify_directory(vkey, tmp_path / "log", earlier=before).ok
    with crm.look() as work:
        held = work.session.execute(select(tables.audit_openings.c.uid)).scalars().all()
        assert not {bytes(u) for u in held} & ({uid for uid, _ in openings} | {done.uid})
        for uid, payload in openings:
            found = audit_log.find(work.session, uid)
            assert verifier.verify_receipt(vkey, audit_log.receipt(work.session, uid), found.entry).ok
            # Whoever kept the salt from before can prove it; nobody can compute it any more.
            assert verifier.verify_payload(found.entry, "subject", opening_salt(audit_key, uid, "subject"), payload).ok
            assert not verifier.verify_payload(found.entry, "subject", bytes(32), payload).ok
        entry = json.loads(audit_log.find(work.session, done.uid).entry)
    assert entry["kind"] == "subject.erased"
    (chain,) = entry["fields"].pop("chains")
    assert entry["fields"] == {"reason": "request", "tombstones": 3, "openings": len(openings)}
    assert chain == {"chain": chain_key(chain_secret(audit_key)).hex(), "count": len(openings) + 1}


def _checkpoint(gateway: Gateway) -> bytes:
    with gateway.look() as work:
        return audit_log.checkpoint(work.session)


@pytest.mark.parametrize(
    "identifiers", [{"member_no": "M00001"}, {"email": EMAIL.upper()}, {"phone": "0151 12345678"}, {"email": EMAIL}]
)
def test_no_spelling_of_any_identifier_comes_back(crm: Gateway, identifiers: dict[str, str]) -> None:
    forget(crm)
    taken = take(crm, [SubjectItem(identifiers, "DE"), a_person(3)])
    assert [(r.row, r.reasons[0].code) for r in taken.rejections] == [(1, "erased")]
    assert taken.created == 1


def test_an_erased_person_is_nobody_to_every_use_case(crm: Gateway) -> None:
    with crm.look() as work:
        pseudonym = crm.vault.pseudonym(subject_id(work, ref(1)), work.actor.recipient, work.registers)
    forget(crm)
    for who in (ref(1), by("email", EMAIL), by("pseudonym", pseudonym)):
        assert answer_for(crm, who).reason_code == "unknown_subject"
    with crm.work() as work:
        found = audiences.resolve(work, Everyone(), EMAIL_MARKETING)
    assert found.row.size == 1


def test_an_id_is_never_given_twice(crm: Gateway) -> None:
    """Whoever holds a pseudonym of the erased person must not find it means somebody else."""
    last = id_of(crm, ref(2))
    forget(crm, 2)
    take(crm, [a_person(9)])
    assert id_of(crm, ref(9)) > last


def test_the_address_of_an_erased_person_stays_suppressed(crm: Gateway) -> None:
    """A tombstone refuses the import; should it be lifted, the address still receives nothing."""
    forget(crm)
    with crm.work() as work:
        work.session.execute(tables.tombstones.delete())
    take(crm, [SubjectItem({"member_no": "M00077", "email": EMAIL}, "DE", birth_date="1980-05-17")])
    take(crm, [a_consent(ref(77))])
    assert not may_write(crm, ref(77))


def test_a_failing_erasure_erases_nothing(crm: Gateway) -> None:
    before = rows_of(crm, id_of(crm, ref(1)))

    def fail() -> None:
        with crm.work() as work:
            erase(work, subject_id(work, ref(1)), "request")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert rows_of(crm, id_of(crm, ref(1))) == before


# -- the file ------------------------------------------------------------------------------------------------------


def secrets_of(store: Store) -> dict[str, list[bytes]]:
    """The bytes that must not be found: wrapped keys, ciphertexts, evidence."""
    with store.reading() as session:
        columns = (
            tables.subject_keys.c.wrapped_dek,
            tables.sealed_groups.c.sealed,
            tables.consent_events.c.evidence,
        )
        return {c.name: [bytes(b) for b in session.execute(select(c)).scalars()] for c in columns}


def left_in(path: Path, store: Store, secrets: dict[str, list[bytes]]) -> dict[str, int]:
    """How many of the bytes the database file still holds after a checkpoint."""
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = b"".join(p.read_bytes() for p in path.iterdir() if p.is_file())
    return {name: n for name, values in secrets.items() if (n := sum(v in raw for v in values))}


def crowd(gateway: Gateway, people: int = 150) -> None:
    with_source(gateway)
    take(gateway, [a_person(n, given_name=NAME) for n in range(people)])
    take(gateway, [a_consent(ref(n), evidence=b'{"guardian":"%b"}' % (b"e" * 600)) for n in range(people)])


def test_nothing_of_erased_people_is_left_in_the_file(sqlite_gateway: Gateway, tmp_path: Path) -> None:
    """Enough people that pages are merged and freed: that is where copies survive."""
    crowd(sqlite_gateway)
    secrets = secrets_of(sqlite_gateway.store)
    assert left_in(tmp_path, sqlite_gateway.store, secrets) == {name: len(found) for name, found in secrets.items()}
    for n in range(150):
        forget(sqlite_gateway, n)
    plain = {"plain": [b"person7@example.org", NAME.encode(), b"M00007", b"203.0.113.9"]}
    assert left_in(tmp_path, sqlite_gateway.store, secrets | plain) == {}


def test_a_file_that_keeps_freed_pages_is_found(
    sqlite_gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted setting: FAST overwrites rows, and leaves their copies in the pages that are freed."""
    monkeypatch.setitem(engine_module._SQLITE_PRAGMAS, "secure_delete", "FAST")
    sqlite_gateway.store.dispose()  # from here on, connections are opened with it
    with pytest.raises(AssertionError):
        test_nothing_of_erased_people_is_left_in_the_file(sqlite_gateway, tmp_path)


def test_every_process_forgets_how_the_erased_were_spelt(crm: Gateway) -> None:
    """The normalisers remember values; who erased somebody forgets at once, the others within seconds."""
    other = Worker(twin(crm), lambda error: pytest.fail(repr(error)))
    other._round(tally=True, housekeep=False)
    who = id_of(crm, ref(2))
    with crm.work() as work:
        erase(work, who, "request")
    normalise("phone", "+49 (30) 90 18 20 # spelt oddly")
    assert phones._by_library.cache_info().currsize
    other._round(tally=True, housekeep=False)
    assert not phones._by_library.cache_info().currsize
    normalise("phone", "+49 (30) 90 18 20 # spelt oddly")
    other._round(tally=True, housekeep=False)
    assert phones._by_library.cache_info().currsize  # nobody was erased since
