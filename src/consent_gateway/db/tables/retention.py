"""Which source supplied whom and when last, and the runs of the job that deletes what is over."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from consent_gateway.db.tables.base import Classes, metadata, row_id

subject_sources = Table(
    "subject_sources",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("source", String(63), primary_key=True),
    Column("last_at", BigInteger, nullable=False),
)

retention_runs = Table(
    "retention_runs",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970-01-01, UTC
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("counts", Text, nullable=False),  # JSON
)

CLASSES: Classes = {
    "subject_sources": {"pseudonymous": "subject_id source", "time": "last_at"},
    "retention_runs": {"operational": "day counts", "time": "started_at finished_at"},
}
