"""The published map of chains: true at the size it names, while the log goes on, whoever publishes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from builders import a_consent, a_person, answer_for, dump, ref, take, twin, with_source
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.maps import MapLeaf, SumCheck, check_growth, check_published, subtree, verify_map
from consent_gateway.clock import FixedClock
from consent_gateway.db import map_store, tables
from consent_gateway.db.map_store import PublishedMap
from consent_gateway.services import maps, worker
from consent_gateway.services.audit_log import Sequencer
from consent_gateway.services.gateway import Gateway
from fakes import PowerCutError, faults_of


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    with_source(gateway)
    take(gateway, [a_person(n) for n in range(1, 40)])
    take(gateway, [a_consent(ref(n)) for n in range(1, 40)])
    return gateway


def published(gateway: Gateway) -> PublishedMap:
    Sequencer(gateway).drain()
    done = maps.publish(gateway)
    assert done is not None
    return done


def log_of(gateway: Gateway) -> list[bytes]:
    Sequencer(gateway).drain()
    with gateway.look() as work:
        rows = work.session.execute(select(tables.audit_entries.c.entry).order_by(tables.audit_entries.c.idx))
        return [bytes(e) for e in rows.scalars()]


def leaves_of(gateway: Gateway) -> list[MapLeaf]:
    with gateway.look() as work:
        return list(map_store.map_leaves(work.session))


def checked(gateway: Gateway) -> SumCheck:
    check = SumCheck()
    for entry in log_of(gateway):
        check.feed(entry)
    return check


def proven(gateway: Gateway, done: PublishedMap) -> None:
    """Every chain, and one that is not there, has its proof under the root; the leaves hash to it."""
    leaves = leaves_of(gateway)
    assert (done.root, done.entries, done.chains) == subtree(leaves)
    with gateway.look() as work:
        for leaf in leaves:
            proof = maps.proof(work.session, leaf.key)
            assert proof.leaf == leaf
            assert verify_map(leaf.key, proof, done.root, done.entries)
        absent = maps.proof(work.session, bytes(32))
        assert absent.leaf is None or absent.leaf.key != bytes(32)
        assert verify_map(bytes(32), absent, done.root, done.entries)


def test_a_map_is_what_the_log_says(crm: Gateway) -> None:
    first = published(crm)
    assert (first.number, first.chains, first.entries) == (1, 39, 39)
    proven(crm, first)
    older = leaves_of(crm)
    for number in (1, 2, 2):
        answer_for(crm, ref(number))
    take(crm, [a_person(99)])
    take(crm, [a_consent(ref(99))])
    second = published(crm)
    assert (second.number, second.chains, second.entries) == (2, 40, 43)
    proven(crm, second)
    check_growth(older, leaves_of(crm))
    assert checked(crm).newest == (second.size, second.entries)
    entries = [parse_entry(e) for e in log_of(crm)]
    (one, two) = (e for e in entries if e.kind is EntryKind.MAP_PUBLISHED)
    assert dict(two.fields) == {"root": second.root.hex(), "chains": 40, "entries": 43, "size": second.size}
    assert (one.uid, two.uid) == (first.uid, second.uid)
    check_published(two.fields, leaves_of(crm))


def test_nothing_new_is_not_published(crm: Gateway) -> None:
    assert maps.publish(crm) is None  # nothing is integrated yet
    published(crm)
    Sequencer(crm).drain()  # the map's own entry is about nobody
    before = dump(crm.store)
    assert maps.publish(crm) is None
    assert dump(crm.store) == before


def test_a_map_holds_at_its_size_while_the_log_goes_on(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and publishing, entries come in for chains that grew already."""
    Sequencer(crm).drain()
    answer_for(crm, ref(1))
    original = maps._put

    def late(*args: object) -> PublishedMap | None:
        answer_for(crm, ref(1))
        Sequencer(crm).drain()
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(maps, "_put", late)
    done = published(crm)
    monkeypatch.undo()
    proven(crm, done)
    assert checked(crm).newest == (done.size, done.entries)
    proven(crm, published(crm))


