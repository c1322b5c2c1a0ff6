"""Every entry about a person is in their chain, in the order of the log, whoever sequenced it and whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from builders import (
    a_consent,
    a_gateway,
    a_person,
    answer_for,
    by,
    choose,
    dump,
    id_of,
    ref,
    subject_id,
    take,
    twin,
    with_source,
    withdraw,
)
from consent_gateway.audit.chains import (
    CHAIN_OF,
    NEW_CHAIN,
    ChainHead,
    chain_key,
    chain_link,
    chain_payload,
    chain_ref,
    chain_secret,
)
from consent_gateway.audit.commitments import opening_salt, verify_opening
from consent_gateway.audit.entries import Entry, EntryKind, parse_entry
from consent_gateway.audit.merkle import leaf_hash
from consent_gateway.audit.verifier import Finding, verify_directory
from consent_gateway.db import tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.subjects import Choice
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.keys import dek_rotation
from consent_gateway.services.log import audit_log, maps
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.log.chain_checks import check
from consent_gateway.services.log.log_directories import PlainDirectory
from consent_gateway.services.log.log_exports import export, export_map
from consent_gateway.services.persons import merges
from consent_gateway.services.work.gateway import Gateway
from fakes import PowerCutError, faults_of
from replicas import same_database

Keys = dict[SubjectId, list[bytes]]


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """Three people who said yes, two of whom are one, with a new data key for one of them."""
    with_source(gateway)
    take(gateway, [a_person(n) for n in (1, 2, 3)])
    take(gateway, [a_consent(ref(n)) for n in (1, 2, 3)])
    with gateway.work() as work:
        merges.merge(work, [ref(1), ref(2)], "duplicate")
    rotate(gateway, 3)
    return gateway


def rotate(gateway: Gateway, number: int) -> None:
    who = id_of(gateway, ref(number))
    with gateway.work() as work:
        dek_rotation.rotate(work, who, "request")


def keys_of(gateway: Gateway, *numbers: int) -> Keys:
    ids = [id_of(gateway, ref(n)) for n in numbers]
    with gateway.look() as work:
        return {i: gateway.vault.audit_keys(work.session, i) for i in ids}


def entries_of(gateway: Gateway) -> list[tuple[bytes, Entry]]:
    with gateway.look() as work:
        rows = work.session.execute(select(tables.audit_entries).order_by(tables.audit_entries.c.idx))
        return [(bytes(row.entry), parse_entry(bytes(row.entry))) for row in rows]


def openings_of(gateway: Gateway) -> dict[tuple[bytes, str], tuple[SubjectId, bytes]]:
    with gateway.look() as work:
        rows = work.session.execute(select(tables.audit_openings))
        return {(bytes(r.uid), r.name): (SubjectId(r.subject_id), bytes(r.payload)) for r in rows}


def heads_of(gateway: Gateway) -> dict[bytes, ChainHead]:
    with gateway.look() as work:
        return {bytes(k): (n, bytes(link)) for k, n, link in work.session.execute(select(tables.audit_chains))}


def walk(gateway: Gateway, keys: Keys) -> dict[bytes, list[int]]:
    """The reference: walk the whole log, find by trying keys what is whose, and check each place; chain to indexes."""
    all_keys = [key for held in keys.values() for key in held]
    heads, places = dict[bytes, ChainHead](), dict[bytes, list[int]]()
    for index, (raw, entry) in enumerate(entries_of(gateway)):
        for name, place in CHAIN_OF.items():
            if name in entry.commitments:
                step(heads, places, all_keys, index, raw, entry, place)
    stored = heads_of(gateway)
    assert {key: stored.get(key) for key in heads} == heads
    return places


def step(
    heads: dict[bytes, ChainHead],
    places: dict[bytes, list[int]],
    keys: list[bytes],
    index: int,
    raw: bytes,
    entry: Entry,
    place: str,
) -> None:
    for key in keys:
        name, salt = chain_key(chain_secret(key)), opening_salt(key, entry.uid, place)
        count, prev = heads.get(name, NEW_CHAIN)
        if verify_opening(entry.commitments[place], salt, chain_payload(count + 1, prev)):
            heads[name] = count + 1, chain_link(salt, leaf_hash(raw))
            places.setdefault(name, []).append(index)
            return
    raise AssertionError(f"entry {index} is in nobody's chain")


def committed(gateway: Gateway) -> int:
    return sum(place in entry.commitments for _, entry in entries_of(gateway) for place in CHAIN_OF.values())


def test_every_entry_about_a_person_has_its_place(crm: Gateway) -> None:
    for number in (1, 2, 3, 3, 1):
        answer_for(crm, ref(number))
    choose(crm, ref(2), Choice.OBJECTION)
    withdraw(crm, ref(1))
    Sequencer(crm).drain()
    places = walk(crm, keys_of(crm, 1, 2, 3))
    assert sum(map(len, places.values())) == committed(crm) == sum(n for n, _ in heads_of(crm).values())
    assert len(places) == 4  # one of the three has two keys
    assert committed(crm) == len(openings_of(crm))


def test_the_entry_of_a_new_key_ends_one_chain_and_begins_the_next(crm: Gateway) -> None:
    answer_for(crm, ref(3))
    Sequencer(crm).drain()
    ((_, (new, former)),) = keys_of(crm, 3).items()
    places = walk(crm, keys_of(crm, 1, 2, 3))
    chains = [places[chain_key(chain_secret(key))] for key in (former, new)]
    assert chains[0][-1] == chains[1][0]
    assert entries_of(crm)[chains[1][0]][1].kind is EntryKind.DEK_ROTATED
    assert len(chains[1]) == 2


def test_strangers_and_batches_are_in_no_chain(crm: Gateway) -> None:
    Sequencer(crm).drain()
    before = heads_of(crm)
    answer_for(crm, by("email", "stranger@example.org"))
    with crm.work() as work:
        work.record(EntryKind.ADMIN_ACTION, {"action": "test"})
    Sequencer(crm).drain()
    assert heads_of(crm) == before
    assert [dict(entry.commitments) for _, entry in entries_of(crm)[-2:]] == [{}, {}]


@pytest.fixture
def other_store(crm: Gateway) -> Iterator[Store]:
    with same_database(crm.store) as store:
        yield store


def test_two_sequencers_in_turn_go_on_with_the_chains_of_each_other(
    crm: Gateway, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "BATCH", 2)
    other = a_gateway(other_store, keyring=crm.vault.provider.keyring)
    sequencers = [Sequencer(crm), Sequencer(other)]
    for turn in range(8):
        answer_for(crm, ref(1 + turn % 3))
        answer_for(crm, ref(1))
        sequencers[turn % 2].run_once()
    for sequencer in sequencers:
        sequencer.drain()
    walk(crm, keys_of(crm, 1, 2, 3))
    assert committed(crm) == sum(n for n, _ in heads_of(crm).values())


def test_a_sequencer_that_remembers_heads_too_long_is_found(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: another one moved the head, and the remembered heads of chains are kept."""

    class Stubborn(dict[bytes, ChainHead]):
        def clear(self) -> None:
            """Forget nothing."""

    stale = Sequencer(twin(crm))
    stale.drain()
    stale._edge.chains = Stubborn(stale._edge.chains)
    answer_for(crm, ref(1))
    Sequencer(crm).drain()
    answer_for(crm, ref(1))
    stale.drain()
    with pytest.raises(AssertionError, match="nobody's chain"):
        walk(crm, keys_of(crm, 1, 2, 3))


