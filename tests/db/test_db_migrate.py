"""Migrations run up, down and up again on both stores, and a difference from the tables of the code is found."""

from __future__ import annotations

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from consent_gateway.db import erasures, retention, tombstones
from consent_gateway.db.engine import Store
from consent_gateway.db.migrate import downgrade, drift, upgrade
from consent_gateway.db.revisions import current, head, require_head, scripts
from consent_gateway.db.tables import metadata
from consent_gateway.domain.ids import SubjectId
from consent_gateway.errors import StoreError
from consent_gateway.vault.tombstones import Burial, decode, encode


def tables_of(store: Store) -> set[str]:
    with store.reading() as session:
        return set(inspect(session).get_table_names()) - {"alembic_version"}


def test_up_down_and_up_again(store_url: str) -> None:
    store = Store(store_url)
    assert current(store) is None
    upgrade(store)
    assert current(store) == head()
    assert tables_of(store) == set(metadata.tables)
    downgrade(store)
    assert current(store) is None
    assert tables_of(store) == set()
    upgrade(store)
    assert tables_of(store) == set(metadata.tables)
    store.dispose()


def test_the_revision_that_the_code_needs_is_what_the_tool_says() -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    assert head() == ScriptDirectory.from_config(config).get_current_head()


def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    assert drift(store) == []
    require_head(store)


@pytest.mark.parametrize(
    "planted",
    [
        "ALTER TABLE contacts ADD COLUMN note TEXT",
        "ALTER TABLE events DROP COLUMN value",
        "DROP INDEX ix_contacts_subject_channel_at",
        "CREATE TABLE forgotten (id INTEGER PRIMARY KEY)",
    ],
)
def test_a_planted_difference_is_found(store: Store, planted: str) -> None:
    with store.transaction() as session:
        session.execute(text(planted))
    assert drift(store)


def test_migrating_what_is_migrated_changes_nothing(store: Store) -> None:
    upgrade(store)
    assert drift(store) == []


def test_a_store_that_was_not_migrated_is_refused(store_url: str) -> None:
    store = Store(store_url)
    with pytest.raises(StoreError, match="nothing"):
        require_head(store)
    store.dispose()


def test_a_migration_that_fails_leaves_nothing(store_url: str) -> None:
    """The whole of it is one transaction: a table that is in the way stops it without a trace."""
    store = Store(store_url)
    with store.transaction() as session:
        session.execute(text("CREATE TABLE suppressions (id INTEGER PRIMARY KEY)"))
    with pytest.raises(StoreError):
        upgrade(store)
    assert tables_of(store) == {"suppressions"}
    assert current(store) is None
    store.dispose()


def test_tombstones_from_before_the_file_become_lines_of_it(store_url: str) -> None:
    store = Store(store_url)
    upgrade(store, "0012")
    with store.transaction() as session:
        row = {"token": b"\xab" * 32, "kind": "email", "erased_at": 7}
        session.execute(text("INSERT INTO tombstones VALUES (:token, :kind, :erased_at)"), row)
    upgrade(store)
    with store.reading() as session:
        (found,) = erasures.every(session)
    assert decode(found.line) == Burial(b"\xab" * 16, 7, None, "request", (("email", b"\xab" * 32),))
    assert found.filed_at is None
    store.dispose()


def test_tombstones_learn_their_reason_from_the_lines(store_url: str) -> None:
    store = Store(store_url)
    upgrade(store, "0023")
    with store.transaction() as session:
        for token in (b"\xab" * 32, b"\xcd" * 32):
            row = {"token": token, "kind": "email", "erased_at": 7}
            session.execute(
                text("INSERT INTO tombstones (token, kind, erased_at) VALUES (:token, :kind, :erased_at)"), row
            )
        burial = Burial(b"u" * 16, 7, None, "retention", (("email", b"\xab" * 32),))
        erasures.add(session, [erasures.ErasureRow(burial.uid, 7, encode(burial))])
    upgrade(store)
    with store.reading() as session:
        found = tombstones.standing(session, [b"\xab" * 32, b"\xcd" * 32])
    assert {stone.token[:1]: stone.reason for stone in found.values()} == {b"\xab": "retention", b"\xcd": ""}
    store.dispose()


def test_who_came_before_sources_were_kept_gets_those_that_the_store_knows(store_url: str) -> None:
    store = Store(store_url)
    upgrade(store, "0026")
    rows = [
        ("subjects", {"id": i, "created_at": at, "regions": ""})
        for i, at in ((1, 10), (2, 20), (3, 30), (4, 40), (5, 20))
    ]
    rows += [("subject_sources", {"subject_id": 5, "source": "kept", "last_at": 99})]
    imported = {"content_digest": "", "counts": "{}"}
    rows += [("imports", {"source": "shop", "kind": "subjects", "at": 20} | imported)]
    rows += [("imports", {"source": "shop", "kind": "events", "at": 30} | imported)]
    told = {"contact_point": 1, "source": "app"}
    rows += [("circumstances", {"subject_id": i, "received_at": at} | told) for i, at in ((1, 11), (1, 15), (2, 25))]
    choice = {"choice": "gpc", "active": True, "at": 1}
    rows += [("choice_events", {"subject_id": i, "source": "site", "received_at": 33} | choice) for i in (2, 3)]
    with store.transaction() as session:
        for table, row in rows:
            names = ", ".join(row)
            session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{n}' for n in row)})"), row)
    upgrade(store)
    with store.reading() as session:
        found = retention.sources_of(session, [SubjectId(i) for i in range(1, 6)])
        assert retention.unsourced(session) == 1
    assert found == {1: {"app": 15}, 2: {"app": 25, "shop": 20}, 3: {"site": 33}, 5: {"kept": 99}}
    store.dispose()
