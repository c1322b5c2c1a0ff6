"""Runs the migrations on the connection that `consent_gateway.db.migrate` hands over."""

from __future__ import annotations

from alembic import context

from consent_gateway.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    transactional_ddl=True,
)
if connection.dialect.name == "postgresql":
    # A migration that waits behind a long reader stops everyone behind it: give up early, retry later.
    connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
context.run_migrations()