def test_a_crash_at_any_statement_leaves_chains_and_cache_as_they_were(crm: Gateway) -> None:
    sequencer, faults = Sequencer(crm), faults_of(crm.store)
    sequencer.drain()
    for _ in range(2):
        answer_for(crm, ref(1))
        before = dump(crm.store)
        remembered = dict(sequencer._edge.chains)
        for at in range(20):
            try:
                with faults.cut(at=at):
                    sequencer.run_once()
            except PowerCutError:
                assert dump(crm.store) == before
                assert sequencer._edge.chains == remembered
            else:
                assert at > 4
                break
    walk(crm, keys_of(crm, 1, 2, 3))


# -- erasure -------------------------------------------------------------------------------------------------------


def forget(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        erase(work, subject_id(work, ref(number)), "request")


def erased(gateway: Gateway) -> list[dict[str, Any]]:
    return [dict(e.fields) for _, e in entries_of(gateway) if e.kind is EntryKind.SUBJECT_ERASED]


@pytest.mark.parametrize("drained", [False, True])
def test_an_erasure_says_which_chains_can_never_be_opened_again(crm: Gateway, *, drained: bool) -> None:
    """Integrated or still pending, under today's key or a former one: every entry is counted, and once."""
    answer_for(crm, ref(3))
    held = keys_of(crm, 1, 2, 3)
    if drained:
        Sequencer(crm).drain()
    forget(crm, 3)
    forget(crm, 1)
    Sequencer(crm).drain()
    places = walk(crm, held)
    told = erased(crm)
    assert len(told) == 3  # two subjects were one person
    named = {bytes.fromhex(c["chain"]): c["count"] for one in told for c in one["chains"]}
    assert named == {key: len(found) for key, found in places.items()}
    assert [one["openings"] + 1 for one in told] == [sum(c["count"] for c in one["chains"]) for one in told]
    assert openings_of(crm) == {}


def test_an_entry_of_the_same_work_is_counted(crm: Gateway) -> None:
    held, who = keys_of(crm, 1, 2, 3), id_of(crm, ref(3))
    key = held[who][0]
    with crm.work() as work:
        work.record_about(EntryKind.HOLD_ENDED, {"hold": 1, "reason": "request"}, who, key, b"{}")
        erase(work, who, "request")
    Sequencer(crm).drain()
    (told,) = erased(crm)
    places = walk(crm, held)
    assert [c["count"] for c in told["chains"]] == [len(places[bytes.fromhex(c["chain"])]) for c in told["chains"]]
    assert told["openings"] + 1 == sum(c["count"] for c in told["chains"])


# -- what an auditor with the store and its keys sees ----------------------------------------------------------------


def test_every_chain_is_somebodys(crm: Gateway) -> None:
    answer_for(crm, ref(1))
    forget(crm, 3)
    Sequencer(crm).drain()
    found = check(crm)
    assert (found.living, found.erased, found.clean) == (2, 2, True)


def test_a_phantom_an_orphan_and_somebody_who_is_back_are_found(crm: Gateway) -> None:
    with crm.look() as work:
        openings = [dict(row._mapping) for row in work.session.execute(select(tables.audit_openings))]
        keys = [dict(row._mapping) for row in work.session.execute(select(tables.subject_keys))]
        retired = [dict(row._mapping) for row in work.session.execute(select(tables.retired_audit_keys))]
    gone = id_of(crm, ref(3))
    forget(crm, 3)
    Sequencer(crm).drain()
    with crm.store.transaction() as session:
        session.execute(tables.audit_chains.insert(), [{"chain_key": b"p" * 32, "count": 1, "link": bytes(32)}])
        session.execute(tables.audit_openings.insert(), [o for o in openings if o["subject_id"] == gone])
    found = check(crm)
    assert (found.phantoms, found.revived, found.orphans) == ((b"p" * 32,), (), 3)
    with crm.store.transaction() as session:  # as a restored backup would
        session.execute(tables.subject_keys.insert(), [k for k in keys if k["subject_id"] == gone])
        session.execute(tables.retired_audit_keys.insert(), [k for k in retired if k["subject_id"] == gone])
    found = check(crm)
    assert (len(found.revived), found.orphans, found.clean) == (2, 0, False)


def by_an_auditor(crm: Gateway, folder: Path) -> Finding:
    """Publish a map, export everything, and check it without the store."""
    maps.publish(crm)
    Sequencer(crm).drain()
    directory = PlainDirectory(folder)
    export(crm, directory)
    export_map(crm, directory)
    files = [path.read_bytes() for path in (folder / "maps").iterdir()]
    return verify_directory(crm.signer.vkey, folder, maps=files)


def test_an_entry_in_the_chain_of_somebody_who_was_erased_is_found(crm: Gateway, tmp_path: Path) -> None:
    """A place to hide another person's entry in: nobody can open that chain any more, and the sum is right."""
    held, who = keys_of(crm, 1, 2, 3), id_of(crm, ref(3))
    (key, *_), (ends, *_) = held[id_of(crm, ref(1))], held[who]
    forget(crm, 3)
    Sequencer(crm).drain()
    assert check(crm).unequal == ()
    assert by_an_auditor(crm, tmp_path).ok
    with crm.work() as work:
        work.record_about(EntryKind.HOLD_ENDED, {"hold": 1, "reason": "request"}, id_of(crm, ref(1)), key, b"{}")
        ((uid, entry, _),) = work.entries
        work.entries[:] = [(uid, entry, chain_ref(ends, uid))]
    Sequencer(crm).drain()
    found = check(crm)
    assert (found.unequal, found.phantoms) == ((chain_key(chain_secret(ends)),), ())
    assert not found.clean
    seen = by_an_auditor(crm, tmp_path)
    assert (seen.ok, seen.code) == (False, "map")
    assert "but ended with" in seen.message
