"""A new data key: all that lies under it opens as before, the old key opens nothing, the log stays openable."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from builders import (
    EMAIL_MARKETING,
    NOW_S,
    a_consent,
    a_person,
    an_officer,
    by,
    dump,
    id_of,
    opened,
    ref,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db import resealing, tables
from consent_gateway.db.tables import CLASSIFICATION
from consent_gateway.domain.ids import SubjectId
from consent_gateway.domain.key_jobs import LEASE_SECONDS
from consent_gateway.errors import NotFoundError
from consent_gateway.services.disclosing.decisions import Ask, Decision, decide
from consent_gateway.services.erasing import erasure
from consent_gateway.services.keys import dek_rotation, epoch_roll
from consent_gateway.services.keys.key_jobs import Pace, Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.log.audit_log import Sequencer
from consent_gateway.services.policy.replays import ReplayState, replay
from consent_gateway.services.work.gateway import SYSTEM, Gateway
from consent_gateway.services.work.items import SignalItem, SubjectItem
from consent_gateway.services.work.vault import GATEWAY_ITSELF, open_group
from consent_gateway.vault.envelope import DataKey
from consent_gateway.vault.failures import VaultError

STRANGER = by("device_id", "dev-0123456789abcdef")
PEOPLE = 4


@pytest.fixture
def crm(gateway: Gateway) -> Gateway:
    """People with a profile, evidence and signals; a signal of nobody, and a row that was refused."""
    with_source(gateway)
    take(gateway, [a_person(n, given_name=f"Given{n}") for n in range(PEOPLE)])
    take(gateway, [a_consent(ref(n)) for n in range(PEOPLE)])
    take(gateway, [SignalItem(ref(n), "1YYN", NOW_S) for n in range(PEOPLE)] + [SignalItem(STRANGER, "1YYN", NOW_S)])
    take(gateway, [SubjectItem({"member_no": "", "email": "nonsense"})])
    return gateway


def rotate(gateway: Gateway, number: int = 1) -> int:
    subject_id = id_of(gateway, ref(number))
    with gateway.work() as work:
        return dek_rotation.rotate(work, subject_id, "suspected_leak")


def rotate_all(gateway: Gateway) -> Any:
    with gateway.work() as work:
        job = dek_rotation.start(work)
    return Runner(gateway, PAGES).run(job.id, Pace(2))


def ciphertexts(gateway: Gateway) -> list[bytes]:
    return [value for rows in dump(gateway.store).values() for row in rows for value in row if isinstance(value, bytes)]


def keys(gateway: Gateway) -> dict[SubjectId, bytes]:
    with gateway.look() as work:
        return gateway.vault.keys(work.session, range(PEOPLE + 1))


def asked(gateway: Gateway, number: int = 1) -> Decision:
    with gateway.work() as work:
        (found,) = decide(work, [Ask(EMAIL_MARKETING, ref(number), SYSTEM)])
    assert isinstance(found, Decision)
    return found


def replayed(gateway: Gateway, decision: Decision) -> ReplayState:
    Sequencer(gateway).drain()
    with gateway.work(SYSTEM) as work:
        return replay(work, decision.uid).state


def test_the_places_are_all_that_there_are() -> None:
    assert {column for column, kind in CLASSIFICATION.items() if kind == "ciphertext"} == resealing.PLACES | {
        "deferrals.sealed"
    }


def test_one_person_gets_a_new_key(crm: Gateway) -> None:
    who, before, former = id_of(crm, ref(1)), opened(crm), keys(crm)
    assert {"contact", "profile"} <= {name.split()[1] for name in before if name.startswith(f"{who} ")}
    assert {name.split()[0] for name in before} >= {"evidence", "signal", "quarantine"}
    assert rotate(crm) == 1
    assert opened(crm) == before
    now = keys(crm)
    assert now.pop(who) != former[who]
    assert now == {i: dek for i, dek in former.items() if i != who}
    assert not [blob for blob in ciphertexts(crm) if DataKey(former[who]).key_id in blob]
    with crm.look() as work:
        assert {g.row_version for g in resealing.groups_of(work.session, who)} == {2}


def test_a_place_that_is_forgotten_is_seen(crm: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: evidence is left under the old key."""
    found = resealing.free_of
    monkeypatch.setattr(resealing, "free_of", lambda s, place, i: [] if place == "evidence" else found(s, place, i))
    rotate(crm)
    monkeypatch.undo()
    with pytest.raises(VaultError):
        opened(crm)


def test_nobody_has_no_key(crm: Gateway) -> None:
    with pytest.raises(NotFoundError), crm.work() as work:
        dek_rotation.rotate(work, SubjectId(999), "request")


