"""What browsers and consent platforms said, and how the operator reads the numbers of TCF."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from consent_gateway.db.tables.base import Classes, key, metadata

signals = Table(
    "signals",
    metadata,
    key("id"),
    Column("subject_id", BigInteger, index=True),  # NULL while nobody with the identifier is known
    Column("identifier_kind", String(16)),  # by which the signal came: a device, an address; NULL for a pseudonym
    Column("token", LargeBinary(16)),  # only while nobody with the identifier is known
    Column("kind", String(8), nullable=False),  # gpc, tcf, gpp, usp
    Column("at", BigInteger, nullable=False),
    Column("source", String(63), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the raw string, under the person's key, or the gateway's own
    Column("displayed", Boolean),  # whether the site showed the person that the signal was honoured
    Column("effects", Text, nullable=False),  # JSON: choices, counts, rules broken; no value of the string
    Column("received_at", BigInteger, nullable=False),
    Column("linked_at", BigInteger),
    Column("generation", SmallInteger),  # of the index, before tokens of strangers were lasting; NULL: lasting
    Index("ix_signals_identifier_kind_token", "identifier_kind", "token"),
)

signal_mappings = Table(
    "signal_mappings",
    metadata,
    Column("kind", String(8), primary_key=True),  # purpose, vendor
    Column("rule", SmallInteger, primary_key=True, autoincrement=False),  # TCF purposes of one rule belong together
    Column("number", Integer, primary_key=True, autoincrement=False),  # of TCF
    Column("purpose", String(63)),
    Column("channel", String(16)),
    Column("recipient", String(63)),
)

CLASSES: Classes = {
    "signals": {
        "pseudonymous": "id subject_id identifier_kind kind source displayed effects generation",
        "identifier-hash": "token",
        "ciphertext": "sealed",
        "time": "at received_at linked_at",
    },
    "signal_mappings": {"operator": "kind rule number purpose channel recipient"},
}
