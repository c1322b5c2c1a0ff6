"""Erasures that were carried out, each as the line that the tombstone file keeps outside of the database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, Table

from consent_gateway.db.tables.base import Classes, key, metadata

erasures = Table(
    "erasures",
    metadata,
    key("id"),
    Column("uid", LargeBinary(16), nullable=False, unique=True),  # of the entry in the log
    Column("at", BigInteger, nullable=False),
    Column("line", LargeBinary, nullable=False),  # as the tombstone file has it: keyed hashes, no identifier
    Column("filed_at", BigInteger, index=True),  # NULL until the file has the line
)

CLASSES: Classes = {
    "erasures": {"operational": "id uid", "identifier-hash": "line", "time": "at filed_at"},
}
