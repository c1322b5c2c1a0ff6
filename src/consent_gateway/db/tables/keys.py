"""Work on all keys, which process holds which epochs, and which epochs are no more."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table, Text

from consent_gateway.db.tables.base import Classes, key, metadata, row_id

key_jobs = Table(
    "key_jobs",
    metadata,
    key("id"),
    Column("kind", String(24), nullable=False),
    Column("from_number", Integer),  # an epoch or a generation; NULL for data keys
    Column("to_number", Integer),
    Column("position", BigInteger, nullable=False),  # the last subject that was looked at
    Column("done", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("started_by", String(63), nullable=False),
    Column("finished_at", BigInteger),
    Column("lease_holder", String(32)),
    Column("lease_until", BigInteger),
    Column("rate", Integer),  # most rows a second; NULL: no limit
    Column("rests_until", BigInteger),  # before that there is nothing to do
)

key_holders = Table(
    "key_holders",
    metadata,
    Column("holder", String(32), primary_key=True),  # one life of one process
    Column("epochs", Text, nullable=False),  # JSON list: the key epochs in its memory
    Column("seen_at", BigInteger, nullable=False),
)

key_destructions = Table(
    "key_destructions",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("approval", String(32), nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("destroyed_at", BigInteger),  # NULL while it is decided and not yet done
)

index_destructions = Table(
    "index_destructions",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("approval", String(32), nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("destroyed_at", BigInteger),  # NULL while it is decided and not yet done
)

retired_audit_keys = Table(
    "retired_audit_keys",
    metadata,
    Column("subject_id", row_id(), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),  # the key of commitments made under a former data key
)

CLASSES: Classes = {
    "retired_audit_keys": {"pseudonymous": "subject_id number", "ciphertext": "sealed"},
    "key_holders": {"operational": "holder epochs", "time": "seen_at"},
    "key_destructions": {"operational": "epoch approval", "time": "decided_at destroyed_at"},
    "index_destructions": {"operational": "generation approval", "time": "decided_at destroyed_at"},
    "key_jobs": {
        "operational": "id kind from_number to_number position done failed total started_by lease_holder rate",
        "time": "started_at finished_at lease_until rests_until",
    },
}
