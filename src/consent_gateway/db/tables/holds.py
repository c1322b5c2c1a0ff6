"""Legal holds on people, and erasures that wait for a hold to end."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table

from consent_gateway.db.tables.base import Classes, key, metadata, row_id

legal_holds = Table(
    "legal_holds",
    metadata,
    key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("reason", String(24), nullable=False),
    Column("until", BigInteger),  # NULL: until it is lifted
    Column("placed_at", BigInteger, nullable=False),
    Column("placed_by", String(63), nullable=False),
    Column("ended_at", BigInteger),
    Column("ended_by", String(63)),  # who lifted it; "system" where its day came
    Column("end_reason", String(24)),
)

pending_erasures = Table(
    "pending_erasures",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("reason", String(24), nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("asked_by", String(63), nullable=False),
)

CLASSES: Classes = {
    "legal_holds": {
        "pseudonymous": "id subject_id reason",
        "operational": "placed_by ended_by end_reason",
        "time": "until placed_at ended_at",
    },
    "pending_erasures": {"pseudonymous": "subject_id reason", "operational": "asked_by", "time": "asked_at"},
}
