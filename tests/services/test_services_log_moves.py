"""The log goes from store to store byte for byte, in whatever parts, and to no store that is not a prefix of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from log_builders import grow, of_entries, sqlite_log

from builders import a_gateway, a_person, answer_for, dump, ref, take, twin, with_source
from consent_gateway.audit import verifier
from consent_gateway.audit.entries import EntryKind
from consent_gateway.audit.log import make_prefix_proof
from consent_gateway.audit.proofs import verify_consistency
from consent_gateway.db import log_moves as stored
from consent_gateway.db import log_store, tables
from consent_gateway.db.engine import Session, Store, sqlite_url
from consent_gateway.db.migrate import upgrade
from consent_gateway.errors import AuditError, ConflictError
from consent_gateway.services.log import log_moves, maps
from consent_gateway.services.log.audit_log import Sequencer, require_own_log
from consent_gateway.services.log.log_directories import PlainDirectory
from consent_gateway.services.log.log_exports import export
from consent_gateway.services.log.log_moves import move_log
from consent_gateway.services.work.gateway import Gateway
from fakes import PowerCutError, faults_of
from templates import fresh_database

LOG = (
    "audit_entries",
    "audit_tiles",
    "audit_head",
    "audit_chains",
    "audit_maps",
    "audit_map_leaves",
    "audit_map_nodes",
)


@pytest.fixture(params=["to sqlite", pytest.param("to postgres", marks=pytest.mark.postgres)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of either kind: with `gateway`, every way from one to the other."""
    if request.param == "to sqlite":
        yield from opened(sqlite_url(str(tmp_path / "target.sqlite3")))
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield from opened(url)


def opened(url: str) -> Iterator[Store]:
    store = Store(url)
    upgrade(store)
    yield store
    store.dispose()


def log_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    return {name: sorted(rows) for name, rows in dump(store).items() if name in LOG}


def files(gateway: Gateway, directory: Path) -> dict[str, bytes]:
    export(gateway, PlainDirectory(directory))
    assert verifier.verify_directory(gateway.signer.vkey, directory).ok
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_source_that_goes_on_is_copied_as_of_one_moment(
    gateway: Gateway, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chains and maps are those of the head that comes with them, whatever is appended between two statements."""
    take(with_source(gateway), [a_person(1)])
    answer_for(gateway, ref(1))
    grow(gateway, 60)
    maps.publish(gateway)
    Sequencer(gateway).drain()
    before, taken, other = log_of(gateway.store), stored.belonging, twin(gateway)

    def late(session: Session) -> object:
        answer_for(other, ref(1))
        Sequencer(other).drain()
        maps.publish(other)
        return taken(session)

    monkeypatch.setattr(stored, "belonging", late)
    move_log(gateway.store, target)
    assert log_of(target) == before
    assert log_of(gateway.store) != before


def test_the_copy_is_the_log_byte_for_byte_and_goes_on(gateway: Gateway, target: Store, tmp_path: Path) -> None:
    take(with_source(gateway), [a_person(1)])
    answer_for(gateway, ref(1))
    grow(gateway, 600)
    maps.publish(gateway)
    Sequencer(gateway).drain()
    first = move_log(gateway.store, target)
    assert first.before == 0
    assert log_of(target) == log_of(gateway.store)
    other = a_gateway(target, keyring=gateway.vault.provider.keyring)
    require_own_log(other)
    assert files(other, tmp_path / "copy") == files(gateway, tmp_path / "original")
    with target.reading() as session:
        before = log_store.stored_head(session)
    grow(gateway, 300)
    second = move_log(gateway.store, target)
    assert (second.before, second.size) == (first.size, first.size + 300)
    assert log_of(target) == log_of(gateway.store)
    with target.reading() as session:
        after = log_store.stored_head(session)
        assert before is not None
        assert after is not None
        proof = make_prefix_proof(before.size, after.size, lambda *tile: log_store.read_tile(session, *tile))
    assert verify_consistency(before.size, after.size, before.root, after.root, proof)
    assert move_log(gateway.store, target).before == second.size


def test_a_copy_that_dies_anywhere_goes_on_and_cannot_be_written_to(
    sqlite_gateway: Gateway, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_moves, "_PART", 100)
    grow(sqlite_gateway, 350)
    maps.publish(sqlite_gateway)
    Sequencer(sqlite_gateway).drain()
    faults, died = faults_of(target), 0
    for at in count(1):
        try:
            with faults.cut(at=at):
                move_log(sqlite_gateway.store, target)
        except PowerCutError:
            died += 1
            with target.reading() as session:
                assert log_store.stored_head(session) is None  # no half log has a head
        else:
            break
    assert died > 5
    assert log_of(target) == log_of(sqlite_gateway.store)


def refused(source: Gateway, target: Gateway, match: str) -> None:
    before = dump(target.store)
    with pytest.raises(ConflictError, match=match):
        move_log(source.store, target.store)
    assert dump(target.store) == before


def test_a_target_that_is_no_prefix_is_left_as_it_is(tmp_path: Path) -> None:
    source, fork, longer, busy = (sqlite_log(tmp_path / f"{n}.sqlite3") for n in range(4))
    entries = [canonical(n) for n in range(300)]
    of_entries(source, entries)
    of_entries(fork, [*entries[:99], canonical(999)])
    of_entries(longer, [*entries, canonical(300)])
    with busy.work() as work:
        work.record(EntryKind.ADMIN_ACTION, {"action": "test"})
    refused(source, fork, "not the first of the source")
    refused(source, longer, "has 301 entries, the source 300")
    refused(source, busy, "entries of its own")


def canonical(number: int) -> bytes:
    fields = b'{"actor":"a","at":1,"commitments":{},"fields":{},"kind":"admin.action","uid":"%b","v":1}'
    return fields % number.to_bytes(16, "big").hex().encode()


def test_a_damaged_source_gives_no_head(tmp_path: Path) -> None:
    source, target = (sqlite_log(tmp_path / f"{n}.sqlite3") for n in range(2))
    of_entries(source, [canonical(n) for n in range(300)])
    with source.store.transaction() as session:
        changed = tables.audit_entries.update().where(tables.audit_entries.c.idx == 7)
        session.execute(changed.values(entry=canonical(7).replace(b'"at":1', b'"at":2')))
    with pytest.raises(AuditError, match="signed root"):
        move_log(source.store, target.store)
    with target.store.reading() as session:
        assert log_store.stored_head(session) is None
