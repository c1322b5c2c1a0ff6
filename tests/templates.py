"""Stores to copy: migrating and seeding give the same every time, so each worker does both once for each kind.

A copy is a store like any other, and no key is in it. Tests of migrations and of `init` begin with an empty store and
run the real thing.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import create_engine, text

from builders import a_gateway
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.migrate import upgrade
from consent_gateway.services.registry import registers

MIGRATED, SEEDED = "migrated", "seeded"
ROOMY_BYTES = 4 << 30
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, where there is one


def in_memory() -> Path | None:
    """A file system in memory with room for everybody's stores: there, no test waits for a disk."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOMY_BYTES else None


@contextlib.contextmanager
def fresh_database(server: str, template: str = "template1") -> Iterator[str]:
    """A new database on the server, dropped afterwards: empty, or a copy of another that nobody is connected to."""
    name = f"cg_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield admin.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def sqlite_templates(directory: Path) -> Mapping[str, Path]:
    """The file to copy, by what is in it."""
    migrated, seeded = directory / "migrated.sqlite3", directory / "seeded.sqlite3"
    _migrate(sqlite_url(str(migrated)))
    shutil.copyfile(migrated, seeded)
    _seed(sqlite_url(str(seeded)))
    return {MIGRATED: migrated, SEEDED: seeded}


@contextlib.contextmanager
def postgres_templates(server: str) -> Iterator[Mapping[str, str]]:
    """The name of the database to copy, by what is in it."""
    with fresh_database(server) as migrated:
        _migrate(migrated)
        with fresh_database(server, _name(migrated)) as seeded:
            _seed(seeded)
            yield {MIGRATED: _name(migrated), SEEDED: _name(seeded)}


def _name(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]


def _migrate(url: str) -> None:
    store = Store(url)
    upgrade(store)
    store.dispose()


def _seed(url: str) -> None:
    store = Store(url)
    with a_gateway(store).work() as work:
        registers.seed(work)
    store.dispose()
