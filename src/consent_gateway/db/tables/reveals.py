"""What guards the way back to personal data: quotas with what counts against them, and people nobody should ask for.

A unit of a quota is a keyed hash of what was asked about, so that counting tells nobody whom a key asked for.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from consent_gateway.db.tables.base import Classes, metadata, row_id

quotas = Table(
    "quotas",
    metadata,
    Column("principal", String(63), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("per_hour", Integer),  # NULL: the setting
    Column("per_day", Integer),
    Column("suspended_at", BigInteger),
)

quota_units = Table(
    "quota_units",
    metadata,
    Column("principal", String(63), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("unit", LargeBinary(32), primary_key=True),
    Column("at", BigInteger, nullable=False),  # the last time
    Index("ix_quota_units_principal_kind_at", "principal", "kind", "at"),
)

canaries = Table(
    "canaries",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("planted_at", BigInteger, nullable=False),
)

reveal_windows = Table(
    "reveal_windows",
    metadata,
    Column("approval", String(32), primary_key=True),
    Column("used", BigInteger, nullable=False),
)

CLASSES: Classes = {
    "quotas": {"operator": "principal kind per_hour per_day", "time": "suspended_at"},
    "quota_units": {"operator": "principal kind", "identifier-hash": "unit", "time": "at"},
    "reveal_windows": {"operational": "approval used"},
    "canaries": {"pseudonymous": "subject_id", "time": "planted_at"},
}
