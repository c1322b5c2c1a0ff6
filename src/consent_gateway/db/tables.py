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
    Column("language", String(35), primary_key=True),
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
    Column("regions", Text, nullable=False),  # "DE", "US-CA|FR", "" where unknown
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
    Column("language", String(35)),
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
    Column("regions", Text, nullable=False),
    Column("birth_month", Integer),
    Column("flags", Integer, nullable=False),
    Column("last_activity", BigInteger),
    *(_big(f"n{i}") for i in range(NUMBER_SLOTS)),
    *(Column(f"s{i}", String(64)) for i in range(TEXT_SLOTS)),
    *(_big(f"c{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(_big(f"p{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(_big(f"r{i}", default=0) for i in range(CONSENT_SLOTS)),
    *(_big(f"{ch}_{i}") for ch in CAPPED_CHANNELS for i in range(1, NEWEST_CONTACTS + 1)),
)

# -- intake ----------------------------------------------------------------------------------------------------

waiting_opt_outs = Table(
    "waiting_opt_outs",
    metadata,
    _key("id"),
    Column("kind", String(16), nullable=False),
    Column("token", LargeBinary(16), nullable=False),
    Column("fact", Text, nullable=False),  # JSON: what was said no to, since when; no identifier
    Column("at", BigInteger, nullable=False),
    Index("ix_waiting_opt_outs_kind_token", "kind", "token"),
)

imports = Table(
    "imports",
    metadata,
    _key("id"),
    Column("source", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("content_digest", String(64), nullable=False),  # keyed: a plain hash of one row could be guessed
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
    Column("request_digest", LargeBinary(32), nullable=False),
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
    Column("message", Text, nullable=False),  # JSON: the parts that the message will contain
    Column("basis", String(24)),  # that was asked about; NULL: the purpose's own
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

# -- what each column holds ------------------------------------------------------------------------------------------
#
# operator          what the operator registered or configured; about no customer
# pseudonymous      about one person, who is named by a number alone
# identifier-hash   keyed hash of an identifier (a key outside the database)
# credential-hash   hash of an API key
# ciphertext        sealed by the vault; without the keyring, noise
# log               part of the audit log: commitments, no personal data
# operational       counts, references and replies of the gateway itself; no values of people
# time              an instant

_TRAITS = " ".join(f"n{i}" for i in range(NUMBER_SLOTS)) + " " + " ".join(f"s{i}" for i in range(TEXT_SLOTS))
_STANDINGS = " ".join(f"c{i} p{i} r{i}" for i in range(CONSENT_SLOTS))
_CONTACTS = " ".join(f"{channel}_{i}" for channel in CAPPED_CHANNELS for i in range(1, NEWEST_CONTACTS + 1))
_CLASSES: dict[str, dict[str, str]] = {
    "purposes": {"operator": "id kind title title_zh dpv_iri basis parent"},
    "slots": {"operator": "slot purpose channel"},
    "recipients": {"operator": "id name kind country contract transfer_mechanism sector scope_bit"},
    "notices": {"operator": "id version language title text text_sha256", "time": "published_at"},
    "sources": {"operator": "id name channel party notice purposes"},
    "traits": {"operator": "id type origin event_type slot description"},
    "segments": {"operator": "id expression description", "time": "saved_at"},
    "principals": {
        "operator": "id recipient scopes",
        "credential-hash": "key_sha256",
        "time": "created_at revoked_at",
    },
    "registry_state": {"operational": "id version"},
    "subjects": {"pseudonymous": "id regions birth_month", "time": "created_at"},
    "subject_keys": {"pseudonymous": "subject_id", "ciphertext": "wrapped_dek"},
    "sealed_groups": {"pseudonymous": "subject_id name schema_version row_version", "ciphertext": "sealed"},
    "identifiers": {"pseudonymous": "id subject_id kind generation", "identifier-hash": "token"},
    "tombstones": {"identifier-hash": "token", "operational": "kind", "time": "erased_at"},
    "suppressions": {"identifier-hash": "token", "operational": "kind reason", "time": "at"},
    "subject_traits": {"pseudonymous": "subject_id trait number text"},
    "consent_events": {
        "pseudonymous": "id subject_id purpose channel contact_point recipient kind properties imported notice"
        " notice_version source language method",
        "ciphertext": "evidence",
        "time": "at valid_until received_at",
    },
    "choice_events": {"pseudonymous": "id subject_id choice active source", "time": "at received_at"},
    "events": {"pseudonymous": "id subject_id type value source event_key", "time": "at"},
    "contacts": {"pseudonymous": "id subject_id channel campaign source contact_key", "time": "at"},
    "audience_rows": {
        "pseudonymous": f"subject_id regions birth_month flags {_TRAITS} {_STANDINGS}",
        "time": f"last_activity {_CONTACTS}",
    },
    "waiting_opt_outs": {"operational": "id kind", "identifier-hash": "token", "pseudonymous": "fact", "time": "at"},
    "imports": {"operational": "id source kind content_digest counts", "time": "at"},
    "quarantine": {
        "operational": "id source kind reference reasons",
        "ciphertext": "sealed",
        "time": "at resolved_at",
    },
    "quarantine_identifiers": {"operational": "kind quarantine_id", "identifier-hash": "token"},
    "idempotency_keys": {"operational": "principal key request_digest status response", "time": "at"},
    "audiences": {
        "operational": "id segment purpose channel recipient message basis size waterfall packs manifest_root"
        " entry_uid epoch",
        "time": "created_at expires_at",
    },
    "audience_members": {"operational": "audience_id chunk", "pseudonymous": "subject_ids"},
    "audit_pending": {"log": "id uid entry"},
    "audit_entries": {"log": "idx uid entry"},
    "audit_tiles": {"log": "level idx hashes"},
    "audit_head": {"log": "id size root checkpoint"},
    "audit_openings": {"log": "uid name", "pseudonymous": "subject_id payload"},
}
CLASSIFICATION: dict[str, str] = {
    f"{table}.{column}": kind
    for table, classes in _CLASSES.items()
    for kind, columns in classes.items()
    for column in columns.split()
}