def test_what_the_log_says_about_them_stays_openable(crm: Gateway) -> None:
    """Decisions from before, between and after two rotations are replayed; after the erasure none is."""
    decisions = [asked(crm)]
    for _ in range(2):
        rotate(crm)
        decisions.append(asked(crm))
    assert [replayed(crm, d) for d in decisions] == [ReplayState.SAME] * 3
    who = id_of(crm, ref(1))
    with crm.look() as work:
        audit_keys = crm.vault.audit_keys(work.session, who)
    assert len(set(audit_keys)) == 3
    with crm.work() as work:
        erasure.erase(work, who, "request")
    assert [replayed(crm, d) for d in decisions] == [ReplayState.ERASED] * 3
    with crm.look() as work:
        assert crm.vault.audit_keys(work.session, who) == []
        assert work.session.execute(select(tables.retired_audit_keys)).all() == []


def test_an_opening_that_was_altered_is_seen_after_a_rotation_too(crm: Gateway) -> None:
    decision = asked(crm)
    rotate(crm)
    with crm.store.transaction() as session:
        changed = {"payload": b'{"facts":"1"}'}
        session.execute(
            tables.audit_openings.update().where(tables.audit_openings.c.uid == decision.uid).values(changed)
        )
    assert replayed(crm, decision) is ReplayState.DIFFERS


def test_everyone_gets_a_new_key(crm: Gateway) -> None:
    before, former = opened(crm), keys(crm)
    assert former.keys() >= {GATEWAY_ITSELF}
    done = rotate_all(crm)
    assert (done.done, done.failed) == (PEOPLE + 1, 0)
    assert opened(crm) == before
    assert not set(keys(crm).values()) & set(former.values())
    take(crm, [a_person(1, identifiers={"member_no": "M00001", "device_id": "dev-0123456789abcdef"})])
    assert len(opened(crm)) == len(before)
    with crm.look() as work:  # the signal of the stranger is theirs now, under their key
        assert len(resealing.free_of(work.session, "signal", id_of(crm, ref(1)))) == 2


def test_what_does_not_open_is_counted_and_left_whole(crm: Gateway) -> None:
    spoilt = id_of(crm, ref(2))
    signals = tables.signals
    with crm.store.transaction() as session:
        session.execute(signals.update().where(signals.c.subject_id == spoilt).values(sealed=b"\1\1" + bytes(60)))
    former = keys(crm)
    done = rotate_all(crm)
    assert (done.done, done.failed) == (PEOPLE, 1)
    assert [i for i, dek in keys(crm).items() if dek == former[i]] == [spoilt]
    with crm.look() as work:
        assert open_group(former[spoilt], resealing.groups_of(work.session, spoilt)[0])


class Killed(BaseException):
    """The process is gone."""


def test_a_job_that_dies_anywhere_is_taken_up(crm: Gateway, clock: FixedClock) -> None:
    before, seen = opened(crm), [0, 0]

    def count(*_: Any) -> None:
        seen[0] += 1
        if seen[0] == seen[1]:
            raise Killed

    for number in range(5, 2000, 7):
        seen[:] = [0, number]
        event.listen(crm.store.engine, "before_cursor_execute", count)
        try:
            done = rotate_all(crm)
            break
        except Killed:
            clock.advance(timedelta(seconds=LEASE_SECONDS))
        finally:
            event.remove(crm.store.engine, "before_cursor_execute", count)
        assert opened(crm) == before
    assert (done.done, done.failed) == (PEOPLE + 1, 0)
    assert opened(crm) == before


def test_a_roll_and_new_keys_at_once(crm: Gateway) -> None:
    """Pages of both jobs in turn: whoever comes second sees what the first did."""
    before = opened(crm)
    with crm.work() as work:
        jobs = [epoch_roll.start(work).id, dek_rotation.start(work).id]
    runner = Runner(crm, PAGES)
    waiting = list(jobs)
    while waiting:
        waiting = [job for job in waiting if runner.page(job, 2).finished_at is None]
        assert opened(crm) == before
    assert opened(crm) == before
    with crm.look() as work:
        assert job_rows.wraps_by_epoch(work.session) == {2: PEOPLE + 1}


def test_it_is_in_the_log(crm: Gateway) -> None:
    officer, who = an_officer(crm, "officer", "keys"), id_of(crm, ref(1))
    with crm.work(officer) as work:
        dek_rotation.rotate(work, who, "request")
    with crm.store.reading() as session:
        found = [json.loads(e) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    (entry,) = (e for e in found if e["kind"] == "dek.rotated")
    assert (entry["actor"], entry["fields"], list(entry["commitments"])) == (
        "officer",
        {"reason": "request"},
        ["chain", "other", "other_chain", "subject"],
    )


def test_a_change_for_everyone_is_in_the_log_of_each(crm: Gateway) -> None:
    rotate_all(crm)
    with crm.store.reading() as session:
        found = [json.loads(e) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    about = [e for e in found if e["kind"] == "dek.rotated"]
    assert [(e["fields"], len(e["commitments"])) for e in about] == [({"reason": "everyone"}, 4)] * PEOPLE
