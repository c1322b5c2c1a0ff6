"""What is done with four eyes: proposals, and what became of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, Text

from consent_gateway.db.tables.base import Classes, metadata

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("action", String(32), nullable=False),
    Column("subject", Text, nullable=False),  # canonical JSON: numbers and names, nothing personal
    Column("proposed_by", String(63), nullable=False),
    Column("proposed_at", BigInteger, nullable=False, index=True),
    Column("expires_at", BigInteger, nullable=False),
    Column("valid_until", BigInteger),
    Column("approved_by", String(63)),
    Column("approved_at", BigInteger),
    Column("ended", String(12)),  # used, refused, withdrawn, expired, void
    Column("ended_by", String(63)),
    Column("ended_at", BigInteger),
)

CLASSES: Classes = {
    "approvals": {
        "operator": "id action subject proposed_by approved_by ended ended_by",
        "time": "proposed_at expires_at valid_until approved_at ended_at",
    },
}
