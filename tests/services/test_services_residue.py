"""Erased means unreadable: in the files of the store, in its logs, and in every backup from before a destroyed epoch."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from sqlalchemy import select

from backups import back_up, copy_files, restore
from builders import (
    a_consent,
    a_gateway,
    a_person,
    answer_for,
    id_of,
    incoming,
    may_write,
    ref,
    subject_id,
    take,
    with_source,
)
from consent_gateway.clock import FixedClock
from consent_gateway.db import subjects as subject_rows
from consent_gateway.db import tables
from consent_gateway.db.engine import Store
from consent_gateway.domain.fields import Category, FieldDefinition
from consent_gateway.domain.ids import NoticeId, PurposeId, SourceId, SubjectId
from consent_gateway.domain.purposes import Party, Source
from consent_gateway.services.disclosing.sensitive import record_sensitive
from consent_gateway.services.erasing.erasure import erase
from consent_gateway.services.erasing.tombstones import settle
from consent_gateway.services.keys import epoch_roll
from consent_gateway.services.keys.key_jobs import Runner
from consent_gateway.services.keys.key_pages import PAGES
from consent_gateway.services.ledger import notices
from consent_gateway.services.registry import registers
from consent_gateway.services.registry.fields import put_field
from consent_gateway.services.threads.worker import Worker
from consent_gateway.services.work.gateway import Gateway
from consent_gateway.services.work.items import SensitiveItem
from consent_gateway.services.work.vault import CONTACT, open_group
from consent_gateway.vault.failures import VaultError
from consent_gateway.vault.keyring import SHARDS, Keyring
from consent_gateway.vault.keys import LocalKeyProvider, dek_context
from consent_gateway.vault.protectors import SecretFileProtector
from consent_gateway.vault.tombstone_file import TombstoneFile
from residue import files_of, found_in, found_in_bytes, keys_of

GIVEN = "Canarygivenname"
PLAIN = {"email": b"person1@example.org", "member": b"M00001", "name": GIVEN.encode(), "evidence": b"203.0.113.77"}
PLAIN |= {"sensitive": b"Canarypenicillin", "address": b"Canarystreet"}


@pytest.fixture
def crm(store: Store, clock: FixedClock, tmp_path: Path) -> Gateway:
    """People with names and evidence, over a keyring file, with the tombstone file apart."""
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    (kept / "secret").write_bytes(bytes(range(1, 33)))
    (kept / "secret").chmod(0o600)
    keyring = Keyring.create(kept / "keyring.json", SecretFileProtector(kept / "secret"))
    gateway = opened(store, kept, keyring, clock)
    with gateway.work() as work:
        registers.seed(work)
    with_source(gateway)
    take(gateway, [a_person(n, given_name=GIVEN, postal_address="Canarystreet 5, Wien") for n in range(1, 6)])
    proof = b'{"guardian":"seen","ip":"203.0.113.77"}'
    take(gateway, [a_consent(ref(n), evidence=proof) for n in range(1, 6)])
    tell(gateway)
    return gateway


def tell(gateway: Gateway) -> None:
    """Take in a sensitive value of each."""
    purpose = PurposeId("direct_marketing")
    rows = incoming([SensitiveItem(ref(n), {"allergies": "Canarypenicillin"}) for n in range(1, 6)])
    with gateway.work() as work:
        notices.put_notice(work, NoticeId("diets"), 1, "en", "Diets", "We hold what you must not eat.")
        put_field(work, FieldDefinition("allergies", Category.HEALTH, (purpose,)))
        registers.put_source(work, Source(SourceId("app"), "App", "app", Party.FIRST, NoticeId("diets"), (purpose,)))
    with gateway.work() as work:
        assert record_sensitive(work, "app", rows, "0" * 64).accepted == 5


def opened(store: Store, kept: Path, keyring: Keyring | None = None, clock: FixedClock | None = None) -> Gateway:
    """A process that starts over what there is now."""
    ring = keyring or Keyring.open(kept / "keyring.json", SecretFileProtector(kept / "secret"))
    gateway = a_gateway(store, keyring=ring, clock=clock)
    gateway.tombstones = TombstoneFile(ring, kept / "tombstones.log")
    settle(gateway)
    return gateway


def forget(gateway: Gateway, number: int) -> None:
    with gateway.work() as work:
        erase(work, subject_id(work, ref(number)), "request")


def roll_and_destroy(gateway: Gateway) -> None:
    """Re-wrap everything under a new epoch and destroy every older one."""
    with gateway.work() as work:
        job = epoch_roll.start(work)
    assert Runner(gateway, PAGES).run(job.id).failed == 0
    provider = gateway.vault.provider
    for epoch in provider.keyring.epochs[:-1]:
        provider.use(provider.keyring.destroy_kek_epoch(epoch))


def readable(store: Store, keyring: Keyring) -> set[SubjectId]:
    """Whose contact data somebody can open who has the store and all the keys there are, and tries each of them."""
    provider, found = LocalKeyProvider(keyring), set()
    with store.reading() as session:
        ids = subject_rows.ids_after(session, 0, 1000)
        wraps, groups = subject_rows.wrapped_keys(session, ids), subject_rows.sealed(session, ids, CONTACT)
    for i, (epoch, shard) in itertools.product(ids, itertools.product(keyring.epochs, range(SHARDS))):
        original = bytes(wraps[i])
        for wrapped in (original, original[:2] + epoch.to_bytes(4, "big") + bytes([shard]) + original[7:]):
            try:
                open_group(provider.unwrap(wrapped, dek_context(i)), groups[i])
            except VaultError:
                continue
            found.add(i)
    return found


def test_a_backup_from_before_a_destroyed_epoch_opens_with_no_key(crm: Gateway, tmp_path: Path) -> None:
    ids = {n: id_of(crm, ref(n)) for n in range(1, 6)}
    backup = back_up(crm.store, tmp_path / "old")
    forget(crm, 1)
    roll_and_destroy(crm)
    ring = crm.vault.provider.keyring
    assert readable(crm.store, ring) == {ids[n] for n in (2, 3, 4, 5)}  # who is live reads on
    restore(crm.store, backup)
    assert readable(crm.store, ring) == set()  # nobody: such a backup is dead, for the others too
    started = opened(crm.store, tmp_path / "kept")
    assert answer_for(started, ref(1)).reason_code == "unknown_subject"
    with started.look() as work:
        assert subject_rows.profiles(work.session, [ids[1]]) == {}
        assert len(subject_rows.profiles(work.session, list(ids.values()))) == 4


def test_an_escrowed_epoch_opens_it_until_it_is_destroyed(crm: Gateway, tmp_path: Path) -> None:
    """The planted leak: as long as the old epoch exists anywhere, the backup reads the erased person."""
    gone = id_of(crm, ref(1))
    escrow = Keyring(crm.vault.provider.keyring.roots)
    backup = back_up(crm.store, tmp_path / "old")
    forget(crm, 1)
    roll_and_destroy(crm)
    restore(crm.store, backup)
    assert gone in readable(crm.store, escrow)


def test_a_backup_from_after_the_roll_serves_the_others_and_not_the_erased(crm: Gateway, tmp_path: Path) -> None:
    ids = {n: id_of(crm, ref(n)) for n in range(1, 6)}
    forget(crm, 1)
    roll_and_destroy(crm)
    backup = back_up(crm.store, tmp_path / "new")
    forget(crm, 2)
    restore(crm.store, backup)
    ring = crm.vault.provider.keyring
    assert ids[2] in readable(crm.store, ring)  # until the next epoch is rolled: that is the deadline
    started = opened(crm.store, tmp_path / "kept")
    assert readable(started.store, ring) == {ids[n] for n in (3, 4, 5)}
    assert not may_write(started, ref(2))
    assert all(may_write(started, ref(n)) for n in (3, 4, 5))


def test_a_snapshot_of_sqlite_files_with_their_log_is_dead_too(sqlite_gateway: Gateway, tmp_path: Path) -> None:
    ring = sqlite_gateway.vault.provider.keyring
    with_source(sqlite_gateway)
    take(sqlite_gateway, [a_person(1), a_person(2)])
    copy = copy_files(sqlite_gateway.store, tmp_path / "copy.sqlite3")
    forget(sqlite_gateway, 1)
    provider = sqlite_gateway.vault.provider
    roll_and_destroy(sqlite_gateway)
    restore(sqlite_gateway.store, copy)
    assert len(readable(sqlite_gateway.store, ring)) == 2  # with the keys of before
    assert readable(sqlite_gateway.store, provider.keyring) == set()


def test_no_key_and_no_plaintext_is_in_any_file(crm: Gateway, tmp_path: Path) -> None:
    """While people are there, and after one was erased: the database, its logs, the keyring, the tombstone file."""
    live = keys_of(crm)
    assert {f"dek/{id_of(crm, ref(n))}" for n in range(1, 6)} <= set(live)
    files = files_of(crm.store, tmp_path)
    assert any("wal" in str(file) for file in files)
    assert found_in(files, live | PLAIN) == set()
    forget(crm, 1)
    roll_and_destroy(crm)
    assert found_in(files_of(crm.store, tmp_path), live | keys_of(crm) | PLAIN) == set()


def test_the_search_finds_what_is_planted(crm: Gateway, tmp_path: Path) -> None:
    live = keys_of(crm)
    dek = next(name for name in live if name.startswith("dek/"))
    forms = {
        "raw": b"xx" + live[dek] + b"yy",
        "hex": live["root/tombstone"].hex().encode(),
        "upper": live["kek/1"].hex().upper().encode(),
        "base64": base64.b64encode(live["kek/1/3"]),
    }
    for name, content in forms.items():
        (tmp_path / f"leak-{name}").write_bytes(content)
    planted = {dek, "root/tombstone", "kek/1", "kek/1/3"}
    assert found_in(files_of(crm.store, tmp_path), live) == planted
    with crm.store.transaction() as session:
        session.execute(
            tables.imports.insert().values(
                source="crm", kind="leak", content_digest="0", counts='{"note": "person1@example.org"}', at=0
            )
        )
    assert found_in(files_of(crm.store, tmp_path), PLAIN) == {"email"}
    assert found_in_bytes(b"nothing", live) == set()


def test_wraps_and_ciphertexts_of_the_erased_leave_the_files_of_sqlite(
    sqlite_gateway: Gateway, tmp_path: Path, clock: FixedClock
) -> None:
    """Not readable is one thing; where the store can, the bytes go as well, by the worker alone."""
    crm = sqlite_gateway
    with_source(crm)
    take(crm, [a_person(n, given_name=GIVEN) for n in range(1, 40)])
    gone = id_of(crm, ref(1))
    with crm.look() as work:
        mine = {
            "wrap": bytes(subject_rows.wrapped_keys(work.session, [gone])[gone]),
            "group": subject_rows.sealed(work.session, [gone], CONTACT)[gone].sealed,
            "token": bytes(
                work.session.execute(select(tables.identifiers.c.token).where(tables.identifiers.c.subject_id == gone))
                .scalars()
                .first()
                or b"?"
            ),
        }
    assert found_in(files_of(crm.store), mine) == set(mine)
    forget(crm, 1)
    assert found_in(files_of(crm.store), mine)  # the write-ahead log still has them
    crm.residue_since = int(clock().timestamp()) - 2
    Worker(crm, lambda error: pytest.fail(str(error)))._round(tally=False, housekeep=False)
    left = found_in(files_of(crm.store), mine)
    assert left <= {"token"}  # of the e-mail address: on the suppression list
    assert not {"wrap", "group"} & left
