"""What operators register: purposes, recipients, notices, sources, traits, segments, keys."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from consent_gateway.db.tables.base import Classes, metadata

purposes = Table(
    "purposes",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("title", Text, nullable=False),
    Column("title_zh", Text, nullable=False),
    Column("dpv_iri", Text, nullable=False),
    Column("basis", String(32), nullable=False),
    Column("parent", String(63)),
    Column("marks", Text, nullable=False, server_default="[]"),  # JSON list
    Column("sensitive", Text, nullable=False, server_default="[]"),  # JSON list of categories
    Column("bases", Text, nullable=False, server_default="[]"),  # JSON list
    Column("requested", String(63)),
    Column("reveals", Text, nullable=False, server_default="[]"),  # JSON list of fields of the vault
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
    Column("destination", String(24)),
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
    Column("material", Boolean, nullable=False, server_default=false()),
    Column("purposes", Text, nullable=False, server_default="[]"),  # JSON: what a material version is about
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
    Column("retention", String(16), nullable=False, server_default=""),  # ISO 8601 duration, or empty
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
    Column("sensitive", String(63)),  # category
)

vault_fields = Table(
    "vault_fields",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("category", String(32)),  # why it is sensitive; NULL: a field of our own
    Column("purposes", Text, nullable=False),  # JSON list of purpose ids: what it is held for
    Column("retention", String(16), nullable=False, server_default=""),  # ISO 8601 duration, or empty
    Column("description", Text, nullable=False),
)

pseudonym_epochs = Table(
    "pseudonym_epochs",
    metadata,
    Column("sector", String(63), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("begun_at", BigInteger),  # NULL: from the beginning
    Column("counts_until", BigInteger),  # NULL: the current one
)

exports = Table(
    "exports",
    metadata,
    Column("year", SmallInteger, primary_key=True, autoincrement=False),
    Column("people", BigInteger, nullable=False),
    Column("sensitive_people", BigInteger, nullable=False),
    Column("declared_at", BigInteger, nullable=False),
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

CLASSES: Classes = {
    "purposes": {"operator": "id kind title title_zh dpv_iri basis parent marks sensitive bases requested reveals"},
    "slots": {"operator": "slot purpose channel"},
    "recipients": {"operator": "id name kind country contract transfer_mechanism sector scope_bit destination"},
    "notices": {"operator": "id version language title text text_sha256 material purposes", "time": "published_at"},
    "sources": {"operator": "id name channel party notice purposes retention"},
    "traits": {"operator": "id type origin event_type slot description sensitive"},
    "vault_fields": {"operator": "id category purposes retention description"},
    "pseudonym_epochs": {"operator": "sector epoch", "time": "begun_at counts_until"},
    "exports": {"operator": "year people sensitive_people", "time": "declared_at"},
    "segments": {"operator": "id expression description", "time": "saved_at"},
    "principals": {
        "operator": "id recipient scopes",
        "credential-hash": "key_sha256",
        "time": "created_at revoked_at",
    },
    "registry_state": {"operational": "id version"},
}
