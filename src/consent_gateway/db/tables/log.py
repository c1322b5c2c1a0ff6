"""Audiences that were served, and the audit log. Instants of the log are milliseconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, String, Table, Text

from consent_gateway.db.tables.base import Classes, key, metadata, row_id

audiences = Table(
    "audiences",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("segment", Text, nullable=False),  # canonical JSON of the tree that was asked
    Column("purpose", String(63), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("recipient", String(63), nullable=False),
    Column("message", Text, nullable=False),  # JSON: the parts that the message will contain
    Column("basis", String(32)),  # that was asked about; NULL: the purpose's own
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

audience_manifests = Table(
    "audience_manifests",
    metadata,
    Column("audience_id", String(32), primary_key=True),
    Column("hashes", LargeBinary, nullable=False),  # 32 bytes for each 256 members: level 1 of the manifest's tiles
)

audit_pending = Table(
    "audit_pending",
    metadata,
    key("id"),
    Column("uid", LargeBinary(16), nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("chains", LargeBinary),  # key and salt of each chain it belongs to; NULL: it is about nobody
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("idx", row_id(), primary_key=True, autoincrement=False),
    Column("uid", LargeBinary(16), nullable=False, unique=True),
    Column("entry", LargeBinary, nullable=False),
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("idx", row_id(), primary_key=True, autoincrement=False),
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

# Named by a hash of a secret that only the person's own key gives: once that is gone, the rows are about nobody.
audit_chains = Table(
    "audit_chains",
    metadata,
    Column("chain_key", LargeBinary(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("link", LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)

# The newest published map of chains: its leaves, the nodes over their first bits by number, and each map's root.
# A leaf counts from the map of its attempt on; until that is published, and if it never is, what it was counts.
audit_map_leaves = Table(
    "audit_map_leaves",
    metadata,
    Column("chain_key", LargeBinary(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("link", LargeBinary(32), nullable=False),
    Column("was_count", BigInteger, nullable=False, server_default="0"),  # 0: it was not there
    Column("was_link", LargeBinary(32)),
    Column("attempt", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# Who publishes next: the newest attempt alone may write, and only until another begins.
audit_map_attempts = Table(
    "audit_map_attempts",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("attempt", BigInteger, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
)

audit_map_nodes = Table(
    "audit_map_nodes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("chains", BigInteger, nullable=False),
)

audit_maps = Table(
    "audit_maps",
    metadata,
    Column("number", row_id(), primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),  # of the log, at which the map holds
    Column("root", LargeBinary(32), nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("chains", BigInteger, nullable=False),
    Column("entry_uid", LargeBinary(16), nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False, server_default="0"),
)

audit_index = Table(
    "audit_index",
    metadata,
    Column("term", String(160), primary_key=True),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("bits", LargeBinary(32), nullable=False),
)

audit_index_blocks = Table(
    "audit_index_blocks",
    metadata,
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("min_at", BigInteger, nullable=False),
    Column("max_at", BigInteger, nullable=False),
)

CLASSES: Classes = {
    "audiences": {
        "operational": "id segment purpose channel recipient message basis size waterfall packs manifest_root"
        " entry_uid epoch",
        "time": "created_at expires_at",
    },
    "audience_members": {"operational": "audience_id chunk", "pseudonymous": "subject_ids"},
    "audience_manifests": {"operational": "audience_id hashes"},
    "audit_index": {"log": "term block bits"},
    "audit_index_blocks": {"log": "block min_at max_at"},
    "audit_pending": {"log": "id uid entry chains"},
    "audit_entries": {"log": "idx uid entry"},
    "audit_tiles": {"log": "level idx hashes"},
    "audit_head": {"log": "id size root checkpoint"},
    "audit_openings": {"log": "uid name", "pseudonymous": "subject_id payload"},
    "audit_chains": {"log": "chain_key count link"},
    "audit_map_leaves": {"log": "chain_key count link was_count was_link attempt"},
    "audit_map_attempts": {"log": "id attempt", "time": "moved_at"},
    "audit_map_nodes": {"log": "number hash entries chains"},
    "audit_maps": {"log": "number size root entries chains entry_uid attempt", "time": "published_at"},
}
