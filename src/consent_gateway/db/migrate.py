"""Bring the schema to the revision of the code or to another one (`revisions` tells where it is).

Migrations live in `migrations/` at the top of the project (inside the package when it is installed as a wheel). They
run on both stores, up and down; `drift` compares what they made with `tables.metadata`.
"""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from consent_gateway.db.engine import Store
from consent_gateway.db.revisions import scripts
from consent_gateway.db.tables import metadata


def upgrade(store: Store, revision: str = "head") -> None:
    """Migrate the schema up to `revision`."""
    with store.transaction() as session:
        command.upgrade(_config(session), revision)


def downgrade(store: Store, revision: str = "base") -> None:
    """Migrate the schema down to `revision`; `base` removes every table."""
    with store.transaction() as session:
        command.downgrade(_config(session), revision)


def drift(store: Store) -> list[Any]:
    """Return the differences between the migrated schema and `tables.metadata`; empty when they agree."""
    with store.reading() as session:
        context = MigrationContext.configure(session, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def _config(session: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = session
    return config