def test_only_one_of_two_publishes(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    Sequencer(crm).drain()
    other, original = twin(crm), maps._put

    def raced(*args: object) -> PublishedMap | None:
        monkeypatch.undo()
        assert maps.publish(other) is not None
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(maps, "_put", raced)
    assert maps.publish(crm) is None
    assert checked(crm).newest is not None


def test_a_map_that_dies_anywhere_is_not_there(crm: Gateway) -> None:
    Sequencer(crm).drain()
    faults, before = faults_of(crm.store), dump(crm.store)
    for at in range(20):
        try:
            with faults.cut(at=at):
                done = maps.publish(crm)
        except PowerCutError:
            assert dump(crm.store) == before
        else:
            assert at > 3
            assert done is not None
            proven(crm, done)
            return
    raise AssertionError


def test_when_the_next_is_due(crm: Gateway, clock: FixedClock) -> None:
    Sequencer(crm).drain()
    first = maps.due(crm)
    assert first is not None
    list(first)
    assert maps.due(crm) is None
    clock.advance(timedelta(hours=1))
    assert maps.due(crm) is not None


def test_the_worker_publishes_between_its_rounds(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Housekeeping begins it, and each round does a step."""
    monkeypatch.setattr(maps, "_STEP", 5)
    errors: list[Exception] = []
    at_work = worker.Worker(crm, errors.append)
    rounds = 0
    while at_work._publishing is not None or not rounds:
        at_work._round(tally=False, housekeep=not rounds)
        rounds += 1
    assert (errors, rounds > 7) == ([], True)
    with crm.look() as work:
        done = map_store.newest(work.session)
    assert done is not None
    proven(crm, done)


# -- what a dishonest operator would do, and who sees it -----------------------------------------------------------


def drop_from_chain(gateway: Gateway) -> None:
    """Count one entry less in a chain than the log says."""
    with gateway.store.transaction() as session:
        key = session.execute(select(tables.audit_chains.c.chain_key)).scalars().first()
        session.execute(delete(tables.audit_chains).where(tables.audit_chains.c.chain_key == key))


def phantom(gateway: Gateway) -> None:
    """Add a chain of nobody: to make up for an entry that was left out elsewhere."""
    with gateway.store.transaction() as session:
        session.execute(tables.audit_chains.insert(), [{"chain_key": b"p" * 32, "count": 1, "link": bytes(32)}])


def overcount(gateway: Gateway) -> None:
    with gateway.store.transaction() as session:
        key = session.execute(select(tables.audit_chains.c.chain_key)).scalars().first()
        statement = update(tables.audit_chains).where(tables.audit_chains.c.chain_key == key)
        session.execute(statement.values(count=tables.audit_chains.c.count + 1))


@pytest.mark.parametrize("bug", [drop_from_chain, phantom, overcount])
def test_a_map_that_does_not_add_up_is_found_by_anyone(crm: Gateway, bug: Callable[[Gateway], None]) -> None:
    Sequencer(crm).drain()
    bug(crm)
    published(crm)
    with pytest.raises(ValueError, match="of the first"):
        checked(crm)


def test_a_chain_that_shrinks_is_found_by_whoever_kept_the_map_before(crm: Gateway) -> None:
    published(crm)
    older = leaves_of(crm)
    answer_for(crm, ref(1))
    Sequencer(crm).drain()
    with crm.store.transaction() as session:
        grown = {leaf.key: leaf for leaf in map_store.changes(session)[1]}
        victim = next(leaf.key for leaf in older if leaf.key not in grown)
        (winner,) = grown
        statement = update(tables.audit_chains)
        session.execute(statement.where(tables.audit_chains.c.chain_key == victim).values(count=0))
        session.execute(statement.where(tables.audit_chains.c.chain_key == winner).values(count=3))
    published(crm)
    checked(crm)  # the sum is right
    with pytest.raises(ValueError, match="lost"):
        check_growth(older, leaves_of(crm))
    assert json.loads(log_of(crm)[-1])["kind"] == "map.published"
