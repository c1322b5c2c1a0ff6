"""Work on all keys."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table

from consent_gateway.db.tables.base import Classes, key, metadata

key_jobs = Table(
    "key_jobs",
    metadata,
    key("id"),
    Column("kind", String(24), nullable=False),
    Column("from_number", Integer),  # an epoch or a generation; NULL for data keys
    Column("to_number", Integer),
    Column("position", BigInteger, nullable=False),  # the last subject that was looked at
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("started_by", String(63), nullable=False),
    Column("finished_at", BigInteger),
    Column("lease_holder", String(32)),
    Column("lease_until", BigInteger),
)

CLASSES: Classes = {
    "key_jobs": {
        "operational": "id kind from_number to_number position done failed total started_by lease_holder",
        "time": "started_at finished_at lease_until",
    },
}
