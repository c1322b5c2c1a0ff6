"""Noes and rights requests that came while the keys were away, sealed into the letterbox until they are back."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table

from consent_gateway.db.tables.base import Classes, key, metadata

deferrals = Table(
    "deferrals",
    metadata,
    key("id"),  # in this order they are carried out
    Column("uid", LargeBinary(16), nullable=False, unique=True),  # of the entry in the log
    Column("principal", String(63), nullable=False),
    Column("recipient", String(63), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),  # whose letterbox; it dies with it
    Column("sealed", LargeBinary, nullable=False),
    Column("refused", String(40)),  # NULL while it waits; else the code of what it was refused with
)

CLASSES: Classes = {
    "deferrals": {"operational": "id uid principal recipient epoch refused", "ciphertext": "sealed", "time": "at"},
}
