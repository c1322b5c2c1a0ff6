"""Every table of the store, for SQLite and PostgreSQL alike.

Instants are integers: seconds since the epoch, UTC (the audit log: milliseconds). Personal data is only in
`sealed_groups`, `quarantine.sealed` and `consent_events.evidence`, as ciphertext of the vault; everything that is
searched is a keyed hash (`identifiers.token`). Every table that belongs to one person carries `subject_id`, so that
the store can be distributed by it. `subjects.id` is never used again after an erasure.

Each column is classified in `CLASSIFICATION` (see the end): a test fails on a column without a class.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CONSENT_SLOTS = 16  # enabled purpose x channel pairs
NUMBER_SLOTS = 12  # traits that are numbers, dates, booleans or event aggregates
TEXT_SLOTS = 4  # traits with a short list of values
NEWEST_CONTACTS = 4  # a rolling cap of up to this many per window is exact
CAPPED_CHANNELS = ("email", "sms", "call", "post", "push")


def _id() -> TypeEngine[int]:
    # SQLite's rowid alias must be spelt INTEGER; PostgreSQL wants 64 bits.
    return BigInteger().with_variant(Integer(), "sqlite")


def _key(name: str) -> Column[int]:
    return Column(name, _id(), primary_key=True, autoincrement=True)


def _big(name: str, *, default: int | None = None) -> Column[int]:
    if default is None:
        return Column(name, BigInteger, nullable=True)
    return Column(name, BigInteger, nullable=False, server_default=str(default))


# -- registers -------------------------------------------------------------------------------------------------

purposes = Table(
    "purposes",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("title", Text, nullable=False),
    Column("title_zh", Text, nullable=False),
    Column("dpv_iri", Text, nullable=False),
    Column("basis", String(24), nullable=False),
    Column("parent", String(63)),
)

slots = Table(
    "slots",
    metadata,
    Column("slot", SmallInteger, primary_key=True, autoincrement=False),
    Column("purpose", String(63), nullable=False),
    Column("channel", String(16), nullable=False),
    UniqueConstraint("purpose", "channel"),
)

recipients = Table(
    "recipients",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("country", String(6), nullable=False),
    Column("contract", Boolean, nullable=False),
    Column("transfer_mechanism", String(32), nullable=False),
    Column("sector", String(63), nullable=False),
    Column("scope_bit", SmallInteger),
)

notices = Table(
    "notices",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("language", String(16), primary_key=True),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("text_sha256", String(64), nullable=False),
    Column("published_at", BigInteger, nullable=False),
)

sources = Table(
    "sources",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("name", Text, nullable=False),
    Column("channel", String(32), nullable=False),
    Column("party", String(8), nullable=False),
    Column("notice", String(63)),
    Column("purposes", Text, nullable=False),  # JSON list of purpose ids
)

traits = Table(
    "traits",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("type", String(8), nullable=False),  # integer, date, boolean, text
    Column("origin", String(12), nullable=False),  # declared, event_count, event_first, event_last
    Column("event_type", String(63)),
    Column("slot", String(4), nullable=False, unique=True),  # n0..n11 or s0..s3
    Column("description", Text, nullable=False),
)

segments = Table(
    "segments",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("expression", Text, nullable=False),  # canonical JSON of the tree
    Column("description", Text, nullable=False),
    Column("saved_at", BigInteger, nullable=False),
)

principals = Table(
    "principals",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("recipient", String(63), nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list
    Column("key_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

registry_state = Table(
    "registry_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),  # grows with every change of a register
)

# -- people ----------------------------------------------------------------------------------------------------

subjects = Table(
    "subjects",
    metadata,
    _key("id"),
    Column("created_at", BigInteger, nullable=False),
    Column("regions", String(80), nullable=False),  # "DE", "US-CA|FR", "" where unknown
    Column("birth_month", Integer),  # year * 12 + month - 1; the day stays in the vault
    sqlite_autoincrement=True,
)

subject_keys = Table(
    "subject_keys",
    metadata,
    Column("subject_id", _id(), primary_key=True, autoincrement=False),
    Column("wrapped_dek", LargeBinary, nullable=False),
)

sealed_groups = Table(
    "sealed_groups",
    metadata,
    Column("subject_id", _id(), primary_key=True, autoincrement=False),
    Column("name", String(16), primary_key=True),
    Column("schema_version", SmallInteger, nullable=False),
    Column("row_version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

identifiers = Table(
    "identifiers",
    metadata,
    _key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("generation", SmallInteger, nullable=False),
    Column("token", LargeBinary(16), nullable=False),
    UniqueConstraint("kind", "generation", "token"),
    sqlite_autoincrement=True,
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("token", LargeBinary(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("erased_at", BigInteger, nullable=False),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("token", LargeBinary(16), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("reason", String(24), nullable=False),
    Column("at", BigInteger, nullable=False),
)

subject_traits = Table(
    "subject_traits",
    metadata,
    Column("subject_id", _id(), primary_key=True, autoincrement=False),
    Column("trait", String(63), primary_key=True),
    Column("number", BigInteger),
    Column("text", String(64)),
)

consent_events = Table(
    "consent_events",
    metadata,
    _key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("purpose", String(63), nullable=False),
    Column("channel", String(16)),
    Column("contact_point", BigInteger),
    Column("recipient", String(63)),
    Column("kind", String(12), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("valid_until", BigInteger),
    Column("properties", Integer, nullable=False),
    Column("imported", Boolean, nullable=False),
    Column("notice", String(63)),
    Column("notice_version", Integer),
    Column("source", String(63)),
    Column("language", String(16)),
    Column("method", String(32)),
    Column("evidence", LargeBinary),  # sealed: IP address, form, wording shown
    Column("received_at", BigInteger, nullable=False),
)

choice_events = Table(
    "choice_events",
    metadata,
    _key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("choice", String(24), nullable=False),  # objection, restriction, sale_share_opt_out, limit_sensitive, gpc
    Column("active", Boolean, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("source", String(63)),
    Column("received_at", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    _key("id"),
    Column("subject_id", BigInteger, nullable=False),
    Column("type", String(63), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("value", BigInteger),  # minor units of the currency, or a count
    Column("source", String(63), nullable=False),
    Column("event_key", String(64), nullable=False),
    UniqueConstraint("source", "event_key"),
    Index("ix_events_subject_type_at", "subject_id", "type", "at"),
)

contacts = Table(
    "contacts",
    metadata,
    _key("id"),
    Column("subject_id", BigInteger, nullable=False),
    Column("channel", String(16), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("campaign", String(63), nullable=False),
    Column("source", String(63), nullable=False),
    Column("contact_key", String(64), nullable=False),
    UniqueConstraint("source", "contact_key"),
    Index("ix_contacts_subject_channel_at", "subject_id", "channel", "at"),
)

audience_rows = Table(
    "audience_rows",
    metadata,
    Column("subject_id", _id(), primary_key=True, autoincrement=False),
    Column("regions", String(80), nullable=False),
    Column("birth_month", Integer),
    Column("flags", Integer, nullable=False),
    Column("last_activity", BigInteger),
    *(_big(f"n{i}") for i in range(NUMBER_SLOTS)),
    *(Column(f"s{i}", String(64)) for i in range(TEXT_SLOTS)),
    *(_big(f"c{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(_big(f"p{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(_big(f"{ch}_{i}") for ch in CAPPED_CHANNELS for i in range(1, NEWEST_CONTACTS + 1)),
)

# -- intake ----------------------------------------------------------------------------------------------------

imports = Table(
    "imports",
    metadata,
    _key("id"),
    Column("source", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("counts", Text, nullable=False),  # JSON
    Column("at", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    _key("id"),
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
    Column("quarantine_id", _id(), primary_key=True, autoincrement=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(63), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("request_sha256", LargeBinary(32), nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# -- answers and the log ---------------------------------------------------------------------------------------

audiences = Table(
    "audiences",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("segment", Text, nullable=False),  # canonical JSON of the tree that was asked
    Column("purpose", String(63), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("recipient", String(63), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("waterfall", Text, nullable=False),  # JSON
    Column("packs", Text, nullable=False),  # JSON list
    Column("manifest_root", LargeBinary(32), nullable=False),
    Column("entry_uid", LargeBinary(16), nullable=False),
    Column("epoch", Integer, nullable=False),
)

audience_members = Table(
    "audience_members",
    metadata,
    Column("audience_id", String(32), primary_key=True),
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("subject_ids", LargeBinary, nullable=False),  # 8 bytes each, big-endian
)

audit_pending = Table(
    "audit_pending",
    metadata,
    _key("id"),
    Column("uid", LargeBinary(16), nullable=False),
    Column("entry", LargeBinary, nullable=False),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("idx", _id(), primary_key=True, autoincrement=False),
    Column("uid", LargeBinary(16), nullable=False, unique=True),
    Column("entry", LargeBinary, nullable=False),
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("idx", _id(), primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
)

audit_openings = Table(
    "audit_openings",
    metadata,
    Column("uid", LargeBinary(16), primary_key=True),
    Column("name", String(24), primary_key=True),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("payload", LargeBinary, nullable=False),
)
