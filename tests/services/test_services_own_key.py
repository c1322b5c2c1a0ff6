"""The gateway's own key after a backup from before a destroyed epoch: it fails honestly, and two people renew it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backups import back_up, restore
from builders import NOW_S, a_gateway, a_keyring_place, a_person, an_officer, by, dump, sealed, take, with_source
from consent_gateway.clock import FixedClock
from consent_gateway.db import key_jobs as job_rows
from consent_gateway.db import resealing, tables
from consent_gateway.db.engine import Store
from consent_gateway.errors import ConflictError, ForbiddenError, KeyringError, OwnKeyLostError
from consent_gateway.services.keys import dek_rotation, epoch_roll
from consent_gateway.services.keys.key_jobs import Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.registry import registers
from consent_gateway.services.work import approvals, own_key
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SignalItem, SubjectItem
from consent_gateway.services.work.own_key import OwnKey, OwnKeyState
from consent_gateway.services.work.vault import GATEWAY_ITSELF, SEALED_REPLY, open_bytes, seal_bytes
from consent_gateway.vault.keyring import Keyring

STRANGER = by("device_id", "dev-0123456789abcdef")
OTHER = by("device_id", "dev-fedcba9876543210")
REFUSED = SubjectItem({"member_no": "", "email": "nonsense"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_keyring_place(tmp_path)


@pytest.fixture
def crm(store: Store, clock: FixedClock, path: Path) -> Gateway:
    """A gateway with a refused row, a signal of nobody known and a reply, all of them under its own key."""
    gateway = a_gateway(store, keyring=Keyring.create(path, sealed(path)), clock=clock)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(1)])
    take(gateway, [REFUSED])
    take(gateway, [SignalItem(STRANGER, "1YYN", NOW_S)])
    with gateway.work() as work:
        content = SEALED_REPLY + seal_bytes(own_key.own_key(work), GATEWAY_ITSELF, b'{"token":"t"}')
        row = {"principal": "crm", "key": "k", "request_digest": bytes(32), "status": 200, "at": work.now}
        work.session.execute(tables.idempotency_keys.insert().values(response=content, **row))
    return gateway


@pytest.fixture
def lost(crm: Gateway, store: Store, path: Path, tmp_path: Path) -> Gateway:
    """The same after its epoch was rolled and destroyed, and a backup from before was restored."""
    backup = back_up(store, tmp_path / "backup")
    with crm.work() as work:
        job = epoch_roll.start(work)
    Runner(crm, PAGES).run(job.id)
    crm.vault.provider.use(crm.vault.provider.keyring.destroy_kek_epoch(1))
    restore(store, backup)
    return a_gateway(store, keyring=Keyring.open(path, sealed(path)), clock=crm.clock)


def status(gateway: Gateway) -> OwnKey:
    with gateway.look() as work:
        return own_key.status(work)


def renew(gateway: Gateway) -> OwnKey:
    one, two = (an_officer(gateway, name, "approve", "keys") for name in ("one", "two"))
    with gateway.work(one) as work:
        asked = own_key.propose(work)
    with pytest.raises(ForbiddenError, match="four eyes"), gateway.work(one) as work:
        own_key.renew(work)
    with gateway.work(two) as work:
        approvals.approve(work, asked.id)
    with gateway.work(one) as work:
        return own_key.renew(work)


def kept(gateway: Gateway) -> list[str]:
    """What is in quarantine, in the clear."""
    with gateway.look() as work:
        dek = own_key.own_key(work)
        found = resealing.own_of(work.session, "quarantine")
        return [open_bytes(dek, GATEWAY_ITSELF, content).decode() for _, content in found]


def test_a_key_that_opens_is_not_given_up(crm: Gateway) -> None:
    assert status(crm) == OwnKey(OwnKeyState.HELD, 1, 1, 1, 1)
    for act in (own_key.propose, own_key.renew):
        with pytest.raises(ConflictError, match="not lost"), crm.work(an_officer(crm, act.__name__, "keys")) as work:
            act(work)
    assert len(kept(crm)) == 1


def test_nothing_needed_it_yet(gateway: Gateway) -> None:
    assert status(gateway) == OwnKey(OwnKeyState.NONE)


def test_a_keyring_that_is_older_than_it_gives_nothing_up(crm: Gateway, path: Path) -> None:
    """The wrong file, not a lost key: nobody may make a new one now."""
    older = path.read_bytes()
    with crm.work() as work:
        job = epoch_roll.start(work)
    Runner(crm, PAGES).run(job.id)
    path.write_bytes(older)
    behind = a_gateway(crm.store, keyring=Keyring.open(path, sealed(path)), clock=crm.clock)
    assert status(behind).state is OwnKeyState.NEWER
    with pytest.raises(KeyringError, match="older"), behind.work() as work:
        own_key.own_key(work)
    with pytest.raises(ConflictError, match="not lost"), behind.work(an_officer(crm, "one", "keys")) as work:
        own_key.renew(work)


def test_while_it_is_lost_what_needs_it_is_refused_and_a_no_is_kept(lost: Gateway) -> None:
    assert status(lost) == OwnKey(OwnKeyState.LOST, 1, 1, 1, 1)
    before = dump(lost.store)
    with pytest.raises(OwnKeyLostError):
        take(lost, [a_person(2), REFUSED])
    assert dump(lost.store) == before, "nothing of the call was carried out"
    assert take(lost, [a_person(2)]).created == 1
    assert take(lost, [SignalItem(OTHER, "1YYN", NOW_S)]).accepted == 1
    assert status(lost).signals == 1, "its string is not kept"
    later = take(lost, [SubjectItem({"device_id": OTHER.value, "email": "otto@example.org"}, country="US")])
    assert later.created == 1, "and what it did is theirs"
    with lost.store.reading() as session:
        found = select(tables.signals.c.effects).where(tables.signals.c.subject_id.is_not(None))
        assert len(session.execute(found).all()) == 1


def test_two_people_make_a_new_one_and_what_was_lost_is_named(lost: Gateway) -> None:
    with lost.store.reading() as session:
        old = dict(job_rows.wraps_after(session, -1, 10))[GATEWAY_ITSELF]
        reasons = session.execute(select(tables.quarantine.c.reasons)).scalars().all()
    assert renew(lost) == OwnKey(OwnKeyState.LOST, 1, 1, 1, 1)
    assert status(lost) == OwnKey(OwnKeyState.HELD, 2, 0, 0, 0)
    with lost.store.reading() as session:
        assert dict(job_rows.wraps_after(session, -1, 10))[GATEWAY_ITSELF] != old
        assert session.execute(select(tables.quarantine.c.reasons)).scalars().all() == reasons
        assert session.execute(select(tables.idempotency_keys.c.response)).scalars().all() == [SEALED_REPLY]
        entries: list[Any] = [json.loads(e) for e in session.execute(select(tables.audit_pending.c.entry)).scalars()]
    (entry,) = (e for e in entries if e["kind"] == "own_key.renewed")
    approval = entry["fields"].pop("approval")
    assert entry["fields"] == {"epoch": 1, "quarantined": 1, "signals": 1, "replies": 1}
    assert entry["actor"] == "one"
    with lost.look() as work:
        assert approvals.find(work, approval).approved_by == "two"
    taken = take(lost, [REFUSED])
    assert taken.rejected == 1
    assert len(kept(lost)) == 1, "quarantine works again"
    assert take(lost, [SubjectItem({"device_id": STRANGER.value, "email": "o@example.org"}, country="US")]).created == 1
    with lost.work() as work:
        job = dek_rotation.start(work)
    assert Runner(lost, PAGES).run(job.id).failed == 1, "person 1, whose key went with the epoch, and nobody else"
    assert len(kept(lost)) == 1
    with pytest.raises(ConflictError, match="not lost"), lost.work(an_officer(lost, "three", "keys")) as work:
        own_key.renew(work)
