"""Bring the schema to the version of the code, and tell when it is not.

Migrations live in `migrations/` at the top of the project (inside the package when it is installed as a wheel). They
run on both stores, up and down; `drift` compares what they made with `tables.metadata`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from consent_gateway.db.engine import Store
from consent_gateway.db.tables import metadata
from consent_gateway.errors import StoreError


def upgrade(store: Store, revision: str = "head") -> None:
    """Migrate the schema up to `revision`."""
    with store.transaction() as session:
        command.upgrade(_config(session), revision)


def downgrade(store: Store, revision: str = "base") -> None:
    """Migrate the schema down to `revision`; `base` removes every table."""
    with store.transaction() as session:
        command.downgrade(_config(session), revision)


def current(store: Store) -> str | None:
    """Return the revision that the store is at, None for an empty store."""
    with store.reading() as session:
        return MigrationContext.configure(session).get_current_revision()


def head() -> str:
    """Return the revision that the code needs."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def require_head(store: Store) -> None:
    """Raise StoreError unless the schema is the code's; says which command repairs it."""
    found, needed = current(store), head()
    if found != needed:
        raise StoreError(f"the schema is at {found or 'nothing'}, the code needs {needed}: run consent-gateway migrate")


def drift(store: Store) -> list[Any]:
    """Return the differences between the migrated schema and `tables.metadata`; empty when they agree."""
    with store.reading() as session:
        context = MigrationContext.configure(session, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def _config(session: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes["connection"] = session
    return config


def _scripts() -> Path:
    installed = Path(__file__).parent.parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "migrations"
