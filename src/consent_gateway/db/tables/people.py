"""What is stored about people: keys, ciphertext, keyed hashes, the ledger, events, and the audience row."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from consent_gateway.db.tables.base import (
    CAPPED_CHANNELS,
    CONSENT_SLOTS,
    LAST_NOES,
    NEWEST_CONTACTS,
    NUMBER_SLOTS,
    TEXT_SLOTS,
    Classes,
    big,
    key,
    metadata,
    row_id,
)

subjects = Table(
    "subjects",
    metadata,
    key("id"),
    Column("created_at", BigInteger, nullable=False),
    Column("regions", Text, nullable=False),  # "DE", "US-CA|FR", "" where unknown
    Column("birth_month", Integer),  # year * 12 + month - 1; the day stays in the vault
    sqlite_autoincrement=True,
)

subject_keys = Table(
    "subject_keys",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("wrapped_dek", LargeBinary, nullable=False),
)

sealed_groups = Table(
    "sealed_groups",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("name", String(16), primary_key=True),
    Column("schema_version", SmallInteger, nullable=False),
    Column("row_version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

identifiers = Table(
    "identifiers",
    metadata,
    key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("generation", SmallInteger, nullable=False),
    Column("token", LargeBinary(16), nullable=False),
    # The contact point whose row this is; NULL: its own. A point has one row in each generation, and its number stays.
    Column("point", BigInteger),
    Column("suppressed", Boolean, nullable=False, server_default=false()),  # was on the list when the person came
    UniqueConstraint("kind", "generation", "token"),
    sqlite_autoincrement=True,
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("token", LargeBinary(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("erased_at", BigInteger, nullable=False),
    Column("reason", String(24), nullable=False, server_default=""),  # of the erasure; empty: nobody kept it
    Column("lifted_at", BigInteger, index=True),  # the person came back by an act of their own; NULL: it stands
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("token", LargeBinary(16), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("reason", String(24), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("generation", SmallInteger),  # of the index, before tokens of strangers were lasting; NULL: lasting
)

index_generations = Table(
    "index_generations",
    metadata,
    Column("generation", SmallInteger, primary_key=True, autoincrement=False),
    Column("state", String(8), nullable=False, unique=True),  # counts, moving, leaving
    Column("versions", Text, nullable=False),  # JSON: the version of each kind's normaliser
    Column("position", BigInteger, nullable=False),  # of moves by earlier releases; now the job has it
    Column("at", BigInteger, nullable=False),  # since when it stands there
)

subject_traits = Table(
    "subject_traits",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("trait", String(63), primary_key=True),
    Column("number", BigInteger),
    Column("text", String(64)),
)

consent_events = Table(
    "consent_events",
    metadata,
    key("id"),
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
    Column("language", String(35)),
    Column("method", String(32)),
    Column("place", String(128)),  # where: a region, a path, a store; never a person
    Column("guardian", BigInteger, index=True),  # the adult who spoke for a child; 0: one who was erased since
    Column("evidence", LargeBinary),  # sealed: IP address, form, wording shown
    Column("received_at", BigInteger, nullable=False),
)

consent_confirmations = Table(
    "consent_confirmations",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("event_id", BigInteger, nullable=False),  # the pending fact that a second step confirms
    Column("expires_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger),
)

notice_views = Table(
    "notice_views",
    metadata,
    key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("notice", String(63), nullable=False),
    Column("notice_version", Integer, nullable=False),
    Column("language", String(35), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("place", String(128)),
    Column("source", String(63), nullable=False),
    Column("received_at", BigInteger, nullable=False),
)

choice_events = Table(
    "choice_events",
    metadata,
    key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("choice", String(24), nullable=False),  # objection, restriction, sale_share_opt_out, limit_sensitive, gpc
    Column("active", Boolean, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("source", String(63)),
    Column("received_at", BigInteger, nullable=False),
)

circumstances = Table(
    "circumstances",
    metadata,
    key("id"),
    Column("subject_id", BigInteger, nullable=False, index=True),
    Column("contact_point", BigInteger, nullable=False),
    Column("source", String(63), nullable=False),
    Column("subscriber", String(10)),  # individual, corporate; NULL here and below: not said
    Column("in_sale", Boolean),
    Column("opt_out_offered", Boolean),
    Column("expressed_interest", Boolean),
    Column("collected_day", Integer),  # days since 1970-01-01
    Column("received_at", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    key("id"),
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
    key("id"),
    Column("subject_id", BigInteger, nullable=False),
    Column("channel", String(16), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("campaign", String(63), nullable=False),
    Column("source", String(63), nullable=False),
    Column("contact_key", String(64), nullable=False),
    Column("purpose", String(63)),
    UniqueConstraint("source", "contact_key"),
    Index("ix_contacts_subject_channel_at", "subject_id", "channel", "at"),
)

audience_rows = Table(
    "audience_rows",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("regions", Text, nullable=False),
    Column("birth_month", Integer),
    Column("flags", Integer, nullable=False),
    Column("last_activity", BigInteger),
    Column("email_facts", Integer, nullable=False, server_default="0"),  # what holds for every e-mail address
    Column("phone_facts", Integer, nullable=False, server_default="0"),
    *(big(name) for name in LAST_NOES),
    *(big(f"n{i}") for i in range(NUMBER_SLOTS)),
    *(Column(f"s{i}", String(64)) for i in range(TEXT_SLOTS)),
    *(big(f"c{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(big(f"p{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(big(f"r{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(big(f"{ch}_{i}") for ch in CAPPED_CHANNELS for i in range(1, NEWEST_CONTACTS + 1)),
)

_NOES = " ".join(LAST_NOES)
_TRAITS = " ".join(f"n{i}" for i in range(NUMBER_SLOTS)) + " " + " ".join(f"s{i}" for i in range(TEXT_SLOTS))
_STANDINGS = " ".join(f"c{i} p{i} r{i}" for i in range(CONSENT_SLOTS))
_CONTACTS = " ".join(f"{channel}_{i}" for channel in CAPPED_CHANNELS for i in range(1, NEWEST_CONTACTS + 1))

CLASSES: Classes = {
    "subjects": {"pseudonymous": "id regions birth_month", "time": "created_at"},
    "subject_keys": {"pseudonymous": "subject_id", "ciphertext": "wrapped_dek"},
    "sealed_groups": {"pseudonymous": "subject_id name schema_version row_version", "ciphertext": "sealed"},
    "identifiers": {"pseudonymous": "id subject_id kind generation point suppressed", "identifier-hash": "token"},
    "index_generations": {"operational": "generation state versions position", "time": "at"},
    "tombstones": {"identifier-hash": "token", "operational": "kind reason", "time": "erased_at lifted_at"},
    "suppressions": {"identifier-hash": "token", "operational": "kind reason generation", "time": "at"},
    "subject_traits": {"pseudonymous": "subject_id trait number text"},
    "consent_events": {
        "pseudonymous": "id subject_id purpose channel contact_point recipient kind properties imported notice"
        " notice_version source language method place guardian",
        "ciphertext": "evidence",
        "time": "at valid_until received_at",
    },
    "consent_confirmations": {
        "credential-hash": "token_hash",
        "pseudonymous": "subject_id event_id",
        "time": "expires_at confirmed_at",
    },
    "notice_views": {
        "pseudonymous": "id subject_id notice notice_version language place source",
        "time": "at received_at",
    },
    "choice_events": {"pseudonymous": "id subject_id choice active source", "time": "at received_at"},
    "circumstances": {
        "pseudonymous": "id subject_id contact_point source subscriber in_sale opt_out_offered expressed_interest",
        "time": "collected_day received_at",
    },
    "events": {"pseudonymous": "id subject_id type value source event_key", "time": "at"},
    "contacts": {"pseudonymous": "id subject_id channel campaign source contact_key purpose", "time": "at"},
    "audience_rows": {
        "pseudonymous": f"subject_id regions birth_month flags email_facts phone_facts {_TRAITS} {_STANDINGS}",
        "time": f"last_activity {_NOES} {_CONTACTS}",
    },
}
