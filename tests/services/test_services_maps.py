"""The published map of chains: true at the size it names, while the log goes on, whoever publishes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from builders import a_consent, a_person, answer_for, dump, ref, take, twin, with_source
from consent_gateway.audit.entries import EntryKind, parse_entry
from consent_gateway.audit.maps import (
    MapLeaf,
    Subtree,
    SumCheck,
    check_growth,
    check_published,
    subtree,
    unpack_leaves,
    verify_map,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import map_store, tables
from consent_gateway.db.map_store import PublishedMap
from consent_gateway.services.log import maps
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.checkpoint_copies import Copies
from consent_gateway.services.log.self_check import SelfCheck
from consent_gateway.services.threads.log_keeper import Care, LogKeeper
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.log_gate import Fault, FaultKind
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


def test_only_one_of_two_publishes(crm: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    Sequencer(crm).drain()
    other, original = twin(crm), maps._put

    def raced(*args: object) -> PublishedMap | None:
        monkeypatch.undo()
        clock.advance(timedelta(seconds=maps.PATIENCE_SECONDS))
        assert maps.publish(other) is not None
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(maps, "_put", raced)
    assert maps.publish(crm) is None
    assert checked(crm).newest is not None


def read_map(gateway: Gateway) -> tuple[PublishedMap | None, list[MapLeaf], dict[int, Subtree]]:
    """What counts of the published map."""
    with gateway.look() as work:
        session = work.session
        return map_store.newest(session), list(map_store.map_leaves(session)), map_store.nodes(session)


def until_published(gateway: Gateway, clock: FixedClock, ends: Callable[[], object]) -> PublishedMap:
    """Publish again and again, dying one statement later each time; whatever an attempt left does not count."""
    faults, before, log = faults_of(gateway.store), read_map(gateway), log_of(gateway)
    for at in range(200):
        try:
            with faults.cut(at=at):
                done = maps.publish(gateway)
        except PowerCutError:
            assert (read_map(gateway), log_of(gateway)) == (before, log)
            clock.advance(timedelta(seconds=maps.PATIENCE_SECONDS))
            ends()
            log = log_of(gateway)
        else:
            assert at > 5
            assert done is not None
            return done
    raise AssertionError


def test_a_map_that_dies_anywhere_is_not_there(
    crm: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first map, and one over leaves that were there before, while chains grow between the attempts."""
    monkeypatch.setattr(maps, "_STEP", 9)
    Sequencer(crm).drain()
    proven(crm, until_published(crm, clock, lambda: None))
    people = iter(range(1, 200))
    answer_for(crm, ref(1))
    Sequencer(crm).drain()
    done = until_published(crm, clock, lambda: answer_for(crm, ref(1 + next(people) % 39)))
    proven(crm, done)
    assert checked(crm).newest == (done.size, done.entries)


def test_a_map_that_is_half_written_does_not_count_and_the_one_before_does(
    crm: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_STEP", 1)
    proven(crm, published(crm))
    for number in range(1, 40):
        answer_for(crm, ref(number))
    take(crm, [a_person(99)])
    take(crm, [a_consent(ref(99))])
    Sequencer(crm).drain()
    before, steps = read_map(crm), maps.publishing(crm)
    count = 0
    while (done := next(steps)) is None:
        assert read_map(crm) == before
        proven(crm, before[0])  # type: ignore[arg-type]
        count += 1
    assert count > 20
    assert done.number == 2
    proven(crm, done)


def test_an_attempt_that_others_took_over_writes_nothing_more(
    crm: Gateway, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept for a minute between two steps; its leaves of before are overwritten, those after are refused."""
    monkeypatch.setattr(maps, "_STEP", 4)
    Sequencer(crm).drain()
    slow, other = maps.publishing(crm), twin(crm)
    assert [next(slow) for _ in range(3)] == [None, None, None]
    assert maps.publish(other) is None  # one is under way
    for number in range(1, 40):
        answer_for(crm, ref(number))
    Sequencer(crm).drain()
    clock.advance(timedelta(seconds=maps.PATIENCE_SECONDS))
    done = maps.publish(other)
    assert done is not None
    assert list(slow) == []
    proven(crm, done)
    assert checked(crm).newest == (done.size, done.entries)


def test_when_the_next_is_due(crm: Gateway, clock: FixedClock) -> None:
    Sequencer(crm).drain()
    assert maps.due(crm)
    published(crm)
    assert not maps.due(crm)
    clock.advance(timedelta(seconds=3599))
    assert not maps.due(crm)
    clock.advance(timedelta(seconds=1))
    assert maps.due(crm)


def keeper_of(gateway: Gateway, errors: list[Exception]) -> LogKeeper:
    return LogKeeper(gateway, SelfCheck(gateway, Copies(gateway, ())), Care(), errors.append)


def test_the_keeper_of_the_log_publishes_what_is_due(crm: Gateway) -> None:
    Sequencer(crm).drain()
    errors: list[Exception] = []
    keeper = keeper_of(crm, errors)
    assert keeper._mapped()
    first = read_map(crm)[0]
    assert first is not None
    answer_for(crm, ref(1))
    Sequencer(crm).drain()
    assert keeper._mapped()  # something changed, and it is not due
    assert (read_map(crm)[0], errors) == (first, [])


def test_the_keeper_ends_between_two_steps(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_STEP", 1)
    Sequencer(crm).drain()
    keeper = keeper_of(crm, [])
    keeper._mapping._stopping.set()
    assert keeper._mapped()
    assert read_map(crm) == (None, [], {})


def test_no_map_is_published_while_the_log_does_not_stand(crm: Gateway) -> None:
    Sequencer(crm).drain()
    crm.gate.report("test", Fault(FaultKind.FORKED))
    assert keeper_of(crm, [])._mapped()
    assert read_map(crm)[0] is None


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
        grown = [leaf.key for packed in map_store.changes(session)[1].values() for leaf in unpack_leaves(packed)]
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
