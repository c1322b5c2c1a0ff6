"""What came in and waits, was refused, or was answered before."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, String, Table, Text

from consent_gateway.db.tables.base import Classes, key, metadata, row_id

waiting_opt_outs = Table(
    "waiting_opt_outs",
    metadata,
    key("id"),
    Column("kind", String(16), nullable=False),
    Column("token", LargeBinary(16), nullable=False),
    Column("fact", Text, nullable=False),  # JSON: what was said no to, since when; no identifier
    Column("at", BigInteger, nullable=False),
    Column("generation", SmallInteger),  # of the index, before tokens of strangers were lasting; NULL: lasting
    Index("ix_waiting_opt_outs_kind_token", "kind", "token"),
)

imports = Table(
    "imports",
    metadata,
    key("id"),
    Column("source", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("content_digest", String(64), nullable=False),  # keyed: a plain hash of one row could be guessed
    Column("counts", Text, nullable=False),  # JSON
    Column("at", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    key("id"),
    Column("source", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("reference", String(64), nullable=False),  # row number or item index
    Column("reasons", Text, nullable=False),  # JSON list of {path, code, message}; never a value
    Column("sealed", LargeBinary, nullable=False),  # the row itself, in the vault
    Column("at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
)

quarantine_identifiers = Table(
    "quarantine_identifiers",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("token", LargeBinary(16), primary_key=True),
    Column("quarantine_id", row_id(), primary_key=True, autoincrement=False),
    Column("generation", SmallInteger),  # as above
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(63), primary_key=True),
    Column("key", String(64), primary_key=True),  # keyed digest of what the caller sent
    Column("request_digest", LargeBinary(32), nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
)

CLASSES: Classes = {
    "waiting_opt_outs": {
        "operational": "id kind generation",
        "identifier-hash": "token",
        "pseudonymous": "fact",
        "time": "at",
    },
    "imports": {"operational": "id source kind content_digest counts", "time": "at"},
    "quarantine": {
        "operational": "id source kind reference reasons",
        "ciphertext": "sealed",
        "time": "at resolved_at",
    },
    "quarantine_identifiers": {"operational": "kind quarantine_id generation", "identifier-hash": "token"},
    "idempotency_keys": {"operational": "principal key request_digest status response", "time": "at"},
}
